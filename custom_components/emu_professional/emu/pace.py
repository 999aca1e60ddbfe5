"""How many records of the data logger to ask for at a time.

A page takes a fixed time, however few its records are, and some time for each of
them. Some meters need 10 to 20 s for a single record, some lines carry 4 kB/s, and
either may change at any moment. Both numbers are learned from the pages themselves:

    page ──── fixed ────┬── each · records ──
         until the first byte    until the last

Where the fixed time counts, a page is so large that its records take as long. Where
it does not, a page is as short as a live poll should wait. Pure: no I/O, no clock.
"""

from collections import deque
from itertools import combinations
from statistics import median_low
from typing import Final, NamedTuple

MOST_RECORDS: Final = 3000
"""In a page, says the manual."""
FIRST_PAGE: Final = 96
SMALLEST_PAGE: Final = 24

SHORT: Final = 0.7
"""Seconds that a page should take, if that is possible: live polls wait for it."""
LONG: Final = 18.0
"""Seconds that it may take: live readings must not be older than 30 s."""
_RECORDS_OF_LONG: Final = LONG / 4
"""Seconds for records where the fixed time alone is too long."""

_GROWTH: Final = 8
"""A page has at most so many times the records of the one before."""
_FEW: Final = 8
"""Records that are too few to measure what each of them takes."""
_REMEMBERED: Final = 3
"""Pages after which nothing is left of what a meter was like before."""
_DIFFERENT: Final = 1.5
"""Ratio of two pages' records from which on their times can be compared."""


class _Sample(NamedTuple):
    """What a page took."""

    records: int
    first: float
    """Seconds until the first byte."""
    rest: float
    """Seconds from then until the last one."""


class Pace:
    """Learns what pages cost, and chooses the size of the next one."""

    def __init__(self, most: int = MOST_RECORDS) -> None:
        """Know nothing, and never ask for more than `most` records."""
        self._most = most
        self._samples: deque[_Sample] = deque(maxlen=_REMEMBERED)
        self._sent = 0.0
        self._made = 0.0
        self._largest = FIRST_PAGE

    @property
    def fixed(self) -> float:
        """Seconds that a page takes however few its records are."""
        times = [max(s.first - self._made * s.records, 0.0) for s in self._samples]
        return median_low(times) if times else 0.0

    @property
    def each(self) -> float:
        """Seconds that a record takes."""
        return self._sent + self._made

    @property
    def size(self) -> int:
        """Return how many records the next page should have."""
        fixed = self.fixed
        short = SHORT - fixed
        long = max(LONG - fixed, _RECORDS_OF_LONG)
        return self._count(max(short, min(fixed, long)), SMALLEST_PAGE)

    @property
    def probe(self) -> int:
        """Return how many records to ask for where one would do.

        As many as cost little beside the fixed time.
        """
        if not self.each and self.fixed < SHORT:
            return 1
        return self._count(self.fixed / 2, 1)

    def _count(self, seconds: float, least: int) -> int:
        count = seconds / self.each if self.each else self._most
        return int(min(max(count, least), self._largest, self._most))

    def learn(self, records: int, first: float, whole: float) -> None:
        """Learn from a page: seconds until its first and until its last byte."""
        sample = _Sample(records, first, max(whole - first, 0.0))
        self._samples.append(sample)
        if records >= _FEW or not self._sent:
            self._sent = sample.rest / max(records, 1)
        self._made = self._made_each()
        self._largest = max(_GROWTH * records, self._largest)

    def shrink(self, records: int) -> None:
        """Ask for half as many as a page had that did not come."""
        self._largest = min(self._largest, max(records // 2, SMALLEST_PAGE))

    def _made_each(self) -> float:
        """Return what each record adds to the time until the first byte.

        A server may make the whole answer before it sends any of it. One request
        may also take longer than another without a reason: the least counts.
        """
        slopes = [
            (large.first - small.first) / (large.records - small.records)
            for small, large in map(sorted, combinations(self._samples, 2))
            if large.records >= _DIFFERENT * max(small.records, 1)
        ]
        # Without pages to compare, larger ones are tried.
        return max(min(slopes), 0.0) if slopes else self._made / 2
