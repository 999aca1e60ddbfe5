"""The two JSON documents, and HTTP itself at real sockets."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from random import Random
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import aiohttp
import orjson

from custom_components.emu_professional import diagnostics
from custom_components.emu_professional.emu import client as client_module
from custom_components.emu_professional.emu.answers import parse_object
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import (
    MeterUnauthorized,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    MeterUnsupported,
)
from custom_components.emu_professional.emu.fingerprint import Fingerprint
from custom_components.emu_professional.emu.readings import (
    PlausibilityFilter,
    Readings,
    clock_offset,
    parse_readings,
    parse_status,
)

from . import samples
from .mutations import as_json, damaged, odd_document, pieces
from .target import Bounds, Target

DOCUMENTED: Final = (
    MeterUnreachable,
    MeterUnauthorized,
    MeterUnsupported,
    MeterUnexpectedAnswer,
)
"""What a request may raise."""

_LARGEST: Final = 64 * 1024
"""Bytes of a document that are read; a larger one never reaches the parser."""


class _Document(NamedTuple):
    body: bytes
    is_status: bool


def _document(random: Random) -> _Document:
    is_status = random.random() < 0.5
    sample = samples.status() if is_status else samples.readings()
    if random.random() < 0.5:
        return _Document(damaged(random, (sample,))[:_LARGEST], is_status)
    document = parse_object("", sample)
    for _ in range(random.randrange(1, 4)):
        document = odd_document(random, document)
    return _Document(as_json(document)[:_LARGEST], is_status)


async def _read_status(body: bytes) -> None:
    status = parse_status(parse_object("/status.json", body))
    assert status.serial_number.isascii()
    assert status.modbus_port is None or 0 <= status.modbus_port < 65_536
    for text in (status.software_version, status.ip_address, status.ntp_server):
        if text is not None:
            text.encode()
    _show(status.document, diagnostics._STATUS)


def _show(document: Any, allowed: Any) -> None:
    shown = diagnostics._known(document, allowed)
    assert samples.SERIAL_NUMBER not in as_json(shown).decode()


class _Reading:
    """Readings that follow each other, as a coordinator reads them."""

    def __init__(self) -> None:
        self._previous: Readings | None = None
        self._filter = PlausibilityFilter()
        self._at = samples.NOW

    def read(self, body: bytes) -> None:
        document = parse_object("/meterdata.json", body)
        self._previous = parse_readings(document, self._previous)
        self._at += timedelta(seconds=5)
        accepted = self._filter.accept(self._previous, self._at)
        clock_offset(accepted.clock, self._at, None)
        for text in accepted.rejected.values():
            assert len(diagnostics.form(text)) < 200
        if accepted.clock:
            accepted.clock.isoformat()


@asynccontextmanager
async def documents() -> AsyncGenerator[Target[_Document]]:
    """Read status.json and meterdata.json, as they follow each other."""
    reading = _Reading()

    async def read(given: _Document) -> int:
        if given.is_status:
            await _read_status(given.body)
        else:
            reading.read(given.body)
        return len(given.body)

    yield Target(_document, read, DOCUMENTED, Bounds(0.25, 2, 3, 40))


class Scripted:
    """A server that sends the same bytes to everybody."""

    def __init__(self) -> None:
        """Prepare to send nothing."""
        self.pieces: list[bytes] = []
        self.closes = True
        self.requests = 0

    async def respond(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer a request."""
        self.requests += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            for piece in self.pieces:
                writer.write(piece)
                await writer.drain()
            if not self.closes:
                await reader.read()
        with suppress(OSError):
            writer.close()
            await writer.wait_closed()


_HEADERS: Final = (
    *(b"Content-Length: 5", b"Content-Length: -1", b"Content-Length: 99999999999999"),
    *(b"Content-Length: 1e3", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
    *(b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Content-Encoding: br"),
    *(b"Location: http://127.0.0.1:1/", b"Location: /status.json", b"Connection: x"),
    *(b"Set-Cookie: a=b; domain=x", b"WWW-Authenticate: Basic realm=\xff", b": a"),
    *(b"Server :", b"Server", b"a: " + b"b" * 9000, b"Upgrade: websocket", b"\0: a"),
    *(b"Content-Type: text/csv; charset=utf-7", b"Keep-Alive: timeout=x"),
)
_STATUS_LINES: Final = (
    *(*(b"HTTP/1.1 200 OK",) * 20, b"HTTP/1.0 200 OK"),
    *(b"HTTP/1.1 100 Continue", b"HTTP/1.1 101 Switching", b"HTTP/1.1 204 No Content"),
    *(b"HTTP/1.1 206 Partial", b"HTTP/1.1 301 Moved", b"HTTP/1.1 304 Not Modified"),
    *(b"HTTP/1.1 401 No", b"HTTP/1.1 403 No", b"HTTP/1.1 404 No", b"HTTP/1.1 500 No"),
    *(b"HTTP/1.1 999999 No", b"HTTP/9.9 200 OK", b"ICY 200 OK", b"HTTP/1.1 200", b""),
)


class _Exchange(NamedTuple):
    answer: list[bytes]
    closes: bool
    method: int


def _exchange(random: Random) -> _Exchange:
    sample = random.choice(
        (samples.status(), samples.readings(), *samples.logger(), *samples.logbook())
    )
    body = random.choice((sample, damaged(random, (sample,))))
    lines = [random.choice(_STATUS_LINES)]
    lines += random.choices(_HEADERS, k=random.choice((0, 0, 1, 2, 5)))
    match random.randrange(4):
        case 0:
            lines.append(b"Transfer-Encoding: chunked")
            size = random.choice((100, 1000, 100_000))
            chunks = [body[at : at + size] for at in range(0, len(body), size)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks)
            body += random.choice((b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"", b"-1\r\n"))
        case 1 | 2:
            lines.append(b"Content-Length: %d" % (len(body) + random.choice((0, 0, 9))))
    if random.random() < 0.02:
        lines += [b"X-%d: y" % number for number in range(20_000)]
    answer = b"\r\n".join(lines) + b"\r\n\r\n" + body
    if random.random() < 0.3:
        answer = damaged(random, (answer,))
    closes = random.random() < 0.97
    return _Exchange(pieces(random, answer), closes, random.randrange(6))


@asynccontextmanager
async def http() -> AsyncGenerator[Target[_Exchange]]:
    """Read HTTP answers of every kind, at real sockets."""
    server = Scripted()
    async with AsyncExitStack() as stack:
        # So that what never comes costs a moment only.
        stack.enter_context(
            patch.multiple(
                client_module,
                TIME_LIMIT=1.0,
                FIRST_BYTE_LIMIT=1.0,
                STALL_LIMIT=0.5,
                PAGE_LIMIT=3.0,
                _PAUSE=0,
            )
        )
        listening = await stack.enter_async_context(
            await asyncio.start_server(server.respond, "127.0.0.1", 0)
        )
        port = listening.sockets[0].getsockname()[1]
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def read(given: _Exchange) -> int:
            server.pieces, server.closes, server.requests = *given[:2], 0
            size = sum(map(len, given.answer))
            # A client for each: what one case learned must not decide another.
            client = MeterClient(session, "127.0.0.1", port, "secret")
            try:
                await _ask(client, given.method)
            finally:
                assert server.requests <= 3, f"{server.requests} requests"
            return size

        yield Target(_exchange, read, DOCUMENTED, Bounds(0.7, 4, 16, 12))


async def _ask(client: MeterClient, method: int) -> None:
    match method:
        case 0:
            await client.status()
        case 1:
            await client.readings()
        case 2:
            fingerprint, _ = await client.introduction()
            stored = orjson.loads(orjson.dumps(fingerprint.as_json()))
            assert Fingerprint.from_json(stored) == fingerprint
        case 3:
            await client.newest_records(3)
        case 4:
            await client.records(1, 3000)
        case _:
            await client.newest_logbook_records(96)
