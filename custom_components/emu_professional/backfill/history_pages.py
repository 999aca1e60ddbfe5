"""Reads the data logger page by page, politely and despite faults.

For its history, thousands of records at a time. The few new records since the last look,
and the logbook, come by `emu/new_records.py`.

How it works
------------
The slower the meter, the fewer and larger the requests (see `emu/pace.py`). An answer
may contain less than was requested, so reading continues after its last record:

    requested  | 100 ................ 199 |
    answered   | 100 ....... 163 |
    next                       | 164 ................ 263 |

Missing and damaged lines between others are requested once more, unless that has helped
nothing a few times: then the meter has them so.

An empty answer, perhaps cut off or that of a busy meter, is requested again. Where it
stays empty, bisecting finds the first record after the hole, however many indices were
skipped. The hole counts only if the meter has answered with a record at its end:

    requested  | 240 ... 242 |
    answered         | 241, 242 |          so 240 has no record
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from ..emu.client import MeterClient
from ..emu.errors import (
    MeterError,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    MeterUnreadable,
    MeterWithoutLogger,
)
from ..emu.logs import (
    CUT_OFF,
    REACH,
    USUAL_INTERVAL,
    Page,
    Record,
    RejectedLine,
    Timing,
)
from ..emu.pace import FIRST_PAGE, MOST_RECORDS, SHORT
from ..emu.page_order import cut_at_last_record, newest_of
from ..emu.request_queue import Priority
from .times import END_OF_TIME

FAR_IN_THE_PAST: Final = "time stamp far in the past"
"""Reject reason of records much older than those before them."""

FEW: Final = 3
"""Records that cost no more than one."""

_DAY: Final = 86_400
_KEPT: Final = 2000
"""Records in memory, in case they are requested again: 2 MB. Or two large probes."""
_EDGE: Final = 12 * 3600
"""Seconds at the begin of a reading to keep: an older part ends with them."""
_MOST_PAGES: Final = 100_000
"""In one reading: ten years of records every minute, 50 at a time."""
_PAUSE: Final = 0.75
"""After each page, as a share of its time. Live polls have priority in any case."""
_LONGEST_PAUSE: Final = 1.0
_PATIENCE: Final = (1.0, 5.0, 15.0, 40.0)
"""Seconds to wait before a lost or empty page is asked for again."""
_MOST_CONTRADICTIONS: Final = 3
"""Empty answers that proved wrong, in the search for the end of one hole."""
_MOST_IN_VAIN: Final = 3
"""Requests for missing lines that bring none of them."""
_CONTRADICTION: Final = "an empty answer instead of records that it has"

type _Ask = Callable[[int, int, Priority], Awaitable[Page]]


class HistoryPages:
    """Reads the data logger of one meter, page by page.

    The pause after each page is nearly as long as the page took, at most 1 s: thus
    the browser of the owner gets through. Raises the errors of the client, but a lost
    connection only after several attempts.
    """

    def __init__(self, client: MeterClient, priority: Priority) -> None:
        """Initialize with the pace of the client, and the priority of requests."""
        self._pace = client.pace
        self._ask_newest = client.newest_records
        self._ask: _Ask = client.records
        self._priority = priority
        self._kept: dict[int, Record] = {}
        self._holes: list[range] = []
        """Indices that have no records."""
        self._newest: Record | None = None
        self._in_vain = 0
        """How many requests for missing lines have brought none of them."""
        self.rejected_at_end: tuple[RejectedLine, ...] = ()
        """Lines after the newest readable record, as `newest` found them."""

    async def newest(self) -> Record | None:
        """Return the newest record, or None if the logger is empty."""
        try:
            page = await self._newest_page(FEW)
        except MeterUnreadable:
            # A few damaged lines at the end must not hide the records before them.
            page = await self._newest_page(FIRST_PAGE)
        self._keep(page.records)
        self._newest = newest_of(page.records)
        self.rejected_at_end = _rejected_after(self._newest, page)
        return self._newest

    async def pages(
        self, first: int, last: int, until: int = END_OF_TIME
    ) -> AsyncIterator[Page]:
        """Yield the records with these indices, in order, until one ends at a time.

        Records much older than those before them are skipped: the clock had failed.
        """
        latest: int | None = None
        edge = END_OF_TIME
        size = self._first_size(first, until)
        asked = 0
        while first <= last:
            page = self._kept_page(first, min(first + size - 1, last))
            if page is None:
                asked += 1
                if asked > _MOST_PAGES:
                    # A table of billions of indices, one record in each answer.
                    raise MeterUnexpectedAnswer("there is no end of its records")
                count = min(size, self._pace.size)
                page = await self._page(first, min(first + count - 1, last))
                pause = page.timing.whole * _PAUSE if page.timing else 0
                await asyncio.sleep(min(pause, _LONGEST_PAUSE))
            page, following = cut_at_last_record(page, first)
            # Nothing came, although the index is not after the newest one: a hole.
            if following == first:
                record = await self._next(first, last)
                first = last + 1 if record is None else record.index
                continue
            if page.records:
                edge = min(edge, page.records[0].at + _EDGE)
                self._keep(record for record in page.records if record.at < edge)
            yield page
            first = following
            if not page.records:
                continue
            # One stamp in the future must not end the reading.
            if min(record.at for record in page.records[-FEW:]) >= until:
                break
            size = _count_until(until, page.records)
            if (page_latest := self._latest(page.records)) is None:
                continue
            # Reading them would cost time, and the record filter would reject them all.
            if latest is not None and page_latest < latest - REACH:
                past = page.records
                first = await self._after_past(past, last, latest - REACH)
                if first > following:
                    reason = f"{first - following} records after {following - 1}"
                    yield Page((), (RejectedLine(reason, FAR_IN_THE_PAST),), whole=True)
            latest = max(page_latest, latest or page_latest)

    def _first_size(self, first: int, until: int) -> int:
        """Return the size of the first page, before any stamp is known."""
        if (record := self._kept.get(first)) is not None:
            return _count_until(until, (record,))
        # Where a request takes long anyway, more of them do no harm.
        return self._pace.size if self._pace.fixed > SHORT else FIRST_PAGE

    async def _newest_page(self, count: int) -> Page:
        ask = partial(self._ask_newest, count, self._priority)
        page = await self._patiently(ask)
        # An empty table must be sure: it means that the meter has logged nothing.
        if _is_doubtful(page):
            page = await self._patiently(ask)
        if page.timing:
            self._pace.learn(len(page.records), page.timing.first, page.timing.whole)
        return page

    async def _page(self, first: int, last: int) -> Page:
        """Return the page of an answer; a doubtful one is requested again."""
        page = await self._timed(first, last)
        if _is_doubtful(page):
            page = await self._timed(first, last)
            if _is_nothing(page) and not page.whole:
                # Cut off twice in its first line: a third request would be, too.
                page = Page((), (RejectedLine(f"{first}", CUT_OFF),), whole=False)
        if page.whole and self._in_vain < _MOST_IN_VAIN:
            page = await self._repaired(page, first, last)
        # The answer is whole, so the indices before its first record have none.
        if page.records and not page.rejected and len(page.records) < MOST_RECORDS:
            if (begin := page.records[0].index) > first:
                self._holes.append(range(first, begin))
        return page

    async def _repaired(self, page: Page, first: int, last: int) -> Page:
        """Return a page with those of its missing lines that a second request brings.

        Lines after its last record are requested again in any case, and those before
        its first one may have never been there.
        """
        read = {record.index: record for record in page.records}
        begin, end = (min(read), max(read)) if read else (last + 1, last)
        # As many damaged lines as indices before the first record: they are these.
        if 0 < begin - first <= len(page.rejected):
            begin = first
        if not 0 < end + 1 - begin - len(read) <= MOST_RECORDS:
            return page
        missing = set(range(begin, end + 1)) - read.keys()
        found: dict[int, Record] = {}
        with suppress(MeterError):
            again = await self._timed(min(missing), max(missing))
            found = {r.index: r for r in again.records if r.index in missing}
        if not found:
            self._in_vain += 1
            return page
        records = [record for _, record in sorted((read | found).items())]
        rejected = page.rejected[len(found) :]
        return replace(page, records=tuple(records), rejected=rejected)

    async def _timed(self, first: int, last: int) -> Page:
        """Request a page, and learn the pace from its duration."""
        time = asyncio.get_running_loop().time
        begin = time()

        async def ask() -> Page:
            nonlocal last
            try:
                return await self._ask(first, last, self._priority)
            except MeterUnreachable, MeterUnexpectedAnswer:
                # The next attempt is for less: reading continues after it.
                last = min(last, first + max((last - first + 1) // 2, FEW) - 1)
                raise

        try:
            page = await self._patiently(ask, last - first + 1)
        except MeterUnreadable as err:
            # Damaged lines are a page as well; any other document is not.
            if not err.is_table:
                raise
            page = err.page
        timing = page.timing or Timing(time() - begin, time() - begin)
        self._pace.learn(len(page.records), timing.first, timing.whole)
        return page

    async def _patiently(
        self, ask: Callable[[], Awaitable[Page]], count: int = FEW
    ) -> Page:
        """Repeat a request after a while if it failed or its answer is no table."""
        for pause in _PATIENCE:
            try:
                return await ask()
            except (MeterUnreachable, MeterUnexpectedAnswer, MeterWithoutLogger) as err:
                if isinstance(err, MeterUnreadable) and err.is_table:
                    raise
                # A meter that had a record has a logger.
                if isinstance(err, MeterWithoutLogger) and self._newest is None:
                    raise
                self._pace.shrink(count)
                await asyncio.sleep(pause)
        return await ask()

    async def _next(self, index: int, last: int) -> Record | None:
        """Return the first record from an index on, or None if there is none.

        It may be one after `last`, up to the newest one.
        """
        index = self._past_hole(index)
        count = max(self._pace.probe, FEW)
        end = max(index, last, self._newest.index if self._newest else 0)
        if records := await self._kept_span(index, min(index + count - 1, end)):
            return records[0]
        # Indices have no gaps as a rule, and a busy meter may answer with nothing.
        for pause in _PATIENCE:
            await asyncio.sleep(pause)
            if records := await self._kept_span(index, index):
                return records[0]
        return await self._after_hole(index, last)

    async def _after_hole(self, absent: int, last: int) -> Record | None:
        """Return the first record after an index without one, or None.

        It may be one after `last`, up to the newest one. Raises MeterUnexpectedAnswer
        if the answers of the meter contradict each other.
        """
        found = await self._any_after(absent, last)
        if found is None:
            return None
        for _ in range(_MOST_CONTRADICTIONS + 1):
            found, is_sure = await self._bisected(absent, found)
            earlier = () if is_sure else await self._just_before(found)
            if not earlier:
                self._holes.append(range(absent, found.index))
                return found
            found = earlier[0]
            if found.index <= absent:
                return found
        raise MeterUnexpectedAnswer(_CONTRADICTION)

    async def _any_after(self, index: int, last: int) -> Record | None:
        """Return the last record, or the newest one; None if an index is after it."""
        if last > index and (records := await self._kept_span(last, last)):
            return records[0]
        if self._newest is None or index > self._newest.index:
            return None
        if index == self._newest.index:
            # It was read before.
            raise MeterUnexpectedAnswer(_CONTRADICTION)
        return self._newest

    async def _bisected(self, absent: int, found: Record) -> tuple[Record, bool]:
        """Return the first record after an index without one, and whether that is sure.

        A jump by billions costs some thirty requests. If a range begins in the hole,
        the meter may answer with nothing, although it has a part of it. So an empty
        answer counts, but only an answer that begins after its first index is a proof.
        """
        count = max(self._pace.probe, FEW)
        while found.index - absent > 1:
            middle = (absent + found.index) // 2
            end = min(middle + count - 1, found.index)
            if not (records := await self._kept_span(middle, end)):
                absent = middle
                continue
            found = records[0]
            # The records begin inside of the span, and the answer was not cut to its maximum:
            # this is the first record after the hole.
            if found.index > middle and len(records) < MOST_RECORDS:
                return found, True
        return found, False

    async def _just_before(self, found: Record) -> tuple[Record, ...]:
        """Return the record before another one, as soon as the meter has that one.

        A meter that answers with nothing at all is busy, and proves no hole.
        """
        for pause in (0, *_PATIENCE):
            await asyncio.sleep(pause)
            if not _is_nothing(await self._page(found.index, found.index)):
                return await self._kept_span(found.index - 1, found.index - 1)
        raise MeterUnexpectedAnswer(_CONTRADICTION)

    def _past_hole(self, index: int) -> int:
        """Return an index, or the one after the hole that it is in."""
        for hole in self._holes:
            if index in hole:
                index = hole.stop
        return index

    async def _kept_span(self, first: int, last: int) -> tuple[Record, ...]:
        """Return the records of a span, and keep them."""
        if page := self._kept_page(first, last):
            return page.records
        page = await self._page(first, last)
        self._keep(page.records)
        return page.records

    async def _after_past(self, past: Sequence[Record], last: int, at: int) -> int:
        """Return the index after a stretch of records with stamps up to a time.

        A clock that has failed begins in 1970. The stamps of its stretch rise evenly,
        those of another stretch begin anew: right records may lie between the two.
        """
        record = past[-1]
        first = record.index + 1
        interval = record.at - past[-2].at if len(past) > 1 else 0
        while interval > 0 and first <= last:
            middle = (first + last) // 2
            found = await self._next(middle, last)
            if found is None or found.at > at or _is_uneven(record, found, interval):
                last = middle - 1
            else:
                first = found.index + 1
        return first

    def _latest(self, records: Sequence[Record]) -> int | None:
        """Return the latest plausible stamp: not much later than the newest record."""
        limit = END_OF_TIME if self._newest is None else self._newest.at + _DAY
        stamps = sorted(record.at for record in records if record.at <= limit)
        # One stamp far ahead must not hide the records after it.
        return stamps[-2:][0] if stamps else None

    def _keep(self, records: Iterable[Record]) -> None:
        for record in records:
            self._kept[record.index] = record
        most = max(2 * self._pace.probe, _KEPT)
        # Dropped are those kept first: a search has long passed them.
        while len(self._kept) > most:
            del self._kept[next(iter(self._kept))]

    def _kept_page(self, first: int, last: int) -> Page | None:
        """Return the kept records from an index on, if there is one."""
        records: list[Record] = []
        while first <= last and (record := self._kept.get(first)) is not None:
            records.append(record)
            first += 1
        return Page(tuple(records), (), whole=True) if records else None


def _is_nothing(page: Page) -> bool:
    return not page.records and not page.rejected


def _is_doubtful(page: Page) -> bool:
    """Return whether an answer is empty, but may have been cut off."""
    return _is_nothing(page) and not (page.whole and page.has_length)


def _is_uneven(before: Record, record: Record, interval: int) -> bool:
    """Return whether there are not as many intervals between two records as indices."""
    passed = (record.index - before.index) * interval
    return abs(record.at - before.at - passed) >= interval


def _rejected_after(newest: Record | None, page: Page) -> tuple[RejectedLine, ...]:
    """Return the rejected lines after a record; others fill gaps between indices."""
    if newest is None:
        return page.rejected
    indices = [record.index for record in page.records if record.index <= newest.index]
    gaps = newest.index - indices[0] + 1 - len(indices)
    # An answer begins with its newest line.
    return page.rejected[: max(len(page.rejected) - gaps, 0)]


def _count_until(until: int, records: Sequence[Record]) -> int:
    """Estimate how many more records there are until a time."""
    first, last = records[0], records[-1]
    interval = (last.at - first.at) // max(last.index - first.index, 1)
    count = (until - last.at) // (interval if interval > 0 else USUAL_INTERVAL)
    return max(count, 0) + FEW
