"""A meter that lives from second to second: what a logger's records should be.

Slow, without a line of the simulator's logger or registers: it only looks at the
power that the house takes in each second.
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from simulator import load
from simulator.clock import epoch
from simulator.history import (
    ClockChange,
    ClockSet,
    CurrentRatioChange,
    Event,
    ImpulseLengthChange,
    ImpulseRatioChange,
    IntervalChange,
    LogbookFull,
    ModuleMoved,
    NoSynchronization,
    PowerFailure,
    VoltageRatioChange,
)
from simulator.logger import Record
from simulator.values import Registers

SERIAL_NUMBER = "22350001"
DAY = 86_400
T1_HOURS = {**dict.fromkeys(range(5), (7, 20)), 5: (7, 13), 6: (0, 0)}
BITS = {
    CurrentRatioChange: 2,
    VoltageRatioChange: 4,
    ImpulseLengthChange: 8,
    ImpulseRatioChange: 16,
}
REGISTERS = tuple(Registers.__dataclass_fields__)
AVERAGED = tuple(
    [f"p_{phase}" for phase in ("L123", "L1", "L2", "L3")]
    + [f"i_{phase}" for phase in ("L123", "L1", "L2", "L3", "N")]
)
SHOWN = ("u_L1", "u_L2", "u_L3", "pf_L1", "pf_L2", "pf_L3", "f_L123")

type Rows = NDArray[np.int64]
type Flags = NDArray[np.bool_]


class PowerBySecond:
    """The power that a house takes in each second of a span."""

    def __init__(self, seed: int, begin: int, end: int) -> None:
        """Look at a span."""
        self.seconds = np.arange(begin, end)
        self.columns = np.empty((len(load.COLUMNS), end - begin), dtype=np.int64)
        self.high = np.empty(end - begin, dtype=np.bool_)
        household = load.household(seed)
        days = (self.seconds + 3600) // DAY
        for day in np.unique(days).tolist():
            values = household.day(household.pattern(day)).values
            of_day = self.seconds[days == day] + 3600 - day * DAY
            self.columns[:, days == day] = values[:, of_day // 5]
            first, last = T1_HOURS[(day + 3) % 7]
            t1 = (of_day >= first * 3600) & (of_day < last * 3600)
            self.high[days == day] = t1

    def row(self, name: str) -> Rows:
        """Return a column for each second."""
        row: Rows = self.columns[load.COLUMNS.index(name)]
        return row

    def registers(self, counted: Flags) -> Registers:
        """Return the registers after some of the seconds."""
        active, reactive = self.row("p_L123"), self.row("q_L123")
        sums = []
        for power in (active, -active, reactive, -reactive):
            for tariff in (self.high, ~self.high):
                sums += [int(power.clip(0)[tariff & counted].sum()) // 3600]
        return Registers(**dict(zip(REGISTERS, sums, strict=True)))

    def shown(self, name: str, at: int) -> int:
        """Return what the meter shows after a full step."""
        return int(self.row(name)[at - 5 - int(self.seconds[0])])

    def mean(self, name: str, begin: int, end: int) -> int:
        """Return the mean of a span, halves rounded up."""
        first = int(self.seconds[0])
        total = int(self.row(name)[begin - first : end - first].sum())
        return (2 * total + end - begin) // (2 * (end - begin))


@dataclass
class Settings:
    """What events change."""

    offset: int
    interval: int = 15
    full: bool = False
    bits: int = 0


class Life:
    """A meter's life, by the second."""

    def __init__(
        self, events: Sequence[Event], installed: int, end: int, clock_offset: int
    ) -> None:
        """Live from the installation until an end, included."""
        self.events = sorted(events, key=_begin)
        self.installed = installed
        self.end = end
        self.settings = Settings(clock_offset)
        begin = installed - 10
        self.meters = [
            (
                epoch(move.at),
                move.serial_number,
                PowerBySecond(move.seed, begin, end + 1),
            )
            for move in self.events
            if isinstance(move, ModuleMoved)
        ]
        self.meters.append((end + 1, SERIAL_NUMBER, PowerBySecond(1, begin, end + 1)))
        self.seconds = np.arange(begin, end + 1)
        self.changes = {
            at: list(group) for at, group in groupby(self.events, key=_begin)
        }
        self.lit = np.ones(len(self.seconds), dtype=np.bool_)
        self.unrecorded = ~self.lit
        for first, last in self.failures():
            self.lit &= (self.seconds < first) | (self.seconds >= last)
            self.unrecorded |= (self.seconds > first) & (self.seconds <= last)

    def failures(self) -> Iterator[tuple[int, int]]:
        """Yield begin and end of the power failures that do happen."""
        for event in self.events:
            if isinstance(event, PowerFailure):
                begin, end = (-(-epoch(at) // 5) * 5 for at in (event.begin, event.end))
                if begin < end:
                    yield begin, end

    def is_dark(self, at: int) -> bool:
        """Return whether there is no power in the second that begins then."""
        return not self.lit[at - int(self.seconds[0])]

    def records(self) -> Iterator[tuple[int, Record]]:
        """Yield each record after the second in which it was made."""
        index, since, settings = 0, self.installed, self.settings
        for at in sorted(self.changes):
            if at < self.installed:
                self.settle(at, remember=False)
        was_dark = self.is_dark(self.installed)
        for at in range(self.installed + 1, self.end + 1):
            self.settle(at - 1, remember=True)
            if any(until == at - 1 for until, _, _ in self.meters):
                since = at - 1
            if self.unrecorded[at - int(self.seconds[0])]:
                was_dark = True
                continue
            if was_dark:
                was_dark, since = False, at - 1
                settings.bits |= 32
            if (at + settings.offset) % (60 * settings.interval) == 0:
                index += 1
                yield at, self.record(index, since, at)
                settings.bits, since = 0, at

    def settle(self, at: int, *, remember: bool) -> None:
        """Let the events of a second happen, and remember their bits."""
        settings = self.settings
        for event in self.changes.get(at, ()):
            before = settings.offset
            if isinstance(event, ClockChange):
                settings.offset += event.seconds
            if isinstance(event, ClockSet):
                settings.offset = event.offset
            if isinstance(event, IntervalChange):
                settings.interval = event.minutes
            settings.full |= isinstance(event, LogbookFull)
            if remember:
                settings.bits |= (settings.offset != before) | BITS.get(type(event), 0)

    def record(self, index: int, since: int, at: int) -> Record:
        """Return the record of a span."""
        settings = self.settings
        serial_number, house = next(
            (serial_number, house)
            for until, serial_number, house in self.meters
            if at <= until
        )
        unsynchronized = any(
            epoch(event.begin) < at <= epoch(event.end)
            for event in self.events
            if isinstance(event, NoSynchronization)
        )
        counted = self.lit & (self.seconds >= self.installed) & (self.seconds < at)
        shown = at - at % 5
        while shown > self.installed and self.is_dark(shown - 5):
            shown -= 5
        return Record._make(
            (
                at + settings.offset,
                index,
                settings.bits | 64 * unsynchronized | 128 * settings.full,
                serial_number,
                *astuple(house.registers(counted)),
                *(house.mean(name, since, at) for name in AVERAGED),
                *(house.shown(name, shown) for name in SHOWN),
            )
        )


def _begin(event: Event) -> int:
    if isinstance(event, NoSynchronization | PowerFailure):
        return epoch(event.begin)
    return epoch(event.at)
