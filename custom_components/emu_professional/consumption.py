"""Consumption of a meter in successive periods, calculated from registers.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC, energies the last
digit of their registers (Wh, varh). The registers at the border of two periods are
the end of one and the begin of the next, so periods add up:

    border        1                  2                  3
    records   x   |x  x  x  x     (no power)  x  x  x   x
              known at 1      known at 2, earlier      known at 3, exactly
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from itertools import pairwise
from math import inf
from typing import Final, NamedTuple

from .backfill.records import Believed, RecordFilter
from .backfill.times import HOUR
from .emu.logs import COLUMNS, REGISTER_COUNT, LoggerStatus, Record
from .intervals import Interval, LoggedIntervals, month_begin, month_of, next_month

REGISTER_KEYS: Final = tuple(quantity.key for quantity in COLUMNS[:REGISTER_COUNT])
"""The registers of a record, in its order."""

_RATIO: Final = (
    LoggerStatus.CURRENT_TRANSFORMER_CHANGED | LoggerStatus.VOLTAGE_TRANSFORMER_CHANGED
)
_USUAL: Final = {"hour": HOUR, "day": 24 * HOUR, "month": 730 * HOUR}


class Per(StrEnum):
    """Length of a period."""

    PERIOD = "period"
    """One period: the whole time asked for."""
    MONTH = "month"
    DAY = "day"
    HOUR = "hour"


class RegisterSource(StrEnum):
    """Origin of the registers of a period."""

    LOGGER = "logger"
    STATISTICS = "statistics"


class Known(NamedTuple):
    """The last known reading of a register at a time.

    `at` is its stamp, `value` the register, None if only its energy is known. `counted`
    goes on over restarts of the register; its zero is arbitrary, only differences are
    energies.
    """

    at: int
    value: float | None
    counted: float


type Registers = Mapping[str, Known]
"""Known registers by the key of their quantity."""


@dataclass(frozen=True, slots=True)
class Consumption:
    """Consumption of a period, as far as it is known.

    `source` is None if no source knows its registers. Only the logger has the highest
    demand and the numbers of records with a power failure or a changed transformer
    ratio, and of whole hours without a record; from another source they are None.
    """

    begin: int
    end: int
    source: RegisterSource | None = None
    at_begin: Registers = field(default_factory=dict)
    at_end: Registers = field(default_factory=dict)
    peak: Interval | None = None
    power_failures: int | None = None
    changed_ratios: int | None = None
    hours_without_record: int | None = None

    def energy(self, key: str) -> float | None:
        """Return the energy that a register counted, or None if it is not known."""
        begin, end = self.at_begin.get(key), self.at_end.get(key)
        return end.counted - begin.counted if begin and end else None


def borders(begin: int, end: int, per: Per, zone: tzinfo, most: int) -> list[int]:
    """Return the borders of periods in ascending order, `begin` and `end` included.

    Months, days and hours are those of a time zone; the first and last period may be shorter.
    After `most` periods one more border follows, `end`.
    """
    found = [begin]
    for border in _borders_after(begin, per, zone):
        if border >= end or len(found) > most:
            break
        found.append(border)
    return [*found, end]


def count(begin: int, end: int, per: Per) -> int:
    """Return the approximate number of periods."""
    return 1 if per is Per.PERIOD else -(-(end - begin) // _USUAL[per])


def _borders_after(begin: int, per: Per, zone: tzinfo) -> Iterator[int]:
    match per:
        case Per.HOUR:
            border = begin
            while True:
                # Where clocks are set by half an hour, that is a border as well.
                yield (border := _local_hour(border, zone) + HOUR)
        case Per.DAY:
            day = datetime.fromtimestamp(begin, zone).date()
            while True:
                day += timedelta(days=1)
                midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
                yield int(midnight.timestamp())
        case Per.MONTH:
            month = month_of(begin, zone)
            while True:
                month = next_month(month)
                yield month_begin(month, zone)


def _local_hour(at: int, zone: tzinfo) -> int:
    """Return the begin of the hour of a time, as the clocks of a zone show it."""
    local = datetime.fromtimestamp(at, zone)
    return at - 60 * local.minute - local.second


class LoggedConsumption:
    """Collects the consumption of periods from records of a data logger.

    The records must begin with one before the first border, and some more around
    both ends: a damaged record is recognized by its neighbours.
    """

    def __init__(
        self, borders: Sequence[int], serial_number: str, latest: int, zone: tzinfo
    ) -> None:
        """Begin without a record. A stamp later than `latest` is damaged."""
        self.filter = RecordFilter(serial_number, latest)
        self.newest: int | None = None
        """Stamp of the newest plausible record."""
        self._borders = borders
        self._intervals = LoggedIntervals()
        self._known: list[Believed | None] = [None] * len(borders)
        self._first: Believed | None = None
        self._peaks: dict[int, Interval] = {}
        self._failures: dict[int, int] = {}
        self._ratios: dict[int, int] = {}
        self._remainders = [_local_hour(border, zone) % HOUR for border in borders]
        """Seconds: the begin of the hours after each border, modulo an hour of UTC."""
        self._hours: set[int] = set()

    def feed(self, records: Iterable[Record]) -> None:
        """Add records in the order of their index."""
        for record in records:
            for believed in self.filter.feed(record):
                self._take(believed)

    def close(self) -> None:
        """Add the last records, which were waiting for the neighbours after them."""
        for believed in self.filter.close():
            self._take(believed)

    def _take(self, believed: Believed) -> None:
        record = believed.record
        self._first = self._first or believed
        self.newest = max(record.at, self.newest or 0)
        # A record at a border ends the period before it. Where the clock was set back,
        # several records have its stamp; the last one has the highest registers.
        number = bisect_left(self._borders, record.at)
        if number < len(self._borders):
            self._known[number] = believed
        if 0 < number < len(self._borders):
            # The record at the end of an hour is one of this hour.
            at = record.at - 1
            self._hours.add(at - (at - self._remainders[number - 1]) % HOUR)
            _count(self._failures, number, record.status & LoggerStatus.POWER_FAILURE)
            _count(self._ratios, number, record.status & _RATIO)
        for interval in self._intervals.feed(record):
            self._look_at(interval)

    def _look_at(self, interval: Interval) -> None:
        """Keep the highest interval of each period, the one in which it begins."""
        number = bisect_left(self._borders, interval.begin + 1)
        if not 0 < number < len(self._borders) or interval.end > self._borders[-1]:
            return
        highest = self._peaks.get(number)
        if highest is None or interval.demand > highest.demand:
            self._peaks[number] = interval

    def periods(self, now: int) -> Iterator[Consumption]:
        """Yield all periods, after `close`; those without registers have no source.

        `now` is the meter's time: hours that are not over can have no record yet.
        """
        known: Believed | None = None
        registers: list[Registers] = []
        for believed in self._known:
            known = believed or known
            registers.append({} if known is None else _registers(known))
        for number, (begin, end) in enumerate(pairwise(self._borders), 1):
            at_begin, at_end = registers[number - 1 : number + 1]
            if not at_begin and at_end and self._first:
                # The logger begins in this period: its first record is the earliest
                # known register.
                at_begin = _registers(self._first)
            if not at_end or (self.newest or 0) <= begin:
                yield Consumption(begin, end)
                continue
            first = begin + (self._remainders[number - 1] - begin) % HOUR
            hours = range(first, min(end, now) - HOUR + 1, HOUR)
            yield Consumption(
                begin,
                end,
                RegisterSource.LOGGER,
                at_begin,
                at_end,
                self._peaks.get(number),
                self._failures.get(number, 0),
                self._ratios.get(number, 0),
                sum(hour not in self._hours for hour in hours),
            )


def _count(counts: dict[int, int], number: int, bit: int) -> None:
    if bit:
        counts[number] = counts.get(number, 0) + 1


def _registers(believed: Believed) -> Registers:
    record, lift = believed
    return {
        key: Known(record.at, record.values[position], record.values[position] + lost)
        for position, (key, lost) in enumerate(zip(REGISTER_KEYS, lift, strict=True))
    }


def known_since(period: Consumption) -> float:
    """Return the earliest time at which all known registers of a period are known.

    Infinite if none is known.
    """
    return max((known.at for known in period.at_begin.values()), default=inf)


def reaches_back(period: Consumption) -> bool:
    """Return whether the registers are known at the begin of a period, or earlier."""
    return known_since(period) <= period.begin
