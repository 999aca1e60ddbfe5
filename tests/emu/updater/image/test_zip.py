"""Zips: the vendor's, damaged ones, and harmful ones."""

from collections.abc import Callable
import random
import struct
import tracemalloc
import zipfile

from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.emu.errors import FirmwareRefused, RejectReason
from custom_components.emu_professional.emu.updater.image import (
    LARGEST_IMAGE,
    read_firmware,
)

from .images import refusal, signed, zipped


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
        ([], RejectReason.NO_IMAGE_IN_ZIP),
        ([("readme.txt", b"hello"), ("empty.bin", b"")], RejectReason.NO_IMAGE_IN_ZIP),
        (
            [("a.bin", signed()), ("b.bin", signed("1.0.17"))],
            RejectReason.SEVERAL_IMAGES,
        ),
        ([("nested.zip", zipped(("a.bin", signed())))], RejectReason.NO_IMAGE_IN_ZIP),
        ([("../a.bin", signed())], RejectReason.UNSAFE_ZIP),
        ([("a/../../b.bin", signed())], RejectReason.UNSAFE_ZIP),
        ([("..\\a.bin", signed())], RejectReason.UNSAFE_ZIP),
        ([("/etc/passwd", signed())], RejectReason.UNSAFE_ZIP),
        ([("C:\\a.bin", signed())], RejectReason.UNSAFE_ZIP),
        ([("a.bin", signed()[:-1])], RejectReason.TRUNCATED),
        ([(f"{number}", b"") for number in range(101)], RejectReason.BAD_ZIP),
    ],
)
def test_refused_zip(files: list[tuple[str, bytes]], reason: RejectReason) -> None:
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
    assert refusal(bytes(content)) is RejectReason.BAD_ZIP


def test_entry_ends_too_early() -> None:
    """A zip may tell of more bytes than it has."""
    content = bytearray(zipped(("a.bin", signed()), compression=zipfile.ZIP_STORED))
    directory = content.rindex(b"PK\x01\x02")
    del content[100:directory]
    content[-6:-2] = struct.pack("<I", 100)
    assert refusal(bytes(content)) is RejectReason.BAD_ZIP


def test_entry_beyond_all_files() -> None:
    """A zip may name a place beyond every file."""
    content = zipped(("a.bin", signed()))
    start, end = content.rindex(b"PK\x01\x02"), content.rindex(b"PK\x05\x06")
    directory = bytearray(content[start:end] + struct.pack("<HHQ", 1, 8, 2**63))
    directory[30:32] = struct.pack("<H", 12)
    directory[42:46] = b"\xff" * 4
    tail = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(directory), start, 0)
    assert refusal(content[:start] + directory + tail) is RejectReason.BAD_ZIP


def test_encrypted_zip() -> None:
    """A zip with a password says so."""
    content = bytearray(zipped(("a.bin", signed())))
    content[6] |= 1
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    assert refusal(bytes(content)) is RejectReason.ENCRYPTED_ZIP


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_ZSTANDARD]
)
def test_unbounded_compression(compression: int) -> None:
    """Only compressions with piecewise unpacking are accepted."""
    content = zipped(("a.bin", signed()), compression=compression)
    assert refusal(content) is RejectReason.BAD_ZIP


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
    ("build", "reason"), [(bomb, RejectReason.TOO_LARGE), (crowd, RejectReason.BAD_ZIP)]
)
def test_bombs(build: Callable[[], bytes], reason: RejectReason) -> None:
    """No file takes more memory than the largest image or so."""
    content = build()
    tracemalloc.start()
    try:
        assert refusal(content) is reason
        assert tracemalloc.get_traced_memory()[1] < 4 * LARGEST_IMAGE
    finally:
        tracemalloc.stop()
