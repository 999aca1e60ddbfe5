"""The back-fill of a whole meter: simulator, sockets, recorder, config entry."""

import asyncio
from datetime import timedelta

import pytest

from custom_components.emu_professional.backfill.coordinator import (
    EVERYTHING,
    BackfillState,
)
from custom_components.emu_professional.backfill.hours import HOUR
from custom_components.emu_professional.backfill.job import Mode
from custom_components.emu_professional.const import CONF_AUTOMATIC
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import entity_registry as er
from simulator import faults
from tests.conftest import SERIAL_NUMBER

from .house import (
    A_POLL,
    DEVICE,
    EXACT,
    EXTERNAL,
    IMPORT,
    NOW,
    PERIOD,
    REGISTERS,
    House,
    worst,
)


async def test_history_comes_with_the_meter(house: House) -> None:
    """All that the logger has is there after the meter was added."""
    await house.load()
    assert house.backfill.data.state is BackfillState.COMPLETE
    for statistic_id, register in REGISTERS.items():
        errors = await house.errors(statistic_id, register)
        assert len(errors) == 5 * 24 - 1
        assert worst(errors) < EXACT, statistic_id
    await house.live(15)
    assert await house.worst_error() < A_POLL


async def test_means_come_with_the_meter(house: House) -> None:
    """Power, current and voltage have the mean and the extremes of their records."""
    await house.load()
    at = int(NOW.timestamp()) // HOUR * HOUR - 5 * HOUR
    records = [r for r in house.records() if at < r.at <= at + HOUR]
    assert len(records) == 4
    for statistic_id, column, per_unit in (
        (f"{DEVICE}_active_power", 13, 1000),
        (f"{DEVICE}_current_l2", 19, 1000),
        (f"{DEVICE}_voltage_l1", 22, 10),
        (f"{EXTERNAL}_current_n", 21, 1000),
    ):
        values = [r.values[column - 5] / per_unit for r in records]
        row = (await house.rows(statistic_id))[at]
        assert row["mean"] == pytest.approx(sum(values) / 4)
        assert (row["min"], row["max"]) == (min(values), max(values))


@pytest.mark.parametrize("away", [timedelta(hours=3, minutes=15), timedelta(days=2)])
async def test_home_assistant_off(house: House, away: timedelta) -> None:
    """After a restart the hole is filled, without a click."""
    await house.load()
    await house.live(5)
    await house.unload()
    house.move_to(house.now + away)
    await house.compile(house.now - PERIOD)
    assert await house.worst_error() > 100
    house.server.requests.clear()
    await house.load()
    await house.live(15)
    await house.pass_hour()
    assert await house.worst_error() < EXACT
    assert min(house.asked()) > 5 * 96 - 40
    await house.live(15)
    assert await house.worst_error() < A_POLL


async def test_meter_silent_for_hours(house: House) -> None:
    """While Home Assistant runs, a meter that was silent is asked for its hours."""
    await house.load()
    await house.live(5)
    house.server.faults.set(faults.ConnectionReset())
    await house.live(28)
    house.server.faults.clear()
    await house.live(15)
    await house.pass_hour()
    assert await house.worst_error() < EXACT
    power = await house.rows(f"{DEVICE}_active_power")
    assert set(power) == set(await house.rows(IMPORT))


async def test_nothing_is_read_twice(house: House) -> None:
    """What is settled is not asked for again, also after a restart."""
    await house.load()
    await house.unload()
    house.server.requests.clear()
    await house.load()
    assert len(house.asked()) <= 4
    assert min(house.asked()) > 5 * 96 - 30


async def test_disabled_sensor(house: House) -> None:
    """A sensor that is enabled later gets its whole history then."""
    await house.load()
    registry = er.async_get(house.hass)
    sensor = f"{DEVICE}_frequency"
    assert registry.entities[sensor].disabled
    assert not await house.rows(sensor)
    registry.async_update_entity(sensor, disabled_by=None)
    await house.unload()
    await house.load()
    assert len(await house.rows(sensor)) == 5 * 24 - 1


async def test_renamed_sensor(house: House) -> None:
    """History follows a sensor to its new name."""
    await house.load()
    registry = er.async_get(house.hass)
    registry.async_update_entity(IMPORT, new_entity_id="sensor.mine")
    await house.settle()
    await house.unload()
    house.move_to(house.now + timedelta(hours=2))
    await house.compile(house.now - PERIOD)
    await house.load()
    assert worst(await house.errors("sensor.mine", "active_import")) < 10
    assert not await house.rows(IMPORT)


async def test_dry_run_and_rebuild(house: House) -> None:
    """A dry run says what a run does, and does nothing."""
    await house.load()
    await house.live(40)
    before = await house.rows(IMPORT)
    await house.settle()
    dry = await house.fill(Mode.REBUILD, dry_run=True)
    assert await house.rows(IMPORT) == before
    report = await house.fill(Mode.REBUILD)
    assert report == dry
    assert worst(await house.errors(IMPORT, "active_import")) < EXACT
    again = await house.fill(Mode.REBUILD)
    for outcome in again.statistics.values():
        assert (outcome.written, outcome.corrected, outcome.moved) == (0, 0, 0)
        assert outcome.left == outcome.read


async def test_one_run_at_a_time(house: House) -> None:
    """A second run is refused, with the reason."""
    await house.load()
    task = house.hass.async_create_task(house.fill())
    await asyncio.sleep(0)
    with pytest.raises(ServiceValidationError, match="under way"):
        await house.backfill.async_run(EVERYTHING)
    await task


async def test_button(house: House) -> None:
    """The button begins a run, the sensors show it."""
    await house.load()
    house.server.requests.clear()
    await house.hass.services.async_call(
        "button",
        "press",
        {
            "entity_id": f"button.emu_professional_ii_{SERIAL_NUMBER}_fill_statistics_now"
        },
        blocking=True,
    )
    state = house.hass.states.get(f"{DEVICE}_statistics_back_fill")
    assert state and state.state == "running"
    await house.settle()
    assert len(house.asked()) > 4
    state = house.hass.states.get(f"{DEVICE}_statistics_back_fill")
    assert state and state.state == "complete"
    state = house.hass.states.get(f"{DEVICE}_statistics_back_fill_progress")
    assert state and state.state == "100"


async def test_switched_off(house: House) -> None:
    """With the option off, nothing is read by itself."""
    house.hass.config_entries.async_update_entry(
        house.entry, options={CONF_AUTOMATIC: False}
    )
    await house.load()
    await house.live(3)
    await house.pass_hour()
    assert not house.asked()
    assert not await house.rows(IMPORT)
    await house.fill()
    assert worst(await house.errors(IMPORT, "active_import")) < 10
