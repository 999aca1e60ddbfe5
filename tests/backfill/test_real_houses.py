"""What happens in real houses besides: clocks, databases, units, habits."""

from datetime import timedelta
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
from sqlalchemy import delete, update
from sqlalchemy.exc import OperationalError

from custom_components.emu_professional.backfill import automatic, ledger_keeper
from custom_components.emu_professional.backfill.ledger import SEALED
from custom_components.emu_professional.backfill.progress import BackfillState
from custom_components.emu_professional.backfill.recorder import read
from custom_components.emu_professional.backfill.run import Backfill
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.demand_coordinator import DemandCoordinator
from custom_components.emu_professional.diagnostics import (
    async_get_config_entry_diagnostics,
)
from homeassistant.components.recorder.db_schema import (
    Statistics,
    StatisticsMeta,
    StatisticsShortTerm,
)
from homeassistant.config_entries import ConfigEntryState
from homeassistant.exceptions import ConfigEntryNotReady, HomeAssistantError
from homeassistant.helpers.recorder import get_instance, session_scope
from simulator import faults
from simulator.history import ClockSet

from .house import A_POLL, EXACT, EXTERNAL, IMPORT, PERIOD, SENSORS, House, worst
from .lost_jobs import LOST, losing_batch

DAY = 24 * HOUR
T1 = f"{IMPORT}_t1"
POWER = IMPORT.replace("energy_import", "active_power")


async def test_clock_that_nobody_shows(manual: House) -> None:
    """Records show whether it is right; if it is not, nothing is written."""
    meter = manual.server.meter
    await manual.lose_clock()
    with pytest.raises(HomeAssistantError, match="would count in the wrong hours"):
        await manual.fill()
    assert manual.backfill.report is None
    meter.happens(ClockSet(int(manual.now.timestamp()), 0))
    await manual.live(6)
    await manual.fill()
    assert manual.backfill.data.state is BackfillState.COMPLETE


async def test_database_older_than_what_is_noted(house: House) -> None:
    """Rows that are gone or changed are found and repaired, and nothing else is read."""
    await house.load()
    await house.live(15)
    await house.pass_hour()
    begin = int(house.now.timestamp()) // HOUR * HOUR - 2 * DAY
    clear_rows(house, IMPORT, 7)
    with session_scope(hass=house.hass) as session:
        of_t1 = session.query(StatisticsMeta.id).filter_by(statistic_id=T1)
        session.execute(
            update(Statistics)
            .where(
                Statistics.metadata_id == of_t1.scalar_subquery(),
                Statistics.start_ts == begin,
            )
            .values(sum=Statistics.sum + 5),
            execution_options={"synchronize_session": False},
        )
    back = house.now
    assert worst(await house.errors(IMPORT, SENSORS[IMPORT])) > A_POLL
    await house.unload()
    await house.load()
    assert await house.worst_error(until=back - timedelta(hours=1)) < EXACT
    # All is well again: it costs hardly a request.
    await house.unload()
    house.server.requests.clear()
    await house.load()
    assert len(house.asked()) <= 4


def state(house: House) -> BackfillState:
    """Return the state of the back-fill."""
    return house.backfill.data.state


def clear_rows(house: House, statistic_id: str, hours: int) -> None:
    """Delete some rows of two days ago, as the tools of Home Assistant can."""
    begin = int(house.now.timestamp()) // HOUR * HOUR - 2 * DAY
    with session_scope(hass=house.hass) as session:
        found = session.query(StatisticsMeta.id).filter_by(statistic_id=statistic_id)
        session.execute(
            delete(Statistics).where(
                Statistics.metadata_id == found.scalar_subquery(),
                Statistics.start_ts >= begin,
                Statistics.start_ts < begin + hours * HOUR,
            ),
            execution_options={"synchronize_session": False},
        )


async def test_run_that_ends_while_rows_are_sealed(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is settled without a seal: such rows would be trusted for ever."""
    trouble = HomeAssistantError("server closed the connection")
    with patch.object(ledger_keeper, "async_seals", AsyncMock(side_effect=trouble)):
        await house.load()
    assert state(house) is BackfillState.FAILED
    assert not house.backfill.keeper.ledger.settled
    await house.live(12)
    await house.pass_hour()
    ledger = house.backfill.keeper.ledger
    assert state(house) is BackfillState.COMPLETE
    assert ledger.settled.keys() == ledger.seals.keys()
    caplog.clear()


async def test_ledger_without_seals(house: House) -> None:
    """Its rows are sealed as they are, so those that are lost later are found."""
    await house.load()
    await house.live(15)
    ledger = house.backfill.keeper.ledger
    ledger.seals.clear()
    await house.unload()
    long_ago = min(await house.rows(IMPORT)) - 100 * DAY
    with session_scope(hass=house.hass) as session:
        found = session.query(StatisticsMeta.id).filter_by(statistic_id=IMPORT)
        row = Statistics(metadata_id=found.scalar(), start_ts=long_ago, state=1, sum=-9)
        session.add(row)
    await house.load()
    months = house.backfill.keeper.ledger.seals["energy_import"]
    assert long_ago // SEALED in months


async def test_rows_cleared_while_home_assistant_runs(house: House) -> None:
    """A run between two daily checks finds them in the month that it settles."""
    await house.load()
    await house.live(15)
    await house.pass_hour()
    clear_rows(house, IMPORT, 7)
    house.backfill.automatic.schedule.is_due = True
    await house.live(12)
    await house.pass_hour()
    until = house.now - timedelta(hours=1)
    assert await house.worst_error(until=until) < A_POLL


async def test_repair_that_fails_is_tried_again(house: House) -> None:
    """Broken rows that were found are not forgotten when the meter does not answer."""
    await house.load()
    clear_rows(house, IMPORT, 7)
    await house.unload()
    house.server.faults.set(faults.Status(500), path="/data/")
    await house.load()
    assert house.backfill.data.state is BackfillState.FAILED
    house.server.faults.clear()
    await house.live(12)
    await house.pass_hour()
    until = house.now - timedelta(hours=1)
    assert await house.worst_error(until=until) < A_POLL


@pytest.mark.parametrize("unit", [None, "kwh", "m³"])
async def test_unit_that_is_none_of_energy(manual: House, unit: str | None) -> None:
    """That statistic stays as it is, its owner reads it, and all others are filled."""
    set_unit(manual, T1, unit)
    before = await manual.rows(IMPORT)
    with pytest.raises(HomeAssistantError, match=T1):
        await manual.fill()
    assert manual.backfill.data.state is BackfillState.FAILED
    assert len(await manual.rows(IMPORT)) > len(before) + 24
    report = manual.backfill.report
    assert report
    assert report.failed.keys() == {T1}


def set_unit(house: House, statistic_id: str, unit: str | None) -> None:
    """Set the unit of a statistic in the database."""
    with session_scope(hass=house.hass) as session:
        session.execute(
            update(StatisticsMeta)
            .where(StatisticsMeta.statistic_id == statistic_id)
            .values(unit_of_measurement=unit)
        )
    get_instance(house.hass).statistics_meta_manager.reset()


@pytest.mark.parametrize("is_interrupted", [False, True])
async def test_interrupted_set_up(house: House, is_interrupted: bool) -> None:
    """The outage before it is not forgotten: nothing stays flat."""
    power = f"{IMPORT.removesuffix('_energy_import')}_active_power"
    await house.load()
    await house.live(15)
    await house.pass_hour()
    await house.live(4)
    await house.unload()
    off = house.now
    house.move_to(off + timedelta(minutes=20))
    for number in (4, 3, 2, 1):
        await house.compile(house.now - number * PERIOD)
    if is_interrupted:
        trouble = patch.object(
            DemandCoordinator, "async_start", side_effect=ConfigEntryNotReady
        )
        with trouble:
            await house.hass.config_entries.async_setup(house.entry.entry_id)
            await house.settle()
        assert house.entry.state is ConfigEntryState.SETUP_RETRY
        await house.hass.config_entries.async_unload(house.entry.entry_id)
    await house.load()
    await house.live(8)
    await house.pass_hour()
    rows = await house.rows(power, "5minute")
    since = int(off.timestamp())
    means = {rows[at]["mean"] for at in range(since, since + 1200, 300)}
    # The catch-up of the recorder repeats the last value before the outage.
    assert len(means) > 1


async def test_diagnostics_without_a_database(house: House) -> None:
    """All but the units of statistics is there, just when its owner needs it."""
    await house.load()
    trouble = OperationalError("SELECT", {}, Exception("gone"))
    with patch.object(read, "get_instance", side_effect=trouble):
        found = await async_get_config_entry_diagnostics(house.hass, house.entry)
    assert found["backfill"]["state"] == BackfillState.COMPLETE
    assert found["backfill"]["units"] == {}


async def test_ledger_without_seals_and_a_wrong_unit(house: House) -> None:
    """One statistic stops no other, also after the update from version 0.1.0."""
    await house.load()
    await house.live(15)
    await house.pass_hour()
    house.backfill.keeper.ledger.seals.clear()
    await house.unload()
    set_unit(house, f"{EXTERNAL}_reactive_energy_import_t1", "kwh")
    house.move_to(house.now + timedelta(hours=5))
    await house.compile(house.now - PERIOD)
    back = house.now
    await house.load()
    await house.live(15)
    await house.pass_hour()
    assert await house.worst_error(until=back) < A_POLL


async def test_unit_that_its_owner_repairs(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """That statistic is tried once a day, and the logger is not read for it alone."""
    external = f"{EXTERNAL}_reactive_energy_import_t1"
    await house.load()
    await house.live(15)
    # As if it had never been filled.
    house.backfill.keeper.ledger.settled.pop("reactive_energy_import_t1")
    await house.unload()
    set_unit(house, external, "kwh")
    await house.load()
    assert caplog.text.count("statistics were not filled") == 1
    assert not house.backfill.keeper.is_open
    house.server.requests.clear()
    for _ in range(3):
        await house.live(12)
        await house.pass_hour()
    newest = house.server.meter.newest_index
    assert min(house.asked()) > newest - 50
    assert caplog.text.count("statistics were not filled") == 1
    assert state(house) is BackfillState.FAILED
    until = house.now - timedelta(hours=1)
    assert await house.worst_error(until=until) < A_POLL
    set_unit(house, external, "kvarh")
    house.move_to(house.now + timedelta(days=1))
    await house.compile(house.now - PERIOD)
    await house.pass_hour()
    assert state(house) is BackfillState.COMPLETE
    assert not house.backfill.keeper.refused
    errors = await house.errors(external, "reactive_import_t1")
    assert worst({at: e for at, e in errors.items() if at < until.timestamp()}) < EXACT
    caplog.clear()


async def test_page_that_is_not_there_after_a_start(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A meter that had a logger is asked again in the next hour."""
    await house.load()
    await house.live(3)
    await house.unload()
    house.move_to(house.now + timedelta(hours=3))
    await house.compile(house.now - PERIOD)
    house.server.faults.set(faults.Status(404), path="/data/")
    await house.load()
    assert state(house) is BackfillState.FAILED
    house.server.faults.clear()
    await house.live(12)
    await house.pass_hour()
    assert state(house) is BackfillState.COMPLETE
    until = house.now - timedelta(hours=1)
    assert await house.worst_error(until=until) < A_POLL
    caplog.clear()


async def test_records_of_another_meter_every_hour(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """They are not all read again, until the meter has logged one of its own."""
    every = faults.foreign_serial_number("22359999", faults.EVERY_RECORD)
    house.server.faults.set(every, path="/data/")
    await house.load()
    assert house.backfill.foreign_serial_number == "22359999"
    house.server.requests.clear()
    for _ in range(2):
        await house.live(12)
        await house.pass_hour()
    asked = [r for r in house.server.requests if r.path.startswith("/data/")]
    assert len(asked) <= 8
    house.server.faults.clear()
    await house.live(12)
    await house.pass_hour()
    assert state(house) is BackfillState.COMPLETE
    caplog.clear()


async def test_polled_by_an_automation(house: House) -> None:
    """Every poll ends an outage: that is no reason to fill each time."""
    await house.load()
    await house.live(5)
    with patch.object(Backfill, "async_run", AsyncMock()) as run:
        for _ in range(12):
            house.move_to(house.now + PERIOD)
            await house.compile(house.now - PERIOD)
            await house.entry.runtime_data.meter.async_refresh()
            await house.settle()
        assert run.call_count <= 3
    assert len(house.backfill.keeper.ledger.outages) <= 14


async def test_statistic_cleared_beside_observed_ones(manual: House) -> None:
    """Its hours are filled again; those of a measurement have no reason to change."""
    await manual.fill()
    await manual.live(4 + 2 * 12)
    await manual.pass_hour()
    await manual.fill()
    instance = get_instance(manual.hass)
    instance.keep_days = 0
    observed = await manual.rows(POWER)
    instance.async_clear_statistics([f"{EXTERNAL}_reactive_energy_import_t1"])
    await manual.settle()
    report = await manual.fill()
    assert report.statistics[POWER].corrected == 0
    assert await manual.rows(POWER) == observed


async def test_power_cut_long_after_it_was_noted_that_all_is_well(house: House) -> None:
    """What was observed since then stays: the time is saved every 15 minutes only."""
    await house.load()
    await house.live(10)
    observed = await house.rows(POWER, "5minute")
    house.entry.runtime_data.meter._observed -= timedelta(minutes=12, seconds=20)
    await house.unload()
    await house.pass_hour()
    await house.load()
    await house.live(2)
    house.backfill.automatic._every_hour(house.now)
    await house.settle()
    rows = await house.rows(POWER, "5minute")
    assert rows.keys() > observed.keys()
    assert {at: rows[at] for at in observed} == observed


async def test_register_rejected_until_a_restart(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    """The outage of a register begins with its last observation, not at the restart."""
    await house.load()
    await house.live(5)
    observed = house.now.timestamp()
    lower = faults.ReplacedValues({"wpulse_cnt_L123_e": "0.001"})
    house.server.faults.set(lower, path="/meterdata.json")
    house.move_to(house.now + timedelta(seconds=50))
    await house.entry.runtime_data.meter.async_refresh()
    await house.unload()
    house.server.faults.clear()
    house.move_to(house.now + PERIOD)
    with patch.object(Backfill, "async_run", AsyncMock()):
        await house.load()
        outage = house.backfill.keeper.ledger.outages[-1]
        assert outage.since == pytest.approx(observed, abs=10)
    assert "can't be right" in caplog.text
    caplog.clear()


async def test_recorder_that_does_not_catch_up(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task waits for it, not one more each hour, and not for ever."""
    ready = AsyncMock(return_value=False)
    monkeypatch.setattr(automatic, "async_caught_up", ready)
    monkeypatch.setattr(automatic, "_CATCH_UP_LIMIT", -1)
    await house.load()
    assert ready.await_count == 1
    for _ in range(3):
        house.move_to(house.now + timedelta(hours=1))
        await house.pass_hour()
    assert ready.await_count <= 7
    assert not house.backfill.automatic.is_comparing
    assert not house.asked()


async def test_database_that_does_not_answer_yet(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statistics are compared as soon as it does."""
    trouble = HomeAssistantError("server closed the connection")
    ready = AsyncMock(side_effect=[trouble, False, trouble, True])
    monkeypatch.setattr(automatic, "async_caught_up", ready)
    monkeypatch.setattr(automatic, "_CATCH_UP_PAUSE", 0)
    await house.load()
    assert ready.await_count == 4
    assert house.backfill.data.state is BackfillState.COMPLETE


@pytest.mark.parametrize("table", [Statistics, StatisticsShortTerm])
async def test_job_that_the_recorder_loses(manual: House, table: Any) -> None:
    """Its statistic is not called complete, and all others are."""
    with losing_batch(POWER, 0, table), pytest.raises(HomeAssistantError, match=LOST):
        await manual.fill()
    assert manual.backfill.data.state is BackfillState.FAILED
    settled = manual.backfill.keeper.ledger.settled
    assert "active_power" not in settled
    assert "energy_import" in settled
    await manual.fill()
    assert "active_power" in settled
    assert await manual.worst_error() < EXACT
