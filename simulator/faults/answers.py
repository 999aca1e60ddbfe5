"""Faults of a whole answer: its status, its head, or any other body."""

from dataclasses import dataclass
import random
from typing import override
import zlib

from aiohttp import hdrs, web

from .fault import TABLES, Exchange, Fault

CHALLENGE = 'Basic realm="EMU Professional II"'

_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class Status(Fault):
    """An HTTP status with a small HTML body."""

    status: int

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        text = f"<html><body>{self.status}</body></html>"
        response = web.Response(status=self.status, text=text, content_type="text/html")
        if self.status == web.HTTPUnauthorized.status_code:
            response.headers[hdrs.WWW_AUTHENTICATE] = CHALLENGE
        return response


@dataclass(frozen=True, slots=True)
class Redirect(Fault):
    """A redirect to another address."""

    location: str
    status: int = 302

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        headers = {hdrs.LOCATION: self.location}
        return web.Response(status=self.status, headers=headers)


@dataclass(frozen=True, slots=True)
class ContentType(Fault):
    """The right body with another content type."""

    content_type: str = "text/html"

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        response = await exchange.right()
        response.content_type = self.content_type
        return response


@dataclass(frozen=True, slots=True)
class Body(Fault):
    """Any body with status 200 and the right content type."""

    body: bytes

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        of_table = exchange.request.path in TABLES
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
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        body, response = await exchange.copied()
        if self.declared:
            response.content_length = self.size
        else:
            response.enable_chunked_encoding()
        await response.prepare(exchange.request)
        await response.write(body)
        for begin in range(len(body), self.size, _BLOCK):
            await response.write(b" " * min(_BLOCK, self.size - begin))
        return response


@dataclass(frozen=True, slots=True)
class CompressionBomb(Fault):
    """Blanks, compressed unasked: about a thousandth of `size` bytes."""

    size: int = 1_000_000_000

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        packed = zlib.compressobj(wbits=31)
        block = b" " * 2**20
        body = b"".join(packed.compress(block) for _ in range(self.size // len(block)))
        headers = {hdrs.CONTENT_ENCODING: "gzip"}
        return web.Response(body=body + packed.flush(), headers=headers)
