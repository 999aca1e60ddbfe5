"""One run of the back-fill: from the pages of the logger to the rows of the recorder.

A long window is cut into parts, newest first, because people look at the newest days
first; a part is read, folded into hours and written before the next one is read:

     logger   |----------------- 60 days ----------------|------ 30 days ------|
                              <- third, second part ...       first part
     borders  since                                    border                 until

Each part needs the registers with which it begins. So a border lies where the logger
knows them, best exactly at the full hour: `_border` looks for one near the planned
place. What the parts have in common (a shift of later rows) is `series.reconcile`'s.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError

from ..const import DOMAIN
from ..emu.client import MeterClient
from ..emu.errors import LoggerOfAnotherMeter
from ..emu.logs import Page, Record
from ..emu.serial_number import is_same_meter
from ..outages import Outages
from .follow_costs import CostFollower, FindSources
from .hours import Folding, Hour
from .logger_pages import LoggerReader
from .means import plan_means
from .recorder import (
    Statistic,
    Stored,
    async_apply_plan,
    async_compiled_until,
    async_last_rise,
    async_periods_kept_since,
    async_stored,
    async_stored_means,
    async_widened,
    async_write_means,
)
from .records import ANOTHER_METER, EARLIEST
from .report import Mode, Outcome, Report, Window
from .series import LoadProfile, Plan, reconcile
from .targets import Target
from .times import HOUR, whole_hour

_DAY: Final = 24 * HOUR
_FIRST_PART: Final = 30 * _DAY
_PART: Final = 60 * _DAY
"""Hours of so many seconds are in memory at a time, whatever the logger holds."""

_MARGIN: Final = 5 * HOUR
"""Read around a part: its border may have been logged when the clock was set, and a
register that restarts at the end of it is recognized only some records later."""

_BORDER_SEARCH: Final = _DAY
"""So far from its planned place a border may lie at which the register is known."""

_READING: Final = 0.3
"""The share of the work that is reading."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Consecutive hours of the logger around a part of the window.

    `before` is the last hour that was logged before the part, None where the logger
    begins in it; `hours` are those logged from its begin on, `later` those after it.
    `is_oldest` says that no older part follows.
    """

    since: int
    until: int
    before: Hour | None
    hours: Sequence[Hour]
    later: Sequence[Hour]
    is_oldest: bool

    @property
    def known(self) -> Sequence[Hour]:
        """The hours of which the logger knows both ends."""
        return self.hours if self.before is not None else self.hours[1:]

    def profile(self, target: Target, *, rebuild: bool) -> LoadProfile:
        """Return what is known of a target's register."""
        before = None
        if self.before is not None:
            before = target.reading(self.before)
            # The next part writes the row before this one from the logger as well, so
            # its state must not count instead.
            is_exact = self.before.known == self.since or (
                rebuild and not self.is_oldest
            )
            before = before._replace(is_exact=is_exact)
        return LoadProfile(
            since=self.since,
            until=self.until,
            before=before,
            hours={h.start: target.reading(h) for h in (*self.hours, *self.later)},
            rounding=target.rounding,
        )


class Backfill:
    """Fills the statistics of one meter from its data logger.

    `statistic_of` returns a target's statistic, or None if it has none now; `latest`
    is the latest time stamp that can be right, and `outages` are the times when Home
    Assistant did not observe the meter; `find_costs` returns what the energy dashboard
    prices, by the energy's statistic. `report` grows meanwhile. Raises what the meter's
    client raises; a statistic that can't be filled stops no other.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        client: MeterClient,
        serial_number: str,
        statistic_of: Callable[[Target], Statistic | None],
        *,
        latest: int,
        outages: Iterable[tuple[int, int]] = (),
        find_costs: FindSources,
        mode: Mode = Mode.FILL,
        dry_run: bool = False,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Begin without having read anything."""
        self.report = Report()
        self._hass = hass
        self._reader = LoggerReader(client)
        self._serial_number = serial_number
        self._statistic_of = statistic_of
        self._latest = latest
        self._outages = Outages(outages)
        self._rebuild = mode is Mode.REBUILD
        self._dry_run = dry_run
        self._costs = CostFollower(hass, find_costs, self.report, dry_run=dry_run)
        self._on_progress = on_progress
        self._window = Window(0, 0)
        self._oldest: Record | None = None
        self._counted: set[str] = set()
        """The statistics of which rows after the window are counted."""

    async def async_run(self, window: Window, targets: Sequence[Target]) -> None:
        """Fill a window, newest part first, energy before the rest.

        A window that begins or ends in an outage is widened to the whole outage.
        """
        newest = await self._reader.newest()
        compiled = await async_compiled_until(self._hass)
        if newest is None or compiled is None:
            return
        window = await self._async_widened(window, targets)
        until = min(window.until, whole_hour(compiled), whole_hour(newest.at))
        since = asked_since = max(window.since, EARLIEST)
        if until - since > _FIRST_PART:
            since = await self._async_begin(since, newest)
        self.report.until = until
        self._window = Window(since, until)
        size, counted_from = _FIRST_PART, newest.index + 1
        is_newest = True
        # Of an hour that is not over yet, five-minute rows can be filled.
        while until > since or (is_newest and until == since):
            planned = max(until - size, since)
            first = await self._async_first(planned, newest)
            folding, hours = await self._async_read(first, counted_from, until, newest)
            counted_from = min(first, counted_from)
            if is_newest:
                until = self._decided(folding, until)
            if planned == since:
                self._note_begin(asked_since, first)
            part = _part(folding, hours, planned, until, is_oldest=planned == since)
            if part is None:
                # Only other meters' records lie before: the part needs older ones.
                size *= 2
                continue
            await self._async_follow(part, targets, window.until if is_newest else 0)
            if part.is_oldest:
                break
            until, size, is_newest = part.since, _PART, False
        self._check_owner(newest)

    def _check_owner(self, newest: Record) -> None:
        """Raise LoggerOfAnotherMeter if nothing was read but another meter's records."""
        report = self.report
        is_own = is_same_meter(newest.serial_number, self._serial_number)
        if not is_own and report.records == report.refused[ANOTHER_METER] > 0:
            raise LoggerOfAnotherMeter(newest.serial_number)

    async def _async_widened(self, window: Window, targets: Sequence[Target]) -> Window:
        registers = [
            statistic
            for target in targets
            if target.is_register and (statistic := self._statistic_of(target))
        ]
        # Rows alone do not show an outage whose newest part is filled already: the
        # run before was interrupted.
        since = window.since
        while (begin := whole_hour(self._outages.begin(since))) < since:
            since = begin
        return await async_widened(self._hass, registers, Window(since, window.until))

    async def _async_begin(self, since: int, newest: Record) -> int:
        """Return where a long window begins, or the logger if that is later."""
        first = await self._reader.first_after(since, newest)
        record = await self._reader.record(first)
        if record is None or record.at <= since + HOUR:
            return since
        return whole_hour(record.at - 1)

    async def _async_first(self, since: int, newest: Record) -> int:
        """Return the index from which to read: one record before the margin."""
        first = await self._reader.first_after(since - _MARGIN, newest)
        return max(first - 1, 0)

    async def _async_read(
        self, first: int, counted_from: int, until: int, newest: Record
    ) -> tuple[Folding, list[Hour]]:
        """Read and fold records; those that a newer part has counted count once."""
        folding = Folding(
            self._serial_number,
            self._latest,
            pieces_since=async_periods_kept_since(self._hass),
        )
        hours: list[Hour] = []
        end = until + _MARGIN
        async for page in self._reader.pages(first, counted_from - 1, end):
            hours += await self._async_fold(folding, page)
            self._count(page)
        refused = folding.filter.refused.copy()
        async for page in self._reader.pages(
            max(first, counted_from), newest.index, end
        ):
            hours += await self._async_fold(folding, page)
        hours += folding.close()
        is_newest = counted_from > newest.index
        self.report.refused += folding.filter.refused if is_newest else refused
        return folding, sorted(hours, key=lambda hour: hour.start)

    def _note_begin(self, since: int, first: int) -> None:
        """Note where the logger begins, if the window begins before that."""
        oldest = self._oldest
        if oldest and oldest.at > since + HOUR and (first == 0 or oldest.index > first):
            self.report.logger_begins = oldest.at

    async def _async_fold(self, folding: Folding, page: Page) -> list[Hour]:
        return await self._hass.async_add_executor_job(
            lambda: list(folding.feed(page.records))
        )

    def _count(self, page: Page) -> None:
        report = self.report
        report.records += len(page.records)
        report.refused.update(refusal.reason for refusal in page.refusals)
        if page.records and (
            self._oldest is None or page.records[0].index < self._oldest.index
        ):
            self._oldest = page.records[0]
        for record in (*page.records[:1], *page.records[-1:]):
            report.first = min(report.first or record.at, record.at)
            report.last = max(report.last or record.at, record.at)

    def _decided(self, folding: Folding, until: int) -> int:
        """Return the end of the last hour whose records are decided on."""
        if (undecided := folding.filter.undecided_since) is not None:
            until = min(until, whole_hour(undecided - 1))
            self.report.until = until
        return until

    async def _async_follow(
        self, part: _Part, targets: Sequence[Target], running_until: int
    ) -> None:
        """Let every statistic follow the hours of a part.

        Of later ones that start before a time only five-minute rows are filled.
        """
        for hour in part.hours:
            self.report.status |= hour.status
        running = [hour for hour in part.later if hour.start < running_until]
        wrong: set[int] = set()
        for number, target in enumerate(targets):
            self._progress(part, _READING + (1 - _READING) * number / len(targets))
            statistic = self._statistic_of(target)
            if statistic is None or statistic.statistic_id in self.report.failed:
                continue
            try:
                if target.is_register:
                    wrong |= await self._async_follow_register(part, target, statistic)
                else:
                    await self._async_follow_mean(
                        part, running, target, statistic, wrong
                    )
                self._check_name(target, statistic)
            except HomeAssistantError as err:
                self.report.failed[statistic.statistic_id] = err
        self._progress(part, 1)

    def _check_name(self, target: Target, statistic: Statistic) -> None:
        """Raise HomeAssistantError if the statistic has another name by now."""
        if self._statistic_of(target) != statistic:
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key="renamed",
                translation_placeholders={"statistic_id": statistic.statistic_id},
            )

    def _outcome(self, statistic: Statistic) -> Outcome:
        return self.report.statistics.setdefault(
            statistic.statistic_id, Outcome(statistic.unit, statistic.has_sum)
        )

    async def _async_follow_register(
        self, part: _Part, target: Target, statistic: Statistic
    ) -> frozenset[int]:
        """Let a register's statistic follow, and return the hours that were wrong."""
        stored, plan = await self._async_plan(part, target, statistic)
        # Rows after the window are counted with the first part that says something.
        is_counted = statistic.statistic_id in self._counted
        if part.hours or plan.rows or plan.shift_from is not None:
            self._counted.add(statistic.statistic_id)
        counted_until = part.until if is_counted else inf
        logged = [hour.start for hour in part.known]
        await self._hass.async_add_executor_job(
            self._outcome(statistic).count_register,
            logged,
            stored.rows,
            plan,
            statistic.decimals,
            counted_until,
        )
        # The cost comes first: an hour whose energy is to be written still tells a run
        # after an interruption that its cost may be missing as well.
        await self._costs.async_follow(
            *(statistic, stored, plan, self._outages, logged),
            counted_until=counted_until,
        )
        if not self._dry_run:
            await async_apply_plan(self._hass, statistic, stored, plan)
            if plan.rows and stored.is_newest:
                # A row may have been compiled meanwhile, from what was before.
                stored, again = await self._async_plan(part, target, statistic)
                await self._costs.async_follow(
                    *(statistic, stored, again, self._outages, ()), counted_until=0
                )
                await async_apply_plan(self._hass, statistic, stored, again)
        return plan.wrong

    async def _async_plan(
        self, part: _Part, target: Target, statistic: Statistic
    ) -> tuple[Stored, Plan]:
        last = part.hours[-1] if part.hours else part.before
        register = target.reading(last).register if last else 0
        stored = await async_stored(
            self._hass, statistic, part.since, part.until, register
        )
        profile = part.profile(target, rebuild=self._rebuild)
        if part.before is None:
            risen = await async_last_rise(self._hass, statistic, part.since)
            profile = replace(profile, last_rise=risen)
        state = self._hass.states.get(statistic.statistic_id)
        plan = await self._hass.async_add_executor_job(
            lambda: reconcile(
                profile,
                stored.rows,
                stored.short_term,
                rebuild=self._rebuild,
                is_live=state is not None and _is_number(state.state),
            )
        )
        return stored, plan

    async def _async_follow_mean(
        self,
        part: _Part,
        running: Sequence[Hour],
        target: Target,
        statistic: Statistic,
        wrong: Container[int],
    ) -> None:
        """Let a measurement's statistic follow."""
        hours = [*part.known, *running]
        until = hours[-1].end if hours else part.until
        stored = await async_stored_means(self._hass, statistic, part.since, until)
        (column,) = target.columns
        plan = await self._hass.async_add_executor_job(
            lambda: plan_means(
                hours,
                column,
                stored,
                self._outages,
                until=part.until,
                wrong=wrong,
                rebuild=self._rebuild,
            )
        )
        starts = [hour.start for hour in part.known]
        self._outcome(statistic).count_means(starts, stored, plan)
        if not self._dry_run:
            await async_write_means(self._hass, statistic, stored.unit, plan)

    def _progress(self, part: _Part, share: float) -> None:
        """Report the share of the whole window that is done, 0 to 1."""
        whole = self._window.until - self._window.since
        newer = self._window.until - part.until
        done = newer + share * (part.until - part.since)
        self._on_progress(done / whole if whole else share)


def _part(
    folding: Folding,
    hours: Sequence[Hour],
    planned: int,
    until: int,
    *,
    is_oldest: bool,
) -> _Part | None:
    """Return a part that begins where it is planned or near, if the register is known."""
    if (clock_set_at := folding.filter.clock_set_at) is not None:
        # Nothing older has a stamp that is right.
        hours = [hour for hour in hours if hour.end >= clock_set_at]
        is_oldest = True
    border = planned if is_oldest else _border(hours, planned, until)
    if border is None:
        return None
    earlier = [hour for hour in hours if hour.start < border]
    inside = [hour for hour in hours if border <= hour.start < until]
    if not earlier:
        border = inside[0].start if inside else until
    return _Part(
        since=border,
        until=until,
        before=earlier[-1] if earlier else None,
        hours=inside,
        later=[hour for hour in hours if hour.start >= until],
        is_oldest=is_oldest,
    )


def _border(hours: Sequence[Hour], planned: int, until: int) -> int | None:
    """Return where a part can begin: at the end of an hour that is logged."""
    near = min(planned + _BORDER_SEARCH, until - HOUR)
    exact = [h.end for h in hours if h.known == h.end <= near]
    if (
        exact
        and abs((best := min(exact, key=lambda end: abs(end - planned))) - planned)
        <= _BORDER_SEARCH
    ):
        return best
    return max((h.end for h in hours if h.end <= planned), default=None)


def _is_number(state: str) -> bool:
    try:
        float(state)
    except ValueError:
        return False
    return True
