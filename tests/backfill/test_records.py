"""Which records are believed, and where a register restarts."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.backfill.records import (
    Believed,
    RecordFilter,
    clock_offset_by_records,
)
from custom_components.emu_professional.emu.logs import (
    ACTIVE_POWER,
    COLUMNS,
    REGISTER_COUNT,
    LoggerStatus,
    Record,
)
from custom_components.emu_professional.emu.registers import Measurand

SERIAL_NUMBER = "22350001"
START = 1_780_300_800
DAY = 86_400
POWER = 4_000
BACKWARDS = "register runs backwards"
AHEAD = "register runs ahead"


def records(registers: Sequence[int | tuple[int, int]]) -> list[Record]:
    """Return records each 15 minutes; a pair has another value in the last register."""
    made = []
    for index, register in enumerate(registers):
        first, last = register if isinstance(register, tuple) else (register, register)
        values = [first] * (REGISTER_COUNT - 1) + [last]
        values += [POWER] * (len(COLUMNS) - REGISTER_COUNT)
        at = START + 900 * index
        made.append(Record(at, index, 0, SERIAL_NUMBER, tuple(values)))
    return made


def believe(
    logged: Sequence[Record], latest: int = START + 10 * DAY
) -> tuple[list[Believed], RecordFilter]:
    """Return the records that are believed, and who said so."""
    record_filter = RecordFilter(SERIAL_NUMBER, latest)
    believed = [b for record in logged for b in record_filter.feed(record)]
    return [*believed, *record_filter.close()], record_filter


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
def test_zeros_are_no_restart(count: int) -> None:
    """A register that continues from its value before some zeros has not restarted."""
    before, after = [50_000, 50_010, 50_020, 50_030], [50_040, 50_050, 50_060, 50_070]
    believed, _ = believe(records([*before, *[0] * count, *after]))
    levels = [one.record.values[0] + one.lift[0] for one in believed]
    assert levels == sorted(levels)
    assert levels[-1] - levels[0] == 70


def test_meter_that_comes_back() -> None:
    """What another one has counted meanwhile stays counted."""
    before, other = [50_000, 50_010, 50_020, 50_030], [0, 10, 20, 30, 40]
    believed, _ = believe(records([*before, *other, 50_035, 50_045, 50_055, 50_065]))
    levels = [one.record.values[0] + one.lift[0] for one in believed]
    assert levels == sorted(levels)


def test_small_register_that_restarts() -> None:
    """What it counts in one interval does not make it the register before."""
    restarted = [500, 510, 520, 530, 0, 10, 20, 30, 40]
    believed, _ = believe(records([*restarted, 700, 710, 720, 730]))
    assert believed[-1].lift[0] == 530


def test_third_meter_is_not_the_first_one() -> None:
    """Its higher register does not go on from before the restart."""
    first, second, third = [50_000, 50_010, 50_020], [0, 10, 20, 30], [200_000]
    believed, _ = believe(records([*first, *second, *third, 200_010, 200_020]))
    assert {one.lift[0] for one in believed} == {0, 50_020}
    assert believed[-1].lift[0] == 50_020


def test_record_before_a_clock_that_failed() -> None:
    """It stays: only those with stamps of the past are refused."""
    logged = records(range(0, 4000, 10))
    for index in range(20, 25):
        logged[index] = replace(logged[index], at=logged[index].at - 3000 * 3600)
    believed, record_filter = believe(logged)
    assert len(believed) == 395
    assert record_filter.rejected == {"time stamp far in the past": 5}


@pytest.mark.parametrize("hours", [25, 27, 72, 24 * 30])
def test_one_stamp_ahead(hours: int) -> None:
    """It hides no record after it, however far ahead it is."""
    logged = records(range(0, 4000, 10))
    logged[20] = replace(logged[20], at=logged[20].at + 3600 * hours)
    believed, record_filter = believe(logged, latest=logged[0].at + 10**8)
    assert len(believed) >= 399
    assert record_filter.rejected.total() <= 1


@pytest.mark.parametrize(
    ("registers", "right", "refused"),
    [
        # One, two or three damaged records, too high or too low.
        ([10, 20, 9999, 40, 50, 60], [10, 20, 40, 50, 60], {AHEAD: 1}),
        (
            [10, 20, 9998, 9999, 30, 40, 50, 60],
            [10, 20, 30, 40, 50, 60],
            {AHEAD: 2},
        ),
        (
            [10, 20, 9997, 9998, 9999, 30, 40, 50],
            [10, 20, 30, 40, 50],
            {AHEAD: 3},
        ),
        # One more, and these are taken for right: so the register has restarted.
        (
            [10, 20, 9996, 9997, 9998, 9999, 30, 40, 50],
            [10, 20, 9996, 9997, 9998, 9999, 30, 40, 50],
            {},
        ),
        ([10, 20, 7, 40, 50, 60], [10, 20, 40, 50, 60], {BACKWARDS: 1}),
        ([10, 20, 7, 8, 40, 50], [10, 20, 40, 50], {BACKWARDS: 2}),
        ([10, 20, 7, 3, 40, 50], [10, 20, 40, 50], {BACKWARDS: 2}),
        ([10, 20, 7, 1, 2, 3, 4], [10, 20, 1, 2, 3, 4], {BACKWARDS: 1}),
        # The first record is damaged, the last ones are not decided on.
        ([9999, 10, 20], [10, 20], {AHEAD: 1}),
        ([10, 20, 9999, 40], [10, 20, 40], {AHEAD: 1}),
        ([10, 9999, 40], [10, 40], {AHEAD: 1}),
        ([10, 20, 7], [10, 20], {BACKWARDS: 1}),
        ([10, 20, 7, 8], [10, 20], {BACKWARDS: 2}),
        # A restart, and one after another.
        ([10, 20, 7, 8, 9], [10, 20, 7, 8, 9], {}),
        ([10, 20, 7, 8, 9, 1, 2, 3], [10, 20, 7, 8, 9, 1, 2, 3], {}),
        ([10, 20, 7, 8, 9, 30], [10, 20, 7, 8, 9, 30], {}),
        ([5, 10, 20, 30, 7, 25, 26, 27], [5, 7, 25, 26, 27], {AHEAD: 3}),
        ([10, 15, 20, 30, 7, 25, 26, 27], [10, 15, 20, 30, 7, 25, 26, 27], {}),
        # It has restarted with the second or third lower record.
        ([10, 20, 7, 9, 8, 10, 11], [10, 20, 8, 10, 11], {BACKWARDS: 2}),
    ],
)
def test_registers_that_fall(
    registers: list[int], right: list[int], refused: dict[str, int]
) -> None:
    """What follows decides who was wrong, or that the register has restarted."""
    believed, record_filter = believe(records(registers))
    assert [one.record.values[0] for one in believed] == right
    assert record_filter.rejected == refused
    levels = [one.record.values[0] + one.lift[0] for one in believed]
    assert levels == sorted(levels)
    # Pages overlap: a record that is read once more changes nothing.
    twice = [r for record in records(registers) for r in (record, record)]
    again, record_filter = believe(twice)
    assert again == believed
    assert record_filter.rejected == refused | {"read already": len(registers)}


def test_undecided_until_the_next_records() -> None:
    """Whoever reads the newest records knows from when on nothing is known yet."""
    logged = records([10, 20, 7, 8, 9])
    assert believe(logged[:2])[1].undecided_since is None
    for until in (3, 4):
        assert believe(logged[:until])[1].undecided_since == logged[2].at
    assert believe(logged)[1].undecided_since is None


@pytest.mark.parametrize("high", [4_294_967_295, 1_000_000 + 10_001, 10_000_200])
def test_newest_register_that_is_too_high(high: int) -> None:
    """It may be half written: what follows decides."""
    registers = [1_000_000 + 100 * number for number in range(6)]
    logged = records([*registers, (1_000_600, high)])
    believed, record_filter = believe(logged)
    assert [b.record for b in believed] == logged[:-1]
    assert record_filter.undecided_since == logged[-1].at
    assert record_filter.rejected == {AHEAD: 1}
    # It was wrong, or there is more from then on, perhaps after weeks.
    for register in (1_000_700, (1_000_700, high + 100)):
        for gap in (0, 30 * DAY):
            last = records([*registers, 0, register])[-1]
            last = replace(last, at=last.at + gap)
            believed, record_filter = believe([*logged, last], last.at)
            is_right = isinstance(register, tuple)
            assert [b.record for b in believed][-1] == last
            assert (logged[-1] in [b.record for b in believed]) == is_right
            assert record_filter.undecided_since is None


@pytest.mark.parametrize(
    ("power", "seconds", "rise"),
    [
        # Any house, with nothing on at the two moments of the records.
        (0, 900, 5_000),
        (0, 3600, 25_000),
        # A factory, now and after a power failure of a month.
        (2_000_000, 900, 1_500_000),
        (20_000, 30 * DAY, 10_000_000),
        (-2_000_000, 900, 1_500_000),
        # The clock was set back by an hour.
        (0, -2700, 5_000),
    ],
)
@pytest.mark.parametrize("position", [0, 1])
def test_newest_register_of_a_high_consumption(
    power: int, seconds: int, rise: int, position: int
) -> None:
    """It is believed at once, whether its power was measured before or after it."""
    logged = records([1_000_000] * 5 + [1_000_000 + rise])
    at, status = logged[-2].at + seconds, int(LoggerStatus.TIME_CHANGED)
    logged[-1] = replace(logged[-1], at=at, status=status)
    for number in (-2, -1):
        values = [*logged[number].values[:REGISTER_COUNT], *[0] * 16]
        values[ACTIVE_POWER] = power if number + 2 == position else 0
        logged[number] = replace(logged[number], values=tuple(values))
    believed, record_filter = believe(logged, logged[-2].at + 40 * DAY)
    assert [b.record for b in believed] == logged
    assert record_filter.undecided_since is None


def test_newest_register_of_reactive_energy() -> None:
    """A compensation has current, but hardly any active power."""
    logged = records([1_000_000] * 5 + [(1_000_000, 1_000_000 + 100_000)])
    values = [*logged[-1].values]
    for number, column in enumerate(COLUMNS):
        if column.measurand is Measurand.ACTIVE_POWER:
            values[number] = 0
        elif column.measurand is Measurand.CURRENT:
            values[number] = 600_000
        elif column.measurand is Measurand.VOLTAGE:
            values[number] = 2_300
    logged[-1] = replace(logged[-1], values=tuple(values))
    assert believe(logged)[1].undecided_since is None


def test_restart_counts_what_is_known() -> None:
    """In a rollover the other registers count on; with another meter none does."""
    rollover = records([(990, 100), (999, 150), (1, 200), (2, 250), (3, 300)])
    believed, _ = believe(rollover)
    assert believed[-1].lift[0] == 998
    assert believed[-1].lift[-1] == 0
    last = records([(990, 999), (999, 1_000), (1_000, 1), (1_001, 2), (1_002, 3)])
    believed, _ = believe(last)
    assert believed[-1].lift == (0,) * (REGISTER_COUNT - 1) + (999,)
    exchange = records([(990, 100), (999, 150), (1, 90_000), (2, 90_050), (3, 90_100)])
    believed, _ = believe(exchange)
    assert believed[-1].lift[0] == 998
    assert believed[-1].lift[-1] == 150 - 90_000


@pytest.mark.parametrize(
    ("powers", "seconds", "rise", "continues"),
    [
        # Four times the energy of the power, and one kWh.
        ((4_000, 4_000), 900, 5_000, True),
        ((4_000, 4_000), 900, 5_001, False),
        ((-8_000, 0), 900, 9_000, True),
        ((-8_000, 0), 900, 9_001, False),
        ((0, -8_000), 1_800, 17_000, True),
        ((0, -8_000), 1_800, 17_001, False),
        ((0, 0), 900, 0, True),
        ((0, 0), 900, -1, False),
        # The clock was set back at the same time.
        ((4_000, 4_000), -900, 1_000, True),
        ((4_000, 4_000), -900, 1_001, False),
    ],
)
def test_register_that_continues_while_another_restarts(
    powers: tuple[int, int], seconds: int, rise: int, continues: bool
) -> None:
    """It has risen by no more than the power can have brought."""
    registers = [(990, 50_000), (999, 50_000), *((n, 50_000 + rise) for n in (1, 2, 3))]
    logged = records(registers)
    for number, (record, power) in enumerate(
        zip(logged[1:3], powers, strict=True), start=1
    ):
        values = [*record.values]
        values[ACTIVE_POWER] = power
        logged[number] = replace(record, values=tuple(values))
    late = logged[1].at + seconds
    logged[2:] = [
        replace(record, at=late + 900 * n, status=int(LoggerStatus.TIME_CHANGED))
        for n, record in enumerate(logged[2:])
    ]
    believed, _ = believe(logged)
    assert believed[-1].lift[0] == 998
    assert believed[-1].lift[-1] == (0 if continues else -rise)


@pytest.mark.parametrize(
    ("status", "gap", "index", "is_set"),
    [
        (LoggerStatus.TIME_CHANGED, 30 * DAY + 1, 2, True),
        (LoggerStatus.TIME_CHANGED, 30 * DAY, 2, False),
        (0, 31 * DAY, 2, False),
        (LoggerStatus.TIME_CHANGED | LoggerStatus.POWER_FAILURE, 31 * DAY, 2, False),
        (LoggerStatus.TIME_CHANGED, 31 * DAY, 3, False),
    ],
)
def test_clock_that_was_set_for_the_first_time(
    status: int, gap: int, index: int, is_set: bool
) -> None:
    """What was logged before has wrong stamps, unless the meter had no power."""
    logged = records([10, 20, 30])
    at = logged[1].at + gap
    logged[2] = replace(logged[2], at=at, status=int(status), index=index)
    _, record_filter = believe(logged, latest=at)
    assert record_filter.clock_set_at == (at if is_set else None)


def test_stamps_before_the_first_meter() -> None:
    """They are refused also where nothing better is known."""
    logged = [replace(r, at=r.at - START) for r in records([10, 20])]
    believed, record_filter = believe([*logged, *records([10, 20, 30, 40])[2:]])
    assert len(believed) == 2
    assert record_filter.rejected == {"clock not set": 2}


EARLIEST = 1_420_070_400
"""2015-01-01"""


@pytest.mark.parametrize(
    ("stamps", "latest", "reason"),
    [
        ((EARLIEST - 1,), EARLIEST, "clock not set"),
        ((EARLIEST,), EARLIEST, None),
        ((EARLIEST + 1,), EARLIEST, "time stamp in the future"),
        # A clock is set back by a day and a change of time zone.
        ((START, START - 26 * 3600), START, None),
        ((START, START - 26 * 3600 - 1), START, "time stamp far in the past"),
    ],
)
def test_stamp_that_no_clock_has(
    stamps: tuple[int, ...], latest: int, reason: str | None
) -> None:
    """The last of the stamps is rejected, or the last one that can be right."""
    logged = [
        replace(record, at=at)
        for record, at in zip(records([10] * len(stamps)), stamps, strict=True)
    ]
    believed, record_filter = believe(logged, latest)
    assert record_filter.rejected == ({} if reason is None else {reason: 1})
    assert len(believed) == len(stamps) - (reason is not None)


@given(
    st.lists(st.integers(0, 900), min_size=8, max_size=60),
    st.sets(st.integers(4, 50)),
    st.booleans(),
)
def test_damage_is_no_restart(
    rises: list[int], damaged: set[int], is_high: bool
) -> None:
    """Single damaged records change no energy; they are refused and nothing else is."""
    registers = [1_000_000 + sum(rises[: n + 1]) for n in range(len(rises))]
    logged = records(registers)
    apart = {n for n in damaged if n < len(rises) - 3 and not {n - 1, n - 2} & damaged}
    for n in apart:
        values = [10**9 if is_high else 5] * len(COLUMNS)
        logged[n] = replace(logged[n], values=tuple(values))
    believed, record_filter = believe(logged)
    assert [b.record for b in believed] == [
        record for n, record in enumerate(logged) if n not in apart
    ]
    assert not any(any(b.lift) for b in believed)
    assert record_filter.rejected.total() == len(apart)


@pytest.mark.parametrize(
    ("stamps", "now", "offset"),
    [
        # The last record is not older than an interval, and what it takes to read it.
        ((0, 900), 900, 0),
        ((0, 900), 900 + 900 + 144, 0),
        ((0, 900), 900 + 900 + 145, -145),
        ((0, 900), 900 + 5000, -4100),
        ((0, 900), 900 - 144, 0),
        ((0, 900), 900 - 145, 145),
        ((0, 300, 900), 900 + 600 + 145, -145),
        # With an hour between two records the clock may be an hour slow.
        ((0, 3599), 3599, 0),
        ((0, 3600), 3600, None),
        ((0, 3600), 3600 + 3600 + 144, None),
        ((0, 3600), 3600 + 3600 + 145, -145),
        ((0, 3600), 3600 - 145, 145),
        ((900,), 1000, None),
        ((900,), 900 + 3600 + 145, -145),
        ((900, 900), 950, None),
        ((900, 900), 900 + 3600 + 144, None),
        ((900, 900), 900 + 3600 + 145, -145),
        ((900, 901), 902, 0),
        # It was set back some minutes ago.
        ((3600, 900), 1000, None),
        ((3600, 900), 900 + 3600 + 144, None),
        ((3600, 900), 900 + 3600 + 145, -145),
    ],
)
def test_clock_by_the_newest_records(
    stamps: tuple[int, ...], now: int, offset: int | None
) -> None:
    """The stamps that a clock gave show how far it is off at least."""
    newest = [
        replace(record, at=START + at)
        for record, at in zip(records([10] * len(stamps)), stamps, strict=True)
    ]
    assert clock_offset_by_records(newest, START + now) == offset


SET: int = LoggerStatus.TIME_CHANGED


@pytest.mark.parametrize(
    ("minutes", "status", "dropped"),
    [
        ((0, 15, 30, 45, 60), {}, []),
        # One stamp is damaged: too late, too early, or that of another record.
        ((0, 15, 99, 45, 60), {}, [2]),
        ((0, 15, 5, 45, 60), {}, [2]),
        ((0, 20, 15, 45, 60), {}, [2]),
        ((0, 45, 35, 45, 60), {}, [1]),
        ((0, 15, 15, 45, 60), {}, []),
        ((0, 15, 45, 45, 60), {}, []),
        ((0, 99, 30, 45, 60), {}, [1]),
        # The stamp of a neighbor is possible, if the other one is not.
        ((0, 99, 0, 45, 60), {}, [1]),
        ((30, 45, 15, 45, 60), {}, [2]),
        # Nobody knows of the first and the last one.
        ((99, 15, 30, 45, 60), {}, []),
        ((0, 15, 30, 45, 5), {}, []),
        # The clock was set, as the status of that record or of the next one says.
        ((0, 15, 99, 45, 60), {2: SET}, []),
        ((0, 15, 99, 45, 60), {3: SET}, []),
        ((0, 15, 99, 45, 60), {1: SET, 4: SET}, [2]),
        ((0, 15, 99, 45, 60), {2: 32}, [2]),
        ((0, 45, 99, 30, 40), {}, []),
    ],
)
def test_stamp_out_of_order(
    minutes: tuple[int, ...], status: dict[int, int], dropped: list[int]
) -> None:
    """A stamp that does not lie between those around it is damaged."""
    logged = [
        replace(record, at=START + 60 * minute, status=status.get(record.index, 0))
        for record, minute in zip(records([1, 2, 3, 4, 5]), minutes, strict=True)
    ]
    believed, record_filter = believe(logged)
    right = [index for index in range(5) if index not in dropped]
    assert [one.record.index for one in believed] == right
    assert record_filter.rejected.total() == len(dropped)


@pytest.mark.parametrize(
    ("minutes", "dropped"), [((0, 35, 30, 90, 105), 1), ((0, 15, 10, 90, 105), 2)]
)
def test_stamp_out_of_order_before_a_gap(
    minutes: tuple[int, ...], dropped: int
) -> None:
    """The place of a stamp between two others is that of its index."""
    logged = [
        replace(record, at=START + 60 * minute, index=index)
        for record, minute, index in zip(
            records([1, 2, 3, 4, 5]), minutes, (5, 6, 7, 11, 12), strict=True
        )
    ]
    believed, _ = believe(logged)
    assert [one.record for one in believed] == logged[:dropped] + logged[dropped + 1 :]


@pytest.mark.parametrize(
    ("minutes", "undecided"), [((0, 15, 30, 45), None), ((0, 15, 30, 20), 20)]
)
def test_newest_stamp_is_undecided(
    minutes: tuple[int, ...], undecided: int | None
) -> None:
    """Which of the last two is wrong shows with the next record."""
    logged = [
        replace(record, at=START + 60 * minute)
        for record, minute in zip(records([1, 2, 3, 4]), minutes, strict=True)
    ]
    believed, record_filter = believe(logged)
    assert len(believed) == 4
    since = record_filter.undecided_since
    assert since == (None if undecided is None else START + 60 * undecided)
