"""Reads new records of the data logger and the logbook in small, paused pages.

An answer proves nothing by its length: lines may be missing at its end, and a meter
may answer with other records than the requested ones. So reading continues after the
last record received.

The history of the data logger is read by `backfill/history_pages.py`: in large pages,
at the meter's pace, with more patience.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from .client import MeterClient
from .errors import (
    MeterUnexpectedAnswer,
    MeterUnreadable,
    MeterWithoutLogbook,
    MeterWithoutLogger,
)
from .logs import DAMAGED_INDEX, LogbookRecord, Page, Record
from .page_order import cut_at_last_record, newest_of
from .request_queue import Priority

LOGBOOK_SIZE: Final = 2048
"""Most records in a logbook."""

LOGGER_SIZE: Final = 3000
"""Most logger records read after a long absence."""

PAGE: Final = 96
"""Records of one request."""

_FEW: Final = 3
_PAUSE: Final = 0.2
"""Seconds between two pages."""
_PATIENCE: Final = (1.0, 5.0)
"""Seconds to wait before an empty page of new records is requested again."""
_MISSING: Final = "missing"
"""Reject reason of an index without a record between two others."""


@dataclass(frozen=True, slots=True)
class LogbookAnswer:
    """Records of a logbook, and the number of rejected lines by reason."""

    records: list[LogbookRecord]
    rejected: Counter[str]


async def newest_record[R: Record | LogbookRecord](
    ask: Callable[[int], Awaitable[Page[R]]], position: int | None
) -> R | None:
    """Return the newest plausible record, or None if the log is empty or absent.

    `position` is the index of the last reported record. Raises MeterError.
    """
    try:
        page = await _page_of(ask(_FEW if position is None else 1))
        newest = newest_of(page.records)
        follows = newest and position is not None and _follows(position, newest.index)
        # A damaged index would look like a restarted log, and all of its records
        # would be reported once more: the records beside it decide.
        if position is not None and not follows and (page.rejected or newest):
            page = await _page_of(ask(_FEW))
            newest = newest_of(page.records)
            if page.rejected and newest and newest.index < position:
                # A log that really restarted has no damaged lines yet.
                raise MeterUnexpectedAnswer("the newest records contradict each other")
    except MeterWithoutLogbook, MeterWithoutLogger:
        return None
    if page.rejected and newest is None:
        raise MeterUnexpectedAnswer("the newest records can't be read")
    return newest


def _follows(position: int, newest: int) -> bool:
    return 0 <= newest - position < LOGGER_SIZE


async def records_after[R: Record | LogbookRecord](
    ask: Callable[[int, int], Awaitable[Page[R]]],
    position: int | None,
    newest: R | None,
    most: int,
) -> list[R]:
    """Return the records after a position, the newest `most` of them."""
    if position is None or newest is None:
        return []
    first = max(position + 1, newest.index - most + 1)
    records, _ = await read_span(ask, first, newest.index, _PATIENCE)
    return records


async def read_span[R: Record | LogbookRecord](
    ask: Callable[[int, int], Awaitable[Page[R]]],
    first: int,
    last: int,
    pauses: Sequence[float] = (),
) -> tuple[list[R], Counter[str]]:
    """Return the records with these indices, and the rejected lines by reason.

    An empty answer instead of records that should be there is requested again after
    each of the `pauses`, in seconds: the meter may be busy.
    """
    records: list[R] = []
    rejected: Counter[str] = Counter()
    while first <= last:
        end = min(first + PAGE - 1, last)
        page = await _page_of(ask(first, end))
        # Damaged or missing lines may be a fault of the transmission: ask once more.
        if page.whole and (page.rejected or not page.records):
            page = min(await _page_of(ask(first, end)), page, key=_badness)
        for pause in pauses:
            if page.records or page.rejected or not page.whole:
                break
            await asyncio.sleep(pause)
            page = await _page_of(ask(first, end))
        page, following = cut_at_last_record(page, first)
        records += [record for record in page.records if first <= record.index <= end]
        rejected.update(line.reason for line in page.rejected)
        if following > first:
            first = following
        elif page.whole:
            # The log no longer has these records.
            first = end + 1
        else:
            raise MeterUnexpectedAnswer("an answer without the records asked for")
        if first <= last:
            await asyncio.sleep(_PAUSE)
    return records, rejected


async def read_logbook(client: MeterClient) -> LogbookAnswer:
    """Return the whole logbook. Raises MeterError."""
    ask_newest = partial(client.newest_logbook_records, priority=Priority.ACTION)
    ask = partial(client.logbook_records, priority=Priority.ACTION)
    newest = await _page_of(ask_newest(PAGE))
    if not newest.records and not newest.rejected:
        # A busy meter may answer with an empty page.
        newest = await _page_of(ask_newest(1))
    elif _damaged_end(newest.records):
        # May be a fault of the transmission, like any other damage.
        newest = min(await _page_of(ask_newest(PAGE)), newest, key=_badness)
    if not newest.records:
        return LogbookAnswer([], Counter(line.reason for line in newest.rejected))
    damaged = _damaged_end(newest.records)
    newest_records = newest.records[: len(newest.records) - len(damaged)]
    end = newest_records[-1].index
    # Rejected lines may be newer than the last readable record.
    last = end + len(newest.rejected)
    records, rejected = await read_span(ask, max(last - LOGBOOK_SIZE + 1, 0), last)
    found = {record.index: record for record in (*records, *newest_records)}
    if missing := end - min(found) + 1 - len(found) - rejected.total():
        rejected[_MISSING] = max(missing, 0)
    # Added last: these records come after `end`.
    rejected[DAMAGED_INDEX] += len(damaged)
    return LogbookAnswer([found[index] for index in sorted(found)], +rejected)


async def _page_of[R: Record | LogbookRecord](answer: Awaitable[Page[R]]) -> Page[R]:
    """Return a page of an answer, also if all of its lines are damaged.

    Raises MeterUnreadable for an answer without any line of a table.
    """
    try:
        return await answer
    except MeterUnreadable as err:
        if not err.is_table:
            raise
        return err.page


def _damaged_end[R: Record | LogbookRecord](records: Sequence[R]) -> Sequence[R]:
    """Return the records after the newest plausible one: their index is damaged."""
    newest = newest_of(records)
    return [record for record in records if newest and record.index > newest.index]


def _badness(page: Page[Any]) -> tuple[bool, bool, int]:
    damaged = len(page.rejected) + len(_damaged_end(page.records))
    return not page.whole, not page.records, damaged
