"""The parts of an image: header, records, hash, signature."""

from hashlib import sha256
from pathlib import Path
import struct

from hypothesis import example, given, strategies as st
import pytest

from custom_components.emu_professional.emu.errors import FirmwareRefused, RejectReason
from custom_components.emu_professional.emu.updater.image import (
    LARGEST_FILE,
    LARGEST_IMAGE,
    read_firmware,
)

from .images import MAGIC, Parts, is_accepted_by_judge, refusal, signed, zipped


def test_gap_after_the_protected_records(tmp_path: Path) -> None:
    """The header and the area itself must agree on its size."""
    parts = Parts(protected=((0x50, bytes(4)),), gap=bytes(4))
    assert refusal(parts.build()) is RejectReason.DAMAGED
    assert not is_accepted_by_judge(tmp_path / "image.bin", parts.build())


def test_half_a_record() -> None:
    """Records end where their area ends."""
    content = bytearray(Parts().build())
    size = 32 + len(Parts().body) + 2
    content[size : size + 2] = struct.pack("<H", len(content) - size + 4)
    assert refusal(bytes(content + b"\x50\0")) is RejectReason.DAMAGED


def test_hash_is_missing() -> None:
    """A meter lists an image by its only SHA-256, and no other."""
    parts = Parts()
    digest = sha256(parts.build()[: 32 + len(parts.body)]).digest()
    right, signature = (0x10, digest), parts.signature[0]
    assert refusal(parts.build(right, signature)) is None
    assert refusal(parts.build(right, right, signature)) is RejectReason.NO_HASH
    assert refusal(parts.build((0x10, digest[:31]), signature)) is RejectReason.NO_HASH
    assert refusal(parts.build((0x12, bytes(64)), signature)) is RejectReason.NO_HASH
    assert (
        refusal(parts.build(right, (0x11, bytes(48)), signature))
        is RejectReason.NO_HASH
    )
    assert refusal(parts.build(right, (0x25, b"\1"), signature)) is RejectReason.NO_HASH
    assert refusal(parts.build((0x110, digest), signature)) is RejectReason.NO_HASH


def test_unsigned_image(tmp_path: Path) -> None:
    """An unsigned image is in order, and refused all the same."""
    content = signed(signing_key=None)
    assert is_accepted_by_judge(tmp_path / "image.bin", content)
    assert refusal(content) is RejectReason.NOT_SIGNED


@pytest.mark.parametrize("byte", [27, 40, 512, 900])
def test_wrong_hash(byte: int) -> None:
    """One changed byte is found in the header, in its padding and in the body."""
    content = bytearray(signed())
    content[byte] ^= 1
    assert refusal(bytes(content)) is RejectReason.WRONG_HASH


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
    assert refusal(largest + b"\xff") is RejectReason.TOO_LARGE
    assert refusal(zipped(("image.bin", largest + b"\xff"))) is RejectReason.TOO_LARGE


@pytest.mark.parametrize(
    "content",
    [b"", b"\x3d", b"MZ", bytes(5000)],
    ids=["nothing", "a byte of the magic", "program", "zeros"],
)
def test_not_an_image(content: bytes) -> None:
    """Other files are not taken for images."""
    assert refusal(content) is RejectReason.NOT_AN_IMAGE
    assert refusal(content + bytes(LARGEST_FILE - len(content))) is refusal(content)
    assert refusal(content + bytes(LARGEST_FILE + 1)) is RejectReason.TOO_LARGE


@given(st.binary(max_size=600))
@example(struct.pack("<I", MAGIC))
def test_garbage(tail: bytes) -> None:
    """Any bytes after the magic number are refused with a reason."""
    assert refusal(tail)
    assert refusal(struct.pack("<I", MAGIC) + tail)
    assert refusal(b"PK\x03\x04" + tail)


def test_reason_is_in_the_log_line() -> None:
    """The error's text says why."""
    with pytest.raises(FirmwareRefused, match="refused: not an image"):
        read_firmware(b"")
