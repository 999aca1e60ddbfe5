"""Combines the observed rows of a measurement with its logged values.

Pure: no I/O, no clock. Values are in the last digit of their quantity, times in
seconds since 1970-01-01 UTC.

How it works
------------
Home Assistant observes a measurement every few seconds and compiles a row for every
period of five minutes, and a row for every hour from those. The logger has one value
for every interval of usually 15 minutes. For an outage Home Assistant has no rows, or
flat ones: its catch-up repeats the last value before:

    records     |     R1      |     R2      |     R3      |     R4      |
    periods     | o | o | o | o | p | m | m | m | m | p | o | o |
                                off ^...............^ on

1. Observed periods (o) stay. In an outage that was noted too long, as after a crash, a
   row that is not flat was observed.
2. Missed periods (m) get the mean, minimum and maximum of the records over them. If
   nobody noted the outage, they are those that repeat the value before, in an hour
   with the wrong energy, or one of the same flat line.
3. The mean of a partly observed period (p) is the one of its larger part. Its extremes
   are those of both: an observed extreme always stays.
4. The row of an hour is made of its periods. The recorder purges periods after some
   days: the row of an older hour combines the logger's mean with its own extremes.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import fsum, sumprod
from typing import Final, NamedTuple

from ..outages import Outages
from .hours import Hour, Piece
from .times import HOUR, PERIOD

_EQUAL: Final = 1e-6
_RELATIVE: Final = 1e-12
"""Less than the last digit, more than the rounding of floating point."""


class Mean(NamedTuple):
    """A row of a measurement's statistic, of an hour or of a period."""

    start: int
    mean: float
    minimum: float
    maximum: float

    @property
    def is_flat(self) -> bool:
        """Whether minimum and maximum are equal, as in rows of an outage."""
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

    `periods` are its five-minute rows, stored since `periods_since` (None: there are
    none). Later rows than `compiled` must not be written: the recorder is still to
    compile them.
    """

    unit: str | None
    hours: Mapping[int, Mean] = field(default_factory=dict)
    periods: Mapping[int, Mean] = field(default_factory=dict)
    periods_since: int | None = None
    compiled: int = 0


@dataclass(frozen=True, slots=True)
class MeansPlan:
    """The rows to write; they replace stored rows with the same start."""

    hours: tuple[Mean, ...] = ()
    periods: tuple[Mean, ...] = ()


@dataclass(frozen=True, slots=True)
class MeanProfile:
    """The logged hours of a measurement around a window.

    `column` is the position of the measurement in the means of its `hours`. Of hours
    from `until` on only periods are filled: they are not over, or not logged to their
    end.
    """

    hours: Sequence[Hour]
    column: int
    until: int


@dataclass(frozen=True, slots=True)
class Unobserved:
    """When Home Assistant did not observe the meter.

    `outages` are the noted ones. `wrong` has the starts of hours with the wrong energy
    in the statistics of registers: those without a noted outage had one nobody noted.
    """

    outages: Outages
    wrong: Iterable[int] = ()


def plan_means(
    profile: MeanProfile,
    stored: StoredMeans,
    unobserved: Unobserved,
    *,
    rebuild: bool,
) -> MeansPlan:
    """Return the rows to complete a measurement's statistic.

    In rebuild mode the mean of every hour follows the logger.
    """
    wrong = _wrong_hours(unobserved.wrong, stored.hours)
    measurement = _Measurement(
        profile.column, stored, unobserved.outages, wrong, rebuild
    )
    hours, periods = [], []
    for hour in profile.hours:
        parts = measurement.periods(hour)
        periods += [
            part.row
            for part in parts
            if part.row is not None
            and part.row.start + PERIOD <= stored.compiled
            and _differs(part.row, stored.periods)
        ]
        if hour.start < profile.until:
            row = measurement.hour(hour, parts)
            if _differs(row, stored.hours):
                hours.append(row)
    return MeansPlan(tuple(hours), tuple(periods))


class _Period(NamedTuple):
    """A period of an hour as it will be, `row` None if there is no data at all.

    A row counts for its whole period, even if only a part of it was logged. Home
    Assistant counts its own rows like this, and ours as soon as they are stored.
    """

    row: Mean | None
    is_observed: bool


@dataclass(frozen=True, slots=True)
class _Measurement:
    """Combines the stored rows of one measurement with its logged values."""

    column: int
    stored: StoredMeans
    outages: Outages
    wrong: Container[int]
    rebuild: bool

    def periods(self, hour: Hour) -> list[_Period]:
        """Return the periods of an hour, or none if its rows are purged."""
        since = self.stored.periods_since
        if since is None or hour.start < since:
            return []
        return [self._period(start, hour) for start in _periods_of(hour.start)]

    def _period(self, start: int, hour: Hour) -> _Period:
        stored, outages = self.stored.periods, self.outages
        row = stored.get(start)
        noted = missed = PERIOD
        if row is not None:
            noted = missed = outages.seconds_within(start, start + PERIOD)
            is_wrong = hour.start in self.wrong and not self._has_outage(hour)
            if is_wrong and _repeats(row, stored.get(start - PERIOD)):
                # The catch-up of the recorder repeats the last value of an outage.
                missed = PERIOD
        if 2 * missed < PERIOD:
            return _Period(row, is_observed=True)
        logged = _logged(start, hour.pieces, self.column)
        # Without a record the row stays. It must count as observed, as it will in the
        # next run: then the registers say no longer that the hour is wrong.
        if logged is None and noted < PERIOD:
            return _Period(row, is_observed=True)
        if row and missed == PERIOD and self._was_observed(row, hour.pieces):
            return _Period(row, is_observed=True)
        if row and logged and missed < PERIOD:
            # Its mean is not mixed with the logger's: the next run would mix it again.
            return _Period(logged.with_extremes_of([row]), is_observed=False)
        return _Period(logged, is_observed=False)

    def _was_observed(self, row: Mean, pieces: Sequence[Piece]) -> bool:
        """Return whether a period in an outage has values that nobody logged.

        The catch-up of the recorder makes flat rows, and our own ones of records.
        """
        logged = [piece.values[self.column] for piece in pieces]
        return not row.is_flat and not all(
            any(_is_equal(extreme, value) for value in logged)
            for extreme in (row.minimum, row.maximum)
        )

    def hour(self, hour: Hour, periods: Sequence[_Period]) -> Mean:
        """Return the row of an hour as it must be."""
        start, column = hour.start, self.column
        logged = Mean(
            start, hour.means[column], hour.minima[column], hour.maxima[column]
        )
        row = self.stored.hours.get(start)
        is_suspect = self._is_suspect(hour)
        rows = [period.row for period in periods if period.row]
        if not rows:
            return _hour_alone(logged, row, is_suspect or self.rebuild)
        is_kept = any(period in self.stored.periods for period in _periods_of(start))
        # Without an outage, a period without any data is not taken for a missed one.
        counted = [period for period in periods if period.row or is_suspect]
        is_observed = all(period.is_observed for period in counted)
        if row and not self.rebuild and (is_observed or not (is_kept or is_suspect)):
            return row
        extremes = (*rows, *_unexplained(row, self.stored.periods))
        if self.rebuild:
            # In the next rebuild the outage of a row without a record is forgotten.
            unknown = self._stored_without_record(start, periods)
            return logged.with_extremes_of((*extremes, *unknown))
        mean = fsum(period.mean for period in rows) / len(rows)
        return rows[0]._replace(start=start, mean=mean).with_extremes_of(extremes)

    def _stored_without_record(
        self, hour: int, periods: Sequence[_Period]
    ) -> Iterator[Mean]:
        """Yield the stored rows of an outage of which there is no record."""
        stored = self.stored.periods
        for start, period in zip(_periods_of(hour), periods, strict=True):
            if period.row is None and start in stored:
                yield stored[start]

    def _is_suspect(self, hour: Hour) -> bool:
        """Return whether a part of an hour was not observed."""
        return hour.start in self.wrong or self._has_outage(hour)

    def _has_outage(self, hour: Hour) -> bool:
        """Return whether an outage was noted in an hour."""
        return self.outages.seconds_within(hour.start, hour.end) > 0


def _wrong_hours(wrong: Iterable[int], rows: Mapping[int, Mean]) -> Container[int]:
    """Return the wrong hours, and those that continue their flat lines.

    In an hour of an outage without any energy no register is wrong.
    """
    found = set(wrong)
    for hours in (sorted(rows), sorted(rows, reverse=True)):
        for before, start in pairwise(hours):
            if before in found and abs(start - before) == HOUR:
                row = rows[before]
                if row.is_flat and rows[start].is_like(row):
                    found.add(start)
    return found


def _repeats(row: Mean, before: Mean | None) -> bool:
    """Return whether a row may just repeat the last value of the row before."""
    return row.is_flat and (
        before is None or before.minimum - _EQUAL <= row.mean <= before.maximum + _EQUAL
    )


def _logged(start: int, pieces: Sequence[Piece], column: int) -> Mean | None:
    """Return the row of a period from its records, or None without any."""
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


def _hour_alone(logged: Mean, row: Mean | None, is_replaced: bool) -> Mean:
    """Return the row of an hour without stored periods."""
    if row is None:
        return logged
    if not is_replaced:
        return row
    # The extremes of a flat row are the last value before an outage.
    return logged if row.is_flat else logged.with_extremes_of([row])


def _unexplained(row: Mean | None, periods: Mapping[int, Mean]) -> Iterator[Mean]:
    """Yield the row of an hour with each extreme missing in its stored periods.

    Such an extreme was observed in a period without a row by now.
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
    if not _is_equal(row.minimum, smallest):
        yield row._replace(maximum=row.minimum)
    if not _is_equal(row.maximum, largest):
        yield row._replace(minimum=row.maximum)


def _periods_of(hour: int) -> range:
    return range(hour, hour + HOUR, PERIOD)


def _differs(row: Mean, rows: Mapping[int, Mean]) -> bool:
    """Return whether a row is not stored like this."""
    stored = rows.get(row.start)
    return stored is None or not row.is_like(stored)


def _is_equal(one: float, other: float) -> bool:
    return abs(one - other) <= _EQUAL + _RELATIVE * abs(one)
