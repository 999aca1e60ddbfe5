"""Intervals of demand: the energy between two records, or two live readings.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC by the meter's clock,
energies are Wh, demands kW. Only import counts.

The intervals are those of the meter's data logger: each record has the registers at
the end of one. Only the time between two consecutive records is an interval:

    10:00  10:15  10:30         11:07  11:15  11:30      end of each record
      |------|------|  no power   |------|------|
       demand demand               none    demand

Without a logger, an interval is made of the live registers at its begin and end.
"""

from collections.abc import Iterator
from datetime import datetime, tzinfo
from typing import Final, NamedTuple

from .backfill.times import HOUR
from .emu.logs import COLUMNS, USUAL_INTERVAL, LoggerStatus, Record
from .emu.readings import CLOCK_RESOLUTION
from .emu.registers import BY_KEY

LONGEST_INTERVAL: Final = HOUR

_IMPORT: Final = tuple(
    position
    for position, quantity in enumerate(COLUMNS)
    if quantity.key in ("energy_import_t1", "energy_import_t2")
)
_MOST_KW: Final = BY_KEY["active_power"].limit
_LATE: Final = 600
"""Longest time from the end of an interval until its record is read, in seconds.

Much longer than `LATENCY`: `meter_log` looks every five minutes, and a look may fail.
"""
_LONGEST_PAUSE: Final = 60.0
"""Longest pause between live readings in a fully observed interval, in seconds."""
_CLOCK_JITTER: Final = 2 * CLOCK_RESOLUTION.total_seconds()
_STEP: Final = int(CLOCK_RESOLUTION.total_seconds())

type Month = tuple[int, int]
"""Year and month."""


class Interval(NamedTuple):
    """A complete interval: its end, its length in seconds, its energy in Wh."""

    end: int
    seconds: int
    energy: float

    @property
    def begin(self) -> int:
        """Begin of the interval."""
        return self.end - self.seconds

    @property
    def fresh_until(self) -> int:
        """Latest time at which the next interval is known."""
        return self.end + 2 * self.seconds + _LATE

    @property
    def demand(self) -> float:
        """Mean power in kW, to the W."""
        return round(self.energy * 3.6 / self.seconds, 3)


def month_of(at: float, zone: tzinfo) -> Month:
    """Return the month of a time."""
    local = datetime.fromtimestamp(at, zone)
    return local.year, local.month


def month_begin(month: Month, zone: tzinfo) -> int:
    """Return the begin of a month."""
    return int(datetime(*month, 1, tzinfo=zone).timestamp())


def next_month(month: Month, months: int = 1) -> Month:
    """Return the month a number of months later, or earlier if negative."""
    year, number = divmod(12 * month[0] + month[1] - 1 + months, 12)
    return year, number + 1


def imported(record: Record) -> int:
    """Return the sum of a record's import registers in Wh."""
    return sum(record.values[position] for position in _IMPORT)


class LoggedIntervals:
    """Makes intervals of logger records, in the order of their index.

    `seconds` is the learned length of an interval. One interval of another length
    means a missing or late record; two in a row mean another configuration.
    """

    def __init__(self, seconds: int = USUAL_INTERVAL) -> None:
        """Begin without a record."""
        self.seconds = seconds
        self.last: Record | None = None
        self._other: Interval | None = None
        """The newest interval, if its length differs: perhaps the first of a series."""

    def feed(self, record: Record) -> Iterator[Interval]:
        """Yield the intervals completed by another record."""
        previous, self.last = self.last, record
        other, self._other = self._other, None
        found = previous and _interval(previous, record)
        if not found:
            return
        if found.seconds == self.seconds:
            yield found
        elif record.status & LoggerStatus.POWER_FAILURE:
            # The interval was cut short, not configured otherwise.
            return
        elif other and other.seconds == found.seconds:
            self.seconds = found.seconds
            yield other
            yield found
        else:
            self._other = found


def _interval(previous: Record, record: Record) -> Interval | None:
    """Return the interval between two records; None if they are not consecutive."""
    seconds = record.at - previous.at
    energies = [record.values[p] - previous.values[p] for p in _IMPORT]
    if (
        record.index != previous.index + 1
        or not 0 < seconds <= LONGEST_INTERVAL
        # The clock was set: the length is not the difference of the stamps.
        or record.status & LoggerStatus.TIME_CHANGED
        or min(energies) < 0
    ):
        return None
    interval = Interval(record.at, seconds, sum(energies))
    return interval if interval.demand <= _MOST_KW else None


class LiveIntervals:
    """Makes intervals of live readings, by the meter's clock.

    `begin` is the begin of the running interval and its register in Wh; None if it
    was not observed.
    """

    def __init__(self) -> None:
        """Begin without a reading, with the usual length."""
        self.begin: tuple[int, float] | None = None
        self.seconds = USUAL_INTERVAL
        self._remainder = 0
        """Seconds: the end of each interval, modulo its length."""
        self._previous: tuple[int, float, float] | None = None

    def follow(self, end: int, seconds: int) -> None:
        """Adopt the length and remainder of a logged interval, given by its end."""
        if (seconds, end % seconds) != (self.seconds, self._remainder):
            self.seconds, self._remainder = seconds, end % seconds
            self.begin = None

    def begin_of(self, at: float) -> int:
        """Return the begin of the interval around a time."""
        return (
            int(at - self._remainder) // self.seconds * self.seconds + self._remainder
        )

    def feed(self, at: int, now: float, register: float) -> Interval | None:
        """Return the completed interval, if it was fully observed.

        `at` is the meter's clock, `now` seconds of a monotonic clock, `register` Wh.
        """
        # The registers are those of the last step of the meter's resolution.
        at -= at % _STEP
        previous, self._previous = self._previous, (at, now, register)
        start = self.begin_of(at)
        if previous is None or not _continues(previous, at, now, register):
            self.begin = (start, register) if at == start else None
            return None
        previous_at, _, previous_register = previous
        if start <= (started := self.begin_of(previous_at)):
            return None
        # The register at the border lies between the two readings around it.
        share = (start - previous_at) / (at - previous_at)
        border = previous_register + share * (register - previous_register)
        begin, self.begin = self.begin, (start, border)
        if begin and begin[0] == started == start - self.seconds:
            return Interval(start, self.seconds, border - begin[1])
        return None


def _continues(
    previous: tuple[int, float, float], at: int, now: float, register: float
) -> bool:
    """Return whether no pause, set clock or restarted register lies in between."""
    previous_at, previous_now, previous_register = previous
    passed = now - previous_now
    return (
        passed <= _LONGEST_PAUSE
        and abs(at - previous_at - passed) <= _CLOCK_JITTER
        and register >= previous_register
    )


def expected(
    begin: tuple[int, float], seconds: int, at: float, register: float, power: float
) -> float | None:
    """Return the demand expected at the end of the running interval, in kW.

    Calculated from the register at its begin and now, in Wh, and from the present
    power in kW for the rest of it. None if the register has restarted.
    """
    started, initial_register = begin
    if register < initial_register:
        return None
    rest = min(max(started + seconds - at, 0), seconds)
    energy = (register - initial_register) * 3.6 + max(power, 0) * rest
    return round(energy / seconds, 3)
