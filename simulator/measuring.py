"""What the metrology of the meter knows: registers, momentary values, extremes.

Everything is a pure function of true time. Live values, the data logger and a
test's expectation all come from here, so that they always agree.
"""

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from . import load
from .load import DAY_SECONDS, STEP_SECONDS, Household

WATT_SECONDS_PER_WATT_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """The energy registers, whole Wh and varh (chapter "CSV-File Structure", 5-12)."""

    active_import_t1: int = 0
    active_import_t2: int = 0
    active_export_t1: int = 0
    active_export_t2: int = 0
    reactive_import_t1: int = 0
    reactive_import_t2: int = 0
    reactive_export_t1: int = 0
    reactive_export_t2: int = 0

    @property
    def active_import(self) -> int:
        """Total import, Wh: what T1 and T2 show, added up."""
        return self.active_import_t1 + self.active_import_t2

    @property
    def active_export(self) -> int:
        """Total export, Wh: what T1 and T2 show, added up."""
        return self.active_export_t1 + self.active_export_t2


class Phases(NamedTuple):
    """One value per phase."""

    l1: int
    l2: int
    l3: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Momentary:
    """The momentary values of a step (chapter "CSV-File Structure", 13-28).

    Active power, current and power factor are negative while a phase exports.
    """

    active_power: Phases
    """W"""
    reactive_power: Phases
    """var, positive is inductive and counted as import"""
    current: Phases
    """mA"""
    current_n: int
    """mA, without sign"""
    voltage: Phases
    """0.1 V"""
    power_factor: Phases
    """0.01, -100 to 100"""
    frequency: int
    """0.1 Hz"""

    @property
    def active_power_total(self) -> int:
        """Sum of the phases, W."""
        return sum(self.active_power)

    @property
    def reactive_power_total(self) -> int:
        """Sum of the phases, var."""
        return sum(self.reactive_power)

    @property
    def current_total(self) -> int:
        """Sum of the phases, mA."""
        return sum(self.current)

    def columns(self) -> tuple[int, ...]:
        """Return the values in the order of `load.COLUMNS`."""
        return (
            *self.active_power,
            self.active_power_total,
            *self.reactive_power,
            self.reactive_power_total,
            *self.current,
            self.current_total,
            *self.voltage,
            *self.power_factor,
            self.frequency,
            self.current_n,
        )


class Extreme(NamedTuple):
    """A lowest or highest value and when it was first shown."""

    value: int
    at: int
    """Epoch second, UTC, true time."""


class Extremes(NamedTuple):
    """Minimum and maximum of every column of `load.COLUMNS`, in its order."""

    minima: tuple[Extreme, ...]
    maxima: tuple[Extreme, ...]

    def joined(self, later: Extremes) -> Extremes:
        """Return the extremes of both; of equal values the earlier one stays."""
        return Extremes(
            tuple(
                new if new.value < old.value else old
                for old, new in zip(self.minima, later.minima, strict=True)
            ),
            tuple(
                new if new.value > old.value else old
                for old, new in zip(self.maxima, later.maxima, strict=True)
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the meter shows: the registers and momentary values of one moment."""

    at: int
    """Epoch second, UTC, true time; a multiple of 5."""
    registers: Registers
    momentary: Momentary


type _Sums = tuple[int, ...]
"""Watt-seconds in the order of the fields of `Registers`."""


class Metrology:
    """Measures a household from the installation of the meter on."""

    def __init__(self, household: Household, installed: int) -> None:
        """Begin with empty registers at an epoch second, moved back to a full step."""
        self._household = household
        self.installed = installed - installed % STEP_SECONDS
        self._first_day, second = load.day_and_second(self.installed)
        first = self._sums_of_day(self._first_day, second)
        self._until_day: list[_Sums] = [tuple(-energy for energy in first)]
        self._records = _Records(household, self.installed)

    def registers(self, at: int) -> Registers:
        """Return the registers at an epoch second; before the installation they are 0."""
        day, second = load.day_and_second(max(at, self.installed))
        sums = zip(self._until(day), self._sums_of_day(day, second), strict=True)
        return Registers(
            **{
                name: (before + today) // WATT_SECONDS_PER_WATT_HOUR
                for name, (before, today) in zip(_REGISTER_NAMES, sums, strict=True)
            }
        )

    def snapshot(self, at: int) -> Snapshot:
        """Return what is shown at an epoch second: the last full step of 5 s."""
        shown = _shown(max(at, self.installed))
        day, second = load.day_and_second(shown - STEP_SECONDS)
        pattern = self._household.pattern(day)
        values = self._household.day(pattern).at(second // STEP_SECONDS)
        return Snapshot(
            at=shown, registers=self.registers(shown), momentary=_momentary(values)
        )

    def extremes(self, at: int) -> Extremes:
        """Return the extremes of all snapshots from the installation to an epoch second."""
        return self._records.until(_shown(max(at, self.installed)))

    def _until(self, day: int) -> _Sums:
        known = self._until_day
        for next_day in range(self._first_day + len(known) - 1, day):
            sums = self._sums_of_day(next_day, DAY_SECONDS)
            known.append(tuple(map(sum, zip(known[-1], sums, strict=True))))
        return known[day - self._first_day]

    def _sums_of_day(self, day: int, second: int) -> _Sums:
        steps = self._household.day(self._household.pattern(day))
        begin, end = load.high_tariff(load.weekday(day))
        total = steps.energies(second)
        before = steps.energies(min(second, begin))
        after = steps.energies(min(second, end))
        return tuple(
            energy
            for i, energy_total in enumerate(total)
            for energy in _tariffs(energy_total, after[i] - before[i])
        )


class _Records:
    """Remembers extremes by the day on which they were set.

    A day repeats a pattern; only the first day of a pattern can set a record.
    """

    def __init__(self, household: Household, installed: int) -> None:
        self._household = household
        # The step that ends with the installation is the first one ever shown.
        self._first_day, second = load.day_and_second(installed - STEP_SECONDS)
        self._first_step = second // STEP_SECONDS
        self._known_until = self._first_day
        self._seen: dict[load.Pattern, int] = {}
        self._days: list[int] = []
        self._records: list[Extremes] = []

    def until(self, shown: int) -> Extremes:
        day, second = load.day_and_second(shown - STEP_SECONDS)
        self._look_until(day)
        before = bisect_right(self._days, day - 1)
        pattern = self._household.pattern(day)
        if before and self._seen.get(pattern, day) < day:
            return self._records[before - 1]
        today = self._of_day(day, second // STEP_SECONDS)
        return self._records[before - 1].joined(today) if before else today

    def _look_until(self, day: int) -> None:
        for known in range(self._known_until, day):
            self._look_at(known)
        self._known_until = max(self._known_until, day)

    def _look_at(self, day: int) -> None:
        pattern = self._household.pattern(day)
        if pattern in self._seen:
            return
        if day > self._first_day:
            self._seen[pattern] = day
        today = self._of_day(day, load.STEPS_PER_DAY - 1)
        self._records.append(
            self._records[-1].joined(today) if self._records else today
        )
        self._days.append(day)

    def _of_day(self, day: int, last_step: int) -> Extremes:
        first = self._first_step if day == self._first_day else 0
        steps = self._household.day(self._household.pattern(day))
        values = steps.values[:, first : last_step + 1]
        shown = load.day_begin(day) + (first + 1) * STEP_SECONDS
        lowest = values.argmin(axis=1).tolist()
        highest = values.argmax(axis=1).tolist()
        return Extremes(
            *(
                tuple(
                    Extreme(int(values[row, step]), shown + step * STEP_SECONDS)
                    for row, step in enumerate(steps_of_records)
                )
                for steps_of_records in (lowest, highest)
            )
        )


_REGISTER_NAMES = tuple(Registers.__dataclass_fields__)


def _shown(at: int) -> int:
    return at - at % STEP_SECONDS


def _tariffs(total: int, high: int) -> tuple[int, int]:
    return high, total - high


def _momentary(values: list[int]) -> Momentary:
    p1, p2, p3, _, q1, q2, q3, _, i1, i2, i3, _, *rest = values
    u1, u2, u3, pf1, pf2, pf3, frequency, current_n = rest
    return Momentary(
        active_power=Phases(p1, p2, p3),
        reactive_power=Phases(q1, q2, q3),
        current=Phases(i1, i2, i3),
        current_n=current_n,
        voltage=Phases(u1, u2, u3),
        power_factor=Phases(pf1, pf2, pf3),
        frequency=frequency,
    )
