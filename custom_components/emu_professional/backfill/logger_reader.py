"""Reads the meter's data logger page by page, and finds its records by time.

A record has an index and a stamp, and only the index can be requested. So a time is
searched like a name in a telephone book: `emu.logs.locate` guesses an index from the
interval, the meter answers with records around it, and the guess improves. All records
of the answers are kept for the next guesses.
"""

from ..emu.client import MeterClient
from ..emu.locate import locate
from ..emu.logs import USUAL_INTERVAL, Record
from ..emu.request_queue import Priority
from .history_pages import FEW, HistoryPages


class LoggerReader(HistoryPages):
    """Reads the data logger of one meter, and finds records by time."""

    def __init__(
        self, client: MeterClient, priority: Priority = Priority.BACKGROUND
    ) -> None:
        """Initialize a reader with the priority of its requests."""
        super().__init__(client, priority)
        self._oldest: Record | None = None
        """The oldest record, known as soon as a search has found nothing before it."""
        self._newest_interval = USUAL_INTERVAL

    async def first_after(self, at: int, newest: Record) -> int:
        """Return the index of the first record with a stamp after a time.

        Without such a record, it is the index after the newest one. Records without time
        may be read before it, but not if the logger begins with them.
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
        if record is None:
            return index
        if record.at <= at and await self._is_first(record, newest.index):
            return await self._after_unset(record, newest.index, at)
        return record.index

    async def _is_first(self, record: Record, last: int) -> bool:
        """Return whether no record is before another one."""
        index = record.index - 1
        return index < 0 or await self._from(index, last) == record

    async def _after_unset(self, record: Record, last: int, at: int) -> int:
        """Return the index after the stretch without time that a record begins."""
        following = await self._from(record.index + 1, last)
        if following is None or following.at > at:
            return record.index + 1
        return await self._after_past((record, following), last, at)

    async def record(self, index: int) -> Record | None:
        """Return a record or one of the next few; None if none of them is readable."""
        if index < 0:
            return None
        found = self._known(index)
        if found is None:
            records = await self._around(index)
            found = next((record for record in records if record.index >= index), None)
        return found if found and found.index - index <= FEW else None

    async def _from(self, index: int, last: int) -> Record | None:
        """Return the first record from an index on."""
        if (known := self._known(index)) is not None:
            return known
        records = await self._around(index)
        found = next((record for record in records if record.index >= index), None)
        if found is None:
            found = await self._after_hole(index, last)
        # Perhaps nothing is older: then no later guess before it needs a request.
        if found and found.index > index and self._oldest is None:
            await self._look_below(index, found)
        return found

    async def _look_below(self, index: int, found: Record) -> None:
        """Note a record as the oldest one if there is none before an index."""
        if not index or not await self._kept_span(0, index - 1):
            self._oldest = found

    def _known(self, index: int) -> Record | None:
        """Return the first record from an index on, if no request is needed."""
        if self._oldest and index < self._oldest.index:
            return self._oldest
        return self._kept.get(self._past_hole(index))

    async def _around(self, index: int) -> tuple[Record, ...]:
        """Return records around an index, as many as cost little more than one.

        The next step of the search often needs one of them.
        """
        count = max(self._pace.probe, FEW + 1)
        begin = index
        while begin > max(index - count // 4, 0) and not self._is_known(begin - 1):
            begin -= 1
        end = begin + count - 1
        if self._newest:
            end = max(min(end, self._newest.index), index)
        page = await self._page(begin, end)
        if not page.records and begin < index:
            # The meter may answer nothing if it lacks a part of the range.
            page = await self._page(index, end)
        self._keep(page.records)
        return page.records

    def _is_known(self, index: int) -> bool:
        return index in self._kept or any(index in hole for hole in self._holes)

    def _interval(self, newest: Record) -> int:
        """Return the seconds between the newest records, or the usual interval."""
        if before := self._kept.get(newest.index - 1):
            interval = newest.at - before.at
            if 0 < interval <= USUAL_INTERVAL * 4:
                self._newest_interval = interval
        return self._newest_interval
