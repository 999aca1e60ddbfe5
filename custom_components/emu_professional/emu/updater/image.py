"""The check of a firmware image before it leaves the house.

Chapter "Firmware-Update". The meter's communication module boots with MCUboot, and an
image is

    header │ firmware │ protected TLVs │ TLVs: SHA-256, signature, …
    └───── covered by the hash ───────┘

(TLV: a record of type, length and value). The meter checks almost nothing during an
upload, so all of it is checked here, except the signature itself: its public key is
only in the meter.
"""

from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
import re
import struct
from typing import Final, NamedTuple, Self, override
import zipfile
import zlib

from ..errors import FirmwareRefused, RejectReason

LARGEST_FILE: Final = 32 * 1024 * 1024
"""Bytes of a file; the vendor's zip also has a program in it."""

LARGEST_IMAGE: Final = 1024 * 1024
"""Bytes of an image: five times what the vendor's have.

Two slots of this size fill the 2 MiB of a large microcontroller; a meter whose slots
are smaller refuses the upload itself.
"""

_HEADER: Final = struct.Struct("<IIHHIIBBHII")
_MAGIC: Final = 0x96F3B83D
_PROTECTED_MAGIC: Final = 0x6908
_UNPROTECTED_MAGIC: Final = 0x6907
_PAIR: Final = struct.Struct("<HH")

# Beyond the regions of code and RAM in every Cortex-M's memory.
_LOAD_ADDRESS_END: Final = 0x4000_0000
_POSITION_INDEPENDENT: Final = 0x1
_FIXED_ADDRESS: Final = 0x100
# All others (encrypted, compressed, loaded to RAM, not bootable) need another bootloader.
_KNOWN_FLAGS: Final = _POSITION_INDEPENDENT | _FIXED_ADDRESS

_SHA256: Final = 0x10
_SHA256_LENGTH: Final = 32
# SHA-256, SHA-384, SHA-512, and the mark of a signature without a hash
_HASHES: Final = {_SHA256, 0x11, 0x12, 0x25}
# Type of the record: name of the algorithm, possible lengths of its signatures
_SIGNATURES: Final = {
    0x20: ("RSA-2048", range(256, 257)),
    0x21: ("ECDSA P-224", range(8, 65)),
    0x22: ("ECDSA", range(8, 105)),
    0x23: ("RSA-3072", range(384, 385)),
    0x24: ("Ed25519", range(64, 65)),
}

_ZIP_MAGIC: Final = b"PK"
_ZIP_ENTRY_MAGIC: Final = b"PK\x01\x02"
_MOST_ENTRIES: Final = 100
# The others unpack gigabytes in one go if a file is made to harm.
_BOUNDED_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1
# Raised by zipfile for archives that are damaged or made to harm
_ZIP_ERRORS: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)

_VERSION: Final = re.compile(
    r" *[Vv]? *(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:[.+](\d{1,10}))? *", re.ASCII
)


class Version(NamedTuple):
    """A firmware version, for instance 1.0.16; versions can be compared."""

    major: int
    minor: int
    revision: int
    build: int = 0
    """Rarely used; written only if it is not 0."""

    @override
    def __str__(self) -> str:
        version = f"{self.major}.{self.minor}.{self.revision}"
        return f"{version}.{self.build}" if self.build else version

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the version of a text: 1.0.16 or 1.0.16.4 as meters write it.

        Other spellings are read as well: V1.0.16, 1.0.16+4.
        Raises ValueError for anything else.
        """
        if not (match := _VERSION.fullmatch(text)):
            raise ValueError(f"{text!r:.40} is no version")
        return cls(*(int(part) for part in match.groups("0")))


@dataclass(frozen=True, slots=True)
class Image:
    """A firmware image after all checks."""

    version: Version
    hash: bytes
    """SHA-256 in the image: listed by a meter, and named by *test* and *confirm*."""

    signature: str
    """Algorithm of its signature; only the meter can check it."""

    data: bytes
    """The bytes to upload: from the header to the last TLV, nothing after it."""

    @property
    def size(self) -> int:
        """Bytes to upload."""
        return len(self.data)


class _Tlv(NamedTuple):
    type: int
    value: bytes


def read_firmware(content: bytes) -> Image:
    """Return the image of a firmware file: the image itself, or a zip with it.

    Chapter "Firmware-Update". Its name does not matter, only its content. Takes less
    than a second for the largest file, and no more memory than that and one image.
    Raises FirmwareRefused.
    """
    if len(content) > LARGEST_FILE:
        raise FirmwareRefused(RejectReason.TOO_LARGE)
    if content.startswith(_ZIP_MAGIC):
        content = _unzip(content)
    return _check(content)


def _check(content: bytes) -> Image:
    """Return the image at the beginning of a file. Raises FirmwareRefused."""
    if not content.startswith(_MAGIC.to_bytes(4, "little")):
        raise FirmwareRefused(RejectReason.NOT_AN_IMAGE)
    if len(content) > LARGEST_IMAGE:
        raise FirmwareRefused(RejectReason.TOO_LARGE)
    if len(content) < _HEADER.size:
        raise FirmwareRefused(RejectReason.TRUNCATED)
    _, address, header_size, protected_size, size, flags, *version, _ = (
        _HEADER.unpack_from(content)
    )
    # Such an image may be sound, but this module could never run it.
    if address >= _LOAD_ADDRESS_END or flags & ~_KNOWN_FLAGS:
        raise FirmwareRefused(RejectReason.OTHER_PRODUCT)
    if header_size < _HEADER.size or not size:
        raise FirmwareRefused(RejectReason.DAMAGED)
    hashed = header_size + size + protected_size
    if protected_size:
        area = _area(content, hashed - protected_size, _PROTECTED_MAGIC)
        if len(area) != protected_size:
            raise FirmwareRefused(RejectReason.DAMAGED)
        # Only their form is checked: none of them matters here.
        _tlvs(area)
    area = _area(content, hashed, _UNPROTECTED_MAGIC)
    tlvs = _tlvs(area)
    digest = sha256(memoryview(content)[:hashed]).digest()
    _check_hash(tlvs, digest)
    data = content[: hashed + len(area)]
    return Image(Version(*version), digest, _signature(tlvs), data)


def _area(content: bytes, start: int, magic: int) -> bytes:
    """Return an area of TLVs, its magic number and size included."""
    if len(content) < start + _PAIR.size:
        raise FirmwareRefused(RejectReason.TRUNCATED)
    found, size = _PAIR.unpack_from(content, start)
    if found != magic or size < _PAIR.size:
        raise FirmwareRefused(RejectReason.DAMAGED)
    if len(content) < start + size:
        raise FirmwareRefused(RejectReason.TRUNCATED)
    return content[start : start + size]


def _tlvs(area: bytes) -> list[_Tlv]:
    tlvs: list[_Tlv] = []
    position = _PAIR.size
    while position < len(area):
        if position + _PAIR.size > len(area):
            raise FirmwareRefused(RejectReason.DAMAGED)
        kind, length = _PAIR.unpack_from(area, position)
        position += _PAIR.size + length
        if position > len(area):
            raise FirmwareRefused(RejectReason.DAMAGED)
        tlvs.append(_Tlv(kind, area[position - length : position]))
    return tlvs


def _check_hash(tlvs: list[_Tlv], digest: bytes) -> None:
    # A meter lists no image with two hashes, and names none by another kind of hash.
    hashes = [tlv for tlv in tlvs if tlv.type in _HASHES]
    if [(tlv.type, len(tlv.value)) for tlv in hashes] != [(_SHA256, _SHA256_LENGTH)]:
        raise FirmwareRefused(RejectReason.NO_HASH)
    if hashes[0].value != digest:
        raise FirmwareRefused(RejectReason.WRONG_HASH)


def _signature(tlvs: list[_Tlv]) -> str:
    # The length is all there is to check without the meter's public key.
    for tlv in tlvs:
        name, lengths = _SIGNATURES.get(tlv.type, ("", range(0)))
        if len(tlv.value) in lengths:
            return name
    raise FirmwareRefused(RejectReason.NOT_SIGNED)


def _unzip(content: bytes) -> bytes:
    """Return the only image in a zip; nothing is written to a disk."""
    # Each entry costs memory before zipfile counts them.
    if content.count(_ZIP_ENTRY_MAGIC) > _MOST_ENTRIES:
        raise FirmwareRefused(RejectReason.BAD_ZIP)
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            return _image_in(archive)
    except _ZIP_ERRORS as err:
        raise FirmwareRefused(RejectReason.BAD_ZIP) from err


def _image_in(archive: zipfile.ZipFile) -> bytes:
    files = [entry for entry in archive.infolist() if not entry.is_dir()]
    for entry in files:
        _check_entry(entry)
    images = [entry for entry in files if _is_image(archive, entry)]
    if not images:
        raise FirmwareRefused(RejectReason.NO_IMAGE_IN_ZIP)
    if len(images) > 1:
        raise FirmwareRefused(RejectReason.SEVERAL_IMAGES)
    # The size in the archive's own table may be false.
    with archive.open(images[0]) as file:
        return file.read(LARGEST_IMAGE + 1)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    # Nothing is unpacked to these paths, but no honest zip has them.
    path = entry.filename.replace("\\", "/")
    if path.startswith("/") or ":" in path or ".." in path.split("/"):
        raise FirmwareRefused(RejectReason.UNSAFE_ZIP)
    if entry.flag_bits & _ENCRYPTED:
        raise FirmwareRefused(RejectReason.ENCRYPTED_ZIP)
    if entry.compress_type not in _BOUNDED_COMPRESSIONS:
        raise FirmwareRefused(RejectReason.BAD_ZIP)


def _is_image(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    with archive.open(entry) as file:
        return file.read(4) == _MAGIC.to_bytes(4, "little")
