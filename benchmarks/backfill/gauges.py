"""Gauges of a Home Assistant at work: CPU, waits, gaps between polls, memory."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
import gc
from pathlib import Path
import resource
import threading
import time
from typing import Any, Final, override

from sqlalchemy import event

from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.readings import Readings
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.db_schema import Statistics
from homeassistant.components.recorder.tasks import (
    AdjustStatisticsTask,
    ImportStatisticsTask,
    RecorderTask,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance

TICK: Final = 0.02
PROBE: Final = 0.05
"""Seconds between two looks at the event loop, and at the recorder: so seldom that
the CPU that is taken off for them is little."""

BATCHES: Final = "batches"
"""File with a line for each batch of rows."""


class Garbage:
    """What collections of garbage cost each thread.

    A full one looks at all that Home Assistant holds, and comes to whichever thread
    happens to ask for memory: it is not counted as work of that thread.
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


class Tasks:
    """What the recorder was given to do, and how long it took."""

    def __init__(self, path: Path) -> None:
        """Write a line for each batch of rows into a file."""
        self.begin = 0.0
        self.cpu = self.wall = self.longest = self.longest_cpu = 0.0
        self.rows = 0
        self._file = path.open("w")

    def restart(self, path: Path) -> None:
        """Count rows from 0, and write into another file."""
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
    """A task that does nothing but report its waiting time."""

    commit_before = False
    asked: float
    report: Callable[[float], None]

    @override
    def run(self, instance: Recorder) -> None:
        """Report the waiting time."""
        self.report(time.monotonic() - self.asked)


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
            self.succeeded()
            return result

        owner: Any = MeterClient
        owner.readings = readings

    def succeeded(self) -> None:
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


class Asked:
    """How often the database and the data logger were asked."""

    def __init__(self, instance: Recorder) -> None:
        """Have counted nothing."""
        self.queries = self.requests = 0
        self._instance = instance

    def install(self) -> None:
        """Count statements of all threads but the recorder's, and requests."""
        event.listen(self._instance.engine, "before_cursor_execute", self._query)
        client: Any = MeterClient
        for request in (MeterClient.records, MeterClient.newest_records):
            setattr(client, request.__name__, self._counted(request))

    def take(self) -> tuple[int, int]:
        """Return the numbers of queries and requests, and forget them."""
        queries, requests = self.queries, self.requests
        self.queries = self.requests = 0
        return queries, requests

    def _query(self, *_: object) -> None:
        if threading.current_thread() is not self._instance:
            self.queries += 1

    def _counted[**P, R](self, request: Callable[P, R]) -> Callable[P, R]:
        def counted(*arguments: P.args, **named: P.kwargs) -> R:
            self.requests += 1
            return request(*arguments, **named)

        return counted


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
