"""Demand: the mean power of an interval, and the highest of each month.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC by the meter's clock,
energies are Wh, demands kW. Only import counts.

The intervals are those of the meter's data logger, whose records hold the registers
at the end of each. Only what lies between two records that follow each other is one:

    10:00  10:15  10:30         11:07  11:15  11:30      end of each record
      |------|------|  no power   |------|------|
       demand demand               none    demand

Without a logger, live registers are looked at where an interval begins and ends.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from copy import copy, deepcopy
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any, Final, NamedTuple

import voluptuous as vol

from .backfill.records import RecordFilter
from .backfill.times import HOUR
from .emu.logs import COLUMNS, REGISTERS, LoggerStatus, Record
from .emu.readings import CLOCK_RESOLUTION
from .emu.registers import BY_KEY

USUAL_INTERVAL: Final = 900
"""Seconds of an interval, unless the logger says otherwise."""

LONGEST_INTERVAL: Final = HOUR

_IMPORT: Final = tuple(
    position
    for position, quantity in enumerate(COLUMNS)
    if quantity.key in ("energy_import_t1", "energy_import_t2")
)
_MOST_KW: Final = BY_KEY["active_power"].limit
_MONTHS: Final = 13
"""Months whose peaks are kept."""
_TAIL: Final = 2
"""Records before the undecided ones with which a stored state begins."""
_VALUES: Final = REGISTERS + 1
"""Values of a record that are stored: the registers, and the power beside them."""
_LATE: Final = 600
"""Seconds after the end of an interval until its record may be read."""
_LONGEST_PAUSE: Final = 60.0
"""Seconds between two live readings after which the interval is not fully observed."""
_CLOCK_JITTER: Final = 2 * CLOCK_RESOLUTION.total_seconds()
_STEP: Final = int(CLOCK_RESOLUTION.total_seconds())

type Month = tuple[int, int]
"""Year and month."""


class Interval(NamedTuple):
    """An interval that is complete: when it ended, how long it was, what it took."""

    end: int
    seconds: int
    energy: float

    @property
    def begin(self) -> int:
        """When it began."""
        return self.end - self.seconds

    @property
    def fresh_until(self) -> int:
        """Until when it is the last one: then the next one should be known as well."""
        return self.end + 2 * self.seconds + _LATE

    @property
    def demand(self) -> float:
        """Its mean power in kW, to the W."""
        return round(self.energy * 3.6 / self.seconds, 3)


def month_of(at: float, zone: tzinfo) -> Month:
    """Return the month in which a time lies."""
    local = datetime.fromtimestamp(at, zone)
    return local.year, local.month


def month_begin(month: Month, zone: tzinfo) -> int:
    """Return when a month begins."""
    return int(datetime(*month, 1, tzinfo=zone).timestamp())


def next_month(month: Month, months: int = 1) -> Month:
    """Return the month that comes so many months later, or earlier if negative."""
    year, number = divmod(12 * month[0] + month[1] - 1 + months, 12)
    return year, number + 1


def imported(record: Record) -> int:
    """Return the energy that a record's registers of import add up to."""
    return sum(record.values[position] for position in _IMPORT)


class LoggedIntervals:
    """Makes intervals of a logger's records, in the order of their index.

    `seconds` is the length of an interval as far as it is learned. Another length
    that comes once means that a record is missing or late; twice in a row it means
    that the logger's interval was changed.
    """

    def __init__(self, seconds: int = USUAL_INTERVAL) -> None:
        """Begin without a record."""
        self.seconds = seconds
        self.last: Record | None = None
        self._other: Interval | None = None
        """The newest interval, if it has another length and may begin a series."""

    def feed(self, record: Record) -> Iterator[Interval]:
        """Yield the intervals that are known to be complete with another record."""
        before, self.last = self.last, record
        other, self._other = self._other, None
        found = before and _interval(before, record)
        if not found:
            return
        if found.seconds == self.seconds:
            yield found
        elif record.status & LoggerStatus.POWER_FAILURE:
            return
        elif other and other.seconds == found.seconds:
            self.seconds = found.seconds
            yield other
            yield found
        else:
            self._other = found


def _interval(before: Record, record: Record) -> Interval | None:
    """Return the time between two records, if it can be an interval.

    Where the clock was set in it, its length is not the difference of the stamps.
    """
    seconds = record.at - before.at
    energies = [record.values[p] - before.values[p] for p in _IMPORT]
    if (
        record.index != before.index + 1
        or not 0 < seconds <= LONGEST_INTERVAL
        or record.status & LoggerStatus.TIME_CHANGED
        or min(energies) < 0
    ):
        return None
    interval = Interval(record.at, seconds, sum(energies))
    return interval if interval.demand <= _MOST_KW else None


@dataclass(slots=True)
class Peaks:
    """The interval with the highest demand of each month, the earliest of equals.

    An interval belongs to the month in which it begins, in the owner's time zone.
    """

    zone: tzinfo
    by_month: dict[Month, Interval] = field(default_factory=dict)

    def add(self, interval: Interval) -> None:
        """Count an interval; twice is once."""
        month = month_of(interval.begin, self.zone)
        highest = self.by_month.get(month)
        if highest is None or _rank(interval) > _rank(highest):
            self.by_month[month] = interval
            for old in sorted(self.by_month)[:-_MONTHS]:
                del self.by_month[old]

    def copy(self) -> Peaks:
        """Return the same, to be changed on trial."""
        return Peaks(self.zone, dict(self.by_month))


def _rank(interval: Interval) -> tuple[float, int]:
    return interval.energy / interval.seconds, -interval.end


class LoggedDemand:
    """Demand from the records of a data logger, each of which is read once.

    The newest records are judged again with each one that follows: one that proves to
    be damaged counts no more. `position` is the index of the last record read,
    None before the first look. `last` is the last interval that is complete, and
    `record` the last record that can be believed.
    """

    def __init__(self, serial_number: str, zone: tzinfo) -> None:
        """Begin before the first look."""
        self.position: int | None = None
        self.peaks = Peaks(zone)
        self.last: Interval | None = None
        self._serial_number = serial_number
        self._settled = Peaks(zone)
        self._reset()

    def _reset(self) -> None:
        self._filter = RecordFilter(self._serial_number, latest=1 << 40)
        self._intervals = LoggedIntervals()
        self._judged = self._intervals
        self._last_settled: Interval | None = None
        self._tail: deque[Record] = deque(maxlen=_TAIL)
        self._undecided: list[Record] = []

    @property
    def seconds(self) -> int:
        """The length of an interval, as far as it is learned."""
        return self._judged.seconds

    @property
    def record(self) -> Record | None:
        """The last record that can be believed."""
        return self._judged.last

    def restart(self) -> None:
        """Forget how far the logger was read: it begins with another index now."""
        self.position = None
        self._settled = self.peaks.copy()
        self._reset()

    def read_until(self, index: int) -> None:
        """Note up to which record everything was read, whatever came of it."""
        self.position = max(index, index if self.position is None else self.position)

    def feed(self, records: Iterable[Record], latest: int) -> None:
        """Read records, in order; one of a later time can't be right."""
        for record in records:
            if self.position is not None and record.index <= self.position:
                continue
            self.position = record.index
            if record.at <= latest:
                self._take(record)
        self._judge()

    def _take(self, record: Record) -> None:
        self._undecided.append(record)
        for believed in self._filter.feed(record):
            self._settle(believed.record)

    def _settle(self, record: Record) -> None:
        self._tail.append(record)
        self._undecided = [r for r in self._undecided if r.index > record.index]
        for interval in self._intervals.feed(record):
            self._settled.add(interval)
            self._last_settled = interval

    def fed(self, records: Iterable[Record], latest: int) -> LoggedDemand:
        """Return what is known with more records, and leave this as it is."""
        demand = deepcopy(self)
        demand.feed(records, latest)
        return demand

    def _judge(self) -> None:
        """Find out what is known if nothing follows the records that came."""
        self.peaks = self._settled.copy()
        self.last = self._last_settled
        self._judged = copy(self._intervals)
        for believed in deepcopy(self._filter).close():
            for interval in self._judged.feed(believed.record):
                self.peaks.add(interval)
                self.last = interval

    def as_dict(self) -> dict[str, Any]:
        """Return what outlives a restart."""
        return {
            "position": self.position,
            "zone": str(self._settled.zone),
            "seconds": self._intervals.seconds,
            "last": self._last_settled,
            "records": [
                [record.at, record.index, record.status, *record.values[:_VALUES]]
                for record in (*self._tail, *self._undecided)
            ],
            "peaks": peaks_as_dict(self._settled),
        }

    @classmethod
    def from_dict(
        cls, stored: Mapping[str, Any], serial_number: str, zone: tzinfo
    ) -> LoggedDemand:
        """Return what was stored; nothing if months began at other times then."""
        demand = cls(serial_number, zone)
        if stored["zone"] != str(zone):
            return demand
        demand._settled = peaks_from_dict(stored["peaks"], zone)
        demand._intervals.seconds = stored["seconds"]
        if stored["last"] is not None:
            demand._last_settled = Interval(*stored["last"])
        for at, index, status, *values in stored["records"]:
            # Values that no demand is made of are not stored.
            values += [0] * (len(COLUMNS) - len(values))
            demand._take(Record(at, index, status, serial_number, tuple(values)))
        demand.position = stored["position"]
        demand._judge()
        return demand


def peaks_as_dict(peaks: Peaks) -> dict[str, list[float]]:
    """Return peaks as they are stored, by month."""
    return {
        f"{year}-{number:02}": list(interval)
        for (year, number), interval in peaks.by_month.items()
    }


def peaks_from_dict(stored: Mapping[str, Any], zone: tzinfo) -> Peaks:
    """Return peaks as they were stored."""
    months = {
        (int(name[:4]), int(name[5:])): Interval(*interval)
        for name, interval in stored.items()
    }
    return Peaks(zone, months)


_TIME: Final = vol.All(int, vol.Range(min=0, max=1 << 32))
_WHOLE: Final = vol.All(int, vol.Range(min=0, max=10**13))
_INTERVAL: Final = vol.ExactSequence(
    [
        _TIME,
        vol.All(int, vol.Range(min=1, max=LONGEST_INTERVAL)),
        vol.All(vol.Any(int, float), vol.Range(min=0, max=10**13)),
    ]
)
LAST: Final = vol.Schema(vol.Maybe(_INTERVAL))
"""The last interval, if any, as it is stored."""

PEAKS: Final = vol.Schema({vol.Match(r"^\d{4}-(0[1-9]|1[0-2])$"): _INTERVAL})
"""Peaks as they are stored."""

LOGGED: Final = vol.Schema(
    {
        vol.Required("position"): vol.Maybe(_WHOLE),
        vol.Required("zone"): str,
        vol.Required("seconds"): vol.All(int, vol.Range(min=1, max=LONGEST_INTERVAL)),
        vol.Required("last"): LAST,
        vol.Required("records"): [
            vol.ExactSequence(
                [_TIME, _WHOLE, vol.All(int, vol.Range(min=0, max=999))]
                + [_WHOLE] * REGISTERS
                + [vol.All(int, vol.Range(min=-(10**13), max=10**13))]
            )
        ],
        vol.Required("peaks"): PEAKS,
    },
    extra=vol.ALLOW_EXTRA,
)
"""What `LoggedDemand.as_dict` returns."""


class LiveIntervals:
    """Makes intervals of live readings, where they begin and end by the meter's clock.

    `begin` is the begin of the running interval and the register there, None where
    it was not observed.
    """

    def __init__(self) -> None:
        """Begin without a reading, with the usual intervals."""
        self.begin: tuple[int, float] | None = None
        self.seconds = USUAL_INTERVAL
        self._phase = 0
        self._before: tuple[int, float, float] | None = None

    def follow(self, end: int, seconds: int) -> None:
        """Take over a logger's intervals, one of which ends at a time."""
        if (seconds, end % seconds) != (self.seconds, self._phase):
            self.seconds, self._phase = seconds, end % seconds
            self.begin = None

    def begin_of(self, at: float) -> int:
        """Return when the interval begins in which a time lies."""
        return int(at - self._phase) // self.seconds * self.seconds + self._phase

    def feed(self, at: int, now: float, register: float) -> Interval | None:
        """Return the interval that has ended, if it was observed completely.

        `at` is the meter's clock, `now` seconds of any other one that is never set.
        The registers are those of the last step of `CLOCK_RESOLUTION`.
        """
        at -= at % _STEP
        before, self._before = self._before, (at, now, register)
        start = self.begin_of(at)
        if before is None or not _continues(before, at, now, register):
            self.begin = (start, register) if at == start else None
            return None
        before_at, _, before_register = before
        if start <= (started := self.begin_of(before_at)):
            return None
        share = (start - before_at) / (at - before_at)
        border = before_register + share * (register - before_register)
        begin, self.begin = self.begin, (start, border)
        if begin and begin[0] == started == start - self.seconds:
            return Interval(start, self.seconds, border - begin[1])
        return None


def _continues(
    before: tuple[int, float, float], at: int, now: float, register: float
) -> bool:
    """Return whether nothing was missed, and neither clock nor register restarted."""
    before_at, before_now, before_register = before
    passed = now - before_now
    return (
        passed <= _LONGEST_PAUSE
        and abs(at - before_at - passed) <= _CLOCK_JITTER
        and register >= before_register
    )


def expected(
    begin: tuple[int, float], seconds: int, at: float, register: float, power: float
) -> float | None:
    """Return what the demand of a running interval will come to, in kW.

    From the register at its begin, the one now, and the power now, in kW, for the
    rest of it. None if the register has restarted in between.
    """
    started, register_then = begin
    if register < register_then:
        return None
    rest = min(max(started + seconds - at, 0), seconds)
    energy = (register - register_then) * 3.6 + max(power, 0) * rest
    return round(energy / seconds, 3)
