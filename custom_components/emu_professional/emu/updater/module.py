"""A meter's communication module during an update, at its present address."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from ..client import MeterClient
from ..errors import MeterError
from .exchange import SessionTimeouts
from .session import UpdaterSession
from .slots import Slot, active_slot


@dataclass(frozen=True, slots=True)
class Access:
    """Where a meter is now: its web page, and the host and UDP port of its updater."""

    client: MeterClient
    host: str
    port: int
    resolve: Callable[[str], Awaitable[str]] | None = None
    """Returns the IP address of a host name; None: the operating system does."""

    async def address(self) -> str:
        """Return the address for datagrams. Raises MeterUnreachable."""
        return await self.resolve(self.host) if self.resolve else self.host


@dataclass(frozen=True, slots=True)
class UpdateTimeouts:
    """How long an update waits, in seconds."""

    restart: float = 300
    """Until the new image runs after a restart."""
    readings: float = 180
    """Until the meter serves its readings on trial."""
    confirm: float = 60
    """How long to keep confirming before the outcome counts as unknown."""
    grace: float = 3
    """How long the old image may keep answering after it accepted a restart."""
    away: float = 2
    """Longer silence after an accepted restart counts as that restart.

    The module boots, finds its network and gets an address; a lost datagram is
    repeated sooner.
    """
    look: float = 1
    """Between two looks at the slots or the web page."""
    session: SessionTimeouts = field(default_factory=SessionTimeouts)


class Module:
    """The communication module of one meter, asked in one short session after another.

    `find` returns where the meter is now: its address may change during a restart.
    """

    def __init__(self, find: Callable[[], Access], timeouts: UpdateTimeouts) -> None:
        """Name the way to find the meter."""
        self._find = find
        self.timeouts = timeouts
        self._lock = asyncio.Lock()
        self.running: Slot | None = None
        """The slot of the running image at the last look; None before any."""

    @property
    def client(self) -> MeterClient:
        """The client of its web page."""
        return self._find().client

    async def slots(self) -> tuple[Slot, ...]:
        """Return the slots with an image. Raises MeterError."""
        slots = await self.ask(UpdaterSession.slots)
        # Something always runs: a list without it was damaged on the line.
        self.running = active_slot(slots) or self.running
        return slots

    async def ask[T](self, request: Callable[[UpdaterSession], Awaitable[T]]) -> T:
        """Return the result of a function, called with a session of its own."""
        # An old server crashes at more requests than it has buffers for.
        async with self._lock:
            # Looked up for each session: the address may change during a restart.
            access = self._find()
            address = await access.address()
            async with UpdaterSession(
                address, access.port, self.timeouts.session
            ) as session:
                return await request(session)

    async def looks(self, seconds: float) -> AsyncIterator[tuple[Slot, ...]]:
        """Yield the slots whenever the module answers, for some seconds."""
        async for _ in self.pauses(seconds):
            try:
                slots = await self.slots()
            except MeterError:
                # It restarts, or a datagram was lost: the next look decides.
                continue
            yield slots

    async def pauses(self, seconds: float) -> AsyncIterator[None]:
        """Yield at once and after each pause between two looks, for some seconds."""
        now = asyncio.get_running_loop().time
        end = now() + seconds
        while now() < end:
            yield
            await asyncio.sleep(self.timeouts.look)
