"""Makes the statistic of a register follow the data logger.

Pure: no I/O, no clock. Registers, states and sums are in the last digit of their
quantity (Wh, varh), times are seconds since 1970-01-01 UTC.

How it works
------------
A row of a register's statistic has a `state`, the register at the end of its hour,
and a `sum`, of which only differences mean anything: an hour's energy is its sum less
the sum of the row before. Home Assistant keeps `sum - state` constant. That constant,
the offset, carries everything: a row is made of a register and an offset, not of
energies that are added up.

    stored rows   before | since        window         until | after
    register(h)     1000 |  1010   1030   1030   1045   1060 | 1071   1080
    offset           -40 |   -40    -40    -40    -40    -40 |  -40    -40
    sum(h)           960 |   970    990    990   1005   1020 | 1031   1040
                     kept |        written where different    | one shift

1. `_anchor` takes the offset from the last row before the window: its sum less the
   register there. Without such a row the series begins at 0.
2. `_registers` gives each hour its register: the logger's, if that knows the end of
   the hour; else Home Assistant's own state, if it lies between the logged registers
   around it; else the register before.
3. Rows that say so already are left alone, all others are written.
4. `_Continuation` finds the first row after the window that has seen the register at
   the end of it. It has to continue the series, so everything from there on is
   shifted by one constant and keeps the energy of its hours. Rows in between have seen
   nothing new: they are written with the register at the end of the window.
5. Home Assistant makes the next row from the newest short-term row. That one must
   have the offset as well; where there is none, it is written (`Plan.anchor`).

A register that restarts (another module or meter, rollover) is logged with a `lift`:
what all registers before lose compared to those after. `register + lift` goes on
rising, and steps 1 to 5 work on that; a row's state is the register alone.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import Final, NamedTuple

from .times import HOUR, PERIOD, whole_hour

EQUAL: Final = 1e-3
"""Less than the last digit, more than what floating point loses."""

ROUNDING: Final = 0.5
"""Registers are whole numbers: what differs by less is the same."""

TOTAL_ROUNDING: Final = 1.5
"""The meter rounds a total and its tariffs each: they differ by one digit."""

_RESTART: Final = 0.9
"""A state that falls below this share of the one before begins a new cycle."""

_POLL_SHARE: Final = 0.01
"""Part of an hour that can pass between the last poll and the end of the hour."""

_PLAUSIBLE: Final = 4
"""Unknown hours may have used so many times the energy of the strongest known one,"""
_LITTLE_ENERGY: Final = 2_000
"""and so many Wh more,"""
_UNKNOWN_ENERGY: Final = 100_000
"""or so many where less than `_KNOWN_HOURS` are known."""
_KNOWN_HOURS: Final = 24


class Row(NamedTuple):
    """A row of a statistic with a sum; `state` is None where none was stored.

    `last_reset` is when the state began at 0: None for a register, which never does.
    """

    start: int
    state: float | None
    sum: float
    last_reset: float | None = None


class Reading(NamedTuple):
    """The last register that was logged in an hour.

    `is_exact` says that it was logged at the end of the hour. `lift` is what the
    register has lost by restarts until then (module docstring).
    """

    register: float
    lift: float = 0
    is_exact: bool = True

    @property
    def level(self) -> float:
        """The register as if it had never restarted."""
        return self.register + self.lift


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """What the logger knows of a register around a window.

    `hours` has the readings by the start of their hour, in order; those from `since`
    to `until` are the window's, later ones only tell how the register continues.
    `before` is the last reading before the window, None where the logger begins in it.
    `rounding` is the difference up to which a state and a reading are the same.
    `last_rise` is the start of the row before the window since which the stored state
    has risen to that of the last one, None if there is no such row.
    """

    since: int
    until: int
    before: Reading | None
    hours: Mapping[int, Reading]
    rounding: float = ROUNDING
    last_rise: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes a statistic right.

    First `shift` is added to the sums of all rows from `shift_from` on, short-term
    rows too; then `rows` are written, over those of their hours if there are any, and
    `anchor`, the short-term row that Home Assistant continues from. `wrong` has the
    logged hours that were missing or wrong by more than what a live row can lack.
    Rows of hours in `bound` are written together with the row before.
    """

    rows: tuple[Row, ...] = ()
    shift_from: int | None = None
    shift: float = 0
    anchor: Row | None = None
    wrong: frozenset[int] = frozenset()
    bound: frozenset[int] = frozenset()


def reconcile(
    profile: LoadProfile,
    stored: Sequence[Row],
    short_term: Row | None,
    *,
    rebuild: bool = False,
    is_live: bool = True,
) -> Plan:
    """Return what makes a register's statistic follow the logger.

    `stored` has the rows from the last one before the window on, in order;
    `short_term` is the newest short-term row, None if there is none or if `stored`
    does not go as far as that. With `rebuild` the logger's register counts also where
    it does not know the end of the hour. `is_live` says whether the sensor has a value
    now, so that the next short-term row will have seen the meter.
    """
    rows = {row.start: row for row in stored}
    anchored = _anchor(profile, rows)
    if anchored is None:
        return Plan()
    profile, initial, offset = anchored
    series = tuple(_levels(profile, rows, initial, rebuild=rebuild))
    if not series:
        return Plan()
    wanted = [hour.row(offset) for hour in series]
    continuation = _Continuation(profile, rows, initial, series, offset)
    shift_from, shift = continuation.shift(short_term, wanted)
    tolerance = EQUAL if rebuild else ROUNDING
    return Plan(
        rows=tuple(
            row
            for row in (*wanted, *continuation.unchanged)
            if not _says(
                _shifted(rows.get(row.start), shift_from, shift),
                row,
                max(tolerance, profile.rounding),
                tolerance,
            )
        ),
        shift_from=shift_from,
        shift=shift,
        anchor=continuation.anchor(short_term, shift_from, shift, is_live=is_live),
        wrong=frozenset(_wrong(profile, rows, wanted, initial + offset)),
    )


def changed(rows: Sequence[Row], plan: Plan, until: float = inf) -> dict[int, float]:
    """Return the hours before a time that a plan changes, and how much more they count.

    An hour changes that has no row yet, or whose energy or state changes: not one
    whose sum only follows a shift. `rows` are those that the plan was made from.
    """
    before = {row.start: row for row in rows}
    after = carried_out(rows, plan)
    old, new = changes(before), changes(after)
    more = {start: new[start] - old.get(start, 0) for start in new if start < until}
    return {
        start: energy
        for start, energy in more.items()
        if start not in before
        or abs(energy) > EQUAL
        or not _is_same(before[start].state, after[start].state, EQUAL)
    }


def carried_out(rows: Sequence[Row], plan: Plan) -> dict[int, Row]:
    """Return rows as they are after a plan, by their start."""
    after = {
        row.start: shifted
        for row in rows
        if (shifted := _shifted(row, plan.shift_from, plan.shift))
    }
    return after | {row.start: row for row in plan.rows}


def changes(rows: Mapping[int, Row]) -> dict[int, float]:
    """Return what each row counts, the first one everything before as well."""
    total = 0.0
    counted = {}
    for start, row in sorted(rows.items()):
        counted[start] = row.sum - total
        total = row.sum
    return counted


class Unseen(NamedTuple):
    """Energy of an hour that only the next one has seen.

    `start` is that of the next one.
    """

    start: int
    energy: float


def unseen_energy(rows: Sequence[Row], plan: Plan) -> Unseen | None:
    """Return what the last poll before the end of the newest row had not seen.

    None if that is nothing, or more than a live row can lack: then Home Assistant was
    not there. `rows` are those that the plan was made from, up to the newest one.
    """
    if not rows or rows[-1].state is None:
        return None
    after, start = carried_out(rows, plan), rows[-1].start
    state = after[start].state
    if start != max(after) or state is None:
        return None
    energy = state - rows[-1].state
    if EQUAL < energy <= _lag(changes(after)[start]):
        return Unseen(start + HOUR, energy)
    return None


class _Hour(NamedTuple):
    """An hour of the series as it will be."""

    start: int
    level: float
    lift: float

    def row(self, offset: float) -> Row:
        return Row(self.start, self.level - self.lift, self.level + offset)


def _anchor(
    profile: LoadProfile, rows: Mapping[int, Row]
) -> tuple[LoadProfile, float, float] | None:
    """Return the window that can be made, the level at its begin and the offset.

    None if nothing was logged in it.
    """
    older = rows.get(max((start for start in rows if start < profile.since), default=0))
    if profile.before is not None:
        level = _level_before(profile, profile.before, older)
        return profile, level, (older.sum if older else 0) - level
    first = next(iter(profile.hours), None)
    if first is None:
        return None
    reading = profile.hours[first]
    if older is None:
        # What the register has counted in the first hour is not known: the series
        # begins with the end of it.
        profile = replace(profile, since=first + HOUR, before=reading)
        row = rows.get(first)
        level = _level_before(profile, reading, row)
        return profile, level, (row.sum if row else 0) - level
    if _continues(profile, older, first, reading):
        assert older.state is not None
        # The first hour counts what the logger has forgotten.
        return profile, older.state + reading.lift, older.sum - older.state
    # Another meter's rows: they stay as they are, and this meter's follow them.
    return profile, reading.level, older.sum - reading.level


def _level_before(profile: LoadProfile, before: Reading, older: Row | None) -> float:
    """Return the level at the begin of a window whose row before is given."""
    if (
        older is None
        or older.start != profile.since - HOUR
        or older.state is None
        or before.is_exact
    ):
        return before.level
    following = next(
        (r.level for at, r in profile.hours.items() if at >= profile.since), inf
    )
    seen = _between(
        before.level, older.state + before.lift, following, profile.rounding
    )
    return before.level if seen is None else seen


def _between(
    lowest: float, seen: float, highest: float, rounding: float
) -> float | None:
    """Return a level that Home Assistant has seen, if it lies between logged ones.

    A total that is out by its rounding lies there as well.
    """
    level = min(max(seen, lowest), highest)
    return level if abs(level - seen) <= rounding else None


def _continues(profile: LoadProfile, older: Row, first: int, reading: Reading) -> bool:
    """Return whether a row before the logger begins can be of the same meter.

    Its register must not be higher, and not so much lower that nobody can have used
    that in between.
    """
    if older.state is None:
        return False
    passed = reading.level - older.state
    levels = [hour.level for hour in profile.hours.values()]
    strongest = max((b - a for a, b in pairwise(levels)), default=0)
    unknown = _UNKNOWN_ENERGY if len(levels) < _KNOWN_HOURS else _LITTLE_ENERGY
    risen = older.start if profile.last_rise is None else profile.last_rise
    hours = (first - risen) // HOUR
    return -ROUNDING <= passed <= hours * (_PLAUSIBLE * strongest + unknown)


def _levels(
    profile: LoadProfile, rows: Mapping[int, Row], level: float, *, rebuild: bool
) -> Iterator[_Hour]:
    """Yield the hours of a window that are logged or stored, with their registers."""
    starts = list(profile.hours)
    lift = profile.before.lift if profile.before else 0.0
    for start in sorted(profile.hours.keys() | rows.keys()):
        if not profile.since <= start < profile.until:
            continue
        reading, row = profile.hours.get(start), rows.get(start)
        if reading is not None:
            level, lift = reading.level, reading.lift
        if row is not None and row.state is not None:
            is_open = reading is None or not (reading.is_exact or rebuild)
            after = bisect_right(starts, start)
            highest = profile.hours[starts[after]].level if starts[after:] else inf
            seen = _between(level, row.state + lift, highest, profile.rounding)
            if is_open and seen is not None:
                # Home Assistant has seen the meter after its last record.
                level = seen
        yield _Hour(start, level, lift)


class _Continuation:
    """How a series continues after the last hour of the window.

    `unchanged` has the rows that have not seen the register at the end of the window,
    as they must be; `first` is the first row that has.
    """

    def __init__(
        self,
        profile: LoadProfile,
        rows: Mapping[int, Row],
        initial: float,
        series: Sequence[_Hour],
        offset: float,
    ) -> None:
        """Look at the rows after the window."""
        self._profile = profile
        self._rows = rows
        self._last = series[-1]
        self._end = self._last.row(offset)
        self._offset = offset
        before = series[-2].level if len(series) > 1 else initial
        self._most_lacking = 2 * _lag(self._last.level - before)
        older = [row for start, row in rows.items() if start < profile.since]
        known = older[-1].state if older else None
        self._lowest = min(initial, _RESTART * initial if known is None else known)
        self.unchanged: list[Row] = []
        self.first: Row | None = None
        for start, row in rows.items():
            if start < profile.until:
                continue
            if (
                row.state is None
                or self._has_seen(start, row.state)
                or self._has_restarted(start, row.state)
            ):
                self.first = row
                break
            self.unchanged.append(self._end._replace(start=start))

    def _lift_at(self, start: int) -> float:
        """Return the lift of the last reading until the hour of a row."""
        lift = self._profile.before.lift if self._profile.before else 0.0
        for at, reading in self._profile.hours.items():
            if at > start:
                break
            lift = reading.lift
        return lift

    def _has_seen(self, start: int, state: float) -> bool:
        return state + self._lift_at(start) >= self._last.level - ROUNDING

    def _has_restarted(self, start: int, state: float) -> bool:
        """Return whether a state is lower than any that is from before the window."""
        return state + self._lift_at(start) < self._lowest - self._profile.rounding

    def _sum_at(self, start: int, state: float) -> float:
        """Return the sum that continues the series with a state."""
        level = state + self._lift_at(start)
        if abs(level - self._last.level) <= self._profile.rounding:
            # A total differs by its rounding, which must not count.
            level = self._last.level
        return level + self._offset

    def _kept(self, row: Row) -> float | None:
        """Return the sum of a row after the window that keeps what it counts."""
        before = max((at for at in self._rows if at < row.start), default=None)
        if before is None:
            return None
        return self._end.sum + row.sum - self._rows[before].sum

    def _continued(self, row: Row) -> float:
        """Return the sum of the first row after the window.

        It keeps what it counts if that is what has passed since the window, but for
        what live rows lack; else it counts what has passed.
        """
        kept = self._kept(row)
        if row.state is None or self._has_restarted(row.start, row.state):
            return self._end.sum if kept is None else max(kept, self._end.sum)
        total = self._sum_at(row.start, row.state)
        if kept is None or kept < self._end.sum:
            return total
        return kept if abs(kept - total) <= _lag(total - self._end.sum) else total

    def shift(
        self, short_term: Row | None, wanted: Sequence[Row]
    ) -> tuple[int | None, float]:
        """Return from when on all rows need a shift, and which."""
        if (row := self.first) is not None:
            shift_from = row.start
            shift = self._continued(row) - row.sum
            if row.state is not None:
                # What the row keeps of the window's last seconds stays in the series.
                self._offset += row.sum + shift - self._sum_at(row.start, row.state)
        elif short_term is None or short_term.state is None:
            return None, 0
        elif short_term.start < self._last.start:
            # Too old to move all that came since: the anchor is enough.
            return None, 0
        else:
            shift_from = whole_hour(short_term.start)
            shift = self._anchor_at(short_term, is_live=True).sum - short_term.sum
            if shift_from == self._last.start and abs(shift) <= self._most_lacking:
                # So little moves no row of its hour: the anchor is enough.
                return None, 0
        if abs(shift) <= EQUAL:
            return None, 0
        # Rows before that need the same shift are moved as well instead of written.
        for row in reversed((*wanted, *self.unchanged)):
            if row.start >= shift_from:
                continue
            stored = self._rows.get(row.start)
            if stored is None or abs(row.sum - stored.sum - shift) > EQUAL:
                break
            shift_from = row.start
        return shift_from, shift

    def anchor(
        self,
        short_term: Row | None,
        shift_from: int | None,
        shift: float,
        *,
        is_live: bool,
    ) -> Row | None:
        """Return the newest short-term row as it must be, if it is not so already."""
        newest = max((*self._rows, self._last.start))
        if short_term is None or short_term.start < newest:
            return self._new_anchor(newest, shift_from, shift)
        if short_term.state is None:
            return None
        anchor = self._anchor_at(short_term, is_live=is_live)
        now = _shifted(short_term, shift_from, shift)
        return None if _says(now, anchor, EQUAL, EQUAL) else anchor

    def _new_anchor(
        self, newest: int, shift_from: int | None, shift: float
    ) -> Row | None:
        """Return a short-term row for the last five minutes of the newest row.

        Its state must not be above what the sensor showed then, or Home Assistant
        warns of a total that decreases.
        """
        start = newest + HOUR - PERIOD
        row = _shifted(self._rows.get(newest), shift_from, shift)
        if newest > self._last.start:
            known = self._end if self.first is None else row
            return known and known._replace(start=start)
        state = self._end.state
        assert state is not None
        if row is not None and row.state is not None:
            seen = row.state + self._last.lift
            if self._lowest <= seen < self._last.level:
                state = row.state
        return Row(start, state, state + self._last.lift + self._offset)

    def _anchor_at(self, short_term: Row, *, is_live: bool) -> Row:
        start, state = short_term.start, short_term.state
        assert state is not None
        if start < self._last.start + HOUR:
            has_restarted = (
                self._lift_at(start) != self._last.lift
                or state + self._last.lift > self._last.level + self._profile.rounding
            )
            if has_restarted:
                # Home Assistant would count the register again from 0.
                return self._end._replace(start=start)
            return Row(start, state, self._sum_at(start, state))
        if self._has_seen(start, state):
            return Row(start, state, self._sum_at(start, state))
        if self._has_restarted(start, state):
            return Row(start, state, max(self._kept(short_term) or 0, self._end.sum))
        if is_live:
            return Row(start, state, self._sum_at(start, state))
        # Its hour may be compiled from this row: it must not count less than nothing.
        return self._end._replace(start=start)


def _wrong(
    profile: LoadProfile, rows: Mapping[int, Row], wanted: Sequence[Row], total: float
) -> Iterator[int]:
    """Yield the logged hours that are missing or wrong by more than live rows can be.

    A live row ends with the last poll before the full hour, and so lacks some of the
    energy of its hour, and has some of the hour before.
    """
    energy_before = 0.0
    for row in wanted:
        energy = row.sum - total
        total = row.sum
        if row.start in profile.hours:
            stored, before = rows.get(row.start), rows.get(row.start - HOUR)
            tolerance = 2 * (_lag(energy) + _lag(energy_before))
            if (
                stored is None
                or before is None
                or stored.state is None
                or abs(stored.sum - before.sum - energy) > tolerance
            ):
                yield row.start
        energy_before = energy


def _lag(energy: float) -> float:
    return 1 + _POLL_SHARE * max(energy, 0)


def _shifted(row: Row | None, shift_from: int | None, shift: float) -> Row | None:
    if row is None or shift_from is None or row.start < shift_from:
        return row
    return row._replace(sum=row.sum + shift)


def _says(
    stored: Row | None, row: Row, state_tolerance: float, sum_tolerance: float
) -> bool:
    return (
        stored is not None
        and abs(stored.sum - row.sum) <= sum_tolerance
        and _is_same(stored.state, row.state, state_tolerance)
    )


def _is_same(state: float | None, other: float | None, tolerance: float) -> bool:
    if state is None or other is None:
        return state is other
    return abs(state - other) <= tolerance
