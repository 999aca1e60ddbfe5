"""What must be true of every statistic after a back-fill."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from custom_components.emu_professional.backfill.report import (
    EVERYTHING,
    Mode,
    Outcome,
    Report,
    Window,
)
from custom_components.emu_professional.backfill.targets import Target
from custom_components.emu_professional.backfill.times import HOUR

from .log import Log, register_of
from .steps import DAY, PERIOD, Fill
from .world import BIRTH, KEEP, Row, Stored, time_of

if TYPE_CHECKING:
    from .life import Life

EXACT: Final = 0.01


class Contract:
    """What must be true after a back-fill."""

    def __init__(
        self,
        life: Life,
        window: Window,
        step: Fill,
        log: Log,
        compiled: int,
        before: Mapping[str, Stored],
    ) -> None:
        """Take what was asked for, and when statistics had been compiled."""
        self.life = life
        self.log = log
        since, until = self._with_outages(window, before)
        self.known = log.known
        self.since = max(since, log.since)
        self.begins_with_logger = since < log.since
        self.compiled = compiled // HOUR * HOUR
        self.until = max(min(until, self.compiled, log.until), since)
        self.has_parts = self.until - self.since > step.days * DAY
        self.is_rebuild = step.mode is Mode.REBUILD
        self.borders = [at for at in self.known if self.since <= at <= self.until]
        self.stretches = list(pairwise(self.borders))
        """Hours, or more where the logger does not know the hours between."""

    def _with_outages(
        self, window: Window, before: Mapping[str, Stored]
    ) -> tuple[int, int]:
        """Return a window with the whole of an outage in which it begins or ends.

        In an outage no register has risen, and its end has it all in one bar.
        """
        registers = [
            before[target.key].rises()
            for target in self.life.sensors
            if target.is_register and before[target.key].rows
        ]
        stored = [start for one in registers for start in one]
        since, until = window.since, window.until
        # A settled outage is not noted any more: then only the rows show it.
        outages = self.life.automatic.outages
        while noted := [at for at, end in outages if at < since < end]:
            since = min(noted) // HOUR * HOUR
        last = until if max(stored, default=0) >= until else until - HOUR

        def is_empty(start: int) -> bool:
            return not any(one.get(start) for one in registers)

        is_new = max(stored, default=0) < since
        oldest = min(stored, default=since)
        first = since - HOUR
        while first >= oldest and (is_empty(first) or (is_empty(since) and not is_new)):
            while is_empty(first) and first > oldest:
                first -= HOUR
            since, first = first, first - HOUR
        while last == until and (is_empty(last - HOUR) or is_empty(last)):
            while is_empty(last) and last < max(stored, default=0):
                last += HOUR
            if is_empty(last):
                # Nothing has risen since: the outage lasts until now.
                return since, EVERYTHING.until
            until = last + HOUR
            last = min(until, max(stored))
        return since, until

    def check(self, before: Mapping[str, Stored], after: Mapping[str, Stored]) -> None:
        """See that the contract holds for all statistics."""
        for target in self.life.targets:
            old, new = before[target.key], after[target.key]
            assert old.unit is None or new.unit == old.unit, "the unit has changed"
            assert not old.rows.keys() - new.rows.keys(), "rows are gone"
            for start in new.rows.keys() - old.rows.keys():
                assert self._is_inside(start) or start >= self.compiled, mismatch(
                    target, start, "a row outside the window"
                )
            if target.is_register:
                self._check_register(target, old, new)
            else:
                self._check_means(target, old, new)

    def check_report(
        self, report: Report, before: Mapping[str, Stored], after: Mapping[str, Stored]
    ) -> None:
        """See that the report says what an owner sees."""
        for target in self.life.targets:
            old, new = before[target.key].hours(), after[target.key].hours()
            statistic_id = self.life.statistic_of(target).statistic_id
            outcome = Outcome(target.quantity.unit, target.is_register)
            reported = report.statistics.get(statistic_id, outcome)
            changed = [start for start in old if not is_like(old[start], new[start])]
            assert reported.written == len(new.keys() - old.keys()), target.key
            assert reported.corrected == len(changed), target.key
            assert (
                0
                <= reported.read - reported.left
                <= reported.written + reported.corrected
            )
            if target.is_register:
                more = [new[start][0] - old.get(start, (0,))[0] for start in new]
                moved = max(
                    sum(energy for energy in more if energy > 0),
                    -sum(energy for energy in more if energy < 0),
                )
                reported_moved = reported.moved * 10**target.quantity.decimals
                assert abs(reported_moved - moved) <= EXACT, target.key

    def knows_end(self) -> bool:
        """Whether the logger knows the last hour, which needs two registers."""
        return bool(self.stretches) and self.stretches[-1][1] == self.until

    def leaves_nothing_before(self, after: Mapping[str, Stored]) -> bool:
        """Whether nothing before the window is left to the first hour after it."""
        if self.begins_with_logger:
            return True
        olders = {
            target: self._last_before(after[target.key]) for target in self.life.sensors
        }
        return self.since in self.known and all(
            self._level(target, older)
            >= self._register(target, self.since) - self._lag(target, self.since)
            for target, older in olders.items()
            if older is not None and target.is_register
        )

    def is_unknown(self, at: int) -> bool:
        """Whether the logger does not know the register at the end of an hour."""
        return self.since < at <= self.until and at not in self.known

    def is_logged(self, start: int) -> bool:
        """Whether an hour is in the window, and the logger knows both its ends."""
        return self._is_inside(start) and {start, start + HOUR} <= self.known.keys()

    def _is_inside(self, start: int) -> bool:
        return self.since <= start < self.until

    def _check_register(self, target: Target, old: Stored, new: Stored) -> None:
        was, now = old.changes(), new.changes()
        written = {
            start
            for start in now
            if start not in was or abs(now[start] - was[start]) > EXACT
        }
        self._check_energies(target, now)
        self._check_beginning(target, new)
        self._check_outside(target, old, new, written)
        for start in now:
            if self._is_inside(start) or start in written:
                assert now[start] >= -EXACT, mismatch(target, start, "negative")

    def _check_energies(self, target: Target, changes: Mapping[int, float]) -> None:
        for begin, end in self.stretches:
            energy = self._register(target, end) - self._register(target, begin)
            hours = range(begin, end, HOUR)
            counted = sum(changes.get(start, 0) for start in hours)
            if end == begin + HOUR:
                assert begin in changes, mismatch(target, begin, "missing")
            if self._has_restarted(begin, end):
                most = energy + self.life.rounds + EXACT
                assert -EXACT <= counted <= most, mismatch(
                    target, begin, f"{counted} of {energy} with a restart"
                )
                continue
            assert abs(counted - energy) <= EXACT, mismatch(
                target, begin, f"{counted} of {energy} in {len(hours)} h"
            )

    def _check_beginning(self, target: Target, new: Stored) -> None:
        """See that what was forgotten counts where the register is known again."""
        older = self._last_before(new)
        if not self.begins_with_logger or older is None or not self.borders:
            return
        begin = self.borders[0]
        if self._has_restarted(older.start, begin):
            return
        counted = new.sum_before(begin) - older.sum
        energy = self._register(target, begin) - self._level(target, older)
        assert abs(counted - energy) <= self._lag(target, begin) + EXACT, mismatch(
            target, begin, f"{counted} of {energy} before"
        )

    def _lag(self, target: Target, at: int) -> float:
        """Return what was counted since the last poll but one."""
        before = self.life.levels(at - 10)
        rounding = 1 + self.life.rounds
        return rounding + abs(self._register(target, at) - register_of(target, before))

    def _check_outside(
        self, target: Target, old: Stored, new: Stored, written: set[int]
    ) -> None:
        after = [row for start, row in new.rows.items() if start >= self.until]
        ends = [row.start for row in after if self._has_observed(target, row)][:2]
        for start in written & old.rows.keys():
            if self._is_inside(start):
                continue
            message = mismatch(target, start, "outside the window")
            assert not ends[1:] or self.until <= start <= ends[1], message
            if ends and start == ends[0] and self._is_total_as_before(old, new, start):
                continue
            self._check_after(target, new, start, message)

    def _is_total_as_before(
        self, old: Stored, new: Stored, start: int, lag: float = EXACT
    ) -> bool:
        """Whether hours from before the window to a row count together what they did."""
        if (older := self._last_before(old)) is None:
            return False
        was = old.rows[start].sum - older.sum
        now = new.rows[start].sum - new.rows[older.start].sum
        return abs(now - was) <= lag

    def _last_before(self, stored: Stored) -> Row | None:
        older = [row for start, row in stored.rows.items() if start < self.since]
        return older[-1] if older else None

    def _has_observed(self, target: Target, row: Row) -> bool:
        """Whether a row knows of the register at the end of the window."""
        logged = [at for at in self.log.last if at <= self.until]
        if not logged:
            return True
        register = register_of(target, self.log.last[max(logged)])
        return self._level(target, row) >= register - self.life.rounds - EXACT

    def _check_after(
        self, target: Target, new: Stored, start: int, message: str
    ) -> None:
        """See that a later row counts what the window has not counted, if it changed."""
        assert new.rows[start].state is not None, message
        level = self._level(target, new.rows[start])
        before = [s for s in new.rows if s < start][-1]
        registers: list[float] = []
        if before >= self.until:
            registers.append(self._level(target, new.rows[before]))
        if self.until in self.known:
            # An earlier row without an observation has an older one.
            registers.append(self._register(target, self.until))
        elif registers and self.until in self.log.last:
            # Logged while the clock was behind, it may be a later one.
            registers.append(register_of(target, self.log.last[self.until]))
        if not registers:
            return
        energy = max(level - max(registers), 0)
        counted = new.changes()[start]
        tolerance = 4.1 + 2 * self.life.rounds + 0.02 * energy
        least = energy
        if any(before < at <= start + HOUR for at, _ in self.life.restarts):
            # Nobody knows what passed between the last record and the restart.
            least = 0
        assert least - tolerance <= counted <= energy + tolerance, message

    def _has_restarted(self, begin: int, end: int) -> bool:
        """Whether the registers began at 0 in a time, by the meter's clock."""
        return any(begin <= stamp <= end for stamp in self.life.restart_stamps)

    def _level(self, target: Target, row: Row) -> float:
        """Return a row's state as if the register had never restarted, 0 without one."""
        return 0 if row.state is None else self.life.level_of(target, row)

    def _register(self, target: Target, at: int) -> int:
        return register_of(target, self.known[at])

    def _check_means(self, target: Target, old: Stored, new: Stored) -> None:
        """See that what was not observed follows the logger, and the rest stays."""
        for start, row in new.rows.items():
            stored = old.rows.get(start)
            if stored is not None and is_like(stored.mean, row.mean):
                continue
            if not self._is_inside(start):
                assert start >= self.compiled, mismatch(target, start)
            elif start in self.log.hours and (stored or not has_periods(old, start)):
                logged = self.log.hours[start][target.key]
                self._check_mean(target, start, stored, row.mean, logged)
        for start, hour in self.log.hours.items():
            if self._is_inside(start) and self._is_missed(start, old):
                row = new.rows[start]
                assert is_like(row.mean, hour[target.key]), mismatch(target, start)
        self._check_periods(target, old.periods(), new.periods())

    def _check_mean(
        self,
        target: Target,
        start: int,
        stored: Row | None,
        mean: Sequence[float],
        logged: Sequence[float],
    ) -> None:
        """See that an hour lies between what was observed and what was logged."""
        if stored is None:
            assert is_like(mean, logged), mismatch(target, start, "missing")
            return
        _, least, most = zip(mean, stored.mean, logged, strict=True)
        assert min(least[1:]) - EXACT <= least[0] <= mean[0] + EXACT, mismatch(
            target, start, "minimum"
        )
        assert mean[0] - EXACT <= most[0] <= max(most[1:]) + EXACT, mismatch(
            target, start, "maximum"
        )
        if self.is_rebuild:
            assert abs(mean[0] - logged[0]) <= EXACT, mismatch(target, start, "mean")

    def _is_missed(self, start: int, old: Stored) -> bool:
        """Whether nothing of an hour was observed, but all of it logged."""
        if not {start, start + HOUR} <= self.known.keys():
            return False
        if (row := old.rows.get(start)) is None:
            return not has_periods(old, start)
        is_unobserved = self.life.unobserved(start, HOUR) == HOUR
        is_unobserved &= not self.life.is_lost(start, HOUR)
        return is_unobserved and row.mean[1] == row.mean[2]

    def _check_periods(
        self,
        target: Target,
        old: Mapping[int, tuple[float, ...]],
        new: Mapping[int, tuple[float, ...]],
    ) -> None:
        """See that five-minute rows have no hole, and observed ones stay."""
        for start, row in old.items():
            unobserved = self.life.unobserved(start, PERIOD)
            is_flat = row[1] == row[2]
            # Those before the first poll are filled from the logger. If the clock is set
            # back later on, the logger has other records of the same time.
            is_observed = unobserved == 0 and start >= BIRTH
            # Those of the running hour are filled as well.
            if not is_flat and (is_observed or start < self.since):
                assert is_like(new[start], row), mismatch(target, start, "observed")
        begin = max(min(old, default=self.until) // HOUR * HOUR, self.since)
        for start in range(begin, self.until, PERIOD):
            hour = start // HOUR * HOUR
            if (
                start not in self.log.periods
                or start < self.life.now - KEEP + HOUR
                or not {hour, hour + HOUR} <= self.known.keys()
            ):
                continue
            is_unobserved = self.life.unobserved(start, PERIOD) == PERIOD
            is_unobserved &= not self.life.is_lost(start, PERIOD)
            is_unobserved &= not self.life.is_forgotten(start)
            if start not in old or is_unobserved:
                logged = self.log.periods[start][target.key]
                assert is_like(new[start], logged), mismatch(target, start, "5 minutes")


def has_periods(stored: Stored, start: int) -> bool:
    """Whether five-minute rows of an hour are stored."""
    return any(start <= at < start + HOUR for at in stored.periods())


def is_like(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two rows say the same."""
    return all(abs(a - b) < 1e-5 for a, b in zip(one, other, strict=True))


def mismatch(target: Target, start: int, what: str = "") -> str:
    """Return what is wrong, with the quantity and the hour."""
    return f"{target.key} {time_of(start):%Y-%m-%d %H:%M}: {what}"
