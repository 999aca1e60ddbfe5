"""A model of the recorder, and of a home that it records.

It follows measurements of Home Assistant's statistics: a live sum continues
from the newest short-term row, else begins at 0; a live row never overwrites an
existing one; short-term rows are purged after ten days.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

from custom_components.emu_professional.backfill.load_profile import (
    LoadProfile,
    Reading,
)
from custom_components.emu_professional.backfill.rows import Plan, Row
from custom_components.emu_professional.backfill.series import plan_register
from custom_components.emu_professional.backfill.times import HOUR

START = 1_780_300_800
PERIOD = 300
KEEP = 10 * 24 * HOUR
EXACT = 0.01


def profile(
    hours: Mapping[int, float], before: float | None, *, until: int | None = None
) -> LoadProfile:
    """Return what is logged from the first hour until the last, or until a time.

    The logger begins with the first hour if nothing is logged before it.
    """
    readings = {start: Reading(register) for start, register in hours.items()}
    return LoadProfile(
        since=min(readings),
        until=max(readings) + HOUR if until is None else until,
        initial=None if before is None else Reading(before),
        hours=readings,
    )


@dataclass
class ModelRecorder:
    """Long-term rows by hour, and short-term rows by period, of one sensor."""

    hours: dict[int, Row] = field(default_factory=dict)
    periods: dict[int, Row] = field(default_factory=dict)
    """In the order of time."""

    @property
    def newest(self) -> Row | None:
        """Return the newest short-term row."""
        return self.periods[next(reversed(self.periods))] if self.periods else None

    def compile(self, start: int, state: float | None) -> None:
        """Compile the five minutes that have just passed."""
        if state is not None:
            self.periods[start] = Row(start, state, self._sum(state))
        if (start + PERIOD) % HOUR == 0:
            self._compile_hour(start + PERIOD - HOUR)
            for old in [p for p in self.periods if p < start - KEEP]:
                del self.periods[old]

    def _sum(self, state: float) -> float:
        if (newest := self.newest) is None or newest.state is None:
            return 0
        if state < 0.9 * newest.state:
            return newest.sum + state
        return newest.sum + state - newest.state

    def _compile_hour(self, start: int) -> None:
        inside = self.periods.keys() & range(start, start + HOUR, PERIOD)
        if inside and start not in self.hours:
            row = self.periods[max(inside)]
            self.hours[start] = Row(start, row.state, row.sum)

    def carry_out(self, plan: Plan, *, interrupted: bool = False) -> None:
        """Do what a plan says, or only its first half."""
        if plan.shift_from is not None:
            for rows in (self.hours, self.periods):
                for start, row in rows.items():
                    if start >= plan.shift_from:
                        rows[start] = Row(start, row.state, row.sum + plan.shift)
        if interrupted:
            return
        for row in plan.rows:
            self.hours[row.start] = row
        if plan.anchor:
            self.periods[plan.anchor.start] = plan.anchor
            self.periods = dict(sorted(self.periods.items()))

    def rows_since(self, start: int) -> list[Row]:
        """Return rows from the last one before a time on."""
        starts = sorted(self.hours)
        before = [s for s in starts if s < start][-1:]
        return [self.hours[s] for s in [*before, *(s for s in starts if s >= start)]]

    def total_since(self, start: int) -> float:
        """Return what was counted since the hour with a start, which ends before."""
        newest = self.newest
        assert newest
        return newest.sum - self.hours[start].sum

    def changes(self) -> dict[int, float]:
        """Return what each hour counts, as the energy dashboard shows it."""
        rows = [self.hours[start] for start in sorted(self.hours)]
        changes = {b.start: b.sum - a.sum for a, b in pairwise(rows)}
        return {row.start: row.sum for row in rows[:1]} | changes


@dataclass
class ModelHome:
    """A meter, its logger and a Home Assistant that is not always there."""

    now: int = START
    register: int = 1_000_000
    recorder: ModelRecorder = field(default_factory=ModelRecorder)
    logged: dict[int, int] = field(default_factory=lambda: {START: 1_000_000})
    state: float | None = None
    catching_up: list[int] = field(default_factory=list)

    def live(
        self, periods: int, energy: int, *, running: bool = True, observed: bool = True
    ) -> Self:
        """Let time pass: Home Assistant runs or not, and observes the meter or not."""
        for _ in range(periods):
            start = self.now
            self.now += PERIOD
            taken = energy + self.now // PERIOD * 7919 % (energy + 1)
            self.register += taken
            if self.now % (3 * PERIOD) == 0:
                self.logged[self.now] = self.register
            if not running:
                self.catching_up.append(start)
                continue
            self._catch_up()
            # The last poll is up to five seconds old.
            self.state = self.register - taken // 60 if observed else None
            self.recorder.compile(start, self.state)
        return self

    def _catch_up(self) -> None:
        for start in self.catching_up:
            self.recorder.compile(start, self.state)
        self.catching_up.clear()

    def hours(self, since: int) -> dict[int, int]:
        """Return the register at the end of each hour that was logged and compiled."""
        limit = self.now // HOUR * HOUR
        borders = [at for at in self.logged if at % HOUR == 0 and since < at <= limit]
        return {at - HOUR: self.logged[at] for at in borders}

    def plan(self, since: int = START, *, rebuild: bool = False) -> Plan:
        """Return what a back-fill since a full hour would do."""
        self._catch_up()
        return plan_register(
            profile(self.hours(since), self.logged[since]),
            self.recorder.rows_since(since),
            self.recorder.newest,
            rebuild=rebuild,
        )

    def back_fill(self, since: int = START, *, rebuild: bool = False) -> Plan:
        """Do a back-fill."""
        plan = self.plan(since, rebuild=rebuild)
        self.recorder.carry_out(plan)
        return plan

    def errors(self, since: int = START) -> dict[int, float]:
        """Return by how much each logged hour's bar is wrong."""
        changes = self.recorder.changes()
        begin = self.logged[since]
        errors = {}
        for start, end in self.hours(since).items():
            errors[start] = changes.get(start, 0.0) - (end - begin)
            begin = end
        return errors


def worst(errors: Mapping[int, float]) -> float:
    """Return the largest error."""
    return max(map(abs, errors.values()), default=0)


DAY = 288
