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
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from .hours import HOUR

_EQUAL: Final = 1e-3
"""Less than the last digit, more than what floating point loses."""

_ROUNDING: Final = 0.5
"""Registers are whole numbers: what differs by less is the same."""

_LAG: Final = 2
_LAG_SHARE: Final = 0.01
"""A live row ends with the last poll before the hour: short by some of its energy."""

_GROSS_SHARE: Final = 0.9
"""Less than a row is wrong by that counts nothing of its hour, or another's as well."""


class Row(NamedTuple):
    """A row of a register's statistic; `state` is None where none was stored."""

    start: int
    state: float | None
    sum: float

    @property
    def offset(self) -> float | None:
        """What stays the same as long as Home Assistant does not begin anew."""
        return None if self.state is None else self.sum - self.state


@dataclass(frozen=True, slots=True)
class Plan:
    """What makes a statistic right.

    First `shift` is added to the sums of all rows from `shift_from` on, short-term
    ones too; then `rows` are written, over those of their hours if there are any.
    `last` has the register and the sum at the end of the last hour: a sensor
    without short-term rows needs one with them, for the next live one to go on
    from. `left` counts the logger's hours that were right already, `wrong` has those
    that were missing, or wrong by more than live rows are that end with the last
    poll before the hour.
    """

    rows: tuple[Row, ...] = ()
    shift_from: int | None = None
    shift: float = 0
    last: Row | None = None
    left: int = 0
    wrong: frozenset[int] = frozenset()


def moved(rows: Sequence[Row], plan: Plan) -> float:
    """Return how much a plan makes count in another hour, or in one at all.

    `rows` are those that the plan was made from.
    """
    before = {row.start: row.sum for row in rows}
    after = {
        start: total + plan.shift if _is_shifted(start, plan) else total
        for start, total in before.items()
    } | {row.start: row.sum for row in plan.rows}
    old, new = _changes(before), _changes(after)
    more = [new.get(start, 0) - old.get(start, 0) for start in new.keys() | old.keys()]
    return max(
        sum(change for change in more if change > 0),
        -sum(change for change in more if change < 0),
    )


def _is_shifted(start: int, plan: Plan) -> bool:
    return plan.shift_from is not None and start >= plan.shift_from


def _changes(sums: Mapping[int, float]) -> dict[int, float]:
    before = 0.0
    changes = {}
    for start, total in sorted(sums.items()):
        changes[start] = total - before
        before = total
    return changes


def join(
    hours: Mapping[int, int],
    begin: int,
    rows: Sequence[Row],
    live: Row | None,
    *,
    inexact: Container[int] = (),
    rebuild: bool = False,
) -> Plan:
    """Return what makes a register's statistic follow the logger.

    `hours` has the last register that the logger knows of each hour, by the hour's
    start and in order: of those in `inexact` it is not the one at the very end.
    `begin` is the register at the beginning of the first. `rows` are the
    recorder's, in order, from the last one before the first hour on; `live` is its
    newest short-term row, or None if `rows` do not go as far as that. Hours that
    count what the meter counted stay, but with `rebuild` every hour is written.
    """
    if not hours:
        return Plan()
    held = {row.start: row for row in rows}
    errors = list(_errors(hours, begin, held))
    written = {
        start
        for start, energy, error, of_state in errors
        if rebuild or _is_wrong(start, energy, error, of_state, inexact)
    }
    series = _Series(hours, begin, held, written, inexact)
    for start in sorted(hours.keys() | held.keys()):
        if start in written:
            series.follow(start)
        elif start >= series.first:
            series.keep(start)
    wrong = frozenset(
        start for start, energy, error, _ in errors if error > 2 * _lag(energy)
    )
    return _plan(series, written, wrong, live)


def _errors(
    hours: Mapping[int, int], begin: int, held: Mapping[int, Row]
) -> Iterator[tuple[int, int, float, float]]:
    """Yield the hours, their energy, and by how much what is held differs.

    In what it counts, and in the register that it ends with.
    """
    register = begin
    for start, end in hours.items():
        row, before = held.get(start), held.get(start - HOUR)
        energy, register = end - register, end
        if row is None or before is None or row.state is None:
            yield start, energy, inf, inf
        else:
            counted = row.sum - before.sum
            yield start, energy, abs(counted - energy), abs(row.state - end)


def _is_wrong(
    start: int, energy: int, error: float, of_state: float, inexact: Container[int]
) -> bool:
    if start in inexact or start - HOUR in inexact:
        return error > 2 * _lag(energy) + _GROSS_SHARE * max(energy, 0)
    return max(error, of_state) > _ROUNDING


def _lag(energy: float) -> float:
    return _LAG + _LAG_SHARE * max(energy, 0)


class _Series:
    """The series as it will be, made row by row."""

    def __init__(
        self,
        hours: Mapping[int, int],
        begin: int,
        held: Mapping[int, Row],
        written: Container[int],
        inexact: Container[int],
    ) -> None:
        # A row that stays ends with its hour: better than what the logger has.
        self.hours = {
            start: register
            for start, register in hours.items()
            if start in written or start not in inexact
        }
        self.logged = hours.keys()
        self.held = held
        self.first = next(iter(hours))
        self.rows: dict[int, Row] = {}
        self._starts = list(self.hours)
        before = held.get(max((s for s in held if s < self.first), default=-1))
        self.sum = before.sum if before else 0.0
        self.register: float = begin
        if before and before.start + HOUR < self.first and before.state is not None:
            # What was counted between that row and the logger's first hour shows
            # there: nothing is lost.
            self.register = min(before.state, begin)

    def follow(self, start: int) -> None:
        """Add an hour as the logger has it."""
        register = self.hours[start]
        self._add(start, register, register - self.register)
        self.register = register

    def keep(self, start: int) -> None:
        """Add a row that is there already."""
        row = self.held[start]
        change = self._change(row)
        self._add(start, row.state, change)
        self.register = self.hours.get(start, self.register + change)

    def _add(self, start: int, state: float | None, change: float) -> None:
        self.sum += change
        self.rows[start] = Row(start, state, self.sum)

    def _change(self, row: Row) -> float:
        """Return what a row counts, from where the series stands now.

        What it counted so far, if the logger agrees or can't know; in a hole of the
        logger what its state says, within what is known before and after.
        """
        before = self.held.get(row.start - HOUR)
        if before and (row.start in self.hours or self._begins_here(row, before)):
            return row.sum - before.sum
        if row.state is None:
            return 0
        following = bisect_right(self._starts, row.start)
        most = row.state
        if following < len(self._starts):
            most = min(most, self.hours[self._starts[following]])
        return max(most - self.register, 0)

    def _begins_here(self, row: Row, before: Row) -> bool:
        """Whether a row behind the logger's hours counts from where the series stands."""
        if not self._starts or row.start < self._starts[-1]:
            return False
        if before.start not in self.rows:
            return False
        if row.state is None or before.state is None:
            return True
        energy = row.sum - before.sum
        return abs(energy - (row.state - before.state)) <= _EQUAL and abs(
            before.state - self.register
        ) <= _lag(energy)


def _plan(
    series: _Series, written: set[int], wrong: frozenset[int], live: Row | None
) -> Plan:
    held = series.held
    shift = _shift_of_the_newest(series, written, live)
    shift_from = None
    if abs(shift) > _EQUAL:
        shift_from = _shift_from(series, written, live, shift)
    rows = tuple(
        row
        for row in series.rows.values()
        if not _is_there(
            row,
            held.get(row.start),
            shift if shift_from is not None and row.start >= shift_from else 0,
        )
    )
    *_, last = series.rows.values()
    return Plan(
        rows=rows,
        shift_from=shift_from,
        shift=shift if shift_from is not None else 0,
        last=Row(last.start, series.register, series.sum),
        left=len(series.logged - {row.start for row in rows}),
        wrong=wrong,
    )


def _shift_of_the_newest(series: _Series, written: set[int], live: Row | None) -> float:
    """Return by how much the sum must change from which the next live row goes on."""
    *_, last = series.rows.values()
    held = series.held.get(last.start)
    if held and last.start not in written:
        shift = last.sum - held.sum
        if live is None or _goes_on(live, held):
            return shift
    if live is None or live.state is None:
        return 0
    return series.sum + live.state - series.register - live.sum


def _goes_on(live: Row, held: Row) -> bool:
    if live.offset is None or held.offset is None:
        return True
    return abs(live.offset - held.offset) <= _EQUAL


def _shift_from(
    series: _Series, written: set[int], live: Row | None, shift: float
) -> int:
    """Return from when on all rows need the same shift, or are written anyway."""
    newest = live or max(series.held.values(), key=lambda row: row.start)
    begin = newest.start // HOUR * HOUR
    for row in reversed(series.rows.values()):
        held = series.held.get(row.start)
        if held is None:
            break
        if row.start not in written and abs(row.sum - held.sum - shift) > _EQUAL:
            break
        begin = min(begin, row.start)
    return begin


def _is_there(row: Row, held: Row | None, shift: float) -> bool:
    if held is None or (held.state is None) != (row.state is None):
        return False
    return (
        abs(held.sum + shift - row.sum) <= _EQUAL
        and abs((held.state or 0) - (row.state or 0)) <= _EQUAL
    )
