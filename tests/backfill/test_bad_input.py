"""What comes of bad input, and of what happens in the middle of a run."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import cast, override

from aiohttp import web
import pytest
from sqlalchemy import text

from custom_components.emu_professional.backfill import run, statistic_ids
from custom_components.emu_professional.backfill.progress import BackfillState
from custom_components.emu_professional.backfill.report import EVERYTHING, Mode
from custom_components.emu_professional.backfill.targets import TARGETS
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.const import DOMAIN
from homeassistant.components.recorder.statistics import StatisticsRow
from homeassistant.core import callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er, issue_registry as ir
from homeassistant.helpers.recorder import session_scope
from simulator import faults
from simulator.faults import Respond
from tests.conftest import EMPTY_LOGGER

from .house import A_POLL, EXACT, FEW, LONG_AGO, SENSORS, House, worst

DAY = 24 * HOUR
MIDDLE = 5 * 96 // 2


@pytest.fixture
def installed() -> datetime:
    """Return since when the meter has logged: for several parts of a run."""
    return LONG_AGO


@pytest.fixture(autouse=True)
def small_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few days have several parts, and fill only what counts."""
    monkeypatch.setattr(run, "_FIRST_PART", DAY)
    monkeypatch.setattr(run, "_PART", 2 * DAY)
    energy = [t for t in TARGETS if t.key in FEW and t.key.startswith("energy")]
    monkeypatch.setattr(statistic_ids, "TARGETS", energy)


async def all_rows(house: House) -> dict[str, dict[int, StatisticsRow]]:
    """Return the rows of all registers."""
    return {sensor: await house.rows(sensor) for sensor in SENSORS}


async def all_changes(house: House) -> dict[tuple[str, int], float | None]:
    """Return what each hour of all registers counts."""
    rows = await all_rows(house)
    return {(s, at): row["change"] for s in SENSORS for at, row in rows[s].items()}


@dataclass(frozen=True)
class Together(faults.Fault):
    """Several faults of one answer."""

    several: tuple[faults.Fault, ...]

    @override
    async def answer(
        self, request: web.Request, respond: Respond
    ) -> web.StreamResponse:
        for fault in self.several:
            respond = cast("Respond", partial(fault.answer, request, respond))
        return await respond()


BAD_RECORDS: list[tuple[Callable[[int], faults.Fault], str]] = [
    (lambda at: faults.BrokenLine(20, at), "20 columns instead of 28"),
    (lambda at: faults.BrokenLine(30, at), "30 columns instead of 28"),
    (lambda at: faults.ReplacedField(13, "NaN", at), "a field is no number"),
    (lambda at: faults.GarbageBytes(40, at), "a field is no number"),
    (lambda at: faults.negative_register(records=at), "negative register"),
    (lambda at: faults.foreign_serial_number(records=at), "another serial number"),
    (lambda at: faults.ShiftedStamp(records=at), "time stamp in the future"),
    (lambda at: faults.ShiftedStamp(-20 * HOUR, at), "time stamp out of order"),
    (lambda at: faults.ShiftedStamp(20 * HOUR, at), "time stamp out of order"),
    (lambda at: faults.ReplacedField(5, "999999999", at), "register runs ahead"),
    (lambda at: faults.ReplacedField(5, "0", at), "register runs backwards"),
]


async def test_records_that_cannot_be_right(manual: House) -> None:
    """Each is refused and counted; nothing is lost, nothing is invented."""
    first, apart = 50, 37
    several = (
        make(first + apart * number) for number, (make, _) in enumerate(BAD_RECORDS)
    )
    manual.server.faults.set(Together(tuple(several)), path="/data/")
    report = await manual.fill()
    assert report.rejected == Counter(reason for _, reason in BAD_RECORDS)
    for sensor, register in SENSORS.items():
        errors = await manual.errors(sensor, register)
        assert sum(errors.values()) == pytest.approx(0, abs=EXACT)
        wrong = sum(abs(error) > EXACT for error in errors.values())
        assert wrong <= 2 * len(BAD_RECORDS)
    manual.server.faults.clear()
    await manual.fill()
    assert await manual.worst_error() < EXACT


async def test_newest_record_that_is_half_written(manual: House) -> None:
    """Its hour waits for the next record, and no wrong energy is written."""
    newest = manual.server.meter.newest_index
    high = faults.ReplacedField(5, "4294967295", newest)
    manual.server.faults.set(high, path="/data/")
    for mode in (Mode.FILL, Mode.REBUILD):
        report = await manual.fill(mode)
        assert report.rejected == {"register runs ahead": 1}
        assert await new_errors(manual) == 0
    # It stays damaged, and others come after it.
    await manual.live(2)
    report = await manual.fill()
    assert report.rejected == {"register runs ahead": 1}
    assert await new_errors(manual) == 0
    manual.server.faults.clear()
    await manual.fill()
    assert await manual.worst_error() < EXACT


async def test_logger_of_another_meter(manual: House) -> None:
    """Where every record is another meter's, nothing is written, and its owner knows."""
    before = await all_rows(manual)
    every = faults.foreign_serial_number("22359999", faults.EVERY_RECORD)
    manual.server.faults.set(every, path="/data/")
    with pytest.raises(HomeAssistantError, match="is of another meter: meter 22359999"):
        await manual.fill()
    assert manual.backfill.data.state is BackfillState.FAILED
    assert await all_rows(manual) == before
    issue_id = f"foreign_logger_{manual.entry.entry_id}"
    registry = ir.async_get(manual.hass)
    issue = registry.async_get_issue(DOMAIN, issue_id)
    assert issue
    assert issue.translation_placeholders == {
        "meter": manual.entry.title,
        "serial_number": "22359999",
    }
    # Blanks and leading zeros make no other meter.
    manual.server.faults.clear()
    for form in ("0022350001", " 22350001"):
        same = faults.foreign_serial_number(form, faults.EVERY_RECORD)
        manual.server.faults.set(same, path="/data/")
        assert not (await manual.fill()).rejected
    assert await manual.worst_error() < EXACT
    assert not registry.async_get_issue(DOMAIN, issue_id)


async def test_pages_that_are_lost(manual: House) -> None:
    """They are asked for again, and nobody notices."""
    for fault in (
        faults.CutLine(MIDDLE),
        faults.CloseWithoutAnswer(),
        faults.Status(503),
    ):
        manual.server.faults.set(fault, path="/data/", times=2)
        report = await manual.fill()
        assert report.records == manual.server.meter.newest_index, fault
        assert report.rejected.keys() <= {"cut off"}, fault
        assert await manual.worst_error() < EXACT, fault


async def test_one_stamp_days_ahead(manual: House) -> None:
    """It costs its hour, not the days after it."""
    manual.server.faults.set(faults.ShiftedStamp(3 * DAY, 100), path="/data/")
    await manual.fill()
    for statistic, register in SENSORS.items():
        errors = await manual.errors(statistic, register)
        assert sum(abs(error) > EXACT for error in errors.values()) <= 2, statistic


async def test_no_clock_and_an_empty_answer(manual: House) -> None:
    """An empty answer of a busy meter does not say that its clock is right."""
    await manual.lose_clock()
    manual.server.faults.set(EMPTY_LOGGER, path="/data/", times=1)
    with pytest.raises(HomeAssistantError, match="shows no clock"):
        await manual.fill()


async def test_404_in_the_middle_of_the_first_fill(manual: House) -> None:
    """A meter whose records were just read has a data logger."""
    server = manual.server
    gone = faults.Status(404)
    at_progress(manual, 50, lambda: server.faults.set(gone, path="/data/", times=1))
    await manual.fill()
    assert manual.backfill.data.state is BackfillState.COMPLETE
    assert await manual.worst_error() < EXACT


OUTAGES = [
    (faults.Status(404), "has no data logger"),
    (faults.Status(401), "refuses the password"),
    (faults.Status(500), "can't be read"),
    (faults.ConnectionReset(), "can't be reached"),
]


async def test_meter_that_does_not_answer(manual: House) -> None:
    """The owner reads why, and no row got worse; the next run continues."""
    before = await all_rows(manual)
    for fault, error in OUTAGES:
        manual.server.faults.set(fault, path="/data/")
        await fill_fails(manual, error)
        assert await all_rows(manual) == before
        manual.server.faults.clear()
    await manual.fill()
    assert await manual.worst_error() < EXACT


@pytest.mark.parametrize(("fault", "error"), OUTAGES)
async def test_meter_that_stops_to_answer_in_the_middle(
    manual: House, fault: faults.Fault, error: str
) -> None:
    """The owner reads why, and no row got worse; the next run continues."""
    at_progress(manual, 50, lambda: manual.server.faults.set(fault, path="/data/"))
    await fill_fails(manual, error)
    assert await new_errors(manual) == 0
    manual.server.faults.clear()
    await manual.fill()
    assert await manual.worst_error() < EXACT


async def fill_fails(house: House, error: str) -> None:
    """Fill everything in vain."""
    with pytest.raises(HomeAssistantError, match=error):
        await house.fill()
    assert house.backfill.data.state in {
        BackfillState.FAILED,
        BackfillState.NOT_SUPPORTED,
    }


async def test_meter_unloaded_in_the_middle(manual: House) -> None:
    """The next run continues where this one ended."""
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


async def test_renamed_during_an_automatic_run(house: House) -> None:
    """What was not written under the new name is not settled."""
    registry = er.async_get(house.hass)

    def rename() -> None:
        for sensor in SENSORS:
            registry.async_update_entity(sensor, new_entity_id=f"{sensor}_new")

    assert await house.hass.config_entries.async_setup(house.entry.entry_id)
    at_progress(house, 50, lambda: house.hass.loop.call_soon(rename))
    await house.settle()
    await house.live(15)
    await house.pass_hour()
    for sensor, register in SENSORS.items():
        assert worst(await house.errors(f"{sensor}_new", register)) < A_POLL


async def test_disk_full(
    recorder_db_url: str, recorder_may_warn: None, manual: House
) -> None:
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


async def test_no_row_can_be_written(
    recorder_db_url: str, recorder_may_warn: None, manual: House
) -> None:
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
