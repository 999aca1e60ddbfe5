"""Puts what Home Assistant observed of a measurement and what the meter logged together.

Pure: no I/O, no clock. Values are in the last digit of their quantity, times in
seconds since 1970-01-01 UTC.

Home Assistant observes a measurement every few seconds and compiles a row for every
five minutes, and a row for every hour from those. The logger has one value for every
interval of usually 15 minutes. While Home Assistant was off it has no rows, or flat
ones that its catch-up has made of the last value before:

    records     |     R1      |     R2      |     R3      |     R4      |
    periods     | o | o | o | o | p | m | m | m | m | p | o | o |
                                off ^...............^ on

Observed periods (o) stay. Missed ones (m) get mean, minimum and maximum of the records
that cover them. Of one that was partly observed (p) the larger part decides its mean;
an extreme that was observed stays. The hour follows from its periods. The recorder
purges periods after some days: of older hours the logger's mean is combined with the
extremes of the hour's own row.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, sumprod
from typing import Final, NamedTuple

from ..outages import Outages
from .hours import Hour, Piece
from .times import HOUR, PERIOD

_EQUAL: Final = 1e-6
_RELATIVE: Final = 1e-12
"""Less than the last digit, more than what floating point loses."""


class Mean(NamedTuple):
    """A row of a measurement's statistic, of an hour or of a period."""

    start: int
    mean: float
    minimum: float
    maximum: float

    @property
    def is_flat(self) -> bool:
        """Whether nothing changed, as in rows that repeat the last value."""
        return _is_equal(self.minimum, self.maximum)

    def is_like(self, other: Mean) -> bool:
        """Whether another row says the same."""
        return (
            _is_equal(self.mean, other.mean)
            and _is_equal(self.minimum, other.minimum)
            and _is_equal(self.maximum, other.maximum)
        )

    def with_extremes_of(self, others: Iterable[Mean]) -> Mean:
        """Return the row with the smallest minimum and the largest maximum."""
        rows = (self, *others)
        return self._replace(
            minimum=min(row.minimum for row in rows),
            maximum=max(row.maximum for row in rows),
        )


@dataclass(frozen=True, slots=True)
class StoredMeans:
    """The stored rows of a measurement's statistic, by their start, and its unit.

    `periods` are its five-minute rows, which are kept `periods_since`: None where
    there are none. What ends after `compiled` is not compiled yet and can't be written.
    """

    unit: str | None
    hours: Mapping[int, Mean] = field(default_factory=dict)
    periods: Mapping[int, Mean] = field(default_factory=dict)
    periods_since: int | None = None
    compiled: int = 0


@dataclass(frozen=True, slots=True)
class MeansPlan:
    """The rows that must be written, over those of their time if there are any."""

    hours: tuple[Mean, ...] = ()
    periods: tuple[Mean, ...] = ()


def plan_means(
    logged: Iterable[Hour],
    column: int,
    stored: StoredMeans,
    outages: Outages,
    *,
    until: int,
    wrong: Container[int] = (),
    rebuild: bool = False,
) -> MeansPlan:
    """Return what makes a measurement's rows complete.

    `column` is the position of the measurement in the logged hours. Of those from
    `until` on only periods are filled: the hour is not over, or not logged to its end.
    `wrong` has the hours of which the registers say that they were not observed. With
    `rebuild` the mean of every hour follows the logger.
    """
    hours, periods = [], []
    for hour in logged:
        parts = _parts(hour, column, stored, outages, hour.start in wrong)
        periods += [
            part.row
            for part in parts
            if part.row is not None
            and not part.is_observed
            and part.row.start + PERIOD <= stored.compiled
            and _differs(part.row, stored.periods)
        ]
        if hour.start < until:
            is_suspect = (
                hour.start in wrong or outages.seconds_within(hour.start, hour.end) > 0
            )
            row = _hour(hour, column, stored, parts, is_suspect, rebuild)
            if _differs(row, stored.hours):
                hours.append(row)
    return MeansPlan(tuple(hours), tuple(periods))


class _Part(NamedTuple):
    """A period of an hour as it will be, without a row where nobody knows anything.

    A row counts for all of its period, also where only a part of that was logged:
    so it does for Home Assistant, and here once it is stored.
    """

    row: Mean | None
    is_observed: bool


def _parts(
    hour: Hour, column: int, stored: StoredMeans, outages: Outages, is_wrong: bool
) -> list[_Part]:
    """Return the periods of an hour, or none if its rows are not kept any more."""
    since = stored.periods_since
    if since is None or hour.start < since or not hour.pieces:
        return []
    return [
        _part(start, hour, column, stored, outages, is_wrong)
        for start in _periods_of(hour.start)
    ]


def _part(
    start: int,
    hour: Hour,
    column: int,
    stored: StoredMeans,
    outages: Outages,
    is_wrong: bool,
) -> _Part:
    row = stored.periods.get(start)
    noted = missed = (
        PERIOD if row is None else outages.seconds_within(start, start + PERIOD)
    )
    if row and is_wrong and _repeats(row, stored.periods.get(start - PERIOD)):
        missed = PERIOD
    if row and 2 * missed < PERIOD:
        return _Part(row, is_observed=True)
    logged = _logged(start, hour.pieces, column)
    # What is not logged keeps its row, which must count the same next time: then the
    # registers do not say any more that the hour is wrong.
    if row and logged is None and noted < PERIOD:
        return _Part(row, is_observed=True)
    if row and logged and missed < PERIOD:
        # Mostly missed: mixing its mean with the logger's would mix again next time.
        return _Part(logged.with_extremes_of([row]), is_observed=False)
    return _Part(logged, is_observed=False)


def _repeats(row: Mean, before: Mean | None) -> bool:
    """Return whether a row may only repeat the last value of the row before."""
    return row.is_flat and (
        before is None or before.minimum - _EQUAL <= row.mean <= before.maximum + _EQUAL
    )


def _logged(start: int, pieces: Sequence[Piece], column: int) -> Mean | None:
    """Return what records say of a period, None if they say nothing."""
    covered = list(_covering(start, start + PERIOD, pieces, column))
    if not covered:
        return None
    seconds = [share for share, _ in covered]
    values = [value for _, value in covered]
    mean = sumprod(seconds, values) / sum(seconds)
    return Mean(start, mean, min(values), max(values))


def _covering(
    begin: int, end: int, pieces: Sequence[Piece], column: int
) -> Iterator[tuple[int, int]]:
    for piece in pieces:
        seconds = min(piece.end, end) - max(piece.begin, begin)
        if seconds > 0:
            yield seconds, piece.values[column]


def _hour(
    hour: Hour,
    column: int,
    stored: StoredMeans,
    parts: Sequence[_Part],
    is_suspect: bool,
    rebuild: bool,
) -> Mean:
    """Return the row of an hour as it must be."""
    start = hour.start
    logged = Mean(start, hour.means[column], hour.minima[column], hour.maxima[column])
    row = stored.hours.get(start)
    rows = [part.row for part in parts if part.row]
    if not rows:
        return _hour_alone(logged, row, is_suspect or rebuild)
    is_left = any(period in stored.periods for period in _periods_of(start))
    # Where nobody noted an outage, what is not known was not observed wrongly.
    known_parts = [part for part in parts if part.row or is_suspect]
    is_observed = is_left and all(part.is_observed for part in known_parts)
    if row and not rebuild and (is_observed or not (is_left or is_suspect)):
        return row
    kept = _unexplained(row, stored.periods)
    if rebuild:
        return logged.with_extremes_of((*rows, *kept))
    mean = fsum(period.mean for period in rows) / len(rows)
    return rows[0]._replace(start=start, mean=mean).with_extremes_of((*rows, *kept))


def _hour_alone(logged: Mean, row: Mean | None, is_replaced: bool) -> Mean:
    """Return the row of an hour none of whose periods are stored."""
    if row is None:
        return logged
    if not is_replaced:
        return row
    # The extremes of a flat row are the last value before an outage.
    return logged if row.is_flat else logged.with_extremes_of([row])


def _unexplained(row: Mean | None, periods: Mapping[int, Mean]) -> Iterator[Mean]:
    """Yield the hour's row with the extremes that none of its periods has.

    They were observed in periods whose rows are gone by now.
    """
    if row is None or row.is_flat:
        return
    starts = _periods_of(row.start)
    rows = [periods[start] for start in starts if start in periods]
    if not rows:
        yield row
        return
    smallest = min(period.minimum for period in rows)
    largest = max(period.maximum for period in rows)
    if row.minimum < smallest and not _is_equal(row.minimum, smallest):
        yield row._replace(maximum=row.minimum)
    if row.maximum > largest and not _is_equal(row.maximum, largest):
        yield row._replace(minimum=row.maximum)


def _periods_of(hour: int) -> range:
    return range(hour, hour + HOUR, PERIOD)


def _differs(row: Mean, rows: Mapping[int, Mean]) -> bool:
    """Return whether a row is not stored like this."""
    stored = rows.get(row.start)
    return stored is None or not row.is_like(stored)


def _is_equal(one: float, other: float) -> bool:
    return abs(one - other) <= _EQUAL + _RELATIVE * abs(one)
