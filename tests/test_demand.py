"""Intervals of demand: intervals of the logger, or of live readings."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
import json
from typing import Final
from zoneinfo import ZoneInfo

from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
import voluptuous as vol

from custom_components.emu_professional.demand import LOGGED, LoggedDemand, Peaks
from custom_components.emu_professional.emu.logs import (
    COLUMNS,
    REGISTER_COUNT,
    LoggerStatus,
    Record,
)
from custom_components.emu_professional.intervals import (
    Interval,
    LiveIntervals,
    expected,
    month_begin,
    next_month,
)
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.history import PowerFailure
from simulator.logger import LoggerConfig
from simulator.meter import Meter

SERIAL_NUMBER: Final = "22350001"
ZURICH: Final = ZoneInfo("Europe/Zurich")
START: Final = 1_780_300_800
"""2026-06-01 08:00 UTC"""
EVER: Final = 1 << 40
FAILURE: Final = int(LoggerStatus.POWER_FAILURE)
CLOCK: Final = int(LoggerStatus.TIME_CHANGED)

type Row = tuple[float, int, int]
"""Minutes after the start, the register of import T1, status bits."""


def records(rows: Sequence[Row], first: int = 7) -> list[Record]:
    """Return records, one index after the other; T2 stands still."""
    made = []
    for number, (minutes, register, status) in enumerate(rows):
        values = [register, 50] + [0] * (len(COLUMNS) - 2)
        values[REGISTER_COUNT] = 4000
        at = START + int(60 * minutes)
        made.append(Record(at, first + number, status, SERIAL_NUMBER, tuple(values)))
    return made


def every_15(registers: Sequence[int]) -> list[Record]:
    """Return consecutive records, every 15 minutes."""
    return records([(15 * n, register, 0) for n, register in enumerate(registers)])


def restarted(demand: LoggedDemand) -> LoggedDemand:
    """Return the demand after a restart of Home Assistant."""
    stored = json.loads(json.dumps(demand.as_dict()))
    LOGGED(stored)
    return LoggedDemand.from_dict(stored, SERIAL_NUMBER, ZURICH)


def seen(logged: Sequence[Record]) -> list[tuple[int, int, float]]:
    """Return the intervals reported one by one and still valid at the end.

    Whether records come one by one, with a restart after each, or all at once.
    """
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    shown: list[Interval] = []
    for record in logged:
        demand.feed([record], EVER)
        demand = restarted(demand)
        if demand.last and demand.last not in shown:
            shown.append(demand.last)
    at_once = LoggedDemand(SERIAL_NUMBER, ZURICH)
    at_once.feed(logged, EVER)
    assert (at_once.last, at_once.peaks, at_once.seconds) == (
        demand.last,
        demand.peaks,
        demand.seconds,
    )
    return [((i.end - START) // 60, i.seconds // 60, i.energy) for i in shown]


CASES: Final[dict[str, tuple[list[Row], list[tuple[int, int, float]]]]] = {
    "every 15 minutes": (
        [(0, 100, 0), (15, 110, 0), (30, 130, 0)],
        [(15, 15, 10), (30, 15, 20)],
    ),
    "a power failure over a record": (
        [(0, 100, 0), (15, 110, 0), (45, 130, FAILURE), (60, 150, 0)],
        [(15, 15, 10), (60, 15, 20)],
    ),
    "a short power failure: both ends are logged": (
        [(0, 100, 0), (15, 110, 0), (30, 115, FAILURE), (45, 130, 0)],
        [(15, 15, 10), (30, 15, 5), (45, 15, 15)],
    ),
    "a record is missing, whatever its status says": (
        [(0, 100, 0), (15, 110, 0), (45, 190, 0), (60, 200, 0)],
        [(15, 15, 10), (60, 15, 10)],
    ),
    "the clock was set back by ten minutes": (
        [(0, 100, 0), (15, 110, 0), (30, 150, CLOCK), (45, 170, 0)],
        [(15, 15, 10), (45, 15, 20)],
    ),
    "the clock was set back by half an hour: what is logged twice counts": (
        [(30, 100, 0), (45, 110, 0), (30, 135, CLOCK), (45, 170, 0), (60, 180, 0)],
        [(45, 15, 10), (45, 15, 35), (60, 15, 10)],
    ),
    "the interval was changed": (
        [(0, 100, 0), (15, 110, 0), (20, 115, 0), (25, 130, 0), (30, 132, 0)],
        [(15, 15, 10), (25, 5, 15), (30, 5, 2)],
    ),
    "an interval of one hour from the begin on": (
        [(0, 100, 0), (60, 140, 0), (120, 150, 0)],
        [(120, 60, 10)],
    ),
    "a damaged record that is too high": (
        [(0, 100, 0), (15, 110, 0), (30, 7000, 0), (45, 130, 0), (60, 140, 0)],
        [(15, 15, 10), (30, 15, 6890), (15, 15, 10), (60, 15, 10)],
    ),
    "a damaged record that is far too high": (
        [(0, 100, 0), (15, 110, 0), (30, 99999, 0), (45, 130, 0), (60, 140, 0)],
        [(15, 15, 10), (60, 15, 10)],
    ),
    "a damaged record that is too low": (
        [(0, 100, 0), (15, 110, 0), (30, 7, 0), (45, 130, 0), (60, 140, 0)],
        [(15, 15, 10), (60, 15, 10)],
    ),
    "the register restarts": (
        [(0, 100, 0), (15, 110, 0), (30, 7, 0), (45, 17, 0), (60, 29, 0), (75, 30, 0)],
        [(15, 15, 10), (60, 15, 12), (75, 15, 1)],
    ),
    "two power failures in a row": (
        [(0, 100, 0), (30, 140, FAILURE), (60, 180, FAILURE), (75, 190, 0)],
        [(75, 15, 10)],
    ),
    "more than any installation takes": (
        [(0, 100, 0), (15, 10**12 - 1, 0), (30, 10**12 - 1, 0)],
        [(30, 15, 0)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_intervals(case: str) -> None:
    """Only the time between two consecutive records is an interval."""
    rows, intervals = CASES[case]
    found = seen(records(rows))
    # An interval of a damaged record is taken back, and not reported again.
    assert found == [i for n, i in enumerate(intervals) if i not in intervals[:n]]


def test_damaged_record_is_no_peak() -> None:
    """A peak of a damaged record is taken back with the next record."""
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    logged = every_15([100, 120, 7000, 130, 140, 150])
    demand.feed(logged[:3], EVER)
    assert demand.peaks.by_month[2026, 6].energy == 6880
    demand.feed(logged[3:], EVER)
    assert demand.peaks.by_month[2026, 6] == Interval(START + 900, 900, 20)


def test_lost_line_and_another_meter() -> None:
    """Where a record can't be read, or is another meter's, there is no interval."""
    one, two, three, four, five = every_15([100, 110, 120, 190, 200])
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    demand.feed([one, two, four, five], EVER)
    assert demand.peaks.by_month[2026, 6].energy == 10
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    foreign = replace(three, serial_number="22350002")
    demand.feed([one, two, foreign, four, five], EVER)
    assert demand.peaks.by_month[2026, 6].energy == 10
    assert demand.position == five.index


def test_every_other_line_is_lost() -> None:
    """Two records with a gap between their indices are no longer interval."""
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    demand.feed(every_15([100, 110, 120, 130, 140, 150, 160])[::2], EVER)
    assert (demand.last, demand.seconds) == (None, 900)


def test_first_interval_of_another_length() -> None:
    """It counts too, once the second one proves another length."""
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    demand.feed(records([(0, 0, 0), (15, 10, 0), (20, 90, 0), (25, 95, 0)]), EVER)
    assert demand.peaks.by_month[2026, 6] == Interval(START + 1200, 300, 80)


def test_old_months_are_forgotten() -> None:
    """The peaks of a year are kept, and those of the month before."""
    peaks = Peaks(ZURICH)
    for month in range(20):
        begin = month_begin(next_month((2025, 1), month), ZURICH)
        peaks.add(Interval(begin + 900, 900, 1))
    assert min(peaks.by_month) == (2025, 8)
    assert len(peaks.by_month) == 13


def test_each_record_once() -> None:
    """Repeated records, and records of the future, change nothing."""
    logged = every_15([100, 110, 150, 155])
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    demand.feed(logged, logged[2].at)
    assert demand.last == Interval(logged[2].at, 900, 40)
    before = demand.as_dict()
    demand.feed(logged, EVER)
    assert demand.as_dict() == before
    assert demand.position == logged[-1].index


def test_logger_begins_with_another_index() -> None:
    """Peaks stay after the logger was erased, and those of its new records are added."""
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    demand.feed(every_15([100, 190, 200]), EVER)
    demand.restart()
    demand.feed(records([(60, 300, 0), (75, 320, 0)], first=0), EVER)
    assert demand.peaks.by_month[2026, 6].energy == 90
    assert demand.last == Interval(START + 75 * 60, 900, 20)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("records", [[START, 1, 0, *[10] * REGISTER_COUNT, 10**400]]),
        ("records", [[START, 1, 0, *[10] * REGISTER_COUNT]]),
        ("records", [[1 << 40, 1, 0, *[10] * REGISTER_COUNT, 0]]),
        ("peaks", {"2026-06": [START, 0, 10]}),
        ("peaks", {"2026-13": [START, 900, 10]}),
        ("peaks", {"2026-06": [START, 900, float("nan")]}),
        ("last", [START, 900, 10**400]),
        ("seconds", 0),
        ("position", -1),
        ("zone", None),
    ],
)
def test_stored_by_nobody(key: str, value: object) -> None:
    """An impossible value is rejected by the check of the store."""
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    demand.feed(every_15([100, 190, 200]), EVER)
    stored = json.loads(json.dumps(demand.as_dict()))
    LOGGED(stored)
    with pytest.raises(vol.Invalid):
        LOGGED(stored | {key: value})


def test_another_time_zone() -> None:
    """Months begin at other times then: all is looked at again."""
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    demand.feed(every_15([100, 190, 200]), EVER)
    moved = LoggedDemand.from_dict(
        demand.as_dict(), SERIAL_NUMBER, ZoneInfo("Asia/Tokyo")
    )
    assert moved.position is None
    assert moved.peaks.by_month == {}


def test_months() -> None:
    """The last interval of a month belongs to it."""
    midnight = month_begin((2026, 7), ZURICH)
    assert datetime.fromtimestamp(midnight, ZURICH).isoformat() == (
        "2026-07-01T00:00:00+02:00"
    )
    assert (next_month((2026, 12)), next_month((2026, 1), -1)) == (
        (2027, 1),
        (2025, 12),
    )
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    minutes = (midnight - START) // 60
    demand.feed(
        records([(minutes - 15, 0, 0), (minutes, 90, 0), (minutes + 15, 170, 0)]), EVER
    )
    assert {m: i.energy for m, i in demand.peaks.by_month.items()} == {
        (2026, 6): 90,
        (2026, 7): 80,
    }


QUARTERS: Final = {
    "summer time begins": datetime(2027, 1, 20, tzinfo=UTC),
    "summer time ends": datetime(2026, 8, 20, tzinfo=UTC),
}


@pytest.mark.parametrize("quarter", QUARTERS)
@settings(max_examples=4)
@given(data=st.data())
def test_quarter(quarter: str, data: st.DataObject) -> None:
    """Peaks match the registers, with all events of house and Home Assistant.

    The oracle knows the house's registers at each quarter of an hour, and when it
    had power; one power failure lasts over the end of a month.
    """
    begin = QUARTERS[quarter]
    end = begin + timedelta(days=91)
    hours = st.floats(0, 91 * 24)
    month_end = next_month((begin.year, begin.month))
    last = datetime.fromtimestamp(month_begin(month_end, ZURICH), UTC)
    failures = [PowerFailure(last - timedelta(hours=5), last + timedelta(minutes=20))]
    for after, length in data.draw(
        st.lists(st.tuples(hours, st.floats(0.01, 30)), max_size=6)
    ):
        failed = begin + timedelta(hours=after)
        failures.append(PowerFailure(failed, failed + timedelta(hours=length)))
    meter = Meter(
        MeterConfig(
            serial_number=SERIAL_NUMBER,
            seed=data.draw(st.integers(1, 3)),
            installed=begin,
            logger=LoggerConfig(first_index=1, delay=0),
            events=tuple(failures),
        ),
        ManualClock(end),
    )
    logged = [
        Record(record.stamp, record.index, record.status, SERIAL_NUMBER, record[4:])
        for record in meter.records()
    ]
    demand = LoggedDemand(SERIAL_NUMBER, ZURICH)
    stops = data.draw(st.lists(st.integers(0, len(logged)), max_size=5))
    done = 0
    for stop in [*sorted(stops), len(logged)]:
        demand.feed(logged[max(done - 3, 0) : stop], EVER)
        demand, done = restarted(demand), stop

    ats = np.arange(begin.timestamp(), end.timestamp() + 1, 900, dtype=np.int64)
    registers = meter.module().metrology.register_rows(ats)
    imports = (registers[0] + registers[1]).tolist()
    highest: dict[tuple[int, int], tuple[int, int]] = {}
    for before, at, low, high in zip(ats, ats[1:], imports, imports[1:], strict=False):
        # A record of the second of a power failure is logged.
        had_power = meter.has_power(int(before) - 1), meter.has_power(int(at) - 1)
        if before == ats[0] or not all(had_power):
            continue
        local = datetime.fromtimestamp(int(before), ZURICH)
        month = local.year, local.month
        if high - low > highest.get(month, (-1, 0))[0]:
            highest[month] = high - low, int(at)
    assert {
        month: (interval.energy, interval.end)
        for month, interval in demand.peaks.by_month.items()
    } == highest


def feed(live: LiveIntervals, *readings: tuple[int, float, float]) -> list[Interval]:
    """Return the intervals that end in readings: meter's clock, other clock, Wh."""
    found = (live.feed(START + at, now, register) for at, now, register in readings)
    return [interval for interval in found if interval]


def test_live() -> None:
    """An interval counts if its begin, its end and all between was observed."""
    live = LiveIntervals()
    every_5 = [(s, s, s / 10) for s in range(600, 1901, 5)]
    assert feed(live, *every_5) == [Interval(START + 1800, 900, 90)]
    assert live.begin == (START + 1800, 180)
    # A register read a little later is interpolated to the end of the interval.
    late = [(s + 1, s + 1, s / 10) for s in range(1905, 2801, 5)]
    (interval,) = feed(live, *late)
    assert interval == Interval(START + 2700, 900, 90)


@pytest.mark.parametrize(
    "fault",
    {
        "an outage": (1200, 1300, 1300, 130),
        "the clock was set": (1200, 1500, 1205, 120.5),
        "the register restarts": (1200, 1205, 1205, 0),
    }.values(),
)
def test_live_not_observed(fault: tuple[int, int, float, float]) -> None:
    """A partly observed interval does not count."""
    until, at, now, register = fault
    readings = [(s, float(s), s / 10) for s in range(900, until, 5)]
    readings += [(at + s, now + s, register + s / 10) for s in range(0, 1801 - at, 5)]
    live = LiveIntervals()
    assert feed(live, *readings) == []
    assert live.begin


def test_live_follows_the_logger() -> None:
    """Another length of intervals begins a new one."""
    live = LiveIntervals()
    feed(live, *[(s, s, s / 10) for s in range(900, 1100, 5)])
    assert live.begin == (START + 900, 90)
    live.follow(START + 300, 300)
    assert live.begin is None
    assert feed(live, *[(s, s, s / 10) for s in range(1100, 1501, 5)]) == [
        Interval(START + 1500, 300, 30)
    ]
    live.follow(START + 600, 300)
    assert live.begin == (START + 1500, 150)


def test_expected() -> None:
    """The energy so far, and the power now for the rest of the interval."""
    begin = (START, 1000)
    assert expected(begin, 900, START, 1000, 4) == 4
    # 1 kWh in ten minutes, and 3 kW for five: 1.25 kWh in a quarter of an hour.
    assert expected(begin, 900, START + 600, 2000, 3) == 5
    assert expected(begin, 900, START + 600, 2000, -3) == 4
    assert expected(begin, 900, START + 905, 2000, 3) == 4
    assert expected(begin, 900, START + 600, 999, 3) is None
