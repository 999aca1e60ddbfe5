"""Reading the meter's data logger and its logbook.

Chapters "Read-Out Data Logger" and "Read-Out Logbook". The manual leaves open the
separator of the fields, the header line and the line end: the reader learns them from
the data. All times are UTC.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntFlag, StrEnum
import re
from typing import Final

from .registers import QUANTITIES, Kind, Measurand
from .serial_number import normalized

LAST_COLUMN: Final = 28
LAST_LOGBOOK_COLUMN: Final = 21

COLUMNS: Final = tuple(
    sorted((q for q in QUANTITIES if q.column), key=lambda q: q.column or 0)
)
"""The quantities of a record in the order of its `values`."""

REGISTERS: Final = sum(column.kind is Kind.REGISTER for column in COLUMNS)
"""Number of registers among a record's values; they come first."""

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

_SEPARATORS: Final = ",;\t"
_MOST_SLOW_STEPS: Final = 2
"""Steps with little progress before a search halves its interval."""
_LONGEST_LINE: Final = 1024
_LATEST_TIME: Final = 2**32
"""Seconds since 1970-01-01: the meter's clock counts them with 32 bits (its JSON)."""
_STAMP: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


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

    line: str
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
    refusals: tuple[RejectedLine, ...]
    whole: bool
    has_length: bool = True
    timing: Timing | None = None


class TableReader[R]:
    """Reads records from the bytes of an answer.

    Keeps nothing but one unfinished line.
    """

    def __init__(
        self,
        columns: int,
        pattern: Callable[[str], re.Pattern[str]],
        record: Callable[[int, list[str]], R],
    ) -> None:
        """Initialize for a table with this number of columns.

        `pattern` returns the pattern of a line for a separator. `record` returns the
        record of a time and the line's fields, or raises ValueError with the reject
        reason.
        """
        self.refusals: list[RejectedLine] = []
        self._columns = columns
        self._pattern = pattern
        self._make = record
        self._rest = b""
        self._match: Callable[[str], re.Match[str] | None] | None = None
        self._separator = ""

    def feed(self, data: bytes) -> list[R]:
        """Return the records of the lines completed by these bytes."""
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        # A document without line ends must not fill the memory.
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return self._read(lines)

    def close(self, *, complete: bool) -> list[R]:
        """Return the record of a last line without an end.

        Only if the transfer is known to be `complete`: half a number is a number as
        well.
        """
        rest, self._rest = self._rest, b""
        if not rest.strip():
            return []
        if complete:
            return self._read([rest])
        self._refuse(rest.decode("ascii", "replace"), CUT_OFF)
        return []

    def _read(self, lines: Iterable[bytes]) -> list[R]:
        records = []
        for line in lines:
            # Tabs stay: one may separate an empty last field.
            text = line.decode("utf-8", "replace").strip(" ").removeprefix("\ufeff")
            if text and (record := self._record(text)):
                records.append(record)
        return records

    def _record(self, text: str) -> R | None:
        if self._match is None and not self._takes_form_of(text):
            return None
        assert self._match
        if not self._match(text):
            self._refuse(text, self._reason(text))
            return None
        fields = text.split(self._separator)
        try:
            return self._make(_seconds(fields[0], "time stamp"), fields)
        except ValueError as err:
            self._refuse(text, str(err))
            return None

    def _takes_form_of(self, text: str) -> bool:
        """Learn the separator from a first line; return whether it can be a record."""
        self._separator = max(_SEPARATORS, key=text.count)
        begins_with_stamp = re.match(_STAMP, text) is not None
        if begins_with_stamp or self._is_header(text):
            self._match = self._pattern(self._separator).fullmatch
        else:
            self._refuse(text, self._reason(text))
        return begins_with_stamp

    def _is_header(self, text: str) -> bool:
        """Return whether a line can be a header."""
        # An HTML or JSON document must not pass for an empty table.
        is_markup = "<" in text or "{" in text
        return not is_markup and 2 * text.count(self._separator) >= self._columns

    def _reason(self, text: str) -> str:
        fields = text.count(self._separator) + 1
        if fields != self._columns:
            return f"{fields} columns instead of {self._columns}"
        return "a field is no number"

    def _refuse(self, text: str, reason: str) -> None:
        self.refusals.append(RejectedLine(text[:80], reason))


class RecordReader(TableReader[Record]):
    """Reads the data logger ("CSV-File Structure of the data logger")."""

    def __init__(self) -> None:
        """Begin before the first byte."""
        super().__init__(LAST_COLUMN, _pattern, _record)


class LogbookReader(TableReader[LogbookRecord]):
    """Reads the logbook ("CSV-File Structure of the Logbook")."""

    def __init__(self) -> None:
        """Begin before the first byte."""
        super().__init__(LAST_LOGBOOK_COLUMN, _logbook_pattern, _logbook_record)


def _pattern(separator: str) -> re.Pattern[str]:
    # Possessive quantifiers never backtrack: a third less time.
    value = rf"{separator}-?+\d{{1,12}}+"
    return re.compile(
        rf"{_STAMP}{separator}\d{{1,10}}+{separator}\d{{1,3}}+{separator} *+\w{{1,32}}+ *+"
        rf"(?:{value}){{{len(COLUMNS)}}}+",
        re.ASCII,
    )


def _record(at: int, fields: list[str]) -> Record:
    _, index, status, serial_number, *values = fields
    numbers = tuple(map(int, values))
    if min(numbers[:REGISTERS]) < 0:
        raise ValueError("negative register")
    return Record(at, int(index), int(status), normalized(serial_number), numbers)


def _logbook_pattern(separator: str) -> re.Pattern[str]:
    index = rf"{separator}\d{{1,10}}+"
    return re.compile(
        rf"{_STAMP}{separator}(?:{_STAMP})?+{index}{separator} *+\w{{1,32}}+ *+"
        rf"(?:{separator}-?+\d{{1,12}}+){{{len(LOGBOOK_REGISTERS)}}}+"
        rf"{index}(?:{separator}\d{{1,10}}+{separator}\d{{0,10}}+){{{len(SETTINGS)}}}+",
        re.ASCII,
    )


def _logbook_record(at: int, fields: list[str]) -> LogbookRecord:
    _, stamp_after, index, serial_number, *rest = fields
    registers = tuple(map(int, rest[: len(LOGBOOK_REGISTERS)]))
    if min(registers) < 0:
        raise ValueError("negative register")
    return LogbookRecord(
        at=at,
        index=int(index),
        serial_number=normalized(serial_number),
        registers=registers,
        logger_index=int(rest[len(LOGBOOK_REGISTERS)]),
        settings=tuple(int(fields[pair.actual - 1]) for pair in SETTINGS),
        changes=tuple(_changes(at, stamp_after, fields)),
    )


def _changes(at: int, stamp_after: str, fields: Sequence[str]) -> Iterator[Change]:
    after = _seconds(stamp_after, "time stamp after change") if stamp_after else at
    if after not in (at, 0):
        yield Change(ChangeKind.TIME, at, after)
    for pair in SETTINGS:
        actual = int(fields[pair.actual - 1])
        before = int(fields[pair.before - 1] or 0)
        if before not in (actual, 0):
            yield Change(pair.kind, before, actual)


def _seconds(stamp: str, name: str) -> int:
    """Return a stamp in seconds. Raises ValueError for an impossible one."""
    try:
        at = int(datetime.fromisoformat(stamp).timestamp())
    except ValueError as err:
        raise ValueError(name) from err
    if not 0 <= at <= _LATEST_TIME:
        raise ValueError(name)
    return at


def locate(
    at: int, newest: Record, interval: int
) -> Generator[int, Record | None, int]:
    """Find the index of the first record ending after a time.

    `newest` must end after it; `interval` is an estimate in seconds. Yields an index
    and expects its record to be sent, or None if the logger no longer has it. If the
    clock was set back, several records may be the first: the result is one of them.

    Interpolates between index and time. Power failures bend that line, so after two
    steps with little progress the interval of indices is halved instead.
    """
    low, high, high_at = -1, newest.index, newest.at
    low_at: int | None = None
    slow_steps = 0
    while (size := high - low) > 1:
        if low_at is None:
            guess = high - (high_at - at) // interval
        else:
            guess = low + size * (at - low_at) // max(high_at - low_at, 1)
        if slow_steps == _MOST_SLOW_STEPS or (low_at is None and guess <= low):
            guess = low + size // 2
        guess = min(max(guess, low + 1), high - 1)
        record = yield guess
        if record and record.at > at:
            high, high_at = guess, record.at
        else:
            low, low_at = guess, record.at if record else None
        has_halved = high - low <= size // 2
        slow_steps = 0 if has_halved else slow_steps % _MOST_SLOW_STEPS + 1
    return high
