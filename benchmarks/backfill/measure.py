"""A back-fill, a second one and a daily comparison, with all gauges on."""

import asyncio
from collections.abc import Awaitable
from dataclasses import asdict
import json
from pathlib import Path
import time
from typing import Final

from custom_components.emu_professional.backfill.report import EVERYTHING
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.const import POLL_INTERVAL
from custom_components.emu_professional.runtime import EmuRuntime
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance

from .figures import Figures
from .gauges import (
    BATCHES,
    GARBAGE,
    Asked,
    Loop,
    Memory,
    Polls,
    Tasks,
    batches,
    cpu,
    resident,
)
from .house import energy_ids, home, meter
from .parts import Parts

SOON: Final = 30 * 24 * HOUR
"""The newest part of the history, which people look at first."""


class Run:
    """A back-fill, a second one and a daily comparison, with all gauges on."""

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
        self._asked = Asked(self._instance)
        self._parts.install()
        self._tasks.install()
        self._polls.install()
        self._asked.install()

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
        await self._daily(runtime)

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
        self._tasks.restart(self._folder / "again")
        self._asked.take()
        (
            figures.second,
            figures.second_own,
            figures.second_recorder,
        ) = await self._fill(runtime)
        self._tasks.close()
        figures.again = self._tasks.rows
        figures.second_queries, figures.second_requests = self._asked.take()

    async def _daily(self, runtime: EmuRuntime) -> None:
        figures = self.figures
        compare = runtime.backfill.automatic.async_fill_unsettled(
            runtime.backfill.statistics.targets
        )
        figures.daily, figures.daily_own, _ = await self._timed(compare)
        figures.daily_queries, figures.daily_requests = self._asked.take()

    async def _fill(self, runtime: EmuRuntime) -> tuple[float, float, float]:
        return await self._timed(runtime.backfill.async_run(EVERYTHING))

    async def _timed(self, work: Awaitable[object]) -> tuple[float, float, float]:
        """Return the time, the CPU of all but the recorder, and the recorder's."""
        own, recorder = cpu(self._instance)
        begin = time.monotonic()
        await work
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
