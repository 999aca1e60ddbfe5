"""Folds records of the data logger into hours.

Pure: no I/O, no clock. All times are seconds since 1970-01-01 UTC. A record's
stamp marks the end of its interval (chapter "Read-Out Data Logger" leaves that
open; the registers are a snapshot at the stamp in any case).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf, sumprod
from typing import Final, NamedTuple

from ..emu.logs import REGISTERS, LoggerStatus, Record
from .records import REACH, Believed, RecordFilter
from .times import HOUR

_USUAL_INTERVAL: Final = 900
_UNEVEN: Final = int(LoggerStatus.POWER_FAILURE | LoggerStatus.TIME_CHANGED)
"""The status of a record whose interval is not the time since the one before."""


class Piece(NamedTuple):
    """The part of a record's interval that lies in one hour.

    `values` are the measured ones, in the order of the columns, without registers.
    """

    begin: int
    end: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the load profile.

    `registers` are those of the last record in it, whose stamp is `known`; a border
    is known exactly where that is the end of the hour. `means` are weighted with
    time, `minima` and `maxima` those of the records; all in the last digit of
    their columns. `status` has every status bit that was seen; `lift` is what each
    register has lost by restarts until `known`, since the first hour folded. `pieces`
    are those of its records, in the order in which they were logged, if they were
    asked for.
    """

    start: int
    known: int
    registers: tuple[int, ...]
    means: tuple[float, ...]
    minima: tuple[int, ...]
    maxima: tuple[int, ...]
    status: int
    lift: tuple[int, ...] = (0,) * REGISTERS
    pieces: tuple[Piece, ...] = ()

    @property
    def end(self) -> int:
        """The time at which it ends."""
        return self.start + HOUR


class _OpenHour:
    """An hour to which records may still come."""

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
        """Return the hour, if a record has ended in it."""
        if self.registers is None:
            return None
        measured = list(zip(*self.values, strict=True))[REGISTERS:]
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
            yield Piece(end - seconds, end, values[REGISTERS:])

    def _means(self, columns: list[tuple[int, ...]]) -> list[float]:
        """Return the means, weighted with time."""
        seconds = self.seconds
        # Nearly all: the records of an hour cover the same time each.
        if seconds.count(seconds[0]) == len(seconds):
            return [sum(column) / len(column) for column in columns]
        weight = sum(seconds)
        return [sumprod(column, seconds) / weight for column in columns]


class Folding:
    """Folds a stream of records, in the order of their index, into hours.

    Keeps the hours of about one day, so that a clock that was set back by less is
    no trouble. Hours from `pieces_since` on keep the pieces of their records: only
    those, for memory. `filter` says what was refused and why.
    """

    def __init__(
        self, serial_number: str, latest: int, *, pieces_since: float = inf
    ) -> None:
        """Fold what a meter logged until a time, and nothing later."""
        self.filter = RecordFilter(serial_number, latest)
        self._pieces_since = pieces_since
        self._open: dict[int, _OpenHour] = {}
        self._before: Record | None = None
        self._interval = _USUAL_INTERVAL

    def feed(self, records: Iterable[Record]) -> Iterator[Hour]:
        """Yield the hours to which no record will come any more."""
        for record in records:
            for believed in self.filter.feed(record):
                yield from self._fold(believed)

    def close(self) -> Iterator[Hour]:
        """Yield the hours that are left; the last may lack records still to come."""
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
        last.registers = record.values[:REGISTERS]
        last.lift = lift
        last.known = record.at
        last.status |= record.status
        self._before = record
        if len(self._open) > REACH // HOUR:
            yield from self._closed(
                [start for start in self._open if start < record.at - REACH]
            )

    def _forget_after(self, record: Record) -> None:
        """Forget hours that were logged before the clock was set back from them."""
        if self._before is None or self._before.at <= record.at:
            return
        for start in [start for start in self._open if start >= record.at]:
            del self._open[start]

    def _parts(self, record: Record) -> Iterator[tuple[int, int, int]]:
        """Yield the hours that a record covers: until when, and how many seconds."""
        begin = record.at - self._covered(record)
        end = record.at
        while begin < end:
            start = _hour_that_ends_with(end)
            yield start, end, end - max(begin, start)
            end = start

    def _covered(self, record: Record) -> int:
        """Return the seconds of a record's interval, none of which the last one has.

        Behind a clock that was set back they lie in the record's own hour: it may
        have another interval, and what was logged of earlier hours may be right.
        """
        if self._before is None:
            return self._interval
        passed = record.at - self._before.at
        if passed <= 0:
            return min(self._interval, record.at - _hour_that_ends_with(record.at))
        is_next = record.index == self._before.index + 1
        if is_next and passed <= HOUR and not record.status & _UNEVEN:
            self._interval = passed
        return min(self._interval, passed)

    def _closed(self, starts: Iterable[int]) -> Iterator[Hour]:
        for start in sorted(starts):
            with_pieces = start >= self._pieces_since
            if hour := self._open.pop(start).closed(start, with_pieces):
                yield hour


def _hour_that_ends_with(at: int) -> int:
    """Return the start of the hour in which an interval that ends then lies."""
    return (at - 1) // HOUR * HOUR
