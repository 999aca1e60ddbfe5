"""What the energy dashboard prices, and what the price of an hour is."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from custom_components.emu_professional.backfill.prices import (
    Price,
    async_cost_sources,
    async_prices,
)
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.const import DOMAIN
from homeassistant.components.energy.data import async_get_manager
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.statistics import async_import_statistics
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util

from .house import NOW, House

PRICE = "sensor.price"
START = int(NOW.timestamp()) // HOUR * HOUR - 6 * HOUR


def grid(**keys: Any) -> dict[str, Any]:
    """Return a grid connection of the energy dashboard."""
    names = ("stat_energy_from", "stat_energy_to", "stat_cost", "stat_compensation")
    prices = ("entity_energy_price", "number_energy_price")
    exports = ("entity_energy_price_export", "number_energy_price_export")
    nothing = dict.fromkeys((*names, *prices, *exports))
    return {"type": "grid", "cost_adjustment_day": 0} | nothing | keys


async def configure(house: House, *sources: dict[str, Any]) -> dict[str, Any]:
    """Configure the energy dashboard; return the costs with their prices."""
    manager = await async_get_manager(house.hass)
    await manager.async_update({"energy_sources": list(sources)})  # type: ignore[typeddict-item]
    await house.hass.async_block_till_done()
    return {
        source.statistic.statistic_id: (energy_id, source.price, source.is_compensation)
        for energy_id, found in (await async_cost_sources(house.hass)).items()
        for source in found
    }


async def test_cost_sources(house: House) -> None:
    """Costs are those that the energy dashboard makes itself, by whatever name."""
    assert await async_cost_sources(house.hass) == {}
    house.hass.config.currency = "EUR"
    assert await async_setup_component(house.hass, "energy", {})
    assert await async_cost_sources(house.hass) == {}
    registry = er.async_get(house.hass)
    one, two, three = (
        registry.async_get_or_create(
            "sensor", DOMAIN, name, suggested_object_id=name
        ).entity_id
        for name in ("one", "two", "three")
    )
    both = grid(
        stat_energy_from=one,
        number_energy_price=0.3,
        stat_energy_to=two,
        entity_energy_price_export=PRICE,
    )
    number, entity = Price(0.3), Price(entity_id=PRICE)
    expected = {
        f"{one}_cost": (one, number, False),
        f"{two}_compensation": (two, entity, True),
    }
    assert await configure(house, both) == expected
    # Without a price, with a cost of the owner's own, without an entity, and no grid
    others = (
        grid(stat_energy_from=three, stat_energy_to="sensor.of_nobody"),
        grid(stat_energy_from=three, stat_cost="x:y", number_energy_price=0.3),
        grid(stat_energy_from="sensor.of_nobody", number_energy_price=0.3),
        {"type": "solar", "stat_energy_from": three},
    )
    assert await configure(house, both, *others) == expected
    # The registry keeps the cost entity from before the owner had another statistic.
    own = await configure(house, {**both, "stat_cost": "x:y"})
    assert [*own] == [f"{two}_compensation"]
    assert await configure(house, both) == expected
    again = grid(stat_energy_from=one, number_energy_price=0.9)
    manager = await async_get_manager(house.hass)
    assert manager.data
    manager.data["energy_sources"].append(again)  # type: ignore[arg-type]
    sources = await async_cost_sources(house.hass)
    assert [found.price for found in sources[one]] == [number]
    manager.data["energy_sources"].pop()
    assert {s.statistic.unit for found in sources.values() for s in found} == {"EUR"}
    # One energy may be bought and sold.
    twice = grid(
        stat_energy_from=three,
        number_energy_price=0.1,
        stat_energy_to=three,
        number_energy_price_export=-0.2,
    )
    found = await configure(house, twice)
    assert {suffix.rpartition("_")[2] for suffix in found} == {"cost", "compensation"}
    # Renamed, disabled, excluded
    await configure(house, both)
    renamed = "sensor.what_it_costs"
    registry.async_update_entity(f"{one}_cost", new_entity_id=renamed)
    await house.hass.async_block_till_done()
    assert renamed in await configure(house, both)
    recorder = get_instance(house.hass)
    recorder.entity_filter = lambda entity_id: entity_id != renamed
    assert [*await configure(house, both)] == [f"{two}_compensation"]
    recorder.entity_filter = None
    registry.async_update_entity(renamed, disabled_by=er.RegistryEntryDisabler.USER)
    assert [*await async_cost_sources(house.hass)] == [two]


async def imported(house: House, unit: str, means: dict[int, float]) -> None:
    """Let the price have a statistic."""
    metadata = StatisticMetaData(
        mean_type=StatisticMeanType.ARITHMETIC,
        has_sum=False,
        name=None,
        source="recorder",
        statistic_id=PRICE,
        unit_class=None,
        unit_of_measurement=unit,
    )
    rows = [
        StatisticData(start=dt_util.utc_from_timestamp(at), mean=mean, min=0, max=0)
        for at, mean in means.items()
    ]
    async_import_statistics(house.hass, metadata, rows)
    await house.settle()


@pytest.mark.usefixtures("recorder_may_warn")
async def test_price_of_an_hour(house: House) -> None:
    """It is fixed, the mean of the price's statistic, or that of its states."""
    hours = [START + n * HOUR for n in range(6)]
    assert await async_prices(house.hass, Price(-0.2), hours) == dict.fromkeys(
        hours, -0.2
    )
    assert await async_prices(house.hass, Price(), hours) == {}
    price = Price(entity_id=PRICE)
    assert await async_prices(house.hass, price, []) == {}
    assert await async_prices(house.hass, price, hours) == {}
    await imported(house, "EUR/MWh", {hours[0]: 250, hours[1]: -40})
    means = {hours[0]: 0.25, hours[1]: -0.04}
    assert await async_prices(house.hass, price, hours) == pytest.approx(means)
    # Since the second hour; unknown in most of the third.
    for minutes, state in ((90, "200"), (135, "100"), (150, STATE_UNAVAILABLE)):
        house.move_to(dt_util.utc_from_timestamp(START + minutes * 60))
        unit = {"unit_of_measurement": "EUR/MWh"}
        house.hass.states.async_set(PRICE, state, unit)
        await house.settle()
    means |= {hours[2]: 0.15}
    assert await async_prices(house.hass, price, hours) == pytest.approx(means)
    house.move_to(dt_util.utc_from_timestamp(START + 210 * 60))
    house.hass.states.async_set(PRICE, "0.4", {"unit_of_measurement": "EUR/kWh"})
    await house.settle()
    after = dict.fromkeys(hours[3:], 0.4)
    found = await async_prices(house.hass, price, hours[3:])
    assert found == pytest.approx(after)
    with session_scope(hass=house.hass) as session:
        session.execute(text("ALTER TABLE states RENAME TO gone"))
    with pytest.raises(HomeAssistantError) as caught:
        await async_prices(house.hass, price, hours[3:])
    assert caught.value.translation_key == "database_trouble"
    with session_scope(hass=house.hass) as session:
        session.execute(text("ALTER TABLE gone RENAME TO states"))
    # Purged from the recorder, it is still the price.
    house.move_to(NOW + timedelta(days=30))
    await house.hass.services.async_call(
        "recorder", "purge", {"keep_days": 0}, blocking=True
    )
    await house.settle()
    found = await async_prices(house.hass, price, hours[3:])
    assert found == pytest.approx(after)


@pytest.mark.parametrize(
    ("unit", "per_kwh"),
    [
        *(("CHF/kWh", 2), ("CHF/MWh", 0.002), ("CHF/Wh", 2000), ("ct/kWh", 2)),
        *(("CHF", 2), ("CHF/m³", 2), ("", 2), ("CHF/GJ", 0.0072)),
    ],
)
async def test_units(house: House, unit: str, per_kwh: float) -> None:
    """Units of a price are understood as Home Assistant understands them."""
    house.hass.states.async_set(PRICE, "2", {"unit_of_measurement": unit})
    await house.settle()
    hour = int(NOW.timestamp()) // HOUR * HOUR
    found = await async_prices(house.hass, Price(entity_id=PRICE), [hour])
    assert found == pytest.approx({hour: per_kwh})


async def test_price_entity_that_is_not_there_yet(house: House) -> None:
    """Each state has the price of its own unit, and a state without one the statistic's.

    After a power failure a price from the internet comes later than the meter.
    """
    hours = [START + n * HOUR for n in range(5)]
    price = Price(entity_id=PRICE)
    await imported(house, "EUR/MWh", {hours[0] - HOUR: 90})
    states: tuple[tuple[str, dict[str, str]], ...] = (
        ("85", {"unit_of_measurement": "EUR/MWh"}),
        ("0.07", {"unit_of_measurement": "EUR/kWh"}),
        ("60", {}),
        ("nan", {}),
        ("inf", {}),
    )
    for start, (state, attributes) in zip(hours, states, strict=True):
        house.move_to(dt_util.utc_from_timestamp(start))
        house.hass.states.async_set(PRICE, state, attributes)
        await house.settle()
    house.hass.states.async_remove(PRICE)
    await house.settle()
    found = await async_prices(house.hass, price, hours)
    expected = dict(zip(hours, (0.085, 0.07, 0.06), strict=False))
    assert found == pytest.approx(expected)
