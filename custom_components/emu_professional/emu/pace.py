"""Number of records in the next request to the data logger.

A page takes a fixed time, and some time per record. Some meters need 10 to 20 s for a
single record, some connections carry 4 kB/s, and either may change at any moment. Both
times are learned from the pages themselves:

    page ──── fixed ────┬── each · records ──
         until the first byte    until the last

On a meter with a long fixed time, a page is so large that its records take as long.
On any other, it is short enough for a waiting live poll. Pure: no I/O, no clock.
"""

from collections import deque
from itertools import combinations
from statistics import median_low
from typing import Final, NamedTuple

MOST_RECORDS: Final = 3000
"""Largest page, by the manual."""
FIRST_PAGE: Final = 96
SMALLEST_PAGE: Final = 24

SHORT: Final = 0.7
"""Target duration of a page in seconds: live polls wait for it."""
_ENOUGH: Final = 1500
"""Most records of a page with a short fixed time: more take memory, and save no time."""
LONG: Final = 18.0
"""Longest duration in seconds: live readings must not be older than 30 s."""
_RECORDS_OF_LONG: Final = LONG / 4
"""Seconds for the records of a page with a longer fixed time."""

_GROWTH: Final = 8
"""Largest ratio between the sizes of two consecutive pages."""
_FEW: Final = 8
"""Fewest records for a measurement of the time per record."""
_REMEMBERED: Final = 3
"""Number of pages in the estimate: a meter may change."""
_DIFFERENT: Final = 1.5
"""Smallest ratio between the sizes of two pages to compare their times."""


class _Sample(NamedTuple):
    """Duration of a page."""

    records: int
    first: float
    """Seconds until the first byte."""
    rest: float
    """Seconds from then until the last one."""


class Pace:
    """Learns the durations of pages, and chooses the size of the next one."""

    def __init__(self, most: int = MOST_RECORDS) -> None:
        """Begin without a page; no page will have more than `most` records."""
        self._most = most
        self._samples: deque[_Sample] = deque(maxlen=_REMEMBERED)
        self._sent = 0.0
        self._made = 0.0
        self._largest = FIRST_PAGE

    @property
    def fixed(self) -> float:
        """Fixed time of a page, in seconds."""
        times = [max(s.first - self._made * s.records, 0.0) for s in self._samples]
        return median_low(times) if times else 0.0

    @property
    def each(self) -> float:
        """Time per record, in seconds."""
        return self._sent + self._made

    @property
    def size(self) -> int:
        """Number of records in the next page."""
        fixed = self.fixed
        short = SHORT - fixed
        long = max(LONG - fixed, _RECORDS_OF_LONG)
        return self._count(max(short, min(fixed, long)), SMALLEST_PAGE)

    @property
    def probe(self) -> int:
        """Number of records in a request for a single one.

        On a slow meter neighbors cost little beside the fixed time.
        """
        if not self.each and self.fixed < SHORT:
            return 1
        return self._count(self.fixed / 2, 1)

    def _count(self, seconds: float, least: int) -> int:
        most = self._most if self.fixed > SHORT else min(self._most, _ENOUGH)
        count = seconds / self.each if self.each else most
        return int(min(max(count, least), self._largest, most))

    def learn(self, records: int, first: float, whole: float) -> None:
        """Learn from a page: seconds until its first and until its last byte."""
        sample = _Sample(records, first, max(whole - first, 0.0))
        self._samples.append(sample)
        # The time of a few records says little about each of them.
        if records >= _FEW or not self._sent:
            self._sent = sample.rest / max(records, 1)
        self._made = self._made_each()
        # Sizes grow in steps: a page beyond the meter's power would be lost.
        self._largest = max(_GROWTH * records, self._largest)

    def shrink(self, records: int) -> None:
        """Halve the size of the next page after a lost one."""
        self._largest = min(self._largest, max(records // 2, SMALLEST_PAGE))

    def _made_each(self) -> float:
        """Return the part of each record in the time until the first byte.

        A server may prepare the whole answer before it sends any of it.
        """
        # A single request may be slow without a reason: the smallest slope counts.
        slopes = [
            (large.first - small.first) / (large.records - small.records)
            for small, large in map(sorted, combinations(self._samples, 2))
            if large.records >= _DIFFERENT * max(small.records, 1)
        ]
        # Without comparable pages, a smaller estimate leads to larger pages.
        return max(min(slopes), 0.0) if slopes else self._made / 2
