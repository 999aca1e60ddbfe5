"""A UDP socket of one peer, and the time to wait for its answers."""

import asyncio
from collections import deque
import os
import socket
from typing import Final, Self, cast, override

from ..errors import MeterUnreachable

_LOOKUP_LIMIT: Final = 5.0
# More than two answers are never due; the rest of a flood counts as lost.
_MOST_WAITING: Final = 16


class Endpoint(asyncio.DatagramProtocol):
    """A UDP socket of one peer: the operating system drops datagrams of others.

    ICMP refusals and other errors of the network are raised by `receive()`.
    """

    def __init__(self) -> None:
        """Wait to be opened by `open()`."""
        self._arrived = asyncio.Event()
        self._closed = asyncio.Event()
        self._inbox: deque[bytes | OSError] = deque(maxlen=_MOST_WAITING)
        self._transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Return an open endpoint of a host: IPv4 or IPv6 address, or name.

        Of a name the IPv4 address is taken if there is one: the manual knows no
        other kind. Raises MeterUnreachable.
        """
        loop = asyncio.get_running_loop()
        trouble: Exception | None = None
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                async with asyncio.timeout(_LOOKUP_LIMIT):
                    _, endpoint = await loop.create_datagram_endpoint(
                        cls, remote_addr=(host, port), family=family
                    )
            # A name or a port that can't exist is a ValueError or OverflowError.
            except (OSError, ValueError, OverflowError) as err:
                # An address of one family is an unknown name to the other.
                if trouble is None or isinstance(trouble, socket.gaierror):
                    trouble = err
            else:
                return endpoint
        raise MeterUnreachable(reason(trouble)) from trouble

    async def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            # `close()` would wait for datagrams that nobody needs any more.
            self._transport.abort()
            await self._closed.wait()

    def send(self, data: bytes) -> None:
        """Send one datagram; errors are raised by `receive()`."""
        if self._transport is not None:
            self._transport.sendto(data)

    def forget(self) -> None:
        """Drop all arrived datagrams."""
        self._inbox.clear()

    async def receive(self, seconds: float) -> bytes:
        """Return the next datagram.

        Raises TimeoutError after so many seconds, another OSError as soon as the
        network reports that nobody is there.
        """
        async with asyncio.timeout(seconds):
            while not self._inbox:
                self._arrived.clear()
                await self._arrived.wait()
        item = self._inbox.popleft()
        if isinstance(item, OSError):
            raise item
        return item

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    @override
    def datagram_received(self, data: bytes, addr: tuple[object, ...]) -> None:
        """Keep a datagram for `receive()`."""
        self._inbox.append(data)
        self._arrived.set()

    @override
    def error_received(self, exc: Exception) -> None:
        """Keep an error of the network for `receive()`."""
        self._inbox.append(cast("OSError", exc))
        self._arrived.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Let `close()` return."""
        self._closed.set()


class RetransmissionTimer:
    """The time before a datagram is sent again; all times in seconds.

    While no datagram is known to be lost, a missing answer means a busy peer, and a
    repetition would only fill its two buffers. On a lossy line the wait follows the
    measured round trips (as in RFC 6298).
    """

    LOSSES: Final = 3
    """Losses of a lossy line."""
    UNKNOWN: Final = 0.5
    """Before the first round trip."""
    BUSY: Final = 1.0
    """Before so many losses."""
    SHORTEST: Final = 0.06
    LONGEST: Final = 2.0
    GROWTH: Final = 1.25
    """Factor from one repetition to the next."""

    def __init__(self) -> None:
        """Begin without knowledge of the line."""
        self._losses = 0
        self._mean: float | None = None
        self._deviation = 0.0

    def answered(self, lost: bool, seconds: float | None) -> None:
        """Learn from an answer: its round trip, and an earlier loss in its request.

        `seconds` is None if the peer's work took most of the round trip.
        """
        self._losses += lost
        if seconds is None:
            return
        # The weights and the four deviations of `wait()` are those of RFC 6298.
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        self._deviation += (abs(seconds - self._mean) - self._deviation) / 4
        self._mean += (seconds - self._mean) / 8

    def wait(self, repetition: int) -> float:
        """Return the seconds to wait after a repetition (0: the first datagram)."""
        if self._mean is None:
            wait = self.UNKNOWN
        elif self._losses < self.LOSSES:
            wait = self.BUSY
        else:
            wait = max(self._mean + 4 * self._deviation, self.SHORTEST)
        # The power has long reached LONGEST by then, and would overflow some day.
        return min(wait * self.GROWTH ** min(repetition, 20), self.LONGEST)


def reason(err: Exception | None) -> str:
    """Return a few words on why nobody was reached."""
    match err:
        case socket.gaierror() | ValueError():
            return "its name is unknown"
        case TimeoutError():
            return "its name was not found in time"
        case OSError(errno=int(number)):
            return os.strerror(number).lower()
        case _:
            return str(err) or type(err).__name__
