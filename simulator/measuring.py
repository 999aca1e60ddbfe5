"""The metrology of the meter: registers, momentary values, extremes.

Everything is a pure function of true time. Live values, the data logger and the
expectations of tests all come from here, so they always agree.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np

from . import load
from .extremes import Records
from .load import DAY_SECONDS, STEP_SECONDS, Counts, Household
from .values import Extremes, Momentary, Phases, Registers, Snapshot, Span

WATT_SECONDS_PER_WATT_HOUR = 3600

type _Sums = tuple[int, ...]
"""Watt-seconds in the order of the fields of `Registers`."""


class Metrology:
    """Measures a household from the installation of the meter on.

    During a span of `failures` the house takes no energy, so the registers stand still,
    and the last snapshot stays.
    """

    def __init__(
        self, household: Household, installed: int, failures: Sequence[Span] = ()
    ) -> None:
        """Begin with empty registers at an epoch second, moved back to a full step.

        `failures` begin and end at full steps and are apart, in order.
        """
        self._household = household
        self.installed = installed - installed % STEP_SECONDS
        self._first_day, second = load.day_and_second(self.installed)
        first = self._sums_of_day(self._first_day, second)
        self._until_day: list[_Sums] = [tuple(-energy for energy in first)]
        self._failures = [
            Span(max(begin, self.installed), end)
            for begin, end in failures
            if end > self.installed
        ]
        self._begins = [*(begin for begin, _ in self._failures), _NEVER]
        self._ends = [end for _, end in self._failures]
        self._untaken = self._untaken_sums()
        self._records = Records(household, self.installed, self._failures)

    def registers(self, at: int) -> Registers:
        """Return the registers at an epoch second; before the installation they are 0."""
        ended = bisect_left(self._ends, at)
        sums = self._sums(min(at, self._begins[ended]))
        return Registers(
            **{
                name: (energy - untaken) // WATT_SECONDS_PER_WATT_HOUR
                for name, energy, untaken in zip(
                    _REGISTER_NAMES, sums, self._untaken[ended], strict=True
                )
            }
        )

    def register_rows(self, ats: Counts) -> Counts:
        """Return `registers` of many epoch seconds: a row for each field."""
        untaken = np.array(self._untaken)[self._ended(ats)].T
        sums = self._sum_rows(self._lit(ats)) - untaken
        registers: Counts = sums // WATT_SECONDS_PER_WATT_HOUR
        return registers

    def mean_rows(self, begins: Counts, ends: Counts) -> Counts:
        """Return means over spans without a failure: a row for each of `load.AVERAGED`.

        They are those of true power and current, rounded (halves up).
        """
        seconds = ends - begins
        sums = self._averaged_rows(np.concatenate((begins, ends)))
        totals = sums[:, len(begins) :] - sums[:, : len(begins)]
        means: Counts = (2 * totals + seconds) // (2 * seconds)
        return means

    def momentary_rows(self, ats: Counts) -> Counts:
        """Return the momentary values of many snapshots: a row for each of `load.COLUMNS`."""
        shown = self._lit(ats - ats % STEP_SECONDS)
        days, seconds = _days_and_seconds(shown - STEP_SECONDS)
        rows = np.empty((len(load.COLUMNS), len(ats)), dtype=np.int64)
        for day, places in self._by_pattern(days):
            rows[:, places] = day.values[:, seconds[places] // STEP_SECONDS]
        return rows

    def snapshot(self, at: int) -> Snapshot:
        """Return the displayed values at an epoch second: those of the last full step of 5 s."""
        shown = _shown(max(at, self.installed))
        shown = min(shown, self._begins[bisect_left(self._ends, shown)])
        day, second = load.day_and_second(shown - STEP_SECONDS)
        pattern = self._household.pattern(day)
        values = self._household.day(pattern).at(second // STEP_SECONDS)
        return Snapshot(
            at=shown, registers=self.registers(shown), momentary=_momentary(values)
        )

    def extremes(self, at: int) -> Extremes:
        """Return the extremes of all snapshots from the installation to an epoch second."""
        return self._records.until(_shown(max(at, self.installed)))

    def _ended(self, ats: Counts) -> Counts:
        return np.searchsorted(np.array(self._ends, dtype=np.int64), ats)

    def _lit(self, ats: Counts) -> Counts:
        next_begins = np.array(self._begins)[self._ended(ats)]
        return np.clip(ats, self.installed, np.maximum(next_begins, self.installed))

    def _untaken_sums(self) -> list[_Sums]:
        nothing: _Sums = (0,) * len(_REGISTER_NAMES)
        each = (
            _difference(self._sums(end), self._sums(begin))
            for begin, end in self._failures
        )
        return list(accumulate(each, _total, initial=nothing))

    def _sums(self, at: int) -> _Sums:
        day, second = load.day_and_second(max(at, self.installed))
        return _total(self._until(day), self._sums_of_day(day, second))

    def _until(self, day: int) -> _Sums:
        known = self._until_day
        for next_day in range(self._first_day + len(known) - 1, day):
            sums = self._sums_of_day(next_day, DAY_SECONDS)
            known.append(_total(known[-1], sums))
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

    def _sum_rows(self, ats: Counts) -> Counts:
        days, seconds = _days_and_seconds(ats)
        begins, ends = _HIGH_TARIFFS[:, load.weekday(days)]
        rows = np.empty((len(_REGISTER_NAMES), len(ats)), dtype=np.int64)
        for day, places in self._by_pattern(days):
            second = seconds[places]
            total = day.energies_until(second)
            high = day.energies_until(np.minimum(second, ends[places]))
            high -= day.energies_until(np.minimum(second, begins[places]))
            rows[0::2, places], rows[1::2, places] = high, total - high
        return rows + self._rows_until(days)

    def _rows_until(self, days: Counts) -> Counts:
        first, last = int(days.min()), int(days.max())
        self._until(last)
        known = self._until_day[first - self._first_day : last - self._first_day + 1]
        return np.array(known, dtype=np.int64)[days - first].T

    def _averaged_rows(self, ats: Counts) -> Counts:
        days, seconds = _days_and_seconds(ats)
        first = int(days.min())
        whole_days = np.arange(first, int(days.max()) + 1)
        until = np.zeros((len(load.AVERAGED), len(whole_days) + 1), dtype=np.int64)
        for day, places in self._by_pattern(whole_days):
            until[:, places + 1] = day.sums_until(np.array([DAY_SECONDS]))
        rows = until.cumsum(axis=1)[:, days - first]
        for day, places in self._by_pattern(days):
            rows[:, places] += day.sums_until(seconds[places])
        return rows

    def _by_pattern(self, days: Counts) -> Iterator[tuple[load.Day, Counts]]:
        known, places = np.unique(days, return_inverse=True)
        patterns = [self._household.pattern(day) for day in known.tolist()]
        number_of = {pattern: number for number, pattern in enumerate(set(patterns))}
        numbers = np.array([number_of[pattern] for pattern in patterns])[places]
        for pattern, number in number_of.items():
            yield self._household.day(pattern), np.flatnonzero(numbers == number)


_NEVER = 2**62
_REGISTER_NAMES = tuple(Registers.__dataclass_fields__)
_HIGH_TARIFFS: Counts = np.array([load.high_tariff(weekday) for weekday in range(7)]).T


def _days_and_seconds(ats: Counts) -> tuple[Counts, Counts]:
    return np.divmod(ats + load.ZONE_SECONDS, DAY_SECONDS)


def _total(one: _Sums, other: _Sums) -> _Sums:
    return tuple(map(sum, zip(one, other, strict=True)))


def _difference(later: _Sums, earlier: _Sums) -> _Sums:
    return tuple(a - b for a, b in zip(later, earlier, strict=True))


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
