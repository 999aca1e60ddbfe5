"""Writes statistics, in batches that leave the recorder time for its own work."""

import asyncio
from collections.abc import Callable, Container, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

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
from ..means import Mean, MeansPlan
from ..rows import EQUAL, Plan, Row
from ..times import HOUR
from .read import Stored, Table, async_is_written, async_stored
from .units import Statistic, last_digits_per, unit_class

_RECORDER: Final = "recorder"

_SMALLEST_BATCH: Final = 24
_LARGEST_BATCH: Final = 500
_BATCH_TIME: Final = 0.1
"""Seconds that a batch should take: the recorder records nothing else meanwhile."""


class _Throttle:
    """Lets one batch at a time pass in the whole house, and adapts its size."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.size = _SMALLEST_BATCH

    def adapt(self, rows: int, seconds: float) -> None:
        """Let the next batch be as large as the recorder is quick."""
        ideal = int(rows * _BATCH_TIME / max(seconds, 1e-3))
        self.size = min(max(ideal, _SMALLEST_BATCH), 2 * self.size, _LARGEST_BATCH)


_THROTTLE: Final[HassKey[_Throttle]] = HassKey(f"{DOMAIN}.recorder_throttle")


async def async_apply_plan(
    hass: HomeAssistant, statistic: Statistic, stored: Stored, plan: Plan
) -> None:
    """Shift and write the rows of a register's statistic, as planned.

    The shift comes first: rows that are compiled in between continue from it.
    Raises HomeAssistantError if the recorder did not write, as on a full disk.
    """
    per_unit = last_digits_per(stored.unit, statistic)
    metadata = _metadata(statistic, stored.unit)
    await _async_adjust(hass, statistic, stored, plan)
    try:
        await _async_write(
            hass,
            metadata,
            plan.rows,
            lambda row: _data(row, per_unit),
            bound=plan.bound,
        )
    except HomeAssistantError:
        await _async_revert_shift(hass, statistic, stored, plan)
        raise
    if statistic.name is None and stored.is_newest and plan.anchor:
        instance = get_instance(hass)
        data = _data(plan.anchor, per_unit)
        instance.async_import_statistics(metadata, [data], StatisticsShortTerm)
        await _async_done(instance)


async def async_write_means(
    hass: HomeAssistant, statistic: Statistic, unit: str | None, plan: MeansPlan
) -> None:
    """Write rows, over those of their time if there are any.

    Raises HomeAssistantError if the recorder did not write, as on a full disk.
    """
    per_unit = last_digits_per(unit, statistic)
    metadata = _metadata(statistic, unit)

    def data_of(mean: Mean) -> StatisticData:
        return _mean_data(mean, per_unit)

    await _async_write(hass, metadata, plan.hours, data_of)
    await _async_write(hass, metadata, plan.periods, data_of, StatisticsShortTerm)


async def _async_adjust(
    hass: HomeAssistant, statistic: Statistic, stored: Stored, plan: Plan, sign: int = 1
) -> None:
    if plan.shift_from is None:
        return
    instance = get_instance(hass)
    shift = sign * plan.shift / last_digits_per(stored.unit, statistic)
    async with _throttle(hass).lock:
        instance.async_adjust_statistics(
            statistic.statistic_id, _time(plan.shift_from), shift, stored.unit or ""
        )
        await _async_done(instance)


async def _async_revert_shift(
    hass: HomeAssistant, statistic: Statistic, stored: Stored, plan: Plan
) -> None:
    """Revert a shift if nothing was written, so that no bar shows it.

    Where something was written, or the recorder doesn't write even this, the next
    run finds the same hours wrong and corrects them.
    """
    newest = max(plan.rows, key=lambda row: row.start)
    now = await async_stored(hass, statistic, newest.start, newest.start + HOUR)
    if not any(_is_like(row, newest) for row in now.rows):
        await _async_adjust(hass, statistic, stored, plan, sign=-1)


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
    table: Table = Statistics,
    bound: Container[int] = (),
) -> None:
    """Write rows, the newest first: people look at them first.

    A row of an hour in `bound` is in one batch, which is written or not, with the
    older one.
    """
    instance = get_instance(hass)
    throttle = _throttle(hass)
    rows = sorted(rows, reverse=True)
    for batch in _batches(throttle, rows, bound):
        async with throttle.lock:
            data = [data_of(row) for row in batch]
            begin = hass.loop.time()
            instance.async_import_statistics(metadata, data, table)
            await _async_done(instance)
            throttle.adapt(len(batch), hass.loop.time() - begin)
        if batch[0] is rows[0] or batch[-1] is rows[-1]:
            await _async_check(hass, metadata, table, data[-1])


def _batches[R: Row | Mean](
    throttle: _Throttle, rows: Sequence[R], bound: Container[int]
) -> Iterator[Sequence[R]]:
    begin = 0
    while begin < len(rows):
        end = begin + throttle.size
        while end < len(rows) and rows[end - 1].start in bound:
            end += 1
        yield rows[begin:end]
        begin = end


async def _async_check(
    hass: HomeAssistant,
    metadata: StatisticMetaData,
    table: Table,
    expected: StatisticData,
) -> None:
    """Make sure that a row was written: the recorder itself only logs a failure."""
    statistic_id = metadata["statistic_id"]
    if not await async_is_written(hass, statistic_id, table, expected):
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="not_written",
            translation_placeholders={"statistic_id": statistic_id},
        )


async def _async_done(instance: Recorder) -> None:
    """Wait until the recorder has done everything that is queued.

    `async_block_till_done` returns while the last task is still under way.
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
