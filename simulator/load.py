"""A three-phase household with a heat pump and 9 kWp on its roof.

Pure: power is a function of seed and time only. Each day has one of 36 patterns
(daylight of the month x working day or weekend x weather): the energy of years follows
from 36 days. Inside a day the power is constant for steps of 5 s, and a whole number of
watts, so that energy is exact.

Days and tariffs follow fixed UTC+1, like a ripple control receiver without summer time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

type Integers = NDArray[np.int32]
type Counts = NDArray[np.int64]
type Reals = NDArray[np.float64]

STEP_SECONDS = 5
DAY_SECONDS = 86_400
STEPS_PER_DAY = DAY_SECONDS // STEP_SECONDS
STEPS_PER_HOUR = 3600 // STEP_SECONDS
ZONE_SECONDS = 3600

COLUMNS = (
    *("p_L1", "p_L2", "p_L3", "p_L123"),
    *("q_L1", "q_L2", "q_L3", "q_L123"),
    *("i_L1", "i_L2", "i_L3", "i_L123"),
    *("u_L1", "u_L2", "u_L3"),
    *("pf_L1", "pf_L2", "pf_L3"),
    "f_L123",
    "i_N",
)
"""Momentary values of a step: W, var, mA, 0.1 V, 0.01, 0.1 Hz, mA."""

AVERAGED = (
    *("p_L123", "p_L1", "p_L2", "p_L3"),
    *("i_L123", "i_L1", "i_L2", "i_L3"),
    "i_N",
)
"""Columns with means, in the data logger's order."""

SUNNY, MIXED, OVERCAST = range(3)

_DAYLIGHT_OF_MONTH = (0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0)
_SOLAR_PEAK_WATTS = (2600, 3600, 5400, 7000, 8000, 8600)
_SOLAR_HALF_DAY_HOURS = (4.2, 5.0, 6.0, 6.9, 7.6, 8.0)
_SOLAR_NOON_HOUR = 12.5
_HEAT_PUMP_STEPS_PER_HOUR = (430, 380, 280, 180, 80, 50)

_BASE_WATTS = (140, 95, 70)
_BASE_VARS = (-35, -25, -30)
_LIVING_SHARE = (0.45, 0.30, 0.25)
_LIVING_HOURS = (0, 5, 6.5, 8, 9, 12, 13, 16, 18, 21, 23, 24)
_LIVING_WATTS = (
    (60, 50, 380, 320, 120, 160, 140, 160, 520, 560, 160, 60),
    (90, 50, 120, 380, 420, 520, 430, 330, 560, 600, 260, 90),
)
_LIVING_WATTS_OF_DARKNESS = (1.35, 1.25, 1.1, 1.0, 0.9, 0.85)

_SPLITMIX_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_SPLITMIX_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SPLITMIX_SECOND = np.uint64(0x94D049BB133111EB)


class Energies(NamedTuple):
    """Energies of all phases together, watt-seconds and var-seconds."""

    active_import: int
    active_export: int
    reactive_import: int
    reactive_export: int


class Pattern(NamedTuple):
    """Pattern of a day."""

    daylight: int
    """0 (December and January) to 5 (June and July)."""
    weekend: bool
    weather: int


@dataclass(frozen=True, slots=True)
class _Appliance:
    """An appliance with switching times, and a duty cycle while it is on."""

    name: str
    phase: int
    watts: int
    vars: int
    hours: tuple[float, ...]
    minutes: int
    on_steps: int
    period_steps: int
    on_working_days: bool = True
    on_weekends: bool = True


_APPLIANCES = (
    _Appliance("fridge", 1, 85, 50, (0,), 1440, 170, 480),
    _Appliance("kettle", 0, 2100, 0, (6.4, 16.2, 20.1), 3, 1, 1),
    _Appliance("hob", 0, 1800, 0, (18.3,), 35, 5, 9),
    _Appliance("second hob", 1, 1400, 0, (18.4,), 25, 4, 7),
    _Appliance("oven", 2, 2400, 0, (18.1,), 45, 22, 50),
    _Appliance("lunch", 0, 1800, 0, (11.6,), 30, 5, 9, on_working_days=False),
    _Appliance("dishwasher", 1, 2000, 30, (21.0,), 18, 1, 1),
    _Appliance("washing water", 2, 2050, 0, (9.5,), 16, 1, 1, on_working_days=False),
    _Appliance("washing drum", 2, 260, 190, (9.8,), 70, 9, 12, on_working_days=False),
    _Appliance("workshop", 0, 1300, 700, (8.5, 14.0), 80, 7, 20, on_weekends=False),
)


class Day:
    """The steps of one day pattern, beginning at midnight of UTC+1."""

    def __init__(self, values: Integers) -> None:
        """Take the columns of `COLUMNS`, one value per step."""
        self.values = values
        self._until = _cumulated(values[_P_TOTAL], values[_Q_TOTAL])

    def at(self, step: int) -> list[int]:
        """Return the values of `COLUMNS` in a step, 0 to 17279."""
        return self.values[:, step].tolist()  # type: ignore[no-any-return]

    def energies(self, second: int) -> Energies:
        """Return the energies from midnight until a second, 0 to 86400."""
        step, rest = divmod(second, STEP_SECONDS)
        sums = self._until[:, step].tolist()
        if not rest:
            return Energies(*(total * STEP_SECONDS for total in sums))
        active = int(self.values[_P_TOTAL, step])
        reactive = int(self.values[_Q_TOTAL, step])
        powers = (max(active, 0), max(-active, 0), max(reactive, 0), max(-reactive, 0))
        return Energies(
            *(
                total * STEP_SECONDS + power * rest
                for total, power in zip(sums, powers, strict=True)
            )
        )

    def energies_until(self, seconds: Counts) -> Counts:
        """Return `energies` of many seconds: a row for each field of `Energies`."""
        return _integrated(self._until, seconds)

    def sums_until(self, seconds: Counts) -> Counts:
        """Return value times seconds from midnight on: a row for each of `AVERAGED`."""
        return _integrated(self._averaged_until, seconds)

    @cached_property
    def _averaged_until(self) -> Integers:
        until = np.zeros((len(AVERAGED), STEPS_PER_DAY + 1), dtype=np.int32)
        rows = [COLUMNS.index(name) for name in AVERAGED]
        np.cumsum(self.values[rows], axis=1, out=until[:, 1:])
        return until


_P_TOTAL = COLUMNS.index("p_L123")
_Q_TOTAL = COLUMNS.index("q_L123")


def _integrated(until: Integers, seconds: Counts) -> Counts:
    steps, rest = np.divmod(seconds, STEP_SECONDS)
    before = until[:, steps].astype(np.int64)
    after = until[:, np.minimum(steps + 1, STEPS_PER_DAY)]
    energies: Counts = before * STEP_SECONDS + (after - before) * rest
    return energies


class Household:
    """The days of one seed. Days are counted from 1970-01-01, beginning at 00:00 UTC+1."""

    def __init__(self, seed: int) -> None:
        """Take any integer as seed."""
        self._seed = seed
        self._patterns: dict[int, Pattern] = {}
        self._days: dict[Pattern, Day] = {}

    def pattern(self, day: int) -> Pattern:
        """Return the pattern of a day."""
        if day not in self._patterns:
            self._patterns[day] = self._made_pattern(day)
        return self._patterns[day]

    def day(self, pattern: Pattern) -> Day:
        """Return the steps of a pattern; made at the first call (about 5 ms)."""
        if pattern not in self._days:
            self._days[pattern] = Day(_day_values(self._seed, pattern))
        return self._days[pattern]

    def _made_pattern(self, day: int) -> Pattern:
        chance = _key(self._seed, "weather", day) % 100
        weather = SUNNY if chance < 40 else MIXED if chance < 75 else OVERCAST
        month = date.fromordinal(_ORDINAL_1970 + day).month
        return Pattern(_DAYLIGHT_OF_MONTH[month - 1], weekday(day) >= 5, weather)


@lru_cache(maxsize=4)
def household(seed: int) -> Household:
    """Return the household of a seed, shared because its days take up to 90 MB."""
    return Household(seed)


_ORDINAL_1970 = date(1970, 1, 1).toordinal()


def day_and_second(at: int) -> tuple[int, int]:
    """Return the UTC+1 day since 1970-01-01 and the second in it of an epoch second."""
    return divmod(at + ZONE_SECONDS, DAY_SECONDS)


def day_begin(day: int) -> int:
    """Return the epoch second of the begin of a UTC+1 day."""
    return day * DAY_SECONDS - ZONE_SECONDS


def weekday[Days: (int, Counts)](day: Days) -> Days:
    """Return 0 (Monday) to 6 (Sunday), of one day or of many."""
    return (day + 3) % 7


def high_tariff(weekday: int) -> tuple[int, int]:
    """Return begin and end of tariff T1 in seconds of the day; the rest is T2."""
    if weekday == 6:
        return 0, 0
    return 7 * 3600, (13 if weekday == 5 else 20) * 3600


def _key(seed: int, *parts: object) -> int:
    text = "/".join(map(str, (seed, *parts)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


class _Chance:
    """Named, reproducible randomness of one day pattern."""

    def __init__(self, seed: int, pattern: Pattern) -> None:
        self._parts = (seed, *(int(part) for part in pattern))

    def integers(self, name: str, limit: int, count: int) -> Integers:
        """Return integers from -limit to limit (splitmix64 of a counter)."""
        counter = np.arange(count, dtype=np.uint64)
        mixed = counter * _SPLITMIX_GAMMA + np.uint64(_key(*self._parts, name))
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _SPLITMIX_FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SPLITMIX_SECOND
        mixed ^= mixed >> np.uint64(31)
        span = np.uint64(2 * limit + 1)
        folded = ((mixed >> np.uint64(40)) * span) >> np.uint64(24)
        return folded.astype(np.int32) - np.int32(limit)

    def wander(self, name: str, limit: int, steps: int) -> Reals:
        """Return a day-long broken line with a corner every `steps` steps.

        It begins and ends at 0: no jump between two days.
        """
        corners = self.integers(name, limit, STEPS_PER_DAY // steps + 1)
        corners[0] = corners[-1] = 0
        return np.interp(_STEPS, np.arange(len(corners)) * steps, corners)

    def delay(self, name: str, limit: int) -> int:
        """Return up to `limit` minutes, early or late, in steps."""
        minutes = _key(*self._parts, name) % (2 * limit + 1) - limit
        return minutes * 60 // STEP_SECONDS


_STEPS: Integers = np.arange(STEPS_PER_DAY, dtype=np.int32)
_HOURS: Reals = _STEPS / STEPS_PER_HOUR


def _day_values(seed: int, pattern: Pattern) -> Integers:
    chance = _Chance(seed, pattern)
    powers = _active_powers(chance, pattern)
    reactive = _reactive_powers(chance, pattern)
    voltages = [_voltage(chance, phase, powers[phase]) for phase in range(3)]
    apparent = [_magnitude(p, q) for p, q in zip(powers, reactive, strict=True)]
    currents = [
        _rounded(np.copysign(s * 10_000 / u, p))
        for s, u, p in zip(apparent, voltages, powers, strict=True)
    ]
    factors = [
        _rounded(100 * p / np.maximum(s, 1))
        for p, s in zip(powers, apparent, strict=True)
    ]
    return np.stack(
        [
            *_with_sum(powers),
            *_with_sum(reactive),
            *_with_sum(currents),
            *voltages,
            *factors,
            _frequency(chance),
            _neutral_current(powers, reactive, voltages),
        ]
    )


def _active_powers(chance: _Chance, pattern: Pattern) -> list[Integers]:
    solar = _solar_watts(chance, pattern) / 3
    living = _living_watts(pattern)
    heating = _heat_pump(chance, pattern)
    powers = [
        _BASE_WATTS[phase]
        + _LIVING_SHARE[phase] * living
        + _appliances(chance, pattern, phase, lambda a: a.watts)
        + 700 * heating
        - solar
        for phase in range(3)
    ]
    whole = [
        _rounded(power) + chance.integers(f"p{phase}", 12, STEPS_PER_DAY)
        for phase, power in enumerate(powers)
    ]
    # Even totals in even steps, odd ones in odd steps: the total changes at each step,
    # as on a real meter.
    whole[0] += (sum(whole) + _STEPS) & 1
    return whole


def _reactive_powers(chance: _Chance, pattern: Pattern) -> list[Integers]:
    heating = _heat_pump(chance, pattern)
    return [
        _rounded(
            _BASE_VARS[phase]
            + _appliances(chance, pattern, phase, lambda a: a.vars)
            + 430 * heating
        )
        + chance.integers(f"q{phase}", 6, STEPS_PER_DAY)
        for phase in range(3)
    ]


def _living_watts(pattern: Pattern) -> Reals:
    darkness = _LIVING_WATTS_OF_DARKNESS[pattern.daylight]
    watts = _LIVING_WATTS[pattern.weekend]
    return np.interp(_HOURS, _LIVING_HOURS, watts) * darkness


def _heat_pump(chance: _Chance, pattern: Pattern) -> Integers:
    phase = _STEPS + chance.delay("heat pump", 30)
    running = phase % STEPS_PER_HOUR < _HEAT_PUMP_STEPS_PER_HOUR[pattern.daylight]
    return running.astype(np.int32)


def _appliances(
    chance: _Chance,
    pattern: Pattern,
    phase: int,
    size: Callable[[_Appliance], int],
) -> Integers:
    total = np.zeros(STEPS_PER_DAY, dtype=np.int32)
    for appliance in _APPLIANCES:
        used = appliance.on_weekends if pattern.weekend else appliance.on_working_days
        if used and appliance.phase == phase:
            total += size(appliance) * _running(chance, appliance)
    return total


def _running(chance: _Chance, appliance: _Appliance) -> Integers:
    running = np.zeros(STEPS_PER_DAY, dtype=np.int32)
    length = appliance.minutes * 60 // STEP_SECONDS
    chopped = _STEPS[:length] % appliance.period_steps < appliance.on_steps
    for hour in appliance.hours:
        late = chance.delay(f"{appliance.name} {hour}", 12) if hour else 0
        begin = int(hour * STEPS_PER_HOUR) + late
        running[begin : begin + length] = chopped[: STEPS_PER_DAY - begin]
    return running


def _solar_watts(chance: _Chance, pattern: Pattern) -> Reals:
    half_day = _SOLAR_HALF_DAY_HOURS[pattern.daylight]
    height = np.maximum(0, 1 - ((_HOURS - _SOLAR_NOON_HOUR) / half_day) ** 2)
    clear: Reals = _SOLAR_PEAK_WATTS[pattern.daylight] * height * np.sqrt(height)
    return clear * _sky(chance, pattern.weather)


def _sky(chance: _Chance, weather: int) -> Reals:
    if weather == SUNNY:
        return 0.97 + chance.wander("haze", 30, 240) / 1000
    if weather == MIXED:
        return 0.62 + chance.wander("clouds", 370, 30) / 1000
    return 0.13 + chance.wander("grey", 50, 180) / 1000


def _voltage(chance: _Chance, phase: int, power: Integers) -> Integers:
    grid = chance.wander("grid", 25, STEPS_PER_HOUR)
    branch = chance.wander(f"branch {phase}", 6, STEPS_PER_HOUR // 2)
    jitter = chance.integers(f"u{phase}", 1, STEPS_PER_DAY)
    return _rounded(2302 + grid + branch - 0.0045 * power) + jitter


def _frequency(chance: _Chance) -> Integers:
    return _rounded(500 + chance.wander("f", 13, 60) / 10)


def _neutral_current(
    powers: list[Integers], reactive: list[Integers], voltages: list[Integers]
) -> Integers:
    active = [p / u for p, u in zip(powers, voltages, strict=True)]
    lagging = [q / u for q, u in zip(reactive, voltages, strict=True)]
    # The conductors are 120 degrees apart; -1/2 and sqrt(3)/2 turn them.
    turn = 0.75**0.5
    along = active[0] - (active[1] + active[2]) / 2
    along += turn * (lagging[2] - lagging[1])
    across = (lagging[1] + lagging[2]) / 2 - lagging[0]
    across += turn * (active[2] - active[1])
    return _rounded(10_000 * _magnitude(along, across))


def _cumulated(active: Integers, reactive: Integers) -> Integers:
    powers = np.stack([active, -active, reactive, -reactive])
    until = np.zeros((4, STEPS_PER_DAY + 1), dtype=np.int32)
    np.cumsum(np.maximum(powers, 0), axis=1, out=until[:, 1:])
    return until


def _with_sum(phases: list[Integers]) -> list[Integers]:
    return [*phases, phases[0] + phases[1] + phases[2]]


def _magnitude(one: Integers | Reals, other: Integers | Reals) -> Reals:
    # Unlike hypot, sqrt gives the same last digit on every machine.
    return np.sqrt(1.0 * one * one + 1.0 * other * other)


def _rounded(values: Reals | Integers) -> Integers:
    return np.rint(values).astype(np.int32)
