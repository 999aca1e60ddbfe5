"""The back-fill of a whole meter: simulator, sockets, recorder, config entry."""

import asyncio
from dataclasses import replace
from datetime import timedelta
import time
from typing import Any
from unittest.mock import patch
import weakref

import pytest

from custom_components.emu_professional.backfill import follow_part
from custom_components.emu_professional.backfill.progress import BackfillState
from custom_components.emu_professional.backfill.report import EVERYTHING, Mode
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.const import CONF_AUTOMATIC, DOMAIN
from custom_components.emu_professional.emu import answers
from custom_components.emu_professional.emu.logs import Page
from homeassistant.const import EVENT_HOMEASSISTANT_STARTED
from homeassistant.core import CoreState
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import entity_registry as er, issue_registry as ir
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util
from simulator import faults
from simulator.config import MeterConfig
from simulator.meter import Meter
from tests.conftest import COUNTED, SERIAL_NUMBER

from .house import (
    A_POLL,
    DAYS,
    DEVICE,
    EXACT,
    EXTERNAL,
    IMPORT,
    INSTALLED,
    NOW,
    PERIOD,
    REGISTERS,
    House,
    worst,
)


async def assert_means(
    house: House, statistic_id: str, column: int, per_unit: int
) -> None:
    """See that an hour has the mean and the extremes of its records."""
    at = int(NOW.timestamp()) // HOUR * HOUR - 5 * HOUR
    records = [r for r in house.records() if at < r.at <= at + HOUR]
    assert len(records) == 4
    values = [r.values[column - 5] / per_unit for r in records]
    row = (await house.rows(statistic_id))[at]
    assert row["mean"] == pytest.approx(sum(values) / 4)
    assert (row["min"], row["max"]) == (min(values), max(values))


@pytest.mark.usefixtures("all_statistics")
async def test_history_comes_with_the_meter(house: House) -> None:
    """All that the logger has is there after the meter was added.

    Power and current have the mean and the extremes of their records.
    """
    await house.load()
    assert house.backfill.data.state is BackfillState.COMPLETE
    for statistic_id, register in REGISTERS.items():
        errors = await house.errors(statistic_id, register)
        assert len(errors) == DAYS * 24 - 1
        assert worst(errors) < EXACT, statistic_id
    await assert_means(house, f"{DEVICE}_active_power", 13, 1000)
    await assert_means(house, f"{DEVICE}_current_l2", 19, 1000)
    await assert_means(house, f"{EXTERNAL}_current_n", 21, 1000)
    await house.live(15)
    assert await house.worst_error() < A_POLL


async def test_one_page_in_memory(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records of a page are forgotten before the next ones are requested."""

    class WatchedPage(Page):
        """A page that can be weakly referenced."""

    await house.load()
    pages: list[weakref.ref[Page]] = []
    in_memory: list[int] = []

    def watched(*arguments: Any) -> Page:
        # The thread that made the last one may need a moment to forget it.
        for _ in range(200):
            if not (alive := sum(page() is not None for page in pages)):
                break
            time.sleep(0.005)
        in_memory.append(alive)
        page = WatchedPage(*arguments)
        pages.append(weakref.ref(page))
        return page

    monkeypatch.setattr(answers, "Page", watched)
    await house.fill(mode=Mode.REBUILD)
    assert len(in_memory) > 3
    assert max(in_memory) == 0


@pytest.mark.parametrize("away", [timedelta(hours=3, minutes=15), timedelta(days=2)])
async def test_home_assistant_off(house: House, away: timedelta) -> None:
    """After a restart the hole is filled, without a click."""
    await house.load()
    await house.live(5)
    await house.unload()
    house.move_to(house.now + away)
    back = house.now
    await house.compile(house.now - PERIOD)
    assert await house.worst_error() > 100
    house.server.requests.clear()
    await house.load()
    await house.live(15)
    await house.pass_hour()
    assert await house.worst_error(until=back) < EXACT
    assert min(house.asked()) > DAYS * 96 - 40
    await house.live(15)
    assert await house.worst_error() < A_POLL


async def test_meter_silent_for_hours(house: House) -> None:
    """While Home Assistant runs, a meter that was unreachable is asked for its hours."""
    await house.load()
    await house.live(5)
    observed = await house.rows(f"{DEVICE}_active_power", "5minute")
    house.server.faults.set(faults.ConnectionReset())
    await house.live(28)
    house.server.faults.clear()
    back = house.now
    await house.live(15)
    await house.pass_hour()
    assert await house.worst_error(until=back) < EXACT
    power = await house.rows(f"{DEVICE}_active_power")
    assert set(power) == set(await house.rows(IMPORT))
    # The power chart has no hole, and shows what the hours are made of.
    periods = await house.rows(f"{DEVICE}_active_power", "5minute")
    assert set(periods) == set(range(min(periods), max(periods) + 1, 300))
    assert {start: periods[start] for start in observed} == observed
    for start in range(min(periods) + HOUR, int(back.timestamp()) - HOUR, HOUR):
        means = [
            row["mean"] or 0
            for at, row in periods.items()
            if at // HOUR * HOUR == start
        ]
        assert power[start]["mean"] == pytest.approx(sum(means) / 12)


async def test_outage_in_the_running_hour(house: House) -> None:
    """Its five minutes are filled before it is compiled from them."""
    await house.load()
    await house.live(5)
    house.server.faults.set(faults.ConnectionReset())
    await house.live(4)
    house.server.faults.clear()
    await house.live(1)
    await house.fill()
    sensor = f"{DEVICE}_active_power"
    hour = int(house.now.timestamp()) // HOUR * HOUR
    periods = await house.rows(sensor, "5minute")
    (record,) = (r for r in house.records() if r.at == hour + 900)
    assert hour not in await house.rows(sensor)
    for start in (hour + 300, hour + 600):
        assert periods[start]["mean"] == record.values[8] / 1000
    await house.live(6)
    periods = await house.rows(sensor, "5minute")
    means = [row["mean"] or 0 for start, row in periods.items() if start >= hour]
    assert (await house.rows(sensor))[hour]["mean"] == pytest.approx(sum(means) / 12)


async def test_nothing_is_read_twice(house: House) -> None:
    """What is settled is not asked for again, also after a restart."""
    await house.load()
    await house.unload()
    house.server.requests.clear()
    await house.load()
    assert len(house.asked()) <= 4
    assert min(house.asked()) > DAYS * 96 - 30


async def test_disabled_sensor(house: House) -> None:
    """A sensor that is enabled later gets its whole history then."""
    await house.load()
    registry = er.async_get(house.hass)
    sensor = f"{DEVICE}_voltage_l1"
    assert registry.entities[sensor].disabled
    assert not await house.rows(sensor)
    registry.async_update_entity(sensor, disabled_by=None)
    await house.unload()
    await house.load()
    assert len(await house.rows(sensor)) == DAYS * 24 - 1
    await assert_means(house, sensor, 22, 10)


async def test_excluded_sensor(house: House) -> None:
    """What the owner excludes from the recorder gets no rows, like a disabled one."""
    get_instance(house.hass).entity_filter = lambda entity_id: entity_id != IMPORT
    await house.load()
    assert not await house.rows(IMPORT)
    assert len(await house.rows(f"{IMPORT}_t1")) == DAYS * 24 - 1
    get_instance(house.hass).entity_filter = None
    await house.unload()
    await house.load()
    assert len(await house.rows(IMPORT)) == DAYS * 24 - 1


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
    with pytest.raises(ServiceValidationError, match="being filled already"):
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
    state = house.hass.states.get(f"{DEVICE}_statistics_fill")
    assert state and state.state == "running"
    await house.settle()
    assert len(house.asked()) > 4
    state = house.hass.states.get(f"{DEVICE}_statistics_fill")
    assert state and state.state == "complete"
    state = house.hass.states.get(f"{DEVICE}_statistics_fill_progress")
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


def lost_hours(house: House) -> list[ir.IssueEntry]:
    """Return the issues about hours that nobody knows."""
    issues = ir.async_get(house.hass).issues.values()
    return [issue for issue in issues if issue.translation_key == "lost_hours"]


async def forget(house: House) -> Meter:
    """Let the logger forget an outage of three days; return the meter as it was."""
    await house.load()
    await house.unload()
    complete = house.server.meter
    house.server.meter = Meter(
        MeterConfig(
            serial_number=SERIAL_NUMBER,
            installed=INSTALLED,
            logger=replace(COUNTED, depth=96),
        ),
        house.clock,
    )
    house.move_to(house.now + timedelta(days=3))
    await house.compile(house.now - PERIOD)
    return complete


async def test_logger_that_has_forgotten(house: House) -> None:
    """An issue names the hours that nobody knows, until they are known after all."""
    complete = await forget(house)
    await house.load()
    (issue,) = lost_hours(house)
    assert issue.translation_placeholders == {
        "meter": house.entry.title,
        "since": "2060-06-01 02:40",
        "until": "2060-06-03 02:45",
    }
    assert sum((await house.errors(IMPORT, "active_import")).values()) == (
        pytest.approx(0, abs=EXACT)
    )
    await house.fill()
    assert lost_hours(house) == [issue]
    house.server.meter = complete
    await house.fill()
    assert not lost_hours(house)


async def test_confirmed_lost_hours(house: House) -> None:
    """A confirmed issue is not raised again while its outage can't be settled."""
    await forget(house)
    failing = patch.object(
        follow_part, "async_write_means", side_effect=HomeAssistantError("busy")
    )
    with failing:
        await house.load()
        (issue,) = lost_hours(house)
        ir.async_delete_issue(house.hass, DOMAIN, issue.issue_id)
        for _ in range(2):
            with pytest.raises(HomeAssistantError):
                await house.fill()
            assert not lost_hours(house)
            await house.unload()
            await house.load()
    await house.unload()
    # Meanwhile the logger has forgotten more hours: these are reported.
    house.move_to(house.now + timedelta(days=3))
    await house.compile(house.now - PERIOD)
    await house.load()
    assert lost_hours(house)


async def test_meter_without_logger(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """It is reported once, and not asked again."""
    house.server.meter = Meter(
        MeterConfig(serial_number=SERIAL_NUMBER, installed=INSTALLED, logger=None),
        house.clock,
    )
    await house.load()
    assert house.backfill.data.state is BackfillState.NOT_SUPPORTED
    house.server.requests.clear()
    await house.live(15)
    await house.pass_hour()
    assert not [r for r in house.server.requests if r.path.startswith("/data/")]
    assert caplog.text.count("statistics were not filled") == 1


async def test_clock_that_is_off(house: House) -> None:
    """Hours that would be others' are not written."""
    await house.load()
    ahead = house.now.replace(microsecond=0) + timedelta(seconds=400)
    house.server.meter.override["meterdatetime"] = int(ahead.timestamp())
    await house.entry.runtime_data.meter.async_refresh()
    shown, now = (
        f"{dt_util.as_local(at):%Y-%m-%d %H:%M:%S}" for at in (ahead, house.now)
    )
    with pytest.raises(HomeAssistantError, match=f"shows {shown} while .* {now}"):
        await house.fill()


async def test_trouble_is_reported_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that fails is tried again each hour, with one line until it succeeds."""
    house.server.faults.set(faults.Status(500), path="/data/")
    await house.load()
    for _ in range(2):
        await house.live(12)
        await house.pass_hour()
    assert house.backfill.data.state == "failed"
    assert caplog.text.count("statistics were not filled") == 1
    house.server.faults.clear()
    await house.live(12)
    await house.pass_hour()
    assert house.backfill.data.state == "complete"
    assert await house.worst_error() < A_POLL


async def test_button_tells_of_trouble(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A run begun by the button ends with a line in the log if it fails."""
    await house.load()
    house.server.faults.set(faults.Status(500), path="/data/")
    house.backfill.async_fill_now()
    await house.settle()
    assert "can't be read" in caplog.text


async def test_once_a_day(house: House) -> None:
    """Without any outage sensors are compared once a day, what none shows each hour."""
    await house.load()
    for hours, is_all in ((6, True), (20, False), (5, True)):
        house.move_to(house.now + timedelta(hours=hours))
        house.entry.runtime_data.meter._observed = house.now
        await house.compile(house.now - PERIOD)
        house.server.requests.clear()
        await house.pass_hour()
        assert (house.backfill.automatic.schedule.completed == house.now) is is_all
        assert len(house.asked()) <= (8 if is_all else 4)
        last = f"{EXTERNAL}_reactive_energy_import_t1"
        full = int(house.now.timestamp()) // HOUR * HOUR
        assert max(await house.rows(last)) == full - HOUR


async def test_deleted_statistic(house: House) -> None:
    """Statistics that somebody has deleted come back as a whole."""
    await house.load()
    get_instance(house.hass).async_clear_statistics([IMPORT])
    await house.settle()
    assert not await house.rows(IMPORT)
    await house.unload()
    await house.load()
    assert len(await house.rows(IMPORT)) == DAYS * 24 - 1


async def test_not_while_starting(house: House) -> None:
    """Nothing is written before Home Assistant has started."""
    house.hass.set_state(CoreState.starting)
    await house.load()
    assert not house.asked()
    with pytest.raises(ServiceValidationError, match="still starting"):
        await house.fill()
    house.hass.set_state(CoreState.running)
    house.hass.bus.async_fire(EVENT_HOMEASSISTANT_STARTED)
    await house.settle()
    assert await house.worst_error() < EXACT


async def test_empty_logger(house: House) -> None:
    """A meter that was installed a moment ago has no records."""
    house.server.meter = Meter(
        MeterConfig(serial_number=SERIAL_NUMBER, installed=NOW - timedelta(minutes=2)),
        house.clock,
    )
    await house.load()
    report = await house.fill()
    assert report.records == 0
    assert house.backfill.data.state is BackfillState.COMPLETE


async def test_removal(house: House, hass_storage: dict[str, object]) -> None:
    """Nothing stays of a meter that is deleted but its statistics."""
    await house.load()
    await house.unload()
    assert [key for key in hass_storage if key.startswith(DOMAIN)]
    await house.hass.config_entries.async_remove(house.entry.entry_id)
    assert not [key for key in hass_storage if key.startswith(DOMAIN)]
