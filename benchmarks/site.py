"""What a building costs: many simulated meters in one real Home Assistant.

Home Assistant is a process of its own on one core, with a recorder on an SQLite file;
the meters, with their default entities, are another process on another core. The site
grows from size to size. Each is measured twice: quiet, and busy, which is while one
meter's statistics are rebuilt and, from two meters on, the firmware of one is updated.

    .venv-2026.11.0/bin/python -m benchmarks.site [--meters 1,10,50,100] [--seconds 60]

Ends with exit code 1 if the sensors of a meter were unavailable, or a poll was late by
more than one interval; the meter that is updated is polled less often meanwhile.
"""

import argparse
import asyncio
from asyncio.subprocess import PIPE, Process
from bisect import bisect_left
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
import json
from math import nan
import os
from pathlib import Path
import resource
import signal
import sqlite3
from statistics import median, quantiles
import sys
import tempfile
import time
from typing import Any

from aiohttp import ClientSession, ClientTimeout

from processes.home_assistant import HomeAssistant
from processes.owner import Owner
from processes.running import ROOT, own_port
from simulator.__main__ import MANUALS_PACE, UPDATER_PORT
from simulator.clock import RunningClock
from simulator.config import MeterConfig
from simulator.images import signed_image
from simulator.meter import Meter
from simulator.updater import UpdaterServer
from simulator.web import MeterServer

FIRST = 22350001
"""Serial number of the first meter, whose statistics are rebuilt."""
UPDATED = 1
"""Place of the meter that is updated."""
FIRMWARE_SIZE = 200 * 1024
HISTORY = timedelta(days=2)
DAYS_PER_SECOND = 15
"""Of the first meter's history, so that a rebuild takes about as long as a window."""
MOST_DAYS = 3 * 365
"""What its logger holds."""
SETTLE = 5.0
COMMIT = 6.0
"""Seconds after which the recorder has committed a state."""
PROGRAM = "benchmarks/watched_home_assistant.py"
INTERVAL = 5
"""Seconds between two polls that owners are promised."""
MOMENT = 0.1
DAY = 86_400
ROWS_PER_DAY = 24 + 288
"""Of one statistic: of hours and of five minutes."""
SENSORS = "sensor.emu_professional_ii_"


# --- The meters' process ---


async def serve(count: int, days: float) -> None:
    """Be the meters: print their addresses; for each line, tell what was asked."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    clock = RunningClock()
    now = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        servers = []
        for number in range(count):
            history = HISTORY if number else timedelta(days=days)
            config = MeterConfig(
                serial_number=str(FIRST + number), seed=number, installed=now - history
            )
            server = MeterServer(Meter(config, clock))
            server.host = f"127.0.1.{number + 1}"
            server.meter.meter_data()
            servers.append(await stack.enter_async_context(server))
        if count > UPDATED:
            web = servers[UPDATED]
            updater = UpdaterServer(web, MANUALS_PACE, host=web.host, port=UPDATER_PORT)
            await stack.enter_async_context(updater)
        print(json.dumps([f"{s.host}:{s.port}" for s in servers]), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps([_polls(server) for server in servers]), flush=True)


def _polls(server: MeterServer) -> list[float]:
    """Return when a meter was asked for its readings, and forget it."""
    polls = [r.started for r in server.requests if r.path == "/meterdata.json"]
    server.requests.clear()
    return polls


class Site:
    """The meters."""

    def __init__(self, process: Process) -> None:
        """Know their process."""
        self.pid = process.pid
        self._process = process

    @classmethod
    @asynccontextmanager
    async def run(cls, count: int, days: float) -> AsyncGenerator[Site]:
        """Run meters until this ends."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.site", f"--serve={count}"),
            f"--days={days}",
            cwd=ROOT,
            stdin=PIPE,
            stdout=PIPE,
            limit=2**24,
        )
        try:
            yield cls(process)
        finally:
            await process.communicate()

    async def addresses(self) -> list[str]:
        """Return their addresses, once they serve."""
        return list(await self._line())

    async def polls(self) -> list[list[float]]:
        """Return when each of them was polled since this was asked last.

        In seconds of the machine's monotonic clock.
        """
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        return list(await self._line())

    async def _line(self) -> Any:
        assert self._process.stdout
        return json.loads(await self._process.stdout.readline())


# --- Gauges ---


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Return the MB of a process's memory that are resident."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@dataclass(frozen=True)
class Delay:
    """How late the event loop was, in ms."""

    median: float
    most: float
    """99th percentile."""
    longest: float


def delay(folder: Path, begin: float, end: float) -> Delay:
    """Return how late Home Assistant's event loop was between two moments."""
    lines = (folder / "loop-delay").read_text().splitlines()
    samples = [tuple(map(float, line.split())) for line in lines]
    late = [1000 * sample[1] for sample in samples if begin <= sample[0] <= end]
    return Delay(median(late), quantiles(late, n=100)[-1], max(late))


@dataclass(frozen=True)
class Window:
    """What was measured for a while."""

    since: float
    """Seconds of the machine's monotonic clock, as in `polls`."""
    begin: float
    """Seconds since 1970-01-01 UTC."""
    seconds: float
    cpu: float
    """Seconds of Home Assistant's process, all threads."""
    meters_cpu: float
    delay: Delay
    memory: float
    polls: list[list[float]]

    @property
    def end(self) -> float:
        """Seconds since 1970-01-01 UTC."""
        return self.begin + self.seconds

    @property
    def longest_gap(self) -> float:
        """Most seconds between two polls of a meter."""
        return max((gap(polls) for polls in self.polls), default=0.0)

    @property
    def crowd(self) -> int:
        """Most polls that began within 0.1 s."""
        moments = sorted(moment for polls in self.polls for moment in polls)
        return max(
            (bisect_left(moments, at + MOMENT) - i for i, at in enumerate(moments)),
            default=0,
        )


def gap(polls: Sequence[float]) -> float:
    """Return the most seconds between two polls."""
    return max((late - early for early, late in pairwise(polls)), default=0.0)


async def measure(
    process: Process, folder: Path, site: Site, meters: int, seconds: float
) -> Window:
    """Measure for some seconds with so many of the site's meters."""
    await site.polls()
    begin, at = time.monotonic(), time.time()
    before, meters_before = cpu(process.pid), cpu(site.pid)
    await asyncio.sleep(seconds)
    passed = time.monotonic() - begin
    used, meters_used = cpu(process.pid) - before, cpu(site.pid) - meters_before
    polls = await site.polls()
    return Window(
        since=begin,
        begin=at,
        seconds=passed,
        cpu=used,
        meters_cpu=meters_used,
        delay=delay(folder, begin, begin + passed),
        memory=resident(process.pid),
        polls=polls[:meters],
    )


def count_states(folder: Path, begin: float, end: float, state: str = "%") -> int:
    """Return how many states of sensors were recorded between two moments."""
    database = f"file:{folder / 'home-assistant_v2.db'}?mode=ro"
    query = (
        "SELECT COUNT(*) FROM states JOIN states_meta USING (metadata_id) WHERE state"
        " LIKE ? AND states_meta.entity_id LIKE ? AND last_updated_ts BETWEEN ? AND ?"
    )
    with closing(sqlite3.connect(database, uri=True, timeout=60)) as connection:
        row = connection.execute(query, (state, f"{SENSORS}%", begin, end)).fetchone()
    return int(row[0])


# --- A site that grows ---


@dataclass(frozen=True)
class Figures:
    """What was measured of a site of one size; times in seconds."""

    meters: int
    adding: float
    """One meter, as its owner does it."""
    start: float
    """Of Home Assistant with all meters, until it runs."""
    readings: float
    """From the same moment until the last meter was read."""
    states: int
    """Rows of states of the quiet window."""
    statistics: int
    """How many of them are kept."""
    quiet: Window
    busy: Window
    update: float | None
    """None: there was no second meter to update."""
    problems: tuple[str, ...]


class Growth:
    """One Home Assistant that gets more and more meters."""

    def __init__(self, session: ClientSession, folder: Path, seconds: float) -> None:
        """Begin with none."""
        self._home_assistant = HomeAssistant(
            session, folder, own_port(8323), program=PROGRAM, quiet=True
        )
        self._folder = folder
        self._seconds = seconds
        self._entries: list[str] = []
        self._updates = 0

    @property
    def _owner(self) -> Owner:
        return self._home_assistant.owner

    async def idle(self, site: Site) -> Window:
        """Measure Home Assistant without meters."""
        async with self._home_assistant.run() as process:
            await asyncio.sleep(SETTLE)
            return await self._measure(process, site)

    async def grow(self, site: Site, addresses: Sequence[str]) -> Figures:
        """Add meters, start Home Assistant with them, and measure."""
        async with self._home_assistant.run():
            begin = time.monotonic()
            more = addresses[len(self._entries) :]
            for address in more:
                self._entries.append(await self._owner.add_meter(address))
            adding = (time.monotonic() - begin) / len(more)
            await self._wait_until_filled()
        await site.polls()
        begin = time.monotonic()
        async with self._home_assistant.run() as process:
            start = time.monotonic() - begin
            await self._wait_until_filled()
            first = [polls[0] for polls in (await site.polls())[: len(addresses)]]
            await asyncio.sleep(SETTLE)
            quiet = await self._measure(process, site)
            statistics = await self._statistics()
            busy, update = await self._busy(process, site)
            await asyncio.sleep(COMMIT)
            return Figures(
                meters=len(addresses),
                adding=adding,
                start=start,
                readings=max(first) - begin,
                states=count_states(self._folder, quiet.begin, quiet.end),
                statistics=statistics,
                quiet=quiet,
                busy=busy,
                update=update,
                problems=(
                    *late("quiet", quiet),
                    *late("busy", busy, UPDATED),
                    *self._lost(quiet.begin, busy.end),
                    *await self._still_unavailable(),
                ),
            )

    async def _measure(self, process: Process, site: Site) -> Window:
        meters = len(self._entries)
        return await measure(process, self._folder, site, meters, self._seconds)

    async def _busy(self, process: Process, site: Site) -> tuple[Window, float | None]:
        ended = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rebuild(ended))
            update = None
            if len(self._entries) > UPDATED:
                update = tasks.create_task(self._update())
            window = await self._measure(process, site)
            ended.set()
        return window, update.result() if update else None

    async def _rebuild(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            await self._owner.act(
                "emu_professional.backfill_statistics",
                config_entry_id=self._entries[0],
                mode="rebuild",
            )

    async def _update(self) -> float:
        self._updates += 1
        version = f"1.0.{16 + self._updates}"
        image = signed_image(version, size=FIRMWARE_SIZE)
        await self._owner.give_firmware(self._entries[UPDATED], image)
        begin = time.monotonic()
        entity_id = f"update.emu_professional_ii_{FIRST + UPDATED}_firmware"
        await self._owner.install_firmware(entity_id, version)
        return time.monotonic() - begin

    async def _wait_until_filled(self) -> None:
        while True:
            fills = [
                state["state"]
                for state in await self._states()
                if state["entity_id"].endswith("_statistics_fill")
            ]
            if len(fills) == len(self._entries) and set(fills) == {"complete"}:
                return
            await asyncio.sleep(1)

    async def _statistics(self) -> int:
        return sum(
            "state_class" in state["attributes"] for state in await self._states()
        )

    def _lost(self, begin: float, end: float) -> list[str]:
        lost = count_states(self._folder, begin, end, "unavailable")
        return [f"sensors became unavailable {lost} times"] if lost else []

    async def _still_unavailable(self) -> list[str]:
        return [
            f"{state['entity_id']} is unavailable"
            for state in await self._states()
            if state["state"] == "unavailable"
        ]

    async def _states(self) -> list[dict[str, Any]]:
        return [
            state
            for state in await self._owner.get("/api/states")
            if state["entity_id"].startswith(SENSORS)
        ]


def late(name: str, window: Window, excepted: int | None = None) -> list[str]:
    """Return which meters were polled late by more than one interval."""
    end = window.since + window.seconds
    gaps = {
        number: gap((window.since, *polls, end))
        for number, polls in enumerate(window.polls)
        if number != excepted
    }
    return [
        f"{name}: meter {FIRST + number} was not polled for {seconds:.1f} s"
        for number, seconds in gaps.items()
        if seconds > 2 * INTERVAL
    ]


# --- The table ---


def table(idle: Window, sizes: Sequence[Figures]) -> str:
    """Return the figures as Markdown."""
    lines = {
        "adding a meter": [f"{f.adding:.2f} s" for f in sizes],
        "start of Home Assistant until it runs": [f"{f.start:.1f} s" for f in sizes],
        "the last meter's first readings after": [f"{f.readings:.1f} s" for f in sizes],
        "CPU, of one core": [f"{_share(f.quiet):.1f} %" for f in sizes],
        "CPU per meter and poll": [f"{_cost(f.quiet, idle):.2f} ms" for f in sizes],
        "memory": [f"{f.quiet.memory:.0f} MB" for f in sizes],
        "rows of states per day": [
            f"{f.states / f.quiet.seconds * DAY:,.0f}" for f in sizes
        ],
        "rows of statistics per day": [
            f"{f.statistics * ROWS_PER_DAY:,}" for f in sizes
        ],
        "most polls within 0.1 s": [f"{f.quiet.crowd}" for f in sizes],
        "longest time between two polls": [
            f"{f.quiet.longest_gap:.1f} s" for f in sizes
        ],
        "delay of the event loop: median, 99 %, longest": [
            _delays(f.quiet.delay) for f in sizes
        ],
        "the same while one is filled and one updated": [
            _delays(f.busy.delay) for f in sizes
        ],
        "CPU, of one core, meanwhile": [f"{_share(f.busy):.0f} %" for f in sizes],
        "the update took": [
            "" if f.update is None else f"{f.update:.0f} s" for f in sizes
        ],
        "CPU of the simulated meters": [
            f"{_meters_share(f.quiet):.0f} %" for f in sizes
        ],
    }
    head = [
        f"| Meters | {' | '.join(str(f.meters) for f in sizes)} |",
        f"| --- |{' --- |' * len(sizes)}",
    ]
    rows = [f"| {name} | {' | '.join(cells)} |" for name, cells in lines.items()]
    without = (
        f"Without meters: {_share(idle):.1f} % of a core, {idle.memory:.0f} MB,"
        f" delay {_delays(idle.delay)}."
    )
    return "\n".join((*head, *rows, "", without))


def _share(window: Window) -> float:
    return 100 * window.cpu / window.seconds


def _meters_share(window: Window) -> float:
    return 100 * window.meters_cpu / window.seconds


def _cost(window: Window, idle: Window) -> float:
    """Return the ms of CPU for one poll of one meter."""
    polls = sum(map(len, window.polls)) or nan
    return 1000 * (window.cpu - idle.cpu / idle.seconds * window.seconds) / polls


def _delays(late: Delay) -> str:
    return f"{late.median:.1f}, {late.most:.1f}, {late.longest:.0f} ms"


async def compare(sizes: Sequence[int], seconds: float) -> list[str]:
    """Print the table, and return what went wrong."""
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    session = ClientSession(timeout=ClientTimeout(total=None))
    with tempfile.TemporaryDirectory() as folder:
        # At its stop a Home Assistant deletes what others were given there.
        os.environ["TMPDIR"] = folder
        async with (
            session,
            Site.run(max(sizes), min(seconds * DAYS_PER_SECOND, MOST_DAYS)) as site,
        ):
            addresses = await site.addresses()
            growth = Growth(session, Path(folder), seconds)
            idle = await growth.idle(site)
            figures = []
            for size in sizes:
                figures.append(await growth.grow(site, addresses[:size]))
                print(table(idle, figures), end="\n\n", flush=True)
    return [f"{f.meters} meters, {text}" for f in figures for text in f.problems]


def main() -> None:
    """Run the role that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meters", default="1,10,50,100", help="sizes, rising")
    parser.add_argument("--seconds", type=float, default=60, help="of each window")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--days", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve, options.days))
        return
    sizes = [int(size) for size in options.meters.split(",")]
    if found := asyncio.run(compare(sizes, options.seconds)):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
