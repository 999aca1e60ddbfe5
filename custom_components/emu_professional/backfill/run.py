"""One run of the back-fill: from the pages of the logger to the rows of the recorder.

How it works
------------
    logger_reader records, page by page, at the meter's pace
    hours         records folded into hours           hour_reader
    parts         hours cut into parts                run (this file)
    series        registers: hours → rows, one shift  follow_part
    means         measurements: hours → rows          follow_part
    costs         price × energy                      follow_costs
    recorder/     rows read and written

A long window is cut into parts, newest first, because people look at the newest days
first. A part is read, folded into hours and written before the next one is read:

     logger   |----------------- 60 days ----------------|------ 30 days ------|
                              <- third, second part ...       first part
     borders  since                                    border                 until

Each part begins with a logged register: `parts.cut_part` looks for one near the planned
border. The energy of the later rows stays as it is: `series.plan_register`
shifts their sums by one constant.
"""

from collections.abc import Callable
from typing import Final

from homeassistant.core import HomeAssistant

from ..emu.logs import EARLIEST
from .follow_part import Destination, PartFollower
from .hour_reader import HourReader, MeterLogger
from .parts import LoggedHours, Part, cut_part
from .recorder import async_compiled_until, async_widened
from .report import Report, Request, Window
from .times import HOUR, whole_hour

_DAY: Final = 24 * HOUR
_FIRST_PART: Final = 30 * _DAY
_PART: Final = 60 * _DAY
"""Seconds of a part. Only its hours are in memory, however much the logger holds."""

_READING: Final = 0.3
"""The share of a part's work that is reading, for the progress."""


class Backfill:
    """Fills statistics of one meter from its data logger, in one run.

    `report` grows during the run. `on_progress` is called with the share done, 0 to 1.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        logger: MeterLogger,
        destination: Destination,
        request: Request,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Initialize a run before its begin."""
        self.report = Report()
        self._hass = hass
        self._destination = destination
        self._request = request
        self._on_progress = on_progress
        self._reader = HourReader(hass, logger, self.report)
        self._follower = PartFollower(hass, destination, request, self.report)
        self._window = Window(0, 0)

    async def async_run(self) -> None:
        """Fill the window of the request, newest part first.

        If it begins or ends in an outage, it is widened to the whole outage.
        Raises the errors of the meter's client. Errors of single statistics are in the
        report.
        """
        newest = await self._reader.async_newest()
        compiled = await async_compiled_until(self._hass)
        if newest is None or compiled is None:
            return
        window = await self._async_widened()
        until = min(window.until, whole_hour(compiled), whole_hour(newest.at))
        since = asked_since = max(window.since, EARLIEST)
        if until - since > _FIRST_PART:
            # Spares planning parts before the logger begins.
            since = await self._reader.async_begin(since)
        self.report.until = until
        self._window = Window(since, until)
        size, is_newest = _FIRST_PART, True
        # Even without a whole hour, five-minute rows can be filled.
        while until > since or (is_newest and until == since):
            planned = max(until - size, since)
            first = await self._reader.async_first(planned)
            logged = await self._reader.async_read(first, until)
            # Only the newest records may be undecided: older ones have later ones after them.
            if is_newest:
                until = self._decided(logged, until)
            if planned == since:
                self._reader.note_begin(asked_since, first)
            part = cut_part(logged, planned, until, is_oldest=planned == since)
            if part is None:
                # Only other meters' records lie before: the part needs older ones.
                size *= 2
                continue
            await self._async_follow(part, window.until if is_newest else 0)
            if part.is_oldest or self._follower.has_failed:
                break
            until, size, is_newest = part.since, _PART, False
        self._reader.check_owner()

    async def _async_widened(self) -> Window:
        """Return the window, widened to the whole of the outages at its ends.

        Half an outage can't be made right: one hour's energy is missing in another.
        """
        window, destination = self._request.window, self._destination
        registers = [
            statistic
            for target in self._request.targets
            if target.is_register and (statistic := destination.statistic_of(target))
        ]
        # Rows alone do not show an outage after an interrupted run: its newest part is
        # filled already.
        since = window.since
        while (begin := whole_hour(destination.outages.begin(since))) < since:
            since = begin
        return await async_widened(self._hass, registers, Window(since, window.until))

    def _decided(self, logged: LoggedHours, until: int) -> int:
        """Return the end of the last hour without undecided records."""
        if (undecided := logged.undecided_since) is not None:
            until = min(until, whole_hour(undecided - 1))
            self.report.until = until
        return until

    async def _async_follow(self, part: Part, unfinished_until: int) -> None:
        """Make the statistics follow a part, and report the progress.

        Hours after the part are unfinished if they start before a time.
        """
        unfinished = [hour for hour in part.later if hour.start < unfinished_until]
        await self._follower.async_follow(
            part,
            unfinished,
            lambda share: self._show(part, _READING + (1 - _READING) * share),
        )

    def _show(self, part: Part, share: float) -> None:
        """Report the share of the whole window, with a share of a part done."""
        whole = self._window.until - self._window.since
        newer = self._window.until - part.until
        done = newer + share * (part.until - part.since)
        self._on_progress(done / whole if whole else share)
