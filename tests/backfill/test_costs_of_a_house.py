"""Costs in the energy dashboard, by Home Assistant's own cost entities."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from custom_components.emu_professional.backfill.times import HOUR
from homeassistant.components.energy.data import async_get_manager
from homeassistant.core import CoreState
from homeassistant.setup import async_setup_component
from simulator import faults

from .house import DEVICE, IMPORT, PERIOD, House, worst

EXPORT = f"{DEVICE}_energy_export"
PRICE = "sensor.price"
FIXED = 0.31
COMPENSATION = 0.083
COST = {
    f"{IMPORT}_cost": "active_import",
    f"{IMPORT}_t1_cost": "active_import_t1",
    f"{EXPORT}_compensation": "active_export",
}
CHF = 1e-4
OUTAGE = timedelta(hours=14, minutes=40)
"""From noon, when the house exports, into the night."""
SOURCES: list[dict[str, Any]] = [
    {
        "type": "grid",
        "stat_energy_from": IMPORT,
        "stat_cost": None,
        "entity_energy_price": PRICE,
        "number_energy_price": None,
        "stat_energy_to": EXPORT,
        "stat_compensation": None,
        "entity_energy_price_export": None,
        "number_energy_price_export": COMPENSATION,
        "cost_adjustment_day": 0,
    },
    {
        "type": "grid",
        "stat_energy_from": f"{IMPORT}_t1",
        "stat_cost": None,
        "entity_energy_price": None,
        "number_energy_price": FIXED,
        "stat_energy_to": None,
        "stat_compensation": None,
        "entity_energy_price_export": None,
        "number_energy_price_export": None,
        "cost_adjustment_day": 0,
    },
]


def price_at(at: float) -> float:
    """Return a price that changes each hour, and is negative in some."""
    return round(0.05 * (int(at) // HOUR % 7) - 0.07, 2)


class PricedHouse:
    """A house whose energy dashboard prices energy; time passes as it is told."""

    def __init__(self, house: House) -> None:
        """Begin before anything has a price."""
        self.house = house
        self.hass = house.hass
        self.prices: dict[int, float] = {}
        """The mean price of each hour that the recorder has compiled."""
        self.began = 0

    async def begin(self) -> None:
        """Set the energy dashboard up, and live until its first hour is complete."""
        self.hass.config.currency = "CHF"
        assert await async_setup_component(self.hass, "energy", {})
        self._show_price(self.house.now)
        await self.house.load()
        await self.price(SOURCES)
        await self.live(30)
        rows = await self.house.rows(f"{IMPORT}_cost")
        self.began = min(rows)

    async def price(self, sources: list[dict[str, Any]]) -> None:
        """Let the owner configure prices, or none."""
        manager = await async_get_manager(self.hass)
        await manager.async_update({"energy_sources": sources})  # type: ignore[typeddict-item]
        await self.hass.async_block_till_done()

    def full_hour(self) -> int:
        """Return when the running hour began."""
        return int(self.house.now.timestamp()) // HOUR * HOUR

    def _show_price(self, at: datetime) -> None:
        attributes = {"state_class": "measurement", "unit_of_measurement": "CHF/kWh"}
        price = price_at(at.timestamp())
        self.hass.states.async_set(PRICE, str(price), attributes)

    async def live(self, periods: int) -> None:
        """Let Home Assistant run; the price changes with the hour."""
        for _ in range(periods):
            self._show_price(self.house.now)
            self.prices.setdefault(self.full_hour(), price_at(self.full_hour()))
            await self.house.live(1)

    async def off(self, *, killed: bool) -> None:
        """Let Home Assistant be off, and start again.

        What it does first when it is back, is done first here: the recorder catches
        up, and repeats the last states that the database has.
        """
        meter = self.house.entry.runtime_data.meter
        meter.update_interval = None
        meter._unschedule_refresh()
        await self._pass(is_off=True)
        if not killed:
            self.hass.set_state(CoreState.stopping)
        await self.price([])
        self.hass.set_state(CoreState.running)
        await self.house.unload()
        await self.price(SOURCES)
        await self.house.load()

    async def silent(self) -> None:
        """Let the network be down while Home Assistant runs."""
        self.house.server.faults.set(faults.ConnectionReset())
        await self.live(1)
        await self._pass(is_off=False)
        self.house.server.faults.clear()

    async def _pass(self, *, is_off: bool) -> None:
        """Let the time of an outage pass, of which little is compiled."""
        house = self.house
        back = house.now + OUTAGE
        known = self.prices[max(self.prices)]
        while house.now < back:
            start = house.now
            if not is_off:
                self._show_price(start)
                known = price_at(self.full_hour())
            self.prices.setdefault(self.full_hour(), known)
            house.move_to(start + PERIOD)
            if start.minute == 55 or house.now == back:
                await house.compile(start)

    async def costs(self, statistic_id: str) -> dict[int, float]:
        """Return what each hour costs, as the energy dashboard shows it."""
        rows = await self.house.rows(statistic_id)
        return {start: row["change"] or 0 for start, row in rows.items()}

    async def errors(self, statistic_id: str) -> dict[int, float]:
        """Return by how much the cost of each hour is wrong."""
        costs = await self.costs(statistic_id)
        errors = {}
        for start in range(self.began, self.full_hour(), HOUR):
            begin, end = (
                getattr(self.house.server.meter.registers(at), COST[statistic_id])
                for at in (start, start + HOUR)
            )
            price = {
                f"{IMPORT}_cost": self.prices[start],
                f"{IMPORT}_t1_cost": FIXED,
            }.get(statistic_id, COMPENSATION)
            errors[start] = costs.get(start, 0) - price * (end - begin) / 1000
        return errors

    async def worst(self) -> float:
        """Return by how much any hour's cost is wrong at most."""
        errors = [await self.errors(each) for each in COST]
        return max(worst(each) for each in errors)


@pytest.fixture
async def priced(house: House) -> PricedHouse:
    """Return a house with prices, in which something has been used already."""
    priced = PricedHouse(house)
    await priced.begin()
    return priced


OUTAGES = ("network down", "stopped", "killed")


@pytest.mark.parametrize("outage", OUTAGES)
async def test_outage(priced: PricedHouse, outage: str) -> None:
    """After an outage each hour costs price × energy, also that in which it ended."""
    house = priced.house
    if outage == "network down":
        await priced.silent()
    else:
        await priced.off(killed=outage == "killed")
    await priced.live(20)
    await house.pass_hour()
    assert await priced.worst() < CHF
    # Live hours go on.
    await priced.live(13)
    report = await house.fill(dry_run=True)
    assert report == await house.fill()
    assert await priced.worst() < CHF
    again = await house.fill()
    assert again.costs == {}
    for each in COST:
        rows = await house.rows(each)
        assert all(row["last_reset"] for row in rows.values())
