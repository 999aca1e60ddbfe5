"""Reads statistics as rows of `series.py` and `means.py`."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Select, func, select

from homeassistant.components.recorder.db_schema import (
    Statistics,
    StatisticsRuns,
    StatisticsShortTerm,
)
from homeassistant.components.recorder.entity_options import is_entity_recorded
from homeassistant.components.recorder.models import StatisticData, process_timestamp
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.util import dt as dt_util

from ..means import Mean
from ..series import ROUNDING, Row
from ..times import HOUR, PERIOD
from .units import Statistic, last_digits_per

type _Columns = tuple[float | None, float | None, float | None]

_NEVER: Final = 1 << 40
_A_WHILE: Final = 30 * 24 * HOUR


@dataclass(frozen=True, slots=True)
class Stored:
    """The stored rows of a register's statistic.

    `rows` are its long-term rows as `series.reconcile` wants them, `short_term` its newest
    short-term one; `unit` is the unit of the statistic. `is_newest` says that no
    later rows exist: then Home Assistant continues from `short_term`.
    """

    rows: tuple[Row, ...]
    short_term: Row | None
    unit: str | None
    is_newest: bool


@dataclass(frozen=True, slots=True)
class StoredMeans:
    """The stored rows of a measurement's statistic, and its unit."""

    rows: tuple[Mean, ...]
    unit: str | None


@callback
def async_is_recorded(hass: HomeAssistant, entity_id: str) -> bool:
    """Return whether the owner lets the recorder record an entity."""
    return is_entity_recorded(hass, entity_id)


async def async_compiled_until(hass: HomeAssistant) -> int | None:
    """Return until when statistics are compiled, or None if none ever were.

    An hour that ends later must not be written, or the statistics of the whole
    house stop. It is never later than now: a run in the future comes from a clock
    that was ahead once, and says nothing about the hours before it.
    """
    return await get_instance(hass).async_add_executor_job(
        _compiled_until, hass, dt_util.utcnow()
    )


async def async_caught_up(hass: HomeAssistant) -> bool:
    """Return whether the time that Home Assistant was off is compiled by now."""
    if not get_instance(hass).async_recorder_ready.is_set():
        return False
    until = await async_compiled_until(hass)
    now = dt_util.utcnow().timestamp()
    return until is not None and until > now - 2 * PERIOD


async def async_has_rows(
    hass: HomeAssistant, statistic: Statistic, before: int
) -> bool:
    """Return whether a statistic has rows before a time."""
    if statistic.has_sum:
        stored = await async_stored(hass, statistic, before, before)
        return any(row.start < before for row in stored.rows)
    means = await async_stored_means(hass, statistic, before - _A_WHILE, before)
    return bool(means.rows)


async def async_stored(
    hass: HomeAssistant,
    statistic: Statistic,
    since: int,
    until: int,
    register: float = 0,
) -> Stored:
    """Return the rows of a window, the last one before it and some after it.

    Those after it end with the second one whose state has reached `register`, which
    is the register at the end of the window.
    """
    return await get_instance(hass).async_add_executor_job(
        _stored, hass, statistic, since, until, register
    )


async def async_stored_means(
    hass: HomeAssistant, statistic: Statistic, since: int, until: int
) -> StoredMeans:
    """Return the rows of a window."""
    return await get_instance(hass).async_add_executor_job(
        _stored_means, hass, statistic, since, until
    )


async def async_stored_units(
    hass: HomeAssistant, statistic_ids: Collection[str]
) -> dict[str, str | None]:
    """Return the units of those of the statistics that exist."""
    return await get_instance(hass).async_add_executor_job(
        _stored_units, hass, set(statistic_ids)
    )


async def async_is_written(
    hass: HomeAssistant, statistic_id: str, expected: StatisticData
) -> bool:
    """Return whether a long-term row is stored as it was given to the recorder."""
    return await get_instance(hass).async_add_executor_job(
        _is_written, hass, statistic_id, expected
    )


def _compiled_until(hass: HomeAssistant, now: datetime) -> int | None:
    started_by = now - timedelta(seconds=PERIOD)
    newest = select(func.max(StatisticsRuns.start)).where(
        StatisticsRuns.start <= started_by
    )
    with session_scope(hass=hass, read_only=True) as session:
        # Naive in UTC, or aware in the zone of the database's session.
        start = process_timestamp(session.execute(newest).scalar())
    return int(start.timestamp()) + PERIOD if start else None


def _stored_units(
    hass: HomeAssistant, statistic_ids: set[str]
) -> dict[str, str | None]:
    with session_scope(hass=hass, read_only=True) as session:
        manager = get_instance(hass).statistics_meta_manager
        found = manager.get_many(session, statistic_ids=statistic_ids)
    return {
        statistic_id: metadata["unit_of_measurement"]
        for statistic_id, (_, metadata) in found.items()
    }


def _stored(
    hass: HomeAssistant, statistic: Statistic, since: int, until: int, register: float
) -> Stored:
    with session_scope(hass=hass, read_only=True) as session:
        manager = get_instance(hass).statistics_meta_manager
        found = manager.get(session, statistic.statistic_id)
        if found is None:
            return Stored((), None, statistic.unit or None, is_newest=True)
        metadata_id, metadata = found
        unit = metadata["unit_of_measurement"]
        per_unit = last_digits_per(unit, statistic)
        table = Statistics
        of_hours = _sums_of(table, metadata_id)
        before = of_hours.where(table.start_ts < since).order_by(table.start_ts.desc())
        inside = of_hours.where(
            table.start_ts >= since, table.start_ts < until
        ).order_by(table.start_ts)
        after = of_hours.where(table.start_ts >= until).order_by(table.start_ts)
        reached = after.where(table.state >= (register - ROUNDING) / per_unit)
        short_term = _sums_of(StatisticsShortTerm, metadata_id).order_by(
            StatisticsShortTerm.start_ts.desc()
        )

        def rows(query: Select[_Columns]) -> list[Row]:
            return [_row(*found, per_unit) for found in session.execute(query).tuples()]

        following = rows(reached.limit(3))
        is_newest = len(following) < 3
        last = _NEVER if is_newest else following[1].start
        return Stored(
            rows=(
                *rows(before.limit(1)),
                *rows(inside),
                *rows(after.where(table.start_ts <= last)),
            ),
            short_term=next(iter(rows(short_term.limit(1))), None)
            if is_newest
            else None,
            unit=unit,
            is_newest=is_newest,
        )


def _stored_means(
    hass: HomeAssistant, statistic: Statistic, since: int, until: int
) -> StoredMeans:
    with session_scope(hass=hass, read_only=True) as session:
        manager = get_instance(hass).statistics_meta_manager
        found = manager.get(session, statistic.statistic_id)
        if found is None:
            return StoredMeans((), statistic.unit or None)
        metadata_id, metadata = found
        unit = metadata["unit_of_measurement"]
        per_unit = last_digits_per(unit, statistic)
        query = select(
            Statistics.start_ts, Statistics.mean, Statistics.min, Statistics.max
        ).where(
            Statistics.metadata_id == metadata_id,
            Statistics.start_ts >= since,
            Statistics.start_ts < until,
        )
        rows = tuple(
            Mean(
                start=int(start or 0),
                mean=mean * per_unit,
                minimum=minimum * per_unit,
                maximum=maximum * per_unit,
            )
            for start, mean, minimum, maximum in session.execute(query).tuples()
            if mean is not None and minimum is not None and maximum is not None
        )
        return StoredMeans(rows, unit)


def _is_written(
    hass: HomeAssistant, statistic_id: str, expected: StatisticData
) -> bool:
    with session_scope(hass=hass, read_only=True) as session:
        found = get_instance(hass).statistics_meta_manager.get(session, statistic_id)
        if found is None:
            return False
        query = select(Statistics.sum, Statistics.mean).where(
            Statistics.metadata_id == found[0],
            Statistics.start_ts == expected["start"].timestamp(),
        )
        rows = list(session.execute(query).tuples())
    return rows == [(expected.get("sum"), expected.get("mean"))]


def _sums_of(
    table: type[Statistics | StatisticsShortTerm], metadata_id: int
) -> Select[_Columns]:
    return select(table.start_ts, table.state, table.sum).where(
        table.metadata_id == metadata_id
    )


def _row(
    start: float | None, state: float | None, total: float | None, per_unit: float
) -> Row:
    return Row(
        start=int(start or 0),
        state=None if state is None else state * per_unit,
        sum=(total or 0) * per_unit,
    )
