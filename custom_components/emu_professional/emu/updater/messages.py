"""Requests to the module's update server, and its answers, as bytes.

They are SMP: an 8-byte header and one CBOR map in each datagram. Nothing here sends
anything. Reading an answer, however odd, raises BrokenAnswer and nothing else.
"""

from collections.abc import Mapping
import struct
from typing import Any, Final, NamedTuple, NoReturn

from .slots import Slot

_HEADER: Final = struct.Struct(">BBHHBB")
_LARGEST_ANSWER: Final = 4096
_DEEPEST_ANSWER: Final = 8
_MOST_SLOTS: Final = 8
_LONGEST_VERSION: Final = 32
# None, SHA-256, SHA-384, SHA-512
_HASH_LENGTHS: Final = frozenset({0, 32, 48, 64})
_LARGEST_ERROR: Final = 0xFFFF
# The protocol has no tags. A decoder would make numbers of thousands of digits, regular
# expressions and e-mails of them, and whoever answers could keep it busy.
# These are those that cbor2 decodes itself, and some to spare; `tag_hook` gets all others.
_LIBRARY_TAGS: Final = (*range(320), 1004, 43_000, 55_799)

type Fields = Mapping[str, Any]


class BrokenAnswer(Exception):
    """An answer contradicts the protocol."""


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


def encode(fields: Fields) -> bytes:
    """Return the CBOR of a request's fields."""
    # Only owners with an update to do need the library; the session has loaded it.
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
    # An answer's operation is that of its request plus 1.
    if Command(operation - 1, group, number) != command:
        return None
    if length != len(datagram) - _HEADER.size:
        return None
    return int(sequence)


def decode(datagram: bytes) -> Fields:
    """Return the fields of an answer with a right header."""
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
    """Return the offset of the next byte due, in an image of this size."""
    return _integer(fields.get("off"), size)


def slots(fields: Fields) -> tuple[Slot, ...]:
    """Return the slots of the meter's only image."""
    images = fields.get("images")
    if not isinstance(images, list) or len(images) > _MOST_SLOTS:
        raise BrokenAnswer
    found = tuple(_slot(image) for image in images if _of_first_image(image))
    # One slot twice, or two running images, can only be a damaged list.
    if len({slot.number for slot in found}) < len(found):
        raise BrokenAnswer
    if sum(slot.active for slot in found) > 1:
        raise BrokenAnswer
    return found


def slots_if_any(fields: Fields) -> tuple[Slot, ...] | None:
    """Return the slots, None if an answer does not list them."""
    return slots(fields) if "images" in fields else None


def nothing(fields: Fields) -> None:
    """Read an answer without content."""


def _of_first_image(image: Any) -> bool:
    # A server of a single image leaves its number out.
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
        # People will see it, also in a terminal.
        version="".join(filter(str.isprintable, version)),
        hash=digest,
        bootable=_flag(image, "bootable"),
        pending=_flag(image, "pending"),
        confirmed=_flag(image, "confirmed"),
        active=_flag(image, "active"),
        permanent=_flag(image, "permanent"),
    )


def _integer(value: object, largest: int) -> int:
    # The type itself: a flag is an `int` to `isinstance`.
    if type(value) is not int or not 0 <= value <= largest:
        raise BrokenAnswer
    return value


def _flag(image: Fields, name: str) -> bool:
    # A new server may leave out flags that are not set.
    value = image.get(name, False)
    if type(value) is not bool:
        raise BrokenAnswer
    return value
