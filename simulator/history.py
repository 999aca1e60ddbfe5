"""The events in a meter's life, in true time.

They change its clock, its registers and its records. In the second of an event the
record comes first, so that a new event never takes a record back. Live values of that
second are those after the event.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntFlag
from itertools import pairwise
from typing import NamedTuple

from .clock import Instant, epoch
from .load import STEP_SECONDS
from .values import Span

SECONDS_PER_MINUTE = 60
INTERVALS = range(1, 61)
"""Minutes between two records."""
LAST = 2**40
"""Last simulated epoch second."""


class Status(IntFlag):
    """Bits of a record (chapter "Definition of the Status-Codes")."""

    NO_CHANGE = 0
    TIME_CHANGED = 1
    CURRENT_RATIO_CHANGED = 2
    VOLTAGE_RATIO_CHANGED = 4
    IMPULSE_LENGTH_CHANGED = 8
    IMPULSE_RATIO_CHANGED = 16
    POWER_FAILURE = 32
    NO_SYNCHRONIZATION = 64
    LOGBOOK_FULL = 128


@dataclass(frozen=True, slots=True)
class LoggedSettings:
    """Settings of the meter with logged changes (chapter "Read-Out Logbook").

    The defaults are the manual's example before its change.
    """

    ct_primary: int = 5
    """A, like `ct_secondary`"""
    ct_secondary: int = 5
    vt_primary: int = 100
    """V, like `vt_secondary`"""
    vt_secondary: int = 100
    s0_pulse_value: int = 10
    """Impulses per kWh"""
    s0_pulse_width: int = 40
    """ms"""


@dataclass(frozen=True, slots=True)
class PowerFailure:
    """The house and its meter have no power; both ends move on to full steps of 5 s.

    A failure within one step does not happen. There is no record after `begin` until
    `end`, inclusive, and the registers stand still. The first record afterwards has
    bit 5.
    """

    begin: Instant
    end: Instant


@dataclass(frozen=True, slots=True)
class ClockChange:
    """The meter's clock is set; the next record has bit 0, and the logbook a record.

    After a change backwards some stamps occur again, after one forwards some are
    missing.
    """

    at: Instant
    seconds: int
    """Positive is forward."""


@dataclass(frozen=True, slots=True)
class ClockSet:
    """Like `ClockChange`, given by the new difference from true time."""

    at: Instant
    offset: int
    """The meter's clock minus true time, in seconds."""


@dataclass(frozen=True, slots=True)
class IntervalChange:
    """The meter records in another interval; stamps are its multiples since 1970, UTC."""

    at: Instant
    minutes: int
    """1 to 60"""


@dataclass(frozen=True, slots=True)
class CurrentRatioChange:
    """Other current transformers are set; the next record has bit 1.

    The logbook has a record of it, even if the ratio is the same. The registers
    continue: they count the true energy of the house.
    """

    at: Instant
    primary: int = 100
    """A"""
    secondary: int = 5
    """A"""


@dataclass(frozen=True, slots=True)
class VoltageRatioChange:
    """Like `CurrentRatioChange`, of voltage transformers and with bit 2."""

    at: Instant
    primary: int = 200
    """V"""
    secondary: int = 100
    """V"""


@dataclass(frozen=True, slots=True)
class ImpulseLengthChange:
    """Like `CurrentRatioChange`, of the S0 output's pulse width and with bit 3."""

    at: Instant
    milliseconds: int = 2


@dataclass(frozen=True, slots=True)
class ImpulseRatioChange:
    """Like `CurrentRatioChange`, of the S0 output's pulse value and with bit 4."""

    at: Instant
    impulses: int = 1000
    """Per kWh"""


@dataclass(frozen=True, slots=True)
class NoSynchronization:
    """No time server is reached; records after `begin` until `end` have bit 6."""

    begin: Instant
    end: Instant


@dataclass(frozen=True, slots=True)
class LogbookFull:
    """The logbook is full from a moment on; records after it have bit 7.

    As if other records had filled it: it keeps its records, and gets no more.
    """

    at: Instant


@dataclass(frozen=True, slots=True)
class ModuleMoved:
    """The communication module, and the logger with it, moves to the next meter.

    Until then it belonged to another meter with its own registers. Moves in the future
    are given in the same way: the serial number of the configuration is always that of
    the last meter.
    """

    at: Instant
    serial_number: str
    """Of the previous meter."""
    seed: int = 2
    """Of the previous meter's household."""
    installed: Instant | None = None
    """Begin of the previous meter's registers; None: that of the last meter."""


type Event = (
    PowerFailure
    | ClockChange
    | ClockSet
    | IntervalChange
    | CurrentRatioChange
    | VoltageRatioChange
    | ImpulseLengthChange
    | ImpulseRatioChange
    | NoSynchronization
    | LogbookFull
    | ModuleMoved
)

_STATUS = {
    CurrentRatioChange: Status.CURRENT_RATIO_CHANGED,
    VoltageRatioChange: Status.VOLTAGE_RATIO_CHANGED,
    ImpulseLengthChange: Status.IMPULSE_LENGTH_CHANGED,
    ImpulseRatioChange: Status.IMPULSE_RATIO_CHANGED,
}


class Change(NamedTuple):
    """A new value from an epoch second of true time on."""

    at: int
    value: int


class SettingsChange(NamedTuple):
    """New logged settings from an epoch second of true time on."""

    at: int
    settings: LoggedSettings


class Stretch(NamedTuple):
    """A time of records in equal intervals, without a change of the clock."""

    begin: int
    """Epoch second, true time; records are due after it."""
    end: int
    """Epoch second of the last due record, at most."""
    offset: int
    """The meter's clock minus true time, in seconds."""
    interval: int
    """Seconds"""


class History:
    """All events of a meter, in order."""

    def __init__(
        self,
        events: Iterable[Event],
        *,
        clock_offset: int,
        interval: int,
        logged_settings: LoggedSettings,
    ) -> None:
        """Initialize with events in any order.

        `clock_offset` is the meter's clock minus true time at first, in seconds,
        `interval` the minutes between two records, `logged_settings` the first
        settings. Two events of the same second keep their order.
        """
        events = sorted(events, key=_begin)
        self.failures = _spans(
            Span(_full_step(event.begin), _full_step(event.end))
            for event in events
            if isinstance(event, PowerFailure)
        )
        """Disjoint power failures, in order; they begin and end at full steps."""
        self.unsynchronized = _spans(
            Span(epoch(event.begin), epoch(event.end))
            for event in events
            if isinstance(event, NoSynchronization)
        )
        """Disjoint times without a time server, in order."""
        self.moves = [event for event in events if isinstance(event, ModuleMoved)]
        self.offsets = list(_offsets(events, clock_offset))
        self.intervals = list(_intervals(events, interval))
        self.settings_changes = list(_settings_changes(events, logged_settings))
        """The first one is the initial setting."""
        self.flags = [*self._clock_flags(), *self._failure_flags(), *_flags(events)]
        """Bits of the first record after a moment."""
        full = [epoch(event.at) for event in events if isinstance(event, LogbookFull)]
        self.logbook_full = min(full, default=LAST)
        """First epoch second of a logbook filled by an event."""

    def has_power(self, at: int) -> bool:
        """Return whether the meter has power at an epoch second."""
        ended = bisect_right(self.failures, at, key=lambda span: span.end)
        return ended == len(self.failures) or at < self.failures[ended].begin

    def offset(self, at: int) -> int:
        """Return the meter's clock minus true time at an epoch second, in seconds."""
        return _value(self.offsets, at)

    def logged_settings(self, at: int) -> LoggedSettings:
        """Return the logged settings at an epoch second."""
        later = bisect_right(self.settings_changes, at, key=lambda change: change.at)
        return self.settings_changes[later - 1].settings

    def stretches(self, installed: int) -> Iterator[Stretch]:
        """Yield the stretches after an epoch second, in order."""
        changes = [*self.offsets, *self.intervals]
        edges = {at for at, _ in changes} | {
            at for span in self.failures for at in span
        }
        borders = [installed, *sorted(at for at in edges if at > installed), LAST]
        for begin, end in pairwise(borders):
            if self.has_power(begin):
                interval = SECONDS_PER_MINUTE * _value(self.intervals, begin)
                yield Stretch(begin, end, self.offset(begin), interval)

    def _clock_flags(self) -> Iterator[Change]:
        for _, (at, _) in pairwise(self.offsets):
            yield Change(at, Status.TIME_CHANGED)

    def _failure_flags(self) -> Iterator[Change]:
        for _, end in self.failures:
            yield Change(end, Status.POWER_FAILURE)


_EVER = -(2**62)


def _begin(event: Event) -> int:
    if isinstance(event, PowerFailure | NoSynchronization):
        return epoch(event.begin)
    return epoch(event.at)


def _full_step(at: Instant) -> int:
    second = epoch(at)
    return second + -second % STEP_SECONDS


def _spans(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in spans:
        if span.end < span.begin:
            raise ValueError(f"A span ends before it begins: {span}")
        if merged and span.begin <= merged[-1].end:
            merged[-1] = Span(merged[-1].begin, max(merged[-1].end, span.end))
        elif span.begin < span.end:
            merged.append(span)
    return merged


def _offsets(events: Iterable[Event], first: int) -> Iterator[Change]:
    offset = first
    yield Change(_EVER, offset)
    for event in events:
        before = offset
        if isinstance(event, ClockChange):
            offset += event.seconds
        elif isinstance(event, ClockSet):
            offset = event.offset
        if offset != before:
            yield Change(_begin(event), offset)


def _intervals(events: Iterable[Event], first: int) -> Iterator[Change]:
    yield Change(_EVER, _checked_interval(first))
    for event in events:
        if isinstance(event, IntervalChange):
            yield Change(epoch(event.at), _checked_interval(event.minutes))


def _settings_changes(
    events: Iterable[Event], settings: LoggedSettings
) -> Iterator[SettingsChange]:
    yield SettingsChange(_EVER, settings)
    for event in events:
        values: dict[str, int] = {}
        match event:
            case CurrentRatioChange(_, primary, secondary):
                values = {"ct_primary": primary, "ct_secondary": secondary}
            case VoltageRatioChange(_, primary, secondary):
                values = {"vt_primary": primary, "vt_secondary": secondary}
            case ImpulseRatioChange(_, impulses):
                values = {"s0_pulse_value": impulses}
            case ImpulseLengthChange(_, milliseconds):
                values = {"s0_pulse_width": milliseconds}
        if values:
            settings = replace(settings, **values)
            yield SettingsChange(_begin(event), settings)


def _checked_interval(minutes: int) -> int:
    if minutes not in INTERVALS:
        raise ValueError(f"An interval has 1 to 60 minutes, not {minutes}")
    return minutes


def _flags(events: Iterable[Event]) -> Iterator[Change]:
    for event in events:
        bit = _STATUS.get(type(event))
        if bit is not None:
            yield Change(_begin(event), bit)


def _value(changes: list[Change], at: int) -> int:
    return changes[bisect_right(changes, at, key=lambda change: change.at) - 1].value
