"""Faults of a connection: slow, silent, or cut."""

import asyncio
from dataclasses import dataclass
from typing import override

from aiohttp import web

from .fault import Exchange, Fault

_BLOCKS_PER_SECOND = 20


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """The right answer, `seconds` late."""

    seconds: float

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        await asyncio.sleep(self.seconds)
        return await exchange.right()


@dataclass(frozen=True, slots=True)
class Drip(Fault):
    """The right answer, its body byte by byte with a pause of `seconds` after each."""

    seconds: float

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        body, response = await exchange.begun()
        for byte in body:
            await response.write(bytes((byte,)))
            await asyncio.sleep(self.seconds)
        return response


@dataclass(frozen=True, slots=True)
class SlowLine(Fault):
    """The right answer, its body at `bytes_per_second`."""

    bytes_per_second: float

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        body, response = await exchange.begun()
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
        """Give the right answer to every waiting request, and to later ones at once."""
        self._released = True
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        if not self._released:
            # One per request, so that a fault may serve tests with their own loops.
            waiting = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            await waiting
        return await exchange.right()


@dataclass(frozen=True, slots=True)
class ConnectionReset(Fault):
    """TCP RST instead of an answer."""

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        exchange.reset()
        return await exchange.never()


@dataclass(frozen=True, slots=True)
class CloseWithoutAnswer(Fault):
    """The connection ends in an orderly way before the first byte of an answer."""

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        exchange.close()
        return await exchange.never()


@dataclass(frozen=True, slots=True)
class CloseHalfway(Fault):
    """The connection ends in an orderly way after half of the body."""

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        body, response = await exchange.begun()
        await response.write(body[: len(body) // 2])
        exchange.close()
        return await exchange.never()


@dataclass(frozen=True, slots=True)
class SecondConnectionRefused(Fault):
    """A connection is reset at once while another one is open; of no path."""
