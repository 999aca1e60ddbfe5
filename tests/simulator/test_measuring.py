"""Registers are the integral of power, extremes the extremes of what was shown."""

from collections.abc import Iterator
from dataclasses import astuple
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
import math
import time

from hypothesis import example, given, strategies as st
import numpy as np
import pytest

from simulator.load import COLUMNS, household
from simulator.measuring import Metrology
from simulator.values import Extreme, Momentary, Phases, Registers, Snapshot

FIXED_ZONE = timezone(timedelta(hours=1))
T1_HOURS = {**dict.fromkeys(range(5), (7, 20)), 5: (7, 13), 6: (0, 0)}
DAY = 86_400
FRIDAY_NOON = int(datetime(2025, 3, 28, 12, 0, 7, tzinfo=UTC).timestamp())
FIRST = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
LAST = int(datetime(2031, 1, 1, tzinfo=UTC).timestamp())

REGISTERS = tuple(Registers.__dataclass_fields__)

SEED_7_AT_FRIDAY_NOON = Snapshot(
    at=FRIDAY_NOON - 2,
    registers=Registers(
        active_import_t1=15_306_797,
        active_import_t2=32_221_209,
        active_export_t1=29_179_237,
        active_export_t2=7_506_600,
        reactive_import_t1=8_705_206,
        reactive_import_t2=10_747_804,
        reactive_export_t1=873_141,
        reactive_export_t2=1_257_122,
    ),
    momentary=Momentary(
        active_power=Phases(24, -36, -68),
        reactive_power=Phases(-29, -25, -33),
        current=Phases(164, -190, -330),
        current_n=324,
        voltage=Phases(2299, 2301, 2293),
        power_factor=Phases(64, -82, -90),
        frequency=500,
    ),
)

moments = st.integers(FIRST, LAST)
seeds = st.integers(1, 3)


def metrology(installed: int = FIRST, seed: int = 1) -> Metrology:
    """Return a meter's metrology; households are shared by seed."""
    return Metrology(household(seed), installed)


def snapshots(meter: Metrology, until: int) -> Iterator[Snapshot]:
    """Yield every snapshot that somebody could have seen."""
    for at in range(meter.installed, until + 1, 5):
        yield meter.snapshot(at)


def tariff(at: int) -> int:
    """Return 1 or 2: the tariff of the second that begins at `at`."""
    local = datetime.fromtimestamp(at, FIXED_ZONE)
    begin, end = T1_HOURS[local.weekday()]
    return 1 if begin <= local.hour < end else 2


def parts(momentary: Momentary) -> tuple[int, int, int, int]:
    """Return the powers of the four energies, W and var."""
    active, reactive = momentary.active_power_total, momentary.reactive_power_total
    return max(active, 0), max(-active, 0), max(reactive, 0), max(-reactive, 0)


def integrated(meter: Metrology, until: int) -> Registers:
    """Integrate power second by second from the installation on."""
    seconds = {(energy, number): 0 for energy in range(4) for number in (1, 2)}
    for at in range(meter.installed, until):
        step_end = at - at % 5 + 5
        for energy, power in enumerate(parts(meter.snapshot(step_end).momentary)):
            seconds[energy, tariff(at)] += power
    shown = (total // 3600 for total in seconds.values())
    return Registers(**dict(zip(REGISTERS, shown, strict=True)))


@given(installed=moments, seconds=st.integers(0, 900), seed=seeds)
@example(
    installed=int(datetime(2025, 3, 28, 5, 55, tzinfo=UTC).timestamp()),
    seconds=700,
    seed=1,
)
@example(
    installed=int(datetime(2025, 3, 28, 18, 55, tzinfo=UTC).timestamp()),
    seconds=700,
    seed=1,
)
@example(
    installed=int(datetime(2025, 3, 29, 11, 55, tzinfo=UTC).timestamp()),
    seconds=700,
    seed=1,
)
@example(
    installed=int(datetime(2025, 3, 29, 22, 55, tzinfo=UTC).timestamp()),
    seconds=700,
    seed=1,
)
def test_registers_are_the_integral_of_power(
    installed: int, seconds: int, seed: int
) -> None:
    """Registers are the integral of power."""
    meter = metrology(installed, seed)
    until = meter.installed + seconds
    assert meter.registers(until) == integrated(meter, until)


def test_registers_are_the_integral_of_power_over_a_weekend() -> None:
    """Registers are the integral of power over a weekend."""
    meter = metrology(FRIDAY_NOON)
    seconds: dict[tuple[int, int], int] = dict.fromkeys(
        ((energy, number) for energy in range(4) for number in (1, 2)), 0
    )
    for snapshot in snapshots(meter, FRIDAY_NOON + 3 * DAY):
        if snapshot.at > meter.installed:
            for energy, power in enumerate(parts(snapshot.momentary)):
                seconds[energy, tariff(snapshot.at - 5)] += 5 * power
        expected = tuple(total // 3600 for total in seconds.values())
        assert astuple(snapshot.registers) == expected
    assert min(seconds.values()) > 3600


@given(installed=moments, begin=moments, length=st.integers(0, 3 * 365 * DAY))
def test_registers_do_not_depend_on_the_years_before(
    installed: int, begin: int, length: int
) -> None:
    """Registers do not depend on the years before."""
    installed, begin = sorted((installed, begin - begin % 5))
    old, new = metrology(installed), metrology(begin)
    before, after = old.registers(new.installed), old.registers(new.installed + length)
    fresh = new.registers(new.installed + length)
    for a, b, c in zip(astuple(before), astuple(after), astuple(fresh), strict=True):
        assert 0 <= b - a - c <= 1


@given(installed=moments, ats=st.lists(moments, min_size=2), seed=seeds)
def test_registers_only_grow(installed: int, ats: list[int], seed: int) -> None:
    """Registers only grow."""
    meter = metrology(installed, seed)
    readings = [astuple(meter.registers(at)) for at in sorted(ats)]
    for earlier, later in pairwise(readings):
        assert all(a <= b for a, b in zip(earlier, later, strict=True))


@given(
    ats=st.lists(st.integers(FRIDAY_NOON - DAY, FRIDAY_NOON + 60 * DAY), min_size=1),
    seed=seeds,
)
def test_answers_do_not_depend_on_their_order(ats: list[int], seed: int) -> None:
    """Answers do not depend on their order."""
    one, other = metrology(FRIDAY_NOON, seed), metrology(FRIDAY_NOON, seed)
    answers = [(one.snapshot(at), one.extremes(at)) for at in ats]
    backwards = [(other.snapshot(at), other.extremes(at)) for at in reversed(ats)]
    assert answers == backwards[::-1]


def test_registers_are_empty_until_the_installation() -> None:
    """Registers are empty until the installation."""
    meter = metrology(FRIDAY_NOON)
    assert meter.installed == FRIDAY_NOON - 2
    assert meter.registers(meter.installed) == Registers()
    assert meter.registers(FIRST) == Registers()
    assert meter.snapshot(FIRST).at == meter.installed
    assert meter.registers(meter.installed + 60) != Registers()


def test_total_is_what_the_tariffs_show() -> None:
    """Total is what the tariffs show."""
    registers = Registers(
        active_import_t1=3, active_import_t2=4, active_export_t1=5, active_export_t2=6
    )
    assert registers.active_import == 7
    assert registers.active_export == 11


def test_snapshot_is_that_of_the_last_full_step() -> None:
    """Snapshot is that of the last full step."""
    meter = metrology()
    at = FRIDAY_NOON - FRIDAY_NOON % 5
    shown = [meter.snapshot(at + second) for second in range(5)]
    assert shown == [shown[0]] * 5
    assert shown[0].at == at
    assert shown[0].registers == meter.registers(at)
    assert meter.snapshot(at + 5).momentary != shown[0].momentary


def test_every_step_shows_another_power() -> None:
    """Every step shows another power."""
    meter = metrology()
    before = meter.snapshot(FRIDAY_NOON - 5).momentary.active_power_total
    for at in range(FRIDAY_NOON, FRIDAY_NOON + DAY, 5):
        power = meter.snapshot(at).momentary.active_power_total
        assert power != before
        before = power


@pytest.mark.parametrize(
    "installed",
    [
        FRIDAY_NOON,
        int(datetime(2025, 3, 28, tzinfo=FIXED_ZONE).timestamp()),
        int(datetime(2025, 3, 28, 23, 59, 55, tzinfo=FIXED_ZONE).timestamp()),
    ],
    ids=["noon", "midnight", "before midnight"],
)
def test_extremes_are_the_extremes_of_what_was_shown(installed: int) -> None:
    """Extremes are the extremes of what was shown."""
    meter = metrology(installed)
    first = meter.snapshot(installed)
    lowest = [Extreme(value, first.at) for value in first.momentary.columns()]
    highest = list(lowest)
    # A prime, so that every hour of the day and every minute has its turn.
    checks = range(meter.installed, LAST, 2711 * 5)
    end = installed + int(2.6 * DAY)
    for snapshot in snapshots(meter, end):
        for column, value in enumerate(snapshot.momentary.columns()):
            if value < lowest[column].value:
                lowest[column] = Extreme(value, snapshot.at)
            if value > highest[column].value:
                highest[column] = Extreme(value, snapshot.at)
        if snapshot.at in checks:
            assert meter.extremes(snapshot.at + 4) == (tuple(lowest), tuple(highest))


def test_extremes_of_weeks_are_those_of_their_steps() -> None:
    """Extremes of weeks are those of their steps."""
    days = 30
    evening = int(datetime(2025, 6, 2, 20, tzinfo=FIXED_ZONE).timestamp())
    begin, meter, house = evening - 20 * 3600, metrology(evening), household(1)
    first = (begin + 3600) // DAY
    patterns = [house.pattern(first + day) for day in range(days)]
    # The first pattern comes again, and sets records that its evening could not.
    assert patterns[0] in patterns[1:]
    steps = np.concatenate([house.day(pattern).values for pattern in patterns], axis=1)
    # The step that ends with the installation is shown.
    steps = steps[:, 20 * 720 - 1 :]
    for length in (1, 2, 4 * 720, 4 * 720 + 1, 100_000, 250_000, steps.shape[1]):
        shown = steps[:, :length]
        places = (shown.argmin(axis=1), shown.argmax(axis=1))
        expected = tuple(
            tuple(
                Extreme(int(shown[column, place]), evening + 5 * int(place))
                for column, place in enumerate(side)
            )
            for side in places
        )
        assert meter.extremes(evening + 5 * (length - 1)) == expected


@given(installed=moments, at=moments, later=st.integers(0, 400 * DAY), seed=seeds)
def test_extremes_were_shown_and_only_get_worse(
    installed: int, at: int, later: int, seed: int
) -> None:
    """Extremes were shown and only get worse."""
    meter = metrology(installed, seed)
    at = max(at, installed)
    before, after = meter.extremes(at), meter.extremes(at + later)
    for side, sign in ((0, 1), (1, -1)):
        for column in range(len(COLUMNS)):
            old, new = before[side][column], after[side][column]
            assert meter.installed <= old.at <= at
            shown = meter.snapshot(new.at).momentary.columns()
            assert shown[column] == new.value
            assert sign * new.value <= sign * old.value
            if new.value == old.value:
                assert new.at == old.at
            now = meter.snapshot(at).momentary.columns()[column]
            assert sign * old.value <= sign * now


@given(at=moments, seed=seeds)
def test_values_belong_together(at: int, seed: int) -> None:
    """Values belong together."""
    values = metrology(seed=seed).snapshot(at).momentary
    assert values.active_power_total == sum(values.active_power)
    assert values.current_total == sum(values.current)
    assert 0 <= values.current_n <= sum(map(abs, values.current))
    assert 499 <= values.frequency <= 501
    for phase in range(3):
        power, reactive = values.active_power[phase], values.reactive_power[phase]
        volts, amperes = values.voltage[phase] / 10, values.current[phase] / 1000
        apparent = math.hypot(power, reactive)
        assert 222 <= volts <= 238
        assert abs(power) < 5000
        assert abs(amperes) * volts == pytest.approx(apparent, abs=0.2)
        assert power * amperes >= 0
        assert values.power_factor[phase] == pytest.approx(
            100 * power / apparent, abs=0.51
        )


def test_neutral_carries_what_the_phases_do_not_cancel() -> None:
    """Neutral carries what the phases do not cancel."""
    values = metrology().snapshot(FRIDAY_NOON).momentary
    neutral = sum(
        complex(power, -reactive) / volts * 10_000 * 1j ** (-4 * phase / 3)
        for phase, (power, reactive, volts) in enumerate(
            zip(values.active_power, values.reactive_power, values.voltage, strict=True)
        )
    )
    assert values.current_n == round(abs(neutral))


def test_roof_exports_at_noon_and_house_imports_at_night() -> None:
    """Roof exports at noon and house imports at night."""
    meter = metrology()
    june = [
        int(datetime(2025, 6, day, 11, 30, tzinfo=UTC).timestamp())
        for day in range(1, 31)
    ]
    noons = [meter.snapshot(at).momentary for at in june]
    nights = [meter.snapshot(at + 12 * 3600).momentary for at in june]
    exporting = [noon for noon in noons if noon.active_power_total < -2000]
    assert len(exporting) > 15
    for noon in exporting:
        assert max(noon.active_power) < 0
        assert max(noon.power_factor) < 0
        assert max(noon.current) < 0
    assert all(night.active_power_total > 0 for night in nights)


def test_seasons_differ() -> None:
    """Seasons differ."""
    meter = metrology()

    def month(number: int) -> tuple[int, int]:
        begin = datetime(2025, number, 1, tzinfo=UTC)
        before = meter.registers(int(begin.timestamp()))
        after = meter.registers(int(begin.timestamp()) + 28 * DAY)
        return (
            after.active_import - before.active_import,
            after.active_export - before.active_export,
        )

    january, july = month(1), month(7)
    assert january[0] > 2 * july[0]
    assert july[1] > 5 * january[1]


def test_seeds_differ() -> None:
    """Seeds differ."""
    one, other = (metrology(seed=seed).snapshot(FRIDAY_NOON) for seed in (1, 2))
    assert one != other


def test_same_seed_is_the_same_meter_on_every_machine() -> None:
    """Same seed is the same meter on every machine."""
    assert metrology(seed=7).snapshot(FRIDAY_NOON) == SEED_7_AT_FRIDAY_NOON


def test_five_years_are_quickly_known() -> None:
    """Five years are quickly known."""
    begin = time.process_time()
    metrology(seed=123_456).snapshot(FIRST + 5 * 365 * DAY)
    assert time.process_time() - begin < 1
