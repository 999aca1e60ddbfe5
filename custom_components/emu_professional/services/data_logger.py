"""The actions that return or export records of the data logger."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

import voluptuous as vol

from homeassistant.core import HomeAssistant, ServiceCall, ServiceResponse
from homeassistant.helpers import config_validation as cv
from homeassistant.util.json import JsonObjectType, JsonValueType

from ..backfill.logger_reader import LoggerReader
from ..backfill.report import EVERYTHING
from ..config_entry import EmuConfigEntry
from ..emu.csv_export import Columns, columns, status_names
from ..emu.logs import COLUMNS, Record
from ..emu.request_queue import Priority
from ..export import PathRefused, async_write_csv, real_path
from ..failures import failed, invalid
from ..record_data import local_time
from ..selected_records import SelectedRecords, Selection, TooManyRecords
from .fields import (
    ATTR_COLUMNS,
    ATTR_END,
    ATTR_FIRST_INDEX,
    ATTR_LAST_INDEX,
    ATTR_PATH,
    ATTR_START,
    INDEX,
    METER,
    WINDOW,
    Fields,
    schema,
    window,
)
from .meters import (
    SENSORS,
    async_in_turn,
    async_read_in_turn,
    async_readable_entry,
    async_while_loaded,
    entry_of,
    own_records,
)
from .times import maybe_shown

MOST_RECORDS: Final = 1000
"""In a response: Home Assistant keeps all of it in memory and in traces."""

_SELECTION: Final[Fields] = {
    **METER,
    **WINDOW,
    vol.Optional(ATTR_FIRST_INDEX): INDEX,
    vol.Optional(ATTR_LAST_INDEX): INDEX,
    vol.Optional(ATTR_COLUMNS, default=[]): vol.All(
        cv.ensure_list, [vol.In([quantity.key for quantity in COLUMNS])]
    ),
}
GET_SCHEMA: Final = schema(_SELECTION)
EXPORT_SCHEMA: Final = schema({**_SELECTION, vol.Required(ATTR_PATH): cv.string})


async def async_get_data_logger(call: ServiceCall) -> ServiceResponse:
    """Return records; values are in the unit of their quantity."""
    entry = await async_readable_entry(call, SENSORS)
    selected = _selected(call, entry)
    chosen = columns(call.data[ATTR_COLUMNS])
    serial_number = entry.runtime_data.meter.serial_number
    collect = partial(_async_collect, call.hass, selected, chosen, serial_number)
    try:
        records = await async_read_in_turn(call, entry, collect)
    except TooManyRecords as err:
        raise invalid(
            "too_many_records", count=str(err.count), most=str(MOST_RECORDS)
        ) from None
    return {
        "serial_number": serial_number,
        "records": records,
        "refused": dict(selected.rejected),
    }


async def async_export_data_logger(call: ServiceCall) -> ServiceResponse:
    """Write records into a file; an existing one is replaced at the end."""
    entry = entry_of(call)
    selected = _selected(call, entry)
    chosen = columns(call.data[ATTR_COLUMNS])
    hass, text = call.hass, call.data[ATTR_PATH]

    async def export() -> Path:
        # Before the call waits for others: a mistake is answered at once.
        path = await hass.async_add_executor_job(real_path, hass.config, text)
        write = partial(async_write_csv, hass, selected.async_pages(), chosen, path)
        await async_in_turn(call, entry, write)
        return path

    try:
        path = await async_while_loaded(hass, entry, export())
    except PathRefused as err:
        raise invalid(err.key, **err.placeholders) from None
    except OSError as err:
        raise failed("not_exported", path=text, error=str(err.strerror)) from err
    return {
        "path": str(path),
        "records": selected.read,
        "refused": dict(selected.rejected),
        "first_record": maybe_shown(selected.first),
        "last_record": maybe_shown(selected.last),
    }


def selection(call: ServiceCall) -> Selection:
    """Return the records that a call selects, by window or by indices.

    Raises ServiceValidationError if its fields contradict each other.
    """
    asked = window(call)
    first: int = call.data.get(ATTR_FIRST_INDEX, 0)
    last: int = call.data.get(ATTR_LAST_INDEX, EVERYTHING.until)
    if not call.data.keys().isdisjoint({ATTR_FIRST_INDEX, ATTR_LAST_INDEX}):
        if not call.data.keys().isdisjoint({ATTR_START, ATTR_END}):
            raise invalid("window_and_indices")
        if last < first:
            raise invalid("indices_reversed")
    return Selection(first, last, asked.since, asked.until)


def _selected(call: ServiceCall, entry: EmuConfigEntry) -> SelectedRecords:
    """Return the records that a call selects, not read yet. Errors as of `selection`."""
    reader = LoggerReader(entry.runtime_data.meter.client, Priority.ACTION)
    return SelectedRecords(reader, selection(call))


async def _async_collect(
    hass: HomeAssistant,
    selected: SelectedRecords,
    chosen: Columns,
    serial_number: str,
) -> list[JsonValueType]:
    """Return the records of the meter; those of another one are counted as rejected."""
    collected: list[JsonValueType] = []
    async for records in selected.async_pages(MOST_RECORDS):
        own = own_records(records, serial_number, selected.rejected)
        collected += await hass.async_add_executor_job(_objects, own, chosen)
    return collected


def _objects(records: Iterable[Record], chosen: Columns) -> list[JsonObjectType]:
    return [
        {
            "time": local_time(record.at),
            "index": record.index,
            "status": [*status_names(record.status)],
            "status_bits": record.status,
            **{
                quantity.key: record.values[position] / 10**quantity.decimals
                for position, quantity in chosen
            },
        }
        for record in records
    ]
