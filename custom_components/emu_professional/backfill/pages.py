"""Reading stretches of the data logger, politely and whatever happens on the way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

from ..emu.client import MeterClient
from ..emu.errors import MeterUnexpectedAnswer, MeterUnreachable
from ..emu.logs import Page, Record, locate
from ..emu.request_queue import Priority

USUAL_INTERVAL: Final = 900
"""Seconds between two records, unless the meter is told otherwise."""

_SMALLEST_PAGE: Final = 24
_FIRST_PAGE: Final = 96
_LARGEST_PAGE: Final = 1000
_PAGE_TIME: Final = 0.7
"""Seconds that a page should take: live polls wait for no longer."""

_FEW: Final = 3
_LONGEST_PAUSE: Final = 1.0
_PATIENCE: Final = (1.0, 5.0, 15.0, 40.0)
"""Seconds to wait before a lost page is asked for again."""


class LoggerReader:
    """Reads the data logger of one meter, page by page.

    Pages are as large as the meter is quick, with as long a pause behind each, so
    that live polls and its owner's browser get through. Raises what the client
    raises, a lost connection only after some patience.
    """

    def __init__(
        self, client: MeterClient, priority: Priority = Priority.BACKGROUND
    ) -> None:
        """Begin with small pages."""
        self._client = client
        self._priority = priority
        self._size = _FIRST_PAGE

    async def newest(self) -> Record | None:
        """Return the newest record, or None if there is none that can be read."""
        page = await self._patiently(self._client.newest_records, _FEW)
        return page.records[-1] if page.records else None

    async def first_after(self, at: int, newest: Record) -> int:
        """Return the index of the first record that ends after a time.

        The index behind the newest one, if all end before.
        """
        if newest.at <= at:
            return newest.index + 1
        search = locate(at, newest, USUAL_INTERVAL)
        try:
            index = next(search)
            while True:
                index = search.send(await self.record(index))
        except StopIteration as found:
            return int(found.value)

    async def record(self, index: int) -> Record | None:
        """Return a record or the next one that can be read; None if there is none."""
        if index < 0:
            return None
        page = await self._patiently(self._client.records, index, index)
        if not page.records and page.refusals:
            page = await self._patiently(self._client.records, index, index + _FEW)
        return page.records[0] if page.records else None

    async def pages(self, first: int, last: int, until: int) -> AsyncIterator[Page]:
        """Yield the records with these indices, in order, until one ends at a time."""
        wanted = _FIRST_PAGE
        while first <= last:
            asked = min(first + min(wanted, self._size) - 1, last)
            page = await self._timed_page(first, asked)
            yield page
            read = asked if page.whole else page.records[-1].index
            first = min(max(read, first), asked) + 1
            if not page.records:
                continue
            # One stamp in the future must not end the reading.
            if min(record.at for record in page.records[-_FEW:]) >= until:
                break
            wanted = _count_until(until, page.records)

    async def _timed_page(self, first: int, last: int) -> Page:
        clock = asyncio.get_running_loop().time
        begin = clock()
        page = await self._patiently(self._client.records, first, last)
        passed = clock() - begin
        wanted = int((last - first + 1) * _PAGE_TIME / max(passed, 1e-3))
        self._size = min(max(wanted, _SMALLEST_PAGE), 2 * self._size, _LARGEST_PAGE)
        await asyncio.sleep(min(passed, _LONGEST_PAUSE))
        return page

    async def _patiently(
        self, ask: Callable[..., Awaitable[Page]], *arguments: int
    ) -> Page:
        for pause in _PATIENCE:
            try:
                return await ask(*arguments, priority=self._priority)
            except MeterUnreachable, MeterUnexpectedAnswer:
                await asyncio.sleep(pause)
        return await ask(*arguments, priority=self._priority)


def _count_until(until: int, records: Sequence[Record]) -> int:
    """Guess how many more records end before a time."""
    first, last = records[0], records[-1]
    interval = (last.at - first.at) // max(last.index - first.index, 1)
    return max((until - last.at) // (interval if interval > 0 else USUAL_INTERVAL), 1)
