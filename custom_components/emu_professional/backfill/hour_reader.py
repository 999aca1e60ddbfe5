"""Reads the records of a meter's data logger as hours, and counts them in the report."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from homeassistant.core import HomeAssistant

from ..emu.client import MeterClient
from ..emu.errors import LoggerOfAnotherMeter
from ..emu.logs import Page, Record
from ..emu.serial_number import is_same_meter
from .hours import Folding, Hour
from .logger_reader import LoggerReader
from .parts import LoggedHours
from .recorder import async_periods_kept_since
from .records import ANOTHER_METER
from .report import Report
from .times import HOUR, whole_hour

_MARGIN: Final = 5 * HOUR
"""Read around a part: the clock may have been set near its border, and a register that
restarts at its end is recognized only some records later."""
_BEFORE: Final = 8
"""Records read before that: the last one may be older after an outage, and the interval
is known from two with an even one."""


@dataclass(frozen=True, slots=True)
class MeterLogger:
    """The data logger of a meter.

    `latest` is the latest plausible stamp, in seconds since 1970-01-01 UTC. All records
    of the last run had the `foreign` serial number; None if they had not.
    """

    client: MeterClient
    serial_number: str
    latest: int
    foreign: str | None = None


class HourReader:
    """Reads hours of one logger, from newer to older ones.

    Parts overlap; the report counts each record once. All methods raise the errors of
    the meter's client.
    """

    def __init__(
        self, hass: HomeAssistant, logger: MeterLogger, report: Report
    ) -> None:
        """Initialize a reader at the newest record."""
        self._hass = hass
        self._logger = logger
        self._report = report
        self._pages = LoggerReader(logger.client)
        self._newest: Record | None = None
        self._oldest: Record | None = None
        """The oldest record that was counted."""
        self._counted_from = 0
        """The index from which records are counted."""

    async def async_newest(self) -> Record | None:
        """Return the newest record, or None if the logger is empty."""
        if newest := await self._pages.newest():
            # Reading all others again would find no own record either.
            if newest.serial_number == self._logger.foreign:
                raise LoggerOfAnotherMeter(newest.serial_number)
            self._newest = newest
            self._counted_from = newest.index + 1
        return newest

    async def async_begin(self, since: int) -> int:
        """Return the hour of the oldest record if the logger begins after a time.

        Else the time itself.
        """
        assert self._newest
        first = await self._pages.first_after(since, self._newest)
        record = await self._pages.record(first)
        if record is None or record.at <= since + HOUR:
            return since
        return whole_hour(record.at - 1)

    async def async_first(self, since: int) -> int:
        """Return the index to read from: some records before a time and its margin."""
        assert self._newest
        first = await self._pages.first_after(since - _MARGIN, self._newest)
        return max(first - _BEFORE, 0)

    async def async_read(self, first: int, until: int) -> LoggedHours:
        """Return the hours from an index on until a time and its margin."""
        assert self._newest
        newest, counted_from = self._newest, self._counted_from
        folding = Folding(
            self._logger.serial_number,
            self._logger.latest,
            pieces_since=async_periods_kept_since(self._hass),
        )
        end = until + _MARGIN
        pages = self._pages.pages(first, counted_from - 1, end)
        hours = await self._async_fold(folding, pages, self._count)
        rejected = folding.filter.rejected.copy()
        # These were counted with a newer part, and overlap with this one.
        again = self._pages.pages(max(first, counted_from), newest.index, end)
        hours += await self._async_fold(folding, again)
        hours += folding.close()
        # The filter rejects its last records only when it is closed. In an older part these
        # were reported with the newer one.
        is_newest = counted_from > newest.index
        self._report.rejected += folding.filter.rejected if is_newest else rejected
        self._counted_from = min(first, counted_from)
        return LoggedHours(
            sorted(hours, key=lambda hour: hour.start),
            folding.filter.undecided_since,
            folding.filter.clock_set_at,
        )

    def note_begin(self, since: int, first: int) -> None:
        """Report the begin of the logger, if a window begins before it."""
        oldest = self._oldest
        if oldest and oldest.at > since + HOUR and (first == 0 or oldest.index > first):
            self._report.logger_begins = oldest.at

    def check_owner(self) -> None:
        """Raise LoggerOfAnotherMeter if all records are another meter's."""
        assert self._newest
        report, owner = self._report, self._newest.serial_number
        is_own = is_same_meter(owner, self._logger.serial_number)
        if not is_own and report.records == report.rejected[ANOTHER_METER] > 0:
            raise LoggerOfAnotherMeter(owner)

    async def _async_fold(
        self,
        folding: Folding,
        pages: AsyncIterator[Page],
        count: Callable[[Page], None] = lambda page: None,
    ) -> list[Hour]:
        """Return the hours that pages complete, and count each page."""
        hours: list[Hour] = []
        async for page in pages:
            # A page of 3000 records takes longer than the event loop should be blocked.
            hours += await self._hass.async_add_executor_job(
                list, folding.feed(page.records)
            )
            count(page)
            # Up to 4 MB of memory: not as long as the next one is read.
            del page
        return hours

    def _count(self, page: Page) -> None:
        report = self._report
        report.records += len(page.records)
        report.rejected.update(line.reason for line in page.rejected)
        if page.records and (
            self._oldest is None or page.records[0].index < self._oldest.index
        ):
            self._oldest = page.records[0]
        for record in (*page.records[:1], *page.records[-1:]):
            report.first = min(report.first or record.at, record.at)
            report.last = max(report.last or record.at, record.at)
