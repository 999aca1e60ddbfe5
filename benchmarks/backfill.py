"""What filling years of statistics costs, beside its floors in the same run.

A simulated meter, a process of its own, is added to a real Home Assistant with a
recorder on an SQLite file, and all its statistics that exist by default are filled
from its logger; then once more, when nothing is left to do. Each run is a process of
its own as well: of one year and of all years, so that their memory can be compared.

The floors: one streaming pass of `csv.reader` with integers over the same bytes, and
a recorder that imports the rows of the first year's run in the same batches into a
new database. No part of Home Assistant's test harness is needed, so that it runs with
any Home Assistant:

    .venv/bin/python -m benchmarks.backfill [--years 5] [--quick]
    /tmp/ha2611/bin/python -m benchmarks.backfill
"""

import argparse
import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
import csv
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
import functools
import gc
from http.client import HTTPConnection
from importlib import import_module
import io
import json
import os
from pathlib import Path
import resource
import socket
import sqlite3
from statistics import median
import subprocess
import sys
import tempfile
import threading
import time
from types import MappingProxyType
from typing import Any, override

from custom_components.emu_professional.backfill.recorder import async_caught_up
from custom_components.emu_professional.backfill.report import EVERYTHING
from custom_components.emu_professional.backfill.targets import TARGETS
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.const import (
    CONF_AUTOMATIC,
    DOMAIN,
    POLL_INTERVAL,
)
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.readings import Readings
from custom_components.emu_professional.runtime import EmuRuntime
from homeassistant import bootstrap, loader
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.db_schema import Statistics
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.tasks import (
    AdjustStatisticsTask,
    ImportStatisticsTask,
    RecorderTask,
    SynchronizeTask,
)
from homeassistant.config_entries import SOURCE_USER, ConfigEntries, ConfigEntry
from homeassistant.const import CONF_HOST, CONF_PORT, __version__
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import async_initialize_recorder, get_instance
from homeassistant.setup import async_setup_component

ROOT = Path(__file__).parent.parent
PACKAGE = "custom_components.emu_professional"
SERIAL_NUMBER = "22350001"
DAY = 24 * HOUR
RECORDS_PER_YEAR = 35_064
SOON = 30 * DAY
"""The newest part of the history, which people look at first."""

PARTS = {
    "parsing": ("emu.client:_parse",),
    "folding": (
        "backfill.hours:Folding.feed",
        "backfill.hours:Folding.close",
        "backfill.run:_part",
    ),
    "reading rows": (
        "backfill.recorder.read:_stored",
        "backfill.recorder.read:_stored_means",
        "backfill.recorder.read:_is_written",
    ),
    "joining": (
        "backfill.run:reconcile",
        "backfill.report:changed",
        "backfill.run:plan_means",
    ),
}
"""The functions whose CPU is told apart, by module and name."""

TICK = 0.02
PROBE = 0.05
"""Seconds between two looks at the event loop, and at the recorder: so seldom that
the CPU that is taken off for them is little."""

BATCHES = "batches"
DATABASE = "home.db"


@dataclass
class Figures:
    """What was measured of one run; times in seconds, sizes in MB."""

    records: int = 0
    rows: int = 0
    again: int = 0
    """Rows that the second run wrote."""
    setup: float = 0
    soon: float = 0
    """Until the energy statistics had their newest 30 days."""
    whole: float = 0
    own: float = 0
    """CPU of all threads but the recorder's, without that of live polls."""
    parts: dict[str, float] = field(default_factory=dict)
    recorder: float = 0
    """CPU of the recorder's thread, without that of live polls."""
    tasks: float = 0
    """CPU of the tasks that it was given."""
    tasks_wall: float = 0
    idle: float = 0
    """CPU of live polls per second, all threads but the recorder's."""
    idle_recorder: float = 0
    second: float = 0
    second_own: float = 0
    second_recorder: float = 0
    longest_task: float = 0
    longest_task_cpu: float = 0
    longest_wait: float = 0
    """Of a task that was put into the recorder's queue every 50 ms."""
    longest_drift: float = 0
    """By how much a timer of the event loop was late."""
    idle_drift: float = 0
    longest_collection: float = 0
    """Of garbage, during which nothing else runs."""
    collections: int = 0
    """Of the oldest generation, with everything that Home Assistant holds."""
    garbage: float = 0
    """CPU of all collections, which no other figure has in it."""
    longest_callback: float = 0
    longest_callback_cpu: float = 0
    late: dict[str, float] = field(default_factory=dict)
    """Callbacks that took more than 5 ms of CPU, and how long at most."""
    longest_gap: float = 0
    """Between two live polls that succeeded."""
    idle_gap: float = 0
    growth: float = 0
    """Of the memory at its peak."""


# --- Gauges ---


class Garbage:
    """What collections of garbage cost each thread.

    A full one looks at all that Home Assistant holds, and comes to whichever thread
    happens to ask for memory: it is told apart from what that thread does.
    """

    def __init__(self) -> None:
        """Have measured nothing."""
        self.seconds: defaultdict[int, float] = defaultdict(float)
        self._began = (0.0, 0.0)
        self.reset()
        gc.callbacks.append(self._collected)

    def reset(self) -> None:
        """Forget the longest one and how many there were."""
        self.longest = 0.0
        self.full = 0

    def cpu(self) -> float:
        """Return the CPU of this thread but for its collections."""
        return time.thread_time() - self.seconds[threading.get_ident()]

    def _collected(self, phase: str, info: dict[str, int]) -> None:
        now = time.monotonic(), time.thread_time()
        if phase == "start":
            self._began = now
            return
        wall, cpu = self._began
        self.seconds[threading.get_ident()] += now[1] - cpu
        self.longest = max(self.longest, now[0] - wall)
        self.full += info["generation"] == 2


GARBAGE = Garbage()


class Parts:
    """CPU of functions, each without what it calls of the others."""

    def __init__(self) -> None:
        """Have measured nothing."""
        self.seconds: Counter[str] = Counter()
        self._inner = threading.local()

    def install(self) -> None:
        """Wrap all functions of `PARTS`."""
        for part, names in PARTS.items():
            for name in names:
                module, _, path = name.partition(":")
                *outer, attribute = path.split(".")
                owner: Any = import_module(f"{PACKAGE}.{module}")
                for step in outer:
                    owner = getattr(owner, step)
                setattr(owner, attribute, self._timed(part, getattr(owner, attribute)))

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        inner = self._inner

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            outside, inner.seconds = getattr(inner, "seconds", 0.0), 0.0
            begin = GARBAGE.cpu()
            result = function(*arguments, **named)
            if isinstance(result, Iterator):
                result = iter(list(result))
            passed = GARBAGE.cpu() - begin
            self.seconds[part] += passed - inner.seconds
            inner.seconds = outside + passed
            return result

        return timed


class Tasks:
    """What the recorder was given to do, and how long it took."""

    def __init__(self, path: Path) -> None:
        """Write a line for each batch of rows."""
        self.begin = 0.0
        self.cpu = self.wall = self.longest = self.longest_cpu = 0.0
        self.rows = 0
        self._file = path.open("w")

    def install(self) -> None:
        """Wrap the recorder's tasks."""
        for task in (ImportStatisticsTask, AdjustStatisticsTask):
            vars_of: Any = task
            vars_of.run = self._timed(task.run)

    def _timed(
        self, run: Callable[[Any, Recorder], None]
    ) -> Callable[[Any, Recorder], None]:
        def timed(task: RecorderTask, instance: Recorder) -> None:
            wall, cpu = time.monotonic(), GARBAGE.cpu()
            run(task, instance)
            now = time.monotonic()
            passed = GARBAGE.cpu() - cpu
            self.cpu += passed
            self.longest_cpu = max(self.longest_cpu, passed)
            self.wall += now - wall
            self.longest = max(self.longest, now - wall)
            if isinstance(task, ImportStatisticsTask) and task.table is Statistics:
                self._write(task, now - self.begin)

        return timed

    def _write(self, task: ImportStatisticsTask, passed: float) -> None:
        starts = [int(row["start"].timestamp()) for row in task.statistics]
        self.rows += len(starts)
        identity = task.metadata["statistic_id"]
        print(passed, identity, min(starts), max(starts), file=self._file)

    def close(self) -> None:
        """Have written all lines."""
        self._file.close()


def batches(folder: Path) -> Iterator[tuple[float, str, int, int]]:
    """Yield when a batch was written, its statistic, and its first and last hour."""
    with (folder / BATCHES).open() as file:
        for line in file:
            passed, identity, first, last = line.split()
            yield float(passed), identity, int(first), int(last)


@dataclass(slots=True)
class Probe(RecorderTask):
    """A task that does nothing but tell how long it had to wait."""

    commit_before = False
    asked: float
    tell: Callable[[float], None]

    @override
    def run(self, instance: Recorder) -> None:
        """Tell."""
        self.tell(time.monotonic() - self.asked)


class Loop:
    """How long the event loop and the recorder keep others waiting."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Have measured nothing."""
        self._hass = hass
        self.reset()

    def reset(self) -> None:
        """Forget what was measured."""
        self.drift = self.wait = self.callback = self.callback_cpu = 0.0
        self.late: dict[str, float] = {}

    def install(self) -> None:
        """Begin."""
        gauge = self
        handles: Any = asyncio.Handle
        original: Callable[[asyncio.Handle], None] = handles._run  # noqa: SLF001

        def run(handle: asyncio.Handle) -> None:
            wall, cpu = time.monotonic(), GARBAGE.cpu()
            original(handle)
            passed = time.monotonic() - wall
            if passed > 0.002:
                gauge.note(handle, passed, GARBAGE.cpu() - cpu)

        handles._run = run  # noqa: SLF001
        self._due = time.monotonic()
        self._tick()
        self._ask()

    def note(self, handle: asyncio.Handle, wall: float, cpu: float) -> None:
        """Note a callback that took its time."""
        self.callback = max(self.callback, wall)
        self.callback_cpu = max(self.callback_cpu, cpu)
        if cpu > 0.005:
            name = _name(handle)
            self.late[name] = max(self.late.get(name, 0.0), cpu)

    def _tick(self) -> None:
        now = time.monotonic()
        self.drift = max(self.drift, now - self._due)
        self._due = now + TICK
        self._hass.loop.call_later(TICK, self._tick)

    def _ask(self) -> None:
        get_instance(self._hass).queue_task(Probe(time.monotonic(), self._tell))
        self._hass.loop.call_later(PROBE, self._ask)

    def _tell(self, waited: float) -> None:
        self.wait = max(self.wait, waited)


def _name(handle: asyncio.Handle) -> str:
    """Return what a callback is: the place where its task waits by now, or itself."""
    handles: Any = handle
    callback = handles._callback  # noqa: SLF001
    owner = getattr(callback, "__self__", callback)
    if isinstance(owner, asyncio.Task):
        frames = owner.get_stack(limit=1)
        where = f":{frames[0].f_lineno}" if frames else ""
        return f"{getattr(owner.get_coro(), '__qualname__', owner)}{where}"
    return getattr(callback, "__qualname__", repr(callback))


class Polls:
    """Live polls that succeed."""

    def __init__(self) -> None:
        """Have seen none."""
        self.gap = 0.0
        self.last: float | None = None

    def install(self) -> None:
        """Listen to the meter's client."""
        original = MeterClient.readings

        async def readings(client: MeterClient) -> Readings:
            result = await original(client)
            self.heard()
            return result

        owner: Any = MeterClient
        owner.readings = readings

    def heard(self) -> None:
        """Note a poll."""
        now = time.monotonic()
        if self.last is not None:
            self.gap = max(self.gap, now - self.last)
        self.last = now

    def take(self) -> float:
        """Return the longest gap, that to now as well, and forget it."""
        gap = max(self.gap, time.monotonic() - (self.last or 0))
        self.gap = 0
        return gap


class Memory(threading.Thread):
    """The peak of the memory that is resident."""

    def __init__(self) -> None:
        """Look at it every 20 ms, until the process ends."""
        super().__init__(name="gauge", daemon=True)
        self.peak = resident()

    @override
    def run(self) -> None:
        """Look at it."""
        while True:
            time.sleep(0.02)
            self.peak = max(self.peak, resident())


def resident() -> float:
    """Return the MB of memory that are resident."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def cpu(instance: Recorder) -> tuple[float, float]:
    """Return the CPU of all threads but the recorder's and ours, and the recorder's.

    Without collections of garbage.
    """
    others = recorder = 0.0
    for thread in threading.enumerate():
        assert thread.ident
        seconds = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        seconds -= GARBAGE.seconds[thread.ident]
        if thread is instance:
            recorder = seconds
        elif thread.name != "gauge":
            others += seconds
    return others, recorder


# --- Home Assistant ---


@asynccontextmanager
async def home(folder: Path) -> AsyncGenerator[HomeAssistant]:
    """Run a Home Assistant with a recorder and nothing else."""
    (folder / "custom_components").symlink_to(ROOT / "custom_components")
    hass = HomeAssistant(str(folder))
    loader.async_setup(hass)
    hass.config.skip_pip = True
    hass.config_entries = ConfigEntries(hass, {})
    assert await bootstrap.async_load_base_functionality(hass)
    # Home Assistant's HTTP sessions resolve names through it.
    assert await async_setup_component(hass, "network", {})
    # Only the option flow needs it, and with it a web server with its users.
    hass.config.components.add("file_upload")
    async_initialize_recorder(hass)
    config = {"recorder": {"db_url": f"sqlite:///{folder / DATABASE}"}}
    assert await async_setup_component(hass, "recorder", config)
    await hass.async_start()
    while not await async_caught_up(hass):
        await asyncio.sleep(0.1)
    try:
        yield hass
    finally:
        await hass.async_stop(force=True)


async def meter(hass: HomeAssistant, port: int) -> EmuRuntime:
    """Add the meter, with the back-fill left to us."""
    entry: ConfigEntry[EmuRuntime] = ConfigEntry(
        domain=DOMAIN,
        title=f"EMU Professional II {SERIAL_NUMBER}",
        unique_id=SERIAL_NUMBER,
        data={CONF_HOST: "127.0.0.1", CONF_PORT: port},
        options={CONF_AUTOMATIC: False},
        source=SOURCE_USER,
        version=1,
        minor_version=1,
        discovery_keys=MappingProxyType({}),
        subentries_data=(),
    )
    await hass.config_entries.async_add(entry)
    return entry.runtime_data


def energy_ids(hass: HomeAssistant) -> set[str]:
    """Return the statistics that the energy dashboard shows."""
    registry = er.async_get(hass)
    found = {
        registry.async_get_entity_id("sensor", DOMAIN, f"{SERIAL_NUMBER}_{target.key}")
        for target in TARGETS
        if target.is_register
    }
    return {entity_id for entity_id in found if entity_id}


class Run:
    """A back-fill, and a second one, with all gauges on."""

    def __init__(self, hass: HomeAssistant, folder: Path) -> None:
        """Put the gauges in place."""
        self.figures = Figures()
        self._hass = hass
        self._folder = folder
        self._instance = get_instance(hass)
        self._parts = Parts()
        self._tasks = Tasks(folder / BATCHES)
        self._loop = Loop(hass)
        self._polls = Polls()
        self._parts.install()
        self._tasks.install()
        self._polls.install()

    async def measure(self, port: int, idle: float) -> None:
        """Measure everything."""
        begin = time.monotonic()
        runtime = await meter(self._hass, port)
        self.figures.setup = time.monotonic() - begin
        await asyncio.sleep(2 * POLL_INTERVAL.total_seconds())
        self._loop.install()
        await self._idle(idle)
        await self._first(runtime)
        await self._second(runtime)

    async def _idle(self, seconds: float) -> None:
        figures = self.figures
        self._polls.take()
        self._loop.reset()
        own, recorder = cpu(self._instance)
        await asyncio.sleep(seconds)
        now_own, now_recorder = cpu(self._instance)
        figures.idle = (now_own - own) / seconds
        figures.idle_recorder = (now_recorder - recorder) / seconds
        figures.idle_gap = self._polls.take()
        figures.idle_drift = self._loop.drift

    async def _first(self, runtime: EmuRuntime) -> None:
        figures, tasks, loop = self.figures, self._tasks, self._loop
        loop.reset()
        GARBAGE.reset()
        garbage = sum(GARBAGE.seconds.values())
        self._parts.seconds.clear()
        memory = Memory()
        memory.start()
        baseline = resident()
        tasks.begin = time.monotonic()
        figures.whole, figures.own, figures.recorder = await self._fill(runtime)
        figures.growth = memory.peak - baseline
        figures.longest_gap = self._polls.take()
        figures.parts = dict(self._parts.seconds)
        figures.tasks, figures.tasks_wall = tasks.cpu, tasks.wall
        figures.longest_task = tasks.longest
        figures.longest_task_cpu = tasks.longest_cpu
        figures.longest_wait = loop.wait
        figures.longest_drift = loop.drift
        figures.longest_collection = GARBAGE.longest
        figures.collections = GARBAGE.full
        figures.garbage = sum(GARBAGE.seconds.values()) - garbage
        figures.longest_callback = loop.callback
        figures.longest_callback_cpu = loop.callback_cpu
        figures.late = dict(loop.late)
        assert runtime.backfill.report
        figures.records = runtime.backfill.report.records
        figures.rows = tasks.rows
        tasks.close()
        soon = time.time() - SOON
        ids = energy_ids(self._hass)
        figures.soon = figures.setup + max(
            (
                passed
                for passed, statistic_id, _, last in batches(self._folder)
                if statistic_id in ids and last >= soon
            ),
            default=0,
        )

    async def _second(self, runtime: EmuRuntime) -> None:
        figures = self.figures
        self._tasks.rows = 0
        with (self._folder / "again").open("w") as file:
            self._tasks._file = file  # noqa: SLF001
            (
                figures.second,
                figures.second_own,
                figures.second_recorder,
            ) = await self._fill(runtime)
        figures.again = self._tasks.rows

    async def _fill(self, runtime: EmuRuntime) -> tuple[float, float, float]:
        """Fill; return the time, the CPU of all but the recorder, and the recorder's."""
        own, recorder = cpu(self._instance)
        begin = time.monotonic()
        await runtime.backfill.async_run(EVERYTHING)
        passed = time.monotonic() - begin
        now_own, now_recorder = cpu(self._instance)
        return (
            passed,
            now_own - own - passed * self.figures.idle,
            now_recorder - recorder - passed * self.figures.idle_recorder,
        )


async def run(folder: Path, port: int, idle: float) -> None:
    """Be a run: print the figures."""
    async with home(folder) as hass:
        measured = Run(hass, folder)
        await measured.measure(port, idle)
    print(json.dumps(asdict(measured.figures)))


# --- The recorder's floor ---


async def replay(folder: Path, rows_of: Path) -> None:
    """Be a recorder that imports what a run has written, in the same batches."""
    async with home(folder) as hass:
        instance = get_instance(hass)
        tasks = Tasks(folder / BATCHES)
        tasks.install()
        loop = Loop(hass)
        loop.install()
        memory = Memory()
        memory.start()
        baseline = resident()
        GARBAGE.reset()
        garbage = sum(GARBAGE.seconds.values())
        _, before = cpu(instance)
        begin = time.monotonic()
        with sqlite3.connect(rows_of / DATABASE) as database:
            for _, statistic_id, first, last in batches(rows_of):
                metadata, rows = ready_made(database, statistic_id, first, last)
                instance.async_import_statistics(metadata, rows, Statistics)
                done: asyncio.Future[None] = hass.loop.create_future()
                instance.queue_task(SynchronizeTask(done))
                await done
        _, after = cpu(instance)
        figures = Figures(
            rows=tasks.rows,
            whole=time.monotonic() - begin,
            recorder=after - before,
            tasks=tasks.cpu,
            tasks_wall=tasks.wall,
            longest_task=tasks.longest,
            longest_task_cpu=tasks.longest_cpu,
            collections=GARBAGE.full,
            garbage=sum(GARBAGE.seconds.values()) - garbage,
            longest_wait=loop.wait,
            longest_drift=loop.drift,
            longest_collection=GARBAGE.longest,
            growth=memory.peak - baseline,
        )
        tasks.close()
    print(json.dumps(asdict(figures)))


def ready_made(
    database: sqlite3.Connection, statistic_id: str, first: int, last: int
) -> tuple[StatisticMetaData, list[StatisticData]]:
    """Return the rows of a batch as they were written."""
    cursor = database.execute(
        "SELECT id, source, unit_of_measurement, unit_class, has_sum, name"
        " FROM statistics_meta WHERE statistic_id = ?",
        (statistic_id,),
    )
    (number, source, unit, unit_class, has_sum, name) = cursor.fetchone()
    metadata = StatisticMetaData(
        mean_type=StatisticMeanType.NONE if has_sum else StatisticMeanType.ARITHMETIC,
        has_sum=bool(has_sum),
        name=name,
        source=source,
        statistic_id=statistic_id,
        unit_class=unit_class,
        unit_of_measurement=unit,
    )
    cursor = database.execute(
        "SELECT start_ts, state, sum, mean, min, max FROM statistics"
        " WHERE metadata_id = ? AND start_ts BETWEEN ? AND ? ORDER BY start_ts DESC",
        (number, first, last),
    )
    names = ("state", "sum") if has_sum else ("mean", "min", "max")
    rows = []
    for start, *values in cursor:
        row = StatisticData(start=datetime.fromtimestamp(start, UTC))
        wanted = values[:2] if has_sum else values[2:]
        row.update(dict(zip(names, wanted, strict=True)))  # type: ignore[typeddict-item]
        rows.append(row)
    return metadata, rows


# --- The meter and the floor of parsing ---


@contextmanager
def simulator(years: float) -> Generator[int]:
    """Run a meter with a logger that is full; yields its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    installed = datetime.now(UTC) - timedelta(days=365.25 * years + 40)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "simulator", f"--port={port}"),
            *(f"--serial={SERIAL_NUMBER}", f"--installed={installed:%Y-%m-%d}"),
            *(f"--depth={round(years * RECORDS_PER_YEAR)}", "--updater-port=0"),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None:
            with suppress(ConnectionRefusedError):
                get(port, "/data/?last=1")
                break
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def get(port: int, path: str) -> bytes:
    """Return a document of the meter."""
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    return connection.getresponse().read()


def whole_logger(port: int) -> bytes:
    """Return everything in a meter's logger."""
    pages: list[bytes] = []
    last = int(records(port, "last=1").split(b";", 2)[1])
    while page := records(port, f"from={max(last - 2999, 0)}&to={last}"):
        pages.append(page)
        last -= page.count(b"\n")
        if last < 0 or page.count(b"\n") < 3000:
            break
    return b"".join(pages)


def records(port: int, query: str) -> bytes:
    """Return an answer of the logger without its header line."""
    return get(port, f"/data/?{query}").partition(b"\n")[2]


def parsing_floor(body: bytes) -> float:
    """Return the CPU of one streaming pass over the records, with integers."""
    begin = time.process_time()
    text = io.TextIOWrapper(io.BytesIO(body), "ascii", newline="")
    for _stamp, index, status, _serial_number, *values in csv.reader(
        text, delimiter=";"
    ):
        int(index), int(status), tuple(map(int, values))
    return time.process_time() - begin


# --- Side by side ---


def child(folder: Path, *arguments: str) -> Figures:
    """Be somebody else in a process of its own, and return its figures."""
    folder.mkdir()
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.backfill", "--folder", folder, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    figures = output.splitlines()[-1]
    # Not lost if a later run fails.
    print(figures, file=sys.stderr)
    return Figures(**json.loads(figures))


@dataclass
class Compared:
    """A run and the floor of its parsing."""

    years: float
    floor: float
    figures: Figures


def compare(years: Sequence[float], idle: float, rounds: int) -> None:
    """Measure runs over so many years and the floors, and print all side by side."""
    compared = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, count in enumerate(years):
            with simulator(count) as port:
                body = whole_logger(port)
                floors = [parsing_floor(body) for _ in range(rounds)]
                figures = child(
                    folder / str(number), "--run", f"--port={port}", f"--idle={idle}"
                )
                floors += [parsing_floor(body) for _ in range(rounds)]
            print(f"parsing floor, {count:g} years: {spread(floors)}", flush=True)
            compared.append(Compared(count, median(floors), figures))
            if not number:
                replayed = child(folder / "replay", "--replay", f"{folder / '0'}")
    show(compared, replayed)


def spread(values: Sequence[float]) -> str:
    """Return how noisy a measurement is."""
    return (
        f"{median(values):.2f} s of CPU"
        f" ({min(values):.2f} to {max(values):.2f}, {len(values)} times)"
    )


def show(compared: Sequence[Compared], replayed: Figures) -> None:
    """Print the table of runs, and the recorder's floor of the first."""
    print(f"\nHome Assistant {__version__}, {os.cpu_count()} CPUs, SQLite\n")
    print(f"| | goal | {' | '.join(f'{run.years:g} years' for run in compared)} |")
    print(f"| --- | --- |{' --- |' * len(compared)}")
    for text, goal, value in LINES:
        values = " | ".join(value(run) for run in compared)
        print(f"| {text} | {goal} | {values} |")
    figures = compared[0].figures
    print(f"\nThe recorder, {compared[0].years:g} years:\n")
    print("| | back-fill | floor: the same batches again | ratio |")
    print("| --- | --- | --- | --- |")
    for text, ours, floor in (
        ("rows", figures.rows, replayed.rows),
        ("CPU of the import tasks, s", figures.tasks, replayed.tasks),
        ("their time, s", figures.tasks_wall, replayed.tasks_wall),
        ("CPU of the recorder's thread, s", figures.recorder, replayed.recorder),
        ("from first to last, s", figures.whole, replayed.whole),
        ("longest task, s of CPU", figures.longest_task_cpu, replayed.longest_task_cpu),
        ("longest task, s", figures.longest_task, replayed.longest_task),
        ("longest wait in its queue, s", figures.longest_wait, replayed.longest_wait),
        ("event loop late, s", figures.longest_drift, replayed.longest_drift),
        ("full collections of garbage", figures.collections, replayed.collections),
        ("CPU of all collections, s", figures.garbage, replayed.garbage),
        ("peak growth of memory, MB", figures.growth, replayed.growth),
    ):
        print(f"| {text} | {ours:.4g} | {floor:.4g} | {ours / (floor or 1):.2f} |")
    for run in compared:
        late = sorted(run.figures.late.items(), key=lambda item: -item[1])
        for name, seconds in late[:8]:
            print(f"{run.years:g} years, late: {name} {seconds * 1000:.0f} ms of CPU")


LINES: list[tuple[str, str, Callable[[Compared], str]]] = [
    ("records", "", lambda run: f"{run.figures.records:,}"),
    ("rows written", "", lambda run: f"{run.figures.rows:,}"),
    ("parsing floor, s of CPU", "", lambda run: f"{run.floor:.2f}"),
    ("our own CPU, s", "", lambda run: f"{run.figures.own:.2f}"),
    ("× floor", "≤ 2", lambda run: f"{run.figures.own / run.floor:.2f}"),
    *(
        (
            f"… {part}, × floor",
            "",
            lambda run, part=part: f"{run.figures.parts.get(part, 0) / run.floor:.2f}",
        )
        for part in PARTS
    ),
    (
        "… HTTP, making rows, waiting for the recorder, × floor",
        "",
        lambda run: (
            f"{(run.figures.own - sum(run.figures.parts.values())) / run.floor:.2f}"
        ),
    ),
    (
        "live polls meanwhile (taken off), s of CPU",
        "",
        lambda run: f"{run.figures.idle * run.figures.whole:.2f}",
    ),
    ("recorder's CPU, s", "", lambda run: f"{run.figures.recorder:.1f}"),
    (
        "… ms per row",
        "",
        lambda run: f"{1000 * run.figures.recorder / (run.figures.rows or 1):.2f}",
    ),
    (
        "until energy has its newest 30 days, s",
        "≤ 30",
        lambda run: f"{run.figures.soon:.1f}",
    ),
    ("until all is there, s", "", lambda run: f"{run.figures.whole:.0f}"),
    (
        "recorder kept by one task, s of CPU",
        "",
        lambda run: f"{run.figures.longest_task_cpu:.2f}",
    ),
    (
        "recorder kept by one task, s",
        "≤ 0.3",
        lambda run: f"{run.figures.longest_task:.2f}",
    ),
    (
        "longest wait in its queue, s",
        "≤ 0.3",
        lambda run: f"{run.figures.longest_wait:.2f}",
    ),
    (
        "peak growth of memory, MB",
        "< 40, the same",
        lambda run: f"{run.figures.growth:.1f}",
    ),
    (
        "one callback of the event loop, ms of CPU",
        "≤ 10",
        lambda run: f"{1000 * run.figures.longest_callback_cpu:.1f}",
    ),
    (
        "… ms of time (waits for other threads as well)",
        "",
        lambda run: f"{1000 * run.figures.longest_callback:.1f}",
    ),
    (
        "event loop late, ms",
        "",
        lambda run: (
            f"{1000 * run.figures.longest_drift:.1f}"
            f" (idle: {1000 * run.figures.idle_drift:.1f})"
        ),
    ),
    (
        "garbage collections (in no other CPU here), longest ms; full ones; s of CPU",
        "",
        lambda run: (
            f"{1000 * run.figures.longest_collection:.1f}; {run.figures.collections};"
            f" {run.figures.garbage:.2f}"
        ),
    ),
    (
        "between two live polls, s",
        "≤ 10",
        lambda run: f"{run.figures.longest_gap:.1f} (idle: {run.figures.idle_gap:.1f})",
    ),
    ("second run: rows written", "0", lambda run: f"{run.figures.again:,}"),
    ("second run, s", "", lambda run: f"{run.figures.second:.0f}"),
    (
        "second run: our own CPU, × floor",
        "",
        lambda run: f"{run.figures.second_own / run.floor:.2f}",
    ),
    (
        "second run: recorder's CPU, s",
        "",
        lambda run: f"{run.figures.second_recorder:.2f}",
    ),
]


def main() -> None:
    """Run the role that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=float, default=5)
    parser.add_argument("--quick", action="store_true", help="0.1 and 0.3 years")
    parser.add_argument("--rounds", type=int, default=5, help="of the parsing floor")
    parser.add_argument("--idle", type=float, default=60, help="seconds (default: 60)")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        asyncio.run(run(options.folder, options.port, options.idle))
    elif options.replay:
        asyncio.run(replay(options.folder, options.replay))
    elif options.quick:
        compare((0.1, 0.3), min(options.idle, 15), options.rounds)
    else:
        compare(
            sorted({min(1.0, options.years), options.years}),
            options.idle,
            options.rounds,
        )


if __name__ == "__main__":
    main()
