"""Parsing the tables of the data logger and the logbook.

Chapters "Read-Out Data Logger" and "Read-Out Logbook". The manual leaves open the
separator of the fields, the header line and the line end: the reader learns them from
the data. All times are UTC.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
import re
from typing import Final

from .errors import SEPARATORS, is_markup
from .logs import (
    COLUMNS,
    CUT_OFF,
    LOGBOOK_REGISTERS,
    REGISTER_COUNT,
    SETTINGS,
    Change,
    ChangeKind,
    LogbookRecord,
    Record,
    RejectedLine,
)
from .serial_number import normalized

LAST_COLUMN: Final = max(quantity.column or 0 for quantity in COLUMNS)
LAST_LOGBOOK_COLUMN: Final = max(pair.before for pair in SETTINGS)
"""Number of columns: a line with more or fewer is rejected as a whole.

Nobody knows which of its fields is missing, so none can be told by its place.
"""

_LONGEST_LINE: Final = 1024
_LATEST_TIME: Final = 2**32
"""Seconds since 1970-01-01: the meter's clock counts them with 32 bits (its JSON)."""
_STAMP: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


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
        self.rejected: list[RejectedLine] = []
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
        self._reject(rest.decode("ascii", "replace"), CUT_OFF)
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
            self._reject(text, self._reason(text))
            return None
        fields = text.split(self._separator)
        try:
            return self._make(_seconds(fields[0], "time stamp"), fields)
        except ValueError as err:
            self._reject(text, str(err))
            return None

    def _takes_form_of(self, text: str) -> bool:
        """Learn the separator from a first line; return whether it can be a record."""
        self._separator = max(SEPARATORS, key=text.count)
        begins_with_stamp = re.match(_STAMP, text) is not None
        if begins_with_stamp or self._is_header(text):
            self._match = self._pattern(self._separator).fullmatch
        else:
            self._reject(text, self._reason(text))
        return begins_with_stamp

    def _is_header(self, text: str) -> bool:
        """Return whether a line can be a header."""
        # An HTML or JSON document must not pass for an empty table.
        return not is_markup(text) and 2 * text.count(self._separator) >= self._columns

    def _reason(self, text: str) -> str:
        fields = text.count(self._separator) + 1
        if fields != self._columns:
            return f"{fields} columns instead of {self._columns}"
        return "a field is no number"

    def _reject(self, text: str, reason: str) -> None:
        self.rejected.append(RejectedLine(text[:80], reason))


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
    if min(numbers[:REGISTER_COUNT]) < 0:
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
