"""How far the meter's clock is ahead of Home Assistant's."""

from datetime import timedelta
from typing import Final

from homeassistant.util import dt as dt_util

from ..coordinator import EmuCoordinator
from ..emu.logs import EARLIEST, REACH
from ..failures import failed
from .records import clock_offset_by_records

_LIMIT: Final = timedelta(minutes=5)
"""A clock further off would put the meter's energy into the wrong hours."""
_TOLERANCE: Final = timedelta(minutes=1)
"""Clocks differ a little."""


async def async_clock_offset(meter: EmuCoordinator) -> timedelta:
    """Return the offset of the meter's clock, positive if it is ahead.

    Raises HomeAssistantError if the offset is too large or unknown, and MeterError if
    the meter does not answer.
    """
    offset = meter.data.clock_offset
    # Not every firmware reports the clock with the readings, nor in the status: then
    # the stamp of the newest record tells it.
    if offset is None:
        clock = (await meter.client.status()).clock
        offset = None if clock is None else clock - dt_util.utcnow()
    if offset is None:
        page = await meter.client.newest_records(2)
        now = int(dt_util.utcnow().timestamp())
        # A busy meter may answer with nothing.
        seconds = clock_offset_by_records(page.records, now) if page.records else None
        offset = None if seconds is None else timedelta(seconds=seconds)
    if offset is None:
        raise failed("clock_unknown", meter=meter.name)
    if abs(offset) > _LIMIT:
        raise failed("clock_off", meter=meter.name, **meter.clocks(offset))
    return offset


def latest_stamp(offset: timedelta | None) -> int:
    """Return the latest plausible stamp of a record, in seconds since 1970-01-01 UTC.

    The meter's clock is ahead by `offset`. If it was lost or set back, records from
    before that are later than it: so the clock that is ahead counts.
    """
    ahead = max(offset or timedelta(), timedelta())
    return int((dt_util.utcnow() + ahead + _TOLERANCE).timestamp())


def is_near(offset: timedelta | None) -> bool:
    """Return whether the meter's clock, ahead by `offset`, is set and not far off.

    A `RecordFilter` follows a clock that is off by up to `REACH`: what is counted
    by the meter's clock, like demand, needs no better one.
    """
    offset = offset or timedelta()
    time = (dt_util.utcnow() + offset).timestamp()
    return time >= EARLIEST and abs(offset.total_seconds()) <= REACH
