"""What the logbook and the data logger say to have happened, each thing once.

Chapters "Read-Out Logbook" and "Definition of the Status-Codes".
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from .logs import ChangeKind, LogbookRecord, LoggerStatus, Record

LASTING: Final = LoggerStatus.NO_TIME_SYNCHRONIZATION | LoggerStatus.LOGBOOK_FULL
"""States rather than events: every record has the bit for as long as it lasts."""

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
"""Records of the data logger ahead of the newest one that a logbook may refer to."""

NOTHING: Final = LoggerStatus(0)


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """One thing that happened, named by its status bit.

    A change of the meter's settings comes with its logbook record, everything else
    with the first record of the data logger that has the bit.
    """

    bit: LoggerStatus
    record: LogbookRecord | Record

    @property
    def name(self) -> str:
        """Name of the status bit, for instance "power_failure"."""
        return (self.bit.name or "").lower()


@dataclass(slots=True)
class Told:
    """Up to where logbook and data logger were told, by index; None: not at all."""

    logbook: int | None = None
    logger: int | None = None
    lasting: LoggerStatus = NOTHING
    changes: set[tuple[int, LoggerStatus]] = field(default_factory=set)
    """Bits of data logger's records that a logbook record has told already."""

    def copy(self) -> Told:
        """Return the same, to be changed on trial."""
        return replace(self, changes=set(self.changes))


def new_events(
    told: Told, logbook: Iterable[LogbookRecord], logger: Iterable[Record]
) -> list[MeterEvent]:
    """Return what has happened in new records, in order, and note it in `told`.

    A change has both a logbook record and a status bit, and is told by the first.
    """
    events = [
        *((record.logger_index, event) for record, event in _of_logbook(told, logbook)),
        *((record.index, event) for record, event in _of_logger(told, logger)),
    ]
    # Stable: of one interval the logbook comes first, each in its own order.
    return [event for _, event in sorted(events, key=lambda found: found[0])]


def _of_logbook(
    told: Told, records: Iterable[LogbookRecord]
) -> Iterator[tuple[LogbookRecord, MeterEvent]]:
    for record in records:
        told.logbook = record.index
        bits = dict.fromkeys(_BITS[change.kind] for change in record.changes)
        for bit in bits:
            told.changes.add((record.logger_index, bit))
            yield record, MeterEvent(bit, record)


def _of_logger(
    told: Told, records: Iterable[Record]
) -> Iterator[tuple[Record, MeterEvent]]:
    for record in records:
        status = LoggerStatus(record.status)
        lasted, told.lasting = told.lasting, status & LASTING
        told.logger = record.index
        for bit in status & ~lasted:
            if not _is_told(told, record.index, bit):
                yield record, MeterEvent(bit, record)
    if told.logger is not None:
        newest = told.logger
        # An index from far ahead can't be right, and would stay for ever.
        kept = range(newest, newest + _KEPT)
        told.changes = {change for change in told.changes if change[0] in kept}


def _is_told(told: Told, index: int, bit: LoggerStatus) -> bool:
    # The manual does not say whether the "corresponding" record is the one in whose
    # interval the change was made, or the last one before it.
    return not told.changes.isdisjoint({(index, bit), (index - 1, bit)})
