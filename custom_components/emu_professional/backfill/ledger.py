"""The ledger of a meter: until when each statistic is settled.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC by Home Assistant's
clock.

The ledger spares reading the logger again, but it proves nothing about the rows: an
owner may have put an older database back, or cleared a range. So the settled rows of
each month (30 days) have a seal: their number and their total. If the rows of a month
have another seal by now, they are filled again:

    months    | 1 | 2 | 3 | 4 | 5 | 6 ...| settled until here | open
    sealed    | a   b   c   d   e   f    |
    stored    | a   b   x   -   e   f    |   -> months 3 and 4 are filled again
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from math import isnan, nan
from typing import Any, Final, NamedTuple, Self

from ..outages import Outage
from .times import END_OF_TIME, HOUR, PERIOD

SEALED: Final = 30 * 24 * HOUR
"""Seconds of the rows under one seal: a month."""

_MANY: Final = 100
"""Outages. If the meter is polled once in a while only, each poll ends one."""

_MOST: Final = 1e300
_EQUAL: Final = 1e-2
_RELATIVE: Final = 1e-12
"""Less than the last digit, more than the rounding of databases in a total."""


class Seal(NamedTuple):
    """The seal of the hourly rows of a month, in last digits of their quantity.

    `total` is the sum of their states or means. `lowest` and `highest` are those of the
    difference between sum and state, 0 for a measurement. Deleted, changed or shifted
    rows have another seal.
    """

    rows: int
    total: float
    lowest: float = 0
    highest: float = 0

    def is_like(self, other: Seal | None) -> bool:
        """Return whether both seal the same rows."""
        return other is not None and all(
            abs(one - another) <= _EQUAL + _RELATIVE * abs(one)
            for one, another in zip(self, other, strict=True)
        )


class Ledger:
    """The settled statistics of one meter, by the key of their quantity.

    Until its time in `settled`, each statistic follows the logger.
    """

    def __init__(self) -> None:
        """Initialize with nothing settled."""
        self.settled: dict[str, int] = {}
        self.seals: dict[str, dict[int, Seal]] = {}
        self.outages: list[Outage] = []

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the ledger from the data of `as_dict`.

        Raises KeyError, TypeError, ValueError or AttributeError for another shape.
        """
        ledger = cls()
        ledger.settled = {str(key): _time(at) for key, at in data["settled"].items()}
        ledger.outages = [
            Outage(_time(since), _time(until)) for since, until in data["silences"]
        ]
        ledger.seals = {
            str(key): {int(bucket): _seal(*seal) for bucket, seal in seals.items()}
            for key, seals in data.get("seals", {}).items()
        }
        return ledger

    def as_dict(self) -> dict[str, Any]:
        """Return the ledger as data for JSON."""
        return {
            "settled": self.settled,
            # The name of the outages since version 0.1.0: its files must be readable.
            "silences": [list(outage) for outage in self.outages],
            "seals": {
                key: {str(bucket): list(seal) for bucket, seal in seals.items()}
                for key, seals in self.seals.items()
            },
        }

    def note(self, outages: Iterable[Outage]) -> None:
        """Note outages."""
        self.outages += outages

    def settle(self, keys: Iterable[str], until: int) -> None:
        """Note until when statistics follow the logger."""
        for key in keys:
            self.settled[key] = max(self.settled.get(key, 0), until)

    def prune(self, active: Collection[str], now: int) -> None:
        """Drop settled outages, and merge overlapping ones.

        `active` are the keys of the quantities with a statistic now: others may never
        be settled further. Times in the future are cut: Home Assistant's clock may have
        been ahead. Of very many outages, nearby ones are merged as well.
        """
        self.settled = {key: min(at, now) for key, at in self.settled.items()}
        settled = min((self.settled.get(key, 0) for key in active), default=now)
        gap = -1 if len(self.outages) < _MANY else PERIOD
        merged: list[Outage] = []
        for since, until in sorted(self.outages):
            # The last settled hour may be read again, with all its outages.
            outage = Outage(max(since, settled - HOUR), min(until, now))
            if outage.since >= outage.until:
                continue
            if merged and outage.since <= merged[-1].until + gap:
                until = max(merged[-1].until, outage.until)
                merged[-1] = merged[-1]._replace(until=until)
            else:
                merged.append(outage)
        self.outages = merged

    def is_open(self, active: Collection[str]) -> bool:
        """Return whether an outage ends after the settled time of a statistic."""
        settled = [self.settled.get(key, 0) for key in active]
        return any(outage.until > min(settled) for outage in self.outages if settled)

    def seal(
        self,
        key: str,
        seals: Mapping[int, Seal],
        since: int = 0,
        until: int = END_OF_TIME,
    ) -> None:
        """Replace the seals of all months around a time."""
        own = self.seals.setdefault(key, {})
        for bucket in own.keys() | seals.keys():
            if not since < (bucket + 1) * SEALED or not bucket * SEALED < until:
                continue
            if bucket in seals:
                own[bucket] = seals[bucket]
            else:
                own.pop(bucket)

    def broken(
        self, key: str, stored: Mapping[int, Seal], since: int = 0
    ) -> Iterator[tuple[int, int]]:
        """Yield the times, in whole months, with other rows than the sealed ones.

        `stored` are the seals of the rows as they are, of the months from `since` on.
        """
        own = self.seals.get(key, {})
        buckets = [
            bucket
            for bucket in sorted(own)
            if bucket * SEALED >= since and not own[bucket].is_like(stored.get(bucket))
        ]
        if not buckets:
            return
        begin = buckets[0]
        # Months in a row are one time, and so one run.
        for bucket, following in pairwise([*buckets, buckets[-1] + 2]):
            if following != bucket + 1:
                yield begin * SEALED, (bucket + 1) * SEALED
                begin = following

    def unsettled(
        self, key: str, stored: Mapping[int, Seal], end: int, since: int = 0
    ) -> list[tuple[int, int]]:
        """Return the times of a statistic to compare with the logger.

        The last one ends at `end`. `stored` are the seals of the rows as they are, of
        the months from `since` on.
        """
        times = list(self.broken(key, stored, since))
        settled = self.settled.get(key, 0)
        # The last broken month continues into the open time: one run does both.
        if times and times[-1][1] >= settled:
            settled = min(times.pop()[0], settled)
        return [*times, (settled, end)]


def _seal(rows: Any, *sums: Any) -> Seal:
    """Return a stored seal. Raises TypeError or ValueError if it is none."""
    seal = Seal(int(rows), *(float(one) if abs(one) <= _MOST else nan for one in sums))
    if not 0 <= seal.rows <= SEALED // HOUR or any(map(isnan, seal)):
        raise ValueError("no seal")
    return seal


def _time(at: Any) -> int:
    """Return a stored time. Raises TypeError or ValueError if it is none."""
    if not 0 <= (time := int(at)) <= END_OF_TIME:
        raise ValueError("no time")
    return time
