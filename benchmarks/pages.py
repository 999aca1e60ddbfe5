"""What a back-fill costs a meter in requests and time, in virtual time.

python -m benchmarks.pages

A meter whose data logger needs a fixed time for every request and sends slowly is
read through the same calls as a back-fill makes. Nothing waits: the event loop's
clock jumps to the next moment at which something happens.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
import selectors
from typing import Any, Final, cast, override

from custom_components.emu_professional.backfill.logger_reader import LoggerReader
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.logs import Page, Record, Timing
from custom_components.emu_professional.emu.pace import Pace
from custom_components.emu_professional.emu.request_queue import Priority, RequestQueue

DAY: Final = 86_400
INTERVAL: Final = 900
NEWEST_AT: Final = 2_000_000_000 // DAY * DAY
LINE: Final = 135
"""Bytes of a record."""
POLL_INTERVAL: Final = 5.0
MARGIN: Final = 7200


class _JumpingSelector(selectors.DefaultSelector):
    """Finds that time has passed instead of waiting."""

    passed = 0.0

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        self.passed += max(timeout or 0.0, 0.0)
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to what is next."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    @override
    def time(self) -> float:
        return self._jumping.passed


def run_virtually[ResultT](work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Return the result of work that waits for nothing but time."""
    with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
        return runner.run(work)


@dataclass
class Line:
    """What a request costs from some number of requests on."""

    latency: float
    """Seconds until the first byte."""
    speed: float
    """Bytes per second."""
    making: float = 0.0
    """Seconds per record until the first byte."""


@dataclass
class SlowMeter:
    """A meter that does one thing at a time, in the place of a client."""

    line: Callable[[int], Line]
    """What the request with a number, from 0 on, costs."""
    records_held: int
    first_index: int = 7999
    pace: Pace = field(default_factory=Pace)
    sizes: list[int] = field(default_factory=list)
    """Records that each request to the data logger has brought."""
    oldest_live: float = 0.0
    """The greatest age that a live reading had."""

    def __post_init__(self) -> None:
        """Begin without requests."""
        self._queue = RequestQueue()

    @property
    def newest_index(self) -> int:
        """Return the index of the newest record."""
        return self.first_index + self.records_held - 1

    def stamp(self, index: int) -> int:
        """Return when a record was made."""
        return NEWEST_AT - INTERVAL * (self.newest_index - index)

    async def newest_records(
        self, count: int, priority: Priority = Priority.BACKGROUND
    ) -> Page:
        """Answer like a client."""
        return await self.records(
            self.newest_index - count + 1, self.newest_index, priority
        )

    async def records(
        self, first: int, last: int, priority: Priority = Priority.BACKGROUND
    ) -> Page:
        """Answer like a client."""
        first, last = max(first, self.first_index), min(last, self.newest_index)
        async with self._queue.turn(priority):
            line = self.line(len(self.sizes))
            records = tuple(
                Record(self.stamp(index), index, 0, "22350001", ())
                for index in range(first, last + 1)
            )
            self.sizes.append(len(records))
            until_first = line.latency + line.making * len(records)
            whole = until_first + len(records) * LINE / line.speed
            await asyncio.sleep(whole)
        return Page(records, (), whole=True, timing=Timing(until_first, whole))

    async def poll(self) -> None:
        """Read live values every 5 s, for ever."""
        time = asyncio.get_running_loop().time
        last = time()
        while True:
            async with self._queue.turn(Priority.LIVE):
                await asyncio.sleep(0.02)
            self.oldest_live = max(self.oldest_live, time() - last)
            last = time()
            await asyncio.sleep(POLL_INTERVAL)


async def read_like_a_backfill(meter: SlowMeter, reader: Any, days: int) -> int:
    """Read the newest days in parts, newest first; return how many records came."""
    newest = await reader.newest()
    assert newest
    since = newest.at - days * DAY
    first = await reader.first_after(since, newest)
    await reader.record(first)
    await reader.record(first - 1)
    behind = newest.index + 1
    came: set[int] = set()
    for begin, end in _parts(since, newest.at):
        first = max(await reader.first_after(begin - MARGIN, newest) - 1, 0)
        for span in ((first, behind - 1), (behind, newest.index)):
            pages: AsyncIterator[Page] = reader.pages(*span, end + MARGIN)
            async for page in pages:
                came.update(record.index for record in page.records)
        behind = min(first, behind)
    return len([index for index in came if meter.stamp(index) > since])


def _parts(since: int, until: int) -> list[tuple[int, int]]:
    parts = []
    size = 30 * DAY
    while until > since:
        parts.append((max(until - size, since), until))
        until = parts[-1][0]
        size = 60 * DAY
    return parts


@dataclass
class Cost:
    """What a back-fill has cost."""

    records: int
    requests: int
    seconds: float
    oldest_live: float
    sizes: list[int]


def cost_of(
    line: Line | Callable[[int], Line],
    days: int,
    reader: Callable[[MeterClient], Any] = LoggerReader,
) -> Cost:
    """Return what the newest days cost of a logger that holds no more."""

    async def fill() -> Cost:
        held = days * DAY // INTERVAL
        meter = SlowMeter(line if callable(line) else lambda _: line, held)
        polls = asyncio.create_task(meter.poll())
        begin = asyncio.get_running_loop().time()
        records = await read_like_a_backfill(
            meter, reader(cast("MeterClient", meter)), days
        )
        seconds = asyncio.get_running_loop().time() - begin
        polls.cancel()
        return Cost(records, len(meter.sizes), seconds, meter.oldest_live, meter.sizes)

    return run_virtually(fill())


CASES: Final = (
    ("latency 12 s, 100 kB/s", Line(12, 100_000), 30),
    ("latency 12 s, 100 kB/s", Line(12, 100_000), 5 * 365),
    ("latency 20 s, 50 kB/s", Line(20, 50_000), 365),
    ("no latency, 4 kB/s", Line(0.01, 4_000), 30),
    ("no latency, 4 kB/s", Line(0.01, 4_000), 365),
    ("no latency, 1 MB/s", Line(0.01, 1_000_000), 365),
    ("latency 12 s, 4 kB/s", Line(12, 4_000), 30),
    ("10 ms per record, before the first byte", Line(0.1, 100_000, 0.01), 365),
)


def main() -> None:
    """Print a table."""
    print(f"{'':42}{'days':>5} {'requests':>9} {'min':>7} {'live ≤ s':>9}")
    for name, line, days in CASES:
        cost = cost_of(line, days)
        print(
            f"{name:42}{days:5} {cost.requests:9} {cost.seconds / 60:7.1f} "
            f"{cost.oldest_live:9.1f}"
        )


if __name__ == "__main__":
    main()
