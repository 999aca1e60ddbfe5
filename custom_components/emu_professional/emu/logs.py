"""Reading the meter's data logger.

Chapters "Read-Out Data Logger" and "CSV-File Structure of the data logger". The
manual leaves open what separates the fields, whether there is a header line, and
how lines end: all that is found out from the data. All times are UTC.
"""

from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntFlag
import re
from typing import Final

from .registers import QUANTITIES, Kind

LAST_COLUMN: Final = 28

COLUMNS: Final = tuple(
    sorted((q for q in QUANTITIES if q.column), key=lambda q: q.column or 0)
)
"""The quantities of a record in the order of its `values`."""

REGISTERS: Final = sum(column.kind is Kind.REGISTER for column in COLUMNS)
"""How many of a record's values, the first ones, are registers."""

_SEPARATORS: Final = ",;\t"
_PATIENCE: Final = 2
_LONGEST_LINE: Final = 1024
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
    1970-01-01 UTC. `values` are those of `COLUMNS`, as whole numbers of their last
    digit: Wh, varh, W, mA, 0.1 V, 0.01, 0.1 Hz.
    """

    at: int
    index: int
    status: int
    serial_number: str
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line that is no record, and why; never guessed at."""

    line: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the data logger, in the order of the index.

    `whole` is false where the connection was lost before the end: to be gone on
    with behind the last record.
    """

    records: tuple[Record, ...]
    refusals: tuple[Refusal, ...]
    whole: bool


class RecordReader:
    """Reads records from the bytes of an answer as they come.

    Holds one unfinished line and nothing else.
    """

    def __init__(self) -> None:
        """Begin before the first byte."""
        self.refusals: list[Refusal] = []
        self._rest = b""
        self._match: Callable[[str], re.Match[str] | None] | None = None
        self._separator = ""

    def feed(self, data: bytes) -> list[Record]:
        """Return the records whose lines end in these bytes."""
        *lines, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return self._read(lines)

    def close(self, *, complete: bool) -> list[Record]:
        """Return the record of a last line without an end, if all of it came.

        `complete` says whether the transfer is known to be whole: half a number is
        a number as well.
        """
        rest, self._rest = self._rest, b""
        if not rest.strip():
            return []
        if complete:
            return self._read([rest])
        self._refuse(rest.decode("ascii", "replace"), "cut off")
        return []

    def _read(self, lines: Iterable[bytes]) -> list[Record]:
        records = []
        for line in lines:
            text = line.decode("utf-8", "replace").strip().removeprefix("\ufeff")
            if text and (record := self._record(text)):
                records.append(record)
        return records

    def _record(self, text: str) -> Record | None:
        first = self._match is None
        if self._match is None:
            self._separator = max(_SEPARATORS, key=text.count)
            self._match = _pattern(self._separator).fullmatch
        if not self._match(text):
            if not (first and _is_header(text)):
                self._refuse(text, self._reason(text))
            return None
        stamp, index, status, serial_number, *values = text.split(self._separator)
        try:
            at = int(datetime.fromisoformat(stamp).timestamp())
        except ValueError:
            self._refuse(text, "time stamp")
            return None
        numbers = tuple(map(int, values))
        if min(numbers[:REGISTERS]) < 0:
            self._refuse(text, "negative register")
            return None
        return Record(at, int(index), int(status), serial_number, numbers)

    def _reason(self, text: str) -> str:
        fields = text.count(self._separator) + 1
        if fields != LAST_COLUMN:
            return f"{fields} columns instead of {LAST_COLUMN}"
        return "a field is no number"

    def _refuse(self, text: str, reason: str) -> None:
        self.refusals.append(Refusal(text[:80], reason))


def _pattern(separator: str) -> re.Pattern[str]:
    # Possessive: nothing is tried twice, which takes a third less time.
    value = rf"{separator}-?+\d{{1,12}}+"
    return re.compile(
        rf"{_STAMP}{separator}\d{{1,10}}+{separator}\d{{1,3}}+{separator}\w{{1,32}}+"
        rf"(?:{value}){{{len(COLUMNS)}}}+",
        re.ASCII,
    )


def _is_header(text: str) -> bool:
    return not re.match(_STAMP, text)


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
