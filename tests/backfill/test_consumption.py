"""What was counted where the logger does not reach, and what it has cost."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from custom_components.emu_professional.const import CONF_AUTOMATIC, DOMAIN
from homeassistant.components.energy.data import async_get_manager
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.statistics import async_import_statistics
from homeassistant.setup import async_setup_component
from simulator.meter import Meter

from .house import DEVICE, IMPORT, INSTALLED, NOW, House
from .test_costs_of_a_house import SOURCES

COST = f"{IMPORT}_cost"
COMPENSATION = f"{DEVICE}_energy_export_compensation"
BORDER = NOW.replace(hour=0, minute=0)

pytestmark = pytest.mark.usefixtures("all_statistics")


async def get(house: House, **data: Any) -> dict[str, Any]:
    """Call the action and return its response."""
    response = await house.hass.services.async_call(
        DOMAIN,
        "get_consumption",
        {"config_entry_id": house.entry.entry_id, **data},
        blocking=True,
        return_response=True,
    )
    assert response
    return response


def energy(house: House, register: str, begin: datetime, end: datetime) -> float:
    """Return what a register has counted, in kWh."""
    meter = house.server.meter
    begin_wh, end_wh = (getattr(meter.registers(at), register) for at in (begin, end))
    return float((end_wh - begin_wh) / 1000)


def not_automatic(house: House) -> None:
    """Let nothing be filled by itself."""
    house.hass.config_entries.async_update_entry(
        house.entry, options={CONF_AUTOMATIC: False}
    )


def without_logger(house: House) -> None:
    """Let the meter have no data logger from now on."""
    config = replace(house.server.meter.config, logger=None)
    house.server.meter = Meter(config, house.clock)


def sums(statistic_id: str, unit: str, unit_class: str | None) -> StatisticMetaData:
    """Return the metadata of a statistic of sums."""
    return StatisticMetaData(
        mean_type=StatisticMeanType.NONE,
        has_sum=True,
        name=None,
        source="recorder",
        statistic_id=statistic_id,
        unit_class=unit_class,
        unit_of_measurement=unit,
    )


async def has_cost(
    house: House,
    statistic_id: str,
    costs: list[float],
    unit: str = "CHF",
    unit_class: str | None = None,
) -> None:
    """Let a statistic have costs of the hours before the last full one."""
    metadata = sums(statistic_id, unit, unit_class)
    first = NOW.replace(minute=0) - timedelta(hours=len(costs))
    rows = [
        StatisticData(
            start=first + timedelta(hours=number),
            state=sum(costs[: number + 1]),
            sum=sum(costs[: number + 1]),
        )
        for number in range(len(costs))
    ]
    async_import_statistics(house.hass, metadata, rows)
    await house.settle()


async def test_statistics_and_costs(house: House) -> None:
    """Where the logger does not reach back, the statistics do; costs are theirs."""
    await house.hass.config.async_set_time_zone("UTC")
    house.hass.config.currency = "CHF"
    await house.load()
    await house.live(1)
    await house.fill()
    config = house.server.meter.config
    assert config.logger
    logger = replace(config.logger, depth=60)
    house.server.meter = Meter(replace(config, logger=logger), house.clock)
    start = INSTALLED.replace(minute=0) + timedelta(hours=2)
    assert await async_setup_component(house.hass, "energy", {})
    manager = await async_get_manager(house.hass)
    await manager.async_update({"energy_sources": SOURCES})  # type: ignore[typeddict-item]
    await house.settle()
    await has_cost(house, COST, [0.25] * 20)
    await has_cost(house, f"{IMPORT}_t1_cost", [1.0] * 20)
    await has_cost(house, COMPENSATION, [-0.125] * 5)
    answer = await get(house, start=start.isoformat(), per="day")
    first, middle, last = answer["periods"]
    assert answer["currency"] == "CHF"
    assert [day["source"] for day in answer["periods"]] == [
        "statistics",
        "statistics",
        "logger",
    ]
    for day in (first, middle):
        begin, end = (datetime.fromisoformat(day[key]) for key in ("start", "end"))
        assert day["start_is_exact"]
        assert day["end_is_exact"]
        assert day["end_logged"] == day["end"]
        for key, register in (
            ("energy_import", "active_import"),
            ("energy_export_t1", "active_export_t1"),
            ("reactive_energy_import_t1", "reactive_import_t1"),
        ):
            assert day[key] == energy(house, register, begin, end)
            at_end = getattr(house.server.meter.registers(end), register) / 1000
            assert day["registers_at_end"][key] == at_end
        assert day["peak_demand"] is None
        assert day["power_failures"] is None
        assert day["hours_without_record"] is None
    assert last["energy_import"] == energy(
        house, "active_import", BORDER, NOW.replace(minute=45)
    )
    # 11 of the 20 hours lie before midnight; two tariffs cost together.
    assert [day["cost"] for day in answer["periods"]] == [None, 11 * 1.25, 9 * 1.25]
    compensations = [day["compensation"] for day in answer["periods"]]
    assert compensations == [None, None, -0.625]


@pytest.mark.usefixtures("recorder_may_warn")
async def test_meter_without_logger(house: House) -> None:
    """The statistics are asked alone; one that is missing or another's stops no other."""
    not_automatic(house)
    await has_cost(house, f"{DEVICE}_energy_export_t2", [0.25] * 9)
    await house.load()
    await house.live(5)
    without_logger(house)
    start = (NOW - timedelta(hours=6)).isoformat()
    (period,) = (await get(house, start=start))["periods"]
    assert period["source"] == "statistics"
    # Home Assistant has observed the meter since the hour that ended at ten.
    assert period["start_is_exact"] is False
    assert period["start_logged"] == period["end_logged"]
    assert period["energy_import"] == 0
    assert period["energy_export_t2"] is None
    assert period["reactive_energy_import"] is None
    long_ago = {"start": "2050-01-01T00:00:00", "end": "2050-01-02T00:00:00"}
    (period,) = (await get(house, **long_ago))["periods"]
    assert period["source"] is None
    assert period["energy_import"] is None


async def test_rows_without_register(house: House) -> None:
    """Rows with a sum only, as an import may leave them, have energies all the same."""
    not_automatic(house)
    without_logger(house)
    await house.load()
    first = NOW.replace(hour=2, minute=0)
    registers: dict[str, list[float | None]] = {
        f"{IMPORT}_t1": [None, 100.5, None, 101.5],
        f"{IMPORT}_t2": [None, None, None, None],
        f"{DEVICE}_energy_export_t1": [7.0, 7.5, None, None],
    }
    for statistic_id, states in registers.items():
        rows = [
            StatisticData(start=first + timedelta(hours=number), sum=number * 0.5)
            for number in range(len(states))
        ]
        for row, state in zip(rows, states, strict=True):
            if state is not None:
                row["state"] = state
        metadata = sums(statistic_id, "kWh", "energy")
        async_import_statistics(house.hass, metadata, rows)
    await house.settle()
    start, end = (first + timedelta(hours=hours) for hours in (-1, 4))
    answer = await get(house, start=start.isoformat(), end=end.isoformat(), per="hour")
    before, *hours = answer["periods"]
    assert before["source"] is None
    # The energy before the first row is unknown.
    energies = [0, 0.5, 0.5, 0.5]
    for statistic_id, states in registers.items():
        key = statistic_id.removeprefix(f"{DEVICE}_")
        assert [hour[key] for hour in hours] == energies
        assert [hour["registers_at_end"][key] for hour in hours] == states
        # The first hour begins with the first known register.
        at_start = [states[0], *states[:-1]]
        assert [hour["registers_at_start"][key] for hour in hours] == at_start
    assert [hour["energy_import"] for hour in hours] == [2 * each for each in energies]


async def test_hours_of_the_owner_and_of_statistics(house: House) -> None:
    """An hour that ends in one of the owner's is a part of it."""
    not_automatic(house)
    without_logger(house)
    await house.load()
    await has_cost(house, f"{IMPORT}_t1", [1, 2, 4, 8], "kWh", "energy")
    await house.hass.config.async_set_time_zone("Asia/Kathmandu")
    day = NOW.date()
    window = {"start": f"{day}T12:00:00", "end": f"{day}T15:00:00"}
    hours = (await get(house, **window, per="hour"))["periods"]
    assert [hour["start"] for hour in hours] == [
        f"{day}T{hour}:00:00+05:45" for hour in (12, 13, 14)
    ]
    assert [hour["energy_import_t1"] for hour in hours] == [2, 4, 8]
    assert [hour["start_is_exact"] for hour in hours] == [False] * 3
    assert hours[0]["start_logged"] == f"{day}T11:45:00+05:45"
