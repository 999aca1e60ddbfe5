"""The recorder's choice of entities, its keep time, and its progress."""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from homeassistant.components.recorder.db_schema import StatisticsRuns
from homeassistant.components.recorder.entity_options import is_entity_recorded
from homeassistant.components.recorder.models import process_timestamp
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util

from ..times import HOUR, PERIOD
from .query import async_query


def has_recorder(hass: HomeAssistant) -> bool:
    """Return whether Home Assistant has a recorder."""
    return "recorder" in hass.config.components


@callback
def async_is_recorded(hass: HomeAssistant, entity_id: str) -> bool:
    """Return whether the owner lets the recorder record an entity."""
    return is_entity_recorded(hass, entity_id)


@callback
def async_periods_kept_since(hass: HomeAssistant) -> int:
    """Return the first whole hour with five-minute rows, as the recorder keeps them."""
    keep = get_instance(hass).keep_days * 24 * HOUR
    return -int((keep - dt_util.utcnow().timestamp()) // HOUR) * HOUR


async def async_compiled_until(hass: HomeAssistant) -> int | None:
    """Return until when statistics are compiled, or None if none ever were.

    It is never later than now.
    """
    now = dt_util.utcnow()
    return await async_query(hass, lambda session: compiled_until(session, now))


async def async_caught_up(hass: HomeAssistant) -> bool:
    """Return whether the recorder has compiled all the time until now."""
    if not get_instance(hass).async_recorder_ready.is_set():
        return False
    until = await async_compiled_until(hass)
    now = dt_util.utcnow().timestamp()
    return until is not None and until > now - 2 * PERIOD


def compiled_until(session: Session, now: datetime) -> int | None:
    """Return until when statistics are compiled, or None.

    A later hour must not be written: the recorder could not insert its own rows of the
    hour, and would lose the statistics of the whole house.
    """
    # A run in the future is from a clock that was ahead once.
    newest = select(func.max(StatisticsRuns.start)).where(
        StatisticsRuns.start <= now - timedelta(seconds=PERIOD)
    )
    # Naive in UTC, or aware in the zone of the database's session (PostgreSQL).
    start = process_timestamp(session.execute(newest).scalar())
    return int(start.timestamp()) + PERIOD if start else None
