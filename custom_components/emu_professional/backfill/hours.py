"""Folds records of the data logger into hours.

Pure: no I/O, no clock. All times are seconds since 1970-01-01 UTC.

The stamp of a record marks the end of its interval. (The chapter "Read-Out Data Logger"
does not say so; in any case the registers are a snapshot at the stamp.) So the last
record of an hour usually ends with the hour, and has its registers:

    records      | 08:15 | 08:30 | 08:45 | 09:00 | 09:15 ...
    hour 08      ^...............................^ registers of the record of 09:00

A record across the border of two hours counts for both, weighted with its seconds.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf, sumprod
from typing import Final, NamedTuple

from ..emu.logs import REACH, REGISTER_COUNT, USUAL_INTERVAL, LoggerStatus, Record
from .records import Believed, RecordFilter
from .times import HOUR

_UNEVEN: Final = int(LoggerStatus.POWER_FAILURE | LoggerStatus.TIME_CHANGED)
"""Status of a record with an interval other than the time since the last record."""


class Piece(NamedTuple):
    """The part of a record's interval within one hour.

    `values` are the measurements, in the order of the columns, without registers.
    """

    begin: int
    end: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the load profile.

    `registers` are those of its last record, with the stamp `known`. If `known` is the
    end of the hour, they are exact. `means` are weighted with time, `minima`
    and `maxima` those of the records; all in the last digit of their columns. `status`
    has the status bits of all records. `lift` is the total loss of each register by
    restarts, from the first hour on until `known`. `pieces` are those of the records,
    in the order of logging, if they are kept.
    """

    start: int
    known: int
    registers: tuple[int, ...]
    means: tuple[float, ...]
    minima: tuple[int, ...]
    maxima: tuple[int, ...]
    status: int
    lift: tuple[int, ...]
    pieces: tuple[Piece, ...] = ()

    @property
    def end(self) -> int:
        """The time of its end."""
        return self.start + HOUR


class _OpenHour:
    """An hour with records still to come."""

    __slots__ = ("ends", "known", "lift", "registers", "seconds", "status", "values")

    def __init__(self) -> None:
        self.values: list[tuple[int, ...]] = []
        self.seconds: list[int] = []
        self.ends: list[int] = []
        self.status = 0
        self.registers: tuple[int, ...] | None = None
        self.lift: tuple[int, ...] = ()
        self.known = 0

    def closed(self, start: int, with_pieces: bool) -> Hour | None:
        """Return the hour, or None if no record has ended in it."""
        if self.registers is None:
            return None
        measured = list(zip(*self.values, strict=True))[REGISTER_COUNT:]
        return Hour(
            start=start,
            known=self.known,
            registers=self.registers,
            means=tuple(self._means(measured)),
            minima=tuple(map(min, measured)),
            maxima=tuple(map(max, measured)),
            status=self.status,
            lift=self.lift,
            pieces=tuple(self._pieces()) if with_pieces else (),
        )

    def _pieces(self) -> Iterator[Piece]:
        for values, seconds, end in zip(
            self.values, self.seconds, self.ends, strict=True
        ):
            yield Piece(end - seconds, end, values[REGISTER_COUNT:])

    def _means(self, columns: list[tuple[int, ...]]) -> list[float]:
        """Return the means, weighted with time."""
        seconds = self.seconds
        # In nearly all hours the records have equal lengths: no weights are needed.
        if seconds.count(seconds[0]) == len(seconds):
            return [sum(column) / len(column) for column in columns]
        weight = sum(seconds)
        return [sumprod(column, seconds) / weight for column in columns]


class Folding:
    """Folds a stream of records, in the order of their index, into hours.

    The hours of about one day stay open, in case the clock is set back by less. Hours
    from `pieces_since` on keep the pieces of their records, others not, for the sake
    of memory. `filter` counts the rejected records.
    """

    def __init__(
        self, serial_number: str, latest: int, *, pieces_since: float = inf
    ) -> None:
        """Initialize for the records of a meter until the latest plausible stamp."""
        self.filter = RecordFilter(serial_number, latest)
        self._pieces_since = pieces_since
        self._open: dict[int, _OpenHour] = {}
        self._before: Record | None = None
        self._interval = USUAL_INTERVAL

    def feed(self, records: Iterable[Record]) -> Iterator[Hour]:
        """Yield the hours without any more records to come."""
        for record in records:
            for believed in self.filter.feed(record):
                yield from self._fold(believed)

    def close(self) -> Iterator[Hour]:
        """Yield the open hours; the last one may lack records of the future."""
        for believed in self.filter.close():
            yield from self._fold(believed)
        yield from self._closed(list(self._open))

    def _fold(self, believed: Believed) -> Iterator[Hour]:
        record, lift = believed
        self._forget_after(record)
        for start, end, seconds in self._parts(record):
            if (hour := self._open.get(start)) is None:
                hour = self._open[start] = _OpenHour()
            hour.values.append(record.values)
            hour.seconds.append(seconds)
            hour.ends.append(end)
        last = self._open[_hour_that_ends_with(record.at)]
        last.registers = record.values[:REGISTER_COUNT]
        last.lift = lift
        last.known = record.at
        last.status |= record.status
        self._before = record
        # No record comes for older hours, however the clock is set.
        if len(self._open) > REACH // HOUR + 1:
            yield from self._closed(
                [start for start in self._open if start + HOUR < record.at - REACH]
            )

    def _forget_after(self, record: Record) -> None:
        """Drop hours after the stamp of a record: the clock was set back from them."""
        if self._before is None or self._before.at <= record.at:
            return
        for start in [start for start in self._open if start >= record.at]:
            del self._open[start]

    def _parts(self, record: Record) -> Iterator[tuple[int, int, int]]:
        """Yield the hours of a record, each with the end of its piece and its seconds."""
        begin = record.at - self._covered(record)
        end = record.at
        while begin < end:
            start = _hour_that_ends_with(end)
            yield start, end, end - max(begin, start)
            end = start

    def _covered(self, record: Record) -> int:
        """Return the seconds of a record's interval, without those of the last record.

        After the clock was set back its interval is unknown, but the records before its
        stamp may be right: it begins at the last one in its hour, or with its hour.
        """
        if self._before is None:
            return self._interval
        passed = record.at - self._before.at
        if passed <= 0:
            start = _hour_that_ends_with(record.at)
            ends = self._open[start].ends if start in self._open else ()
            begin = max((end for end in ends if end < record.at), default=start)
            return min(self._interval, record.at - begin)
        is_next = record.index == self._before.index + 1
        # After a gap the interval is unknown: the last known one is the best guess.
        if is_next and passed <= HOUR and not record.status & _UNEVEN:
            self._interval = passed
        return min(self._interval, passed)

    def _closed(self, starts: Iterable[int]) -> Iterator[Hour]:
        for start in starts:
            with_pieces = start >= self._pieces_since
            if hour := self._open.pop(start).closed(start, with_pieces):
                yield hour


def _hour_that_ends_with(at: int) -> int:
    """Return the start of the hour of an interval with this end."""
    return (at - 1) // HOUR * HOUR
