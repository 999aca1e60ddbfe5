"""Costs that follow energy, against a model of the recorder that can be interrupted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Self

from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.backfill.costs import (
    DECIMALS,
    hourly_costs,
    mean_price,
    plan_costs,
    wrong_costs,
)
from custom_components.emu_professional.backfill.recorder.write import (
    _batches,
    _Throttle,
)
from custom_components.emu_professional.backfill.report import CostOutcome
from custom_components.emu_professional.backfill.rows import Plan, Row, changes
from custom_components.emu_professional.backfill.times import HOUR, PERIOD

START = 1_780_300_800
EXACT = 1e-4 * 10**DECIMALS
RESET = START - 1234.5


@dataclass
class Recorder:
    """Long-term rows by hour, and the newest short-term one, of a cost entity."""

    hours: dict[int, Row]
    short_term: Row | None

    def plans(self, costs: Mapping[int, float]) -> tuple[Plan, ...]:
        """Return what is to be written."""
        first, last = min(costs), max(costs)
        older = [start for start in self.hours if start < first]
        newer = sorted(start for start in self.hours if start > last)
        stored = [
            self.hours[start]
            for start in sorted(self.hours)
            if start >= max(older, default=0) and start <= max((*newer[:2], last))
        ]
        is_newest = len(newer) < 3
        short_term = self.short_term if is_newest else None
        return plan_costs(costs, stored, short_term, is_newest=is_newest)

    def carry_out(self, plan: Plan, batch: int) -> Iterator[None]:
        """Carry a plan out, one transaction after the other."""
        if plan.shift_from is not None:
            for start, row in self.hours.items():
                if start >= plan.shift_from:
                    self.hours[start] = row._replace(sum=row.sum + plan.shift)
            if self.short_term and self.short_term.start >= plan.shift_from:
                total = self.short_term.sum + plan.shift
                self.short_term = self.short_term._replace(sum=total)
            yield
        throttle = _Throttle()
        throttle.size = batch
        rows = sorted(plan.rows, reverse=True)
        for rows_of_batch in _batches(throttle, rows, plan.bound):
            self.hours |= {row.start: row for row in rows_of_batch}
            yield
        if plan.anchor:
            self.short_term = plan.anchor
            yield

    def counts(self) -> dict[int, float]:
        """Return what each hour counts."""
        return changes(self.hours)

    def copy(self) -> Self:
        """Return the same."""
        return replace(self, hours=dict(self.hours))


@st.composite
def recorders(draw: st.DrawFn) -> Recorder:
    """Return any rows of a cost entity, whose state begins at 0 now and then."""
    starts = draw(st.sets(st.integers(0, 70), min_size=1, max_size=60))
    total = float(draw(st.integers(-(10**9), 10**9)))
    hours = {}
    for number in sorted(starts):
        total += draw(st.integers(-2_000_000, 9_000_000)) / 7
        start = START + number * HOUR
        hours[start] = Row(start, draw(st.integers(0, 99)) * 1e5, total, RESET)
    newest = max(hours)
    lag = draw(st.sampled_from((None, 0, 0, PERIOD, HOUR - PERIOD, 30 * HOUR)))
    if lag is None:
        return Recorder(hours, None)
    row = hours[newest]
    at = newest + HOUR - PERIOD - lag
    short_term = Row(at, 4321.0, row.sum + 77, RESET + 1)
    return Recorder(hours, short_term)


COSTS = st.dictionaries(
    st.integers(-9, 80).map(lambda number: START + number * HOUR),
    st.floats(-5e6, 5e7),
    min_size=1,
    max_size=60,
)


def assert_contract(
    before: Recorder, after: Recorder, costs: Mapping[int, float]
) -> None:
    """See that hours have their cost, and the others what they had."""
    old, new = before.counts(), after.counts()
    assert new.keys() == old.keys() | costs.keys()
    for start, counted in new.items():
        assert counted == pytest.approx(costs.get(start, old.get(start)), abs=EXACT)
    for start, row in before.hours.items():
        now = after.hours[start]
        assert (now.state, now.last_reset) == (row.state, row.last_reset)


@given(recorders(), COSTS, st.integers(1, 30))
def test_hours_have_their_costs(
    before: Recorder, costs: dict[int, float], batch: int
) -> None:
    """Hours get their cost, all others keep theirs, and twice is once."""
    after = before.copy()
    for plan in after.plans(costs):
        list(after.carry_out(plan, batch))
    assert_contract(before, after, costs)
    assert after.plans(costs) == ()


@given(recorders(), COSTS, st.floats(0, 5e4))
def test_unpolled_cost_counts_once(
    before: Recorder, costs: dict[int, float], unpolled: float
) -> None:
    """What the cost entity will count of the newest hour is taken from what follows."""
    newest = max(before.hours)
    costs = {start: cost for start, cost in costs.items() if start < newest}
    costs[newest] = before.counts()[newest] + unpolled + 2
    end = before.hours[newest].sum
    before.short_term = Row(newest + HOUR - PERIOD, 4321.0, end, RESET)
    after = before.copy()
    for plan in plan_costs(
        costs,
        [*after.hours.values()],
        after.short_term,
        is_newest=True,
        unpolled=unpolled,
    ):
        list(after.carry_out(plan, 5))
    assert_contract(before, after, costs)
    assert after.short_term
    seen = after.short_term.sum + unpolled
    assert seen == pytest.approx(after.hours[newest].sum, abs=EXACT)


def assert_resumed(before: Recorder, costs: Mapping[int, float], batch: int) -> None:
    """See that the next run does the rest, wherever Home Assistant ends."""
    stops = 0
    while True:
        after = before.copy()
        writes = (
            w for plan in after.plans(costs) for w in after.carry_out(plan, batch)
        )
        done = sum(1 for _, _ in zip(range(stops), writes, strict=False))
        resumed = after.copy()
        for plan in resumed.plans(costs):
            list(resumed.carry_out(plan, batch))
        assert_contract(before, resumed, costs)
        if done < stops:
            return
        stops += 1


@given(recorders(), COSTS, st.integers(1, 5))
def test_interrupted_is_resumed(
    before: Recorder, costs: dict[int, float], batch: int
) -> None:
    """Wherever Home Assistant ends, the next run finds in the rows what to do."""
    assert_resumed(before, costs, batch)


@pytest.mark.parametrize("cost", [-2e6, 2e6])
def test_hour_without_a_row_is_resumed(cost: float) -> None:
    """Its shift needs a row to begin with, also if the price is negative."""
    rows = [Row(START + n * HOUR, 1, n * 1e6, RESET) for n in (0, 2, 3, 4)]
    recorder = Recorder({row.start: row for row in rows}, None)
    assert_resumed(recorder, {START + HOUR: cost}, 1)


def test_plan_of_hours() -> None:
    """It has what is needed, and says which rows can't be written alone."""
    starts = [START + n * HOUR for n in range(6)]
    rows = {at: Row(at, 1, n * 1e6, RESET) for n, at in enumerate(starts)}
    # What one hour gets the other gives: no other hour is shifted.
    costs = {starts[1]: 1.5e6, starts[4]: 0.5e6}
    (plan,) = Recorder(dict(rows), None).plans(costs)
    assert (plan.shift_from, plan.shift) == (None, 0)
    assert [row.start for row in plan.rows] == starts[1:4]
    assert plan.bound == {starts[2], starts[3]}
    # A missing row that costs nothing needs no shift.
    del rows[starts[2]]
    (plan,) = Recorder(rows, None).plans({starts[2]: 0})
    assert plan.rows == (Row(starts[2], 1, 1e6, RESET),)
    # Short-term rows continue the newest row, and count its last seconds.
    stored = [*rows.values()][:3]
    (plan,) = plan_costs({starts[1]: 2e6}, stored, None, is_newest=False, unpolled=9)
    assert (plan.shift, plan.anchor) == (1e6, None)
    (plan,) = plan_costs({starts[3]: 3e6}, stored, None, is_newest=True, unpolled=9)
    assert plan.shift == 1e6 - 9
    (plan,) = plan_costs({starts[3]: 3e6}, stored, None, is_newest=False, unpolled=9)
    assert plan.shift == 1e6
    (plan,) = plan_costs({starts[3]: 3e6}, stored, None, is_newest=True)
    assert plan.shift == 1e6


@given(recorders(), COSTS)
def test_live_rows_continue(before: Recorder, costs: dict[int, float]) -> None:
    """The next live row counts what it would have: no jump, no negative bar."""
    after = before.copy()
    if not (plans := after.plans(costs)):
        return
    for plan in plans:
        list(after.carry_out(plan, 30))
    newest = after.hours[max(after.hours)]
    if before.short_term and before.short_term.start >= newest.start:
        # It stays as far ahead of the newest hour as it was.
        assert after.short_term
        ahead = after.short_term.sum - newest.sum
        assert ahead == pytest.approx(77, abs=EXACT)
        assert after.short_term._replace(sum=0) == before.short_term._replace(sum=0)
    elif len([start for start in before.hours if start > max(costs)]) < 3:
        assert after.short_term
        assert after.short_term.sum == pytest.approx(newest.sum, abs=EXACT)
        assert after.short_term.start == newest.start + HOUR - PERIOD
        shown = before.short_term or newest
        assert after.short_term.state == shown.state
        assert after.short_term.last_reset == shown.last_reset


def test_what_is_far_apart_is_not_rewritten() -> None:
    """Rows between two outages are shifted, and those that are right are left."""
    rows = {
        START + n * HOUR: Row(START + n * HOUR, 1, n * 100.0, RESET) for n in range(99)
    }
    first, last = START + 5 * HOUR, START + 95 * HOUR
    recorder = Recorder(rows, None)
    newer, older = recorder.plans({first: 500, last: 700, START + 7 * HOUR: 100})
    assert (newer.shift_from, newer.shift, newer.rows) == (last, 600, ())
    assert (older.shift_from, older.shift, older.rows) == (first, 400, ())


@pytest.mark.parametrize(("hours", "count"), [(24, 1), (25, 2)])
def test_plans_of_hours_apart(hours: int, count: int) -> None:
    """Up to a day of unchanged hours is written, more is shifted once more."""
    rows = {
        START + n * HOUR: Row(START + n * HOUR, 1, n * 100.0, RESET) for n in range(60)
    }
    costs = {START + 5 * HOUR: 500.0, START + (5 + hours) * HOUR: 700.0}
    assert len(Recorder(rows, None).plans(costs)) == count
    costs[START + (5 + 2 * hours) * HOUR] = 900.0
    assert len(Recorder(rows, None).plans(costs)) == 2 * count - 1


def test_before_the_first_row() -> None:
    """A cost entity has counted nothing then, and its first hour keeps its cost."""
    row = Row(START, 3e5, 3e5, RESET)
    recorder = Recorder({START: row}, row._replace(start=START + HOUR - PERIOD))
    costs = {START - HOUR: 2e5, START - 2 * HOUR: 1e5}
    for plan in recorder.plans(costs):
        list(recorder.carry_out(plan, 30))
    assert recorder.counts() == {**costs, START: 3e5}
    assert [recorder.hours[at].state for at in sorted(costs)] == [0, 0]


def test_costs_of_energies() -> None:
    """Without a price there is no cost; a negative price is one."""
    energies = {0: 1500.0, HOUR: 2000.0, 2 * HOUR: 700.0}
    costs = hourly_costs(energies, {0: 0.3, HOUR: -0.05}, 3)
    assert costs == pytest.approx({0: 450_000, HOUR: -100_000})
    assert wrong_costs(costs, [Row(0, 0, 450_000.4)]) == [HOUR]
    rounded = {0: 100.0, HOUR: 100.0, 2 * HOUR: 100.0, 3 * HOUR: 100.0}
    rows = [Row(0, 0, 101), Row(HOUR, 0, 200), Row(2 * HOUR, 0, 301.5)]
    assert wrong_costs(rounded, [*rows, Row(3 * HOUR, 0, 400)]) == [2 * HOUR, 3 * HOUR]


def test_outcome() -> None:
    """It has what the hours with a price have cost, up to a time."""
    outcome = CostOutcome("CHF")
    rows = [Row(0, 0, 1e6), Row(HOUR, 0, 3e6), Row(2 * HOUR, 0, 3e6)]
    hours = [HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR]
    costs = {HOUR: 2e6, 2 * HOUR: 5e5, 4 * HOUR: 9e6}
    outcome.count(hours, costs, rows, until=4 * HOUR)
    assert outcome == CostOutcome("CHF", 1, 1, before=2.0, after=2.5)


PRICES = st.lists(
    st.tuples(st.floats(-50, 150), st.none() | st.integers(-100, 100)), max_size=9
).map(lambda prices: sorted(prices, key=lambda price: price[0]))


def test_mean_of_a_price_that_is_known_later() -> None:
    """The time before it counts nothing."""
    assert mean_price([(10, 1), (50, 3)], 0, 100) == pytest.approx(190 / 90)


@given(PRICES, st.integers(0, 40), st.integers(60, 100))
def test_mean_price(
    prices: list[tuple[float, float | None]], begin: int, end: int
) -> None:
    """It is weighted with time, over the time in which it was known."""
    prices = [(round(at * 4) / 4, price) for at, price in prices]
    quarters = []
    for quarter in range(4 * begin, 4 * end):
        valid = [price for at, price in prices if at <= quarter / 4]
        if valid and valid[-1] is not None:
            quarters.append(valid[-1])
    mean = mean_price(prices, begin, end)
    if quarters:
        assert mean == pytest.approx(sum(quarters) / len(quarters))
    else:
        assert mean is None
