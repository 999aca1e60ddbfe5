"""Records of the data logger, selected by index or by time.

The logger finds records by index alone (chapter "Read-Out Data Logger"), so the first
one of a window is searched for by its stamp. A clock that was set breaks the order of
stamps there: some records around the window are read as well, and each is checked.
"""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from .backfill.logger_reader import LoggerReader
from .backfill.times import BEGIN_OF_TIME, HOUR
from .emu.logs import Record

MARGIN: Final = 2 * HOUR
"""Seconds read around a window, because the meter's clock may have been set there."""


class TooManyRecords(Exception):
    """More records were selected than the caller can take."""

    def __init__(self, count: int) -> None:
        """Say how many are selected; an estimate where a clock was set."""
        super().__init__(count)
        self.count = count


@dataclass(frozen=True, slots=True)
class Selection:
    """Indices from `first` to `last`, both included, of records that end in a window.

    An interval that ends when the window begins is outside, one that ends with it is
    inside. Times are seconds since 1970-01-01 UTC, by the meter's clock.
    """

    first: int
    last: int
    since: int
    until: int

    def has(self, record: Record) -> bool:
        """Return whether a record, whose index is right, ends in the window."""
        return self.since < record.at <= self.until


class SelectedRecords:
    """Reads the selected records, and keeps account of them.

    `read` counts them, `rejected` the lines without a record, by reason; `first` and
    `last` are stamps.
    """

    def __init__(self, reader: LoggerReader, selection: Selection) -> None:
        """Begin without having read anything."""
        self.rejected: Counter[str] = Counter()
        self.read = 0
        self.first: int | None = None
        self.last: int | None = None
        self._reader = reader
        self._selection = selection

    async def async_pages(self, most: int | None = None) -> AsyncIterator[list[Record]]:
        """Yield the records page by page.

        Raises what the meter's client raises, and TooManyRecords as soon as there are
        more than `most`.
        """
        newest = await self._reader.newest()
        if newest is None:
            return
        selection = self._selection
        if selection.last > newest.index and selection.until > newest.at:
            at_end = self._reader.rejected_at_end
            self.rejected.update(line.reason for line in at_end)
        first = await self._async_first(newest)
        last = min(selection.last, newest.index)
        until = selection.until + MARGIN
        async for page in self._reader.pages(first, last, until):
            records = list(filter(selection.has, page.records))
            self.read += len(records)
            if records:
                self.first = records[0].at if self.first is None else self.first
                self.last = records[-1].at
            self.rejected.update(line.reason for line in page.rejected)
            if most is not None and self.read > most:
                raise TooManyRecords(await self._async_count(newest))
            yield records

    async def _async_first(self, newest: Record) -> int:
        """Return the index to read from: the meter is not asked for deleted records."""
        selection = self._selection
        if selection.first > newest.index:
            return selection.first
        if selection.since == BEGIN_OF_TIME and (
            record := await self._reader.record(selection.first)
        ):
            return max(selection.first, record.index)
        begin = await self._reader.first_after(selection.since - MARGIN, newest)
        return max(selection.first, begin)

    async def _async_count(self, newest: Record) -> int:
        """Return the number of selected records, as if no clock had been set."""
        selection = self._selection
        begin = await self._reader.first_after(selection.since, newest)
        end = await self._reader.first_after(selection.until, newest)
        return min(selection.last + 1, end) - max(selection.first, begin)
