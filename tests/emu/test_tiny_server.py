"""Odd answers of tiny web servers: readable ones like in a browser, and errors."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest

from custom_components.emu_professional.emu import client as client_module
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import (
    MeterError,
    MeterUnexpectedAnswer,
    MeterUnreachable,
)
from custom_components.emu_professional.emu.fingerprint import Fingerprint

SERIAL_NUMBER = "22350001"
BODY = b'{"meterserial": "22350001", "ntp1": "%s"}'
OK = b"HTTP/1.1 200 OK\r\n"


def plain(body: bytes, *headers: bytes, more: int = 0) -> bytes:
    """Return an answer with the right length, or with a larger one."""
    length = b"Content-Length: %d" % (len(body) + more)
    return OK + b"\r\n".join([*headers, length, b"", body])


def chunked(body: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return an answer in one chunk."""
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n" % (len(body), body) + end


READ = {
    "raw tab": plain(BODY % b"a\tb"),
    "control character": plain(BODY % b"a\x01b"),
    "raw line end": plain(BODY % b"a\r\nb"),
    "NUL in a text": plain(BODY % b"a\x00b"),
    "Latin-1": plain(BODY % b"Z\xe4hler"),
    "UTF-8": plain(BODY % "Zähler".encode()),
    "half a character of UTF-8": plain(BODY % b"Z\xc3"),
    "trailing NUL": plain(BODY % b"" + b"\0"),
    "trailing NULs and line end": plain(BODY % b"" + b"\r\n\0\0\n"),
    "byte order mark": plain(b"\xef\xbb\xbf" + BODY % b""),
    "no last chunk": chunked(BODY % b"", b""),
    "half of the last chunk": chunked(BODY % b"", b"0\r\n"),
    "a length that is too great": plain(BODY % b"", more=3),
    "neither length nor chunks": OK + b"\r\n" + BODY % b"",
    "HTTP/1.0": plain(BODY % b"").replace(b"1.1", b"1.0"),
    "no reason": plain(BODY % b"").replace(b" OK", b""),
    "line feeds": plain(BODY % b"").replace(b"\r\n", b"\n"),
    "Latin-1 in a header": plain(BODY % b"", b"Server: Z\xe4hler"),
    "control character in a header": plain(BODY % b"", b"Server: a\x01b"),
    "folded header": plain(BODY % b"", b"Server: a", b" b"),
    "doubled headers": plain(BODY % b"", b"Server: a", b"Server: b"),
    "another content type": plain(BODY % b"", b"Content-Type: text/html"),
    "a wrong charset": plain(BODY % b"", b"Content-Type: a/b; charset=utf-16"),
}
NOT_READ = {
    # The table in docs/readings.md has these.
    "blank after a header's name": plain(BODY % b"", b"Server : a"),
    "doubled length": plain(BODY % b"", b"Content-Length: %d" % len(BODY % b"")),
    "length and chunks": chunked(BODY % b"").replace(
        b"Transfer", b"Content-Length: 5\r\nTransfer"
    ),
    "a header without colon": plain(BODY % b"", b"Server"),
    "NUL in a header": plain(BODY % b"", b"Server: a\x00b"),
    "gzip that is none": plain(BODY % b"", b"Content-Encoding: gzip"),
    "another protocol": plain(BODY % b"").replace(b"HTTP/1.1", b"ICY"),
    # No browser can read these.
    "half a document": plain((BODY % b"")[:-9]),
    "half a document, and no last chunk": chunked((BODY % b"")[:-9], b""),
    "a length that is too small": plain(BODY % b"", more=-1),
    "nothing": b"",
}


@asynccontextmanager
async def serving(answer: bytes) -> AsyncGenerator[int]:
    """Answer every request the same way; return the port."""

    async def respond(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch, socket_enabled: None) -> None:
    """Remove the pause before a second try."""
    monkeypatch.setattr(client_module, "_PAUSE", 0)


async def test_what_a_browser_reads_is_read() -> None:
    """An odd byte in a decorative text makes no meter unreadable."""
    async with aiohttp.ClientSession() as session:
        for title, answer in READ.items():
            async with serving(answer) as port:
                meter = MeterClient(session, "127.0.0.1", port)
                try:
                    status = await meter.status()
                except MeterError as err:
                    pytest.fail(f"{title}: {err}")
                assert status.serial_number == SERIAL_NUMBER, title


async def test_headers_of_other_alphabets_can_be_stored() -> None:
    """How a meter answers is kept as JSON, in whichever alphabet it does."""
    names = b"Z\xe4hler", "Zähler".encode(), b"\xff\xfe", b"Z\xc3"
    headers = [
        b'WWW-Authenticate: Basic realm="%s"\r\nServer: %s' % (name, name)
        for name in names
    ]
    fingerprints = set()
    async with aiohttp.ClientSession() as session:
        for header in headers:
            answer = plain(b"", header).replace(b"200 OK", b"401 No")
            async with serving(answer) as port:
                meter = MeterClient(session, "127.0.0.1", port)
                fingerprint, _ = await meter.introduction()
            stored = orjson.loads(orjson.dumps(fingerprint.as_json()))
            assert Fingerprint.from_json(stored) == fingerprint
            fingerprints.add(fingerprint)
    assert len(fingerprints) == len(names)


async def test_what_is_not_read_is_an_error() -> None:
    """Unreadable answers raise an error of the meter."""
    async with aiohttp.ClientSession() as session:
        for answer in NOT_READ.values():
            async with serving(answer) as port:
                meter = MeterClient(session, "127.0.0.1", port)
                with pytest.raises((MeterUnexpectedAnswer, MeterUnreachable)):
                    await meter.status()
