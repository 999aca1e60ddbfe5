"""Folding the load profile into hours, compared with second by second."""

from dataclasses import replace
from math import sumprod

from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.backfill.hours import Folding, Hour
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.emu.logs import (
    COLUMNS,
    REGISTER_COUNT,
    LoggerStatus,
    Record,
)

SERIAL_NUMBER = "22350001"
START = 1_780_300_800
"""2026-06-01T08:00:00Z"""

LATEST = START + 10**9
MEASURED = len(COLUMNS) - REGISTER_COUNT


def record(
    index: int, at: int, register: int, power: int = 0, status: int = 0
) -> Record:
    """Return a record with the same value in every register, and in all the rest."""
    values = (register,) * REGISTER_COUNT + (power,) * MEASURED
    return Record(at, index, status, SERIAL_NUMBER, values)


def fold(records: list[Record], latest: int = LATEST) -> tuple[list[Hour], Folding]:
    """Return the hours of records."""
    folding = Folding(SERIAL_NUMBER, latest)
    return [*folding.feed(records), *folding.close()], folding


@st.composite
def profiles(draw: st.DrawFn) -> list[Record]:
    """Return records of changing intervals, with outages."""
    at = START
    register = 0
    records = []
    for index in range(draw(st.integers(1, 80))):
        interval = draw(st.sampled_from([60, 300, 420, 900, 900, 900, 1800, 3600]))
        outage = draw(st.sampled_from([0] * 15 + [5 * HOUR]))
        at += interval + outage
        register += draw(st.integers(0, 5000))
        power = draw(st.integers(-9999, 9999))
        status = LoggerStatus.POWER_FAILURE if outage else 0
        records.append(record(index, at, register, power, status))
    return records


@given(profiles())
def test_nothing_is_lost(records: list[Record]) -> None:
    """The hours telescope to the whole energy, each known where its record ends."""
    hours, folding = fold(records)
    assert not folding.filter.rejected
    assert hours == sorted(hours, key=lambda hour: hour.start)
    assert hours[-1].registers == records[-1].values[:REGISTER_COUNT]
    for hour in hours:
        assert hour.start % HOUR == 0
        inside = [r for r in records if hour.start < r.at <= hour.end]
        assert hour.registers == inside[-1].values[:REGISTER_COUNT]
        assert hour.known == inside[-1].at
    assert {hour.start for hour in hours} == {
        (r.at - 1) // HOUR * HOUR for r in records
    }


@given(profiles())
def test_minimum_and_maximum_are_those_of_the_records(records: list[Record]) -> None:
    """Means lie between them; every record that ends in the hour is in it."""
    for hour in fold(records)[0]:
        inside = [
            r.values[REGISTER_COUNT] for r in records if hour.start < r.at <= hour.end
        ]
        assert hour.minima[0] <= min(inside)
        assert hour.maxima[0] >= max(inside)
        assert hour.minima[0] - 1e-6 <= hour.means[0] <= hour.maxima[0] + 1e-6
        assert len(hour.means) == len(hour.minima) == len(hour.maxima) == MEASURED


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(-999, 999)), min_size=1))
def test_mean_is_weighted_with_time(parts: list[tuple[int, int]]) -> None:
    """The mean is that of every second, also for records over the hour's border."""
    at = START
    records = [record(0, at, 0)]
    seconds: dict[int, list[int]] = {}
    for index, (minutes, power) in enumerate(parts, 1):
        for second in range(at, at + 60 * minutes, 60):
            seconds.setdefault(second // HOUR * HOUR, []).append(power)
        at += 60 * minutes
        records.append(record(index, at, 0, power))
    hours = [hour for hour in fold(records)[0] if hour.start >= START]
    for hour in hours:
        powers = seconds[hour.start]
        assert hour.means[0] == pytest.approx(sum(powers) / len(powers))


@given(profiles())
def test_pieces_cover_the_hour(records: list[Record]) -> None:
    """They have the hour's mean, and lie in it; older hours keep none."""
    since = START + 5 * HOUR
    folding = Folding(SERIAL_NUMBER, LATEST, pieces_since=since)
    for hour in (*folding.feed(records), *folding.close()):
        assert bool(hour.pieces) is (hour.start >= since)
        for piece in hour.pieces:
            assert hour.start <= piece.begin < piece.end <= hour.end
            assert len(piece.values) == MEASURED
        if hour.pieces:
            seconds = [piece.end - piece.begin for piece in hour.pieces]
            powers = [piece.values[0] for piece in hour.pieces]
            mean = sumprod(seconds, powers) / sum(seconds)
            assert hour.means[0] == pytest.approx(mean)


@given(profiles(), st.integers(1, 7))
def test_pages_make_no_difference(records: list[Record], size: int) -> None:
    """A stream in pieces folds as one list, pages may overlap."""
    folding = Folding(SERIAL_NUMBER, LATEST)
    hours: list[Hour] = []
    for begin in range(0, len(records), size):
        hours += folding.feed(records[max(begin - 1, 0) : begin + size])
    hours += folding.close()
    assert hours == fold(records)[0]


def test_few_hours_are_kept() -> None:
    """Years of records need the memory of a day."""
    folding = Folding(SERIAL_NUMBER, LATEST)
    count = 0
    for index in range(1, 96 * 30):
        count += len(list(folding.feed([record(index, START + 900 * index, index)])))
        assert len(folding._open) <= 28
    assert count > 24 * 28


def test_clock_set_back_and_forward() -> None:
    """Doubled and skipped stamps lose nothing."""
    back = [record(i, START + 900 * i, i * 10) for i in range(1, 9)]
    changed = LoggerStatus.TIME_CHANGED
    back += [
        record(i, START + 900 * i - HOUR, i * 10, status=changed if i == 9 else 0)
        for i in range(9, 17)
    ]
    hours, folding = fold(back)
    assert not folding.filter.rejected
    assert [hour.registers[0] for hour in hours] == [40, 120, 160]
    assert hours[1].status == changed

    forward = [record(i, START + 900 * i, i * 10) for i in range(1, 9)]
    forward += [record(i, START + 900 * i + HOUR, i * 10) for i in range(9, 13)]
    hours, _ = fold(forward)
    assert [hour.start for hour in hours] == [START + HOUR * i for i in (0, 1, 3)]
    assert hours[-1].registers[0] == 120


@pytest.mark.parametrize("shift", [-2 * HOUR, 2 * HOUR])
def test_stamp_that_does_not_fit_in(shift: int) -> None:
    """It is refused, unless the clock was set and set again."""
    records = [record(i, START + 900 * i, i * 10) for i in range(1, 13)]
    odd = replace(records[9], at=records[9].at + shift)
    _, folding = fold([*records[:9], odd, *records[10:]])
    assert folding.filter.rejected == {"time stamp out of order": 1}
    odd = replace(odd, status=int(LoggerStatus.TIME_CHANGED))
    _, folding = fold([*records[:9], odd, *records[10:]])
    assert not folding.filter.rejected


def test_hour_that_the_clock_was_set_back_from() -> None:
    """Until its time comes again it is not known: it would count less than nothing."""
    before = [record(i, START + 900 * i, i * 10) for i in range(1, 10)]
    after = [record(i, START + 900 * i - 2 * HOUR, i * 10) for i in range(10, 12)]
    hours, folding = fold(before + after)
    assert not folding.filter.rejected
    assert [hour.start for hour in hours] == [START]
    assert hours[0].registers[0] == 110
    # The hour that begins just then is not known either.
    hours, _ = fold([*before, record(10, START + HOUR, 100)])
    assert [hour.start for hour in hours] == [START]
    assert hours[0].registers[0] == 100


@pytest.mark.parametrize("minutes", [25 * 60, 25 * 60 + 45, 26 * 60, 26 * 60 + 15])
def test_clock_set_back_by_more_than_a_day(minutes: int) -> None:
    """The hour that it is set back to is still open, wherever in an hour it is set.

    An interval passes meanwhile: 26 hours after the last record is the most.
    """
    for length in range(116, 124):
        before = [record(i, START + 900 * i, i * 10) for i in range(1, length)]
        back = START + 900 * length - 60 * minutes
        after = [
            record(length + i, back + 900 * i, (length + i) * 10) for i in range(9)
        ]
        hours, folding = fold([*before, *after])
        assert not folding.filter.rejected
        starts = [hour.start for hour in hours]
        assert starts == [*range(START, after[-1].at, HOUR)]
        for hour in hours:
            known = [r for r in before if r.at <= back] + after
            inside = [r for r in known if hour.start < r.at <= hour.end]
            assert hour.registers == inside[-1].values[:REGISTER_COUNT]


def test_hour_before_that_the_clock_was_set_back_to() -> None:
    """What is logged again leaves the mean of an hour alone that was logged before."""
    before = [record(i, START + HOUR * i, 0, power=100) for i in range(1, 3)]
    hours, _ = fold([*before, record(3, START + HOUR + 60, 0, power=5_000)])
    assert hours[0].means == (100,) * MEASURED
    # Its own hour counts the minute.
    assert hours[1].means[0] == pytest.approx((100 * 60 + 5_000) / 61)


@pytest.mark.parametrize(
    ("index", "seconds", "covered"),
    [
        (4, 900, 900),
        # The clock was set back by an interval: then this one is as long as the last.
        (4, 0, 900),
        # By more: the record before its stamp may be right.
        (4, -700, 200),
        (4, -900, 900),
        (4, -1801, 899),
        (4, 1, 1),
        # A second after the full hour.
        (4, 901, 901),
        # Records in between are missing, or the meter had no power and does not say so.
        (5, 1800, 900),
        (4, HOUR, HOUR),
        (4, HOUR + 1, 900),
    ],
)
def test_covered_time(index: int, seconds: int, covered: int) -> None:
    """A record covers the time since the last one, or an interval if that is unknown."""
    records = [record(i, START + 900 * i, 0, power=100) for i in range(1, 4)]
    at = START + 2700 + seconds
    folding = Folding(SERIAL_NUMBER, LATEST, pieces_since=0)
    records.append(record(index, at, 0, power=500))
    pieces = []
    for hour in (*folding.feed(records), *folding.close()):
        pieces += [piece for piece in hour.pieces if piece.values[0] == 500]
        assert all(hour.start <= p.begin < p.end <= hour.end for p in hour.pieces)
    assert min(piece.begin for piece in pieces) == at - covered
    assert sum(piece.end - piece.begin for piece in pieces) == covered


def test_register_that_restarts() -> None:
    """From the hour of the restart on the hours have the loss."""
    registers = [10, 20, 30, 40, 7, 17, 27, 37, 47]
    logged = [record(i, START + 900 * (i + 1), r) for i, r in enumerate(registers)]
    hours, _ = fold(logged)
    assert [hour.registers[0] + hour.lift[0] for hour in hours] == [40, 70, 80]
    assert [hour.lift for hour in hours] == [
        (lost,) * REGISTER_COUNT for lost in (0, 33, 33)
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"serial_number": "22350099"}, "another serial number"),
        ({"at": LATEST + 1}, "time stamp in the future"),
        ({"at": 0}, "time stamp far in the past"),
        ({"index": 3}, "read already"),
        ({"values": (0,) * len(COLUMNS)}, "register runs backwards"),
        ({"values": (10**9,) * len(COLUMNS)}, "register runs ahead"),
    ],
)
def test_record_that_cannot_be_right(change: dict[str, object], reason: str) -> None:
    """One bad record among good ones is left out and counted."""
    records = [record(i, START + 900 * i, i * 10) for i in range(1, 13)]
    damaged = [*records[:5], replace(records[5], **change), *records[6:]]  # type: ignore[arg-type]
    hours, folding = fold(damaged)
    assert folding.filter.rejected == {reason: 1}
    assert [hour.registers for hour in hours] == [
        hour.registers for hour in fold(records)[0]
    ]


def test_covered_time_after_a_power_failure() -> None:
    """The first record after a power failure counts for one interval, not for all."""
    records = [record(i, START + 900 * i, 0, power=100) for i in range(1, 4)]
    failed = LoggerStatus.POWER_FAILURE
    records.append(record(4, START + 900 * 7, 0, power=500, status=failed))
    records.append(record(5, START + 900 * 8, 0, power=100))
    hours, _ = fold(records)
    assert hours[1].means[0] == pytest.approx(300)
    assert hours[1].status == failed


def test_no_records() -> None:
    """Nothing comes of nothing."""
    assert fold([])[0] == []
