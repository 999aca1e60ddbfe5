"""Registers of the logger and rows of the recorder, in a home that lives."""

from dataclasses import replace

from hypothesis import example, given, settings, strategies as st
import pytest

from custom_components.emu_professional.backfill.load_profile import (
    LoadProfile,
    Reading,
)
from custom_components.emu_professional.backfill.rows import Plan, Row, changed
from custom_components.emu_professional.backfill.series import plan_register
from custom_components.emu_professional.backfill.times import HOUR

from .recorder_model import DAY, EXACT, PERIOD, START, ModelHome, profile, worst


def test_fresh_sensor() -> None:
    """Months of history before the first live row; the next live one continues."""
    home = ModelHome().live(60 * DAY, 100, running=False)
    home.catching_up.clear()
    plan = home.back_fill()
    assert len(plan.rows) == 60 * 24
    assert plan.anchor
    assert plan.anchor.start == START + 60 * 24 * HOUR - PERIOD
    assert worst(home.errors()) < EXACT
    assert home.recorder.hours[START].sum == home.logged[START + HOUR] - 1_000_000
    home.live(DAY, 100)
    assert worst(home.errors()) <= 6


def test_sensor_with_a_few_live_hours() -> None:
    """History that comes after the first live rows moves them, and the next ones."""
    home = ModelHome().live(30 * DAY, 100, running=False)
    home.catching_up.clear()
    home.live(30, 100)
    plan = home.back_fill()
    assert plan.shift > 1_000_000
    assert worst(home.errors()) <= 6
    home.live(30, 100)
    assert worst(home.errors()) <= 6


def test_off_for_some_hours() -> None:
    """Every hour that is not what the meter counted is written, the others stay."""
    home = ModelHome().live(DAY, 100).live(41, 250, running=False).live(DAY, 100)
    errors = home.errors(START + HOUR)
    assert worst(errors) > 2000
    plan = home.back_fill(START + HOUR)
    off = {START + HOUR * hour for hour in range(24, 28)}
    assert off <= {row.start for row in plan.rows}
    assert off <= plan.wrong
    wrong = {start for start, error in errors.items() if error}
    assert wrong - {START + HOUR} <= {row.start for row in plan.rows}
    assert abs(plan.shift) < 5
    assert worst(home.errors(START + HOUR)) < EXACT


def test_sum_that_began_anew_a_moment_ago() -> None:
    """Short-term rows purged by hand: those of the hour move, no older row does."""
    home = ModelHome().live(DAY + 2, 100)
    home.back_fill()
    home.recorder.periods.clear()
    home.live(3, 100)
    plan = home.back_fill()
    assert plan.rows == ()
    assert plan.shift > 20_000
    assert plan.shift_from == START + 24 * HOUR
    home.live(DAY, 100)
    assert worst(home.errors(START + HOUR)) <= 6


@pytest.mark.parametrize("error", [-9_000, 9_000])
def test_odd_live_row_in_a_hole(error: int) -> None:
    """A live row that contradicts the logger around it makes no negative bar."""
    home = ModelHome().live(DAY, 100)
    for at in [a for a in home.logged if START + 5 * HOUR < a < START + 8 * HOUR]:
        del home.logged[at]
    odd = START + 6 * HOUR
    row = home.recorder.hours[odd]
    home.recorder.hours[odd] = Row(odd, (row.state or 0) + error, row.sum + error)
    home.back_fill(rebuild=True)
    assert min(home.recorder.changes().values()) >= 0
    late = max(home.hours(START))
    total = home.recorder.hours[late].sum
    assert total == pytest.approx(home.hours(START)[late] - 1_000_000, abs=EXACT)


@pytest.mark.parametrize("running", [True, False])
def test_away_for_twelve_days(running: bool) -> None:
    """Home Assistant off, or the meter unreachable until the sum restarted."""
    home = ModelHome().live(DAY, 100)
    home.live(12 * DAY + 7, 100, running=running, observed=False).live(2 * DAY + 5, 100)
    assert worst(home.errors(START + HOUR)) > 10_000
    home.back_fill(START + HOUR)
    assert worst(home.errors(START + HOUR)) <= 6
    assert not home.plan(START + HOUR).rows
    home.live(DAY, 100)
    assert worst(home.errors(START + HOUR)) <= 6


def test_rebuild_is_exact() -> None:
    """Every hour follows the logger to the last digit, and the next live one too."""
    home = ModelHome().live(5 * DAY, 777)
    assert 0 < worst(home.errors(START + HOUR)) < 20
    home.back_fill(START + HOUR, rebuild=True)
    assert worst(home.errors(START + HOUR)) < EXACT
    assert home.plan(START + HOUR, rebuild=True).rows == ()


def test_what_is_right_is_left_alone() -> None:
    """A row that says what the meter says is not written."""
    home = ModelHome().live(5 * DAY, 777)
    home.back_fill()
    odd = START + 50 * HOUR
    row = home.recorder.hours[odd]
    home.recorder.hours[odd] = Row(odd, (row.state or 0) + 0.3, row.sum + 0.3)
    assert home.plan().rows == ()
    assert home.plan(rebuild=True).rows == (row,)
    home.recorder.hours[odd] = Row(odd, (row.state or 0) - 300, row.sum)
    plan = home.plan()
    assert plan.rows == (row,)
    assert changed(home.recorder.rows_since(START), plan) == {odd: 0}


@pytest.mark.parametrize(
    ("state", "total", "is_left"),
    [(0.5, 0.5, True), (-0.5, -0.5, True), (0.6, 0, False), (0, -0.6, False)],
)
def test_rounded_row(state: float, total: float, is_left: bool) -> None:
    """Half of the last digit is no difference."""
    right = Row(START, 1_100, 120)
    rows = [Row(START - HOUR, 1_000, 20), Row(START, 1_100 + state, 120 + total)]
    logged = profile({START: 1_100}, 1_000)
    assert plan_register(logged, rows, None).rows == (() if is_left else (right,))
    assert plan_register(logged, rows, None, rebuild=True).rows == (right,)


def test_rows_after_the_window_keep_what_they_count() -> None:
    """A window in the past moves later rows by one constant."""
    home = (
        ModelHome()
        .live(DAY, 100)
        .live(12 * DAY, 100, observed=False)
        .live(3 * DAY, 100)
    )
    before = home.recorder.changes()
    window = {s: v for s, v in home.hours(START).items() if s < START + 14 * 24 * HOUR}
    rows = home.recorder.rows_since(START)
    plan = plan_register(
        profile(window, home.logged[START]), rows, home.recorder.newest
    )
    assert plan.shift
    assert {row.start for row in plan.rows} <= window.keys()
    home.recorder.carry_out(plan)
    after = home.recorder.changes()
    more = changed(rows, plan)
    assert more.keys() <= window.keys()
    for start, energy in after.items():
        expected = before.get(start, 0) + more.get(start, 0)
        assert energy == pytest.approx(expected, abs=EXACT)
    late = [start for start in before if start not in window]
    assert late
    for start in late:
        assert after[start] == pytest.approx(before[start], abs=EXACT)


@pytest.mark.parametrize("unreachable", [0, 30])
def test_window_that_begins_within_an_outage(unreachable: int) -> None:
    """What its end has counted of hours before the window is left to no later one."""
    home = ModelHome().live(30, 100).live(100, 100, running=False, observed=False)
    home.live(40, 100).live(unreachable, 100, observed=False)
    since = START + 5 * HOUR
    home.back_fill(since)
    home.live(30, 100)
    assert worst(home.errors(since)) <= 6


def test_rows_outside_the_loggers_memory_stay() -> None:
    """Rows older than the ring, and an outage across its beginning."""
    home = (
        ModelHome().live(2 * DAY, 100).live(DAY, 100, observed=False).live(2 * DAY, 100)
    )
    since = START + 60 * HOUR
    old = {s: row for s, row in home.recorder.hours.items() if s < since}
    plan = plan_register(
        profile(home.hours(since), None),
        home.recorder.rows_since(since),
        home.recorder.newest,
    )
    home.recorder.carry_out(plan)
    assert {s: home.recorder.hours[s] for s in old} == old
    total = home.recorder.hours[max(home.recorder.hours)].sum
    assert total == pytest.approx(home.register - 1_000_000, abs=210)


@pytest.mark.parametrize("hours", [{}, {START + HOUR: 9_500}])
def test_sum_restarted_where_the_logger_begins(hours: dict[int, int]) -> None:
    """The first hour counts what was forgotten, even if nothing else is logged yet."""
    rows = [Row(START - 900 * HOUR, 1_000, 20), Row(START, 9_000, 0)]
    plan = plan_register(profile({START: 9_000} | hours, None), rows, rows[-1])
    after = {row.start: row.sum + plan.shift for row in rows[1:]}
    after |= {row.start: row.sum for row in plan.rows}
    assert after[START] == 8_020
    assert after[max(after)] == 8_020 + sum(hours.values()) - 9_000 * len(hours)


@pytest.mark.parametrize(
    ("older", "passed"), [(900, 100), (1_000, 0), (None, 0), (1_001, 0)]
)
def test_row_before_the_logger_begins(older: int | None, passed: int) -> None:
    """The first logged hour counts what has passed since a row of the same meter."""
    rows = [Row(START - HOUR, older, 50), Row(START, 998, 148)]
    plan = plan_register(
        profile({START: 1_000, START + HOUR: 1_100}, None), rows, rows[-1]
    )
    after = {row.start: row for row in (*rows, *plan.rows)}
    assert after[START - HOUR] == rows[0]
    assert after[START] == Row(START, 1_000, 50 + passed)
    assert after[START + HOUR] == Row(START + HOUR, 1_100, 150 + passed)


@pytest.mark.parametrize(
    ("state", "hours", "is_same_meter"),
    [
        # Higher than the register now; lower by what nobody can have used in an hour.
        (90_000, 1, False),
        (9_000 - 103_201, 1, False),
        (9_000 - 103_200, 1, True),
        (9_000 - 103_200 * 800, 800, True),
        (9_000 - 103_200 * 800 - 1, 800, False),
        # A register is a whole number, and so may be rounded by half of its last digit.
        (9_000.5, 1, True),
        (9_000.6, 1, False),
    ],
)
def test_another_meter_before_the_logger_begins(
    state: float, hours: int, is_same_meter: bool
) -> None:
    """Its rows stay, and this meter's energy follows them."""
    older = Row(START - hours * HOUR, state, 500)
    rows = [older, Row(START, 9_000, 9_500)]
    plan = plan_register(
        profile({START: 9_000, START + HOUR: 9_800}, None), rows, rows[-1]
    )
    begin = 500 + (9_000 - state if is_same_meter else 0)
    assert [row for row in plan.rows if row.start > START] == [
        Row(START + HOUR, 9_800, begin + 800)
    ]
    assert older not in plan.rows


def test_strongest_hour_limits_what_was_forgotten() -> None:
    """Where a day is known, a row lower by much more than its hours is another's."""
    for known, most in ((1, 100_000), (23, 102_000), (24, 4_000), (30, 4_000)):
        hours = {START + n * HOUR: 50_000 + n * 400 + n % 2 * 100 for n in range(known)}
        for missing, is_same_meter in ((most, True), (most + 1, False)):
            older = Row(START - HOUR, 50_000 - missing, 0)
            plan = plan_register(profile(hours, None), [older], None)
            assert plan.rows[0].sum == (missing if is_same_meter else 0)


def test_rows_that_repeat_a_register_before_the_logger_begins() -> None:
    """The energy of an outage may have been used since its first row."""
    rows = [Row(START - HOUR, 600_000, 500), Row(START, 900_000, 9_500)]
    hours = {START: 900_000, START + HOUR: 900_000}
    for rise, is_same_meter in (
        (None, False),
        (START - 2 * HOUR, False),
        (START - 3 * HOUR, True),
    ):
        logged = replace(profile(hours, None), last_known=rise)
        plan = plan_register(logged, rows, rows[-1])
        assert plan.rows[-1].sum == 500 + 300_000 * is_same_meter


def test_missing_rows_before_an_inexact_reading() -> None:
    """Only a row of the very hour before can have seen the meter after its record."""
    logged = replace(
        profile({START: 1_100}, 1_000), initial=Reading(1_000, is_exact=False)
    )
    plan = plan_register(logged, [Row(START - 9 * HOUR, 1_050, 50)], None)
    assert plan.rows == (Row(START, 1_100, 150),)
    plan = plan_register(logged, [Row(START - HOUR, 1_050, 50)], None)
    assert plan.rows == (Row(START, 1_100, 100),)


@pytest.mark.parametrize(
    ("state", "is_exact", "first"),
    [
        # It has observed the meter after the record.
        (1_050, False, 50),
        (1_100.5, False, 0),
        (999.5, False, 100),
        # It has not, or nobody knows.
        (1_150, False, 100),
        (900, False, 100),
        (None, False, 100),
        # The record was the last second of the hour.
        (1_050, True, 100),
    ],
)
def test_row_before_the_window(
    state: float | None, is_exact: bool, first: float
) -> None:
    """The energy of the first hour is what it has not counted."""
    for lift in (0, 700):
        hours = {START: Reading(1_100, lift), START + HOUR: Reading(1_200, lift)}
        initial = Reading(1_000, lift, is_exact)
        logged = LoadProfile(START, START + 2 * HOUR, initial, hours)
        older = [Row(START - 2 * HOUR, 900, 10), Row(START - HOUR, state, 50)]
        plan = plan_register(logged, older, None)
        assert [row.sum for row in plan.rows] == [50 + first, 150 + first]


@pytest.mark.parametrize(
    ("state", "register"),
    [
        (1_080, 1_080),
        # A total above the next reading by its rounding.
        (1_200.5, 1_200),
        (1_250, 1_050),
        (1_040, 1_050),
        (None, 1_050),
    ],
)
def test_hour_that_was_not_logged_to_its_end(
    state: float | None, register: int
) -> None:
    """Its row counts, if it lies between the logged registers around it."""
    hours = {START: Reading(1_050, is_exact=False), START + HOUR: Reading(1_200)}
    logged = LoadProfile(START, START + 2 * HOUR, Reading(1_000), hours)
    total = (state or 1_050) - 1_000
    rows = [Row(START - HOUR, 1_000, 0), Row(START, state, total)]
    planned = [Row(START, register, register - 1_000), Row(START + HOUR, 1_200, 200)]
    plan = plan_register(logged, rows, None)
    is_left = state is not None and abs(state - register) <= 0.5
    assert plan.rows == tuple(planned[is_left:])
    plan = plan_register(logged, rows, None, rebuild=True)
    assert plan.rows == (Row(START, 1_050, 50), planned[1])
    # Without a later record the meter may have any register.
    logged = replace(logged, until=START + HOUR, hours={START: hours[START]})
    plan = plan_register(logged, [rows[0], Row(START, 1_250, 250)], None)
    assert not plan.rows


def test_no_row_at_all() -> None:
    """The energy before the end of the first logged hour is unknown."""
    hours = {START: 1_000, START + HOUR: 1_100}
    plan = plan_register(profile(hours, None), [], None)
    assert plan.rows == (Row(START + HOUR, 1_100, 100),)


def test_register_that_restarts_where_the_logger_begins() -> None:
    """The first hour counts what is known of both sides."""
    hours = {START: Reading(30, 1_000)}
    logged = LoadProfile(START, START + HOUR, None, hours)
    rows = [Row(START - HOUR, 900, 50), Row(START, 30, 180)]
    assert (
        plan_register(logged, rows, rows[-1]._replace(start=START + HOUR - PERIOD))
        == Plan()
    )


EVENTS = st.tuples(
    st.sampled_from(
        ["live", "live", "off", "unreachable", "fill", "rebuild", "interrupted"]
    ),
    st.sampled_from([1, 3, 7, 12, 30, 100, DAY, 3 * DAY, 11 * DAY]),
    st.integers(0, 2000),
)


@settings(max_examples=30)
@given(st.lists(EVENTS, max_size=8))
@example([("live", 1, 100), ("fill", 1, 0)])
@example([("unreachable", 11 * DAY, 5), ("live", 100, 500), ("interrupted", 1, 0)])
def test_a_life_of_outages(events: list[tuple[str, int, int]]) -> None:
    """After a back-fill every hour is right, twice is once, interrupted is resumed."""
    home = ModelHome().live(30, 100)
    for kind, periods, energy in events:
        if kind in ("live", "off", "unreachable"):
            running, observed = kind != "off", kind != "unreachable"
            home.live(periods, energy, running=running, observed=observed)
        elif kind == "interrupted":
            home.recorder.carry_out(home.plan(), interrupted=True)
        else:
            home.back_fill(rebuild=kind == "rebuild")
            _check(home, rebuild=kind == "rebuild")
    home.live(15, 300)
    home.back_fill()
    _check(home, rebuild=False)
    home.live(30, 300)
    late = {s: e for s, e in home.errors().items() if s >= home.now - 2 * HOUR}
    assert worst(late) <= 40


def _check(home: ModelHome, *, rebuild: bool) -> None:
    assert worst(home.errors()) < EXACT
    assert min(home.recorder.changes().values()) >= -EXACT
    again = home.plan(rebuild=rebuild)
    assert again.rows == ()
    assert again.shift == 0
