"""Outages without records: the data logger no longer has them.

Each is an issue until the owner has confirmed it, and then none again, although its
outage may stay unsettled for long. Home Assistant could keep such an
issue by itself, but would then show its texts in the file of diagnostics, with the name
of the meter. So they are stored here, and raised again at each start.
"""

from typing import Final

import voluptuous as vol

from homeassistant.core import HomeAssistant, callback
from homeassistant.util import dt as dt_util

from . import issues
from .config_entry import EmuConfigEntry
from .storage import TIME, Check, EntryStore, entry_store

_KEY: Final = "lost_hours"
_FORMAT: Final = "%Y-%m-%d %H:%M"
_TIMES: Final = [vol.ExactSequence([TIME, TIME])]
_SHAPE: Final[Check] = vol.Schema(
    # Version 0.1.0 stored no confirmed ones.
    {vol.Required("times"): _TIMES, vol.Optional("confirmed"): _TIMES},
    extra=vol.ALLOW_EXTRA,
)


class LostHours:
    """The lost hours of one meter; times are seconds since 1970-01-01 UTC."""

    def __init__(self, hass: HomeAssistant, entry: EmuConfigEntry) -> None:
        """Initialize without any."""
        self._hass = hass
        self._entry = entry
        self._store = lost_hours_store(hass, entry)
        self._times: dict[int, int] = {}
        """The ends of lost hours without confirmation, by their begin."""
        self._confirmed: dict[int, int] = {}

    async def async_start(self) -> None:
        """Raise the issues without the owner's confirmation."""
        if stored := await self._store.async_load():
            self._times = dict(stored["times"])
            self._confirmed = dict(stored.get("confirmed", ()))
        if inherited := self._persistent():
            self._times = dict(inherited) | self._times
            self._save()
        for since, until in self._times.items():
            self._raise(since, until)
        issues.async_on_deleted(self._hass, self._entry, _KEY, self._confirm)

    @callback
    def add(self, since: int, until: int) -> None:
        """Raise an issue about lost hours, unless their owner has confirmed them."""
        if until <= self._confirmed.get(since, since):
            return
        self._times[since] = until
        self._raise(since, until)
        self._save()

    @callback
    def remove(self, since: int, until: int) -> None:
        """Delete the issues in a window: its hours were read after all."""
        for begin, end in list(self._times.items()):
            if since <= begin and end <= until:
                del self._times[begin]
                issues.async_delete(self._hass, self._entry, _KEY, begin)
                self._save()

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
    def _confirm(self, since: int) -> None:
        """Note that the owner has confirmed lost hours."""
        if (until := self._times.pop(since, None)) is not None:
            self._confirmed[since] = until
            self._save()

    def _save(self) -> None:
        data = {
            "times": [[*times] for times in self._times.items()],
            "confirmed": [[*times] for times in self._confirmed.items()],
        }
        self._entry.async_create_task(self._hass, self._store.async_save(data))


@callback
def lost_hours_store(hass: HomeAssistant, entry: EmuConfigEntry) -> EntryStore:
    """Return the store of the lost hours."""
    return entry_store(hass, entry, _KEY, _SHAPE)


def _shown(at: int) -> str:
    return dt_util.as_local(dt_util.utc_from_timestamp(at)).strftime(_FORMAT)
