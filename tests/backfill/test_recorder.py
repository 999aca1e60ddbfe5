"""Plans carried out in the real recorder."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import Any
from unittest.mock import AsyncMock, patch

from freezegun.api import FrozenDateTimeFactory
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)
from sqlalchemy import delete, event, text, update

from custom_components.emu_professional.backfill.ledger import SEALED, Seal
from custom_components.emu_professional.backfill.load_profile import (
    LoadProfile,
    Reading,
)
from custom_components.emu_professional.backfill.recorder import (
    Statistic,
    Stored,
    UnitNotConvertible,
    async_apply_plan,
    async_compiled_until,
    async_seals,
    async_stored,
    async_stored_means,
    async_widened,
)
from custom_components.emu_professional.backfill.report import Window
from custom_components.emu_professional.backfill.rows import Plan
from custom_components.emu_professional.backfill.series import plan_register
from custom_components.emu_professional.backfill.times import HOUR
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.db_schema import (
    Statistics,
    StatisticsRuns,
    StatisticsShortTerm,
)
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.statistics import (
    async_import_statistics,
    statistics_during_period,
)
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.setup import async_setup_component
from tests.conftest import DATABASE_ZONES

from .lost_jobs import (
    LOST,
    deleting_short_term_rows,
    losing_batch,
    losing_shift,
    repeating_shift,
)

ENTITY_ID = "sensor.meter_energy_import"
STATISTIC = Statistic(ENTITY_ID, "kWh", 3, has_sum=True)
# Later than the run of statistics with which a recorder starts.
NOW = datetime(2060, 6, 1, 9, 40, tzinfo=UTC)
SINCE = int((NOW - timedelta(days=10)).timestamp()) // HOUR * HOUR
PERIOD = timedelta(minutes=5)


def register(at: float) -> int:
    """Return the register in Wh at a time: more by day than by night."""
    seconds = int(at) - SINCE
    days, rest = divmod(seconds, 24 * HOUR)
    return 5_000_000 + days * 30_000 + rest * rest * 30_000 // (24 * HOUR) ** 2


def logged(limit: int) -> dict[int, int]:
    """Return what the logger knows of the hours until a limit."""
    return {start: register(start + HOUR) for start in range(SINCE, limit, HOUR)}


class Home:
    """A Home Assistant with a controlled clock."""

    def __init__(
        self, hass: HomeAssistant, freezer: FrozenDateTimeFactory, unit: str
    ) -> None:
        """Begin now."""
        self.hass = hass
        self.freezer = freezer
        self.unit = unit
        self.now = NOW
        freezer.move_to(NOW)

    async def live(self, periods: int, *, observed: bool = True) -> None:
        """Let five minutes pass some times."""
        for _ in range(periods):
            start = self.now
            self.freezer.move_to(start + timedelta(seconds=1))
            self.hass.states.async_set(ENTITY_ID, *self._state(start, observed))
            self.now = start + PERIOD
            self.freezer.move_to(self.now - timedelta(seconds=1))
            self.hass.states.async_set(ENTITY_ID, *self._state(self.now, observed))
            await async_wait_recording_done(self.hass)
            self.freezer.move_to(self.now)
            do_adhoc_statistics(self.hass, start=start)
            await async_wait_recording_done(self.hass)

    def _state(self, at: datetime, observed: bool) -> tuple[str, dict[str, str]]:
        attributes = {"device_class": "energy", "state_class": "total_increasing"}
        attributes["unit_of_measurement"] = self.unit
        if not observed:
            return STATE_UNAVAILABLE, attributes
        per_unit = {"Wh": 1, "kWh": 1000, "MWh": 1_000_000}[self.unit]
        return f"{register(at.timestamp() - 1) / per_unit:.6f}", attributes

    def import_rows(
        self,
        starts: Iterable[int],
        unit: str | None,
        unit_class: str | None = None,
        states: Iterable[float] = repeat(1),
    ) -> None:
        """Import rows of an older sensor with this entity id."""
        metadata = StatisticMetaData(
            mean_type=StatisticMeanType.NONE,
            has_sum=True,
            name=None,
            source="recorder",
            statistic_id=ENTITY_ID,
            unit_class=unit_class,
            unit_of_measurement=unit,
        )
        rows = [
            StatisticData(start=datetime.fromtimestamp(at, UTC), state=state, sum=3)
            for at, state in zip(starts, states, strict=False)
        ]
        async_import_statistics(self.hass, metadata, rows)

    async def back_fill(self, *, rebuild: bool = False) -> Plan:
        """Do a back-fill of all that was logged."""
        stored = await self.stored()
        plan = await self.plan(stored, rebuild=rebuild)
        await async_apply_plan(self.hass, STATISTIC, stored, plan)
        return plan

    async def stored(self) -> Stored:
        """Return what the recorder holds."""
        return await async_stored(self.hass, STATISTIC, SINCE, await self.limit(), 0)

    async def limit(self) -> int:
        """Return the end of the last hour that is compiled."""
        until = await async_compiled_until(self.hass)
        assert until
        return until // HOUR * HOUR

    async def plan(self, stored: Stored, *, rebuild: bool = False) -> Plan:
        """Return what a back-fill would do."""
        until = await self.limit()
        profile = LoadProfile(
            SINCE,
            until,
            Reading(register(SINCE)),
            {start: Reading(value) for start, value in logged(until).items()},
        )
        return plan_register(profile, stored.rows, stored.short_term, rebuild=rebuild)

    async def worst_error(self) -> float:
        """Return by how many Wh a bar of the energy dashboard is wrong at most."""
        found: dict[str, list[Any]] = await get_instance(
            self.hass
        ).async_add_executor_job(
            lambda: statistics_during_period(
                self.hass,
                datetime.fromtimestamp(SINCE, UTC),
                None,
                {ENTITY_ID},
                "hour",
                {"energy": "Wh"},
                {"change"},
            )
        )
        changes: dict[int, float] = {
            int(row["start"]): row["change"] for row in found[ENTITY_ID]
        }
        limit = await self.limit()
        return max(
            abs(changes.get(start, 0) - (register(start + HOUR) - register(start)))
            for start in range(SINCE, limit, HOUR)
        )


@pytest.fixture
async def home(
    recorder_mock: Recorder, hass: HomeAssistant, freezer: FrozenDateTimeFactory
) -> Home:
    """Return a Home Assistant with a recorder, without statistics."""
    assert await async_setup_component(hass, "sensor", {})
    await async_wait_recording_done(hass)
    return Home(hass, freezer, "kWh")


async def test_before_the_first_statistics(home: Home) -> None:
    """Before anything was compiled, nothing may be written."""
    with session_scope(hass=home.hass) as session:
        session.query(StatisticsRuns).delete()
    assert await async_compiled_until(home.hass) is None


async def test_fresh_sensor_without_statistics(home: Home) -> None:
    """History comes before the first live row, which continues from it."""
    await home.live(1, observed=False)
    plan = await home.back_fill()
    assert len(plan.rows) == 10 * 24
    assert await home.worst_error() < 0.01
    await home.live(28)
    assert await home.worst_error() <= 4
    assert not (await home.back_fill()).rows


async def test_done_is_done(home: Home) -> None:
    """All rows are there when a plan is said to be carried out."""
    await home.live(1)
    with patch.object(Recorder, "async_block_till_done", AsyncMock()):
        plan = await home.back_fill()
        stored = await home.stored()
    assert len(plan.rows) == len(stored.rows) == 10 * 24


@pytest.mark.parametrize(
    ("observed", "loss"),
    [
        (True, lambda: losing_batch(ENTITY_ID, 0)),
        (True, lambda: losing_batch(ENTITY_ID, 1)),
        (True, lambda: losing_batch(ENTITY_ID, 2)),
        (False, lambda: losing_batch(ENTITY_ID, 0, StatisticsShortTerm)),
        (True, lambda: losing_shift(Statistics)),
        (True, lambda: losing_shift(StatisticsShortTerm)),
        (True, lambda: losing_shift(Statistics, StatisticsShortTerm)),
    ],
)
async def test_job_that_the_recorder_loses(
    home: Home, observed: bool, loss: Callable[[], AbstractContextManager[object]]
) -> None:
    """It is noticed, and the next run repairs the statistic."""
    await home.live(10, observed=observed)
    with loss(), pytest.raises(HomeAssistantError, match=LOST):
        await home.back_fill()
    await home.back_fill()
    await home.live(16)
    assert await home.worst_error() <= 4
    await home.back_fill()
    assert await home.worst_error() < 0.01


async def test_job_that_the_recorder_repeats(home: Home) -> None:
    """It is waited for."""
    await home.live(10)
    with repeating_shift():
        await home.back_fill()
    assert await home.worst_error() < 4


async def test_short_term_row_that_is_deleted_meanwhile(home: Home) -> None:
    """It is no sign of a lost shift."""
    await home.live(10)
    with deleting_short_term_rows():
        await home.back_fill()
    assert await home.worst_error() < 4


@pytest.mark.parametrize("unit", ["Wh", "kWh", "MWh"])
async def test_sensor_with_live_rows_in_any_unit(home: Home, unit: str) -> None:
    """Live rows move up to the end of the history, in their own unit."""
    home.unit = unit
    await home.live(10)
    stored = await home.stored()
    assert stored.unit == unit
    assert len(stored.rows) == 1
    await home.back_fill()
    assert await home.worst_error() <= 4
    await home.live(20)
    assert await home.worst_error() <= 4
    stored = await home.stored()
    plan = await home.plan(stored)
    assert plan.rows == ()
    assert plan.shift == 0


async def test_meter_silent_for_hours(home: Home) -> None:
    """The hole of an unreachable meter is filled, and the next live row fits."""
    await home.live(10)
    await home.back_fill()
    await home.live(41, observed=False)
    await home.live(17)
    assert await home.worst_error() > 500
    plan = await home.back_fill()
    assert 3 <= len(plan.rows) <= 6
    assert await home.worst_error() <= 4
    await home.live(13)
    assert await home.worst_error() <= 4


async def test_sum_that_began_anew(home: Home) -> None:
    """After its short-term rows were purged the series continues without a jump."""
    await home.live(10)
    await home.back_fill()
    await home.live(3, observed=False)
    await home.hass.services.async_call(
        "recorder", "purge", {"keep_days": 0, "repack": False}, blocking=True
    )
    await async_wait_recording_done(home.hass)
    assert (await home.stored()).short_term is None
    await home.live(17)
    assert await home.worst_error() > 100_000
    await home.back_fill()
    assert await home.worst_error() <= 4
    await home.live(13)
    assert await home.worst_error() <= 4


async def test_rows_from_before_a_restart(home: Home) -> None:
    """Rows that repeat a register are read until one that has observed its restart."""
    states = [40, 40, 40, 40, 40, 4, 5, 6, 7]
    hours = range(SINCE, SINCE + len(states) * HOUR, HOUR)
    home.import_rows(hours, "kWh", "energy", states=states)
    await async_wait_recording_done(home.hass)
    window = SINCE, SINCE + HOUR
    stored = await async_stored(home.hass, STATISTIC, *window, register=3_000)
    assert [row.state for row in stored.rows] == [s * 1_000 for s in states[:7]]
    assert not stored.is_newest


async def test_rebuild(home: Home) -> None:
    """Every hour is exact to the last digit, and stays so."""
    await home.live(30)
    await home.back_fill(rebuild=True)
    assert await home.worst_error() < 0.01
    assert (await home.plan(await home.stored(), rebuild=True)).rows == ()


@pytest.mark.parametrize("database_zone", DATABASE_ZONES, indirect=True)
async def test_statistics_of_the_house_go_on(home: Home) -> None:
    """No hour is written that is not compiled yet: the next compile succeeds."""
    await home.live(3)
    assert await home.limit() == int(NOW.timestamp()) // HOUR * HOUR
    await home.back_fill()
    await home.live(3)
    stored = await home.stored()
    assert stored.rows[-1].start == int(NOW.timestamp()) // HOUR * HOUR


async def test_run_in_the_future(home: Home) -> None:
    """After a clock that was ahead once, no hour is written that is not over."""
    await home.live(1)
    with session_scope(hass=home.hass) as session:
        session.add(StatisticsRuns(start=home.now + timedelta(days=1)))
    assert await async_compiled_until(home.hass) == home.now.timestamp()
    await home.back_fill()
    await home.live(3)
    stored = await home.stored()
    assert stored.rows[-1].start == int(NOW.timestamp()) // HOUR * HOUR
    home.freezer.move_to(home.now - timedelta(seconds=1))
    assert await async_compiled_until(home.hass) == (home.now - PERIOD).timestamp()


@pytest.mark.parametrize("unit", [None, "kwh", "m³"])
async def test_unit_that_cannot_be_converted(home: Home, unit: str | None) -> None:
    """Nothing is read as something else: the owner reads which statistic it is."""
    home.import_rows([SINCE], unit)
    await async_wait_recording_done(home.hass)
    window = (home.hass, STATISTIC, SINCE, SINCE + HOUR)
    for reading in (async_stored(*window, None), async_stored_means(*window)):
        with pytest.raises(UnitNotConvertible) as caught:
            await reading
        assert caught.value.translation_placeholders == {
            "statistic_id": ENTITY_ID,
            "unit": unit or "-",
            "expected": "kWh",
        }
    assert not await async_seals(home.hass, [STATISTIC], SINCE + HOUR)


async def test_database_trouble(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """A database that does not answer is an error that the owner can read."""
    for before, after in (("statistics_runs", "gone"), ("gone", "statistics_runs")):
        with session_scope(hass=home.hass) as session:
            session.execute(text(f"ALTER TABLE {before} RENAME TO {after}"))
        if after == "gone":
            with pytest.raises(HomeAssistantError) as caught:
                await async_compiled_until(home.hass)
            assert caught.value.translation_key == "database_trouble"
            assert "runs" in (caught.value.translation_placeholders or {})["error"]
    await home.live(1)
    assert await async_compiled_until(home.hass) == home.now.timestamp()
    assert "Traceback" not in caplog.text


async def test_seals(home: Home) -> None:
    """They show deleted, changed or shifted rows, in any unit and database."""
    await home.live(5)
    await home.back_fill()
    stored = await home.stored()
    (seals,) = (await async_seals(home.hass, [STATISTIC], await home.limit())).values()
    buckets = {row.start // SEALED for row in stored.rows}
    assert seals.keys() == buckets
    for bucket, seal in seals.items():
        rows = [row for row in stored.rows if row.start // SEALED == bucket]
        offsets = [row.sum - (row.state or 0) for row in rows]
        total = sum(row.state or 0 for row in rows)
        assert seal.is_like(Seal(len(rows), total, min(offsets), max(offsets)))
    first = stored.rows[0].start
    is_first = Statistics.start_ts == first
    for change in (
        update(Statistics).where(is_first).values(state=Statistics.state + 0.001),
        update(Statistics).where(is_first).values(sum=Statistics.sum + 0.001),
        delete(Statistics).where(is_first),
    ):
        with session_scope(hass=home.hass) as session:
            session.execute(change)
        now = (await async_seals(home.hass, [STATISTIC], await home.limit()))[ENTITY_ID]
        assert not now[first // SEALED].is_like(seals[first // SEALED])
        seals = now
    assert await async_seals(home.hass, [], await home.limit()) == {}
    assert await async_seals(home.hass, [STATISTIC], SINCE - HOUR) == {}


async def test_seals_of_years(home: Home) -> None:
    """They are read year by year, and SQLite keeps none of the pages in memory."""
    home.import_rows((SINCE - n * SEALED for n in range(40)), "kWh", "energy")
    await async_wait_recording_done(home.hass)
    engine = get_instance(home.hass).engine
    assert engine
    statements: list[str] = []
    event.listen(
        engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )
    (seals,) = (await async_seals(home.hass, [STATISTIC], SINCE + HOUR)).values()
    months = {SINCE // SEALED - number for number in range(40)}
    assert seals == dict.fromkeys(months, Seal(1, 1000, 2000, 2000))
    is_sqlite = engine.dialect.name == "sqlite"
    assert statements.count("PRAGMA shrink_memory") == (4 if is_sqlite else 0)
    since = SINCE - 3 * SEALED
    (newest,) = (await async_seals(home.hass, [STATISTIC], SINCE, since)).values()
    assert newest.keys() == {SINCE // SEALED - number for number in (1, 2, 3)}
    limits = SINCE + 2 * HOUR, SINCE + HOUR
    assert await async_seals(home.hass, [STATISTIC], *limits) == {}
    home.import_rows([SINCE + HOUR], "kWh", "energy")
    await async_wait_recording_done(home.hass)
    (half,) = (await async_seals(home.hass, [STATISTIC], *limits)).values()
    assert half == {SINCE // SEALED: Seal(1, 1000, 2000, 2000)}


async def test_load_that_is_on_in_every_third_hour(home: Home) -> None:
    """Its hours without energy look like outages, but not all of its history is read."""
    hours = 24 * 150
    starts = [SINCE + n * HOUR for n in range(hours)]
    states = [float(n // 3) for n in range(hours)]
    home.import_rows(starts, "kWh", "energy", states)
    await async_wait_recording_done(home.hass)
    middle = SINCE + 3000 * HOUR + HOUR
    window = await async_widened(home.hass, [STATISTIC], Window(middle, middle + HOUR))
    assert middle - 5 * 24 * HOUR < window.since < middle
    assert middle + HOUR <= window.until < middle + 5 * 24 * HOUR
