"""What comes of bad input, and of what happens in the middle of a run."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from sqlalchemy import text

from custom_components.emu_professional.backfill import coordinator, run
from custom_components.emu_professional.backfill.coordinator import BackfillState
from custom_components.emu_professional.backfill.report import EVERYTHING
from custom_components.emu_professional.backfill.targets import TARGETS
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.const import CONF_AUTOMATIC
from homeassistant.components.recorder.statistics import StatisticsRow
from homeassistant.core import callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import session_scope
from simulator import faults

from .house import A_POLL, EXACT, SENSORS, House, worst

DAY = 24 * HOUR
MIDDLE = 5 * 96 // 2


@pytest.fixture(autouse=True)
def small_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few days have several parts, and fill only what counts."""
    monkeypatch.setattr(run, "_FIRST_PART", DAY)
    monkeypatch.setattr(run, "_PART", 2 * DAY)
    energy = [target for target in TARGETS if target.key.startswith("energy")]
    monkeypatch.setattr(coordinator, "TARGETS", energy)


@pytest.fixture
async def manual(house: House) -> House:
    """Return a house in which nothing is filled by itself."""
    house.hass.config_entries.async_update_entry(
        house.entry, options={CONF_AUTOMATIC: False}
    )
    await house.load()
    await house.live(5)
    return house


async def all_rows(house: House) -> dict[str, dict[int, StatisticsRow]]:
    """Return the rows of all registers."""
    return {sensor: await house.rows(sensor) for sensor in SENSORS}


async def all_changes(house: House) -> dict[tuple[str, int], float | None]:
    """Return what each hour of all registers counts."""
    rows = await all_rows(house)
    return {(s, at): row["change"] for s in SENSORS for at, row in rows[s].items()}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.BrokenLine(20, MIDDLE), "20 columns instead of 28"),
        (faults.BrokenLine(30, MIDDLE), "30 columns instead of 28"),
        (faults.ReplacedField(13, "NaN", MIDDLE), "a field is no number"),
        (faults.GarbageBytes(40, MIDDLE), "a field is no number"),
        (faults.negative_register(records=MIDDLE), "negative register"),
        (faults.foreign_serial_number(records=MIDDLE), "another serial number"),
        (faults.ShiftedStamp(records=MIDDLE), "time stamp in the future"),
        (faults.ShiftedStamp(-20 * HOUR, MIDDLE), "time stamp out of order"),
        (faults.ShiftedStamp(20 * HOUR, MIDDLE), "time stamp out of order"),
        (faults.ReplacedField(5, "999999999", MIDDLE), "register runs ahead"),
        (faults.ReplacedField(5, "0", MIDDLE), "register runs backwards"),
    ],
)
async def test_record_that_cannot_be_right(
    manual: House, fault: faults.Fault, reason: str
) -> None:
    """It is refused and counted; nothing is lost, nothing is invented."""
    manual.server.faults.set(fault, path="/data/")
    report = await manual.fill()
    assert report.refused == {reason: 1}
    for sensor, register in SENSORS.items():
        errors = await manual.errors(sensor, register)
        assert sum(errors.values()) == pytest.approx(0, abs=EXACT)
        assert sum(abs(error) > EXACT for error in errors.values()) <= 2
    manual.server.faults.clear()
    await manual.fill()
    assert await manual.worst_error() < EXACT


@pytest.mark.parametrize(
    "fault",
    [
        faults.CutLine(MIDDLE),
        faults.CloseWithoutAnswer(),
        faults.Status(503),
    ],
)
async def test_page_that_is_lost(manual: House, fault: faults.Fault) -> None:
    """It is asked for again, and nobody notices."""
    manual.server.faults.set(fault, path="/data/", times=2)
    report = await manual.fill()
    assert report.records == manual.server.meter.newest_index
    assert report.refused.keys() <= {"cut off"}
    assert await manual.worst_error() < EXACT


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (faults.Status(404), "has no data logger"),
        (faults.Status(401), "refuses the password"),
        (faults.Status(500), "can't be read"),
        (faults.ConnectionReset(), "can't be reached"),
    ],
)
@pytest.mark.parametrize("in_the_middle", [False, True])
async def test_meter_that_does_not_answer(
    manual: House,
    fault: faults.Fault,
    told: str,
    in_the_middle: bool,
) -> None:
    """The owner reads why, and no row got worse; the next run goes on."""
    before = await all_rows(manual)

    def disturb() -> None:
        manual.server.faults.set(fault, path="/data/")

    if in_the_middle:
        at_progress(manual, 50, disturb)
    else:
        disturb()
    with pytest.raises(HomeAssistantError, match=told):
        await manual.fill()
    assert manual.backfill.data.state in {
        BackfillState.FAILED,
        BackfillState.NOT_SUPPORTED,
    }
    if not in_the_middle:
        assert await all_rows(manual) == before
    assert await new_errors(manual) == 0
    manual.server.faults.clear()
    await manual.fill()
    assert await manual.worst_error() < EXACT


async def test_meter_unloaded_in_the_middle(manual: House) -> None:
    """The next run goes on where this one ended."""
    task = manual.hass.async_create_task(manual.backfill.async_run(EVERYTHING))
    at_progress(manual, 50, task.cancel)
    await manual.hass.async_block_till_done()
    assert task.cancelled()
    assert await new_errors(manual) == 0
    assert manual.backfill.data.state is BackfillState.IDLE
    await manual.live(12)
    await manual.fill()
    assert await manual.worst_error() < EXACT


async def test_renamed_in_the_middle(manual: House) -> None:
    """The owner reads it, and history follows to the new names."""
    registry = er.async_get(manual.hass)

    def rename() -> None:
        for sensor in SENSORS:
            registry.async_update_entity(sensor, new_entity_id=f"{sensor}_new")

    at_progress(manual, 50, lambda: manual.hass.loop.call_soon(rename))
    with pytest.raises(HomeAssistantError, match="was renamed"):
        await manual.fill()
    await manual.settle()
    await manual.fill()
    for sensor, register in SENSORS.items():
        assert worst(await manual.errors(f"{sensor}_new", register)) < EXACT


async def test_disk_full(recorder_db_url: str, manual: House) -> None:
    """The owner reads that it was not written, and no row got worse."""
    if not recorder_db_url.startswith("sqlite"):
        pytest.skip("there is no way to fill the disk of a database server")
    limit_pages(manual, 1)
    with pytest.raises(HomeAssistantError, match="did not write"):
        await manual.fill()
    assert manual.backfill.data.state is BackfillState.FAILED
    limit_pages(manual, 1_000_000)
    assert await new_errors(manual) == 0
    await manual.fill()
    assert await manual.worst_error() < EXACT


async def test_no_row_can_be_written(recorder_db_url: str, manual: House) -> None:
    """What was moved to make room for them is moved back."""
    if not recorder_db_url.startswith("sqlite"):
        pytest.skip("other databases' triggers are written otherwise")
    before = await all_changes(manual)
    with session_scope(hass=manual.hass) as session:
        session.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON statistics"
                " BEGIN SELECT RAISE(ABORT, 'refused'); END"
            )
        )
    with pytest.raises(HomeAssistantError, match="did not write"):
        await manual.fill()
    assert await all_changes(manual) == pytest.approx(before, abs=EXACT)


def limit_pages(house: House, more: int) -> None:
    """Let the database have some more pages, but not more."""
    with session_scope(hass=house.hass) as session:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages + more}"))


def at_progress(house: House, percent: int, act: Callable[[], object]) -> None:
    """Do something when a run has come so far."""
    done: list[object] = []

    @callback
    def listen() -> None:
        if not done and (house.backfill.data.percent or 0) >= percent:
            done.append(act())

    house.entry.async_on_unload(house.backfill.async_add_listener(listen))


async def new_errors(house: House) -> int:
    """Return how many bars are neither missing nor what the meter counted."""
    count = 0
    for sensor, register in SENSORS.items():
        rows = sorted(await house.rows(sensor))
        errors = await house.errors(sensor, register)
        count += sum(
            abs(errors.get(start, 0)) > A_POLL
            for before, start in pairwise(rows)
            if start - before == 3600
        )
    return count
