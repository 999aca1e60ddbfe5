"""Faults on demand: what an embedded server and a bad network do to an answer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
import json
import random
import socket
import struct
from typing import NoReturn, override

from aiohttp import hdrs, web

from .documents import Document, Json, Literal, rendered

__all__ = [
    "Body",
    "CloseHalfway",
    "CloseWithoutAnswer",
    "ConnectionReset",
    "ContentType",
    "Document",
    "Drip",
    "Fault",
    "Faults",
    "HugeBody",
    "Json",
    "Literal",
    "MissingKeys",
    "Redirect",
    "ReplacedValues",
    "SecondConnectionRefused",
    "Silent",
    "Slow",
    "Status",
    "TruncatedJson",
    "dash_values",
    "empty_body",
    "garbage",
    "literal_value",
    "not_an_object",
    "null_values",
]

type Respond = Callable[[], Awaitable[web.Response]]
"""Gives the answer that the meter would give without a fault."""

_BLOCK = 65_536


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
        return web.Response(body=self.body, content_type="application/json")


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
