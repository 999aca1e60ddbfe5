"""The one door to Home Assistant's recorder.

Reads a register's statistic as rows of `seam.py`, and carries out a plan. The
statistic keeps the unit that it has; rows are in the last digit of the register.
All calls need a Home Assistant that has started: before, the recorder still catches
up with the time it was off, and meets what is written meanwhile as an error.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import Final

from sqlalchemy import Select, func, select

from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.db_schema import (
    Statistics,
    StatisticsRuns,
    StatisticsShortTerm,
)
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.tasks import SynchronizeTask
from homeassistant.const import UnitOfEnergy
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.util.unit_conversion import EnergyConverter

from .hours import HOUR
from .seam import Plan, Row

type _Columns = tuple[float | None, float | None, float | None]

_PERIOD: Final = timedelta(minutes=5)
_BATCH: Final = 168
"""Rows at a time: the recorder records nothing else meanwhile, about 1 ms a row."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the recorder holds of a register's statistic.

    `rows` are its long-term rows, `live` its newest short-term one; `unit` is the
    unit of the statistic. `limit` is the time, in seconds since 1970-01-01 UTC,
    up to which hours are compiled: a later hour must not be written, or the
    statistics of the whole house stop.
    """

    rows: tuple[Row, ...]
    live: Row | None
    unit: str
    limit: int


async def async_held(
    hass: HomeAssistant, statistic_id: str, since: int, unit: str
) -> Held | None:
    """Return what is held from the last row before a time on.

    `unit` is the one to take where there is no statistic yet. Returns None before
    the first statistics of this Home Assistant were compiled.
    """
    return await get_instance(hass).async_add_executor_job(
        _held, hass, statistic_id, since, unit
    )


async def async_carry_out(
    hass: HomeAssistant, statistic_id: str, held: Held, plan: Plan
) -> None:
    """Do what a plan says, in batches that let the recorder do its own work.

    The shift comes first: live rows that are compiled in between go on from it.
    """
    instance = get_instance(hass)
    scale = _last_digits_per(held.unit)
    if plan.shift_from is not None:
        instance.async_adjust_statistics(
            statistic_id, _time(plan.shift_from), plan.shift / scale, held.unit
        )
    metadata = _metadata(statistic_id, held.unit)
    # What people look at first comes first.
    newest_first = sorted(plan.rows, key=lambda row: row.start, reverse=True)
    for batch in batched(newest_first, _BATCH, strict=False):
        data = [_data(row, scale) for row in reversed(batch)]
        instance.async_import_statistics(metadata, data, Statistics)
        await _async_done(instance)
    if held.live is None and plan.last is not None:
        instance.async_import_statistics(
            metadata, [_live(plan.last, scale)], StatisticsShortTerm
        )
    await _async_done(instance)


async def _async_done(instance: Recorder) -> None:
    """Wait until the recorder has done what it was asked for.

    Its own way to wait takes a task that is under way for done.
    """
    done = instance.hass.loop.create_future()
    instance.queue_task(SynchronizeTask(done))
    await done


def _held(hass: HomeAssistant, statistic_id: str, since: int, unit: str) -> Held | None:
    instance = get_instance(hass)
    with session_scope(hass=hass, read_only=True) as session:
        newest_run = session.execute(select(func.max(StatisticsRuns.start))).scalar()
        if newest_run is None:
            return None
        compiled = newest_run.replace(tzinfo=UTC) + _PERIOD
        limit = int(compiled.timestamp()) // HOUR * HOUR
        found = instance.statistics_meta_manager.get(session, statistic_id)
        if found is None:
            return Held((), None, unit, limit)
        metadata_id, metadata = found
        unit = metadata["unit_of_measurement"] or unit
        scale = _last_digits_per(unit)
        of_hours = _rows_of(Statistics, metadata_id)
        before = of_hours.where(Statistics.start_ts < since).order_by(
            Statistics.start_ts.desc()
        )
        later = of_hours.where(Statistics.start_ts >= since).order_by(
            Statistics.start_ts
        )
        live = _rows_of(StatisticsShortTerm, metadata_id).order_by(
            StatisticsShortTerm.start_ts.desc()
        )

        def rows(query: Select[_Columns]) -> list[Row]:
            return [_row(*found, scale) for found in session.execute(query).tuples()]

        return Held(
            rows=(*rows(before.limit(1)), *rows(later)),
            live=next(iter(rows(live.limit(1))), None),
            unit=unit,
            limit=limit,
        )


def _rows_of(
    table: type[Statistics | StatisticsShortTerm], metadata_id: int
) -> Select[_Columns]:
    return select(table.start_ts, table.state, table.sum).where(
        table.metadata_id == metadata_id
    )


def _last_digits_per(unit: str) -> float:
    return EnergyConverter.convert(1, unit, UnitOfEnergy.WATT_HOUR)


def _row(
    start: float | None, state: float | None, total: float | None, scale: float
) -> Row:
    return Row(
        start=int(start or 0),
        state=None if state is None else state * scale,
        sum=(total or 0) * scale,
    )


def _metadata(statistic_id: str, unit: str) -> StatisticMetaData:
    return StatisticMetaData(
        mean_type=StatisticMeanType.NONE,
        has_sum=True,
        name=None,
        source="recorder",
        statistic_id=statistic_id,
        unit_class=EnergyConverter.UNIT_CLASS,
        unit_of_measurement=unit,
    )


def _data(row: Row, scale: float) -> StatisticData:
    data = StatisticData(start=_time(row.start), sum=row.sum / scale)
    if row.state is not None:
        data["state"] = row.state / scale
    return data


def _live(last: Row, scale: float) -> StatisticData:
    """Return the last five minutes of an hour, for the next live row to go on from."""
    data = _data(last, scale)
    data["start"] = _time(last.start + HOUR) - _PERIOD
    return data


def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
