"""Reading the meter's data logger and its logbook.

Chapters "Read-Out Data Logger" and "Read-Out Logbook". The manual leaves open what
separates the fields, whether there is a header line, and how lines end: all that
is found out from the data. All times are UTC.
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
"""How many of a record's values, the first ones, are registers."""

LOGBOOK_REGISTERS: Final = tuple(
    column
    for column in COLUMNS
    if column.kind is Kind.REGISTER and column.measurand is Measurand.ENERGY
)
"""The quantities of a logbook record in the order of its `registers`.

They have the same columns in both tables.
"""

CUT_OFF: Final = "cut off"
"""Why a line without an end is refused."""

NOT_ASKED_FOR: Final = "index not asked for"
"""Why a record of another index than those asked for is refused."""

DAMAGED_INDEX: Final = "index of another record"
"""Why a record is refused whose index is damaged, as those around it show."""

_SEPARATORS: Final = ",;\t"
_PATIENCE: Final = 2
_LONGEST_LINE: Final = 1024
_LATEST_TIME: Final = 2**32
"""Seconds since 1970-01-01: the meter's clock counts them with 32 bits (its JSON)."""
_STAMP: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


class LoggerStatus(IntFlag):
    """What happened in a record's interval ("Definition of the Status-Codes")."""

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

    `at` is the meter's time at the end of the interval, in seconds since
    1970-01-01 UTC, `serial_number` the normalized one. `values` are those of `COLUMNS`, as whole numbers of their last
    digit: Wh, varh, W, mA, 0.1 V, 0.01, 0.1 Hz.
    """

    at: int
    index: int
    status: int
    serial_number: str
    values: tuple[int, ...]


class ChangeKind(StrEnum):
    """What a logbook record says to have changed."""

    TIME = "time"
    CT_PRIMARY = "ct_primary"
    CT_SECONDARY = "ct_secondary"
    VT_PRIMARY = "vt_primary"
    VT_SECONDARY = "vt_secondary"
    S0_PULSE_VALUE = "s0_pulse_value"
    S0_PULSE_WIDTH = "s0_pulse_width"


@dataclass(frozen=True, slots=True)
class Pair:
    """The columns, counted from 1, of a setting now and before the change."""

    kind: ChangeKind
    actual: int
    before: int
    unit: str
    """The manual names none for the transformers; theirs are the usual ones."""


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
    """What a value was before a change and is after it.

    Times are seconds since 1970-01-01 UTC by the meter's clock, settings whole
    numbers in the unit of `SETTINGS`.
    """

    kind: ChangeKind
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class LogbookRecord:
    """One record of the logbook.

    `at` is what the meter's clock showed at that moment, before it was set if it
    was, in seconds since 1970-01-01 UTC. `registers` are those of
    `LOGBOOK_REGISTERS` at that moment in Wh, `settings` those of `SETTINGS` after
    it. `logger_index` is the index of the corresponding record in the data logger.

    `changes` are in the order of `ChangeKind`; none where everything is as it was.
    The manual leaves open what stands in "pre change(if)" where nothing changed: the
    same value again, nothing, and 0, which no setting can have been, are all no
    change. So is a "time stamp after change" that is empty or the begin of 1970.
    """

    at: int
    index: int
    serial_number: str
    registers: tuple[int, ...]
    logger_index: int
    settings: tuple[int, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that is no record, and why; never guessed at."""

    line: str
    reason: str


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an answer took, in seconds from its request."""

    first: float
    """Until the first byte of its records."""
    whole: float
    """Until its end."""


@dataclass(frozen=True, slots=True)
class Page[R: Record | LogbookRecord = Record]:
    """One answer of the data logger or the logbook, in the order of the index.

    Lines may be missing at its end without anybody noticing, so that reading goes on
    after the last record that came. `whole` is false where the answer is known to
    have ended early; `has_length` is whether that would have been noticed.
    """

    records: tuple[R, ...]
    refusals: tuple[Refusal, ...]
    whole: bool
    has_length: bool = True
    timing: Timing | None = None


class TableReader[R]:
    """Reads records from the bytes of an answer as they come.

    Holds one unfinished line and nothing else.
    """

    def __init__(
        self,
        columns: int,
        pattern: Callable[[str], re.Pattern[str]],
        record: Callable[[int, list[str]], R],
    ) -> None:
        """Begin before the first byte.

        `pattern` makes, for a separator, the pattern of a line, which begins with a
        time stamp. `record` makes the record of that time and the line's fields, or
        raises ValueError with the reason not to.
        """
        self.refusals: list[Refusal] = []
        self._columns = columns
        self._pattern = pattern
        self._make = record
        self._rest = b""
        self._match: Callable[[str], re.Match[str] | None] | None = None
        self._separator = ""

    def feed(self, data: bytes) -> list[R]:
        """Return the records whose lines end in these bytes."""
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return self._read(lines)

    def close(self, *, complete: bool) -> list[R]:
        """Return the record of a last line without an end, if all of it came.

        `complete` says whether the transfer is known to be whole: half a number is
        a number as well.
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
            # A tab may separate a last field that is empty.
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
        """Learn the separator from a first line; return whether to read its record."""
        self._separator = max(_SEPARATORS, key=text.count)
        begins_with_stamp = re.match(_STAMP, text) is not None
        if begins_with_stamp or self._is_header(text):
            self._match = self._pattern(self._separator).fullmatch
        else:
            self._refuse(text, self._reason(text))
        return begins_with_stamp

    def _is_header(self, text: str) -> bool:
        """Return whether a line can name columns; a line of HTML or JSON can't.

        No empty table must be made of an answer that is none.
        """
        is_markup = "<" in text or "{" in text
        return not is_markup and 2 * text.count(self._separator) >= self._columns

    def _reason(self, text: str) -> str:
        fields = text.count(self._separator) + 1
        if fields != self._columns:
            return f"{fields} columns instead of {self._columns}"
        return "a field is no number"

    def _refuse(self, text: str, reason: str) -> None:
        self.refusals.append(Refusal(text[:80], reason))


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
    # Possessive: nothing is tried twice, which takes a third less time.
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
    """Return a stamp in seconds. Raises ValueError if no clock of a meter shows it."""
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
    """Find the index of the first record that ends after a time.

    `newest` must be one, and `interval` is a guess in seconds. Yields an index and
    wants to be sent its record, or None where the logger has none any more.
    Estimates and closes in, for outages bend the line between index and time.
    Where the clock was set back, several records may be the first: one of them.
    """
    low, high, high_at = -1, newest.index, newest.at
    low_at: int | None = None
    in_vain = 0
    while (size := high - low) > 1:
        if low_at is None:
            guess = high - (high_at - at) // interval
        else:
            guess = low + size * (at - low_at) // max(high_at - low_at, 1)
        if in_vain == _PATIENCE or (low_at is None and guess <= low):
            guess = low + size // 2
        guess = min(max(guess, low + 1), high - 1)
        record = yield guess
        if record and record.at > at:
            high, high_at = guess, record.at
        else:
            low, low_at = guess, record.at if record else None
        in_vain = 0 if high - low <= size // 2 else in_vain % _PATIENCE + 1
    return high
