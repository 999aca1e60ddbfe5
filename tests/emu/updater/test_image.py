"""Checking a firmware image: MCUboot's own tool is the judge."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
import random
import struct
from tempfile import TemporaryDirectory
import tracemalloc
from typing import Any
import zipfile

from hypothesis import example, given, strategies as st
from imgtool import image as judge, keys  # type: ignore[import-untyped]
from imgtool.version import decode_version  # type: ignore[import-untyped]
import pytest

from custom_components.emu_professional.emu.errors import FirmwareRefused, Refusal
from custom_components.emu_professional.emu.updater.image import (
    LARGEST_FILE,
    LARGEST_IMAGE,
    Image,
    Version,
    read_firmware,
)

MAGIC = 0x96F3B83D
HEADER = 512
KEYS: dict[str, Callable[[], Any]] = {
    "RSA-2048": lambda: keys.RSA.generate(2048),
    "ECDSA": keys.ECDSA256P1.generate,
    "RSA-3072": lambda: keys.RSA.generate(3072),
    "Ed25519": keys.Ed25519.generate,
}


@cache
def key(name: str = "ECDSA") -> Any:
    """Return a key for the images of this run."""
    return KEYS[name]()


@cache
def signed(
    version: str = "1.0.16",
    size: int = 1500,
    signing_key: str | None = "ECDSA",
    **arguments: Any,
) -> bytes:
    """Return an image as MCUboot's tool makes it, with a body of some bytes."""
    image = judge.Image(
        version=decode_version(version),
        header_size=HEADER,
        pad_header=True,
        **arguments,
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "body.bin"
        path.write_bytes(random.Random(size).randbytes(size))
        image.load(str(path))
    image.create(signing_key and key(signing_key), "hash", None)
    if image.pad:
        image.pad_to(image.slot_size)
    return bytes(image.payload)


def is_accepted_by_judge(path: Path, content: bytes, signing_key: Any = None) -> bool:
    """Return the verdict of MCUboot's tool; any error of its own is a refusal."""
    path.write_bytes(content)
    with suppress(struct.error, TypeError, ValueError):
        result, *_ = judge.Image.verify(str(path), signing_key)
        return bool(result is judge.VerifyResult.OK)
    return False


def refusal(content: bytes) -> Refusal | None:
    """Return why we refuse a file, None if we take it."""
    try:
        read_firmware(content)
    except FirmwareRefused as err:
        return err.reason
    return None


@dataclass(frozen=True)
class Parts:
    """An image in parts; every one can be wrong."""

    address: int = 0
    header_size: int = 32
    protected_size: int | None = None
    size: int | None = None
    flags: int = 0
    body: bytes = bytes(range(200))
    protected: tuple[tuple[int, bytes], ...] = ()
    gap: bytes = b""
    signature: tuple[tuple[int, bytes], ...] = ((0x24, bytes(64)),)

    def build(self, *tlvs: tuple[int, bytes]) -> bytes:
        """Return the image, with these records or with its right hash and more."""
        protected = area(0x6908, *self.protected) if self.protected else b""
        protected += self.gap
        stated = len(protected) if self.protected_size is None else self.protected_size
        size = len(self.body) if self.size is None else self.size
        header = struct.pack(
            "<IIHHIIBBHII",
            *(MAGIC, self.address, self.header_size, stated, size, self.flags),
            *(1, 0, 16, 0, 0),
        )
        content = header + self.body + protected
        digest = sha256(content).digest()
        return content + area(0x6907, *(tlvs or ((0x10, digest), *self.signature)))


def area(magic: int, *tlvs: tuple[int, bytes]) -> bytes:
    """Return an area with its records."""
    records = b"".join(struct.pack("<HH", k, len(v)) + v for k, v in tlvs)
    return struct.pack("<HH", magic, 4 + len(records)) + records


def zipped(*files: tuple[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip with files by name."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("name", KEYS)
def test_signed_image(tmp_path: Path, name: str) -> None:
    """Version, hash, signature and size are read as the judge reads them."""
    content = signed("1.0.16+4", signing_key=name, security_counter=7)
    path = tmp_path / "image.bin"
    path.write_bytes(content)
    result, version, digest, _ = judge.Image.verify(str(path), key(name))
    assert result is judge.VerifyResult.OK
    image = read_firmware(content)
    assert image == Image(Version(*version), digest, name, content)
    assert str(image.version) == "1.0.16.4"
    assert image.size == len(content)


STRICTER_AT = {
    # The judge is content with a signature alone; a meter lists images by their hash.
    # It also reads the type of a record from one byte, MCUboot from two.
    Refusal.NO_HASH: {4, 5},
    Refusal.NOT_SIGNED: {77},
    # It accepts a record that reaches beyond its area, and anything after the
    # record that it looks for.
    Refusal.DAMAGED: {2, 3, 78, 79},
}
"""Why we may refuse what the judge takes, and which byte of the TLVs was changed."""


def test_a_thousand_mutated_images(tmp_path: Path) -> None:
    """The judge with the key and we without it agree, or the exception is listed.

    Bytes are changed, put in or left out everywhere, half of them among the numbers.
    Only the bytes of the signature itself need the key, and only the meter has it:
    there the judge is asked without it.
    """
    path = tmp_path / "image.bin"
    chance = random.Random(4)
    originals = [
        (signed(), "ECDSA", HEADER + 1500),
        (signed(security_counter=7), "ECDSA", HEADER + 1500 + 12),
        (signed(signing_key="RSA-2048"), "RSA-2048", HEADER + 1500),
    ]
    verdicts: set[bool] = set()
    for number in range(1000):
        original, name, tlvs = originals[number % len(originals)]
        signature = tlvs + 4 + 36 + 36 + 4
        mutant = mutate(original, chance, tlvs)
        reason = refusal(mutant)
        verdicts.add(reason is None)
        is_signature = mutant.startswith(original[:signature])
        is_complete = len(mutant) >= len(original)
        accepted = is_accepted_by_judge(
            path, mutant, None if is_signature and is_complete else key(name)
        )
        if accepted is (reason is None):
            continue
        assert accepted
        assert reason
        both = enumerate(zip(original, mutant, strict=False))
        first = next(at for at, (old, new) in both if old != new)
        assert first - tlvs in STRICTER_AT[reason]
    assert verdicts == {True, False}


def mutate(content: bytes, chance: random.Random, tlvs: int) -> bytes:
    """Return a file with one thing wrong, often in the numbers of header or TLVs."""
    mutant = bytearray(content)
    numbers = [*range(32), *range(tlvs, tlvs + 8), *range(tlvs + 40, tlvs + 44)]
    numbers += range(tlvs + 76, tlvs + 80)
    position = chance.choice((chance.choice(numbers), chance.randrange(len(content))))
    match chance.randrange(6):
        case 0 | 1 | 2:
            mutant[position] ^= 1 << chance.randrange(8)
        case 3:
            mutant[position] = chance.randrange(256)
        case 4:
            del mutant[position : position + chance.randrange(1, 9)]
        case 5:
            mutant[position:position] = chance.randbytes(chance.randrange(1, 9))
    return bytes(mutant)


def test_every_length(tmp_path: Path) -> None:
    """A file without any number of bytes at its end is refused, as by the judge."""
    content = signed(size=200)
    for length in range(len(content)):
        assert refusal(content[:length]) in {Refusal.NOT_AN_IMAGE, Refusal.TRUNCATED}
    assert not is_accepted_by_judge(tmp_path / "image.bin", content[:-1], key())


@given(
    st.builds(
        Parts,
        address=st.sampled_from((0, 0x0800_0000, 0x4000_0000)),
        header_size=st.sampled_from((0, 31, 32, 33, 100)),
        protected_size=st.sampled_from((None, None, 0, 4, 12)),
        size=st.sampled_from((None, None, 0, 199, 201, 0xFFFF_FFFF)),
        flags=st.sampled_from((0, 1, 4, 0x20)),
        protected=st.lists(
            st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=9)), max_size=2
        ).map(tuple),
        signature=st.lists(
            st.tuples(st.integers(0x1F, 0x26), st.binary(max_size=70)), max_size=3
        ).map(tuple),
    )
)
def test_taken_images_are_taken_by_the_judge(
    tmp_path_factory: pytest.TempPathFactory, parts: Parts
) -> None:
    """With any numbers in an image: we take none against the judge."""
    content = parts.build()
    if refusal(content) is None:
        path = tmp_path_factory.getbasetemp() / "image.bin"
        assert is_accepted_by_judge(path, content)


STRICTER = {
    "in the meter's peripherals": (
        Parts(address=0x4000_0000),
        Refusal.OTHER_PRODUCT,
    ),
    "nowhere": (Parts(address=0xFFFF_FFFF), Refusal.OTHER_PRODUCT),
    "encrypted": (Parts(flags=0x4), Refusal.OTHER_PRODUCT),
    "not bootable": (Parts(flags=0x10), Refusal.OTHER_PRODUCT),
    "loaded to RAM": (Parts(flags=0x20), Refusal.OTHER_PRODUCT),
    "compressed": (Parts(flags=0x200), Refusal.OTHER_PRODUCT),
    # MCUboot compares the number in the header with the area that is there.
    "another protected size": (
        Parts(protected=((0x50, bytes(4)),), protected_size=0),
        Refusal.DAMAGED,
    ),
    "protected size without the area": (Parts(protected_size=4), Refusal.DAMAGED),
    # The header is 32 bytes: a body that begins in it is none.
    "a header that is too short": (
        Parts(header_size=31, body=bytes(200), size=201),
        Refusal.DAMAGED,
    ),
    "no body": (Parts(body=b""), Refusal.DAMAGED),
    "no signature": (Parts(signature=()), Refusal.NOT_SIGNED),
    "an empty signature": (Parts(signature=((0x20, b""),)), Refusal.NOT_SIGNED),
}


@pytest.mark.parametrize("name", STRICTER)
def test_stricter_than_the_judge(tmp_path: Path, name: str) -> None:
    """Images that the judge leaves to the meter are refused before they are sent."""
    parts, reason = STRICTER[name]
    content = parts.build()
    assert refusal(content) is reason
    assert is_accepted_by_judge(tmp_path / "image.bin", content)


def test_gap_after_the_protected_records(tmp_path: Path) -> None:
    """The header and the area itself must agree on its size."""
    parts = Parts(protected=((0x50, bytes(4)),), gap=bytes(4))
    assert refusal(parts.build()) is Refusal.DAMAGED
    assert not is_accepted_by_judge(tmp_path / "image.bin", parts.build())


def test_half_a_record() -> None:
    """Records end where their area ends."""
    content = bytearray(Parts().build())
    size = 32 + len(Parts().body) + 2
    content[size : size + 2] = struct.pack("<H", len(content) - size + 4)
    assert refusal(bytes(content + b"\x50\0")) is Refusal.DAMAGED


def test_hash_is_missing() -> None:
    """A meter lists an image by its only SHA-256, and no other."""
    parts = Parts()
    digest = sha256(parts.build()[: 32 + len(parts.body)]).digest()
    right, signature = (0x10, digest), parts.signature[0]
    assert refusal(parts.build(right, signature)) is None
    assert refusal(parts.build(right, right, signature)) is Refusal.NO_HASH
    assert refusal(parts.build((0x10, digest[:31]), signature)) is Refusal.NO_HASH
    assert refusal(parts.build((0x12, bytes(64)), signature)) is Refusal.NO_HASH
    assert refusal(parts.build(right, (0x11, bytes(48)), signature)) is Refusal.NO_HASH
    assert refusal(parts.build(right, (0x25, b"\1"), signature)) is Refusal.NO_HASH
    assert refusal(parts.build((0x110, digest), signature)) is Refusal.NO_HASH


def test_unsigned_image(tmp_path: Path) -> None:
    """An unsigned image is in order, and refused all the same."""
    content = signed(signing_key=None)
    assert is_accepted_by_judge(tmp_path / "image.bin", content)
    assert refusal(content) is Refusal.NOT_SIGNED


@pytest.mark.parametrize("byte", [27, 40, 512, 900])
def test_wrong_hash(byte: int) -> None:
    """One changed byte is found in the header, in its padding and in the body."""
    content = bytearray(signed())
    content[byte] ^= 1
    assert refusal(bytes(content)) is Refusal.WRONG_HASH


def test_nothing_after_the_image_is_sent() -> None:
    """A trailer would confirm an image that never ran."""
    content = signed(signing_key="Ed25519")
    padded = signed(signing_key="Ed25519", slot_size=64 * 1024, pad=True, confirm=True)
    assert padded.startswith(content)
    assert len(padded) == 64 * 1024
    assert read_firmware(padded).data == content
    assert read_firmware(content + b"garbage").data == content


def test_largest_image() -> None:
    """An image may be as large as the bound, and not a byte larger."""
    overhead = len(signed(size=1000, signing_key="RSA-2048")) - 1000
    largest = signed(size=LARGEST_IMAGE - overhead, signing_key="RSA-2048")
    assert read_firmware(largest).size == LARGEST_IMAGE
    assert read_firmware(zipped(("image.bin", largest))).data == largest
    assert refusal(largest + b"\xff") is Refusal.TOO_LARGE
    assert refusal(zipped(("image.bin", largest + b"\xff"))) is Refusal.TOO_LARGE


@pytest.mark.parametrize(
    "content",
    [b"", b"\x3d", b"MZ", bytes(5000)],
    ids=["nothing", "a byte of the magic", "program", "zeros"],
)
def test_not_an_image(content: bytes) -> None:
    """Other files are not taken for images."""
    assert refusal(content) is Refusal.NOT_AN_IMAGE
    assert refusal(content + bytes(LARGEST_FILE - len(content))) is refusal(content)
    assert refusal(content + bytes(LARGEST_FILE + 1)) is Refusal.TOO_LARGE


@given(st.binary(max_size=600))
@example(struct.pack("<I", MAGIC))
def test_garbage(tail: bytes) -> None:
    """Any bytes after the magic number are refused with a reason."""
    assert refusal(tail)
    assert refusal(struct.pack("<I", MAGIC) + tail)
    assert refusal(b"PK\x03\x04" + tail)


def test_zip_of_the_vendor() -> None:
    """The image is found beside the Windows program, by its content."""
    program = random.Random(1).randbytes(100_000)
    content = zipped(
        ("EMU Updater/mcumgr.exe", b"MZ" + program),
        ("EMU Updater/update.cmd", b"@echo off"),
        ("EMU Updater/firmware", signed()),
        ("__MACOSX/._firmware.bin", b"\0\5\x16\7"),
    )
    assert read_firmware(content) == read_firmware(signed())


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], Refusal.NO_IMAGE_IN_ZIP),
        ([("readme.txt", b"hello"), ("empty.bin", b"")], Refusal.NO_IMAGE_IN_ZIP),
        ([("a.bin", signed()), ("b.bin", signed("1.0.17"))], Refusal.SEVERAL_IMAGES),
        ([("nested.zip", zipped(("a.bin", signed())))], Refusal.NO_IMAGE_IN_ZIP),
        ([("../a.bin", signed())], Refusal.UNSAFE_ZIP),
        ([("a/../../b.bin", signed())], Refusal.UNSAFE_ZIP),
        ([("..\\a.bin", signed())], Refusal.UNSAFE_ZIP),
        ([("/etc/passwd", signed())], Refusal.UNSAFE_ZIP),
        ([("C:\\a.bin", signed())], Refusal.UNSAFE_ZIP),
        ([("a.bin", signed()[:-1])], Refusal.TRUNCATED),
        ([(f"{number}", b"") for number in range(101)], Refusal.BAD_ZIP),
    ],
)
def test_refused_zip(files: list[tuple[str, bytes]], reason: Refusal) -> None:
    """Each fault of a zip has its own reason."""
    assert refusal(zipped(*files)) is reason


HARMFUL = {
    "name that is no UTF-8": (8, b"\0\x08", 46, b"\xff"),
    "directory before the file": (-6, b"\xff\xff\xff\x7f", 0, b"PK"),
    "from a later zip": (6, b"\x63\0", 0, b"PK"),
    "entry beyond the end": (42, b"\xff\xff\xff\x7f", 0, b"PK"),
}
"""What is written at which place of the zip's directory, or from the zip's end."""


@pytest.mark.parametrize("name", HARMFUL)
def test_harmful_zip(name: str) -> None:
    """All errors of the unzipping are one reason."""
    content = bytearray(zipped(("a.bin", signed())))
    directory = content.rindex(b"PK\x01\x02")
    first, value, second, other = HARMFUL[name]
    for place, written in ((first, value), (second, other)):
        at = directory + place if place >= 0 else len(content) + place
        content[at : at + len(written)] = written
    assert refusal(bytes(content)) is Refusal.BAD_ZIP


def test_entry_ends_too_early() -> None:
    """A zip may tell of more bytes than it has."""
    content = bytearray(zipped(("a.bin", signed()), compression=zipfile.ZIP_STORED))
    directory = content.rindex(b"PK\x01\x02")
    del content[100:directory]
    content[-6:-2] = struct.pack("<I", 100)
    assert refusal(bytes(content)) is Refusal.BAD_ZIP


def test_entry_beyond_all_files() -> None:
    """A zip may name a place beyond every file."""
    content = zipped(("a.bin", signed()))
    start, end = content.rindex(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    directory = bytearray(content[start:end] + struct.pack("<HHQ", 1, 8, 2**63))
    directory[30:32] = struct.pack("<H", 12)
    directory[42:46] = b"\xff" * 4
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(directory), start, 0)
    assert refusal(content[:start] + directory + tail) is Refusal.BAD_ZIP


def test_encrypted_zip() -> None:
    """A zip with a password says so."""
    content = bytearray(zipped(("a.bin", signed())))
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    assert refusal(bytes(content)) is Refusal.ENCRYPTED_ZIP


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_ZSTANDARD]
)
def test_unbounded_compression(compression: int) -> None:
    """Only compressions with piecewise unpacking are accepted."""
    content = zipped(("a.bin", signed()), compression=compression)
    assert refusal(content) is Refusal.BAD_ZIP


@given(st.data())
def test_damaged_zip(data: st.DataObject) -> None:
    """A zip with damage anywhere gives the right image or a reason."""
    content = bytearray(zipped(("a.bin", signed()), ("b.txt", b"hello")))
    end = len(content) - 1
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, end) | st.integers(end - 200, end))
        content[at] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))]
    try:
        image = read_firmware(bytes(content))
    except FirmwareRefused:
        return
    assert image == read_firmware(signed())


def bomb() -> bytes:
    """Return a zip of 60 KB with 64 MB in it, begun like an image."""
    return zipped(("a.bin", signed()[:600] + bytes(64 * 1024 * 1024)))


def crowd() -> bytes:
    """Return a zip of nothing but names, a hundred thousand of them."""
    content = zipped(("a", b""))
    start, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    count = 100_000
    names = content[start:end] * count
    tail = struct.pack(
        "<4sHHHHIIH", b"PK\5\6", 0, 0, 65535, 65535, len(names), start, 0
    )
    return content[:start] + names + tail


@pytest.mark.parametrize(
    ("build", "reason"), [(bomb, Refusal.TOO_LARGE), (crowd, Refusal.BAD_ZIP)]
)
def test_bombs(build: Callable[[], bytes], reason: Refusal) -> None:
    """No file takes more memory than the largest image or so."""
    content = build()
    tracemalloc.start()
    try:
        assert refusal(content) is reason
        assert tracemalloc.get_traced_memory()[1] < 4 * LARGEST_IMAGE
    finally:
        tracemalloc.stop()


def test_versions() -> None:
    """Versions are ordered by number, and written as the meter writes them."""
    texts = ["0.9.99", "1.0.9", "1.0.16", "1.0.16.4", "1.0.16.10", "1.1.0", "255.0.0"]
    versions = [Version.parse(text) for text in texts]
    assert versions == sorted(versions)
    assert [str(version) for version in versions] == texts
    for text in ("1.0.16.0", "1.0.16+0", "V1.0.16", "v1.0.16", " 1.0.16 ", "01.00.16"):
        assert Version.parse(text) == Version(1, 0, 16)
    assert Version.parse("V1.0.16+4") == Version(1, 0, 16, 4)


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "1.0.x", "W1.0.16", "1.0.16-rc1", "1.0.16\n", "１.0.16"]
)
def test_no_version(text: str) -> None:
    """Anything else is no version."""
    with pytest.raises(ValueError):
        Version.parse(text)


def test_reason_is_in_the_log_line() -> None:
    """The error's text says why."""
    with pytest.raises(FirmwareRefused, match="refused: not an image"):
        read_firmware(b"")
