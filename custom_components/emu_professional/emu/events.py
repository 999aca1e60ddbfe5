"""Events in the logbook and the data logger, each reported once.

Chapters "Read-Out Logbook" and "Definition of the Status-Codes". A change of the
settings leaves two traces: a record of the logbook and a status bit in the data
logger. The logbook names the index of that logger record:

    logbook   ──[CT primary, logger index 401]──
                                  │  the same event
    logger    ──400──[401: transformer changed]──[402: power failure]──
                                                       │  another event
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from .logs import ChangeKind, LogbookRecord, LoggerStatus, Record

LASTING: Final = LoggerStatus.NO_TIME_SYNCHRONIZATION | LoggerStatus.LOGBOOK_FULL
"""States, not events: each record has the bit as long as the state lasts."""

_BITS: Final = {
    ChangeKind.TIME: LoggerStatus.TIME_CHANGED,
    ChangeKind.CT_PRIMARY: LoggerStatus.CURRENT_TRANSFORMER_CHANGED,
    ChangeKind.CT_SECONDARY: LoggerStatus.CURRENT_TRANSFORMER_CHANGED,
    ChangeKind.VT_PRIMARY: LoggerStatus.VOLTAGE_TRANSFORMER_CHANGED,
    ChangeKind.VT_SECONDARY: LoggerStatus.VOLTAGE_TRANSFORMER_CHANGED,
    ChangeKind.S0_PULSE_VALUE: LoggerStatus.IMPULSE_RATIO_CHANGED,
    ChangeKind.S0_PULSE_WIDTH: LoggerStatus.IMPULSE_LENGTH_CHANGED,
}

_KEPT: Final = 3000
"""A logbook record may refer to this many logger records after the newest one."""

NOTHING: Final = LoggerStatus(0)


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """One event, named by its status bit.

    A change of the settings comes with its logbook record, any other event with its
    first logger record.
    """

    bit: LoggerStatus
    record: LogbookRecord | Record

    @property
    def name(self) -> str:
        """Name of the status bit, for instance "power_failure"."""
        return (self.bit.name or "").lower()


@dataclass(frozen=True, slots=True)
class LogPosition:
    """The last reported record of both logs."""

    logbook: int | None = None
    """Index in the logbook; None before the first look."""
    logger: int | None = None
    """Index in the data logger; None before the first look."""
    lasting: LoggerStatus = NOTHING
    """States of the last logger record."""
    changes: frozenset[tuple[int, LoggerStatus]] = frozenset()
    """Logger indices and status bits of changes reported by their logbook record."""
    empty_since: int | None = None
    """First look at a meter without a logbook, in seconds by the meter's clock."""


def new_events(
    position: LogPosition,
    logbook: Sequence[LogbookRecord],
    logger: Sequence[Record],
) -> tuple[list[MeterEvent], LogPosition]:
    """Return the events of new records, in order, and the position after them."""
    of_logbook = [
        (record.logger_index, MeterEvent(bit, record))
        for record in logbook
        for bit in dict.fromkeys(_BITS[change.kind] for change in record.changes)
    ]
    changes = position.changes.union((index, event.bit) for index, event in of_logbook)
    # Each record is compared with the states of the one before it.
    states = [position.lasting, *(LoggerStatus(r.status) & LASTING for r in logger)]
    of_logger = [
        (record.index, MeterEvent(bit, record))
        for record, before in zip(logger, states, strict=False)
        for bit in LoggerStatus(record.status) & ~before
        if not _is_reported(changes, record.index, bit)
    ]
    # The sort is stable: of one interval the logbook comes first.
    events = sorted((*of_logbook, *of_logger), key=lambda found: found[0])
    after = replace(
        position,
        logbook=logbook[-1].index if logbook else position.logbook,
        logger=logger[-1].index if logger else position.logger,
        lasting=states[-1],
        changes=changes,
    )
    return [event for _, event in events], _without_old_changes(after)


def _is_reported(
    changes: frozenset[tuple[int, LoggerStatus]], index: int, bit: LoggerStatus
) -> bool:
    # The manual leaves open whether the "corresponding" logger record is that of the
    # interval with the change, or the one before it.
    return not changes.isdisjoint({(index, bit), (index - 1, bit)})


def _without_old_changes(position: LogPosition) -> LogPosition:
    """Return a position without the changes of reported logger records."""
    if position.logger is None:
        return position
    # A damaged index far after the newest one would otherwise stay for ever.
    kept = range(position.logger, position.logger + _KEPT)
    changes = frozenset(change for change in position.changes if change[0] in kept)
    return replace(position, changes=changes)
