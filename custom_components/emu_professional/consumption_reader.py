"""Reads the consumption of periods: from the data logger, else from the statistics.

The logger knows registers to the Wh, but only as far back as it reaches. The sensors'
statistics reach further and know full hours only. Each period has the source with the
registers closest to its begin.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util

from .backfill.logger_reader import LoggerReader
from .backfill.meter_clock import latest_stamp
from .backfill.prices import async_cost_sources
from .backfill.recorder import (
    Statistic,
    Total,
    UnitNotConvertible,
    async_totals,
    last_digits_per,
)
from .backfill.times import HOUR
from .config_entry import EmuConfigEntry
from .consumption import (
    Consumption,
    Known,
    LoggedConsumption,
    Registers,
    RegisterSource,
    known_since,
    reaches_back,
)
from .emu.errors import MeterWithoutLogger
from .emu.registers import Direction
from .emu.request_queue import Priority

_MARGIN: Final = 2 * HOUR
"""Seconds read around the periods: neighbours show which records are damaged."""
_BEFORE: Final = 2
"""Records read before that: the last known register may be older after an outage."""


@dataclass(slots=True)
class ConsumptionReport:
    """Consumption and costs of successive periods."""

    periods: list[Consumption]
    rejected: Counter[str] = field(default_factory=Counter)
    """Numbers of rejected lines and records of the logger, by reason."""
    costs: Mapping[Direction, list[float | None]] = field(default_factory=dict)
    """Cost of import and compensation of export of each period, in Home Assistant's
    currency; a direction without a price in the energy dashboard is missing."""


async def async_read(
    hass: HomeAssistant, entry: EmuConfigEntry, borders: Sequence[int]
) -> ConsumptionReport:
    """Return the consumption of the periods between borders.

    `borders` are ascending, in seconds since 1970-01-01 UTC. Raises the errors of the
    meter's client, and HomeAssistantError if the database does not answer.
    """
    has_recorder = "recorder" in hass.config.components
    try:
        report = await _async_read_logger(hass, entry, borders)
    except MeterWithoutLogger:
        if not has_recorder:
            raise
        report = ConsumptionReport(
            [Consumption(*period) for period in pairwise(borders)]
        )
    if not has_recorder:
        return report
    statistics = entry.runtime_data.backfill.register_statistics()
    if not all(map(reaches_back, report.periods)):
        counted = await _async_read_statistics(hass, statistics, borders)
        report.periods = list(map(_better, report.periods, counted))
    report.costs = await _async_costs(hass, statistics, borders)
    return report


def _better(logged: Consumption, counted: Consumption) -> Consumption:
    """Return the source that reaches further back; at equal reach, the logger's."""
    since = max(known_since(counted), counted.begin)
    return counted if since < known_since(logged) else logged


async def _async_read_logger(
    hass: HomeAssistant, entry: EmuConfigEntry, borders: Sequence[int]
) -> ConsumptionReport:
    meter = entry.runtime_data.meter
    reader = LoggerReader(meter.client, Priority.ACTION)
    offset = meter.data.clock_offset
    now = int((dt_util.utcnow() + (offset or timedelta())).timestamp())
    logged = LoggedConsumption(
        borders,
        meter.serial_number,
        latest_stamp(offset),
        dt_util.get_default_time_zone(),
    )
    rejected: Counter[str] = Counter()
    newest = await reader.newest()
    if newest is not None:
        first = await reader.first_after(borders[0] - _MARGIN, newest)
        async for page in reader.pages(
            max(first - _BEFORE, 0), newest.index, borders[-1] + _MARGIN
        ):
            rejected.update(line.reason for line in page.rejected)
            await hass.async_add_executor_job(logged.feed, page.records)
    logged.close()
    rejected += logged.filter.rejected
    return ConsumptionReport(list(logged.periods(now)), rejected)


async def _async_read_statistics(
    hass: HomeAssistant, statistics: Mapping[str, Statistic], borders: Sequence[int]
) -> list[Consumption]:
    """Return the periods from the statistics of the registers, in last digits."""
    ids = [statistic.statistic_id for statistic in statistics.values()]
    found = await async_totals(hass, ids, borders)
    known: list[dict[str, Known]] = [{} for _ in borders]
    first: dict[str, Known] = {}
    for key, statistic in statistics.items():
        if (of_statistic := found.get(statistic.statistic_id)) is None:
            continue
        try:
            per_unit = last_digits_per(of_statistic.unit, statistic)
        except UnitNotConvertible:
            # Left by an older sensor with this entity ID, in a unit of another kind.
            continue
        for registers, total in zip(
            (*known, first), (*of_statistic.totals, of_statistic.first), strict=True
        ):
            if total is not None:
                # A row that was imported may have a sum only, enough for an energy.
                state = None if total.state is None else total.state * per_unit
                registers[key] = Known(total.at, state, total.sum * per_unit)
    return [
        _counted(*ends, at_begin, at_end, first)
        for ends, (at_begin, at_end) in zip(
            pairwise(borders), pairwise(known), strict=True
        )
    ]


def _counted(
    begin: int, end: int, at_begin: Registers, at_end: Registers, first: Registers
) -> Consumption:
    """Return a period; a statistic that begins in it counts from its first row."""
    if not any(known.at > begin for known in at_end.values()):
        return Consumption(begin, end)
    at_begin = {
        key: known for key in at_end if (known := at_begin.get(key) or first.get(key))
    }
    return Consumption(begin, end, RegisterSource.STATISTICS, at_begin, at_end)


async def _async_costs(
    hass: HomeAssistant, statistics: Mapping[str, Statistic], borders: Sequence[int]
) -> dict[Direction, list[float | None]]:
    """Return the cost of import and the compensation of export of each period."""
    priced = await async_cost_sources(hass)
    ids: dict[Direction, list[str]] = {direction: [] for direction in Direction}
    for statistic in statistics.values():
        for source in priced.get(statistic.statistic_id, ()):
            direction = Direction.EXPORT if source.is_compensation else Direction.IMPORT
            ids[direction].append(source.statistic.statistic_id)
    found = await async_totals(
        hass, [i for each in ids.values() for i in each], borders
    )
    return {
        direction: [
            _cost(
                begin,
                [found[i].totals[number : number + 2] for i in each if i in found],
            )
            for number, begin in enumerate(borders[:-1])
        ]
        for direction, each in ids.items()
        if each
    }


def _cost(begin: int, totals: list[list[Total | None]]) -> float | None:
    """Return the sum of the costs of a period, or None if no statistic has any."""
    counted = [
        after.sum - (before.sum if before else 0)
        for before, after in totals
        if after is not None and after.at > begin
    ]
    return sum(counted) if counted else None
