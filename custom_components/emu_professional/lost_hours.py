"""Outages without records: the data logger no longer has them.

Each is an issue until the owner has confirmed it. Home Assistant could keep such an
issue by itself, but would then show its texts in the file of diagnostics, with the name
of the meter. So they are stored here, and raised again at each start.
"""

from typing import Final

import voluptuous as vol

from homeassistant.core import HomeAssistant, callback
from homeassistant.util import dt as dt_util

from . import issues
from .config_entry import EmuConfigEntry
from .storage import TIME, EntryStore, entry_store, shape

_KEY: Final = "lost_hours"
_FORMAT: Final = "%Y-%m-%d %H:%M"


class LostHours:
    """The lost hours of one meter; times are seconds since 1970-01-01 UTC."""

    def __init__(self, hass: HomeAssistant, entry: EmuConfigEntry) -> None:
        """Initialize without any."""
        self._hass = hass
        self._entry = entry
        self._store = lost_hours_store(hass, entry)
        self._times: dict[int, int] = {}

    async def async_start(self) -> None:
        """Raise the issues without the owner's confirmation."""
        if stored := await self._store.async_load():
            self._times = dict(stored["times"])
        if inherited := self._persistent():
            self._times = dict(inherited) | self._times
            self._save()
        for since, until in self._times.items():
            self._raise(since, until)
        issues.async_on_deleted(self._hass, self._entry, _KEY, self._confirmed)

    @callback
    def add(self, since: int, until: int) -> None:
        """Raise an issue about lost hours, and store them until it is confirmed."""
        self._times[since] = until
        self._raise(since, until)
        self._save()

    @callback
    def remove(self, since: int, until: int) -> None:
        """Delete the issues in a window: its hours were read after all."""
        for begin, end in list(self._times.items()):
            if since <= begin and end <= until:
                issues.async_delete(self._hass, self._entry, _KEY, begin)

    def _persistent(self) -> list[tuple[int, int]]:
        """Return the times of the issues of version 0.1.0, stored by Home Assistant."""
        found = []
        numbered = issues.async_numbered(self._hass, self._entry, _KEY)
        for since, issue in numbered.items():
            if issue.is_persistent and issue.translation_placeholders:
                shown = issue.translation_placeholders["until"]
                if until := dt_util.parse_datetime(shown):
                    found.append((since, int(dt_util.as_utc(until).timestamp())))
        return found

    def _raise(self, since: int, until: int) -> None:
        placeholders = {"since": _shown(since), "until": _shown(until)}
        issues.async_raise(self._hass, self._entry, _KEY, placeholders, since)

    @callback
    def _confirmed(self, since: int) -> None:
        """Drop lost hours when the owner has confirmed their issue."""
        if self._times.pop(since, None) is not None:
            self._save()

    def _save(self) -> None:
        times = [[since, until] for since, until in self._times.items()]
        self._entry.async_create_task(
            self._hass, self._store.async_save({"times": times})
        )


@callback
def lost_hours_store(hass: HomeAssistant, entry: EmuConfigEntry) -> EntryStore:
    """Return the store of the lost hours without confirmation."""
    return entry_store(
        hass, entry, _KEY, shape(times=[vol.ExactSequence([TIME, TIME])])
    )


def _shown(at: int) -> str:
    return dt_util.as_local(dt_util.utc_from_timestamp(at)).strftime(_FORMAT)
