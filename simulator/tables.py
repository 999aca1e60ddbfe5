"""The CSV tables: the records of a request, and their format.

The manual leaves much of it open (chapters "Read-Out Data Logger" and "Read-Out
Logbook"); `TableConfig` has an option for each gap, the same for both tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

import numpy as np

from .load import Counts

MOST_RECORDS = 3000
"""Of the data logger, in one answer."""
MOST_LOGBOOK_RECORDS = 2048
"""In one answer."""

LOGGER_COLUMNS = (
    *("Timestamp", "Index", "Status", "Serial"),
    *("Active Energy Import L123 T1 [Wh]", "Active Energy Import L123 T2 [Wh]"),
    *("Active Energy Export L123 T1 [Wh]", "Active Energy Export L123 T2 [Wh]"),
    *("Reactive Energy Import L123 T1 [varh]", "Reactive Energy Import L123 T2 [varh]"),
    *("Reactive Energy Export L123 T1 [varh]", "Reactive Energy Export L123 T2 [varh]"),
    *("Active Power L123 [W]", "Active Power L1 [W]", "Active Power L2 [W]"),
    *("Active Power L3 [W]", "Current L123 [mA]", "Current L1 [mA]"),
    *("Current L2 [mA]", "Current L3 [mA]", "Current N [mA]"),
    *("Voltage L1-N [1/10 V]", "Voltage L2-N [1/10 V]", "Voltage L3-N [1/10 V]"),
    *("Powerfactor L1 [1/100]", "Powerfactor L2 [1/100]", "Powerfactor L3 [1/100]"),
    "Frequency [1/10 Hz]",
)
"""Names on real meters: the first one and some others are published."""

MANUALS_LOGGER_COLUMNS = (
    *("Time stamp", "Index", "Status", "Serial number"),
    *("Active Energy Import L123 T1", "Active Energy Import L123 T2"),
    *("Active Energy Export L123 T1", "Active Energy Export L123 T2"),
    *("Reactive Energy Import L123 T1", "Reactive Energy Import L123 T2"),
    *("Reactive Energy Export L123 T1", "Reactive Energy Export L123 T2"),
    *("Active Power L123", "Active Power L1", "Active Power L2", "Active Power L3"),
    *("Current L123", "Current L1", "Current L2", "Current L3", "Current N"),
    *("Voltage L1-N", "Voltage L2-N", "Voltage L3-N"),
    *("Power factor L1", "Power factor L2", "Power factor L3"),
    "Frequency",
)
"""Names in the manual."""

LOGBOOK_COLUMNS = (
    *("Time stamp", "Time stamp after change", "Index", "Serial Number"),
    *("Active Energy Import L123 T1", "Active Energy Import L123 T2"),
    *("Active Energy Export L123 T1", "Active Energy Export L123 T2"),
    "Index of corresponding load profile entry",
    *("CT setting primary actual", "CT setting primary pre change(if)"),
    *("CT setting secondary actual", "CT setting secondary pre change(if)"),
    *("VT setting primary actual", "VT setting primary pre change(if)"),
    *("VT setting secondary actual", "VT setting secondary pre change(if)"),
    *("S0 pulse value actual", "S0 pulse value pre change(if)"),
    *("S0 pulse width actual", "S0 pulse width pre change(if)"),
)
"""Names in the manual: no real logbook is published."""

LARGEST_NUMBER = 2**32 - 1
"""Largest number understood by a small server."""


class OneSided(Enum):
    """Meaning of `from` or `to` alone."""

    OPEN = auto()
    """From there to the newest, or from the oldest to there, both ascending."""
    IGNORED = auto()
    """Like a request without parameters: the newest ones."""
    SINGLE = auto()
    """This record only."""


class BeyondTheEnds(Enum):
    """Meaning of a range beyond the oldest or the newest record."""

    CLIPPED = auto()
    """Its existing part, perhaps empty."""
    CLAMPED = auto()
    """Each end moved to the nearest existing record."""
    NOTHING = auto()
    """An empty answer, even if a part exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableConfig:
    """Format of a meter's tables and of requests for them.

    The defaults are those of real meters, as far as they are known.
    """

    separator: str = ";"
    header: bool = True
    """Whether the first line names the columns."""
    manuals_names: bool = False
    """Whether these are the names in the manual."""
    line_end: str = "\r\n"
    byte_order_mark: bool = False
    final_line_end: bool = True
    content_type: str = "text/csv"
    chunked: bool = False
    """Whether to send the answer in chunks, without a Content-Length."""
    last_ascending: bool = False
    """Whether `last=x` is answered in ascending order."""
    one_sided: OneSided = OneSided.OPEN
    beyond: BeyondTheEnds = BeyondTheEnds.CLIPPED
    garbage_status: int | None = None
    """HTTP status for a parameter outside of 0 to 2^32 - 1; None: it is ignored."""
    empty_status: int = 200
    """HTTP status of an answer without a record; it has the header line at most."""
    missing_status: int = 404
    """HTTP status of a missing table."""
    most: int = MOST_RECORDS
    """Records in one answer; of the logbook there are at most 2048."""

    @property
    def logger_columns(self) -> Sequence[str]:
        """Names of the data logger's columns."""
        return MANUALS_LOGGER_COLUMNS if self.manuals_names else LOGGER_COLUMNS


class Selection(NamedTuple):
    """Indices of the records to print, both included; nothing if last < first."""

    first: int
    last: int
    descending: bool = False


NOTHING = Selection(1, 0)


class NotANumber(ValueError):
    """A parameter of a request is no number."""


def selection(
    query: Mapping[str, str], oldest: int, newest: int, config: TableConfig
) -> Selection:
    """Return the selection of a request among the records between two indices.

    `last` has precedence over `from` and `to`. Of more than `most` records, the first
    ones in the requested order are given.
    """
    if newest < oldest:
        return NOTHING
    count = _number(query, "last", config)
    if count is not None:
        first = max(oldest, newest - min(count, config.most) + 1)
        return Selection(first, newest, not config.last_ascending)
    begin, end = _number(query, "from", config), _number(query, "to", config)
    one_sided = (begin is None) != (end is None)
    if one_sided and config.one_sided is OneSided.SINGLE:
        begin = end = end if begin is None else begin
    elif one_sided and config.one_sided is OneSided.OPEN:
        if begin is None:
            begin = min(oldest, end or 0)
        else:
            end = max(newest, begin)
    if begin is None or end is None:
        return Selection(max(oldest, newest - config.most + 1), newest, descending=True)
    return _range(begin, end, oldest, newest, config)


def _range(
    begin: int, end: int, oldest: int, newest: int, config: TableConfig
) -> Selection:
    descending = begin > end
    low, high = sorted((begin, end))
    if config.beyond is BeyondTheEnds.NOTHING and (low < oldest or high > newest):
        return NOTHING
    first, last = max(low, oldest), min(high, newest)
    if config.beyond is BeyondTheEnds.CLAMPED:
        first, last = min(first, newest), max(last, oldest)
    if descending:
        return Selection(max(first, last - config.most + 1), last, descending=True)
    return Selection(first, min(last, first + config.most - 1))


def _number(query: Mapping[str, str], name: str, config: TableConfig) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    digits = text.lstrip("0")[: len(str(LARGEST_NUMBER)) + 1]
    if text.isascii() and text.isdecimal() and int(digits or 0) <= LARGEST_NUMBER:
        return int(digits or 0)
    if config.garbage_status is not None:
        raise NotANumber(f"{name}={text}")
    return None


def rendered(
    names: Sequence[str], columns: Sequence[Sequence[object]], config: TableConfig
) -> bytes:
    """Return a table; `columns` have one value for each record."""
    template = config.separator.join(["%s"] * len(names))
    lines = [config.separator.join(names)] if config.header else []
    lines += [template % row for row in zip(*columns, strict=True)]
    text = config.line_end.join(lines)
    if lines and config.final_line_end:
        text += config.line_end
    return text.encode("utf-8-sig" if config.byte_order_mark else "utf-8")


def stamps(seconds: Counts) -> list[str]:
    """Return epoch seconds the way the meter prints them, 2022-09-28T10:30:00Z."""
    moments = np.datetime_as_string(seconds.astype("datetime64[s]"), timezone="UTC")
    texts: list[str] = moments.tolist()
    return texts
