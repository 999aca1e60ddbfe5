"""MCUboot's two slots of flash: their bytes, and the running image after a reset.

Swap with revert (chapter "Firmware-Update"): an image in slot 1 with the mark for
test is swapped into slot 0 at the next reset and swapped back at the one after it,
unless it was confirmed in between. Everything that outlives a loss of power is in
the bytes of the slots and in the progress of a swap; the rest is read from there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
import hashlib
import struct
from typing import NamedTuple, override

SECTOR = 4096
SLOT_SIZE = 96 * SECTOR
HEADER_SIZE = 32
MAGIC = 0x96F3B83D
_NON_BOOTABLE = 0x10

_TLV_MAGIC, _PROTECTED_TLV_MAGIC = 0x6907, 0x6908
_KEY_HASH, _SHA256, _ED25519 = 0x01, 0x10, 0x24

_ERASED = 0xFF
_SET = 0x01
_TRAILER_MAGIC = bytes.fromhex("77c295f360d2ef7f3552500f2cb67980")
_MAGIC_AT = -16
_IMAGE_OK_AT = -24
_COPY_DONE_AT = -32
TRAILER_SIZE = SECTOR
"""Bytes at the end of a slot that no image may use."""


class BadImageError(ValueError):
    """The bytes are no image."""


class Version(NamedTuple):
    """An image's version."""

    major: int
    minor: int
    revision: int
    build: int = 0

    @override
    def __str__(self) -> str:
        """Return it as the meter prints it: with the build number only if there is one."""
        return ".".join(map(str, self if self.build else self[:3]))


@dataclass(frozen=True, slots=True)
class Image:
    """Header and TLVs of an image; nothing of it is checked."""

    version: Version
    bootable: bool
    header_size: int
    payload_size: int
    hashed: bytes
    """What the hash covers: header, payload and protected TLVs."""
    tlvs: tuple[tuple[int, bytes], ...]

    @property
    def hash(self) -> bytes:
        """The SHA-256 of the TLVs, right or wrong."""
        return next(value for kind, value in self.tlvs if kind == _SHA256)

    @property
    def payload(self) -> bytes:
        """The program of the module."""
        return self.hashed[self.header_size :][: self.payload_size]


def read_image(flash: bytes | bytearray) -> Image:
    """Read the image at the beginning of `flash`; the bytes after it are ignored.

    Raises `BadImageError` if there is none with a hash.
    """
    if len(flash) < HEADER_SIZE:
        raise BadImageError("No room for a header")
    magic, _, header_size, protected, payload_size, flags, *version = (
        struct.unpack_from("<IIHHIIBBHI", flash)
    )
    if magic != MAGIC:
        raise BadImageError("Another magic number")
    end = header_size + payload_size
    if protected:
        _tlvs(flash, end, _PROTECTED_TLV_MAGIC)
        end += protected
    tlvs = tuple(_tlvs(flash, end, _TLV_MAGIC))
    if not any(kind == _SHA256 and len(value) == 32 for kind, value in tlvs):
        raise BadImageError("No hash")
    hashed = bytes(flash[:end])
    bootable = not flags & _NON_BOOTABLE
    return Image(Version(*version), bootable, header_size, payload_size, hashed, tlvs)


def _tlvs(
    flash: bytes | bytearray, begin: int, expected: int
) -> list[tuple[int, bytes]]:
    if begin + 4 > len(flash):
        raise BadImageError("TLVs outside the slot")
    magic, size = struct.unpack_from("<HH", flash, begin)
    end = begin + size
    if magic != expected or end > len(flash):
        raise BadImageError("No TLVs")
    tlvs = []
    position = begin + 4
    while position + 4 <= end:
        kind, length = struct.unpack_from("<HH", flash, position)
        position += 4
        if position + length > end:
            raise BadImageError("A TLV that is longer than its area")
        tlvs.append((kind, bytes(flash[position : position + length])))
        position += length
    return tlvs


def is_valid(flash: bytes | bytearray, key: bytes | None) -> bool:
    """Return whether MCUboot boots the image at the beginning of `flash`.

    `key` is the raw public Ed25519 key that it must be signed with; None: only the
    hash is checked.
    """
    try:
        image = read_image(flash)
    except BadImageError:
        return False
    if not image.bootable or image.hash != hashlib.sha256(image.hashed).digest():
        return False
    return key is None or _is_signed(image, key)


def _is_signed(image: Image, key: bytes) -> bool:
    # Part of imgtool's requirements; without imgtool nothing is signed.
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    tlvs = dict(image.tlvs)
    public = Ed25519PublicKey.from_public_bytes(key)
    der = _ED25519_DER_PREFIX + key
    if tlvs.get(_KEY_HASH) != hashlib.sha256(der).digest():
        return False
    try:
        public.verify(tlvs.get(_ED25519, b""), image.hash)
    except InvalidSignature:
        return False
    return True


_ED25519_DER_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""What stands before the raw key in its DER form, of which MCUboot takes the hash."""


class Swap(Enum):
    """The effect of the next reset."""

    NONE = "none"
    TEST = "test"
    PERMANENT = "permanent"
    REVERT = "revert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One slot as `image list` shows it."""

    slot: int
    version: str
    hash: bytes
    bootable: bool = True
    pending: bool = False
    confirmed: bool = False
    active: bool = False
    permanent: bool = False


@dataclass(slots=True)
class _Progress:
    swap: Swap
    sectors: int = 0


class Bootloader:
    """The flash of a module with its boot loader. `power_cycle()` runs it."""

    def __init__(
        self, image: bytes, *, key: bytes | None = None, slot_size: int = SLOT_SIZE
    ) -> None:
        """Flash `image` into slot 0, confirmed, as the factory does, and boot.

        `key` is the raw public key that images must be signed with (None: any
        image with a right hash boots). `slot_size` is a multiple of `SECTOR`.
        """
        if slot_size % SECTOR:
            raise ValueError("A slot consists of whole sectors")
        self.key = key
        self.slot_size = slot_size
        self.flash = [bytearray([_ERASED]) * slot_size for _ in range(2)]
        """Both slots, erased bytes are 255."""
        self.running: bytes | None = None
        """The image that runs, as it stands in slot 0; None while there is none."""
        self.refuses_swaps = False
        """Whether it finds that the slots do not fit each other, for instance because
        its way of swapping needs a sector that an image fills: it boots what is in slot
        0, and the mark for a swap stays where it is."""
        self._progress: _Progress | None = None
        if len(image) > self.capacity:
            raise ValueError("The image is larger than the slot")
        self.flash[0][: len(image)] = image
        self.power_cycle()

    @property
    def capacity(self) -> int:
        """Bytes of the largest image."""
        return self.slot_size - TRAILER_SIZE

    @property
    def slots(self) -> list[Slot]:
        """The slots with a whole image, as in `image list`."""
        swap = self.swap
        trial = swap is Swap.REVERT
        pending = swap in (Swap.TEST, Swap.PERMANENT)
        images = [self.image(number) for number in range(2)]
        flags = (
            {"active": True, "confirmed": not trial},
            {
                "pending": pending,
                "permanent": swap is Swap.PERMANENT,
                "confirmed": trial,
            },
        )
        return [
            Slot(
                slot=number,
                version=str(image.version),
                hash=image.hash,
                bootable=image.bootable,
                **flags[number],
            )
            for number, image in enumerate(images)
            if image is not None
        ]

    @property
    def swap(self) -> Swap:
        """The effect of the next reset, by the trailers."""
        if self._progress is not None:
            return self._progress.swap
        running, other = self.flash
        if other[_MAGIC_AT:] == _TRAILER_MAGIC:
            confirmed = other[_IMAGE_OK_AT] == _SET
            return Swap.PERMANENT if confirmed else Swap.TEST
        if (
            running[_MAGIC_AT:] == _TRAILER_MAGIC
            and running[_COPY_DONE_AT] == _SET
            and running[_IMAGE_OK_AT] != _SET
        ):
            return Swap.REVERT
        return Swap.NONE

    def image(self, slot: int) -> Image | None:
        """Return the image in a slot; None if there is no whole one."""
        try:
            return read_image(self.flash[slot][: self.capacity])
        except BadImageError:
            return None

    def is_blank(self, slot: int) -> bool:
        """Return whether every byte of a slot is erased."""
        return self.flash[slot].count(_ERASED) == self.slot_size

    def write(self, offset: int, data: bytes) -> None:
        """Write into slot 1, into erased bytes."""
        self.flash[1][offset : offset + len(data)] = data

    def erase(self) -> None:
        """Erase slot 1."""
        for _ in self.erase_steps():
            pass

    def erase_steps(self) -> Iterator[None]:
        """Erase slot 1 sector by sector; stop iterating to cut the power."""
        blank = bytes([_ERASED]) * SECTOR
        # The trailer first: a slot that is half erased must not be booted.
        for sector in reversed(range(self.slot_size // SECTOR)):
            begin = sector * SECTOR
            self.flash[1][begin : begin + SECTOR] = blank
            yield

    def mark_pending(self, *, permanent: bool = False) -> None:
        """Have slot 1 swapped in at the next reset, to stay if `permanent`."""
        self.flash[1][_MAGIC_AT:] = _TRAILER_MAGIC
        if permanent:
            self.flash[1][_IMAGE_OK_AT] = _SET

    def confirm(self) -> None:
        """Let the image in slot 0 stay."""
        if self.swap is Swap.REVERT:
            self.flash[0][_IMAGE_OK_AT] = _SET

    def power_cycle(self) -> None:
        """Cut the power and boot."""
        for _ in self.boot_steps():
            pass

    def boot_steps(self) -> Iterator[None]:
        """Boot step by step; stop iterating to cut the power.

        An interrupted swap continues at the next boot. `running` is set at the end.
        """
        self.running = None
        yield
        if self._progress is None:
            self._begin_swap()
        while self._progress is not None:
            self._swap_sector(self._progress)
            yield
        if is_valid(self.flash[0][: self.capacity], self.key):
            self.running = bytes(self.flash[0])

    def _begin_swap(self) -> None:
        swap = self.swap
        if swap is Swap.NONE or self.refuses_swaps:
            return
        if is_valid(self.flash[1][: self.capacity], self.key):
            self._progress = _Progress(swap)
            return
        # It stays with the image that it has, and does not try again.
        self.erase()
        self.confirm()

    def _swap_sector(self, progress: _Progress) -> None:
        if progress.sectors < self.capacity // SECTOR:
            begin = progress.sectors * SECTOR
            block = slice(begin, begin + SECTOR)
            first, second = self.flash
            first[block], second[block] = second[block], first[block]
            progress.sectors += 1
            return
        for flash in self.flash:
            flash[-TRAILER_SIZE:] = bytes([_ERASED]) * TRAILER_SIZE
        self.flash[0][_MAGIC_AT:] = _TRAILER_MAGIC
        self.flash[0][_COPY_DONE_AT] = _SET
        if progress.swap is not Swap.TEST:
            self.flash[0][_IMAGE_OK_AT] = _SET
        self._progress = None
