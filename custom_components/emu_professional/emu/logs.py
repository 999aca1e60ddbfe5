"""Records of the meter's data logger and its logbook, and pages of them.

Chapters "CSV-File Structure of the data logger", "CSV-File Structure of the Logbook"
and "Definition of the Status-Codes". All times are UTC.
"""

from dataclasses import dataclass
from enum import IntFlag, StrEnum
from typing import Final

from .registers import BY_KEY, QUANTITIES, Kind, Measurand

COLUMNS: Final = tuple(
    sorted((q for q in QUANTITIES if q.column), key=lambda q: q.column or 0)
)
"""The quantities of a record in the order of its `values`."""

REGISTER_COUNT: Final = sum(column.kind is Kind.REGISTER for column in COLUMNS)
"""Number of registers among a record's values.

They come first: `values[:REGISTER_COUNT]` are the registers, the others measurements.
"""
assert all(column.kind is Kind.REGISTER for column in COLUMNS[:REGISTER_COUNT])

ACTIVE_POWER: Final = COLUMNS.index(BY_KEY["active_power"])
"""Position of the power of all phases among a record's values."""

_PHASES: Final = tuple(
    (COLUMNS.index(BY_KEY[f"current_{n}"]), COLUMNS.index(BY_KEY[f"voltage_{n}"]))
    for n in ("l1", "l2", "l3")
)
"""Positions of current and voltage of each phase among a record's values."""

USUAL_INTERVAL: Final = 900
"""Seconds between two records, unless the owner has set another interval."""

LATENCY: Final = 84
"""Longest time from the stamp of a record until it is readable, in seconds.

Not in the manual: the latest record observed at a real meter.
"""

EARLIEST: Final = 1_420_070_400
"""2015-01-01: an earlier time is of a clock that was never set."""

REACH: Final = 26 * 3600
"""Most seconds by which a clock is set back: a day and a change of time zone."""

LOGBOOK_REGISTERS: Final = tuple(
    column
    for column in COLUMNS
    if column.kind is Kind.REGISTER and column.measurand is Measurand.ENERGY
)
"""The quantities of a logbook record in the order of its `registers`.

They have the same columns in both tables.
"""

CUT_OFF: Final = "cut off"
"""Reject reason of a line without an end."""

NOT_ASKED_FOR: Final = "index not asked for"
"""Reject reason of a record with an index outside of the request."""

DAMAGED_INDEX: Final = "index of another record"
"""Reject reason of a record with an implausible index between its neighbors."""


class LoggerStatus(IntFlag):
    """Events in a record's interval ("Definition of the Status-Codes")."""

    TIME_CHANGED = 1
    CURRENT_TRANSFORMER_CHANGED = 2
    VOLTAGE_TRANSFORMER_CHANGED = 4
    IMPULSE_LENGTH_CHANGED = 8
    IMPULSE_RATIO_CHANGED = 16
    POWER_FAILURE = 32
    NO_TIME_SYNCHRONIZATION = 64
    LOGBOOK_FULL = 128


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the load profile.

    `at` is the end of the interval by the meter's clock, in seconds since 1970-01-01
    UTC; `serial_number` is normalized. `values` are those of `COLUMNS` in units of
    their last digit: Wh, varh, W, mA, 0.1 V, 0.01, 0.1 Hz.
    """

    at: int
    index: int
    status: int
    serial_number: str
    values: tuple[int, ...]


def volt_amperes(record: Record) -> float:
    """Return the apparent power of all phases at the end of a record's interval."""
    product = sum(
        record.values[current] * record.values[voltage] for current, voltage in _PHASES
    )
    return product / 10_000


class ChangeKind(StrEnum):
    """Kind of change in a logbook record."""

    TIME = "time"
    CT_PRIMARY = "ct_primary"
    CT_SECONDARY = "ct_secondary"
    VT_PRIMARY = "vt_primary"
    VT_SECONDARY = "vt_secondary"
    S0_PULSE_VALUE = "s0_pulse_value"
    S0_PULSE_WIDTH = "s0_pulse_width"


@dataclass(frozen=True, slots=True)
class Pair:
    """The columns of a setting, counted from 1: present and previous value."""

    kind: ChangeKind
    actual: int
    before: int
    unit: str
    """The manual names none for the transformers; these are the usual ones."""


SETTINGS: Final = (
    Pair(ChangeKind.CT_PRIMARY, 10, 11, "A"),
    Pair(ChangeKind.CT_SECONDARY, 12, 13, "A"),
    Pair(ChangeKind.VT_PRIMARY, 14, 15, "V"),
    Pair(ChangeKind.VT_SECONDARY, 16, 17, "V"),
    Pair(ChangeKind.S0_PULSE_VALUE, 18, 19, "P/kWh"),
    Pair(ChangeKind.S0_PULSE_WIDTH, 20, 21, "ms"),
)
"""The settings of a logbook record in the order of its `settings`."""


@dataclass(frozen=True, slots=True)
class Change:
    """A value before and after a change.

    Times are seconds since 1970-01-01 UTC by the meter's clock, settings whole
    numbers in the unit of `SETTINGS`.
    """

    kind: ChangeKind
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class LogbookRecord:
    """One record of the logbook.

    `at` is the time by the meter's clock, in seconds since 1970-01-01 UTC; if the
    clock was set, the time before that. `registers` are those of `LOGBOOK_REGISTERS`
    at this moment in Wh, `settings` those of `SETTINGS` after the change.
    `logger_index` is the index of the corresponding record in the data logger.

    `changes` are in the order of `ChangeKind`, empty if nothing changed. The manual
    leaves open the content of "pre change(if)" without a change: the same value again,
    an empty field and 0, an impossible setting, all count as no change. So does a
    "time stamp after change" of the begin of 1970, or an empty one.
    """

    at: int
    index: int
    serial_number: str
    registers: tuple[int, ...]
    logger_index: int
    settings: tuple[int, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class RejectedLine:
    """A rejected line of a table, and the reason; its content is never guessed."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Timing:
    """Duration of an answer, in seconds from its request."""

    first: float
    """Until the first byte of its records."""
    whole: float
    """Until its end."""


@dataclass(frozen=True, slots=True)
class Page[R: Record | LogbookRecord = Record]:
    """One answer of the data logger or the logbook, in the order of the index.

    `whole` is false for an answer with a noticed early end; `has_length` is whether
    an early end would have been noticed. If not, lines may be missing at the end, so
    reading continues after the last record received.
    """

    records: tuple[R, ...]
    rejected: tuple[RejectedLine, ...]
    whole: bool
    has_length: bool = True
    timing: Timing | None = None
