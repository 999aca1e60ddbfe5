"""The action that fills statistics."""

import asyncio
from datetime import UTC, datetime, timedelta
import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from custom_components.emu_professional.backfill.means import Mean, MeansPlan
from custom_components.emu_professional.backfill.recorder import (
    Statistic,
    async_write_means,
)
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.const import CONF_AUTOMATIC, DOMAIN
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from simulator import faults
from simulator.history import PowerFailure
from tests.conftest import SERIAL_NUMBER

from .house import DAYS, DEVICE, EXACT, EXTERNAL, IMPORT, INSTALLED, NOW, House, worst

# The tests' Home Assistant lives there.
ZONE = ZoneInfo("US/Pacific")
BACKFILL = "backfill_statistics"
HOURS = DAYS * 24 - 1
"""That the logger knows from one border to the other."""

type Answer = dict[str, Any]


@pytest.fixture
async def manual(house: House) -> House:
    """Return a house in which nothing is filled by itself."""
    house.hass.config_entries.async_update_entry(
        house.entry, options={CONF_AUTOMATIC: False}
    )
    await house.load()
    return house


async def call(house: House, action: str = BACKFILL, **data: Any) -> Answer:
    """Call an action and return its response."""
    response = await house.hass.services.async_call(
        DOMAIN,
        action,
        {"config_entry_id": house.entry.entry_id, **data},
        blocking=True,
        return_response=True,
    )
    answer: Answer = json.loads(json.dumps(response))
    assert answer == response
    return answer


def local(stamp: int) -> str:
    """Return a time as it is read in the house."""
    return datetime.fromtimestamp(stamp, UTC).astimezone(ZONE).isoformat()


def whole_hour(at: datetime) -> int:
    """Return the hour in which a time is."""
    return int(at.timestamp()) // HOUR * HOUR


async def test_everything(manual: House) -> None:
    """Without a window all that the logger has is filled, and the response says so."""
    outage = NOW - timedelta(days=1, minutes=7)
    meter = manual.server.meter
    meter.happens(PowerFailure(outage, outage + timedelta(minutes=5)))
    manual.server.faults.set(faults.BrokenLine(20, 100), path="/data/")
    answer = await call(manual)
    statistics = answer.pop("statistics")
    records = meter.records()
    assert answer == {
        "records_read": len(records) - 1,
        "records_refused": {"20 columns instead of 28": 1},
        "first_record": local(records[0].stamp),
        "last_record": local(records[-1].stamp),
        "status": ["power_failure"],
        "dry_run": False,
        "mode": "fill",
    }
    energy, current = statistics[IMPORT], statistics[f"{EXTERNAL}_current_n"]
    first, last = (
        meter.registers(at).active_import
        for at in (whole_hour(INSTALLED) + HOUR, whole_hour(NOW))
    )
    assert energy.pop("energy_moved") == (last - first) / 1000
    assert energy == {
        "hours_read": HOURS,
        "hours_written": HOURS,
        "hours_corrected": 0,
        "hours_left": 0,
        "unit": "kWh",
    }
    assert current == energy | {"unit": "A", "periods_written": 0}
    assert worst(await manual.errors(IMPORT, "active_import")) < EXACT


async def test_diagnostics(manual: House) -> None:
    """They say what the last run did, and name statistics without the serial number."""
    manual.server.faults.set(faults.BrokenLine(20, 100), path="/data/")
    await call(manual, start="2060-05-30 08:20:00", end="2060-05-30 13:05:00")
    diagnostics = await manual.backfill.async_diagnostics()
    assert json.loads(json.dumps(diagnostics)) == diagnostics
    assert diagnostics["units"]["energy_import"] == "kWh"
    assert diagnostics["units"]["current_n"] == "A"
    report = diagnostics["report"]
    assert report["records"]
    assert report["until"] == "2060-05-30T21:00:00+00:00"
    assert report["statistics"]["energy_import"]["written"] == 6
    assert diagnostics["outages"] == [
        ["2060-06-01T09:00:00+00:00", "2060-06-01T09:40:00+00:00"]
    ]
    assert SERIAL_NUMBER not in json.dumps(diagnostics)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2060-05-30 08:20:00", "2060-05-30 13:05:00"),
        ("2060-05-30T15:00:00Z", "2060-05-30T23:00:00+02:00"),
    ],
)
async def test_window(manual: House, start: str, end: str) -> None:
    """Whole hours from that of the start to that of the end are filled, no others."""
    answer = await call(manual, start=start, end=end)
    rows = await manual.rows(IMPORT)
    first = int(datetime(2060, 5, 30, 8, tzinfo=ZONE).timestamp())
    assert sorted(rows) == list(range(first, first + 6 * HOUR, HOUR))
    assert answer["statistics"][IMPORT]["hours_written"] == 6


async def test_times_from_outside(manual: House) -> None:
    """Times that no clock can show are before or after everything."""
    for zone in ("", "+00:00", "+14:00", "-14:00"):
        answer = await call(
            manual,
            start=f"0001-01-01 00:00:00{zone}",
            end=f"9999-12-31 23:59:59{zone}",
            dry_run=True,
        )
        assert answer["statistics"][IMPORT]["hours_written"] == HOURS
    for field in ({"end": "0001-01-01 00:00:00"}, {"start": "9999-12-31 23:59:59"}):
        answer = await call(manual, **field, dry_run=True)
        assert not answer["statistics"]


async def test_dry_run(manual: House) -> None:
    """A dry run says what a run does, and does nothing."""
    dry = await call(manual, dry_run=True)
    assert not await manual.rows(IMPORT)
    assert dry["dry_run"]
    assert await call(manual) == dry | {"dry_run": False}


async def test_rebuild(manual: House) -> None:
    """With "rebuild" every hour follows the logger, also one that looks right."""
    await call(manual)
    power = f"{DEVICE}_active_power"
    before = await manual.rows(power)
    start = whole_hour(NOW) - 5 * HOUR
    await async_write_means(
        manual.hass,
        Statistic(power, "kW", 3, has_sum=False),
        "kW",
        MeansPlan(hours=(Mean(start, 1, 1, 1),)),
    )
    assert (await call(manual))["statistics"][power]["hours_corrected"] == 0
    answer = await call(manual, mode="rebuild")
    assert answer["mode"] == "rebuild"
    assert answer["statistics"][power]["hours_corrected"] == 1
    assert await manual.rows(power) == before


async def test_no_response_is_needed(manual: House) -> None:
    """An automation needn't ask what was done."""
    data = {"config_entry_id": manual.entry.entry_id}
    await manual.hass.services.async_call(DOMAIN, BACKFILL, data, blocking=True)
    assert await manual.rows(IMPORT)


async def stuck(house: House) -> tuple[asyncio.Task[Answer], faults.Silent]:
    """Begin a back-fill that gets stuck at its second page."""
    silent = faults.Silent()
    house.server.requests.clear()
    task = house.hass.async_create_task(call(house))
    while not house.asked():
        await house.server.received(len(house.server.requests) + 1)
    house.server.faults.set(silent, path="/data/")
    await house.server.received(len(house.server.requests) + 1)
    return task, silent


async def test_one_run_at_a_time(manual: House) -> None:
    """A second run is refused; records can be read meanwhile."""
    task, silent = await stuck(manual)
    with pytest.raises(ServiceValidationError, match="being filled already"):
        await call(manual)
    read = manual.hass.async_create_task(call(manual, "get_data_logger"))
    silent.release()
    assert len((await read)["records"]) == len(manual.server.meter.records())
    answer = await task
    assert answer["statistics"][IMPORT]["hours_written"] == HOURS


async def test_interrupted(manual: House) -> None:
    """Unloading the meter ends a run, which says so; the next one continues."""
    task, _ = await stuck(manual)
    await manual.unload()
    with pytest.raises(HomeAssistantError) as caught:
        await task
    assert caught.value.translation_key == "interrupted"
    manual.server.faults.clear()
    await manual.load()
    await call(manual)
    assert worst(await manual.errors(IMPORT, "active_import")) < EXACT


async def test_meter_that_does_not_answer(manual: House) -> None:
    """The owner reads why."""
    manual.server.faults.set(faults.ConnectionReset(), path="/data/")
    with pytest.raises(HomeAssistantError) as caught:
        await call(manual)
    assert caught.value.translation_key == "unreachable"
