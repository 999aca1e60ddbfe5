"""Faults on demand: what an embedded server and a bad network do to an answer."""

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
import json
import random
import socket
import struct
from typing import NoReturn, override
import zlib

from aiohttp import hdrs, web

from .documents import Document, Json, Literal, rendered

__all__ = [
    "EVERY_RECORD",
    "Body",
    "BrokenLine",
    "CloseHalfway",
    "CloseWithoutAnswer",
    "CompressionBomb",
    "ConnectionReset",
    "ContentType",
    "CutLine",
    "Document",
    "Drip",
    "Fault",
    "Faults",
    "GarbageBytes",
    "HugeBody",
    "Indices",
    "Json",
    "Literal",
    "MissingKeys",
    "MissingLine",
    "Redirect",
    "ReplacedField",
    "ReplacedValues",
    "SecondConnectionRefused",
    "ShiftedStamp",
    "Silent",
    "SilentCut",
    "Slow",
    "SlowLine",
    "Status",
    "TruncatedJson",
    "TruncatedTable",
    "dash_values",
    "empty_body",
    "foreign_serial_number",
    "garbage",
    "literal_value",
    "negative_register",
    "not_an_object",
    "null_values",
]

type Respond = Callable[[], Awaitable[web.Response]]
"""Gives the answer that the meter would give without a fault."""

DATA = "/data/"
LOGBOOK = "/logbook/"
TABLES = frozenset({DATA, LOGBOOK})
"""Paths that answer with CSV."""

_BLOCK = 65_536
_BLOCKS_PER_SECOND = 20


class Fault:
    """What happens to one request; one fault may serve many requests and servers."""

    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        """Answer the request; where the connection is given up, never return."""
        return await respond()


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """The right answer, `seconds` late."""

    seconds: float

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        await asyncio.sleep(self.seconds)
        return await respond()


@dataclass(frozen=True, slots=True)
class Drip(Fault):
    """The right answer, its body byte by byte with a pause of `seconds` after each."""

    seconds: float

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        body, response = await _begun(request, respond)
        for byte in body:
            await response.write(bytes((byte,)))
            await asyncio.sleep(self.seconds)
        return response


@dataclass(frozen=True, slots=True)
class SlowLine(Fault):
    """The right answer, its body at `bytes_per_second`."""

    bytes_per_second: float

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        body, response = await _begun(request, respond)
        size = max(1, int(self.bytes_per_second / _BLOCKS_PER_SECOND))
        started = loop.time()
        for begin in range(0, len(body), size):
            block = body[begin : begin + size]
            await response.write(block)
            due = started + (begin + len(block)) / self.bytes_per_second
            await asyncio.sleep(due - loop.time())
        return response


class Silent(Fault):
    """No answer until `release()` is called or a side closes the connection."""

    def __init__(self) -> None:
        """Be silent."""
        self._released = False
        self._waiting: list[asyncio.Future[None]] = []

    def release(self) -> None:
        """Give the right answer to every request that waits, and to later ones at once."""
        self._released = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        if not self._released:
            # One per request, so that a fault may serve tests with their own loops.
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        return await respond()


@dataclass(frozen=True, slots=True)
class ConnectionReset(Fault):
    """TCP RST instead of an answer."""

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        reset(_transport(request))
        return await _never()


@dataclass(frozen=True, slots=True)
class CloseWithoutAnswer(Fault):
    """The connection ends in an orderly way before the first byte of an answer."""

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        _transport(request).close()
        return await _never()


@dataclass(frozen=True, slots=True)
class CloseHalfway(Fault):
    """The connection ends in an orderly way after half of the body."""

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        body, response = await _begun(request, respond)
        await response.write(body[: len(body) // 2])
        _transport(request).close()
        return await _never()


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """An HTTP status with a small HTML body."""

    status: int

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        text = f"<html><body>{self.status}</body></html>"
        response = web.Response(status=self.status, text=text, content_type="text/html")
        if self.status == web.HTTPUnauthorized.status_code:
            response.headers[hdrs.WWW_AUTHENTICATE] = CHALLENGE
        return response


CHALLENGE = 'Basic realm="EMU Professional II"'


@dataclass(frozen=True, slots=True)
class Redirect(Fault):
    """A redirect to another address."""

    location: str
    status: int = 302

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        headers = {hdrs.LOCATION: self.location}
        return web.Response(status=self.status, headers=headers)


@dataclass(frozen=True, slots=True)
class Body(Fault):
    """Any body with status 200 and the right content type."""

    body: bytes

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        of_table = request.path in TABLES
        content_type = "text/csv" if of_table else "application/json"
        return web.Response(body=self.body, content_type=content_type)


def empty_body() -> Body:
    """Return a fault: status 200 and nothing."""
    return Body(b"")


def garbage(size: int = 2000) -> Body:
    """Return a fault: bytes that are neither UTF-8 nor JSON, always the same ones."""
    return Body(b"\xff\xfe" + random.Random(size).randbytes(size - 2))


def not_an_object(text: str = "[]") -> Body:
    """Return a fault: JSON text that is not an object."""
    return Body(text.encode())


@dataclass(frozen=True, slots=True)
class HugeBody(Fault):
    """The right document followed by blanks until it has `size` bytes."""

    size: int = 8_000_000
    declared: bool = True
    """With a Content-Length; else in chunks of unknown number."""

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        body, response = await _right_answer(respond)
        if self.declared:
            response.content_length = self.size
        else:
            response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(body)
        for begin in range(len(body), self.size, _BLOCK):
            await response.write(b" " * min(_BLOCK, self.size - begin))
        return response


@dataclass(frozen=True, slots=True)
class CompressionBomb(Fault):
    """Blanks that nobody asked to be compressed: about a thousandth of `size` bytes."""

    size: int = 1_000_000_000

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        packed = zlib.compressobj(wbits=31)
        block = b" " * 2**20
        body = b"".join(packed.compress(block) for _ in range(self.size // len(block)))
        headers = {hdrs.CONTENT_ENCODING: "gzip"}
        return web.Response(body=body + packed.flush(), headers=headers)


class _Changed(Fault):
    """The right answer with another body; answers that are no documents pass."""

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        response = await respond()
        if response.content_type == "application/json":
            response.text = self._changed(response.text or "")
        return response

    def _changed(self, text: str) -> str:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class TruncatedJson(_Changed):
    """The first half of the document as a complete HTTP answer."""

    @override
    def _changed(self, text: str) -> str:
        return text[: len(text) // 2]


class MissingKeys(_Changed):
    """The document without some of its keys."""

    def __init__(self, *keys: str) -> None:
        """Leave out `keys`."""
        self._keys = keys

    @override
    def _changed(self, text: str) -> str:
        document: Document = json.loads(text)
        return rendered({k: v for k, v in document.items() if k not in self._keys})


class ReplacedValues(_Changed):
    """The document with other values: any JSON value, or a `Literal` like 1e999."""

    def __init__(self, values: Document) -> None:
        """Replace by key; other keys are added."""
        self._values = values

    @override
    def _changed(self, text: str) -> str:
        document: Document = json.loads(text)
        return rendered(document | self._values)


def null_values(*keys: str) -> ReplacedValues:
    """Return a fault: null instead of the values of `keys`."""
    return ReplacedValues(dict.fromkeys(keys))


def dash_values(*keys: str) -> ReplacedValues:
    """Return a fault: "-" instead of the values of `keys`."""
    return ReplacedValues(dict.fromkeys(keys, "-"))


def literal_value(key: str, text: str) -> ReplacedValues:
    """Return a fault: a value that stands in the document exactly as `text`."""
    return ReplacedValues({key: Literal(text)})


type Indices = int | Container[int] | None
"""Records by their index; None is the one in the middle of an answer."""

EVERY_RECORD = range(2**63)


@dataclass(frozen=True, slots=True)
class CutLine(Fault):
    """The connection ends in the middle of the line of a record (the first of many)."""

    records: Indices = None
    with_reset: bool = False
    """By TCP RST; what was sent before may then be lost as well."""

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        right = await respond()
        cut = _middle_of_line(right, self.records)
        if cut is None:
            return right
        body, response = await _begun(request, lambda: _ready(right))
        await response.write(body[:cut])
        if self.with_reset:
            # What was written must leave before the connection does.
            await asyncio.sleep(0.01)
            reset(_transport(request))
        else:
            _transport(request).close()
        return await _never()


@dataclass(frozen=True, slots=True)
class SilentCut(Fault):
    """An answer without a length ends in an orderly way, as if it was whole.

    Only its first lines come, besides a header; nothing says that there were more.
    """

    lines: int
    half_a_line: bool = False
    """Whether a part of the next line comes as well."""

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        right = await respond()
        lines = _body(right).splitlines(keepends=True)
        end = next((number for number, _ in _indices(lines)), 0) + self.lines
        body = b"".join(lines[:end])
        if self.half_a_line:
            body += b"".join(lines[end : end + 1])[:40]
        # The library has no answer that ends with its connection.
        head = f"HTTP/1.1 {right.status} OK\r\nContent-Type: text/csv\r\n"
        transport = _transport(request)
        transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        transport.close()
        return await _never()


class _ChangedTable(Fault):
    """The right table with other lines; answers without the records pass."""

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        response = await respond()
        if request.path in TABLES and response.status == 200:
            response.body = self._changed(response)
        return response

    def _changed(self, response: web.Response) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class TruncatedTable(_ChangedTable):
    """A complete HTTP answer that ends in the middle of the line of a record.

    `instead` comes instead of the rest, for instance an error page.
    """

    records: Indices = None
    instead: bytes = b""

    @override
    def _changed(self, response: web.Response) -> bytes:
        if (cut := _middle_of_line(response, self.records)) is None:
            return _body(response)
        return _body(response)[:cut] + self.instead


class _ChangedLines(_ChangedTable):
    """The right table with other lines of some records."""

    records: Indices

    @override
    def _changed(self, response: web.Response) -> bytes:
        lines = _body(response).splitlines(keepends=True)
        for number in _line_numbers(lines, self.records):
            text = lines[number].rstrip(b"\r\n")
            lines[number] = self._line(text) + lines[number][len(text) :]
        return b"".join(lines)

    def _line(self, line: bytes) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class BrokenLine(_ChangedLines):
    """Lines with more or fewer than 28 columns."""

    columns: int = 27
    records: Indices = None

    @override
    def _line(self, line: bytes) -> bytes:
        separator = _separator(line)
        fields = line.split(separator)
        more = [b"0"] * (self.columns - len(fields))
        return separator.join([*fields, *more][: self.columns])


@dataclass(frozen=True, slots=True)
class ReplacedField(_ChangedLines):
    """Lines with another text in a column, counted from 1 on like in the manual."""

    column: int
    text: str
    records: Indices = None

    @override
    def _line(self, line: bytes) -> bytes:
        separator = _separator(line)
        fields = line.split(separator)
        fields[self.column - 1] = self.text.encode()
        return separator.join(fields)


def foreign_serial_number(
    serial_number: str = "22359999", records: Indices = None
) -> ReplacedField:
    """Return a fault: records that another meter seems to have made."""
    return ReplacedField(4, serial_number, records)


def negative_register(
    column: int = 5, text: str = "-1", records: Indices = None
) -> ReplacedField:
    """Return a fault: a register (columns 5 to 12) below 0."""
    return ReplacedField(column, text, records)


@dataclass(frozen=True, slots=True)
class ShiftedStamp(_ChangedLines):
    """Lines with another stamp, one in the future (ten years) unless told otherwise."""

    seconds: int = 10 * 365 * 86_400
    records: Indices = None

    @override
    def _line(self, line: bytes) -> bytes:
        separator = _separator(line)
        stamp, _, rest = line.partition(separator)
        moment = datetime.fromisoformat(stamp.decode("utf-8-sig"))
        moment = moment.astimezone(UTC) + timedelta(seconds=self.seconds)
        mark = stamp[: stamp.find(b"2")]
        text = moment.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
        return mark + text + separator + rest


@dataclass(frozen=True, slots=True)
class GarbageBytes(_ChangedLines):
    """Bytes that are no text in the middle of lines, always the same ones."""

    size: int = 40
    records: Indices = None

    @override
    def _line(self, line: bytes) -> bytes:
        middle = len(line) // 2
        noise = b"\xff\xfe" + random.Random(self.size).randbytes(self.size - 2)
        return line[:middle] + noise + line[middle:]


@dataclass(frozen=True, slots=True)
class MissingLine(_ChangedTable):
    """The table without the lines of some records."""

    records: Indices = None

    @override
    def _changed(self, response: web.Response) -> bytes:
        lines = _body(response).splitlines(keepends=True)
        missing = set(_line_numbers(lines, self.records))
        return b"".join(
            line for number, line in enumerate(lines) if number not in missing
        )


def _body(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def _separator(line: bytes) -> bytes:
    return b";" if b";" in line else b","


def _line_numbers(lines: list[bytes], records: Indices) -> list[int]:
    indices = dict(_indices(lines))
    if records is None:
        return list(indices)[len(indices) // 2 :][:1]
    if isinstance(records, int):
        records = (records,)
    return [number for number, index in indices.items() if index in records]


def _indices(lines: list[bytes]) -> Iterator[tuple[int, int]]:
    for number, line in enumerate(lines):
        # Column 2 of the data logger, 3 of the logbook; a header line has names there.
        fields = line.split(_separator(line), 3)[1:3]
        index = next(filter(bytes.isdigit, fields), None)
        if index is not None:
            yield number, int(index)


def _middle_of_line(response: web.Response, records: Indices) -> int | None:
    lines = _body(response).splitlines(keepends=True)
    for number in _line_numbers(lines, records):
        return sum(map(len, lines[:number])) + len(lines[number]) // 2
    return None


async def _ready(response: web.Response) -> web.Response:
    return response


@dataclass(frozen=True, slots=True)
class ContentType(Fault):
    """The right body with another content type."""

    content_type: str = "text/html"

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        response = await respond()
        response.content_type = self.content_type
        return response


@dataclass(frozen=True, slots=True)
class SecondConnectionRefused(Fault):
    """A connection is reset at once while another one is open; of no path."""


@dataclass(slots=True)
class _Rule:
    fault: Fault
    path: str | None
    times: int | None

    def applies(self, path: str) -> bool:
        return self.path in (None, path) and self.times != 0

    def take(self) -> Fault:
        if self.times is not None:
            self.times -= 1
        return self.fault


class Faults:
    """The faults of one server. The one set last goes first."""

    def __init__(self) -> None:
        """Begin without faults."""
        self._rules: list[_Rule] = []

    def set(
        self, fault: Fault, *, path: str | None = None, times: int | None = None
    ) -> None:
        """Disturb the next `times` requests (None: until cleared) of a path (None: of all).

        `path` is compared without its query.
        """
        self._rules.append(_Rule(fault, path, times))

    def clear(self, path: str | None = None) -> None:
        """Forget the faults that were set for a path (None: all faults)."""
        keep = [rule for rule in self._rules if rule.path != path]
        self._rules = [] if path is None else keep

    def take(self, path: str) -> Fault | None:
        """Return the fault of a request and count it."""
        for rule in reversed(self._rules):
            of_requests = not isinstance(rule.fault, SecondConnectionRefused)
            if of_requests and rule.applies(path):
                return rule.take()
        return None

    def refuses_second_connection(self) -> bool:
        """Return whether a second connection is refused, and count it."""
        for rule in reversed(self._rules):
            if isinstance(rule.fault, SecondConnectionRefused) and rule.times != 0:
                rule.take()
                return True
        return False


def reset(transport: asyncio.BaseTransport) -> None:
    """Close a connection with a TCP RST."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError
    return request.transport


async def _never() -> NoReturn:
    # The lost connection cancels the request; until then nothing may be written.
    await asyncio.get_running_loop().create_future()
    raise ConnectionResetError


async def _right_answer(respond: Respond) -> tuple[bytes, web.StreamResponse]:
    right = await respond()
    body = right.body if isinstance(right.body, bytes) else b""
    headers = {hdrs.CONTENT_TYPE: right.headers[hdrs.CONTENT_TYPE]}
    return body, web.StreamResponse(status=right.status, headers=headers)


async def _begun(
    request: web.Request, respond: Respond
) -> tuple[bytes, web.StreamResponse]:
    body, response = await _right_answer(respond)
    response.content_length = len(body)
    await response.prepare(request)
    return body, response
