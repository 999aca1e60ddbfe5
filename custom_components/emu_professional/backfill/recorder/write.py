"""Writes statistics, in batches small enough for the recorder's own work."""

import asyncio
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from sqlalchemy.orm import Session

from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.db_schema import Statistics, StatisticsShortTerm
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.tasks import SynchronizeTask
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import get_instance
from homeassistant.util.hass_dict import HassKey

from ...const import DOMAIN
from ...failures import failed
from ..means import Mean, MeansPlan
from ..rows import EQUAL, Plan, Row
from ..times import HOUR
from .query import async_query
from .read import Stored, Table, async_stored, first_sums, is_written
from .units import Statistic, last_digits_per, unit_class

_RECORDER: Final = "recorder"

_SMALLEST_BATCH: Final = 24
_LARGEST_BATCH: Final = 500
_BATCH_TIME: Final = 0.1
"""Seconds for one batch: the recorder records nothing else meanwhile."""


class _Throttle:
    """Lets one batch at a time pass in the whole house, and adapts its size."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.size = _SMALLEST_BATCH

    def adapt(self, rows: int, seconds: float) -> None:
        """Set the size of the next batch by the speed of the last one."""
        ideal = int(rows * _BATCH_TIME / max(seconds, 1e-3))
        self.size = min(max(ideal, _SMALLEST_BATCH), 2 * self.size, _LARGEST_BATCH)


_THROTTLE: Final[HassKey[_Throttle]] = HassKey(f"{DOMAIN}.recorder_throttle")


async def async_apply_plan(
    hass: HomeAssistant, statistic: Statistic, stored: Stored, plan: Plan
) -> None:
    """Shift and write the rows of a register's statistic, as planned.

    The shift comes first: rows compiled in between continue from it. Raises
    HomeAssistantError if the recorder did not write all of it, for instance on a full
    disk, or because it lost its connection to the database for a moment.
    """
    per_unit = last_digits_per(stored.unit, statistic)
    metadata = _metadata(statistic, stored.unit)
    await _async_adjust(hass, statistic, stored, plan)

    def data_of(row: Row) -> StatisticData:
        return _data(row, per_unit)

    hours = _Rows(metadata, Statistics, data_of)
    try:
        await _async_write(hass, hours, plan.rows, plan.bound)
    except HomeAssistantError:
        await _async_revert_shift(hass, statistic, stored, plan)
        raise
    # An external statistic has no short-term rows.
    if statistic.name is None and stored.is_newest and plan.anchor:
        anchor = _Rows(metadata, StatisticsShortTerm, data_of)
        await _async_write(hass, anchor, [plan.anchor])


async def async_write_means(
    hass: HomeAssistant, statistic: Statistic, unit: str | None, plan: MeansPlan
) -> None:
    """Write rows; they replace stored rows with the same start.

    Raises HomeAssistantError as `async_apply_plan` does.
    """
    per_unit = last_digits_per(unit, statistic)
    metadata = _metadata(statistic, unit)

    def data_of(mean: Mean) -> StatisticData:
        return _mean_data(mean, per_unit)

    await _async_write(hass, _Rows(metadata, Statistics, data_of), plan.hours)
    periods = _Rows(metadata, StatisticsShortTerm, data_of)
    await _async_write(hass, periods, plan.periods)


async def _async_adjust(
    hass: HomeAssistant, statistic: Statistic, stored: Stored, plan: Plan, sign: int = 1
) -> None:
    """Shift the sums, and see that they are shifted in both tables."""
    if (since := plan.shift_from) is None:
        return
    instance = get_instance(hass)
    statistic_id = statistic.statistic_id
    shift = sign * plan.shift / last_digits_per(stored.unit, statistic)

    def sums(session: Session) -> dict[Table, tuple[float, float]]:
        return first_sums(session, statistic_id, since)

    async with _throttle(hass).lock:
        before = await async_query(hass, sums)
        instance.async_adjust_statistics(
            statistic_id, _time(since), shift, stored.unit or ""
        )
        await _async_done(instance)

    def is_shifted(session: Session) -> bool:
        now = sums(session)
        return not any(
            # Meanwhile the first row may have been deleted.
            now.get(table, (0, 0))[0] == start
            and abs(now[table][1] - total) < abs(shift) / 2
            for table, (start, total) in before.items()
        )

    await _async_check(hass, statistic_id, is_shifted)


async def _async_revert_shift(
    hass: HomeAssistant, statistic: Statistic, stored: Stored, plan: Plan
) -> None:
    """Revert a shift if nothing was written: a bar would show it.

    If something was written, or even this fails, the next run finds the same hours
    wrong and corrects them.
    """
    newest = max(plan.rows, key=lambda row: row.start)
    since, until = newest.start, newest.start + HOUR
    now = await async_stored(hass, statistic, since, until, None)
    # A shift alone may make the sums equal, so the states are compared as well.
    if not any(_is_like(row, newest) for row in now.rows):
        await _async_adjust(hass, statistic, stored, plan, sign=-1)


def _is_like(row: Row, other: Row) -> bool:
    """Return whether two rows are equal in state and sum."""
    return (
        row.start == other.start
        and abs(row.sum - other.sum) <= EQUAL
        and abs((row.state or 0) - (other.state or 0)) <= EQUAL
    )


@dataclass(frozen=True, slots=True)
class _Rows[R: Row | Mean]:
    """The rows of a statistic in a table; `data_of` returns one for the recorder."""

    metadata: StatisticMetaData
    table: Table
    data_of: Callable[[R], StatisticData]


async def _async_write[R: Row | Mean](
    hass: HomeAssistant,
    stored: _Rows[R],
    rows: Sequence[R],
    bound: Container[int] = (),
) -> None:
    """Write rows, the newest first: people look at them first.

    The row of an hour in `bound` is in one batch with the older row. A batch is written
    as a whole, or not at all, so none of these hours has a wrong change in between.
    """
    instance = get_instance(hass)
    throttle = _throttle(hass)
    statistic_id = stored.metadata["statistic_id"]
    rows = sorted(rows, reverse=True)
    # The recorder writes a batch as a whole, or not at all: one row of each tells.
    unseen: list[StatisticData] = []

    def is_done(session: Session) -> bool:
        return is_written(session, statistic_id, stored.table, unseen)

    for number, batch in enumerate(_batches(throttle, rows, bound)):
        async with throttle.lock:
            data = [stored.data_of(row) for row in batch]
            begin = hass.loop.time()
            instance.async_import_statistics(stored.metadata, data, stored.table)
            await _async_done(instance)
            throttle.adapt(len(batch), hass.loop.time() - begin)
        unseen.append(data[-1])
        # Without the newest rows, older ones would make a wrong change.
        if number == 0:
            await _async_check(hass, statistic_id, is_done)
            unseen.clear()
    if unseen:
        await _async_check(hass, statistic_id, is_done)


def _batches[R: Row | Mean](
    throttle: _Throttle, rows: Sequence[R], bound: Container[int]
) -> Iterator[Sequence[R]]:
    begin = 0
    while begin < len(rows):
        end = begin + throttle.size
        # The rows are in descending order: the next one is the older row.
        while end < len(rows) and rows[end - 1].start in bound:
            end += 1
        yield rows[begin:end]
        begin = end


async def _async_check(
    hass: HomeAssistant, statistic_id: str, is_done: Callable[[Session], bool]
) -> None:
    """Raise HomeAssistantError if something was not written: the recorder only logs it."""
    if await async_query(hass, is_done):
        return
    # A job that the recorder repeats is at the end of its queue now.
    await _async_done(get_instance(hass))
    if not await async_query(hass, is_done):
        raise failed("not_written", statistic_id=statistic_id)


async def _async_done(instance: Recorder) -> None:
    """Wait for all tasks in the queue of the recorder.

    `async_block_till_done` returns before the last task has ended.
    """
    done = instance.hass.loop.create_future()
    instance.queue_task(SynchronizeTask(done))
    await done


def _throttle(hass: HomeAssistant) -> _Throttle:
    return hass.data.setdefault(_THROTTLE, _Throttle())


def _metadata(statistic: Statistic, unit: str | None) -> StatisticMetaData:
    has_mean = not statistic.has_sum
    return StatisticMetaData(
        mean_type=StatisticMeanType.ARITHMETIC if has_mean else StatisticMeanType.NONE,
        has_sum=statistic.has_sum,
        name=statistic.name,
        source=_RECORDER if statistic.name is None else DOMAIN,
        statistic_id=statistic.statistic_id,
        unit_class=unit_class(statistic),
        unit_of_measurement=unit,
    )


def _data(row: Row, per_unit: float) -> StatisticData:
    start, state, total, last_reset = row
    data: StatisticData = {"start": _time(start), "sum": total / per_unit}
    if state is not None:
        data["state"] = state / per_unit
    if last_reset is not None:
        data["last_reset"] = datetime.fromtimestamp(last_reset, UTC)
    return data


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
