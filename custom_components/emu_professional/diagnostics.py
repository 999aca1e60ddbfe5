"""Diagnostics for a public report: no address, no name, no serial number.

Only harmless values are shown: a later firmware, or another device at the meter's
address, may send anything. Numbers and versions are shown as they are; of other texts
only their form.
"""

from collections.abc import Callable, Mapping
import re
from typing import Any, Final

from homeassistant.components.diagnostics import REDACTED
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_PASSWORD, CONF_PORT
from homeassistant.core import HomeAssistant

from .config_entry import EmuConfigEntry
from .const import CONF_AUTOMATIC, CONF_COSTS
from .emu.pace import Pace
from .emu.registers import BY_JSON_KEY
from .firmware.kept import firmware_store
from .firmware.meter_firmware import meter_firmware_of

_HTTP_PORT: Final = 80
_LATEST_TIME: Final = 2**32
_HIGHEST_PORT: Final = 2**16
_NUMBER: Final = re.compile(r"(-?\d{1,10}(\.\d{1,6})?)?|-", re.ASCII)
_VERSION: Final = re.compile(r"[Vv]?\d{1,5}(\.\d{1,5}){1,3}", re.ASCII)

type _IsHarmless = Callable[[object], bool]


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_time(value: object) -> bool:
    return type(value) is int and 0 <= value < _LATEST_TIME


def _is_port(value: object) -> bool:
    return type(value) is int and 0 <= value < _HIGHEST_PORT


def _is_version(value: object) -> bool:
    return isinstance(value, str) and bool(_VERSION.fullmatch(value))


def _is_reading(value: object) -> bool:
    """Return whether a value is a number, a time or nothing, as the meter writes them."""
    if value is None or _is_time(value):
        return True
    return isinstance(value, str) and bool(_NUMBER.fullmatch(value))


def _is_never(value: object) -> bool:
    return False


_STATUS: Final[dict[str, _IsHarmless]] = {
    "meterdatetime": _is_time,
    "softwareversion": _is_version,
    "networkdhcactive": _is_flag,
    "networkdhcpactive": _is_flag,
    "mbactive": _is_flag,
    "mbport": _is_port,
    "ntpactive": _is_flag,
    "updateractive": _is_flag,
    "meterserial": _is_never,
    "meterfactorynr": _is_never,
    "networkmac": _is_never,
    "networkip": _is_never,
    "networknm": _is_never,
    "networkgw": _is_never,
    "networkdns1": _is_never,
    "ntp1": _is_never,
}
_READINGS: Final[dict[str, _IsHarmless]] = {
    "meterdatetime": _is_time,
    "showMinMax": _is_flag,
    **dict.fromkeys(BY_JSON_KEY, _is_reading),
}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: EmuConfigEntry
) -> dict[str, Any]:
    """Return the meter's two documents and the state of the integration."""
    shown = {"entry": _entry(entry), "firmware": _firmware(hass, entry)}
    if entry.state is not ConfigEntryState.LOADED:
        return shown
    runtime = entry.runtime_data
    coordinator = runtime.meter
    data = coordinator.data
    status, readings = data.status.document, data.readings.document
    return shown | {
        "last_update_success": coordinator.last_update_success,
        "last_error": _kind(coordinator.last_exception),
        "clock_offset": str(data.clock_offset),
        "rejected": {key: form(text) for key, text in data.readings.rejected.items()},
        "status": _known(status, _STATUS),
        "readings": _known(readings, _READINGS),
        "unknown_keys": {
            "status": len(status.keys() - _STATUS),
            "readings": len(readings.keys() - _READINGS),
        },
        "seconds_waited": round(coordinator.client.waited, 3),
        "pages": _pages(coordinator.client.pace),
        "backfill": await runtime.backfill.async_diagnostics(),
        "logs": runtime.logbook.diagnostics(),
        "demand": runtime.demand.diagnostics(),
    }


def form(text: str) -> str:
    """Return a text with its digits as 9 and its letters as a."""
    return re.sub(r"\d", "9", re.sub(r"[^\W\d]", "a", text))


def _entry(entry: EmuConfigEntry) -> dict[str, Any]:
    return {
        "version": entry.version,
        "minor_version": entry.minor_version,
        "source": entry.source,
        "state": entry.state.value,
        "has_password": bool(entry.data.get(CONF_PASSWORD)),
        "has_default_port": entry.data.get(CONF_PORT) == _HTTP_PORT,
        # A stored option may be of any type, with any content.
        CONF_AUTOMATIC: entry.options.get(CONF_AUTOMATIC, True) is True,
        CONF_COSTS: entry.options.get(CONF_COSTS, True) is True,
    }


def _pages(pace: Pace) -> dict[str, Any]:
    """Return the learned durations of pages."""
    return {
        "size": pace.size,
        "probe": pace.probe,
        "seconds_fixed": round(pace.fixed, 3),
        "seconds_each": round(pace.each, 6),
    }


def _firmware(hass: HomeAssistant, entry: EmuConfigEntry) -> dict[str, Any]:
    """Return the stored firmware, and the state of this meter's update."""
    store = firmware_store(hass)
    image = store.image
    activity = meter_firmware_of(hass, entry).activity
    return {
        "kept": image
        and {
            "version": str(image.version),
            "hash": image.hash.hex(),
            "size": image.size,
            "source": store.source,
            "when": store.when and store.when.isoformat(),
        },
        "is_unfit": store.is_unfit_for(entry.unique_id or ""),
        "is_checked_daily": store.is_checked_daily,
        "is_busy": activity.is_busy,
        "step": activity.step,
        "percent": activity.percent,
    }


def _known(
    document: Mapping[str, Any], allowed: Mapping[str, _IsHarmless]
) -> dict[str, Any]:
    """Return the values of known keys; those of another form are redacted."""
    return {
        key: value if is_harmless(value) else REDACTED
        for key, is_harmless in allowed.items()
        if (value := document.get(key, _ABSENT)) is not _ABSENT
    }


_ABSENT: Final = object()


def _kind(err: BaseException | None) -> str | None:
    """Return the classes of an error and its causes; their texts contain addresses."""
    kinds = []
    while err is not None:
        kinds.append(type(err).__name__)
        err = err.__cause__
    return " < ".join(reversed(kinds)) or None
