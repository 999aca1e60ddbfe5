"""Storing the position in a meter's logs over restarts of Home Assistant."""

from typing import Any

import voluptuous as vol

from homeassistant.core import HomeAssistant, callback

from .config_entry import EmuConfigEntry
from .emu.events import LogPosition
from .emu.logs import LoggerStatus
from .storage import EntryStore, entry_store, shape


def position_as_dict(position: LogPosition) -> dict[str, Any]:
    """Return a position as JSON can hold it."""
    return {
        "logbook": position.logbook,
        "logger": position.logger,
        "lasting": int(position.lasting),
        "changes": [[index, int(bit)] for index, bit in sorted(position.changes)],
        "empty_since": position.empty_since,
    }


def position_from_dict(stored: dict[str, Any]) -> LogPosition:
    """Return a stored position."""
    return LogPosition(
        stored["logbook"],
        stored["logger"],
        LoggerStatus(stored["lasting"]),
        frozenset((index, LoggerStatus(bit)) for index, bit in stored["changes"]),
        stored["empty_since"],
    )


@callback
def logbook_store(hass: HomeAssistant, entry: EmuConfigEntry) -> EntryStore:
    """Return the store of a meter's last reported position."""
    return entry_store(
        hass,
        entry,
        "logbook",
        shape(
            logbook=vol.Maybe(int),
            logger=vol.Maybe(int),
            lasting=LoggerStatus,
            changes=[vol.ExactSequence([int, LoggerStatus])],
            empty_since=vol.Maybe(int),
        ),
    )
