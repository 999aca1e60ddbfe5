"""Makes a cost statistic follow the energy of its hours.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC, costs and sums are in
millionths of the currency (`DECIMALS`), prices per kWh.

How it works
------------
A cost has no register. The `state` of a row is what the cost entity has counted since
Home Assistant started, and of its `sum` only differences mean anything. So a row is
judged by what its hour counts. An hour either gets its cost, price × energy, or keeps
what it counts:

    stored sums     10 |  20   20   20   50 |  60
    counts             |  10    0    0   30 |  10
    cost               |   -    5    8   12 |   -
    counts then        |  10    5    8   12 |  10
    sums then       10 |  20   25   33   45 |  55

Home Assistant may end between two writes, and only rows tell the next run what is
still to do. The energy of an hour is written after its cost: as long as a cost can be
missing, the energy is missing as well, and the next run finds the same hours. Until
then only those may count something else, or it would be kept for good. Therefore

1. the shift of all later rows begins with the first hour that gets a cost; where that
   has no row, one that counts nothing is written before;
2. the newest row is written first: with the shift the sums after it are right already;
3. what the last poll of the newest hour has not seen is in the logger, but the cost
   entity counts it in the next hour: the shift of what comes after is less by that;
4. a row that keeps what it counts is written together with the row before
   (`Plan.bound`). Longer stretches of such rows are not written but shifted: the hours
   between two of them make a plan of their own.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Final

from .rows import EQUAL, Plan, Row, carried_out, changes
from .times import HOUR, PERIOD

DECIMALS: Final = 6
"""The last digit of a cost."""

_SAME: Final = 1.0
"""Costs that differ by less are the same."""

_GAP: Final = 24 * HOUR
"""Rows of so many seconds are rather written than shifted once more."""


def hourly_costs(
    energies: Mapping[int, float], prices: Mapping[int, float], decimals: int
) -> dict[int, float]:
    """Return the costs of the hours that have a price.

    Energies are in the last digit of kWh with so many `decimals`.
    """
    per_energy = 10.0 ** (DECIMALS - decimals)
    return {
        start: energy * prices[start] * per_energy
        for start, energy in energies.items()
        if start in prices
    }


def wrong_costs(costs: Mapping[int, float], stored: Sequence[Row]) -> list[int]:
    """Return the hours that have no row, or whose row counts something else."""
    counted = changes({row.start: row for row in stored})
    return [
        start
        for start, cost in sorted(costs.items())
        if start not in counted or abs(counted[start] - cost) > _SAME
    ]


def plan_costs(
    costs: Mapping[int, float],
    stored: Sequence[Row],
    short_term: Row | None,
    *,
    is_newest: bool,
    unseen: float = 0,
) -> tuple[Plan, ...]:
    """Return what gives hours their costs, to be carried out one after the other.

    `stored` has the rows from the last one before the first of the hours on, at least
    to the last of them. `is_newest` says that they are all there are: then Home
    Assistant continues from `short_term`, the newest short-term row. `unseen` is what
    the cost entity will count of the newest row's hour in the next one.
    """
    rows = {row.start: row for row in stored}
    plans: list[Plan] = []
    for hours in reversed(list(_groups(wrong_costs(costs, stored)))):
        is_first = not plans
        is_last = is_newest and hours[-1] == max(rows, default=None)
        plans += _plans(
            {start: costs[start] for start in hours}, rows, unseen if is_last else 0
        )
        if is_first and is_newest:
            anchor = _anchor(plans[-1], rows, short_term)
            plans[-1] = replace(plans[-1], anchor=anchor)
    return tuple(plans)


def mean_price(
    prices: Sequence[tuple[float, float | None]], begin: int, end: int
) -> float | None:
    """Return the mean of a price over the known part of a time, None if none is known.

    `prices` has since when which price was valid, in order; None where it was unknown.
    """
    first = max(bisect_right(prices, float(begin), key=_valid_since) - 1, 0)
    seconds = total = 0.0
    for (since, price), (until, _) in pairwise([*prices[first:], (end, None)]):
        if since >= end:
            break
        if price is not None:
            valid = min(until, end) - max(since, begin)
            seconds += valid
            total += valid * price
    return total / seconds if seconds else None


def _valid_since(price: tuple[float, float | None]) -> float:
    return price[0]


def _groups(hours: Sequence[int]) -> Iterator[list[int]]:
    """Yield the hours in groups between which there is much that stays."""
    group: list[int] = []
    for start in hours:
        if group and start - group[-1] > _GAP:
            yield group
            group = []
        group.append(start)
    if group:
        yield group


def _plans(
    costs: Mapping[int, float], rows: Mapping[int, Row], unseen: float
) -> Iterator[Plan]:
    """Yield what gives a group of hours their costs."""
    first, last = min(costs), max(costs)
    counted = changes(rows)
    shift = sum(cost - counted.get(start, 0) for start, cost in costs.items()) - unseen
    before = max((start for start in rows if start < first), default=None)
    # Before its first row a cost entity has counted nothing.
    row = Row(first, 0.0, 0.0) if before is None else rows[before]
    if first not in rows and abs(shift) > EQUAL:
        yield Plan(rows=(row._replace(start=first),))
    wanted: list[Row] = []
    for start in sorted(costs.keys() | {at for at in rows if first < at < last}):
        cost = costs[start] if start in costs else counted[start]
        # Without a row of its own an hour repeats the state, as in any time off.
        row = rows.get(start, row)._replace(start=start, sum=row.sum + cost)
        wanted.append(row)
    moved = Plan(shift_from=first if abs(shift) > EQUAL else None, shift=shift)
    now = carried_out(list(rows.values()), moved)
    yield Plan(
        rows=tuple(
            row
            for row in wanted
            if row.start not in now or abs(now[row.start].sum - row.sum) > EQUAL
        ),
        shift_from=moved.shift_from,
        shift=shift if moved.shift_from is not None else 0,
        bound=frozenset(row.start for row in wanted if row.start not in costs),
    )


def _anchor(plan: Plan, rows: Mapping[int, Row], short_term: Row | None) -> Row | None:
    """Return the short-term row that Home Assistant is to continue from after a plan.

    None if it continues from one of the newest hour, which is shifted like all rows.
    """
    after = carried_out(list(rows.values()), plan)
    newest = after[max(after)]
    if short_term is not None and short_term.start >= newest.start:
        return None
    seen = short_term or newest
    return seen._replace(start=newest.start + HOUR - PERIOD, sum=newest.sum)
