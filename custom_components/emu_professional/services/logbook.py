"""The action that returns records of the logbook."""

from typing import Final

from homeassistant.const import Platform
from homeassistant.core import ServiceCall, ServiceResponse

from ..record_data import logbook_record_data
from .fields import METER, WINDOW, schema, window
from .meters import async_read_in_turn, async_readable_entry, own_records

LOGBOOK_SCHEMA: Final = schema({**METER, **WINDOW})

_SENSORS_AND_EVENTS: Final = frozenset({Platform.SENSOR, Platform.EVENT})
"""Domains of the entities with the values of a logbook record."""


async def async_get_logbook(call: ServiceCall) -> ServiceResponse:
    """Return the records of the logbook that were written in a window."""
    entry = await async_readable_entry(call, _SENSORS_AND_EVENTS)
    asked = window(call)
    read = entry.runtime_data.logbook.async_read
    logbook = await async_read_in_turn(call, entry, read)
    serial_number = entry.runtime_data.meter.serial_number
    records = [r for r in logbook.records if asked.since < r.at <= asked.until]
    own = own_records(records, serial_number, logbook.rejected)
    return {
        "serial_number": serial_number,
        "records": [logbook_record_data(record) for record in own],
        "refused": dict(logbook.rejected),
    }
