"""Times without readings whose records the data logger no longer has.

Each is an issue until its owner has confirmed it. Home Assistant would keep such an
issue by itself, but shows the texts of those in the file of diagnostics, and with
them the meter's name. So they are kept here, and raised again at each start.
"""

from typing import Final

import voluptuous as vol

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.util import dt as dt_util

from .const import DOMAIN
from .storage import TIME, EntryStore, entry_store, shape

_KEY: Final = "lost_hours"
_FORMAT: Final = "%Y-%m-%d %H:%M"


class LostHours:
    """The times of one meter, in seconds since 1970-01-01 UTC."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry) -> None:
        """Begin with none."""
        self._hass = hass
        self._entry = entry
        self._store = lost_hours_store(hass, entry)
        self._times: dict[int, int] = {}

    async def async_start(self) -> None:
        """Raise the issues that were not confirmed yet."""
        if stored := await self._store.async_load():
            self._times = dict(stored["times"])
        if inherited := self._persistent():
            self._times = dict(inherited) | self._times
            self._save()
        for since, until in self._times.items():
            self._raise(since, until)
        self._entry.async_on_unload(
            self._hass.bus.async_listen(
                ir.EVENT_REPAIRS_ISSUE_REGISTRY_UPDATED, self._issue_changed
            )
        )

    @callback
    def add(self, since: int, until: int) -> None:
        """Raise an issue about a time, and keep it until it is confirmed."""
        self._times[since] = until
        self._raise(since, until)
        self._save()

    @callback
    def remove(self, since: int, until: int) -> None:
        """Delete the issues about times in a window, whose hours are known after all."""
        for begin, end in list(self._times.items()):
            if since <= begin and end <= until:
                ir.async_delete_issue(
                    self._hass, DOMAIN, f"{_prefix(self._entry)}{begin}"
                )

    def _persistent(self) -> list[tuple[int, int]]:
        """Return the times of issues that version 0.1.0 has left to Home Assistant."""
        found = []
        for issue_id, issue in _issues(self._hass, self._entry).items():
            if issue.is_persistent and issue.translation_placeholders:
                since = int(issue_id.rpartition("_")[2])
                shown = issue.translation_placeholders["until"]
                if until := dt_util.parse_datetime(shown):
                    found.append((since, int(dt_util.as_utc(until).timestamp())))
        return found

    def _raise(self, since: int, until: int) -> None:
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            f"{_prefix(self._entry)}{since}",
            is_fixable=True,
            severity=ir.IssueSeverity.WARNING,
            translation_key=_KEY,
            translation_placeholders={
                "meter": self._entry.title,
                "since": _shown(since),
                "until": _shown(until),
            },
        )

    @callback
    def _issue_changed(self, event: Event[ir.EventIssueRegistryUpdatedData]) -> None:
        """Forget a time when its issue is gone: the owner has confirmed it."""
        issue_id = event.data["issue_id"]
        prefix = _prefix(self._entry)
        if event.data["action"] != "remove" or not issue_id.startswith(prefix):
            return
        if self._times.pop(int(issue_id.removeprefix(prefix)), None) is not None:
            self._save()

    def _save(self) -> None:
        times = [[since, until] for since, until in self._times.items()]
        self._entry.async_create_task(
            self._hass, self._store.async_save({"times": times})
        )


@callback
def async_forget(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Delete the issues of a meter that was removed."""
    for issue_id in _issues(hass, entry):
        ir.async_delete_issue(hass, DOMAIN, issue_id)


@callback
def lost_hours_store(hass: HomeAssistant, entry: ConfigEntry) -> EntryStore:
    """Return the store of the times that were not confirmed yet."""
    return entry_store(
        hass, entry, _KEY, shape(times=[vol.ExactSequence([TIME, TIME])])
    )


def _issues(hass: HomeAssistant, entry: ConfigEntry) -> dict[str, ir.IssueEntry]:
    prefix = _prefix(entry)
    return {
        issue_id: issue
        for (domain, issue_id), issue in ir.async_get(hass).issues.items()
        if domain == DOMAIN and issue_id.startswith(prefix)
    }


def _prefix(entry: ConfigEntry) -> str:
    return f"{_KEY}_{entry.entry_id}_"


def _shown(at: int) -> str:
    return dt_util.as_local(dt_util.utc_from_timestamp(at)).strftime(_FORMAT)
