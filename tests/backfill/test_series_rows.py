"""Registers of the logger, and rows that are given."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from custom_components.emu_professional.backfill.load_profile import (
    LoadProfile,
    Reading,
)
from custom_components.emu_professional.backfill.rows import (
    EQUAL,
    Plan,
    Row,
    changed,
    poll_lag,
    unpolled_energy,
)
from custom_components.emu_professional.backfill.series import plan_register
from custom_components.emu_professional.backfill.times import HOUR

from .recorder_model import DAY, PERIOD, START, ModelHome, profile

BEFORE = Row(START - HOUR, 1_000, 0)
RIGHT = Row(START, 1_100, 100)
ONE_HOUR = {START: 1_100}
TWO_HOURS = {START: 1_100, START + HOUR: 1_200}
AT_END = START + HOUR - PERIOD
"""The last five minutes of the first hour."""


def test_rows_that_are_right() -> None:
    """Nothing is done in the window and after it."""
    rows = [BEFORE, RIGHT, Row(START + HOUR, 1_200, 200)]
    live = Row(AT_END + HOUR, 1_200, 200)
    assert plan_register(profile(ONE_HOUR, 1_000), rows, live) == Plan()


def test_later_row_that_has_some_energy_of_the_window() -> None:
    """It keeps what it has counted, and the next live row continues from it."""
    rows = [BEFORE, Row(START, 1_099, 99), Row(START + HOUR, 1_200, 200)]
    live = Row(AT_END + HOUR, 1_200, 200)
    plan = plan_register(profile(ONE_HOUR, 1_000), rows, live)
    assert plan.rows == (RIGHT,)
    assert (plan.shift_from, plan.shift, plan.anchor) == (START, 1, None)


@pytest.mark.parametrize(
    ("state", "total", "moved"),
    [
        # The sum restarted; its register, too; nothing was used; less than nothing.
        (1_200, 5, 195),
        (30, 5, 95),
        (30, 107, 0),
        (1_100, 99.5, 0.5),
        # As much as a live row may be off, and more.
        (1_200, 202, 0),
        (1_200, 202.1, -2.1),
        (1_200, 150, 50),
        (1_101, 100, 0),
        # Floating point is no energy.
        (1_200, 202 + 1e-9, 0),
        (1_101, 100 - 1e-9, 0),
        # Half of the last digit is no difference.
        (1_099.5, 100, 0),
    ],
)
def test_first_row_after_the_window(state: float, total: float, moved: float) -> None:
    """It counts the energy since the window, or keeps its change."""
    rows = [BEFORE, RIGHT, Row(START + HOUR, state, total)]
    plan = plan_register(profile(ONE_HOUR, 1_000), rows, None)
    assert not plan.rows
    assert plan.shift == pytest.approx(moved)
    assert plan.shift_from == (START + HOUR if moved else None)
    # The next live row continues from it.
    assert plan.anchor
    assert plan.anchor[:2] == (AT_END + HOUR, state)
    assert plan.anchor.sum == pytest.approx(total + moved)


def test_first_row_ever_is_after_the_window() -> None:
    """It counts the energy since the window, if that is known."""
    logged = profile(ONE_HOUR, 1_000)
    for state, shift in ((1_250, 245), (None, 95), (30, 95)):
        plan = plan_register(logged, [Row(START + HOUR, state, 5)], None)
        assert plan.rows == (RIGHT,)
        assert (plan.shift_from, plan.shift) == (START + HOUR, shift)
    plan = plan_register(logged, [], Row(AT_END + HOUR, 30, 5))
    assert (plan.shift_from, plan.shift, plan.anchor) == (START + HOUR, 95, None)
    # A newer part was written before: not even its rounding is lost.
    rounded = replace(logged, rounding=1.5)
    plan = plan_register(rounded, [Row(START + HOUR, 1_101, 1)], None)
    assert (plan.shift_from, plan.shift) == (START + HOUR, 100)


def test_rows_that_have_not_observed_the_window() -> None:
    """They repeat its end, unless their register has restarted."""
    logged = profile(ONE_HOUR, 1_000)
    plan = plan_register(logged, [BEFORE, RIGHT, Row(START + HOUR, 999.5, 50)], None)
    assert (plan.rows, plan.shift) == ((Row(START + HOUR, 1_100, 100),), 0)
    plan = plan_register(logged, [BEFORE, RIGHT, Row(START + HOUR, 999.4, 50)], None)
    assert (plan.rows, plan.shift) == ((), 50)


def test_rows_with_the_same_shift() -> None:
    """They are moved together with the later ones, the others are written."""
    rows = [BEFORE, Row(START, 1_100, 90), Row(START + HOUR, 1_200, -500)]
    rows.append(Row(START + 2 * HOUR, 1_300, -400))
    plan = plan_register(profile(TWO_HOURS, 1_000), rows, None)
    assert plan.rows == (RIGHT,)
    assert (plan.shift_from, plan.shift) == (START + HOUR, 700)
    # From a short-term row on: the row of its hour lacks some energy, and is written.
    rows = [BEFORE, Row(START, 1_100, 93), Row(START + HOUR, 1_198, 191)]
    live = Row(AT_END + HOUR, 1_198, 191)
    plan = plan_register(profile(TWO_HOURS, 1_000), rows, live)
    assert plan.rows == (Row(START + HOUR, 1_200, 200),)
    assert (plan.shift_from, plan.shift) == (START, 7)


@pytest.mark.parametrize(
    ("lacking", "is_shifted"), [(4, False), (4.1, True), (-4, False), (-4.1, True)]
)
def test_short_term_row_that_is_a_little_off(lacking: float, is_shifted: bool) -> None:
    """No more than two live rows may lack of 100 Wh: it is written, not moved."""
    total = 197 - lacking
    rows = [BEFORE, RIGHT, Row(START + HOUR, 1_197, total)]
    live = Row(AT_END + HOUR, 1_197, total)
    plan = plan_register(profile(TWO_HOURS, 1_000), rows, live)
    assert plan.rows == (Row(START + HOUR, 1_200, 200),)
    assert plan.shift == pytest.approx(lacking * is_shifted)
    assert plan.anchor == (None if is_shifted else live._replace(sum=197))


def test_short_term_row_that_is_old() -> None:
    """It moves no rows: there is another one to continue from."""
    for state in (1_050, None):
        old = Row(START + PERIOD, state, 7)
        plan = plan_register(profile(TWO_HOURS, 1_000), [BEFORE], old)
        assert (plan.shift_from, plan.shift) == (None, 0)
        assert plan.anchor == Row(AT_END + HOUR, 1_200, 200)


def test_short_term_row_without_a_state() -> None:
    """Nobody knows its sum; it stays."""
    for rows in ([BEFORE], [BEFORE, RIGHT, Row(START + HOUR, 1_200, 200)]):
        live = Row(AT_END + HOUR, None, 7)
        assert plan_register(profile(ONE_HOUR, 1_000), rows, live).anchor is None
    # It is newer than the newest row as soon as its hour has begun.
    live = Row(START, 1_010, 10)
    plan = plan_register(profile(ONE_HOUR, 1_000), [BEFORE], live)
    assert (plan.rows, plan.anchor) == ((RIGHT,), None)
    plan = plan_register(profile(ONE_HOUR, 1_000), [BEFORE], live._replace(sum=-990))
    assert (plan.rows, plan.anchor) == ((RIGHT,), None)
    assert (plan.shift_from, plan.shift) == (START, 1_000)


@pytest.mark.parametrize(
    ("state", "shown"), [(1_100.5, 1_100.5), (1_099.8, 1_099.8), (1_100.6, 1_100)]
)
def test_short_term_row_that_is_rounded(state: float, shown: float) -> None:
    """It keeps its state, unless Home Assistant would count it again from 0."""
    live = Row(AT_END, state, 97)
    plan = plan_register(profile(ONE_HOUR, 1_000), [BEFORE, RIGHT], live)
    assert (plan.rows, plan.shift) == ((), 0)
    assert plan.anchor == Row(AT_END, shown, 100)


@pytest.mark.parametrize(("rounding", "is_kept"), [(0.5, False), (1.5, True)])
def test_short_term_row_that_is_rounded_after_the_window(
    rounding: float, is_kept: bool
) -> None:
    """A newer part has judged it already, by the row between."""
    rows = [BEFORE, RIGHT, Row(START + HOUR, 1_200, 200)]
    live = Row(START + 2 * HOUR, 1_201, 200)
    logged = replace(profile(ONE_HOUR, 1_000), rounding=rounding)
    plan = plan_register(logged, rows, live)
    assert plan.anchor == (None if is_kept else live._replace(sum=201))


@pytest.mark.parametrize("is_live", [False, True])
def test_short_term_row_after_the_window(is_live: bool) -> None:
    """It counts the energy since the window, also if the sensor has no value now."""
    live = Row(AT_END + HOUR, 1_150, 145)
    logged = profile(ONE_HOUR, 1_000)
    plan = plan_register(logged, [BEFORE, RIGHT], live, is_live=is_live)
    assert (plan.shift_from, plan.shift, plan.anchor) == (START + HOUR, 5, None)
    for start, state, total, shift in (
        (START + HOUR, 1_150, 145, 5),
        (AT_END + HOUR, 1_150, 147, 3),
        (AT_END + HOUR, 1_100.5, 90, 10),
    ):
        live = Row(start, state, total)
        plan = plan_register(logged, [BEFORE, RIGHT], live, is_live=is_live)
        assert (plan.shift_from, plan.shift) == (START + HOUR, shift)
        assert plan.anchor is None
    # Its register has restarted.
    live = Row(AT_END + HOUR, 30, 7)
    plan = plan_register(logged, [BEFORE, RIGHT], live, is_live=is_live)
    assert (plan.shift_from, plan.shift, plan.anchor) == (START + HOUR, 93, None)
    live = live._replace(sum=130)
    assert plan_register(logged, [BEFORE, RIGHT], live, is_live=is_live) == Plan()


@pytest.mark.parametrize(
    ("before", "state", "shown"),
    [
        (950, 1_090, 1_090),
        (950, 950, 950),
        # Home Assistant would count the register again from 0.
        (950, 949, 1_100),
        (1_000, 1_100.3, 1_100),
        (1_000, None, 1_100),
        (None, 900, 900),
        (None, 899, 1_100),
        (1_200, 1_000, 1_000),
        (1_200, 999, 1_100),
    ],
)
def test_short_term_row_that_is_missing(
    before: float | None, state: float | None, shown: float
) -> None:
    """It has the state that was observed last, if that can be of the same cycle."""
    rows = [Row(START - HOUR, before, 20), Row(START, state, 120)]
    plan = plan_register(profile(ONE_HOUR, 1_000), rows, None)
    assert plan.anchor == Row(AT_END, shown, shown - 980)


def test_short_term_row_that_is_missing_after_a_restart() -> None:
    """The loss of the register counts in its sum."""
    logged = restarted(START, 1_250, {START: 130})
    rows = [Row(START - HOUR, 1_000, 20), Row(START, 120, 400)]
    assert plan_register(logged, rows, None).anchor == Row(AT_END, 120, 390)


def test_short_term_row_that_is_missing_after_the_window() -> None:
    """It repeats the newest row, as that will be."""
    rows = [BEFORE, RIGHT, Row(START + HOUR, 1_200, 5)]
    plan = plan_register(profile(ONE_HOUR, 1_000), rows, None)
    assert plan.anchor == Row(AT_END + HOUR, 1_200, 200)
    # A row that has not observed the window repeats its end.
    rows = [BEFORE, RIGHT, Row(START + HOUR, 1_050, 50)]
    plan = plan_register(profile(ONE_HOUR, 1_000), rows, None)
    assert plan.anchor == Row(AT_END + HOUR, 1_100, 100)


def test_short_term_row_after_a_sum_that_began_anew() -> None:
    """The next row continues from the newest one, whose energy is not known yet."""
    back = START + 12 * 24 * HOUR
    rows = [BEFORE, RIGHT, Row(START + HOUR, 1_200, 200), Row(back, 1_200, 0)]
    live = Row(back + HOUR - PERIOD, 1_200, 0)
    assert plan_register(profile(ONE_HOUR, 1_000), rows, live) == Plan()
    # Home Assistant restarted the sum in the short-term row only: that row is written.
    plan = plan_register(profile(ONE_HOUR, 1_000), rows[:-1], live)
    assert plan == Plan(anchor=live._replace(sum=200))


def test_rows_after_a_restart() -> None:
    """They continue with the restarted register, in the window or after it."""
    at = START + 2 * HOUR
    readings = {START: 1_100, START + HOUR: 1_200, at: 30, at + HOUR: 130}
    logged = restarted(at, 1_250, readings)
    rows = [Row(START - HOUR, 1_000, 500), Row(at + 2 * HOUR, 150, 5)]
    plan = plan_register(logged, rows, None)
    assert [row.sum for row in plan.rows] == [600, 700, 780, 880]
    assert (plan.shift_from, plan.shift) == (at + 2 * HOUR, 895)
    # The window ends before the restart, which is logged.
    for total in (5, 600):
        rows = [rows[0], Row(at, 30, total)]
        plan = plan_register(replace(logged, until=at), rows, None)
        assert [row.sum for row in plan.rows] == [600, 700]
        assert (plan.shift_from, plan.shift) == (at, 780 - total)


def test_window_without_a_record() -> None:
    """Its rows stay, also after a restart before it."""
    logged = LoadProfile(START, START + HOUR, Reading(5, 1_250), {})
    rows = [Row(START - HOUR, 5, 100), Row(START, 15, 110)]
    live = Row(START + HOUR - PERIOD, 15, 110)
    assert plan_register(logged, rows, live) == Plan()
    # Nor do records after it change them.
    later = {START + 2 * HOUR: Reading(25, 1_250)}
    assert plan_register(replace(logged, hours=later), rows, live) == Plan()


def test_live_row_that_has_heard_as_much() -> None:
    """It needs no other short-term row to continue from."""
    rows = [Row(START - HOUR, 1_000, 20), Row(START, 1_100, 120)]
    live = Row(START + HOUR - PERIOD, 1_100, 120)
    assert plan_register(profile({START: 1_100}, 1_000), rows, live) == Plan()


def test_sum_began_anew_and_then_an_outage_ends_behind_the_window() -> None:
    """What ends it has counted less than the window: there is nothing left."""
    hours = {START + n * HOUR: 1_100 + n * 100 for n in range(4)}
    rows = [
        Row(START - HOUR, 1_000, 5_000),
        Row(START + 2 * HOUR, 1_300, 10),
        Row(START + 5 * HOUR, 2_000, 710),
    ]
    plan = plan_register(profile(hours, 1_000), rows, rows[-1])
    after = {row.start: row.sum + plan.shift for row in rows[1:]}
    after |= {row.start: row.sum for row in plan.rows}
    assert after[START + 3 * HOUR] == 5_400
    assert after[START + 5 * HOUR] == 6_000


@pytest.mark.parametrize("at", [START + 2 * HOUR - PERIOD, START + 2 * HOUR])
def test_row_compiled_meanwhile_from_what_was_before(at: int) -> None:
    """A later row without an observation counts nothing, and the next one no more."""
    rows = [
        Row(START - HOUR, 1_000, 20),
        Row(START, 1_050, 70),
        Row(START + HOUR, 1_000, 20),
    ]
    logged, newest = profile({START: 1_050}, 1_000), Row(at, 1_000, 20)
    plan = plan_register(logged, rows, newest, is_live=False)
    assert plan.rows == (Row(START + HOUR, 1_050, 70),)
    assert plan.anchor == Row(at, 1_050, 70)
    # The next live row is compiled from an older state as well: it must not fall.
    plan = plan_register(logged, rows, newest)
    assert plan.anchor is None


def test_restart_that_only_home_assistant_has_seen() -> None:
    """The register is not lower than at the begin of the window, but its sum rose."""
    logged = profile({START: 0, START + HOUR: 5_000}, None)
    end = START + 2 * HOUR
    row, live = Row(end, 30, 130), Row(end + HOUR - PERIOD, 30, 130)
    rows = [Row(START + HOUR, 5_000, 100), row]
    shifted = Plan(shift_from=START + HOUR, shift=4_900)
    plan = plan_register(logged, rows, live)
    assert replace(plan, wrong=frozenset()) == shifted
    # The row before was written, and has a few Wh more than Home Assistant.
    rows[0] = Row(START + HOUR, 5_000, 5_000)
    rows[1] = Row(end, 3, 4_996)
    plan = plan_register(logged, rows, Row(live.start, 3, 4_996))
    assert plan == Plan(shift_from=end, shift=4)
    rows[0] = Row(START + HOUR, 5_000, 100)
    # It has seen it in the last minutes only.
    plan = plan_register(logged, rows[:1], live)
    assert replace(plan, wrong=frozenset()) == shifted
    for state, total in ((30, -4_870), (4_500, 130)):
        # A row from before the window: its sum is lower as well. And one that is a
        # little lower only: Home Assistant does not take that for a restart.
        rows[1] = Row(end, state, total)
        plan = plan_register(logged, rows, live)
        assert Row(end, 5_000, 5_000) in plan.rows
    # Without a state before it nobody knows.
    plan = plan_register(logged, [rows[0]._replace(state=None), row], live)
    assert Row(end, 5_000, 5_000) in plan.rows


def test_short_term_row_after_a_restart_and_half_a_plan() -> None:
    """It was shifted with rows that were not written: the newest row counts."""
    logged = profile({START: 1_100}, 1_000)
    newest = Row(START + HOUR, 30, 90)
    live = Row(newest.start + HOUR - PERIOD, 34, 5_000)
    plan = plan_register(logged, [BEFORE, RIGHT, newest], live)
    assert plan == Plan(
        shift_from=newest.start, shift=10, anchor=live._replace(sum=104)
    )
    # What it counted after another restart stays.
    live = live._replace(state=3, sum=93)
    plan = plan_register(logged, [BEFORE, RIGHT, newest], live)
    assert plan == Plan(shift_from=newest.start, shift=10)
    # An older row counts nothing, unless the next one observes the meter anyway.
    live = live._replace(state=25, sum=80)
    plan = plan_register(logged, [BEFORE, RIGHT, newest], live, is_live=False)
    assert plan.anchor == live._replace(state=30, sum=100)
    plan = plan_register(logged, [BEFORE, RIGHT, newest], live, is_live=True)
    assert plan.anchor == live._replace(sum=95)


def test_hour_that_the_logger_does_not_know() -> None:
    """What live rows counted in a hole of the logger is not counted twice."""
    home = ModelHome().live(DAY, 100)
    for at in [a for a in home.logged if START + 5 * HOUR < a < START + 8 * HOUR]:
        del home.logged[at]
    home.live(20, 100, running=False).live(DAY, 100)
    home.back_fill(START, rebuild=True)
    total = home.recorder.hours[max(home.hours(START))].sum
    assert total == pytest.approx(
        home.logged[max(home.logged) // HOUR * HOUR] - 1_000_000
    )
    assert min(home.recorder.changes().values()) >= 0


def test_nothing_logged() -> None:
    """Without an hour of the logger no row changes."""
    for before in (None, Reading(0)):
        logged = LoadProfile(START, START, before, {})
        live = Row(START, 5, 5)
        assert plan_register(logged, [Row(START, 5, 5)], live) == Plan()
        assert plan_register(logged, [], None) == Plan()
        assert logged.initial_lift == 0


@pytest.mark.parametrize("live", [None, Row(START - PERIOD, 4, 4)])
def test_nothing_logged_since_short_term_rows_were_deleted(live: Row | None) -> None:
    """The next live row continues from the newest row, instead of 0."""
    for since, until in ((START, START), (START + HOUR, START + 9 * HOUR)):
        logged = LoadProfile(since, until, Reading(5), {})
        plan = plan_register(logged, [Row(START - HOUR, 4, 3), Row(START, 5, 4)], live)
        assert plan == Plan(anchor=Row(AT_END, 5, 4))


def test_rows_without_state() -> None:
    """Rows that another program has imported without state are written over."""
    home = ModelHome().live(2 * DAY, 100)
    odd = [START + HOUR * hour for hour in (10, 11, 30)]
    for start in odd:
        row = home.recorder.hours[start]
        home.recorder.hours[start] = Row(start, None, row.sum)
    del home.logged[START + 31 * HOUR]
    home.back_fill()
    assert all(home.recorder.hours[start].state is not None for start in odd)
    assert min(home.recorder.changes().values()) >= 0
    late = max(home.hours(START))
    total = home.recorder.hours[late].sum
    assert total == pytest.approx(home.hours(START)[late] - 1_000_000, abs=5)


def test_row_without_state_behind_the_window() -> None:
    """It counts what it has counted."""
    rows = [
        Row(START - HOUR, 1_000, 20),
        Row(START, 1_050, 70),
        Row(START + HOUR, None, 100),
    ]
    plan = plan_register(profile({START: 1_060}, 1_000), rows, None)
    assert plan.rows == (Row(START, 1_060, 80),)
    assert (plan.shift, plan.shift_from) == (10, START)


def restarted(at: int, lift: float, readings: Mapping[int, float]) -> LoadProfile:
    """Return what is logged of a register that restarts in an hour."""
    hours = {
        start: Reading(register, lift if start >= at else 0)
        for start, register in readings.items()
    }
    return LoadProfile(START, max(hours) + HOUR, Reading(1_000), hours)


@pytest.mark.parametrize("is_live", [False, True])
def test_register_that_restarts(is_live: bool) -> None:
    """The hour counts what is known of both sides, all others are exact."""
    at = START + 2 * HOUR
    logged = restarted(
        at, 1_250, {START: 1_100, START + HOUR: 1_200, at: 30, at + HOUR: 130}
    )
    rows = [
        Row(START - HOUR, 1_000, 500),
        Row(START, 1_100, 600),
        Row(START + HOUR, 1_200, 700),
        # Home Assistant counts the register from 0 again.
        Row(at, 29, 700 + 29),
        Row(at + HOUR, 129, 700 + 129),
    ]
    live = Row(at + 2 * HOUR - PERIOD, 129, 829)
    plan = plan_register(logged, rows, live, is_live=is_live)
    after = {row.start: row.sum for row in (*rows, *plan.rows)}
    assert after[at] - after[START + HOUR] == 30 + 1_250 - 1_200
    assert after[at + HOUR] - after[at] == 100
    assert min(changed(rows, plan).values()) >= 0
    # The next live row counts on from the restarted register.
    anchor = plan.anchor or live._replace(sum=live.sum + plan.shift)
    assert anchor.sum - (anchor.state or 0) == after[at + HOUR] - 130
    again = plan_register(
        logged,
        [
            *rows[:1],
            *(Row(s, logged.hours[s].register, after[s]) for s in logged.hours),
        ],
        anchor,
        is_live=is_live,
    )
    assert again == Plan()


def test_restart_while_home_assistant_is_off() -> None:
    """Rows from before the restart count nothing, and nothing less than nothing."""
    at = START + 2 * HOUR
    logged = restarted(
        at, 1_250, {START: 1_100, START + HOUR: 1_200, at: 30, at + HOUR: 130}
    )
    flat = [Row(START + n * HOUR, 1_050, 550) for n in range(4)]
    live = Row(at + 2 * HOUR - PERIOD, 1_050, 550)
    plan = plan_register(logged, [Row(START - HOUR, 1_000, 500), *flat], live)
    assert [row.sum for row in sorted(plan.rows)] == [600, 700, 780, 880]
    # A newer state is lower than this one: Home Assistant would count it from 0.
    assert plan.anchor == Row(live.start, 130, 880)


@pytest.mark.parametrize("difference", [-1, 0, 1])
def test_total_that_is_rounded_apart(difference: int) -> None:
    """A live total that differs by the last digit makes no bar and no correction."""
    hours = {START + n * HOUR: 5_000 + 100 * (n == 0) for n in range(1)}
    logged = replace(profile(hours, 5_000), rounding=1.5)
    rows = [Row(START - HOUR, 5_000, 0), Row(START, 5_100 + difference, 100)]
    live = Row(START + HOUR - PERIOD, 5_100 + difference, 100 + difference)
    plan = plan_register(logged, rows, live)
    assert not plan.rows
    # The register stands still: the next hour counts nothing.
    following = plan.anchor or live._replace(sum=live.sum + plan.shift)
    assert following.sum == 100
    later = profile({START + HOUR: 5_100}, 5_100)
    idle = [rows[1], Row(START + HOUR, 5_100 + difference, 100)]
    assert not plan_register(replace(later, rounding=1.5), idle, None).rows


def test_rounded_total_where_the_logger_begins() -> None:
    """A live total above the next reading by its rounding counts nothing twice."""
    later = START + 900 * HOUR
    hours = {START: Reading(0, is_exact=False), later: Reading(9)}
    logged = LoadProfile(START, later + HOUR, None, hours, rounding=1.5)
    plan = plan_register(logged, [Row(START, 10, 10)], None)
    assert plan.rows == (Row(later, 9, 10),)


def test_peak_until_the_full_hour_is_not_wrong() -> None:
    """The last poll before it lacks more than the hour after it counts."""
    hours = {START: 12_000, START + HOUR: 12_002}
    rows = [
        Row(START - HOUR, 1_000, 0),
        Row(START, 11_985, 10_985),
        Row(START + HOUR, 12_002, 11_002),
    ]
    assert not plan_register(profile(hours, 1_000), rows, None).wrong
    rows[1] = Row(START, 11_700, 10_700)
    wrong = plan_register(profile(hours, 1_000), rows, None).wrong
    assert wrong == {START, START + HOUR}


@pytest.mark.parametrize("off", [-240, -60, 60, 240])
def test_load_that_is_switched_by_a_clock_that_is_off(off: int) -> None:
    """The logged hour lies before or after the live one: neither is wrong."""

    def register(second: int) -> int:
        """Return the register at a second: 11 kW for eight hours, 0 before and after."""
        return round(min(max(second - 2 * HOUR, 0), 8 * HOUR) * 11_000 / HOUR)

    ends = range(HOUR, 13 * HOUR, HOUR)
    rows = [
        Row(START + end - HOUR, register(end - 5), register(end - 5)) for end in ends
    ]
    hours = {START + end - HOUR: register(end - off) for end in ends}
    logged = profile(hours, 0)
    by_clock = replace(logged, clock_off=abs(off))
    assert not plan_register(by_clock, [Row(START - HOUR, 0, 0), *rows], None).wrong
    # Half of an hour that was missed is more than that.
    rows[5] = rows[5]._replace(sum=rows[5].sum - 5_500)
    wrong = plan_register(by_clock, [Row(START - HOUR, 0, 0), *rows], None).wrong
    assert START + 5 * HOUR in wrong


WEEKS = 1_000 * HOUR
"""Of which nobody knows anything: they count 400 kWh, at 400 W."""


def test_hour_after_weeks_that_count_in_one() -> None:
    """A live row does not lack one hundredth of the energy of weeks."""
    late = START + WEEKS
    hours = {START: 1_100, late: 401_100, late + HOUR: 402_300}
    rows = [BEFORE, *(Row(at, 1_100, 100) for at in (START, late, late + HOUR))]
    plan = plan_register(profile(hours, 1_000), rows, None)
    assert plan.wrong == {late, late + HOUR}
    # The logger begins after the weeks, or before them and the window.
    del hours[START]
    for logged in (
        replace(profile(hours, None), last_known=START),
        replace(profile(hours, 1_100), since=late, last_known=START),
    ):
        assert plan_register(logged, rows, None).wrong == {late, late + HOUR}


@pytest.mark.parametrize("energy", [12_000, 100])
def test_hour_after_an_observed_one(energy: int) -> None:
    """Its power is its own, although nothing was logged for weeks."""
    rows = [BEFORE, Row(START, 900 + energy, energy - 100)]
    initial = Reading(900, is_exact=False)
    logged = LoadProfile(START, START + HOUR, initial, {START: Reading(1_000 + energy)})
    logged = replace(logged, last_known=START - WEEKS)
    is_wrong = bool(plan_register(logged, rows, None).wrong)
    assert is_wrong is (energy == 100)
    # The same in the window.
    late = START + WEEKS
    hours = {START: 1_100, late: 401_100 + energy}
    rows = [BEFORE, RIGHT, Row(late - HOUR, 401_100, 400_100)]
    rows.append(Row(late, 401_000 + energy, 400_000 + energy))
    assert bool(plan_register(profile(hours, 1_000), rows, None).wrong) is is_wrong


@pytest.mark.parametrize(("lower", "is_same"), [(3_600, True), (3_601, False)])
def test_another_meter_before_a_logger_with_weeks(lower: int, is_same: bool) -> None:
    """A house that uses 400 Wh in an hour has not used more before it, and 2 kWh."""
    hours = {START + n * HOUR: 500_000 + 400 * n for n in range(30)}
    hours[START + WEEKS] = hours[START + 29 * HOUR] + 300_000
    rows = [Row(START - HOUR, 500_000 - lower, 5)]
    plan = plan_register(profile(hours, None), rows, None)
    first = next(row for row in plan.rows if row.start == START)
    assert first.sum == 5 + lower * is_same


def test_weeks_after_the_window() -> None:
    """Their row does not keep what the window counts already."""
    late = Row(START + WEEKS, 401_100, 400_100)
    rows = [BEFORE, Row(START, 1_000, 0), late]
    plan = plan_register(profile(ONE_HOUR, 1_000), rows, None)
    assert plan.rows == (RIGHT,)
    assert late.sum + plan.shift == 400_100
    # The register was not known at the end of the window either.
    rows.insert(2, Row(late.start - HOUR, 1_000, 0))
    logged = replace(profile(ONE_HOUR, 1_000), until=late.start)
    plan = plan_register(logged, rows, None)
    assert late.sum + plan.shift == 400_100


def test_short_term_row_after_weeks() -> None:
    """All rows of its hour are moved with it, unless it lacks as little as a live row."""
    late = START + WEEKS
    hours = {START: 1_100, late: 401_100}
    for lacking, shift in ((10, 0), (11, 11)):
        row = Row(late, 401_095, 400_095 - lacking)
        live = row._replace(start=late + HOUR - PERIOD)
        plan = plan_register(profile(hours, 1_000), [BEFORE, RIGHT, row], live)
        assert plan.shift == shift


def test_last_poll_of_weeks() -> None:
    """One hundredth of their energy does not pass between two polls."""
    written = Plan(rows=(Row(WEEKS, 400_100, 400_100),))
    for energy, found in ((5, (WEEKS + HOUR, 5)), (6, None)):
        rows = [Row(0, 100, 100), Row(WEEKS, 400_100 - energy, 400_100 - energy)]
        assert unpolled_energy(rows, written) == found
    # The first row of all counts its own hour.
    written = Plan(rows=(Row(0, 100, 100),))
    assert unpolled_energy([Row(0, 98, 98)], written) == (HOUR, 2)


def test_hours_that_a_plan_changes() -> None:
    """An hour without a row is new, and a shifted one stays."""
    rows = [Row(0, 5, 5), Row(HOUR, 7, 7), Row(2 * HOUR, None, 9)]
    shift = Plan(shift_from=HOUR, shift=3)
    assert changed(rows, shift) == {HOUR: 3}
    for row, changes in (
        (Row(0, 5, 5), {}),
        (Row(0, 5, 4), {0: -1, HOUR: 1}),
        (Row(0, 6, 5), {0: 0}),
        (Row(0, None, 5), {0: 0}),
        (Row(2 * HOUR, None, 9), {}),
        (Row(2 * HOUR, 9, 9), {2 * HOUR: 0}),
        (Row(3 * HOUR, 7, 9), {3 * HOUR: 0}),
    ):
        plan = Plan(rows=(row,))
        assert changed(rows, plan) == changes
        for until in (HOUR, HOUR + 1):
            before = {at: energy for at, energy in changes.items() if at < until}
            assert changed(rows, plan, until) == before


@pytest.mark.parametrize("before", [[], [BEFORE], [BEFORE._replace(start=0)]])
@pytest.mark.parametrize("hole", [0, 3])
def test_hour_after_a_hole_is_wrong_once(before: list[Row], hole: int) -> None:
    """With the rows of the plan it is right, also if none is just before it."""
    hours = {START: 1_100, START + (1 + hole) * HOUR: 1_200}
    logged = profile(hours, 1_000)
    plan = plan_register(logged, before, None)
    assert plan.wrong == hours.keys()
    assert plan.anchor
    again = plan_register(logged, [*before, *plan.rows], plan.anchor)
    assert again == Plan()


def test_hour_that_was_not_logged_is_not_wrong() -> None:
    """Nobody knows its energy."""
    hours = {START: 2_000, START + 2 * HOUR: 4_000}
    rows = [Row(START - HOUR, 1_000, 0), Row(START, 2_000, 1_000)]
    rows += [Row(START + HOUR, 1_500, 3_000), Row(START + 2 * HOUR, 4_000, 5_000)]
    plan = plan_register(profile(hours, 1_000), rows, None)
    assert Row(START + HOUR, 2_000, 1_000) in plan.rows
    assert not plan.wrong


def test_energy_between_two_polls() -> None:
    """It is a hundredth of the hour's, and 1 Wh."""
    lags = [poll_lag(power) - EQUAL for power in (-500, 0, 1, 500)]
    assert lags == pytest.approx([1, 1, 1.01, 6], rel=1e-12)


@pytest.mark.parametrize(
    ("sums", "wrong"),
    [
        # At each end of 1000 Wh 11 may be missing, and 1 after an hour without any.
        ((976, 2_976), []),
        ((1_024, 3_024), []),
        ((975.99, 2_975.99), [0]),
        ((1_024.01, 3_024.01), [0]),
        # At each end of 2000 Wh 21, and 11 after an hour with 1000.
        ((1_000, 3_064), []),
        ((1_000, 2_935.9), [1]),
        ((1_000, 3_064.1), [1]),
        ((None, 3_000), [0, 1]),
        ((1_000, None), [1]),
    ],
)
def test_hours_further_off_than_live_rows(
    sums: Sequence[float | None], wrong: list[int]
) -> None:
    """A live row may lack, and have, as much as it does between two polls."""
    hours = {START: 2_000, START + HOUR: 4_000}
    rows = [Row(START - HOUR, 1_000, 0)]
    rows += [
        Row(start, hours[start], total)
        for start, total in zip(hours, sums, strict=True)
        if total is not None
    ]
    plan = plan_register(profile(hours, 1_000), rows, None)
    assert plan.wrong == {START + n * HOUR for n in wrong}
    # An hour without a state was not observed.
    odd = [row._replace(state=None) for row in rows]
    plan = plan_register(profile(hours, 1_000), odd, None)
    assert plan.wrong == hours.keys()


def test_energy_that_only_the_next_hour_has_seen() -> None:
    """The last poll is some seconds before the full hour; more is an outage's."""
    rows = [Row(0, 100, 100), Row(HOUR, 598, 598)]
    written = Plan(rows=(Row(HOUR, 600, 600),))
    assert unpolled_energy(rows, written) == (2 * HOUR, 2)
    # Of 500 Wh in the hour, 6 at most.
    for energy, found in ((6, (2 * HOUR, 6)), (6.1, None), (-6, None), (0, None)):
        lagging = [rows[0], Row(HOUR, 600 - energy, 600 - energy)]
        assert unpolled_energy(lagging, written) == found
    assert unpolled_energy(rows, Plan()) is None
    assert unpolled_energy(rows, Plan(rows=(Row(HOUR, 900, 900),))) is None
    assert unpolled_energy(rows, Plan(rows=(Row(2 * HOUR, 600, 600),))) is None
    assert unpolled_energy([*rows, Row(2 * HOUR, 600, 600)], written) is None
    older = [Row(-HOUR, 50, 50), Row(0, None, 100), rows[1]]
    assert unpolled_energy(older, written) == (2 * HOUR, 2)
    # Home Assistant was not there, or nobody knows what it has seen.
    again = replace(written, rows=(*written.rows, Row(2 * HOUR, 700, 700)))
    assert unpolled_energy(rows, again) is None
    assert unpolled_energy(rows, Plan(rows=(Row(HOUR, None, 600),))) is None
    assert unpolled_energy([rows[0], Row(HOUR, None, 598)], written) is None
    assert unpolled_energy([Row(0, None, 100)], Plan()) is None
    assert unpolled_energy([], Plan()) is None


AT = START + 2 * HOUR
OFF_AT_A_RESTART = [
    Row(START - HOUR, 1_000, 500),
    Row(START, 1_100, 600),
    Row(START + HOUR, 1_200, 700),
    # Home Assistant is off before the register restarts.
    Row(AT, 1_240, 740),
]
LOGGED_RESTART = {START: 1_100, START + HOUR: 1_200, AT: 30}


@pytest.mark.parametrize("is_exact", [False, True])
def test_restart_that_is_observed_after_the_window(is_exact: bool) -> None:
    """The register does not count from 0 again what the window has of it."""
    logged = restarted(AT, 1_250, LOGGED_RESTART)
    hours = {**logged.hours, AT: Reading(30, 1_250, is_exact)}
    live = Row(AT + 2 * HOUR - PERIOD, 129, 740 + 129)
    rows = [*OFF_AT_A_RESTART, live._replace(start=AT + HOUR)]
    plan = plan_register(replace(logged, hours=hours), rows, live)
    assert plan.rows == (Row(AT, 30, 780),)
    assert (plan.shift_from, plan.shift, plan.anchor) == (AT + HOUR, 10, None)
    # The hour of the restart is after the window, and has not observed it.
    before = replace(logged, hours=hours, until=AT)
    assert plan_register(before, rows, live) == Plan()
    # It has: the state is nearer to the register of the logger.
    rows = [*rows[:3], Row(AT, 32, 732), Row(AT + HOUR, 129, 829)]
    plan = plan_register(before, rows, live._replace(sum=829))
    assert (plan.shift_from, plan.shift) == (AT, 50)


@pytest.mark.parametrize("is_live", [False, True])
def test_rows_from_before_a_restart_after_the_window(is_live: bool) -> None:
    """They repeat its end, and the next row continues from there."""
    logged = restarted(AT, 1_250, LOGGED_RESTART)
    off = OFF_AT_A_RESTART
    live = Row(AT + HOUR, 1_240, 740)
    plan = plan_register(logged, off, live, is_live=is_live)
    end = Row(AT, 30, 780)
    assert plan.rows == (end,)
    assert plan.anchor == end._replace(start=live.start)
    # The hour is over, and not logged.
    rows = [*off, live]
    for newest in (None, Row(AT + 2 * HOUR - PERIOD, 1_240, 740)):
        plan = plan_register(logged, rows, newest, is_live=is_live)
        assert plan.rows == (end, end._replace(start=AT + HOUR))
        assert plan.anchor == end._replace(start=AT + 2 * HOUR - PERIOD)
