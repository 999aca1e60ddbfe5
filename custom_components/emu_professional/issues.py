"""What an owner should hear of a meter: issues that go away once it is mended."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from yarl import URL

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_HOST, CONF_PORT
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from .const import DOMAIN
from .emu.logs import LoggerStatus
from .emu.updater.procedure import OLDEST, is_too_old

if TYPE_CHECKING:
    # The runtime data imports this module by way of the firmware updater.
    from .runtime import EmuConfigEntry

CLOCK_LIMIT: Final = timedelta(minutes=1)

type _Placeholders = dict[str, str]


@dataclass(frozen=True, slots=True)
class Check:
    """Finds out whether there is an issue."""

    key: str
    find: Callable[[EmuConfigEntry], _Placeholders | None]
    """Returns what its text needs, or None if everything is fine."""


def _clock_off(entry: EmuConfigEntry) -> _Placeholders | None:
    meter = entry.runtime_data.meter
    offset = meter.data.clock_offset
    if offset is None or abs(offset) <= CLOCK_LIMIT:
        return None
    return meter.clocks()


def _not_synchronized(entry: EmuConfigEntry) -> _Placeholders | None:
    return _has_bit(entry, LoggerStatus.NO_TIME_SYNCHRONIZATION)


def _logbook_full(entry: EmuConfigEntry) -> _Placeholders | None:
    return _has_bit(entry, LoggerStatus.LOGBOOK_FULL)


def _has_bit(entry: EmuConfigEntry, bit: LoggerStatus) -> _Placeholders | None:
    status = entry.runtime_data.logbook.data.status
    return {} if status and bit in status else None


def _firmware_old(entry: EmuConfigEntry) -> _Placeholders | None:
    version = entry.runtime_data.meter.data.status.software_version
    if not is_too_old(version):
        return None
    return {"version": str(version), "oldest": str(OLDEST)}


def _foreign_logger(entry: EmuConfigEntry) -> _Placeholders | None:
    other = entry.runtime_data.backfill.foreign_serial_number
    return None if other is None else {"serial_number": other}


CHECKS: Final = (
    Check("clock_off", _clock_off),
    Check("not_synchronized", _not_synchronized),
    Check("logbook_full", _logbook_full),
    Check("firmware_old", _firmware_old),
    Check("foreign_logger", _foreign_logger),
)

FIXABLE: Final = {
    "delete_firmware": ir.IssueSeverity.WARNING,
    "firmware_on_trial": ir.IssueSeverity.ERROR,
    "firmware_pending": ir.IssueSeverity.ERROR,
}
"""Severity of each issue with a dialog."""

RAISED: Final = (*FIXABLE, "online_update_off")
"""Issues that do not follow from the meter's data."""


@callback
def async_watch(hass: HomeAssistant, entry: EmuConfigEntry) -> None:
    """Raise and delete issues as the meter reports them, until it is unloaded."""
    was_fine: dict[str, bool] = {}

    @callback
    def check_all() -> None:
        for check in CHECKS:
            placeholders = check.find(entry)
            is_fine = placeholders is None
            # Readings come every 5 s: only a change is worth the registry's time.
            if was_fine.get(check.key) is is_fine:
                continue
            was_fine[check.key] = is_fine
            if placeholders is None:
                async_delete(hass, entry, check.key)
            else:
                async_raise(hass, entry, check.key, placeholders)

    runtime = entry.runtime_data
    for coordinator in (runtime.meter, runtime.logbook, runtime.backfill):
        entry.async_on_unload(coordinator.async_add_listener(check_all))
    check_all()


@callback
def async_forget(hass: HomeAssistant, entry: EmuConfigEntry) -> None:
    """Delete the issues of a meter that was removed."""
    for key in (*(check.key for check in CHECKS), *RAISED):
        async_delete(hass, entry, key)


@callback
def async_delete(hass: HomeAssistant, entry: ConfigEntry, key: str) -> None:
    """Delete an issue of a meter, if there is one."""
    ir.async_delete_issue(hass, DOMAIN, f"{key}_{entry.entry_id}")


@callback
def async_raise(
    hass: HomeAssistant,
    entry: ConfigEntry,
    key: str,
    placeholders: _Placeholders | None = None,
) -> None:
    """Raise an issue of a meter."""
    is_fixable = key in FIXABLE
    url = URL.build(
        scheme="http", host=entry.data[CONF_HOST], port=entry.data[CONF_PORT]
    )
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{key}_{entry.entry_id}",
        is_fixable=is_fixable,
        learn_more_url=None if is_fixable else str(url),
        severity=FIXABLE.get(key, ir.IssueSeverity.WARNING),
        translation_key=key,
        translation_placeholders={"meter": entry.title, **(placeholders or {})},
    )
