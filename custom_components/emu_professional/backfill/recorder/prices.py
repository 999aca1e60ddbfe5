"""Reads stored prices, and the first hour of a statistic."""

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from homeassistant.components.recorder.db_schema import Statistics, StatisticsShortTerm
from homeassistant.components.recorder.history import state_changes_during_period
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util

from ..times import whole_hour
from .query import async_query, database_trouble
from .units import Statistic


async def async_began(hass: HomeAssistant, statistic: Statistic) -> int | None:
    """Return the first hour of a statistic, or None if it has no row yet."""
    return await async_query(
        hass, lambda session: _began(session, hass, statistic.statistic_id)
    )


async def async_hourly_means(
    hass: HomeAssistant, statistic_id: str, since: int, until: int
) -> tuple[str | None, dict[int, float]]:
    """Return the unit of a statistic, and the means of hours in a window."""
    return await async_query(
        hass, lambda session: _hourly_means(session, hass, statistic_id, since, until)
    )


async def async_states(
    hass: HomeAssistant, entity_id: str, since: int, until: int
) -> list[State]:
    """Return the recorded states in a window, with the one before it.

    Raises HomeAssistantError if the database does not answer.
    """

    def states() -> list[State]:
        # This has a session of its own, so it is no query of ours.
        found = state_changes_during_period(
            hass,
            # A state of the very moment would be left out.
            dt_util.utc_from_timestamp(since - 1),
            dt_util.utc_from_timestamp(until),
            entity_id,
        )
        return found.get(entity_id, [])

    try:
        return await get_instance(hass).async_add_executor_job(states)
    except SQLAlchemyError as err:
        raise database_trouble(err) from err


def _began(session: Session, hass: HomeAssistant, statistic_id: str) -> int | None:
    manager = get_instance(hass).statistics_meta_manager
    if (found := manager.get(session, statistic_id)) is None:
        return None
    firsts = [
        session.execute(
            select(func.min(table.start_ts)).where(table.metadata_id == found[0])
        ).scalar()
        for table in (Statistics, StatisticsShortTerm)
    ]
    return min((whole_hour(int(at)) for at in firsts if at is not None), default=None)


def _hourly_means(
    session: Session, hass: HomeAssistant, statistic_id: str, since: int, until: int
) -> tuple[str | None, dict[int, float]]:
    manager = get_instance(hass).statistics_meta_manager
    if (found := manager.get(session, statistic_id)) is None:
        return None, {}
    metadata_id, metadata = found
    query = select(Statistics.start_ts, Statistics.mean).where(
        Statistics.metadata_id == metadata_id,
        Statistics.start_ts >= since,
        Statistics.start_ts < until,
    )
    return metadata["unit_of_measurement"], {
        int(start or 0): mean
        for start, mean in session.execute(query).tuples()
        if mean is not None
    }
