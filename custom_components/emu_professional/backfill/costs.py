"""Makes a cost statistic follow the energy of its hours.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC, costs and sums are in
millionths of the currency (`DECIMALS`), prices per kWh.

How it works
------------
A cost has no register. The `state` of a row is the cost since Home Assistant started,
and the cost of an hour is its change, the difference of two sums. An hour either gets
its cost, price × energy, or keeps its change:

    stored sums     10 |  20   20   20   50 |  60
    stored changes     |  10    0    0   30 |  10
    cost               |   -    5    8   12 |   -
    new changes        |  10    5    8   12 |  10
    new sums        10 |  20   25   33   45 |  55

Home Assistant may end between two writes, and then only the rows show the next run how
far this one came. So the energy of an hour is written after its cost: as long as a cost
may be missing, the energy is missing as well, and the next run finds the same hours.
Until then only these hours may have a wrong change, or it would be kept for good.
Therefore

1. the shift of all later rows begins with the first hour to get a cost; if it has no
   row, one with a change of 0 is written before;
2. the newest row is written first: after the shift, the sums after it are right already;
3. the logger knows the energy after the last poll of the newest hour, but the cost
   entity counts it in the next hour: the shift of the rows after it is smaller;
4. a row with an unchanged change is written together with the row before (`Plan.bound`).
   Long stretches of such rows are shifted instead: the hours between two of them make
   a plan of their own.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from .rows import EQUAL, Plan, Row, carried_out, changes
from .times import HOUR, PERIOD

DECIMALS: Final = 6
"""The last digit of a cost."""

_SAME: Final = 1.0
"""Costs that differ by less are the same."""

_GAP: Final = 24 * HOUR
"""Rows of fewer seconds are written, not shifted once more."""


def hourly_costs(
    energies: Mapping[int, float], prices: Mapping[int, float], decimals: int
) -> dict[int, float]:
    """Return the costs of the hours with a price.

    Energies are in the last digit of kWh, after `decimals` digits.
    """
    per_energy = 10.0 ** (DECIMALS - decimals)
    return {
        start: energy * prices[start] * per_energy
        for start, energy in energies.items()
        if start in prices
    }


def wrong_costs(costs: Mapping[int, float], stored: Sequence[Row]) -> list[int]:
    """Return the hours without a row, or with another change than their cost."""
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
    unpolled: float = 0,
) -> tuple[Plan, ...]:
    """Return the plans to give hours their costs, in the order to carry them out.

    `stored` has the rows from the last one before the first of the hours on, at least
    to the last of them. `is_newest`: there are no later rows, so Home Assistant
    continues from `short_term`, the newest short-term row. `unpolled` is the cost of
    the newest hour's last seconds; the cost entity will count it in the next hour.
    """
    rows = {row.start: row for row in stored}
    plans: list[Plan] = []
    for hours in reversed(list(_groups(wrong_costs(costs, stored)))):
        is_first = not plans
        is_last = is_newest and hours[-1] == max(rows, default=None)
        plans += _plans(
            {start: costs[start] for start in hours}, rows, unpolled if is_last else 0
        )
        if is_first and is_newest:
            anchor = _anchor(plans[-1], rows, short_term)
            plans[-1] = replace(plans[-1], anchor=anchor)
    return tuple(plans)


def mean_price(
    prices: Sequence[tuple[float, float | None]], begin: int, end: int
) -> float | None:
    """Return the mean of a price over the known part of a time, or None if unknown.

    `prices` are pairs of a time and the price from then on (None: unknown), in order.
    """
    first = max(bisect_right(prices, float(begin), key=_valid_since) - 1, 0)
    seconds = total = 0.0
    for number in range(first, len(prices)):
        since, price = prices[number]
        if since >= end:
            break
        until = prices[number + 1][0] if number + 1 < len(prices) else end
        if price is not None:
            valid = min(until, end) - max(since, begin)
            seconds += valid
            total += valid * price
    return total / seconds if seconds else None


def _valid_since(price: tuple[float, float | None]) -> float:
    return price[0]


def _groups(hours: Sequence[int]) -> Iterator[list[int]]:
    """Yield the hours in groups, cut where many hours in a row keep their change."""
    group: list[int] = []
    for start in hours:
        if group and start - group[-1] > _GAP:
            yield group
            group = []
        group.append(start)
    if group:
        yield group


def _plans(
    costs: Mapping[int, float], rows: Mapping[int, Row], unpolled: float
) -> Iterator[Plan]:
    """Yield the plans to give a group of hours their costs."""
    first, last = min(costs), max(costs)
    counted = changes(rows)
    shift = (
        sum(cost - counted.get(start, 0) for start, cost in costs.items()) - unpolled
    )
    before = max((start for start in rows if start < first), default=None)
    # Before its first row the cost is 0.
    row = Row(first, 0.0, 0.0) if before is None else rows[before]
    if first not in rows and abs(shift) > EQUAL:
        yield Plan(rows=(row._replace(start=first),))
    planned: list[Row] = []
    for start in sorted(costs.keys() | {at for at in rows if first < at < last}):
        cost = costs[start] if start in costs else counted[start]
        # An hour without a row repeats the state, as rows of an outage do.
        row = rows.get(start, row)._replace(start=start, sum=row.sum + cost)
        planned.append(row)
    moved = Plan(shift_from=first, shift=shift) if abs(shift) > EQUAL else Plan()
    now = carried_out(list(rows.values()), moved)
    yield replace(
        moved,
        rows=tuple(
            row
            for row in planned
            if row.start not in now or abs(now[row.start].sum - row.sum) > EQUAL
        ),
        bound=frozenset(row.start for row in planned if row.start not in costs),
    )


def _anchor(plan: Plan, rows: Mapping[int, Row], short_term: Row | None) -> Row | None:
    """Return the short-term row for Home Assistant to continue from after a plan.

    None if there is one in the newest hour: it is shifted like all rows.
    """
    after = carried_out(list(rows.values()), plan)
    newest = after[max(after)]
    if short_term is not None and short_term.start >= newest.start:
        return None
    observed = short_term or newest
    return observed._replace(start=newest.start + HOUR - PERIOD, sum=newest.sum)
