"""Starts Home Assistant on one core and keeps how late its event loop is.

A timer is due every 10 ms; the file `loop-delay` in the folder of the configuration
gets a line for each: seconds of the machine's monotonic clock, and seconds of delay.
"""

import asyncio
import os
from pathlib import Path
import runpy
import sys
from typing import TextIO

from homeassistant import bootstrap
from homeassistant.core import HomeAssistant
from homeassistant.runner import RuntimeConfig

TICK = 0.01
WRITTEN = 100
"""Ticks from one writing to the next."""

START = Path(__file__).parent.parent / "processes" / "start_home_assistant.py"


class Gauge:
    """Looks how late the event loop is, until the process ends."""

    def __init__(self, file: TextIO) -> None:
        """Know where to write what it sees."""
        self._file = file
        self._lines: list[str] = []

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at an event loop from now on."""
        self._loop = loop
        self._wait()

    def _wait(self) -> None:
        self._due = self._loop.time() + TICK
        self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        self._lines.append(f"{now:.4f} {now - self._due:.5f}\n")
        if len(self._lines) == WRITTEN:
            self._file.writelines(self._lines)
            self._file.flush()
            self._lines.clear()
        self._wait()


# Opened here because Home Assistant wants no file opened in its event loop.
gauge = Gauge(Path(sys.argv[-1].removeprefix("--config="), "loop-delay").open("w"))
original = bootstrap.async_setup_hass


async def async_setup_hass(runtime_config: RuntimeConfig) -> HomeAssistant | None:
    """Set Home Assistant up as always, and watch it."""
    if hass := await original(runtime_config):
        gauge.begin(hass.loop)
    return hass


bootstrap.async_setup_hass = async_setup_hass
if sys.platform == "linux":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
runpy.run_path(str(START), run_name="__main__")
