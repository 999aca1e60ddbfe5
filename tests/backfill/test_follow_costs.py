"""Costs of what a run writes, in the real recorder."""

from collections.abc import Iterator
from itertools import count
from typing import Any
from unittest.mock import patch

import pytest

from custom_components.emu_professional.backfill.follow_costs import (
    CostFollower,
    Energies,
    EnergyChange,
)
from custom_components.emu_professional.backfill.prices import CostSource, Price
from custom_components.emu_professional.backfill.recorder import Statistic, Stored
from custom_components.emu_professional.backfill.report import CostOutcome, Report
from custom_components.emu_professional.backfill.rows import Plan, Row
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.outages import Outages
from homeassistant.components.recorder.core import Recorder
from homeassistant.exceptions import HomeAssistantError

from .house import NOW, House

HOURS = 300
START = int(NOW.timestamp()) // HOUR * HOUR - HOURS * HOUR
ENERGY = Statistic("sensor.energy", "kWh", 3, has_sum=True)
COST = Statistic("sensor.energy_cost", "CHF", 6, has_sum=True)
STORED = Stored((), None, "kWh", is_newest=True)
PLAN = Plan(rows=tuple(Row(START + n * HOUR, 0, n * 1000.0) for n in range(HOURS)))


def follower(house: House, report: Report, source: CostSource) -> CostFollower:
    """Return what gives hours their costs."""

    async def sources() -> dict[str, list[CostSource]]:
        return {ENERGY.statistic_id: [source]}

    return CostFollower(house.hass, sources, report, dry_run=False)


async def follow(house: House, price: float, cost: Statistic = COST) -> Report:
    """Let costs follow a plan that writes all hours."""
    report = Report()
    follows = follower(house, report, CostSource(cost, Price(price)))
    await follows.async_follow(EnergyChange(ENERGY, STORED, PLAN, (), Outages(())))
    return report


async def begin(house: House) -> None:
    """Give the cost a first row, as if it had begun a day after the energy."""
    source = CostSource(COST, Price(0.2))
    follows = follower(house, Report(), source)
    await follows.async_price(ENERGY, Energies({START + 24 * HOUR: 1000}), source)


async def costs(house: House) -> dict[int, float]:
    """Return what each hour costs."""
    rows = await house.rows(COST.statistic_id)
    return {start: round(row["change"] or 0, 6) for start, row in rows.items()}


async def test_only_since_the_cost_began(house: House) -> None:
    """A cost entity without rows gets none, and what was before its first one stays."""
    house.installed = NOW.replace(year=NOW.year - 1)
    assert (await follow(house, 0.2)).costs == {}
    assert await costs(house) == {}
    await begin(house)
    report = await follow(house, 0.5)
    hours = HOURS - 24
    outcome = CostOutcome("CHF", hours, 0, before=0.2, after=0.5 * hours)
    assert report.costs == {COST.statistic_id: outcome}
    since = range(START + 24 * HOUR, START + HOURS * HOUR, HOUR)
    assert await costs(house) == dict.fromkeys(since, 0.5)


async def test_another_currency(house: House) -> None:
    """The price of today's currency is none of a statistic in another one."""
    house.installed = NOW.replace(year=NOW.year - 1)
    await begin(house)
    before = await costs(house)
    other = Statistic(COST.statistic_id, "EUR", 6, has_sum=True)
    report = await follow(house, 0.5, other)
    outcome = CostOutcome("EUR", hours_without_price=HOURS - 24)
    assert report.costs == {COST.statistic_id: outcome}
    assert not report.failed
    assert await costs(house) == before


def failing_from(number: int) -> Any:
    """Let the recorder not write any more from a batch on."""
    imports = Recorder.async_import_statistics
    batches: Iterator[int] = count()

    def import_statistics(*arguments: Any) -> None:
        if next(batches) < number:
            imports(*arguments)

    return patch.object(Recorder, "async_import_statistics", import_statistics)


async def test_recorder_that_does_not_write(house: House) -> None:
    """Energy must wait for its cost only if that was written in part."""
    house.installed = NOW.replace(year=NOW.year - 1)
    await begin(house)
    before = await costs(house)
    with failing_from(0):
        report = await follow(house, 0.5)
    assert report.failed.keys() == {COST.statistic_id}
    assert report.unpriced == {ENERGY.statistic_id}
    assert await costs(house) == before
    with failing_from(1), pytest.raises(HomeAssistantError, match="not_written"):
        await follow(house, 0.5)
    assert not (await follow(house, 0.5)).failed
    assert set((await costs(house)).values()) == {0.5}
