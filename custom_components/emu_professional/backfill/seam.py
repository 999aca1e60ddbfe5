"""Joins what the meter logged with what the recorder holds already.

Pure: no I/O, no clock. Registers, states and sums are in the last digit of their
register (Wh, varh), times in seconds since 1970-01-01 UTC.

A row of a register's statistic has a `state`, the register at the end of its hour,
and a `sum` that goes on from the row before: an hour's energy is the difference to
the row before it, and only differences of sums mean anything. Home Assistant keeps
`sum - state` constant until it loses sight of its newest short-term row; then it
begins anew at 0.
"""

from bisect import bisect_right
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from operator import itemgetter
from typing import Final, NamedTuple

from .hours import HOUR

EQUAL: Final = 1e-3
"""Less than the last digit, more than what floating point loses."""

ROUNDING: Final = 0.5
"""Registers are whole numbers: what differs by less is the same."""

PERIOD: Final = 300
"""Seconds of a short-term row."""

_LAG: Final = 2
_LAG_SHARE: Final = 0.01
"""A live row ends with the last poll before the hour: short by some of its energy."""


class Row(NamedTuple):
    """A row of a register's statistic; `state` is None where none was stored."""

    start: int
    state: float | None
    sum: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What is logged of a register within a window: its load profile.

    `hours` has the last register that the logger knows of each hour from `since`
    `until`, by the hour's start and in order: of those in `inexact` it is not the one
    at the very end. `begin` is the register with which they begin, logged in the hour
    `before`. Where that lies within the window, nothing older will be read: it counts
    what no row has counted until then. `following` is the hour that is logged next
    behind the window, with its register, where a newer part begins. `skips_older` says
    that older hours are logged, and will not be read.
    """

    since: int
    until: int
    before: int
    begin: float
    hours: Mapping[int, int]
    inexact: Container[int] = ()
    following: tuple[int, int] | None = None
    skips_older: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes a statistic right.

    First `shift` is added to the sums of all rows from `shift_from` on, short-term
    ones too; then `rows` are written, over those of their hours if there are any.
    `recent` is the short-term row that a sensor needs for its next live one to go on
    from, where it has none that knows the end of the last hour. `wrong` has the
    logger's hours that were missing, or wrong by more than live rows are that end
    with the last poll before the hour.
    """

    rows: tuple[Row, ...] = ()
    shift_from: int | None = None
    shift: float = 0
    recent: Row | None = None
    wrong: frozenset[int] = frozenset()


def changed(rows: Sequence[Row], plan: Plan, until: float = inf) -> dict[int, float]:
    """Return the hours before a time that a plan changes, and how much more they count.

    An hour changes that has no row yet, or whose energy or state changes: not one
    whose sum only follows a shift. `rows` are those that the plan was made from.
    """
    before = {row.start: row for row in rows}
    after = before | {
        row.start: row._replace(sum=row.sum + plan.shift)
        for row in rows
        if plan.shift_from is not None and row.start >= plan.shift_from
    }
    after |= {row.start: row for row in plan.rows}
    old, new = _changes(before), _changes(after)
    more = {start: new[start] - old.get(start, 0) for start in new if start < until}
    return {
        start: energy
        for start, energy in more.items()
        if start not in before
        or abs(energy) > EQUAL
        or not _is_state_of(after[start], before[start])
    }


def _changes(rows: Mapping[int, Row]) -> dict[int, float]:
    before = 0.0
    changes = {}
    for start, row in sorted(rows.items()):
        changes[start] = row.sum - before
        before = row.sum
    return changes


def join(
    profile: Profile, rows: Sequence[Row], live: Row | None, *, rebuild: bool = False
) -> Plan:
    """Return what makes a register's statistic follow the logger.

    `rows` are the recorder's, in order, from the last one before the window on; `live`
    is its newest short-term row, or None if `rows` do not go as far as that. Hours
    that count what the meter counted stay, but with `rebuild` every hour is written.
    """
    held = {row.start: row for row in rows}
    profile = _carried(profile, held)
    hours, since = profile.hours, profile.since
    if not hours:
        return Plan()
    series = _Series(profile, held)
    series.go_on_from(_last_before(since, held))
    if live is not None and live.start < since:
        # It is older than all of these hours: what comes goes on from their last one.
        live = None
    for start in sorted(hours.keys() | held.keys()):
        if start in hours and (rebuild or not series.is_right(start)):
            series.follow(start)
        elif start >= since:
            series.keep(start)
    return _plan(series, live)


def _carried(profile: Profile, held: Mapping[int, Row]) -> Profile:
    """Let the oldest hour count what no row has counted until it was logged."""
    before, begin, hours = profile.before, profile.begin, profile.hours
    if before < profile.since:
        return profile
    lag = _lag(next(iter(hours.values()), begin) - begin)
    state = _last_state(held, before, begin, lag)
    if state is None:
        return replace(profile, since=before + HOUR)
    return replace(
        profile, hours={before: int(begin), **hours}, begin=state, since=before
    )


def _last_state(
    held: Mapping[int, Row], first: int, begin: float, lag: float
) -> float | None:
    """Return up to which register rows count, if that is not where hours begin.

    A row that has heard the meter may have counted nothing of it nevertheless: Home
    Assistant begins anew at 0 after long silence.
    """
    older = _last_before(first, held)
    if older is None or older.state is None or older.state > begin + EQUAL:
        return None
    row = held.get(first)
    if row is None or row.state is None:
        return older.state if older.state < begin else None
    energy = row.state - older.state
    goes_on = abs(row.sum - older.sum - energy) <= _lag(energy)
    return None if goes_on and row.state >= begin - lag else older.state


def _last_before(first: int, held: Mapping[int, Row]) -> Row | None:
    return held.get(max((start for start in held if start < first), default=-1))


def _wrong(series: _Series) -> Iterator[int]:
    """Yield the hours that are missing, or count something else than they will."""
    for start in series.hours:
        row, before = series.held.get(start), series.held.get(start - HOUR)
        energy = series.energies[start]
        if (
            row is None
            or before is None
            or row.state is None
            or abs(row.sum - before.sum - energy) > 2 * _lag(energy)
        ):
            yield start


def _lag(energy: float) -> float:
    return _LAG + _LAG_SHARE * max(energy, 0)


class _Series:
    """The series as it will be, made row by row."""

    def __init__(self, profile: Profile, held: Mapping[int, Row]) -> None:
        self.profile = profile
        self.hours = profile.hours
        self.held = held
        self.written: set[int] = set()
        self.rows: dict[int, Row] = {}
        self.energies: dict[int, float] = {}
        following = profile.following
        self._logged = [*profile.hours.items(), *([following] if following else [])]
        self._next = following[0] if following else inf
        self.sum = 0.0
        self.register = profile.begin
        self._held_sum = 0.0
        self._leaves_rest = False

    @property
    def last(self) -> Row:
        """The newest row so far."""
        return next(reversed(self.rows.values()))

    def go_on_from(self, row: Row | None) -> None:
        """Go on from the last row, which may know more than what was logged last."""
        if row is None:
            return
        self.sum = self._held_sum = row.sum
        self._leaves_rest = self.profile.skips_older
        before = self.profile.before
        if row.state is None or row.start < before:
            return
        following = self._following(row.start)
        if row.start > before:
            self.register = max(min(row.state, following), self.register)
        elif self._is_inexact(before) and _has_heard(
            row.state, self.register, following
        ):
            # It has heard the meter to the end of its hour.
            self.register = row.state

    def is_right(self, start: int) -> bool:
        """Whether the row of a logged hour may stay.

        Where the logger does not know the end of an hour, a row does that has heard
        the meter until then: its state lies between what was logged before and after.
        """
        row, before = self.held.get(start), self.held.get(start - HOUR)
        if row is None or row.state is None:
            return False
        logged = self.hours[start]
        if self._is_inexact(start):
            return _has_heard(row.state, logged, self._following(start))
        if before is None or abs(row.state - logged) > ROUNDING:
            return False
        energy = logged - self.register
        return abs(row.sum - before.sum - energy) <= ROUNDING

    def _following(self, start: int) -> float:
        """Return the register at the end of the next hour that is logged."""
        following = bisect_right(self._logged, start, key=itemgetter(0))
        return self._logged[following][1] if following < len(self._logged) else inf

    def _is_inexact(self, start: int) -> bool:
        return start in self.profile.inexact

    def follow(self, start: int) -> None:
        """Add an hour as the logger has it."""
        self.written.add(start)
        register = self.hours[start]
        self._add(start, register, register - self.register)
        self.register = register

    def keep(self, start: int) -> None:
        """Add a row that is there already."""
        row = self.held[start]
        change = self._change(row)
        self._add(start, row.state, change)
        if start in self.hours and not self._is_inexact(start):
            self.register = self.hours[start]
        elif start >= self.profile.until and row.state is not None:
            self.register = max(self.register, row.state)
        else:
            self.register += change

    def _add(self, start: int, state: float | None, change: float) -> None:
        self.sum += change
        if start in self.held:
            self._held_sum = self.held[start].sum
        self.energies[start] = change
        self.rows[start] = Row(start, state, self.sum)

    def _change(self, row: Row) -> float:
        """Return what a row counts, from where the series stands now.

        What it counted so far, if the logger agrees or can't know; in a hole of the
        logger what its state says, within what is known before and after.
        """
        if row.start >= self._next:
            # The newer part there has made it right.
            return row.sum - self._held_sum
        before = self.held.get(row.start - HOUR)
        is_exact = row.start in self.hours and not self._is_inexact(row.start)
        if before and (is_exact or self._begins_here(row, before)):
            return row.sum - before.sum
        if row.state is None:
            return 0
        return max(self.passed(row, row.state), 0)

    def passed(self, row: Row, state: float) -> float:
        """Return what a row has to count from where the series stands.

        Where it ends an outage of which the window is a part, it has counted all of
        that: what the window does not count is left to it.
        """
        if self.is_ended_by(row, state):
            return row.sum - self.sum
        return min(state, self._following(row.start)) - self.register

    def is_ended_by(self, row: Row, state: float) -> bool:
        """Whether the window is part of an outage that a row behind it has counted."""
        if row.start < self.profile.until or not self._leaves_rest:
            return False
        passed = state - self.register
        counted = row.sum - max(self.sum, self._held_sum)
        return passed >= -ROUNDING and counted > passed + _lag(passed)

    def _begins_here(self, row: Row, before: Row) -> bool:
        """Whether a row behind the window counts from where the series stands."""
        if row.start < self.profile.until or before.start not in self.rows:
            return False
        if row.state is None:
            return True
        energy = row.sum - before.sum
        passed = row.state - self.register
        return energy >= -EQUAL and abs(energy - passed) <= _lag(energy)


def _has_heard(state: float, logged: float, following: float) -> bool:
    """Whether a state is from after the last record of its hour.

    Asks for nothing that only one of two parts knows between which the hour lies.
    """
    return logged - ROUNDING <= state <= following


def _plan(series: _Series, live: Row | None) -> Plan:
    shift = _shift_of_the_newest(series, live)
    shift_from = None
    if abs(shift) > EQUAL:
        shift_from = _shift_from(series, live, shift)
    rows = tuple(
        row
        for row in series.rows.values()
        if not _is_there(
            row,
            series.held.get(row.start),
            shift if shift_from is not None and row.start >= shift_from else 0,
        )
    )
    last = series.last
    return Plan(
        rows=rows,
        shift_from=shift_from,
        shift=shift if shift_from is not None else 0,
        recent=_recent(Row(last.start, series.register, series.sum), live),
        wrong=frozenset(_wrong(series)),
    )


def _shift_of_the_newest(series: _Series, live: Row | None) -> float:
    """Return by how much the sum must change from which the next live row goes on."""
    last = series.last
    held = series.held.get(last.start)
    if held and last.start not in series.written and _goes_on(series, live, held):
        return last.sum - held.sum
    if live is None or live.state is None:
        return 0
    return series.sum + series.passed(live, live.state) - live.sum


def _goes_on(series: _Series, live: Row | None, held: Row) -> bool:
    """Whether a live row counts what has passed since the row before it."""
    if live is None or live.state is None or held.state is None:
        return True
    if series.is_ended_by(live, live.state):
        return False
    return abs(live.sum - live.state - held.sum + held.state) <= EQUAL


def _shift_from(series: _Series, live: Row | None, shift: float) -> int:
    """Return from when on all rows need the same shift, or are written anyway."""
    newest = live or max(series.held.values(), key=lambda row: row.start)
    begin = newest.start // HOUR * HOUR
    for row in reversed(series.rows.values()):
        held = series.held.get(row.start)
        if held is None:
            break
        if row.start not in series.written and abs(row.sum - held.sum - shift) > EQUAL:
            break
        begin = min(begin, row.start)
    return begin


def _recent(last: Row, live: Row | None) -> Row | None:
    """Return the short-term row that must end like the last hour, if there must be one.

    It is the newest one, if that has not heard the meter since: the next live one
    would count again what is counted, or the last hour less than nothing.
    """
    if live is None:
        return last._replace(start=last.start + HOUR - PERIOD)
    if live.start < last.start or live.state is None or last.state is None:
        return None
    return last._replace(start=live.start) if live.state < last.state - EQUAL else None


def _is_there(row: Row, held: Row | None, shift: float) -> bool:
    if held is None or not _is_state_of(row, held):
        return False
    return abs(held.sum + shift - row.sum) <= EQUAL


def _is_state_of(row: Row, held: Row) -> bool:
    if row.state is None or held.state is None:
        return row.state is held.state
    return abs(held.state - row.state) <= EQUAL
