"""Simulated meters, and the bad luck that they have."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, Self

from processes.running import own_addresses
from simulator.clock import RunningClock
from simulator.config import MeterConfig
from simulator.faults import (
    CloseHalfway,
    CloseWithoutAnswer,
    ConnectionReset,
    Drip,
    Fault,
    HugeBody,
    Redirect,
    Silent,
    Slow,
    Status,
    TruncatedJson,
    empty_body,
    garbage,
    not_an_object,
    null_values,
)
from simulator.history import PowerFailure
from simulator.meter import Meter
from simulator.updater import UpdaterConfig, UpdaterServer
from simulator.web import MeterServer

HISTORY: Final = timedelta(days=3)
HOUR: Final = 3600
UPDATER_PORT: Final = 1337
FIRST_SERIAL_NUMBER: Final = 22370001

BAD_ANSWERS: Final[tuple[Callable[[], Fault], ...]] = (
    CloseHalfway,
    CloseWithoutAnswer,
    ConnectionReset,
    HugeBody,
    Silent,
    TruncatedJson,
    empty_body,
    garbage,
    not_an_object,
    null_values,
    lambda: Drip(0.05),
    lambda: Redirect("http://192.0.2.1/"),
    lambda: Slow(3),
    lambda: Status(404),
    lambda: Status(503),
)

_addresses = own_addresses()


class SimulatedMeter:
    """A meter with its module, at an address of its own of the loopback interface."""

    def __init__(self, number: int, password: str) -> None:
        """Install it some days ago."""
        config = MeterConfig(
            serial_number=str(FIRST_SERIAL_NUMBER + number),
            password=password,
            seed=number,
            installed=datetime.now(UTC) - HISTORY,
        )
        self.web = MeterServer(Meter(config, RunningClock()))
        module = UpdaterConfig(
            erase_seconds=0.5, chunk_seconds=0.002, watchdog_seconds=10, seed=number
        )
        self.updater = UpdaterServer(self.web, module, port=UPDATER_PORT)

    @property
    def serial_number(self) -> str:
        """Eight digits."""
        return self.web.meter.serial_number

    @property
    def address(self) -> str:
        """Host and port of its web server."""
        return f"{self.web.host}:{self.web.port}"

    async def __aenter__(self) -> Self:
        """Start serving."""
        self._take_an_address()
        await self.web.start()
        await self.updater.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop serving."""
        await self.updater.stop()
        await self.web.stop()

    async def move(self) -> None:
        """Get another address; the module is without power meanwhile."""
        await self.__aexit__()
        await self.__aenter__()

    def known(self) -> dict[int, int]:
        """Return the imported Wh at each full hour that the logger has, epoch second."""
        meter = self.web.meter
        return {
            record.stamp: record.active_import_t1 + record.active_import_t2
            for record in meter.records(meter.oldest_index, meter.newest_index)
            if record.stamp % HOUR == 0
        }

    def firmware_fault(self) -> str | None:
        """Return what is wrong with its module, None if it runs a confirmed image."""
        active = [slot for slot in self.updater.bootloader.slots if slot.active]
        if not active or self.updater.running is None:
            return "no image runs"
        return None if active[0].confirmed else "the image that runs is not confirmed"

    def _take_an_address(self) -> None:
        self.web.host = self.updater.host = next(_addresses)


async def vanishes(meter: SimulatedMeter, random: Random) -> None:
    """Be out of reach for a while."""
    seconds = random.uniform(1, 15)
    meter.updater.datagrams.silent_for(seconds)
    await meter.web.stop()
    try:
        await asyncio.sleep(seconds)
    finally:
        await meter.web.start()


async def answers_badly(meter: SimulatedMeter, random: Random) -> None:
    """Have a web server that is overloaded, or out of its mind."""
    meter.web.faults.set(random.choice(BAD_ANSWERS)())
    try:
        await asyncio.sleep(random.uniform(1, 12))
    finally:
        meter.web.faults.clear()


async def loses_power(meter: SimulatedMeter, random: Random) -> None:
    """Stop with the whole house; the module boots afterwards."""
    seconds = random.uniform(5, 15)
    now = meter.web.meter.now()
    meter.web.meter.happens(PowerFailure(now, now + seconds))
    await meter.updater.power_cut(seconds)
    await asyncio.sleep(seconds)


async def loses_datagrams(meter: SimulatedMeter, random: Random) -> None:
    """Have a bad line to the updater."""
    datagrams = meter.updater.datagrams
    for line in (datagrams.requests, datagrams.answers):
        line.loss = random.uniform(0, 0.3)
        line.doubling = random.uniform(0, 0.2)
        line.corruption = random.uniform(0, 0.05)
        line.reordering = random.uniform(0, 0.2)
        line.jitter = random.uniform(0, 0.1)
    try:
        await asyncio.sleep(random.uniform(5, 30))
    finally:
        datagrams.clear()


async def restarts(meter: SimulatedMeter, random: Random) -> None:
    """Restart the module, now or in the middle of the next upload."""
    if random.random() < 0.5:
        meter.updater.cut_power_at_byte = random.randrange(1, 40_000)
    else:
        await meter.updater.power_cut(random.uniform(0, 5))


async def moves(meter: SimulatedMeter, random: Random) -> None:
    """Get another address."""
    await meter.move()


type BadLuck = Callable[[SimulatedMeter, Random], Awaitable[None]]
BAD_LUCK: Final[tuple[BadLuck, ...]] = (
    vanishes,
    answers_badly,
    answers_badly,
    loses_power,
    loses_datagrams,
    restarts,
    moves,
)
BAD_LUCK_SO_FAR: Final[Counter[str]] = Counter()


async def have_bad_luck(meter: SimulatedMeter, random: Random) -> None:
    """Let one thing after the other happen to a meter; cancelled, it is well again."""
    while True:
        await asyncio.sleep(random.uniform(1, 10))
        bad_luck = random.choice(BAD_LUCK)
        BAD_LUCK_SO_FAR[bad_luck.__name__] += 1
        await bad_luck(meter, random)


@asynccontextmanager
async def serving(meters: list[SimulatedMeter]) -> AsyncGenerator[None]:
    """Let all meters serve."""
    async with asyncio.TaskGroup() as tasks:
        for meter in meters:
            tasks.create_task(meter.__aenter__())
    try:
        yield
    finally:
        for meter in meters:
            await meter.__aexit__()
