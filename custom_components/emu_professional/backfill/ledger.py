"""What of a meter's statistics is settled, and what is still open.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC by Home Assistant's
clock.

What is noted here spares reading the logger again; it proves nothing about the rows.
Somebody may have put an older database back, or cleared a range. So the settled rows
of each month have a seal, their number and what they add up to, and a statistic whose
rows have another seal by now is filled again from that month on:

    months    | 1 | 2 | 3 | 4 | 5 | 6 ...| settled until here | open
    sealed    | a   b   c   d   e   f    |
    stored    | a   b   x   -   e   f    |   -> months 3 and 4 are filled again
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from math import isnan, nan
from typing import Any, Final, NamedTuple, Self

from ..outages import Outage
from .times import HOUR, PERIOD

SEALED: Final = 30 * 24 * HOUR
"""Seconds of rows that have one seal."""

_MANY: Final = 100
"""Outages; if nobody polls the meter but once in a while, there is one each time."""

_LATEST: Final = 1 << 40
"""Later than every time that a clock has shown."""
_MOST: Final = 1e300
_EQUAL: Final = 1e-2
_RELATIVE: Final = 1e-12
"""Less than the last digit, more than what databases lose when they add."""


class Seal(NamedTuple):
    """What the hourly rows of a month add up to, in last digits of their quantity.

    `total` is the sum of their states or means; `lowest` and `highest` are of the
    difference of sum and state, which only registers have. Rows that are gone, changed
    or shifted have another seal.
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
    """What is settled of the statistics of one meter, by the key of their quantity."""

    def __init__(self) -> None:
        """Begin with nothing settled."""
        self.settled: dict[str, int] = {}
        self.seals: dict[str, dict[int, Seal]] = {}
        self.outages: list[Outage] = []

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return what `as_dict` was made of.

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
        """Return what can be stored as JSON."""
        return {
            "settled": self.settled,
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
        """Note up to when statistics follow the logger."""
        for key in keys:
            self.settled[key] = max(self.settled.get(key, 0), until)

    def prune(self, active: Collection[str], now: int) -> None:
        """Forget what can't matter any more.

        `active` are the keys of the quantities that have a statistic now: others may
        never be settled further. No time lies in the future: Home Assistant's clock
        may have been ahead. Outages that overlap are one, and of very many those that
        nearly touch; none begins before everything that is settled.
        """
        self.settled = {key: min(at, now) for key, at in self.settled.items()}
        settled = min((self.settled.get(key, 0) for key in active), default=now)
        gap = -1 if len(self.outages) < _MANY else PERIOD
        merged: list[Outage] = []
        for since, until in sorted(self.outages):
            # Of an hour of which only the end is open, all outages are needed.
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
        """Return whether a statistic is not settled as far as there were outages."""
        settled = [self.settled.get(key, 0) for key in active]
        return any(outage.until > min(settled) for outage in self.outages if settled)

    def seal(
        self, key: str, seals: Mapping[int, Seal], since: int = 0, until: int = 1 << 40
    ) -> None:
        """Keep the seals of the months that a time touches, and drop gone ones."""
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
        """Yield the times, in whole months, whose rows are not those that were sealed.

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
        for bucket, following in pairwise([*buckets, buckets[-1] + 2]):
            if following != bucket + 1:
                yield begin * SEALED, (bucket + 1) * SEALED
                begin = following

    def unsettled(
        self, key: str, stored: Mapping[int, Seal], end: int, since: int = 0
    ) -> list[tuple[int, int]]:
        """Return the times of a statistic that must be compared with the logger.

        The last one lasts to `end`. `stored` are the seals of the rows as they are, of
        the months from `since` on.
        """
        times = list(self.broken(key, stored, since))
        settled = self.settled.get(key, 0)
        if times and times[-1][1] >= settled:
            settled = min(times.pop()[0], settled)
        return [*times, (settled, end)]


def _seal(rows: Any, *sums: Any) -> Seal:
    """Return a seal as it was stored. Raises TypeError or ValueError if it is none."""
    seal = Seal(int(rows), *(float(one) if abs(one) <= _MOST else nan for one in sums))
    if not 0 <= seal.rows <= SEALED // HOUR or any(map(isnan, seal)):
        raise ValueError("no seal")
    return seal


def _time(at: Any) -> int:
    """Return a time as it was stored. Raises TypeError or ValueError if it is none."""
    if not 0 <= (time := int(at)) <= _LATEST:
        raise ValueError("no time")
    return time
