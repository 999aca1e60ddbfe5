"""The extremes of a meter since its installation, from 36 day patterns."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import reduce

import numpy as np

from . import load
from .load import STEP_SECONDS, Counts, Household
from .values import Extreme, Extremes, Span


class Records:
    """Finds the extremes until a time, by day.

    A day repeats a pattern: only the first day of a pattern without a power failure,
    and the days before it with one, can have a new extreme.
    """

    def __init__(
        self, household: Household, installed: int, failures: Sequence[Span]
    ) -> None:
        """Begin without a look at any day."""
        self._household = household
        self._installed = installed
        self._failures = failures
        # The step before the installation is the first one shown.
        self._first_day, _ = load.day_and_second(installed - STEP_SECONDS)
        self._known_until = self._first_day
        self._seen: dict[load.Pattern, int] = {}
        self._days: list[int] = []
        self._records: list[Extremes] = []

    def until(self, shown: int) -> Extremes:
        """Return the extremes of all values shown until an epoch second, inclusive."""
        day, second = load.day_and_second(shown - STEP_SECONDS)
        self._look_until(day)
        before = bisect_right(self._days, day - 1)
        pattern = self._household.pattern(day)
        if before and self._seen.get(pattern, day) < day:
            return self._records[before - 1]
        steps = self._shown_steps(day)
        today = self._of_steps(day, steps[steps <= second // STEP_SECONDS])
        known = [self._records[before - 1]] if before else []
        return reduce(Extremes.joined, [*known, *today])

    def _look_until(self, day: int) -> None:
        for known in range(self._known_until, day):
            self._look_at(known)
        self._known_until = max(self._known_until, day)

    def _look_at(self, day: int) -> None:
        pattern = self._household.pattern(day)
        if pattern in self._seen:
            return
        steps = self._shown_steps(day)
        if len(steps) == load.STEPS_PER_DAY:
            self._seen[pattern] = day
        for today in self._of_steps(day, steps):
            known = self._records[-1:]
            self._records.append(reduce(Extremes.joined, [*known, today]))
            self._days.append(day)

    def _shown_steps(self, day: int) -> Counts:
        steps = np.arange(load.STEPS_PER_DAY)
        shown = load.day_begin(day) + (steps + 1) * STEP_SECONDS
        visible = shown >= self._installed
        first = bisect_left(self._failures, shown[0], key=lambda span: span.end)
        for begin, end in self._failures[first:]:
            if begin > shown[-1]:
                break
            visible &= (shown <= begin) | (shown > end)
        return np.flatnonzero(visible)

    def _of_steps(self, day: int, steps: Counts) -> list[Extremes]:
        if not len(steps):
            return []
        first, end = int(steps[0]), int(steps[-1]) + 1
        # Without a gap nothing has to be copied.
        chosen = slice(first, end) if end - first == len(steps) else steps
        values = self._household.day(self._household.pattern(day)).values[:, chosen]
        shown = load.day_begin(day) + (steps + 1) * STEP_SECONDS
        lowest = values.argmin(axis=1).tolist()
        highest = values.argmax(axis=1).tolist()
        return [
            Extremes(
                *(
                    tuple(
                        Extreme(int(values[row, step]), int(shown[step]))
                        for row, step in enumerate(steps_of_records)
                    )
                    for steps_of_records in (lowest, highest)
                )
            )
        ]
