"""Costs in the energy dashboard, by Home Assistant's own cost entities."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
import json
from typing import Any, cast
from unittest.mock import patch

import pytest

from custom_components.emu_professional.backfill.prices import async_cost_sources
from custom_components.emu_professional.backfill.report import EVERYTHING, Mode
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.const import CONF_AUTOMATIC, CONF_COSTS, DOMAIN
from homeassistant.components.energy.data import async_get_manager
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.models import StatisticMetaData
from homeassistant.core import CoreState
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance
from homeassistant.setup import async_setup_component
from simulator import faults

from .house import A_POLL, DEVICE, IMPORT, PERIOD, House, worst

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
OUTAGE = timedelta(hours=14, minutes=45)
"""From before noon, when the house exports, into the night; the price is the same then."""
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
    """A house with priced energy in its dashboard; the test moves its clock."""

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
        await self.live(17)
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

    async def unreachable(self) -> None:
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
                f"{IMPORT}_cost": self.prices.get(start, 0),
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


class Stopped(BaseException):
    """Home Assistant ends."""


@contextmanager
def writes(trouble: Callable[[str], bool]) -> Generator[None]:
    """Let something happen before each write to a statistic, or instead if it says so."""
    imports, adjusts = (
        Recorder.async_import_statistics,
        Recorder.async_adjust_statistics,
    )

    def import_statistics(
        self: Recorder, metadata: StatisticMetaData, *arguments: Any
    ) -> None:
        if not trouble(metadata["statistic_id"]):
            imports(self, metadata, *arguments)

    def adjust_statistics(self: Recorder, statistic_id: str, *arguments: Any) -> None:
        if not trouble(statistic_id):
            adjusts(self, statistic_id, *arguments)

    with (
        patch.object(Recorder, "async_import_statistics", import_statistics),
        patch.object(Recorder, "async_adjust_statistics", adjust_statistics),
    ):
        yield


async def call(priced: PricedHouse, **data: Any) -> dict[str, Any]:
    """Fill costs by the action, and return what became of each statistic."""
    response = await priced.hass.services.async_call(
        DOMAIN,
        "fill_costs",
        {"config_entry_id": priced.house.entry.entry_id, **data},
        blocking=True,
        return_response=True,
    )
    assert response
    assert json.loads(json.dumps(response)) == response
    assert response["dry_run"] is data.get("dry_run", False)
    return cast("dict[str, Any]", response["statistics"])


@pytest.mark.parametrize("outage", ["network down", "stopped", "killed"])
async def test_outage(priced: PricedHouse, outage: str) -> None:
    """After an outage each hour costs price × energy, also that in which it ended."""
    house = priced.house
    if outage == "network down":
        await priced.unreachable()
    else:
        await priced.off(killed=outage == "killed")
    await priced.live(20)
    await house.pass_hour()
    assert await priced.worst() < CHF
    # Live hours continue.
    await priced.live(13)
    report = await house.fill(dry_run=True)
    assert report == await house.fill()
    assert await priced.worst() < CHF
    again = await house.fill()
    assert again.costs == {}
    for each in COST:
        rows = await house.rows(each)
        assert all(row["last_reset"] for row in rows.values())


@pytest.mark.parametrize(("minute", "is_away"), [(0, True), (20, False)])
async def test_price_that_is_away_for_hours(
    priced: PricedHouse, minute: int, is_away: bool
) -> None:
    """What its entity counts once the price is back stays counted, also with an outage."""
    house, hass = priced.house, priced.hass
    cost = f"{EXPORT}_compensation"
    prices = {"entity_energy_price_export": PRICE, "number_energy_price_export": None}
    await priced.price([SOURCES[0] | prices, SOURCES[1]])
    hass.config_entries.async_update_entry(house.entry, options={CONF_AUTOMATIC: False})
    await house.unload()
    await house.load()
    await priced.live((60 + minute - house.now.minute) // 5)
    since = priced.full_hour()
    price = hass.states.get(PRICE)
    assert price
    hass.states.async_set(PRICE, "unavailable")
    if is_away:
        house.server.faults.set(faults.ConnectionReset())
    await house.live(24)
    house.server.faults.clear()
    await house.live(12)
    hass.states.async_set(PRICE, "0.3", price.attributes)
    await house.live(26)
    before = await priced.costs(cost)
    report = await house.fill()
    after = await priced.costs(cost)
    total, now = (
        sum(cost for at, cost in of.items() if at >= since) for of in (before, after)
    )
    assert total > 5
    assert now == pytest.approx(total, rel=0.01)
    # Two or three, with one before and one after them.
    assert 0 < report.costs[cost].hours_without_price <= 5
    assert (await house.fill()).costs == {}


async def test_interrupted_at_each_write(priced: PricedHouse) -> None:
    """After each single write the rows show the next run what is still to do."""
    house = priced.house
    house.hass.config_entries.async_update_entry(
        house.entry, options={CONF_AUTOMATIC: False}
    )
    await house.unload()
    await house.load()
    await priced.unreachable()
    await priced.live(20)
    assert await priced.worst() > 0.5
    # What was noted of the outage helps as well: here the rows must do alone.
    house.backfill.keeper.ledger.outages.clear()
    left = count = 0

    def stop(statistic_id: str) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped
        return False

    with writes(stop):
        while True:
            left, count = 1, count + 1
            try:
                await house.backfill.async_run(EVERYTHING)
            except Stopped:
                await house.settle()
            else:
                break
    assert count > 5
    assert await priced.worst() < CHF


async def test_cost_that_cannot_be_written(priced: PricedHouse) -> None:
    """It stops no energy, and the next run makes up for it."""
    house = priced.house
    cost = f"{IMPORT}_cost"
    with writes(lambda statistic_id: statistic_id == cost):
        await priced.unreachable()
        await priced.live(20)
        with pytest.raises(HomeAssistantError, match="did not write"):
            await house.fill()
    assert await house.worst_error() < A_POLL
    assert worst(await priced.errors(cost)) > 0.1
    others = [await priced.errors(each) for each in COST if each != cost]
    assert max(map(worst, others)) < CHF
    await priced.live(12)
    await house.pass_hour()
    # What the last poll before the energy's fill had not seen is counted twice.
    assert await priced.worst() < CHF + FIXED / 1000


async def test_costs_that_do_not_follow(priced: PricedHouse) -> None:
    """With the option off, and of entities that are not recorded, costs stay."""
    house = priced.house
    registry = er.async_get(house.hass)
    renamed = "sensor.what_it_costs"
    registry.async_update_entity(f"{IMPORT}_cost", new_entity_id=renamed)
    await house.settle()
    get_instance(house.hass).entity_filter = lambda entity_id: (
        "compens" not in entity_id
    )
    house.hass.config_entries.async_update_entry(
        house.entry, options={CONF_COSTS: False}
    )
    await house.unload()
    await house.load()
    await priced.unreachable()
    await priced.live(20)
    await house.pass_hour()
    costs = [await priced.costs(each) for each in COST]
    report = await house.fill(Mode.REBUILD)
    assert report.costs == {}
    assert costs == [await priced.costs(each) for each in COST]
    house.hass.config_entries.async_update_entry(house.entry, options={})
    await house.unload()
    await house.load()
    sources = await async_cost_sources(house.hass)
    found = {
        source.statistic.statistic_id for each in sources.values() for source in each
    }
    assert found == {renamed, f"{IMPORT}_t1_cost"}


async def test_fill_costs(priced: PricedHouse) -> None:
    """The action fills also what was before the cost entities began."""
    house = priced.house
    first = int(house.installed.timestamp()) // HOUR * HOUR + HOUR
    await priced.unreachable()
    await priced.live(2)
    data = {"start": datetime.fromtimestamp(first, UTC).isoformat()}
    dry = await call(priced, dry_run=True, **data)
    before = {each: sum((await priced.costs(each)).values()) for each in COST}
    answer = await call(priced, **data)
    assert answer == dry
    # Of times before its first row nobody knows the price that has an entity.
    began = priced.began
    assert answer[f"{IMPORT}_cost"]["hours_without_price"] == (began - first) // HOUR
    priced.began = first
    for each in (f"{IMPORT}_t1_cost", f"{EXPORT}_compensation"):
        assert worst(await priced.errors(each)) < CHF
        assert answer[each]["hours_without_price"] == 0
        after = sum((await priced.costs(each)).values())
        assert answer[each]["cost_before"] == pytest.approx(before[each], abs=CHF)
        assert answer[each]["cost_after"] == pytest.approx(after, abs=CHF)
        assert answer[each]["unit"] == "CHF"
    # Twice is once, and live hours continue.
    assert {each["hours"] for each in (await call(priced, **data)).values()} == {0}
    await priced.live(22)
    assert min(map(min, [(await priced.costs(each)).values() for each in COST])) > -1
    # A price that was another one then is for costs; a compensation has its own.
    end = datetime.fromtimestamp(began, UTC).isoformat()
    answer = await call(priced, **data, end=end, price=-0.5)
    assert answer.keys() == {f"{IMPORT}_cost", f"{IMPORT}_t1_cost"}
    costs = await priced.costs(f"{IMPORT}_cost")
    energy = await house.rows(IMPORT)
    for start in range(first, began, HOUR):
        change = energy[start]["change"] or 0
        assert costs[start] == pytest.approx(-0.5 * change / 1000, abs=CHF)
    compensation = [f"{EXPORT}_compensation"]
    answer = await call(priced, **data, end=end, price=1, costs=compensation)
    assert [*answer] == compensation
    with pytest.raises(ServiceValidationError, match="is not a cost"):
        await call(priced, costs=[IMPORT])
    await priced.price([])
    with pytest.raises(ServiceValidationError, match="no energy of"):
        await call(priced)


class TestQuarter:
    """A quarter of a year of a house whose energy has prices."""

    @pytest.fixture
    def installed(self) -> datetime:
        """Return a time before the quarter."""
        return datetime(2060, 2, 28, 10, 40, tzinfo=UTC)

    async def test_consumption(self, priced: PricedHouse) -> None:
        """Each month's energy is its registers', its costs are the dashboard's."""
        house = priced.house
        await house.hass.config.async_set_time_zone("Europe/Zurich")
        imported, exported = [f"{IMPORT}_cost", f"{IMPORT}_t1_cost"], [*COST][2:]
        window = {"start": "2060-03-01T00:00:00", "end": "2060-06-01T00:00:00"}
        # What an entity's price was then, nobody has recorded.
        await call(priced, **window, price=0.27, costs=imported[:1])
        await call(priced, **window)
        costs = {each: await priced.costs(each) for each in COST}
        response = await house.hass.services.async_call(
            DOMAIN,
            "get_consumption",
            {"config_entry_id": house.entry.entry_id, **window, "per": "month"},
            blocking=True,
            return_response=True,
        )
        assert response
        months = cast("list[dict[str, Any]]", response["periods"])
        assert [month["source"] for month in months] == ["logger"] * 3
        for month in months:
            at = [datetime.fromisoformat(month[k]) for k in ("start", "end")]
            begin, end = (house.server.meter.registers(each.timestamp()) for each in at)
            for key in ("import", "import_t1", "import_t2", "export"):
                counted = getattr(end, f"active_{key}") - getattr(
                    begin, f"active_{key}"
                )
                assert month[f"energy_{key}"] == counted / 1000
            for key, statistics in (("cost", imported), ("compensation", exported)):
                shown = sum(
                    cost
                    for each in statistics
                    for start, cost in costs[each].items()
                    if at[0].timestamp() <= start < at[1].timestamp()
                )
                assert month[key] == pytest.approx(shown, abs=5e-3)
            cost = 0.27 * month["energy_import"] + FIXED * month["energy_import_t1"]
            assert month["cost"] == pytest.approx(cost, abs=5e-3)
            received = COMPENSATION * month["energy_export"]
            assert month["compensation"] == pytest.approx(received, abs=5e-3)
