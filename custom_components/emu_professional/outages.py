"""When the meter was not observed.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC by Home Assistant's
clock.

Each complete poll is an observation. More than a minute without one is an outage,
whether Home Assistant, the network or the meter was off:

    observations  | o o o o o                     o o o o o
    outage                  ^.....................^
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

_HOUR: Final = 3600
_SHORTEST: Final = timedelta(seconds=60)


class Outage(NamedTuple):
    """A time without observation of the meter by Home Assistant."""

    since: int
    until: int

    @property
    def is_long(self) -> bool:
        """Whether it contains a whole hour: its live row has no data at all."""
        hours = self.until // _HOUR - self.since // _HOUR
        return hours > 1


class Outages:
    """Outages in order, overlapping and adjacent ones merged."""

    def __init__(self, times: Iterable[tuple[int, int]]) -> None:
        """Merge times, each a pair of begin and end."""
        self._outages: list[Outage] = []
        for since, until in sorted(times):
            if self._outages and since <= self._outages[-1].until:
                since, end = self._outages.pop()
                until = max(until, end)
            self._outages.append(Outage(since, until))
        self._ends = [outage.until for outage in self._outages]

    def begin(self, at: int) -> int:
        """Return the begin of the outage around a time, or the time itself."""
        following = self._ending_after(at)
        return min(at, following[0].since) if following else at

    def seconds_within(self, since: int, until: int) -> int:
        """Return for how many seconds of a time the meter was not observed."""
        seconds = 0
        for outage in self._ending_after(since):
            if outage.since >= until:
                break
            seconds += min(until, outage.until) - max(since, outage.since)
        return seconds

    def _ending_after(self, at: int) -> Sequence[Outage]:
        return self._outages[bisect_right(self._ends, at) :]


def outage_between(last: datetime | None, now: datetime) -> Outage | None:
    """Return the outage between two observations, or None if they are close.

    None as well without a last observation: a new meter was never observed before.
    """
    if last is None or now - last <= _SHORTEST:
        return None
    return Outage(int(last.timestamp()), int(now.timestamp()))


def lost_time(outages: Iterable[Outage], logger_begins: int) -> Outage | None:
    """Return the time of lost hours, or None if no hour is lost.

    Lost are the hours of outages before the oldest record of the logger.
    """
    lost = [
        outage
        for outage in outages
        if outage.since + _HOUR < min(outage.until, logger_begins)
    ]
    if not lost:
        return None
    since = min(outage.since for outage in lost)
    until = max(outage.until for outage in lost)
    return Outage(since, min(until, logger_begins))
