"""SMP as the server speaks it: numbers, headers, maps and errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
import struct
from typing import Any, NamedTuple

import cbor2

CHUNK = 512
"""Most data bytes of an upload request."""
DATAGRAM = 588
"""Most bytes of a datagram."""

_HEADER = struct.Struct(">BBHHBB")

type Json = Mapping[str, Any]


class Age(Enum):
    """When the server was written."""

    LEGACY = 2021
    """`rc: 0` on success, every flag of an image, maps of indefinite length, version-1
    headers only, errors as `rc` alone."""
    MODERN = 2026
    """No `rc: 0`, only flags that are set, answers in the version of the request,
    errors as `err: {group, rc}` in version 2."""


class Op(IntEnum):
    """Operation of an SMP header."""

    READ = 0
    READ_RESPONSE = 1
    WRITE = 2
    WRITE_RESPONSE = 3


class Group(IntEnum):
    """Groups of commands of the server."""

    OS = 0
    IMAGE = 1


class OsCommand(IntEnum):
    """Commands of the OS group."""

    ECHO = 0
    RESET = 5
    PARAMETERS = 6


class ImageCommand(IntEnum):
    """Commands of the image group."""

    STATE = 0
    UPLOAD = 1
    ERASE = 5


class Rc(IntEnum):
    """Errors of every group."""

    UNKNOWN = 1
    NO_MEMORY = 2
    INVALID = 3
    NO_ENTRY = 5
    BAD_STATE = 6
    NOT_SUPPORTED = 8
    CORRUPT = 9
    BUSY = 10


class ImageRc(IntEnum):
    """Errors of the image group in answers of version 2."""

    NO_FREE_SLOT = 9
    FLASH_WRITE_FAILED = 12
    INVALID_SLOT = 14
    INVALID_OFFSET = 20
    INVALID_LENGTH = 21
    INVALID_HEADER = 22
    INVALID_MAGIC = 23
    INVALID_HASH = 24
    RUNNING_IS_NEWER = 27
    ALREADY_PENDING = 28
    TOO_LARGE = 30
    DATA_OVERRUN = 31
    TEST_OF_ACTIVE = 33


_IMAGE_RC_IN_VERSION_1 = {
    ImageRc.NO_FREE_SLOT: Rc.BAD_STATE,
    ImageRc.RUNNING_IS_NEWER: Rc.BAD_STATE,
    ImageRc.ALREADY_PENDING: Rc.BAD_STATE,
    ImageRc.INVALID_SLOT: Rc.INVALID,
    ImageRc.INVALID_OFFSET: Rc.INVALID,
    ImageRc.INVALID_LENGTH: Rc.INVALID,
    ImageRc.INVALID_HEADER: Rc.INVALID,
    ImageRc.INVALID_HASH: Rc.INVALID,
}
"""Every other one is `Rc.UNKNOWN` there."""

_INVALID_FOR_LEGACY = frozenset({ImageRc.INVALID_MAGIC, ImageRc.DATA_OVERRUN})


class RefusedError(Exception):
    """The server answers with an error."""

    def __init__(self, reason: Rc | ImageRc, rc: int | None = None) -> None:
        """Refuse for a reason; `rc` replaces its number in version 1."""
        super().__init__(reason)
        self.reason = reason
        self.rc = rc


class Header(NamedTuple):
    """The header of a request."""

    op: int
    version: int
    """1 or 2."""
    length: int
    group: int
    sequence: int
    command: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """A request at the server."""

    op: int
    group: int
    command: int
    version: int
    """Of the header, 1 or 2."""
    sequence: int
    body: dict[str, Any]
    size: int
    """Bytes of the datagram."""


def read_header(data: bytes) -> Header | None:
    """Return the header of a datagram; None if it is too short for one."""
    if len(data) < _HEADER.size:
        return None
    first, _, length, group, sequence, command = _HEADER.unpack_from(data)
    return Header(first & 7, (first >> 3 & 3) + 1, length, group, sequence, command)


def read_request(header: Header, data: bytes, age: Age) -> UpdateRequest:
    """Return the request of a datagram. Raises RefusedError."""
    return UpdateRequest(
        op=header.op,
        group=header.group,
        command=header.command,
        version=header.version,
        sequence=header.sequence,
        body=_decoded(data[_HEADER.size :], header.length, age),
        size=len(data),
    )


def _decoded(data: bytes, length: int, age: Age) -> dict[str, Any]:
    if length > len(data):
        raise RefusedError(Rc.CORRUPT if age is Age.MODERN else Rc.INVALID)
    try:
        body = cbor2.loads(data[:length]) if length else {}
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError) as err:
        raise RefusedError(Rc.INVALID) from err
    if not isinstance(body, dict):
        raise RefusedError(Rc.INVALID)
    return body


def answer(header: Header, content: Json, age: Age) -> bytes:
    """Return the answer to a request as a datagram."""
    encoded = cbor2.dumps(content, indefinite_containers=age is Age.LEGACY)
    packed = _HEADER.pack(
        (header.op + 1) & 7 | (_version(header, age) - 1) << 3,
        *(0, len(encoded), header.group, header.sequence, header.command),
    )
    return packed + encoded


def _version(header: Header, age: Age) -> int:
    return 1 if age is Age.LEGACY else header.version


def success(content: Json, age: Age) -> Json:
    """Return the content of a success: a legacy server says so."""
    return {"rc": 0, **content} if age is Age.LEGACY else content


def failure(err: RefusedError, header: Header, age: Age) -> Json:
    """Return the content of an error."""
    if isinstance(err.reason, Rc):
        return {"rc": int(err.reason)}
    if _version(header, age) == 2:
        return {"err": {"group": int(Group.IMAGE), "rc": int(err.reason)}}
    if err.rc is not None:
        return {"rc": int(err.rc)}
    if age is Age.LEGACY and err.reason in _INVALID_FOR_LEGACY:
        return {"rc": int(Rc.INVALID)}
    return {"rc": int(_IMAGE_RC_IN_VERSION_1.get(err.reason, Rc.UNKNOWN))}
