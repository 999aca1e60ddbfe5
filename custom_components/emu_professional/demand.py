"""The highest demand of each month, from the records of the data logger.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC by the meter's clock.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from copy import copy, deepcopy
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any, Final

import voluptuous as vol

from .backfill.records import RecordFilter
from .backfill.times import END_OF_TIME
from .emu.logs import ACTIVE_POWER, COLUMNS, REGISTER_COUNT, Record
from .intervals import LONGEST_INTERVAL, Interval, LoggedIntervals, Month, month_of

_MONTHS: Final = 13
"""Number of months with stored peaks."""
_TAIL: Final = 2
"""Stored records before the undecided ones: enough to judge the first of these."""


@dataclass(slots=True)
class Peaks:
    """The interval with the highest demand of each month, the earliest of equals.

    An interval belongs to the month of its begin, in Home Assistant's time zone.
    """

    zone: tzinfo
    by_month: dict[Month, Interval] = field(default_factory=dict)

    def add(self, interval: Interval) -> None:
        """Add an interval; adding it again changes nothing."""
        month = month_of(interval.begin, self.zone)
        highest = self.by_month.get(month)
        if highest is None or _rank(interval) > _rank(highest):
            self.by_month[month] = interval
            for old in sorted(self.by_month)[:-_MONTHS]:
                del self.by_month[old]

    def copy(self) -> Peaks:
        """Return an independent copy."""
        return Peaks(self.zone, dict(self.by_month))


def _rank(interval: Interval) -> tuple[float, int]:
    return interval.energy / interval.seconds, -interval.end


class LoggedDemand:
    """Demand from the records of a data logger, each read once.

    Whether a record is damaged shows only with the records after it. So the newest
    ones are undecided, and judged again with each further record. `position` is the
    index of the last record read, None before the first look; `last` is the last
    complete interval.
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
        # Records of the future are rejected by `feed`, with the clock of that moment.
        self._filter = RecordFilter(self._serial_number, latest=END_OF_TIME)
        self._intervals = LoggedIntervals()
        self._judged = self._intervals
        self._last_settled: Interval | None = None
        self._tail: deque[Record] = deque(maxlen=_TAIL)
        self._undecided: list[Record] = []

    @property
    def seconds(self) -> int:
        """Learned length of an interval."""
        return self._judged.seconds

    @property
    def record(self) -> Record | None:
        """Last plausible record."""
        return self._judged.last

    def restart(self) -> None:
        """Read the logger from its begin: it was erased, and its indices begin again."""
        self.position = None
        self._settled = self.peaks.copy()
        self._reset()

    def read_until(self, index: int) -> None:
        """Set the position to at least an index, also if its record was damaged."""
        self.position = max(index, index if self.position is None else self.position)

    def feed(self, records: Iterable[Record], latest: int) -> None:
        """Read records, in order; a record later than `latest` is ignored."""
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
        """Return a copy with more records."""
        # The event loop reads this object while a thread works on the copy.
        demand = deepcopy(self)
        demand.feed(records, latest)
        return demand

    def _judge(self) -> None:
        """Update peaks and last interval as if no further record came."""
        self.peaks = self._settled.copy()
        self.last = self._last_settled
        self._judged = copy(self._intervals)
        for believed in deepcopy(self._filter).close():
            for interval in self._judged.feed(believed.record):
                self.peaks.add(interval)
                self.last = interval

    def as_dict(self) -> dict[str, Any]:
        """Return the state as JSON can hold it."""
        return {
            "position": self.position,
            "zone": str(self._settled.zone),
            "seconds": self._intervals.seconds,
            "last": self._last_settled,
            "records": [_stored(record) for record in (*self._tail, *self._undecided)],
            "peaks": peaks_as_dict(self._settled),
        }

    @classmethod
    def from_dict(
        cls, stored: Mapping[str, Any], serial_number: str, zone: tzinfo
    ) -> LoggedDemand:
        """Return a stored state; an empty one if its time zone was another."""
        demand = cls(serial_number, zone)
        # In another zone the months begin at other times.
        if stored["zone"] != str(zone):
            return demand
        demand._settled = peaks_from_dict(stored["peaks"], zone)
        demand._intervals.seconds = stored["seconds"]
        if stored["last"] is not None:
            demand._last_settled = Interval(*stored["last"])
        for at, index, status, *registers, power in stored["records"]:
            # Values without a part in the demand are not stored.
            values = registers + [0] * (len(COLUMNS) - len(registers))
            values[ACTIVE_POWER] = power
            demand._take(Record(at, index, status, serial_number, tuple(values)))
        demand.position = stored["position"]
        demand._judge()
        return demand


def _stored(record: Record) -> list[int]:
    """Return a record as JSON can hold it: its registers, and its power after them."""
    registers = record.values[:REGISTER_COUNT]
    power = record.values[ACTIVE_POWER]
    return [record.at, record.index, record.status, *registers, power]


def peaks_as_dict(peaks: Peaks) -> dict[str, list[float]]:
    """Return peaks by month as JSON can hold them."""
    return {
        f"{year}-{number:02}": list(interval)
        for (year, number), interval in peaks.by_month.items()
    }


def peaks_from_dict(stored: Mapping[str, Any], zone: tzinfo) -> Peaks:
    """Return stored peaks."""
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
"""A stored last interval, or None."""

PEAKS: Final = vol.Schema({vol.Match(r"^\d{4}-(0[1-9]|1[0-2])$"): _INTERVAL})
"""Stored peaks."""

LOGGED: Final = vol.Schema(
    {
        vol.Required("position"): vol.Maybe(_WHOLE),
        vol.Required("zone"): str,
        vol.Required("seconds"): vol.All(int, vol.Range(min=1, max=LONGEST_INTERVAL)),
        vol.Required("last"): LAST,
        vol.Required("records"): [
            vol.ExactSequence(
                [_TIME, _WHOLE, vol.All(int, vol.Range(min=0, max=999))]
                + [_WHOLE] * REGISTER_COUNT
                + [vol.All(int, vol.Range(min=-(10**13), max=10**13))]
            )
        ],
        vol.Required("peaks"): PEAKS,
    },
    extra=vol.ALLOW_EXTRA,
)
"""A stored `LoggedDemand`."""
