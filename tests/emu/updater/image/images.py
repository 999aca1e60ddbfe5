"""Images as imgtool signs them, and images put together by hand."""

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
from typing import Any
import zipfile

from imgtool import image as judge, keys  # type: ignore[import-untyped]
from imgtool.version import decode_version  # type: ignore[import-untyped]

from custom_components.emu_professional.emu.errors import FirmwareRefused, RejectReason
from custom_components.emu_professional.emu.updater.image import read_firmware

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


def refusal(content: bytes) -> RejectReason | None:
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
