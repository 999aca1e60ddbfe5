"""Work on one meter's firmware: it survives its caller, but not its meter."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from homeassistant.core import HomeAssistant

from ..config_entry import EmuConfigEntry
from ..failures import failed
from .activity import Activity


class Work:
    """The tasks of one meter's firmware.

    A task outlives its caller and a reload of the config entry, for instance because
    the meter got another address during its restart. It ends at the latest when Home
    Assistant stops or the meter is removed.
    """

    def __init__(
        self, hass: HomeAssistant, entry: EmuConfigEntry, activity: Activity
    ) -> None:
        """Initialize without any task."""
        self._hass = hass
        self._entry = entry
        self._activity = activity
        self._tasks: set[asyncio.Task[Any]] = set()
        self.is_removed = False
        """Whether the meter was removed."""

    def start_alone[ResultT](
        self,
        work: Coroutine[Any, Any, ResultT],
        on_end: Callable[[asyncio.Task[Any]], None],
    ) -> asyncio.Task[ResultT]:
        """Start a task, and call `on_end` with it; the module is busy meanwhile.

        Raises HomeAssistantError if the module is busy already.
        """
        if self._activity.is_busy:
            # Else Python warns of a coroutine that nobody awaits.
            work.close()
            raise failed("update_running", meter=self._entry.title)
        task = self.start(work)
        self._activity.begin()
        task.add_done_callback(on_end)
        return task

    def start[ResultT](
        self, work: Coroutine[Any, Any, ResultT]
    ) -> asyncio.Task[ResultT]:
        """Start a task beside others.

        Raises HomeAssistantError if the meter was removed.
        """
        if self.is_removed:
            work.close()
            raise failed("update_removed", meter=self._entry.title)
        # Not eager: `start_alone` marks the module as busy before the work begins. Of the
        # background: a start of Home Assistant must not wait for a restarting meter.
        task = self._hass.async_create_background_task(
            work, f"{self._entry.title} firmware", eager_start=False
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def async_remove(self) -> None:
        """End all tasks, and start no other."""
        self.is_removed = True
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
