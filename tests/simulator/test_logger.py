"""Records agree with the registers, with live values and with a meter's history."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
import time
from typing import Any

from hypothesis import example, given, strategies as st
import pytest

from simulator.clock import ManualClock, epoch
from simulator.config import MeterConfig
from simulator.documents import decimal
from simulator.history import (
    ClockChange,
    ClockSet,
    CurrentRatioChange,
    Event,
    ImpulseLengthChange,
    ImpulseRatioChange,
    IntervalChange,
    LogbookFull,
    ModuleMoved,
    NoSynchronization,
    PowerFailure,
    Status,
    VoltageRatioChange,
)
from simulator.logger import Record
from simulator.meter import Meter
from simulator.values import Extreme, Registers, Snapshot
from tests.conftest import COUNTED

from .lives import SERIAL_NUMBER, Life

DAY, HOUR, MINUTE = 86_400, 3600, 60
OTHER_SERIAL_NUMBER = "22340000"


def second(text: str) -> int:
    """Return an epoch second of 28 March 2026, a Saturday, or of another day."""
    day, _, clock = ("2026-03-28 " + text).rpartition(" ")
    moment = datetime.fromisoformat(f"{day.split()[-1]}T{clock}")
    return int(moment.replace(tzinfo=UTC).timestamp())


NINE = second("09:00:00")


def made(
    *events: Event,
    installed: int = NINE,
    now: int = NINE + 12 * HOUR,
    clock_offset: int = 0,
    **logger: Any,
) -> Meter:
    """Return a meter that has a history."""
    config = MeterConfig(
        serial_number=SERIAL_NUMBER,
        installed=installed,
        events=events,
        clock_offset=clock_offset,
        logger=replace(COUNTED, **logger),
    )
    return Meter(config, ManualClock(now))


def stamp(record: Record) -> str:
    """Return hour, minute and second of a stamp."""
    return datetime.fromtimestamp(record.stamp, UTC).strftime("%H:%M:%S")


def first(meter: Meter, count: int) -> list[tuple[str, int]]:
    """Return stamps and status of the first records."""
    return [(stamp(record), record.status) for record in meter.records(1, count)]


LIFE = 5 * HOUR
BEGINS = [
    second("09:30:00"),  # The tariff changes at 12:00
    second("20:30:00"),  # The day changes at 23:00
    second("2026-03-30 03:30:05"),  # The tariff changes at 06:00
]


def moments(begin: int) -> st.SearchStrategy[int]:
    """Return moments of a life, many of them at stamps."""
    stamps = st.integers(1, 20).map(lambda quarter: begin + 900 * quarter)
    return st.integers(begin - 10, begin + LIFE) | stamps


@st.composite
def spans(draw: st.DrawFn, begin: int) -> tuple[int, int]:
    """Return a span that may begin before the meter's life."""
    at = draw(moments(begin)) - draw(st.sampled_from([0, 0, 0, 3000]))
    return at, at + draw(st.integers(0, 5000))


def happenings(begin: int) -> st.SearchStrategy[Event]:
    """Return what may happen in a life."""
    at, span = moments(begin), spans(begin)
    few_seconds = st.integers(-2, 2)
    return st.one_of(
        span.map(lambda span: PowerFailure(*span)),
        span.map(lambda span: PowerFailure(*span)),
        span.map(lambda span: NoSynchronization(*span)),
        st.builds(ClockChange, at, st.integers(-4000, 4000) | few_seconds),
        st.builds(ClockSet, at, st.integers(-2000, 2000)),
        st.builds(IntervalChange, at, st.integers(1, 60)),
        st.builds(ModuleMoved, at, st.just(OTHER_SERIAL_NUMBER), st.integers(2, 3)),
        st.builds(CurrentRatioChange, at),
        st.builds(VoltageRatioChange, at),
        st.builds(ImpulseLengthChange, at),
        st.builds(ImpulseRatioChange, at),
        st.builds(LogbookFull, at),
    )


lives = st.sampled_from(BEGINS).flatmap(
    lambda begin: st.tuples(st.just(begin), st.lists(happenings(begin), max_size=7))
)


def long_happenings(begin: int, end: int) -> st.SearchStrategy[Event]:
    """Return what may happen in years."""
    at = st.integers(begin, end)
    spans = st.tuples(at, st.integers(0, 40 * DAY)).map(lambda t: (t[0], sum(t)))
    return st.one_of(
        spans.map(lambda span: PowerFailure(*span)),
        st.builds(ClockChange, at, st.integers(-DAY, DAY)),
        st.builds(IntervalChange, at, st.integers(1, 60)),
        st.builds(ModuleMoved, at, st.just(OTHER_SERIAL_NUMBER)),
    )


YEARS_BEGIN, YEARS_END = second("2021-01-01 00:00:00"), second("2026-06-01 00:00:00")
years = st.lists(long_happenings(YEARS_BEGIN, YEARS_END), max_size=12)
years_old = {"installed": YEARS_BEGIN, "now": YEARS_END, "depth": 10_000_000}


@given(life=lives, clock_offset=st.sampled_from([0, 0, -90, 7]))
@example(
    life=(BEGINS[0], [PowerFailure(second("09:40:00"), second("10:00:00"))]),
    clock_offset=0,
)
@example(
    life=(BEGINS[0], [PowerFailure(second("10:00:00"), second("10:00:09"))]),
    clock_offset=0,
)
@example(
    life=(BEGINS[0], [PowerFailure(second("08:00:00"), second("10:00:00"))]),
    clock_offset=0,
)
@example(
    life=(
        BEGINS[0],
        [ClockChange(second("10:00:01"), -1), ClockChange(second("10:14:59"), 1)],
    ),
    clock_offset=0,
)
@example(
    life=(
        BEGINS[1],
        [
            PowerFailure(second("22:40:00"), second("23:30:00")),
            ModuleMoved(second("23:00:00"), OTHER_SERIAL_NUMBER),
        ],
    ),
    clock_offset=0,
)
@example(
    # The power is back in the second in which the meter is installed
    life=(BEGINS[0], [PowerFailure(BEGINS[0] - 10, BEGINS[0] - 4)]),
    clock_offset=0,
)
@example(
    # Recorded 3 s after the power is back, before the meter shows a new step
    life=(BEGINS[0], [PowerFailure(second("09:40:00"), second("10:15:00"))]),
    clock_offset=-3,
)
def test_records_are_those_of_a_meter_that_lives_second_by_second(
    life: tuple[int, list[Event]], clock_offset: int
) -> None:
    """Records are those of a meter that lives second by second."""
    begin, events = life
    end = begin + LIFE
    meter = made(*events, installed=begin, now=end, clock_offset=clock_offset)
    expected = list(Life(events, begin, end, clock_offset).records())
    assert meter.records() == [record for _, record in expected]
    for at, record in expected:
        assert meter.logger.recorded_at(record.index) == at
        if not any(
            isinstance(event, ModuleMoved) and event.at == at for event in events
        ):
            assert meter.registers(at) == record.registers
            assert meter.module(at).serial_number == record.serial_number


@given(events=years, data=st.data())
def test_records_of_years_agree_with_registers_and_live_values(
    events: list[Event], data: st.DataObject
) -> None:
    """Records of years agree with registers and live values."""
    meter = made(*events, **years_old)
    newest = meter.newest_index
    indices = st.integers(1, newest)
    for index in data.draw(st.lists(indices, min_size=1, max_size=20)):
        (record,) = meter.records(index, index)
        at = meter.logger.recorded_at(index)
        assert record.index == index
        assert meter.has_power(at - 1)
        # In the second of an event the record comes first, live values after it.
        if any(
            isinstance(event, ClockChange | ModuleMoved) and event.at == at
            for event in events
        ):
            continue
        assert record.registers == meter.registers(at)
        assert record.stamp == meter.meter_time(at)
        live = meter.meter_data(at)
        assert live["meterdatetime"] == record.stamp
        assert meter.status(at)["meterserial"] == record.serial_number
        assert live["u_L2_act_e"] == decimal(record.voltage_l2, 1)
        assert live["pf_L1_act_e"] == decimal(record.power_factor_l1, 2)
        assert live["f_L123_act_e"] == decimal(record.frequency, 1)
        if at % 5 == 0:
            energy = record.active_import_t1 + record.active_import_t2
            assert live["wpulse_cnt_L123_e"] == decimal(energy, 3)
            assert live["wpulse_cnt_ex_L123_T2_e"] == decimal(
                record.active_export_t2, 3
            )


def test_record_of_the_second_in_which_the_power_fails() -> None:
    """It is there, and agrees with what the meter showed last."""
    meter = made(PowerFailure(second("09:29:56"), second("10:00:00")))
    at = second("09:30:00")
    (record,) = meter.records(2, 2)
    assert meter.logger.recorded_at(2) == at
    assert meter.has_power(at - 1)
    assert not meter.has_power(at)
    assert record.registers == meter.registers(at)
    assert meter.meter_data(at)["u_L2_act_e"] == decimal(record.voltage_l2, 1)


@given(events=years, data=st.data())
def test_index_and_time_find_each_other(
    events: list[Event], data: st.DataObject
) -> None:
    """Index and time find each other."""
    meter = made(*events, **years_old)
    logger = meter.logger
    for index in data.draw(st.lists(st.integers(1, meter.newest_index), min_size=1)):
        at = logger.recorded_at(index)
        assert logger.newest_index(at) == index
        assert logger.newest_index(at - 1) == index - 1


@given(events=years, data=st.data())
def test_blocks_join_to_the_whole(events: list[Event], data: st.DataObject) -> None:
    """Blocks join to the whole: no record depends on what else is asked for."""
    meter = made(*events, **years_old)
    begin = data.draw(st.integers(1, max(1, meter.newest_index - 300)))
    cuts = sorted(data.draw(st.lists(st.integers(begin, begin + 300), max_size=4)))
    borders = [begin, *cuts, begin + 301]
    whole = meter.records(begin, begin + 300)
    blocks = [meter.records(a, b - 1) for a, b in pairwise(borders)]
    assert [record for block in blocks for record in block] == whole


@given(events=years)
def test_registers_of_a_logger_only_grow(events: list[Event]) -> None:
    """Registers of a logger only grow, but for another meter's."""
    meter = made(*events, **years_old)
    step = max(1, meter.newest_index // 50)
    records = [meter.records(i, i)[0] for i in range(1, meter.newest_index + 1, step)]
    for earlier, later in pairwise(records):
        if earlier.serial_number == later.serial_number:
            assert all(a <= b for a, b in zip(earlier[4:12], later[4:12], strict=True))


def test_stamp_is_the_end_of_its_interval() -> None:
    """Stamp is the end of its interval, and the record is there at once."""
    meter = made(installed=NINE, now=second("09:14:59"))
    assert meter.newest_index == 0
    assert meter.oldest_index == 1
    assert meter.records() == []
    meter = made(installed=NINE, now=second("09:15:00"))
    (record,) = meter.records()
    assert (stamp(record), record.index, record.status) == ("09:15:00", 1, 0)
    energy = record.active_import_t1 - record.active_export_t1
    assert energy == pytest.approx(record.active_power / 4, abs=2)
    assert record.active_power < 0


def test_same_seed_is_the_same_record_on_every_machine() -> None:
    """Same seed is the same record on every machine."""
    assert made().records(13, 13) == [EXPECTED]


EXPECTED = Record(
    stamp=second("12:15:00"),
    index=13,
    status=0,
    serial_number=SERIAL_NUMBER,
    active_import_t1=433,
    active_import_t2=0,
    active_export_t1=4523,
    active_export_t2=770,
    reactive_import_t1=1526,
    reactive_import_t2=0,
    reactive_export_t1=98,
    reactive_export_t2=22,
    active_power=-3080,
    active_power_l1=-933,
    active_power_l2=-1049,
    active_power_l3=-1099,
    current=-13432,
    current_l1=-4073,
    current_l2=-4576,
    current_l3=-4783,
    current_n=612,
    voltage_l1=2296,
    voltage_l2=2296,
    voltage_l3=2301,
    power_factor_l1=-100,
    power_factor_l2=-100,
    power_factor_l3=-100,
    frequency=499,
)


def test_intervals_are_multiples_on_the_meters_clock() -> None:
    """Intervals are multiples on the meter's clock."""
    odd = second("09:07:13")
    meter = made(installed=odd)
    assert [at for at, _ in first(meter, 2)] == ["09:15:00", "09:30:00"]
    meter = made(installed=odd, interval=1)
    assert [at for at, _ in first(meter, 2)] == ["09:08:00", "09:09:00"]
    meter = made(installed=odd, interval=60)
    assert [at for at, _ in first(meter, 2)] == ["10:00:00", "11:00:00"]
    meter = made(installed=odd, clock_offset=-60)
    assert [at for at, _ in first(meter, 1)] == ["09:15:00"]
    assert meter.logger.recorded_at(1) == second("09:16:00")


@pytest.mark.parametrize("interval", [0, 61, -1])
def test_interval_is_1_to_60_minutes(interval: int) -> None:
    """Interval is 1 to 60 minutes."""
    with pytest.raises(ValueError, match="60 minutes"):
        made(interval=interval)
    with pytest.raises(ValueError, match="60 minutes"):
        made().happens(IntervalChange(NINE, interval))


def test_interval_can_change() -> None:
    """Interval can change."""
    meter = made(
        IntervalChange(second("09:50:00"), 30),
        IntervalChange(second("11:00:00"), 1),
        IntervalChange(second("11:02:30"), 60),
    )
    assert first(meter, 9) == [
        (at, 0)
        for at in (
            *("09:15:00", "09:30:00", "09:45:00", "10:00:00", "10:30:00"),
            *("11:00:00", "11:01:00", "11:02:00", "12:00:00"),
        )
    ]
    assert [record.index for record in meter.records(1, 9)] == list(range(1, 10))


def test_nothing_is_recorded_without_power() -> None:
    """Nothing is recorded without power, and the registers stand still."""
    begin, end = second("09:40:00"), second("10:31:00")
    meter, lucky = made(PowerFailure(begin, end)), made()
    assert first(meter, 4) == [
        *(("09:15:00", 0), ("09:30:00", 0)),
        *(("10:45:00", Status.POWER_FAILURE), ("11:00:00", 0)),
    ]
    before, after = meter.records(2, 3)
    lost = lucky.registers(end).active_export - lucky.registers(begin).active_export
    assert lost > 100
    taken = after.active_export_t1 - before.active_export_t1
    all_of_it = lucky.registers(second("10:45:00")).active_export
    all_of_it -= lucky.registers(second("09:30:00")).active_export
    assert all_of_it - lost == pytest.approx(taken, abs=1)
    assert meter.registers(begin) == meter.registers(end) == meter.registers(end - 1)
    assert meter.registers(begin) == lucky.registers(begin)
    (undisturbed,) = lucky.records(7, 7)
    assert after.stamp == undisturbed.stamp
    # The mean is that of the minutes with power.
    until, since = meter.registers(second("10:45:00")), meter.registers(end)
    net = until.active_import - since.active_import
    net -= until.active_export - since.active_export
    assert after.active_power * 14 / 60 == pytest.approx(net, abs=3)


def test_power_failure_takes_the_record_of_its_end_only() -> None:
    """Power failure takes the record of its end only."""
    failure = PowerFailure(second("09:29:56"), second("10:00:00"))
    assert first(made(failure), 3) == [
        *(("09:15:00", 0), ("09:30:00", 0)),
        ("10:15:00", Status.POWER_FAILURE),
    ]
    assert not made(failure).has_power(second("09:30:00"))


@given(life=lives, now=st.integers(0, LIFE), data=st.data())
def test_what_happens_now_takes_no_record_back(
    life: tuple[int, list[Event]], now: int, data: st.DataObject
) -> None:
    """What happens now takes no record back."""
    begin, events = life
    events = [event for event in events if not isinstance(event, ModuleMoved)]
    now = begin + data.draw(st.sampled_from([now, now // 900 * 900]))
    happened = [event for event in events if when(event) < now]
    meter = made(*happened, installed=begin, now=now)
    before = meter.records()
    meter.happens(*(event for event in events if when(event) >= now))
    assert meter.records() == before


def when(event: Event) -> int:
    """Return when an event begins."""
    if isinstance(event, PowerFailure | NoSynchronization):
        return epoch(event.begin)
    return epoch(event.at)


def test_power_failures_join() -> None:
    """Power failures join."""
    meter = made(
        PowerFailure(second("09:20:00"), second("09:50:00")),
        PowerFailure(second("09:10:00"), second("09:40:00")),
        PowerFailure(second("09:50:00"), second("10:04:56")),
    )
    assert first(meter, 2) == [("10:15:00", 32), ("10:30:00", 0)]
    assert not meter.has_power(second("09:10:00"))
    assert not meter.has_power(second("09:50:00"))
    assert not meter.has_power(second("10:04:59"))
    assert meter.has_power(second("10:05:00"))
    assert meter.has_power(second("09:09:59"))


def test_span_does_not_end_before_it_begins() -> None:
    """Span does not end before it begins."""
    with pytest.raises(ValueError, match="before it begins"):
        made(PowerFailure(NINE + 60, NINE))


def test_live_values_stay_without_power() -> None:
    """Live values stay without power."""
    begin, end = second("09:40:00"), second("10:31:00")
    meter = made(PowerFailure(begin, end))
    last = meter.snapshot(begin)
    assert last == made().snapshot(begin)
    for at in (begin + 5, begin + 1000, end, end + 4):
        assert meter.snapshot(at) == last
    assert meter.snapshot(end + 5).momentary == made().snapshot(end + 5).momentary
    assert meter.snapshot(end + 5).registers == meter.registers(end + 5)


@given(
    installed=st.integers(NINE - DAY, NINE),
    failures=st.lists(
        st.tuples(st.integers(NINE - DAY, NINE + 2 * DAY), st.integers(0, 2 * DAY)),
        max_size=4,
    ),
    ats=st.lists(st.integers(NINE - DAY, NINE + 3 * DAY), min_size=1, max_size=3),
)
@example(installed=NINE, failures=[(NINE - 100, 2 * DAY)], ats=[NINE, NINE + 2 * DAY])
def test_extremes_are_those_of_what_was_shown_between_power_failures(
    installed: int, failures: list[tuple[int, int]], ats: list[int]
) -> None:
    """Extremes are those of what was shown between power failures."""
    events = [PowerFailure(begin, begin + length) for begin, length in failures]
    meter = made(*events, installed=installed)
    for at in ats:
        # Every tenth minute, and what the extremes say was shown.
        shown = [meter.snapshot(t) for t in range(meter.installed, at + 1, 600)]
        minima, maxima = meter.extremes(at)
        for side, worse in ((minima, min), (maxima, max)):
            for column, extreme in enumerate(side):
                assert_shown(meter, column, extreme)
                assert extreme.at <= max(at, meter.installed)
                seen = [one.momentary.columns()[column] for one in shown]
                assert worse([extreme.value, *seen]) == extreme.value


def assert_shown(meter: Meter, column: int, extreme: Extreme) -> None:
    """Assert that an extreme was shown, when it says, by a meter with power."""
    snapshot: Snapshot = meter.snapshot(extreme.at)
    assert snapshot.at == extreme.at
    assert snapshot.momentary.columns()[column] == extreme.value


def test_clock_set_back_doubles_stamps() -> None:
    """Clock set back doubles stamps."""
    meter = made(ClockChange(second("10:05:00"), -40 * MINUTE))
    assert first(meter, 8) == [
        *(("09:15:00", 0), ("09:30:00", 0), ("09:45:00", 0), ("10:00:00", 0)),
        *(("09:30:00", 1), ("09:45:00", 0), ("10:00:00", 0), ("10:15:00", 0)),
    ]
    assert meter.logger.recorded_at(5) == second("10:10:00")
    registers = [record[4:12] for record in meter.records(1, 8)]
    assert registers == sorted(registers)


def test_clock_set_forward_skips_stamps() -> None:
    """Clock set forward skips stamps."""
    meter = made(ClockChange(second("09:20:00"), 40 * MINUTE))
    assert first(meter, 3) == [("09:15:00", 0), ("10:15:00", 1), ("10:30:00", 0)]
    assert meter.logger.recorded_at(2) == second("09:35:00")


def test_clock_set_by_a_second_doubles_or_skips_one_stamp() -> None:
    """Clock set by a second doubles or skips one stamp."""
    back = made(ClockChange(second("09:15:01"), -2))
    assert first(back, 3) == [("09:15:00", 0), ("09:15:00", 1), ("09:30:00", 0)]
    forward = made(ClockChange(second("09:14:59"), 2))
    assert first(forward, 2) == [("09:30:00", 1), ("09:45:00", 0)]


def test_clock_set_to_what_it_shows_is_no_change() -> None:
    """Clock set to what it shows is no change."""
    meter = made(ClockSet(NINE + 60, 7), ClockChange(NINE + 90, 0), clock_offset=7)
    assert first(meter, 2) == [("09:15:00", 0), ("09:30:00", 0)]


def test_clock_offset_set_now_is_a_clock_change() -> None:
    """Clock offset set now is a clock change."""
    meter = made(now=second("09:20:00"))
    meter.set_clock_offset(-60)
    assert isinstance(meter.clock, ManualClock)
    meter.clock.advance(timedelta(hours=1))
    assert first(meter, 3) == [("09:15:00", 0), ("09:30:00", 1), ("09:45:00", 0)]
    assert meter.logger.recorded_at(2) == second("09:31:00")


@pytest.mark.parametrize(
    ("event", "bit"),
    [
        (ClockChange(second("09:15:00"), 7200), 0),
        (CurrentRatioChange(second("09:15:00"), 500, 5), 1),
        (VoltageRatioChange(second("09:15:00"), 200, 100), 2),
        (ImpulseLengthChange(second("09:15:00"), 2), 3),
        (ImpulseRatioChange(second("09:15:00"), 10), 4),
        (PowerFailure(second("09:29:00"), second("09:29:30")), 5),
        (NoSynchronization(second("09:15:00"), second("09:44:59")), 6),
    ],
)
def test_each_event_has_its_bit_once(event: Event, bit: int) -> None:
    """Each event has its bit once."""
    assert [status for _, status in first(made(event), 4)] == [0, 1 << bit, 0, 0]


def test_bits_add_up() -> None:
    """Bits add up."""
    at = second("09:20:00")
    meter = made(
        *(CurrentRatioChange(at), CurrentRatioChange(at + 1), VoltageRatioChange(at)),
        *(ImpulseLengthChange(at), ImpulseRatioChange(at), ClockChange(at, -1)),
        NoSynchronization(at, at + 20 * MINUTE),
        NoSynchronization(at + 10 * MINUTE, at + 45 * MINUTE),
        PowerFailure(at, at + 30),
        LogbookFull(second("09:30:01")),
        LogbookFull(second("10:45:00")),
    )
    assert [status for _, status in first(meter, 5)] == [0, 127, 192, 192, 128]


def test_ratio_changes_leave_the_registers_alone() -> None:
    """Ratio changes leave the registers alone."""
    meter = made(CurrentRatioChange(NINE + 1), VoltageRatioChange(NINE + 1))
    (changed, *records), (first_one, *others) = meter.records(), made().records()
    assert changed._replace(status=0) == first_one
    assert records == others


def test_events_before_the_installation_have_no_bits() -> None:
    """Events before the installation have no bits, but their effect."""
    early = NINE - 60
    meter = made(
        *(ClockChange(early, 60), CurrentRatioChange(early), LogbookFull(early)),
        *(PowerFailure(early - 60, early), IntervalChange(early, 30)),
    )
    assert first(meter, 2) == [("09:30:00", 128), ("10:00:00", 128)]
    assert meter.logger.recorded_at(1) == second("09:29:00")


def test_events_can_happen_while_somebody_looks() -> None:
    """Events can happen while somebody looks."""
    meter = made(now=NINE + HOUR)
    before = meter.records()
    meter.happens(PowerFailure(NINE + HOUR + 1, NINE + 2 * HOUR))
    assert isinstance(meter.clock, ManualClock)
    meter.clock.advance(2 * HOUR)
    assert meter.records()[: len(before)] == before
    assert meter.records()[len(before)].status == Status.POWER_FAILURE
    assert len(meter.events) == 1


def test_module_takes_the_records_of_another_meter_along() -> None:
    """Module takes the records of another meter along."""
    moved = second("10:05:00")
    meter = made(
        ModuleMoved(moved, OTHER_SERIAL_NUMBER, seed=2, installed=NINE - 30 * DAY),
        now=second("10:30:00"),
        installed=NINE,
    )
    other = made(now=moved - 1, installed=NINE - 30 * DAY)
    records = meter.records()
    serial_numbers = [record.serial_number for record in records]
    mine = serial_numbers.count(SERIAL_NUMBER)
    assert mine == 2
    assert (
        serial_numbers
        == [OTHER_SERIAL_NUMBER] * (len(records) - 2) + [SERIAL_NUMBER] * 2
    )
    assert len(records) - 2 == other.newest_index
    assert [record.index for record in records] == list(range(1, len(records) + 1))
    assert records[-1].registers == made().registers(second("10:30:00"))
    assert records[-3].registers == meter.registers(second("10:00:00"))
    assert records[-3].active_import_t1 > records[-1].active_import_t1
    assert meter.serial_number == SERIAL_NUMBER
    assert meter.installed == NINE
    assert meter.status(moved - 1)["meterserial"] == OTHER_SERIAL_NUMBER
    assert meter.status(moved)["meterserial"] == SERIAL_NUMBER
    assert meter.meter_data(moved - 1)["showMinMax"] is False
    assert meter.meter_data(moved)["showMinMax"] is True
    mac_address = meter.mac_address
    assert isinstance(meter.clock, ManualClock)
    meter.clock.set(moved - 1)
    assert meter.serial_number == OTHER_SERIAL_NUMBER
    assert meter.mac_address == mac_address
    assert not meter.shows_min_max


def test_ring_forgets_the_oldest() -> None:
    """Ring forgets the oldest."""
    meter, whole = made(depth=5), made()
    assert (meter.oldest_index, meter.newest_index) == (44, 48)
    assert meter.records() == meter.records(1, 100) == whole.records(44, 48)
    assert meter.records(1, 43) == meter.records(49) == []
    assert meter.records(46, 46) == whole.records(46, 46)
    assert isinstance(meter.clock, ManualClock)
    meter.clock.advance(15 * MINUTE)
    assert (meter.oldest_index, meter.newest_index) == (45, 49)
    meter.clock.set(NINE + 30 * MINUTE)
    assert (meter.oldest_index, meter.newest_index) == (1, 2)
    with pytest.raises(ValueError, match="record or more"):
        made(depth=0)


def test_first_index_may_be_another() -> None:
    """First index may be another."""
    meter = made(CurrentRatioChange(NINE + 60), first_index=0, now=NINE + HOUR)
    assert (meter.oldest_index, meter.newest_index) == (0, 3)
    assert [(r.index, r.status) for r in meter.records()] == [
        (0, 2),
        (1, 0),
        (2, 0),
        (3, 0),
    ]
    assert meter.logger.recorded_at(0) == NINE + 900
    with pytest.raises(IndexError):
        meter.logger.records(-1, 3)


def test_records_are_snapshots_where_the_meter_reads_it_so() -> None:
    """Records are snapshots where the meter reads it so."""
    meter = made(means=False)
    for record, mean in zip(meter.records(), made().records(), strict=True):
        shown = meter.snapshot(record.stamp).momentary
        assert record[13:16] == shown.active_power
        assert record[17:20] == shown.current
        assert (record.active_power, record.current) == (
            shown.active_power_total,
            shown.current_total,
        )
        assert record.current_n == shown.current_n
        assert record[:12] == mean[:12]
        assert record[21:] == mean[21:]
        assert record[12:21] != mean[12:21]


def test_power_and_current_have_no_sign_where_the_meter_reads_it_so() -> None:
    """Power and current have no sign where the meter reads it so."""
    records, signed = made(signed=False).records(), made().records()
    assert min(record.active_power for record in signed) < 0
    for record, other in zip(records, signed, strict=True):
        assert record[12:21] == tuple(map(abs, other[12:21]))
        assert record[:12] + record[21:] == other[:12] + other[21:]


@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_summer_time_is_nothing_to_a_logger(day: str) -> None:
    """Summer time is nothing to a logger."""
    begin = second(f"{day} 12:00:00")
    records = made(installed=begin, now=begin + DAY).records()
    stamps = [record.stamp for record in records]
    assert stamps == list(range(begin + 900, begin + DAY + 1, 900))


def test_meter_without_logger_has_no_records() -> None:
    """Meter without logger has no records."""
    meter = Meter(MeterConfig(logger=None), ManualClock(NINE))
    with pytest.raises(LookupError):
        meter.records()
    assert meter.meter_data()


def test_means_are_those_of_the_registers() -> None:
    """Means are those of the registers."""
    for before, record in pairwise(made(now=NINE + 3 * DAY).records()):
        taken = Registers.active_import.fget, Registers.active_export.fget  # type: ignore[attr-defined]
        net = [one(record.registers) - one(before.registers) for one in taken]
        # Four registers are cut off to whole Wh, at both ends.
        assert record.active_power / 4 == pytest.approx(net[0] - net[1], abs=3)
        assert record.active_power == pytest.approx(sum(record[13:16]), abs=2)
        assert record.current == pytest.approx(sum(record[17:20]), abs=2)


def test_years_are_quickly_printed() -> None:
    """Years are quickly printed: an answer costs less than 60 ms."""
    events: list[Event] = [
        PowerFailure(at, at + 4000)
        for at in range(YEARS_BEGIN + 1000, YEARS_END, 3_000_007)
    ]
    events += [ClockChange(at, -2) for at in range(YEARS_BEGIN, YEARS_END, 100_003)]
    meter = made(*events, **years_old)
    meter.records(1, 1)
    meter.records(meter.newest_index - 40_000)
    costs = []
    for begin in range(1, meter.newest_index, 30_000):
        started = time.process_time()
        table = meter.data({"from": str(begin), "to": str(begin + 2999)})
        costs.append(time.process_time() - started)
        assert table is not None
        assert table.count(b"\n") > 2000
    assert sorted(costs)[len(costs) // 2] < 0.06


def test_first_index_is_the_serial_numbers() -> None:
    """By default logs begin anywhere, of the same meter always there."""

    def first_index(serial_number: str) -> int:
        config = MeterConfig(serial_number=serial_number, installed=NINE)
        return Meter(config, ManualClock(NINE + HOUR)).oldest_index

    indices = [first_index(str(22_350_000 + number)) for number in range(20)]
    assert len(set(indices)) == 20
    assert indices == [first_index(str(22_350_000 + number)) for number in range(20)]


def test_record_can_be_read_some_time_after_its_stamp() -> None:
    """At most 84 s later, each after another time, and the newest one never goes back."""
    meter = made(first_index=7, delay=84, interval=1)
    seen: dict[int, int] = {}
    newest = 6
    for now in range(NINE, NINE + 2 * HOUR):
        assert meter.logger.newest_index(now) >= newest
        newest = meter.logger.newest_index(now)
        for index in range(newest, 6, -1):
            if index in seen:
                break
            seen[index] = now - meter.logger.recorded_at(index)
    assert max(seen.values()) == 84
    assert min(seen.values()) < 10
    assert len(set(seen.values())) > 40
    at = meter.logger.recorded_at(20)
    assert meter.logger.newest_index(at) < meter.logger.made_index(at) == 20
