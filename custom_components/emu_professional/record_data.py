"""Records of a meter's logs as data of events and action responses."""

from typing import Final

from homeassistant.util import dt as dt_util
from homeassistant.util.json import JsonValueType

from .emu.logs import LOGBOOK_REGISTERS, SETTINGS, ChangeKind, LogbookRecord

_UNITS: Final = {pair.kind: pair.unit for pair in SETTINGS}


def logbook_record_data(record: LogbookRecord) -> dict[str, JsonValueType]:
    """Return a logbook record as event data or response.

    Energy is in kWh, a setting in the unit beside it, times are in Home Assistant's
    time zone.
    """
    data: dict[str, JsonValueType] = {
        "time": local_time(record.at),
        "index": record.index,
        "logger_index": record.logger_index,
    }
    for change in record.changes:
        is_time = change.kind is ChangeKind.TIME
        for name, value in (("before", change.before), ("after", change.after)):
            data[f"{change.kind}_{name}"] = local_time(value) if is_time else value
        if unit := _UNITS.get(change.kind):
            data[f"{change.kind}_unit"] = unit
    for quantity, value in zip(LOGBOOK_REGISTERS, record.registers, strict=True):
        data[quantity.key] = value / 10**quantity.decimals
    return data


def local_time(at: int) -> str:
    """Return seconds since 1970-01-01 UTC as local ISO time with its offset."""
    return dt_util.as_local(dt_util.utc_from_timestamp(at)).isoformat()
