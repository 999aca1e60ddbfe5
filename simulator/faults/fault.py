"""A fault of one request, and the answer that it disturbs."""

import asyncio
from collections.abc import Awaitable, Callable
import socket
import struct
from typing import NoReturn

from aiohttp import hdrs, web

type Respond = Callable[[], Awaitable[web.Response]]
"""Gives the answer that the meter would give without a fault."""

DATA = "/data/"
LOGBOOK = "/logbook/"
TABLES = frozenset({DATA, LOGBOOK})
"""Paths of CSV answers."""


class Exchange:
    """One request, its connection, and the right answer to it."""

    def __init__(self, request: web.Request, respond: Respond) -> None:
        """Name the request, and the way to the right answer."""
        self.request = request
        self.right = respond

    @property
    def transport(self) -> asyncio.Transport:
        """The connection. Raises ConnectionResetError if it is closed."""
        if self.request.transport is None:
            raise ConnectionResetError
        return self.request.transport

    async def copied(
        self, right: web.Response | None = None
    ) -> tuple[bytes, web.StreamResponse]:
        """Return the body of the right answer, and an answer with its head, unsent."""
        right = right or await self.right()
        body = right.body if isinstance(right.body, bytes) else b""
        headers = {hdrs.CONTENT_TYPE: right.headers[hdrs.CONTENT_TYPE]}
        return body, web.StreamResponse(status=right.status, headers=headers)

    async def begun(
        self, right: web.Response | None = None
    ) -> tuple[bytes, web.StreamResponse]:
        """Return the body of the right answer, and an answer of its length, begun."""
        body, response = await self.copied(right)
        response.content_length = len(body)
        await response.prepare(self.request)
        return body, response

    def close(self) -> None:
        """Close the connection in an orderly way."""
        self.transport.close()

    def reset(self) -> None:
        """Close the connection with a TCP RST."""
        reset(self.transport)

    async def never(self) -> NoReturn:
        """Wait for the end of the request, after its connection was given up."""
        # The lost connection cancels the request; until then nothing may be written.
        await asyncio.get_running_loop().create_future()
        raise ConnectionResetError


class Fault:
    """A fault of a request; one may serve many requests and servers.

    By itself it changes nothing.
    """

    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        """Answer a request with the fault."""
        return await self.disturb(Exchange(request, respond))

    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        """Return the answer; never return once the connection is given up."""
        return await exchange.right()


def reset(transport: asyncio.BaseTransport) -> None:
    """Close a connection with a TCP RST."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
