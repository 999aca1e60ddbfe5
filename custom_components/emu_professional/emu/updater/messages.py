"""Requests to the module's update server, and its answers.

They are SMP: an 8-byte header and one CBOR map in each datagram. Nothing here sends
anything. Whatever an answer may hold, reading it raises BrokenAnswer and nothing
else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import struct
from typing import Any, Final, NamedTuple, NoReturn

_HEADER: Final = struct.Struct(">BBHHBB")
_LARGEST_ANSWER: Final = 4096
_DEEPEST_ANSWER: Final = 8
_MOST_SLOTS: Final = 8
_LONGEST_VERSION: Final = 32
# None, SHA-256, SHA-384, SHA-512
_HASH_LENGTHS: Final = frozenset({0, 32, 48, 64})
_LARGEST_ERROR: Final = 0xFFFF
# The protocol has no tags. Behind them are numbers of thousands of digits, regular
# expressions, e-mails: whatever a decoder can be made to do with bytes.
_LIBRARY_TAGS: Final = (*range(320), 1004, 43_000, 55_799)

type Fields = Mapping[str, Any]


class BrokenAnswer(Exception):
    """An answer is not what the protocol describes."""


class Command(NamedTuple):
    """A request's operation (0 read, 2 write), group and number."""

    operation: int
    group: int
    number: int


RESET: Final = Command(2, 0, 5)
READ_STATE: Final = Command(0, 1, 0)
WRITE_STATE: Final = Command(2, 1, 0)
UPLOAD: Final = Command(2, 1, 1)
ERASE: Final = Command(2, 1, 5)


@dataclass(frozen=True, slots=True)
class Slot:
    """A firmware slot as the manual's `image list` shows it."""

    number: int
    """0 holds the running image, 1 the other one."""
    version: str
    hash: bytes
    """The image's own, not that of its file; empty if the server names none."""
    bootable: bool
    pending: bool
    confirmed: bool
    active: bool
    permanent: bool


def encode(fields: Fields) -> bytes:
    """Return the CBOR of a request's fields."""
    import cbor2

    return cbor2.dumps(dict(fields))


def frame(command: Command, sequence: int, payload: bytes) -> bytes:
    """Return a datagram: the header of SMP's version 1, and CBOR."""
    operation, group, number = command
    return _HEADER.pack(operation, 0, len(payload), group, sequence, number) + payload


def sequence_of_answer(command: Command, datagram: bytes) -> int | None:
    """Return the sequence number of an answer to a command; None for all else."""
    if not _HEADER.size <= len(datagram) <= _LARGEST_ANSWER:
        return None
    operation, _, length, group, sequence, number = _HEADER.unpack_from(datagram)
    if Command(operation - 1, group, number) != command:
        return None
    if length != len(datagram) - _HEADER.size:
        return None
    return int(sequence)


def decode(datagram: bytes) -> Fields:
    """Return the fields of an answer whose header is right."""
    import cbor2

    try:
        fields = cbor2.loads(
            datagram[_HEADER.size :],
            max_depth=_DEEPEST_ANSWER,
            semantic_decoders=_REFUSED_TAGS,
            tag_hook=_refuse_tag,
            strict_hashable_types=True,
        )
    except cbor2.CBORError as err:
        raise BrokenAnswer from err
    if not isinstance(fields, dict):
        raise BrokenAnswer
    return fields


def _refuse_tag(*_: object) -> NoReturn:
    raise BrokenAnswer


_REFUSED_TAGS: Final = dict.fromkeys(_LIBRARY_TAGS, _refuse_tag)


def error_number(fields: Fields) -> int:
    """Return the error number of an answer, 0 for success."""
    # Left out, it is success to a new server; an old one says 0. An "err" belongs to
    # version 2, whose numbers mean something else.
    rc = fields.get("rc", 0)
    if "err" in fields:
        raise BrokenAnswer
    return _integer(rc, _LARGEST_ERROR)


def offset(fields: Fields, size: int) -> int:
    """Return the offset of the next byte that is due, of an image of this size."""
    return _integer(fields.get("off"), size)


def slots(fields: Fields) -> tuple[Slot, ...]:
    """Return the slots of the only image that the meter has."""
    images = fields.get("images")
    if not isinstance(images, list) or len(images) > _MOST_SLOTS:
        raise BrokenAnswer
    found = tuple(_slot(image) for image in images if _of_first_image(image))
    if len({slot.number for slot in found}) < len(found):
        raise BrokenAnswer
    if sum(slot.active for slot in found) > 1:
        raise BrokenAnswer
    return found


def slots_if_any(fields: Fields) -> tuple[Slot, ...] | None:
    """Return the slots, None where an answer does not tell them."""
    return slots(fields) if "images" in fields else None


def nothing(fields: Fields) -> None:
    """Read an answer that says no more than that it is one."""


def _of_first_image(image: Any) -> bool:
    if not isinstance(image, dict):
        raise BrokenAnswer
    return _integer(image.get("image", 0), _MOST_SLOTS) == 0


def _slot(image: Fields) -> Slot:
    version, digest = image.get("version"), image.get("hash", b"")
    if not isinstance(version, str) or len(version) > _LONGEST_VERSION:
        raise BrokenAnswer
    if not isinstance(digest, bytes) or len(digest) not in _HASH_LENGTHS:
        raise BrokenAnswer
    return Slot(
        number=_integer(image.get("slot"), _MOST_SLOTS),
        # It will be shown to people.
        version="".join(filter(str.isprintable, version)),
        hash=digest,
        bootable=_flag(image, "bootable"),
        pending=_flag(image, "pending"),
        confirmed=_flag(image, "confirmed"),
        active=_flag(image, "active"),
        permanent=_flag(image, "permanent"),
    )


def _integer(value: object, largest: int) -> int:
    if type(value) is not int or not 0 <= value <= largest:
        raise BrokenAnswer
    return value


def _flag(image: Fields, name: str) -> bool:
    # A new server may leave out what is not set.
    value = image.get(name, False)
    if type(value) is not bool:
        raise BrokenAnswer
    return value
