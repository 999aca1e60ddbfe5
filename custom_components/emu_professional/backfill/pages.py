"""Reading the meter's tables, politely and whatever happens on the way.

Requests are as few and as large as the meter is slow (see `emu/pace.py`). What was
asked for is never taken for what has come: reading goes on after the last record that
came, and an empty answer that may have been cut is asked for again.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

from ..emu.client import MeterClient
from ..emu.errors import MeterUnexpectedAnswer, MeterUnreachable, MeterUnreadable
from ..emu.logs import CUT_OFF, LogbookRecord, Page, Record, Refusal, Timing, locate
from ..emu.pace import FIRST_PAGE, MOST_RECORDS, SHORT
from ..emu.page_order import followed, newest_of
from ..emu.request_queue import Priority

USUAL_INTERVAL: Final = 900
"""Seconds between two records, unless the meter is told otherwise."""

FAR_IN_THE_PAST: Final = "time stamp far in the past"
"""Why records are skipped that are older than those before them."""

EVER: Final = 1 << 40
"""Later than every time stamp."""

_FEW: Final = 3
_DAY: Final = 86_400
_REACH: Final = 26 * 3600
"""Seconds by which a record may be older than one before it: the clock was set back."""
_KEPT: Final = 8000
"""Records that are kept, in case that they are wanted again."""
_EDGE: Final = 300
"""Records at the begin of each page that are kept: an older part ends with them."""
_MOST_PAGES: Final = 100_000
"""In one reading: ten years of records every minute, 50 at a time."""
_PAUSE: Final = 0.75
"""Of a page's time, after it: live polls go first in any case."""
_LONGEST_PAUSE: Final = 1.0
_PATIENCE: Final = (1.0, 5.0, 15.0, 40.0)
"""Seconds to wait before a lost page is asked for again."""

type _AskNewest[R: Record | LogbookRecord] = Callable[
    [int, Priority], Awaitable[Page[R]]
]
type _Ask[R: Record | LogbookRecord] = Callable[
    [int, int, Priority], Awaitable[Page[R]]
]


class TablePages[R: Record | LogbookRecord]:
    """Reads a table of one meter, page by page.

    With a pause after each page nearly as long as the page took, at most 1 s, so that
    the owner's browser gets through. Raises what the client raises, a lost connection
    only after some patience.
    """

    def __init__(
        self,
        client: MeterClient,
        newest: _AskNewest[R],
        ask: _Ask[R],
        priority: Priority,
    ) -> None:
        """Begin with what the client has learned of the meter's pace."""
        self._pace = client.pace
        self._ask_newest = newest
        self._ask = ask
        self._priority = priority
        self._kept: dict[int, R] = {}
        self._holes: list[range] = []
        """Indices that have no records."""
        self._newest: R | None = None
        self.refused_at_end: tuple[Refusal, ...] = ()
        """Lines after the newest record that could be read, when it was looked for."""

    async def newest(self) -> R | None:
        """Return the newest record, or None if the table is empty."""
        try:
            page = await self._newest_page(_FEW)
        except MeterUnreadable:
            # Some damaged lines at the end must not hide the others.
            page = await self._newest_page(FIRST_PAGE)
        self._keep(page.records)
        self._newest = newest_of(page.records)
        self.refused_at_end = _refused_after(self._newest, page)
        return self._newest

    async def pages(
        self, first: int, last: int, until: int = EVER
    ) -> AsyncIterator[Page[R]]:
        """Yield the records with these indices, in order, until one ends at a time."""
        latest: int | None = None
        wanted = self._count_at_first(first, until)
        asked = 0
        while first <= last:
            page = self._kept_page(first, min(first + wanted - 1, last))
            if page is None:
                asked += 1
                if asked > _MOST_PAGES:
                    # A table of billions of indices, one record in each answer.
                    raise MeterUnexpectedAnswer("there is no end of its records")
                count = min(wanted, self._pace.size)
                page = await self._page(first, min(first + count - 1, last))
                pause = page.timing.whole * _PAUSE if page.timing else 0
                await asyncio.sleep(min(pause, _LONGEST_PAUSE))
            page, following = followed(page, first)
            if following == first:
                record = await self._next(first, last)
                first = last + 1 if record is None else record.index
                continue
            yield page
            first = following
            if not page.records:
                continue
            # One stamp in the future must not end the reading.
            if min(record.at for record in page.records[-_FEW:]) >= until:
                break
            wanted = _count_until(until, page.records)
            if (page_latest := self._latest(page.records)) is None:
                continue
            if latest is not None and page_latest < latest - _REACH:
                first = await self._after_past(first, last, latest - _REACH)
                if first > following:
                    reason = f"{first - following} records after {following - 1}"
                    yield Page((), (Refusal(reason, FAR_IN_THE_PAST),), whole=True)
            latest = max(page_latest, latest or page_latest)

    def _count_at_first(self, first: int, until: int) -> int:
        """Return how many records to ask for before one of them has come."""
        if (record := self._kept.get(first)) is not None:
            return _count_until(until, (record,))
        # Where a request takes long anyway, more of them do no harm.
        return self._pace.size if self._pace.fixed > SHORT else FIRST_PAGE

    async def _newest_page(self, count: int) -> Page[R]:
        ask = partial(self._ask_newest, count, self._priority)
        page = await self._patiently(ask)
        if _is_doubtful(page):
            page = await self._patiently(ask)
        if page.timing:
            self._pace.learn(len(page.records), page.timing.first, page.timing.whole)
        return page

    async def _page(self, first: int, last: int) -> Page[R]:
        """Return what came of some records; a cut or doubtful nothing is asked again."""
        page = await self._timed(first, last)
        if _is_doubtful(page):
            page = await self._timed(first, last)
            if _is_nothing(page) and not page.whole:
                # What is cut off twice in its first line is not asked for again.
                page = Page((), (Refusal(f"{first}", CUT_OFF),), whole=False)
        self._keep(page.records[:_EDGE])
        if page.records and not page.refusals and len(page.records) < MOST_RECORDS:
            if (begin := page.records[0].index) > first:
                self._holes.append(range(first, begin))
        return page

    async def _timed(self, first: int, last: int) -> Page[R]:
        """Ask for a page, and learn from how long it took."""
        time = asyncio.get_running_loop().time
        begin = time()
        try:
            page = await self._patiently(
                lambda: self._ask(first, last, self._priority), last - first + 1
            )
        except MeterUnreadable as err:
            if not err.is_table:
                raise
            page = err.page
        timing = page.timing or Timing(time() - begin, time() - begin)
        self._pace.learn(len(page.records), timing.first, timing.whole)
        return page

    async def _patiently(
        self, ask: Callable[[], Awaitable[Page[R]]], count: int = _FEW
    ) -> Page[R]:
        """Ask again after a while; what is no table may have been a busy moment."""
        for pause in _PATIENCE:
            try:
                return await ask()
            except (MeterUnreachable, MeterUnexpectedAnswer) as err:
                if isinstance(err, MeterUnreadable) and err.is_table:
                    raise
                self._pace.shrink(count)
                await asyncio.sleep(pause)
        return await ask()

    async def _next(self, index: int, last: int) -> R | None:
        """Return the first record from an index on, or None if there is none."""
        count = max(self._pace.probe, _FEW)
        if records := await self._kept_span(index, min(index + count - 1, last)):
            return records[0]
        return await self._after_hole(index, last)

    async def _after_hole(self, absent: int, last: int) -> R | None:
        """Return the first record after an index without one, or None.

        By bisecting: an index that jumps by billions costs some thirty requests. A
        range that begins in the hole may be answered with nothing, although a part
        of it is there.
        """
        if last == absent or not (records := await self._kept_span(last, last)):
            return None
        found, begin = records[0], absent
        count = max(self._pace.probe, _FEW)
        while found.index - absent > 1:
            middle = (absent + found.index) // 2
            end = min(middle + count - 1, found.index - 1)
            if not (records := await self._kept_span(middle, end)):
                absent = middle
                continue
            found = records[0]
            if found.index > middle and len(records) < MOST_RECORDS:
                break
        self._holes.append(range(begin, found.index))
        return found

    async def _kept_span(self, first: int, last: int) -> tuple[R, ...]:
        """Return the records of a span, which are kept."""
        if page := self._kept_page(first, last):
            return page.records
        page = await self._page(first, last)
        self._keep(page.records)
        return page.records

    async def _after_past(self, first: int, last: int, at: int) -> int:
        """Return the index of the first record that ends after a time again.

        For a clock that fell back to 1970: what it stamped is not read.
        """
        while first <= last:
            middle = (first + last) // 2
            record = await self._next(middle, last)
            if record is not None and record.at > at:
                last = middle - 1
            else:
                first = middle + 1
        return first

    def _latest(self, records: Sequence[R]) -> int | None:
        """Return the latest stamp that can be right: not much later than the newest."""
        limit = EVER if self._newest is None else self._newest.at + _DAY
        stamps = [record.at for record in records if record.at <= limit]
        return max(stamps, default=None)

    def _keep(self, records: Iterable[R]) -> None:
        for record in records:
            self._kept[record.index] = record
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]

    def _kept_page(self, first: int, last: int) -> Page[R] | None:
        """Return the kept records from an index on, if there is one."""
        records: list[R] = []
        while first <= last and (record := self._kept.get(first)) is not None:
            records.append(record)
            first += 1
        return Page(tuple(records), (), whole=True) if records else None


class LoggerReader(TablePages[Record]):
    """Reads the data logger of one meter."""

    def __init__(
        self, client: MeterClient, priority: Priority = Priority.BACKGROUND
    ) -> None:
        """Read for somebody who waits for it, or in the background."""
        super().__init__(client, client.newest_records, client.records, priority)
        self._oldest: Record | None = None
        """The oldest record, once something was looked for before it."""

    async def first_after(self, at: int, newest: Record) -> int:
        """Return the index of the first record that ends after a time.

        The index behind the newest one, if all end before.
        """
        if newest.at <= at:
            return newest.index + 1
        search = locate(at, newest, self._interval(newest))
        try:
            index = next(search)
            while True:
                index = search.send(await self._from(index, newest.index))
        except StopIteration as found:
            index = int(found.value)
        record = await self._from(index, newest.index)
        return index if record is None else record.index

    async def record(self, index: int) -> Record | None:
        """Return a record or the next one that can be read; None if there is none."""
        if index < 0:
            return None
        found = self._known(index)
        if found is None:
            records = await self._around(index)
            found = next((record for record in records if record.index >= index), None)
        return found if found and found.index - index <= _FEW else None

    async def _from(self, index: int, last: int) -> Record | None:
        """Return the first record from an index on."""
        if (known := self._known(index)) is not None:
            return known
        records = await self._around(index)
        found = next((record for record in records if record.index >= index), None)
        if found is None:
            found = await self._after_hole(index, last)
        if found and found.index > index and self._oldest is None:
            await self._look_below(index, found)
        return found

    async def _look_below(self, index: int, found: Record) -> None:
        """Note that a record is the oldest one, if there is nothing before an index."""
        if not index or not await self._kept_span(0, index - 1):
            self._oldest = found

    def _known(self, index: int) -> Record | None:
        """Return the first record from an index on, if no request is needed."""
        if self._oldest and index < self._oldest.index:
            return self._oldest
        for hole in self._holes:
            if index in hole:
                index = hole.stop
        return self._kept.get(index)

    async def _around(self, index: int) -> tuple[Record, ...]:
        """Return records around an index, as many as cost little more than one.

        What is searched for next is often among them.
        """
        count = max(self._pace.probe, _FEW + 1)
        begin = index
        while begin > max(index - count // 4, 0) and not self._is_known(begin - 1):
            begin -= 1
        end = begin + count - 1
        if self._newest:
            end = max(min(end, self._newest.index), index)
        page = await self._page(begin, end)
        if not page.records and begin < index:
            # A meter may answer nothing where a part of a range is not there.
            page = await self._page(index, end)
        self._keep(page.records)
        return page.records

    def _is_known(self, index: int) -> bool:
        return index in self._kept or any(index in hole for hole in self._holes)

    def _interval(self, newest: Record) -> int:
        """Return the seconds between the newest records, as far as they are known."""
        before = self._kept.get(newest.index - 1)
        interval = newest.at - before.at if before else 0
        return interval if 0 < interval <= USUAL_INTERVAL * 4 else USUAL_INTERVAL


class LogbookPages(TablePages[LogbookRecord]):
    """Reads the logbook of one meter."""

    def __init__(
        self, client: MeterClient, priority: Priority = Priority.BACKGROUND
    ) -> None:
        """Read for somebody who waits for it, or in the background."""
        super().__init__(
            client, client.newest_logbook_records, client.logbook_records, priority
        )


def _is_nothing[R: Record | LogbookRecord](page: Page[R]) -> bool:
    return not page.records and not page.refusals


def _is_doubtful[R: Record | LogbookRecord](page: Page[R]) -> bool:
    """Return whether nothing came, and something may have been cut off."""
    return _is_nothing(page) and not (page.whole and page.has_length)


def _refused_after[R: Record | LogbookRecord](
    newest: R | None, page: Page[R]
) -> tuple[Refusal, ...]:
    """Return the refused lines after a record; those before it fill its gaps."""
    if newest is None:
        return page.refusals
    indices = [record.index for record in page.records if record.index <= newest.index]
    gaps = newest.index - indices[0] + 1 - len(indices)
    # An answer begins with its newest line.
    return page.refusals[: max(len(page.refusals) - gaps, 0)]


def _count_until[R: Record | LogbookRecord](until: int, records: Sequence[R]) -> int:
    """Guess how many more records to read until some end at a time or later."""
    first, last = records[0], records[-1]
    interval = (last.at - first.at) // max(last.index - first.index, 1)
    count = (until - last.at) // (interval if interval > 0 else USUAL_INTERVAL)
    return max(count, 0) + _FEW
