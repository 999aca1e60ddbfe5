"""Observed and logged values of a measurement, put together."""

from collections.abc import Container, Sequence
from dataclasses import replace
from math import sumprod

from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.backfill.hours import Hour, Piece
from custom_components.emu_professional.backfill.means import (
    Mean,
    MeanProfile,
    MeansPlan,
    StoredMeans,
    Unobserved,
    plan_means,
)
from custom_components.emu_professional.backfill.times import HOUR, PERIOD
from custom_components.emu_professional.outages import Outages

NEVER = 1 << 40
RECORD = 900


def logged(start: int, *values: int) -> Hour:
    """Return an hour with as many records of the same length as there are values."""
    seconds = HOUR // len(values)
    pieces = tuple(
        Piece(at, at + seconds, (value,))
        for at, value in zip(range(start, start + HOUR, seconds), values, strict=True)
    )
    mean = sum(values) / len(values)
    return Hour(
        start, start + HOUR, (), (mean,), (min(values),), (max(values),), 0, (), pieces
    )


def without(hour: Hour, lost: Container[int]) -> Hour:
    """Return an hour some of whose records are lost, counted from 1970 on."""
    pieces = tuple(
        piece
        for piece in hour.pieces
        if piece.begin // (piece.end - piece.begin) not in lost
    )
    values = [piece.values[0] for piece in pieces]
    if not values:
        return replace(hour, pieces=())
    return replace(
        hour,
        means=(sum(values) / len(values),),
        minima=(min(values),),
        maxima=(max(values),),
        pieces=pieces,
    )


def rows(start: int, *means: Sequence[float] | None) -> dict[int, Mean]:
    """Return the rows of periods; one number is a flat row."""
    return {
        start + number * PERIOD: Mean(start + number * PERIOD, *mean)
        for number, mean in enumerate(means)
        if mean is not None
    }


def plan(
    hours: Sequence[Hour],
    stored: StoredMeans,
    outages: Sequence[tuple[int, int]] = (),
    *,
    until: int = NEVER,
    wrong: frozenset[int] = frozenset(),
    rebuild: bool = False,
) -> MeansPlan:
    """Plan the only column."""
    return plan_means(
        MeanProfile(hours, 0, until),
        stored,
        Unobserved(Outages(outages), wrong),
        rebuild=rebuild,
    )


def after(stored: StoredMeans, planned: MeansPlan) -> StoredMeans:
    """Return what is stored when a plan is carried out."""
    return StoredMeans(
        stored.unit,
        {**stored.hours} | {row.start: row for row in planned.hours},
        {**stored.periods} | {row.start: row for row in planned.periods},
        stored.periods_since,
        stored.compiled,
    )


def of_hour(*row: float) -> dict[int, Mean]:
    """Return the row of the hour."""
    return {0: Mean(0, *row)}


SEEN = (5, 1, 15)
FLAT = (7, 7, 7)
TEN_MINUTES_OFF = [(1200, 1800)]

HOURS: dict[str, tuple[StoredMeans, list[tuple[int, int]], Mean, int]] = {
    "peak of an hour with ten minutes off": (
        StoredMeans(
            "kW", of_hour(5, 1, 15), rows(0, *[SEEN] * 4, FLAT, FLAT, *[SEEN] * 6), 0
        ),
        TEN_MINUTES_OFF,
        # The records 20 to 30 minutes after the full hour are the second one.
        Mean(0, (10 * 5 + 2 * 20) / 12, 1, 20),
        2,
    ),
    "rows that are missing": (
        StoredMeans("kW", {}, rows(0, *[SEEN] * 4, None, None, *[SEEN] * 6), 0),
        [],
        Mean(0, (10 * 5 + 2 * 20) / 12, 1, 20),
        2,
    ),
    "nothing stored within the keep time": (
        StoredMeans("kW", {}, {}, 0),
        [(0, HOUR)],
        Mean(0, 25, 10, 40),
        12,
    ),
    "catch-up only": (
        StoredMeans("kW", of_hour(*FLAT), rows(0, *[FLAT] * 12), 0),
        [(-HOUR, 2 * HOUR)],
        Mean(0, 25, 10, 40),
        12,
    ),
    "little of one period missed": (
        StoredMeans("kW", of_hour(*SEEN), rows(0, *[SEEN] * 12), 0),
        [(610, 730)],
        Mean(0, *SEEN),
        0,
    ),
    "most of one period missed": (
        StoredMeans("kW", of_hour(*SEEN), rows(0, *[SEEN] * 12), 0),
        [(610, 870)],
        Mean(0, (11 * 5 + 10) / 12, 1, 15),
        1,
    ),
    "peak in a period whose row is gone": (
        StoredMeans("kW", of_hour(5, 1, 99), rows(0, *[SEEN] * 11, None), 0),
        [],
        Mean(0, (11 * 5 + 40) / 12, 1, 99),
        1,
    ),
    "lowest value in a period whose row is gone": (
        StoredMeans("kW", of_hour(5, -9, 15), rows(0, *[SEEN] * 11, None), 0),
        [],
        Mean(0, (11 * 5 + 40) / 12, -9, 40),
        1,
    ),
    "extremes of periods whose rows are all gone": (
        StoredMeans("kW", of_hour(5, -9, 99), {}, 0),
        [(0, HOUR)],
        Mean(0, 25, -9, 99),
        12,
    ),
    "catch-up of the hour, some periods observed": (
        StoredMeans(
            "kW", of_hour(99, 99, 99), rows(0, *[SEEN] * 6, *[(99,) * 3] * 6), 0
        ),
        [(1800, HOUR)],
        Mean(0, (6 * 5 + 3 * 30 + 3 * 40) / 12, 1, 40),
        6,
    ),
    "lowest value that was only repeated": (
        StoredMeans(
            "kW", of_hour(8.5, 7, 15), rows(0, *[(10, 9, 15)] * 6, *[FLAT] * 6), 0
        ),
        [(1800, HOUR)],
        Mean(0, (6 * 10 + 3 * 30 + 3 * 40) / 12, 9, 40),
        6,
    ),
    "highest value that was only repeated": (
        StoredMeans(
            "kW", of_hour(30, 9, 50), rows(0, *[(10, 9, 15)] * 6, *[(50,) * 3] * 6), 0
        ),
        [(1800, HOUR)],
        Mean(0, (6 * 10 + 3 * 30 + 3 * 40) / 12, 9, 40),
        6,
    ),
    "observed hour with other values than its periods": (
        StoredMeans("kW", of_hour(6, 0, 16), rows(0, *[SEEN] * 12), 0),
        [],
        Mean(0, 6, 0, 16),
        0,
    ),
    "all periods observed, but no hour": (
        StoredMeans("kW", {}, rows(0, *[SEEN] * 12), 0),
        [],
        Mean(0, *SEEN),
        0,
    ),
    "old hour, a second of it missed": (
        StoredMeans("kW", of_hour(5, 1, 15), {}, None),
        [(600, 601)],
        Mean(0, 25, 1, 40),
        0,
    ),
    "old hour, partly observed": (
        StoredMeans("kW", of_hour(5, 1, 99), {}, None),
        TEN_MINUTES_OFF,
        Mean(0, 25, 1, 99),
        0,
    ),
    "old hour, flat": (
        StoredMeans("kW", of_hour(*FLAT), {}, HOUR),
        TEN_MINUTES_OFF,
        Mean(0, 25, 10, 40),
        0,
    ),
    "old hour, observed": (
        StoredMeans("kW", of_hour(*SEEN), {}, HOUR),
        [],
        Mean(0, *SEEN),
        0,
    ),
    "old hour, missing": (
        StoredMeans("kW", {}, {}, None),
        [],
        Mean(0, 25, 10, 40),
        0,
    ),
    "hour that was filled before its periods": (
        StoredMeans("kW", of_hour(24, 9, 41), {}, 0),
        [],
        Mean(0, 24, 9, 41),
        12,
    ),
}


@pytest.mark.parametrize("name", HOURS)
def test_hour(name: str) -> None:
    """Observed periods stay, missed ones follow the records; twice is once."""
    stored, outages, expected, written = HOURS[name]
    stored = StoredMeans(
        stored.unit, stored.hours, stored.periods, stored.periods_since, HOUR
    )
    hours = [logged(0, 10, 20, 30, 40)]
    planned = plan(hours, stored, outages)
    now = after(stored, planned)
    assert now.hours[0].is_like(expected)
    assert len(planned.periods) == written
    for row in planned.periods:
        record = 10 * (row.start // RECORD + 1)
        assert row.mean == record
        assert row.minimum in (record, SEEN[1])
    assert plan(hours, now, outages) == MeansPlan()


@pytest.mark.parametrize(
    ("seconds", "is_observed"), [(149, True), (150, False), (299, False)]
)
def test_period(seconds: int, is_observed: bool) -> None:
    """Its mean is that of its larger part, its extremes are those of both."""
    stored = StoredMeans("kW", of_hour(*SEEN), rows(0, *[SEEN] * 12), 0, HOUR)
    planned = plan([logged(0, 10, 20, 30, 40)], stored, [(600, 600 + seconds)])
    assert planned.periods == (() if is_observed else (Mean(600, 10, 1, 15),))


PEAK = (1_500, 100, 9_000)


def test_outage_noted_since_long_before_it() -> None:
    """Its observed rows stay, as does their peak; its flat rows follow the records."""
    seen = [*[SEEN] * 6, PEAK, *[SEEN] * 2, *[(15,) * 3] * 3]
    stored = StoredMeans("kW", of_hour(129, 1, 9_000), rows(0, *seen), 0, HOUR)
    hours = [logged(0, 10, 20, 600, 40)]
    planned = plan(hours, stored, [(1_360, HOUR)])
    assert planned.periods == tuple(rows(2_700, *[(40,) * 3] * 3).values())
    assert planned.hours[0].maximum == 9_000
    assert plan(hours, after(stored, planned), [(1_360, HOUR)]) == MeansPlan()


def test_outages_that_touch() -> None:
    """Home Assistant polls seldom, and what it observes stays."""
    seen = [*[SEEN] * 6, PEAK, *[SEEN] * 5]
    stored = StoredMeans("kW", of_hour(129, 1, 9_000), rows(0, *seen), 0, HOUR)
    outages = [(begin, begin + 120) for begin in range(0, HOUR, 120)]
    assert plan([logged(0, 10, 20, 600, 40)], stored, outages) == MeansPlan()


def test_row_of_records_in_part() -> None:
    """When the rest of its period is logged, it is written again."""
    hour = logged(0, *range(60))
    stored = StoredMeans("kW", {}, rows(0, *[None] * 2, (10.5, 10, 11)), 0, HOUR)
    assert plan([hour], stored, [(0, HOUR)]).periods[2] == Mean(600, 12, 10, 14)


def test_flat_rows_outside_of_a_noted_outage() -> None:
    """They stay, although the energy of their hour is wrong."""
    seen = [*[(0,) * 3] * 2, (1_800, 0, 3_000), *[(3_000, 2_990, 3_010)] * 5]
    stored = StoredMeans("kW", of_hour(2_000, 0, 3_010), rows(0, *seen), 0, HOUR)
    hours, outages = [logged(0, 600, 3_000, 3_000, 3_000)], [(2_400, 4_800)]
    planned = plan(hours, stored, outages, wrong=frozenset({0}))
    assert planned == plan(hours, stored, outages)
    assert min(row.start for row in planned.periods) == 2_400


def test_time_without_a_record() -> None:
    """Its row stays, and without a row it does not count: so does the hour."""
    hour = without(logged(0, 10, 20, 30, 40), {0})
    for periods, outages in (
        (rows(0, *[SEEN] * 12), [(0, 200)]),
        (rows(0, None, *[SEEN] * 11), []),
    ):
        stored = StoredMeans("kW", of_hour(6, 0, 16), periods, 0, HOUR)
        assert plan([hour], stored, outages) == MeansPlan()


def test_several_records_in_a_period() -> None:
    """Each counts with its seconds, and with its extremes."""
    hour = logged(0, *range(60))
    stored = StoredMeans("kW", {}, {}, 0, HOUR)
    assert plan([hour], stored).periods[1] == Mean(300, 7, 5, 9)
    hour = replace(hour, pieces=(Piece(0, 301, (10,)), Piece(301, HOUR, (20,))))
    row = plan([hour], stored).periods[1]
    assert row.is_like(Mean(300, (10 + 299 * 20) / 300, 10, 20))


@pytest.mark.parametrize(
    ("row", "other", "is_like"),
    [
        ((5, 1, 15), (5, 1, 15), True),
        ((5, 1, 15), (5.1, 1, 15), False),
        ((5, 1, 15), (5, 0.9, 15), False),
        ((5, 1, 15), (5, 1, 15.1), False),
        # Floating point rounds large numbers.
        ((-1e9, -1e9, -1e9), (-1e9 - 5e-4,) * 3, True),
        ((1e9, 1e9, 1e9), (1e9 + 5e-4,) * 3, True),
        ((1e3, 1e3, 1e3), (1e3 + 5e-4,) * 3, False),
    ],
)
def test_rows_that_are_alike(
    row: tuple[float, ...], other: tuple[float, ...], is_like: bool
) -> None:
    """A row that says the same is not written again."""
    assert Mean(0, *row).is_like(Mean(0, *other)) is is_like


def test_running_hour() -> None:
    """Its missed periods are filled as far as they are compiled, the hour is not."""
    stored = StoredMeans("kW", {}, rows(0, SEEN, FLAT, FLAT), 0, compiled=4 * PERIOD)
    planned = plan([logged(0, 10, 20, 30, 40)], stored, [(300, 900)], until=0)
    assert planned == MeansPlan(
        (), (*rows(PERIOD, (10,) * 3, (10,) * 3).values(), Mean(900, 20, 20, 20))
    )


def test_rows_that_repeat_the_last_value() -> None:
    """Nobody noted the outage, but the registers say that the hour was wrong."""
    stored = StoredMeans(
        "kW", of_hour(6, 1, 15), rows(0, *[SEEN] * 3, *[FLAT] * 6, *[SEEN] * 3), 0, HOUR
    )
    hours = [logged(0, 10, 20, 30, 40)]
    assert plan(hours, stored) == MeansPlan()
    planned = plan(hours, stored, wrong=frozenset({0}))
    assert [row.start for row in planned.periods] == [*range(900, 2700, 300)]
    (hour,) = planned.hours
    assert hour.is_like(Mean(0, (6 * 5 + 3 * 20 + 3 * 30) / 12, 1, 30))


@pytest.mark.parametrize("has_periods", [True, False])
@pytest.mark.parametrize("wrong", [0, 2])
def test_flat_line_that_nobody_noted(wrong: int, has_periods: bool) -> None:
    """An hour without energy is filled with the wrong hour of the same flat line."""
    lines = [FLAT, FLAT, FLAT, (8, 8, 8)]
    stored = StoredMeans(
        "kW",
        {at * HOUR: Mean(at * HOUR, *row) for at, row in enumerate(lines)},
        rows(0, *(row for row in lines for _ in range(12))) if has_periods else {},
        0,
    )
    hours = [logged(at * HOUR, 10, 20, 30, 40) for at in range(4)]
    assert not plan(hours, stored).hours
    planned = plan(hours, stored, wrong=frozenset([wrong * HOUR]))
    assert [row.start for row in planned.hours] == [0, HOUR, 2 * HOUR]
    # A line ends where a row is missing.
    hole = replace(stored, hours={at: stored.hours[at] for at in (0, 2 * HOUR)})
    planned = plan([hours[0], hours[2]], hole, wrong=frozenset([wrong * HOUR]))
    assert [row.start for row in planned.hours] == [wrong * HOUR]


def test_rows_that_are_alike_but_no_flat_line() -> None:
    """Only an outage repeats one value."""
    stored = StoredMeans("kW", {at: Mean(at, *SEEN) for at in (0, HOUR)})
    hours = [logged(at, 10, 20, 30, 40) for at in (0, HOUR)]
    planned = plan(hours, stored, wrong=frozenset([0]))
    assert [row.start for row in planned.hours] == [0]


def test_value_that_stands_still() -> None:
    """A flat row that does not repeat a value before it was observed."""
    seen = [(2, 1, 3), (22, 22, 22), (22, 22, 22), (22, 22, 22), (5, 1, 15)]
    stored = StoredMeans("kW", of_hour(6, 1, 22), rows(0, *seen, *[SEEN] * 7), 0, HOUR)
    hours = [logged(0, 10, 20, 30, 40)]
    planned = plan(hours, stored, wrong=frozenset({0}))
    # The first one is new; the others may be an outage.
    assert [row.start for row in planned.periods] == [600, 900]


def test_time_that_nobody_knows() -> None:
    """It does not count in the hour, and its rows stay."""
    stored = StoredMeans("kW", of_hour(6, 1, 15), rows(0, *[SEEN] * 6, *[FLAT] * 6), 0)
    hour = logged(0, 10, 20, 30, 40)
    hour = Hour(0, 2700, (), (15,), (10,), (20,), 0, (), hour.pieces[:2])
    planned = plan([hour], stored, [(1800, HOUR)])
    assert not planned.periods
    assert planned.hours == (Mean(0, 5, 1, 15),)


def test_repeated_row_of_time_that_is_not_logged() -> None:
    """It counts the same while the hour is wrong and when it is right."""
    stored = StoredMeans(
        "kW", of_hour(6, 1, 15), rows(0, *[SEEN] * 3, *[FLAT] * 6, *[SEEN] * 3), 0, HOUR
    )
    hour = without(logged(0, 10, 20, 30, 40), {1})
    for outages in ([], [(900, 1300)], [(1100, 1700)]):
        planned = plan([hour], stored, outages, wrong=frozenset({0}))
        assert planned.hours
        assert plan([hour], after(stored, planned), outages) == MeansPlan()


def test_rebuild() -> None:
    """Means follow the logger, and extremes that were observed stay."""
    stored = StoredMeans(
        "kW", of_hour(5, 1, 99), rows(0, *[SEEN] * 6, *[FLAT] * 6), 0, HOUR
    )
    hours = [logged(0, 10, 20, 30, 40)]
    planned = plan(hours, stored, [(1800, HOUR)], rebuild=True)
    assert planned.hours == (Mean(0, 25, 1, 99),)
    assert len(planned.periods) == 6
    now = after(stored, planned)
    assert plan(hours, now, [(1800, HOUR)], rebuild=True) == MeansPlan()
    # Observed hours follow as well, whether or not their periods are still stored.
    for periods, since in ((rows(0, *[SEEN] * 12), 0), ({}, None)):
        stored = StoredMeans("kW", of_hour(*SEEN), periods, since, HOUR)
        planned = plan(hours, stored, rebuild=True)
        assert planned == MeansPlan((Mean(0, 25, 1, 40),))


def test_rebuild_after_the_outage_is_forgotten() -> None:
    """A row of an outage without a record stays, and counts in the extremes."""
    hour = without(logged(0, 10, 20, 30, 40), {0})
    stored = StoredMeans("kW", {}, rows(0, *[FLAT] * 3, [-9] * 3), 0, HOUR)
    planned = plan([hour], stored, [(0, 1200)], rebuild=True)
    assert planned.hours == (Mean(0, 30, FLAT[1], 40),)
    assert plan([hour], after(stored, planned), rebuild=True) == MeansPlan()


def test_old_hour_that_is_wrong() -> None:
    """Nobody noted the outage, but the registers say that there was one."""
    stored = StoredMeans("kW", of_hour(*SEEN), {}, None, HOUR)
    hours = [logged(0, 10, 20, 30, 40)]
    planned = plan(hours, stored, wrong=frozenset({0}))
    assert planned.hours == (Mean(0, 25, 1, 40),)


VALUES = st.integers(-50, 50)
ROWS = st.one_of(
    st.none(),
    VALUES.map(lambda value: (value,) * 3),
    st.lists(VALUES, min_size=3, max_size=3).map(
        lambda values: (sum(values) / 3, min(values), max(values))
    ),
)


@st.composite
def houses(
    draw: st.DrawFn,
) -> tuple[list[Hour], StoredMeans, list[tuple[int, int]]]:
    """Return hours of which records may be lost, with any rows and any outages."""
    count = draw(st.integers(1, 3))
    per_hour = draw(st.sampled_from([1, 4, 6, 60]))
    hours = [
        logged(n * HOUR, *draw(st.lists(VALUES, min_size=per_hour, max_size=per_hour)))
        for n in range(count)
    ]
    lost = draw(st.frozensets(st.integers(0, count * per_hour - 1)))
    hours = [without(hour, lost) for hour in hours]
    hours = [hour for hour in hours if hour.pieces]
    periods = rows(0, *draw(st.lists(ROWS, max_size=12 * count)))
    hourly = rows(0, *draw(st.lists(ROWS, max_size=count)))
    stored = StoredMeans(
        "W",
        {
            n * HOUR: row._replace(start=n * HOUR)
            for n, row in enumerate(hourly.values())
        },
        periods,
        draw(st.sampled_from([None, 0, 0, 0, HOUR])),
        count * HOUR - draw(st.sampled_from([0, 0, PERIOD, HOUR])),
    )
    seconds = st.integers(-HOUR, count * HOUR)
    outages = draw(
        st.lists(
            st.tuples(seconds, seconds).filter(lambda time: time[0] < time[1]),
            max_size=3,
        )
    )
    return hours, stored, outages


@given(houses(), st.frozensets(st.sampled_from([0, HOUR, 2 * HOUR])), st.booleans())
def test_anything(
    house: tuple[list[Hour], StoredMeans, list[tuple[int, int]]],
    wrong: frozenset[int],
    rebuild: bool,
) -> None:
    """Twice is once, no hour is left out, and observed extremes stay."""
    hours, stored, outages = house
    until = stored.compiled // HOUR * HOUR
    planned = plan(hours, stored, outages, until=until, wrong=wrong, rebuild=rebuild)
    now = after(stored, planned)
    # Registers that are right by now say nothing of hours any more, and the outages of
    # settled hours are forgotten.
    for noted in (outages, []):
        assert plan(hours, now, noted, until=until, rebuild=rebuild) == MeansPlan()
    unobserved = [set(range(since, end)) for since, end in outages]
    missed = set().union(*unobserved)
    for hour in hours:
        if hour.start >= until:
            assert now.hours.get(hour.start) == stored.hours.get(hour.start)
            continue
        row = now.hours[hour.start]
        assert row.minimum - 1e-6 <= row.mean <= row.maximum + 1e-6
        for start in range(hour.start, hour.end, PERIOD):
            kept = stored.periods.get(start)
            is_missed = missed >= {*range(start, start + PERIOD)}
            if kept is None or is_missed or hour.start in wrong:
                continue
            if stored.periods_since is not None and hour.start >= stored.periods_since:
                period = now.periods[start]
                assert period.minimum <= kept.minimum
                assert period.maximum >= kept.maximum
                if hour.start not in stored.hours:
                    assert row.minimum <= kept.minimum
                    assert row.maximum >= kept.maximum
        before = stored.hours.get(hour.start)
        if before and not before.is_flat and not missed and hour.start not in wrong:
            assert row.minimum <= before.minimum
            assert row.maximum >= before.maximum


@given(st.integers(0, 12), st.lists(VALUES, min_size=4, max_size=4), st.booleans())
def test_hour_that_begins_observed(
    observed: int, values: list[int], is_off: bool
) -> None:
    """The mean is that of every second, observed or logged."""
    stored = StoredMeans(
        "W",
        of_hour(0, -99, 99) if is_off else {},
        rows(0, *[(3, -60, 60)] * observed, *[(3, 3, 3)] * (is_off * (12 - observed))),
        0,
        HOUR,
    )
    planned = plan([logged(0, *values)], stored, [(observed * PERIOD, HOUR)])
    hour = after(stored, planned).hours[0]
    if observed == 12 and is_off:
        assert not planned.hours
        return
    off = observed * PERIOD
    weights = [RECORD - min(max(off - n * RECORD, 0), RECORD) for n in range(4)]
    expected = (3 * observed * PERIOD + sumprod(weights, values)) / HOUR
    assert hour.mean == pytest.approx(expected)
