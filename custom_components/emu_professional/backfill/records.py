"""Rejects damaged records of the data logger, and finds restarts of registers.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC by the meter's clock.

How it works
------------
A register only rises. If a record is lower than the one before it, there are three
reasons: it is damaged, the ones before it are, or the register has restarted (another
module or meter, a rollover). The next records decide, so a few of them wait:

    `_passed` | `_waiting` (accepted)  | `_lower` (undecided)
    ... 1000  | 1010   9999            |                   <- 1020: 9999 was damaged
    ... 1000  | 1010   1020   1030     | 7                 <- 1040: 7 was damaged
    ... 1000  | 1010   1020   1030     | 7     17          <- 27: the register restarted

A register that goes on from before its restart had not restarted.
"""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from operator import lt
from typing import Final, NamedTuple

from ..emu.logs import (
    ACTIVE_POWER,
    EARLIEST,
    LATENCY,
    REACH,
    REGISTER_COUNT,
    USUAL_INTERVAL,
    LoggerStatus,
    Record,
    volt_amperes,
)
from ..emu.serial_number import normalized
from .times import HOUR

ANOTHER_METER: Final = "another serial number"
"""Reject reason of a record of another meter."""

_WAITING: Final = 3
_CONFIRMED: Final = 3
"""So many records of a lower register are a restart, not damage."""

_CLOCK_WAS_UNSET: Final = 30 * 24 * HOUR
_KNOWN_RISE: Final = 4
"""A register that rises by more than so many times the energy of its power, plus"""
_SMALL_RISE: Final = 1000
"""Wh, while another one restarts, has restarted as well."""
_HIDDEN_POWER: Final = 25_000
"""W of a house that may come and go between two records, so that neither shows it."""

_LATEST: Final = LATENCY + 60
"""Seconds from the stamp of a record until it is readable and read, at most."""


def clock_offset_by_records(newest: Sequence[Record], now: int) -> int | None:
    """Return the seconds by which a meter's clock is ahead, judged by its records.

    `newest` are the last records of the logger in order, at least one. If the last one
    is not older than an interval, the clock is right. None if the records don't show
    it: with intervals of an hour, a clock one hour late looks just like a right one.
    """
    age = now - newest[-1].at
    if age < -_LATEST:
        return -age
    interval = newest[-1].at - newest[-2].at if len(newest) > 1 else HOUR
    if interval <= 0:
        # The clock was set back: only the next record shows the interval.
        interval = HOUR
    if age > interval + _LATEST:
        return interval - age
    return 0 if interval < HOUR else None


class Believed(NamedTuple):
    """A plausible record, and the total loss of each register by restarts."""

    record: Record
    lift: tuple[int, ...]


class RecordFilter:
    """Passes on the plausible records of one meter, in the order of their index.

    `rejected` counts all others by reason. After `close`, `undecided_since` is the stamp
    of the first record in need of later ones: a register may have restarted or be far
    too high, or one of two stamps is wrong. `clock_set_at` is the stamp of the first
    record after the clock was set for the first time: all records before it have wrong
    stamps.
    """

    def __init__(self, serial_number: str, latest: int) -> None:
        """Initialize for the records of a meter until the latest plausible stamp."""
        self.rejected: Counter[str] = Counter()
        self.clock_set_at: int | None = None
        self.undecided_since: int | None = None
        self._serial_number = normalized(serial_number)
        self._latest = latest
        self._passed: Record | None = None
        self._waiting: deque[Record] = deque()
        self._lower: list[Record] = []
        self._lift: tuple[int, ...] = (0,) * REGISTER_COUNT
        self._restarted: Believed | None = None
        """The last record before the last restart."""

    def feed(self, record: Record) -> Iterator[Believed]:
        """Take a record, and yield the ones it has made plausible."""
        waiting = self._waiting
        # None waits before the first one only: each that is passed on has followers.
        before = self._lower[-1] if self._lower else waiting[-1] if waiting else None
        if self._was_ahead(record):
            self._waiting.pop()
            self.rejected["time stamp out of order"] += 1
            before = waiting[-1] if waiting else self._passed
        if reason := self._reason_against(record, before):
            self.rejected[reason] += 1
            return
        if before is not None:
            self._look_at_clock(before, record)
        if self._lower:
            yield from self._decide(record)
        elif waiting and _falls(waiting[-1], record):
            self._reject_or_wait(record)
        elif lift := self._lift_before_restart(record):
            while waiting:
                yield self._pass_on()
            self._lift, self._restarted = lift, None
            waiting.append(record)
        else:
            self._drop_out_of_order(record)
            waiting.append(record)
        while len(waiting) > _WAITING:
            yield self._pass_on()

    def close(self) -> Iterator[Believed]:
        """Yield the waiting records, without those of a possible restart."""
        newest = [*self._waiting][-2:]
        # The newest records of a logger may be the first ones after a restart: a later run
        # decides.
        if self._lower:
            self.undecided_since = self._lower[0].at
        elif len(newest) > 1 and _runs_back(*newest):
            self.undecided_since = newest[1].at
        # Written, it would stay: right records after it look like a restart.
        elif len(newest) > 1 and _rises_too_far(*newest):
            self.undecided_since = self._waiting.pop().at
            self.rejected["register runs ahead"] += 1
        while self._waiting:
            yield self._pass_on()
        self.rejected["register runs backwards"] += len(self._lower)
        self.rejected += Counter()

    def _reason_against(self, record: Record, before: Record | None) -> str | None:
        if record.serial_number != self._serial_number:
            return ANOTHER_METER
        if record.at > self._latest:
            return "time stamp in the future"
        if before is not None and record.index <= before.index:
            return "read already"
        if before is not None and record.at < before.at - REACH:
            return "time stamp far in the past"
        if record.at < EARLIEST:
            return "clock not set"
        return None

    def _was_ahead(self, record: Record) -> bool:
        """Return whether the last stamp alone is far ahead of those around it."""
        if self._lower or not self._waiting:
            return False
        ahead = self._waiting[-1]
        before = self._waiting[-2] if len(self._waiting) > 1 else self._passed
        return (
            before is not None
            and record.serial_number == self._serial_number
            and record.index > ahead.index
            and before.at <= record.at < ahead.at - REACH
        )

    def _look_at_clock(self, before: Record, record: Record) -> None:
        """Note the first record after the clock was set for the first time.

        After a power failure so much time may really have passed.
        """
        if (
            record.at - before.at > _CLOCK_WAS_UNSET
            and record.index == before.index + 1
            and record.status & LoggerStatus.TIME_CHANGED
            and not record.status & LoggerStatus.POWER_FAILURE
        ):
            self.clock_set_at = record.at

    def _drop_out_of_order(self, record: Record) -> None:
        """Drop one of the two last records if the later one has the earlier stamp.

        Dropped is the one outside of its neighbours in time; if both lie between them,
        the one with less even steps of time.
        """
        waiting = self._waiting
        if len(waiting) < 2:
            return
        before = waiting[-3] if len(waiting) > 2 else self._passed
        if before is None or not _runs_back(waiting[-2], waiting[-1]):
            return
        higher, lower = waiting[-2], waiting[-1]
        right = [one for one in (lower, higher) if before.at <= one.at <= record.at]
        if not right:
            return
        kept = min(right, key=lambda one: _unevenness(before, one, record))
        waiting.remove(higher if kept is lower else lower)
        self.rejected["time stamp out of order"] += 1

    def _reject_or_wait(self, record: Record) -> None:
        """Let a record lower than the last one wait, or drop the last one."""
        before = self._waiting[-2] if len(self._waiting) > 1 else self._passed
        if before is not None and _falls(before, record):
            self._lower.append(record)
            return
        # It fits the record before the last one: that one was too high.
        self._waiting.pop()
        self._waiting.append(record)
        self.rejected["register runs ahead"] += 1

    def _decide(self, record: Record) -> Iterator[Believed]:
        """Yield records if the next one decides about a lower register."""
        lower = self._lower
        # The register is where it was before the lower records: these were damaged.
        if not _falls(self._waiting[-1], record):
            self.rejected["register runs backwards"] += len(lower)
            lower.clear()
            self._waiting.append(record)
            return
        # Lower still: the one before was damaged, or the register restarted only now.
        if _falls(lower[-1], record):
            self.rejected["register runs backwards"] += len(lower)
            lower[:] = [record]
            return
        lower.append(record)
        if len(lower) < _CONFIRMED:
            return
        # If the lower records continue an older one, those in between were too high.
        if not self._drop_too_high(lower[0]):
            last = self._waiting[-1]
            while self._waiting:
                yield self._pass_on()
            self._restarted = Believed(last, self._lift)
            self._lift = _lifted(self._lift, last, lower[0])
        self._waiting.extend(lower)
        lower.clear()

    def _drop_too_high(self, record: Record) -> bool:
        """Drop the records before if they were too high; return whether they were."""
        known = [self._passed, *self._waiting] if self._passed else [*self._waiting]
        right = [r for r in known if not _falls(r, record)]
        if not right:
            return False
        while self._waiting and self._waiting[-1] is not right[-1]:
            self._waiting.pop()
            self.rejected["register runs ahead"] += 1
        return True

    def _lift_before_restart(self, record: Record) -> tuple[int, ...] | None:
        """Return the lift before the last restart if the registers go on from there.

        Then nothing but zeros, or other wrong registers, was logged for a while.
        """
        if self._restarted is None or not self._waiting:
            return None
        (before, lift), last = self._restarted, self._waiting[-1]
        if (
            not _rises_too_far(last, record)
            or _falls(before, record)
            or _rises_too_far(before, record)
        ):
            return None
        # What was counted since then stays counted.
        levels = zip(record.values, lift, last.values, self._lift, strict=False)
        if any(now + old < was + new for now, old, was, new in levels):
            return None
        return lift

    def _pass_on(self) -> Believed:
        self._passed = record = self._waiting.popleft()
        return Believed(record, self._lift)


def _falls(before: Record, after: Record) -> bool:
    """Return whether a register is lower than before."""
    return any(map(lt, after.values[:REGISTER_COUNT], before.values[:REGISTER_COUNT]))


def _lifted(lift: tuple[int, ...], before: Record, after: Record) -> tuple[int, ...]:
    """Return the lift after a restart, as if no energy had passed meanwhile.

    A register without a fall continues if its rise fits the power: then it was the
    rollover of another register.
    """
    power = max(abs(before.values[ACTIVE_POWER]), abs(after.values[ACTIVE_POWER]))
    most = _most_rise(_KNOWN_RISE * power, max(after.at - before.at, 0))
    return tuple(
        lost + (0 if 0 <= new - old <= most else old - new)
        for lost, old, new in zip(
            lift,
            before.values[:REGISTER_COUNT],
            after.values[:REGISTER_COUNT],
            strict=True,
        )
    )


def _rises_too_far(before: Record, after: Record) -> bool:
    """Return whether a register rises by more than its power can bring.

    Reactive energy needs no active power, and the power is only that of a moment.
    """
    powers = (
        abs(power)
        for record in (before, after)
        for power in (record.values[ACTIVE_POWER], volt_amperes(record))
    )
    # After the clock was set back the interval is unknown.
    seconds = max(after.at - before.at, USUAL_INTERVAL)
    most = _most_rise(max(_KNOWN_RISE * max(powers), _HIDDEN_POWER), seconds)
    pairs = zip(
        before.values[:REGISTER_COUNT], after.values[:REGISTER_COUNT], strict=True
    )
    return any(new - old > most for old, new in pairs)


def _most_rise(power: float, seconds: int) -> float:
    """Return the most Wh by which a register rises at a power."""
    return power * seconds / HOUR + _SMALL_RISE


def _runs_back(before: Record, after: Record) -> bool:
    """Return whether a stamp is earlier than the last one, and no clock was set."""
    return after.at < before.at and not (
        (before.status | after.status) & LoggerStatus.TIME_CHANGED
    )


def _unevenness(before: Record, record: Record, after: Record) -> int:
    """Return the distance of a stamp from its place by index between two others."""
    return abs(
        (record.at - before.at) * (after.index - record.index)
        - (after.at - record.at) * (record.index - before.index)
    )
