"""A data logger that is slow in one way or another: goals in virtual time.

Times of the algorithm before are those of the same simulation (benchmarks.pages),
measured once with the code of 26 November 2026.
"""

import pytest

from benchmarks.pages import Line, cost_of

SLOW_LINE = Line(0.01, 4_000)
LATENCY = Line(12, 100_000)


@pytest.mark.parametrize(
    ("line", "days", "requests", "seconds"),
    [
        # Before: 145 requests, 1,863 s.
        (LATENCY, 30, 5, 90),
        # Before: 7,300 requests.
        (LATENCY, 5 * 365, 90, 1_500),
        (Line(20, 50_000), 365, 30, 700),
        # Before: 145 requests, 195.6 s, and 1,511 requests, 2,404 s.
        (SLOW_LINE, 30, 145, 195.6),
        (SLOW_LINE, 365, 1_511, 2_404),
        # Before: 99 requests, 11.2 s.
        (Line(0.01, 1_000_000), 365, 40, 11.2),
        # A server that prepares the whole answer first. Before: 728 requests, 943 s.
        (Line(0.1, 100_000, making=0.01), 365, 728, 943),
    ],
)
def test_cost(line: Line, days: int, requests: int, seconds: float) -> None:
    """Few requests where each is dear, and nowhere more time than before."""
    cost = cost_of(line, days)
    assert cost.records == days * 96
    assert cost.requests <= requests
    assert cost.seconds <= seconds
    assert cost.oldest_live <= 30


@pytest.mark.parametrize(
    ("before", "after", "is_settled"),
    [
        (LATENCY, SLOW_LINE, lambda size: size <= 48),
        (SLOW_LINE, LATENCY, lambda size: size >= 500),
        (Line(0.01, 1_000_000), LATENCY, lambda size: size >= 1_000),
    ],
)
def test_change_in_the_middle(before: Line, after: Line, is_settled) -> None:  # type: ignore[no-untyped-def]
    """Three pages after the meter has changed, pages are as large as they should be."""
    change = 12
    cost = cost_of(lambda number: before if number < change else after, 365)
    assert cost.records == 365 * 96
    settled = map(is_settled, cost.sizes[change + 3 : change + 6])
    assert any(settled), cost.sizes[change : change + 8]


def test_jitter() -> None:
    """A latency between 10 and 20 s is no reason for small pages."""
    cost = cost_of(lambda number: Line(10 + number * 7 % 11, 100_000), 365)
    assert cost.requests <= 30
