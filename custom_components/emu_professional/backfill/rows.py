"""Rows of a statistic with a sum, and a plan to change them.

Pure: no I/O, no clock. States and sums are in the last digit of their quantity (Wh,
varh), times are seconds since 1970-01-01 UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from .times import HOUR

EQUAL: Final = 1e-3
"""Less than the last digit, more than the rounding of floating point."""

_POLL_SHARE: Final = 0.01
"""Part of an hour that can pass between the last poll and the end of the hour."""


class Row(NamedTuple):
    """A row of a statistic with a sum; `state` is None if none is stored.

    `last_reset` is the time of the state at 0; None for a register.
    """

    start: int
    state: float | None
    sum: float
    last_reset: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes of a statistic, in this order.

    `shift` is added to the sums of all rows from `shift_from` on, short-term rows too.
    Then `rows` are written; they replace stored rows of their hours. Last comes
    `anchor`, the short-term row for Home Assistant to continue from. `wrong` has the
    logged hours with a missing row, or with one further off than live rows can be.

    The row of an hour in `bound` is written together with the row before it. Such an
    hour keeps its change: with only one of both rows written the change is wrong, and
    after an interruption nobody knows the right one. The energy of a register's hour
    is always known from the logger, so its plans have no such hours.
    """

    rows: tuple[Row, ...] = ()
    shift_from: int | None = None
    shift: float = 0
    anchor: Row | None = None
    wrong: frozenset[int] = frozenset()
    bound: frozenset[int] = frozenset()


class Unpolled(NamedTuple):
    """Energy after the last poll of an hour, counted in the next hour, `start`."""

    start: int
    energy: float


def changed(rows: Sequence[Row], plan: Plan, until: float = inf) -> dict[int, float]:
    """Return the changed hours of a plan before a time, and their added energy.

    An hour is changed if it has no row yet, or if its energy or state changes. One
    with nothing but a shifted sum is not. `rows` are the stored rows of the plan.
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
    """Return the rows after a plan, by their start."""
    after = {
        row.start: moved
        for row in rows
        if (moved := shifted(row, plan.shift_from, plan.shift))
    }
    return after | {row.start: row for row in plan.rows}


def changes(rows: Mapping[int, Row]) -> dict[int, float]:
    """Return the change of each row; the first one includes everything before it."""
    total = 0.0
    counted = {}
    for start, row in sorted(rows.items()):
        counted[start] = row.sum - total
        total = row.sum
    return counted


def unpolled_energy(rows: Sequence[Row], plan: Plan) -> Unpolled | None:
    """Return the energy between the last poll in the newest row and its end.

    None if there is none, or more than one poll interval's: then Home Assistant was not
    there. `rows` are the stored rows of the plan, up to the newest one.
    """
    if not rows or rows[-1].state is None:
        return None
    after, start = carried_out(rows, plan), rows[-1].start
    state = after[start].state
    if start != max(after) or state is None:
        return None
    energy = state - rows[-1].state
    counted = changes(after)
    *_, previous, _ = (start - HOUR, *counted)
    power = counted[start] * HOUR / (start - previous)
    if EQUAL < energy <= poll_lag(power):
        return Unpolled(start + HOUR, energy)
    return None


def poll_lag(power: float) -> float:
    """Return the most energy missing from a live row with this mean power of its hour.

    A live row ends with the last poll before the full hour. An hour that counts the
    energy of many hours has the mean power of all of them. The rounding of floating
    point is allowed for.
    """
    return 1 + _POLL_SHARE * max(power, 0) + EQUAL


def shifted(row: Row | None, shift_from: int | None, shift: float) -> Row | None:
    """Return a row with a shift added to its sum, if it starts late enough."""
    if row is None or shift_from is None or row.start < shift_from:
        return row
    return row._replace(sum=row.sum + shift)


def is_stored(
    stored: Row | None, row: Row, state_tolerance: float, sum_tolerance: float
) -> bool:
    """Return whether a row is stored already, within tolerances."""
    return (
        stored is not None
        and abs(stored.sum - row.sum) <= sum_tolerance
        and _is_same(stored.state, row.state, state_tolerance)
    )


def _is_same(state: float | None, other: float | None, tolerance: float) -> bool:
    if state is None or other is None:
        return state is other
    return abs(state - other) <= tolerance
