"""The one door to Home Assistant's recorder.

Reads statistics as rows of `seam.py` and `means.py`, and writes them. A statistic
keeps the unit that it has; rows are in the last digit of their quantity. Times are
seconds since 1970-01-01 UTC. All calls need a Home Assistant that has started:
before, the recorder still catches up with the time it was off, and meets what is
written meanwhile as an error.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
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
from homeassistant.components.recorder.statistics import (
    STATISTIC_UNIT_TO_UNIT_CONVERTER,
)
from homeassistant.components.recorder.tasks import SynchronizeTask
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey

from ..const import DOMAIN
from .hours import HOUR
from .means import Mean
from .seam import EQUAL, PERIOD, ROUNDING, Plan, Row

type _Columns = tuple[float | None, float | None, float | None]

_NEVER: Final = 1 << 40
_A_WHILE: Final = 30 * 24 * HOUR
_RECORDER: Final = "recorder"

_SMALLEST_BATCH: Final = 24
_LARGEST_BATCH: Final = 500
_BATCH_TIME: Final = 0.1
"""Seconds that a batch should take: the recorder records nothing else meanwhile."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of a quantity.

    `unit` is the quantity's ("" for none), which is the statistic's only where the
    recorder has none yet; `decimals` is the quantity's last digit. A sensor's own
    statistic has no `name`; an external one, which belongs to no sensor, has.
    """

    statistic_id: str
    unit: str
    decimals: int
    has_sum: bool
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """What the recorder holds of a register's statistic.

    `rows` are its long-term rows as `seam.join` wants them, `live` its newest
    short-term one; `unit` is the unit of the statistic. `is_newest` says that no
    rows follow: then `live` is what the next live row goes on from.
    """

    rows: tuple[Row, ...]
    live: Row | None
    unit: str | None
    is_newest: bool


@dataclass(frozen=True, slots=True)
class HeldMeans:
    """What the recorder holds of a measurement's statistic, and in which unit."""

    rows: tuple[Mean, ...]
    unit: str | None


class _Turns:
    """One batch at a time in the whole house, as large as the recorder is quick."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.size = _SMALLEST_BATCH

    def learn(self, rows: int, seconds: float) -> None:
        wanted = int(rows * _BATCH_TIME / max(seconds, 1e-3))
        self.size = min(max(wanted, _SMALLEST_BATCH), 2 * self.size, _LARGEST_BATCH)


_TURNS: Final[HassKey[_Turns]] = HassKey(f"{DOMAIN}.recorder_turns")


async def async_compiled_until(hass: HomeAssistant) -> int | None:
    """Return until when statistics are compiled, or None if none ever were.

    An hour that ends later must not be written, or the statistics of the whole
    house stop.
    """
    return await get_instance(hass).async_add_executor_job(_compiled_until, hass)


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
        held = await async_held(hass, statistic, before, before)
        return any(row.start < before for row in held.rows)
    means = await async_held_means(hass, statistic, before - _A_WHILE, before)
    return bool(means.rows)


async def async_held(
    hass: HomeAssistant,
    statistic: Statistic,
    since: int,
    until: int,
    register: float = 0,
) -> Held:
    """Return the rows of a window, the last one before it and some behind it.

    These are all until the second one that has heard of the register at the end of
    the window.
    """
    return await get_instance(hass).async_add_executor_job(
        _held, hass, statistic, since, until, register
    )


async def async_held_means(
    hass: HomeAssistant, statistic: Statistic, since: int, until: int
) -> HeldMeans:
    """Return the rows of a window."""
    return await get_instance(hass).async_add_executor_job(
        _held_means, hass, statistic, since, until
    )


async def async_carry_out(
    hass: HomeAssistant, statistic: Statistic, held: Held, plan: Plan
) -> None:
    """Do what a plan says, in batches that let the recorder do its own work.

    The shift comes first: live rows that are compiled in between go on from it.
    Raises HomeAssistantError if the recorder did not write, as on a full disk.
    """
    per_unit = _last_digits_per(held.unit, statistic)
    metadata = _metadata(statistic, held.unit)
    await _async_adjust(hass, statistic, held, plan)
    try:
        await _async_write(hass, metadata, plan.rows, lambda row: _data(row, per_unit))
    except HomeAssistantError:
        await _async_take_back(hass, statistic, held, plan)
        raise
    if statistic.name is None and held.is_newest and plan.recent:
        instance = get_instance(hass)
        data = _data(plan.recent, per_unit)
        instance.async_import_statistics(metadata, [data], StatisticsShortTerm)
        await _async_done(instance)


async def async_write_means(
    hass: HomeAssistant, statistic: Statistic, unit: str | None, means: Sequence[Mean]
) -> None:
    """Write rows, over those of their hours if there are any.

    Raises HomeAssistantError if the recorder did not write, as on a full disk.
    """
    per_unit = _last_digits_per(unit, statistic)
    await _async_write(
        hass, _metadata(statistic, unit), means, lambda mean: _mean_data(mean, per_unit)
    )


async def _async_adjust(
    hass: HomeAssistant, statistic: Statistic, held: Held, plan: Plan, sign: int = 1
) -> None:
    if plan.shift_from is None:
        return
    instance = get_instance(hass)
    shift = sign * plan.shift / _last_digits_per(held.unit, statistic)
    async with _turns(hass).lock:
        instance.async_adjust_statistics(
            statistic.statistic_id, _time(plan.shift_from), shift, held.unit or ""
        )
        await _async_done(instance)


async def _async_take_back(
    hass: HomeAssistant, statistic: Statistic, held: Held, plan: Plan
) -> None:
    """Take a shift back if nothing was written, so that no seam shows it.

    Where something was written, or the recorder doesn't write even this, the next
    run finds the same hours wrong and mends them.
    """
    newest = max(plan.rows, key=lambda row: row.start)
    now = await async_held(hass, statistic, newest.start, newest.start + HOUR)
    if not any(_is_like(row, newest) for row in now.rows):
        await _async_adjust(hass, statistic, held, plan, sign=-1)


def _is_like(row: Row, other: Row) -> bool:
    """Whether both say the same: a shift alone may make the sums equal."""
    return (
        row.start == other.start
        and abs(row.sum - other.sum) <= EQUAL
        and abs((row.state or 0) - (other.state or 0)) <= EQUAL
    )


async def _async_write[R: Row | Mean](
    hass: HomeAssistant,
    metadata: StatisticMetaData,
    rows: Sequence[R],
    data_of: Callable[[R], StatisticData],
) -> None:
    """Write rows: what people look at first comes first."""
    instance = get_instance(hass)
    turns = _turns(hass)
    rows = sorted(rows, reverse=True)
    for batch in _batches(turns, rows):
        async with turns.lock:
            data = [data_of(row) for row in batch]
            begin = hass.loop.time()
            instance.async_import_statistics(metadata, data, Statistics)
            await _async_done(instance)
            turns.learn(len(batch), hass.loop.time() - begin)
        if batch[0] is rows[0] or batch[-1] is rows[-1]:
            await _async_check(hass, metadata, data[-1])


def _batches[R](turns: _Turns, rows: Sequence[R]) -> Iterator[Sequence[R]]:
    begin = 0
    while begin < len(rows):
        size = turns.size
        yield rows[begin : begin + size]
        begin += size


async def _async_check(
    hass: HomeAssistant, metadata: StatisticMetaData, wanted: StatisticData
) -> None:
    """Make sure that a row was written: the recorder itself only logs a failure."""
    written = await get_instance(hass).async_add_executor_job(
        _is_written, hass, metadata["statistic_id"], wanted
    )
    if not written:
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="not_written",
            translation_placeholders={"statistic_id": metadata["statistic_id"]},
        )


async def _async_done(instance: Recorder) -> None:
    """Wait until the recorder has done what it was asked for.

    Its own way to wait takes a task that is under way for done.
    """
    done = instance.hass.loop.create_future()
    instance.queue_task(SynchronizeTask(done))
    await done


def _turns(hass: HomeAssistant) -> _Turns:
    return hass.data.setdefault(_TURNS, _Turns())


def _compiled_until(hass: HomeAssistant) -> int | None:
    with session_scope(hass=hass, read_only=True) as session:
        newest_run = session.execute(select(func.max(StatisticsRuns.start))).scalar()
    if newest_run is None:
        return None
    return int(newest_run.replace(tzinfo=UTC).timestamp()) + PERIOD


def _held(
    hass: HomeAssistant, statistic: Statistic, since: int, until: int, register: float
) -> Held:
    with session_scope(hass=hass, read_only=True) as session:
        manager = get_instance(hass).statistics_meta_manager
        found = manager.get(session, statistic.statistic_id)
        if found is None:
            return Held((), None, statistic.unit or None, is_newest=True)
        metadata_id, metadata = found
        unit = metadata["unit_of_measurement"]
        per_unit = _last_digits_per(unit, statistic)
        table = Statistics
        of_hours = _sums_of(table, metadata_id)
        before = of_hours.where(table.start_ts < since).order_by(table.start_ts.desc())
        inside = of_hours.where(
            table.start_ts >= since, table.start_ts < until
        ).order_by(table.start_ts)
        behind = of_hours.where(table.start_ts >= until).order_by(table.start_ts)
        heard = behind.where(table.state >= (register - ROUNDING) / per_unit)
        recent = StatisticsShortTerm
        live = _sums_of(recent, metadata_id).order_by(recent.start_ts.desc())

        def rows(query: Select[_Columns]) -> list[Row]:
            return [_row(*found, per_unit) for found in session.execute(query).tuples()]

        following = rows(heard.limit(3))
        is_newest = len(following) < 3
        last = _NEVER if is_newest else following[1].start
        return Held(
            rows=(
                *rows(before.limit(1)),
                *rows(inside),
                *rows(behind.where(table.start_ts <= last)),
            ),
            live=next(iter(rows(live.limit(1))), None) if is_newest else None,
            unit=unit,
            is_newest=is_newest,
        )


def _held_means(
    hass: HomeAssistant, statistic: Statistic, since: int, until: int
) -> HeldMeans:
    with session_scope(hass=hass, read_only=True) as session:
        manager = get_instance(hass).statistics_meta_manager
        found = manager.get(session, statistic.statistic_id)
        if found is None:
            return HeldMeans((), statistic.unit or None)
        metadata_id, metadata = found
        unit = metadata["unit_of_measurement"]
        per_unit = _last_digits_per(unit, statistic)
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
        return HeldMeans(rows, unit)


def _is_written(hass: HomeAssistant, statistic_id: str, wanted: StatisticData) -> bool:
    with session_scope(hass=hass, read_only=True) as session:
        found = get_instance(hass).statistics_meta_manager.get(session, statistic_id)
        if found is None:
            return False
        query = select(Statistics.sum, Statistics.mean).where(
            Statistics.metadata_id == found[0],
            Statistics.start_ts == wanted["start"].timestamp(),
        )
        rows = list(session.execute(query).tuples())
    return rows == [(wanted.get("sum"), wanted.get("mean"))]


def _sums_of(
    table: type[Statistics | StatisticsShortTerm], metadata_id: int
) -> Select[_Columns]:
    return select(table.start_ts, table.state, table.sum).where(
        table.metadata_id == metadata_id
    )


def _last_digits_per(unit: str | None, statistic: Statistic) -> float:
    """Return how many last digits of its quantity a statistic's unit is."""
    last_digits = 10.0**statistic.decimals
    own = statistic.unit or None
    if unit == own:
        return last_digits
    converter = STATISTIC_UNIT_TO_UNIT_CONVERTER[own]
    return converter.convert(1, unit, own) * last_digits


def _row(
    start: float | None, state: float | None, total: float | None, per_unit: float
) -> Row:
    return Row(
        start=int(start or 0),
        state=None if state is None else state * per_unit,
        sum=(total or 0) * per_unit,
    )


def _metadata(statistic: Statistic, unit: str | None) -> StatisticMetaData:
    has_mean = not statistic.has_sum
    return StatisticMetaData(
        mean_type=StatisticMeanType.ARITHMETIC if has_mean else StatisticMeanType.NONE,
        has_sum=statistic.has_sum,
        name=statistic.name,
        source=_RECORDER if statistic.name is None else DOMAIN,
        statistic_id=statistic.statistic_id,
        unit_class=STATISTIC_UNIT_TO_UNIT_CONVERTER[statistic.unit or None].UNIT_CLASS,
        unit_of_measurement=unit,
    )


def _data(row: Row, per_unit: float) -> StatisticData:
    start, state, total = row
    if state is None:
        return {"start": _time(start), "sum": total / per_unit}
    return {"start": _time(start), "state": state / per_unit, "sum": total / per_unit}


def _mean_data(row: Mean, per_unit: float) -> StatisticData:
    start, mean, minimum, maximum = row
    return {
        "start": _time(start),
        "mean": mean / per_unit,
        "min": minimum / per_unit,
        "max": maximum / per_unit,
    }


@lru_cache(maxsize=4096)
def _time(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)
