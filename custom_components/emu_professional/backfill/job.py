"""One back-fill: from a window of the logger to rows of every statistic."""

from collections import Counter
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError

from ..const import DOMAIN
from ..emu.client import MeterClient
from ..emu.logs import Page, Record
from .hours import HOUR, Folding, Hour
from .means import Mean, wanting
from .pages import LoggerReader
from .recorder import (
    Statistic,
    Stored,
    StoredMeans,
    async_apply_plan,
    async_compiled_until,
    async_stored,
    async_stored_means,
    async_write_means,
)
from .seam import Plan, Profile, changed, join
from .targets import Target

_DAY: Final = 24 * HOUR
_FIRST_PART: Final = 30 * _DAY
_PART: Final = 60 * _DAY
"""Hours of so many seconds are in memory at a time, whatever the logger holds: of
two parts where only another meter's records lie before the newer one."""

_MARGIN: Final = 2 * HOUR
"""What is read around a part, in case that the meter's clock was set there."""

_DIGITS: Final = 3
"""Of an energy behind the last digit of its register; floating point loses later ones."""

_READING: Final = 0.3
"""The share of the work that is reading."""


class Mode(StrEnum):
    """Which hours follow the meter."""

    FILL = "fill"
    REBUILD = "rebuild"


@dataclass(frozen=True, slots=True)
class Window:
    """Whole hours, in seconds since 1970-01-01 UTC; `until` is not included."""

    since: int
    until: int


@dataclass(slots=True)
class Outcome:
    """What became of a statistic.

    Hours that were read, written where none was stored, corrected, and left as they
    were, even if their sum had to follow a shift; `moved` is the energy that counts
    in another hour than before, or in one at all, in the `unit` of the quantity.
    """

    unit: str
    has_sum: bool
    read: int = 0
    written: int = 0
    corrected: int = 0
    left: int = 0
    more: float = 0
    less: float = 0

    @property
    def moved(self) -> float:
        """Energy that counts in another hour than before, or in one at all."""
        return max(self.more, self.less)


@dataclass(slots=True)
class Report:
    """What a back-fill read and did.

    `first` and `last` are the stamps of the records read, in seconds since
    1970-01-01 UTC; `logger_begins` is that of the oldest one, where the window
    began before it. `until` is up to when the logger was read.
    """

    records: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    status: int = 0
    first: int | None = None
    last: int | None = None
    logger_begins: int | None = None
    until: int | None = None
    statistics: dict[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Logged:
    """The hours of a window; `before` has the registers with which they begin.

    It lies within the window only where nothing older will be read: `is_oldest`.
    `following` is the hour that is logged next behind the window.
    """

    window: Window
    before: Hour
    hours: Sequence[Hour]
    is_oldest: bool
    following: Hour | None


class Backfill:
    """Fills the statistics of one meter from its data logger.

    `statistic_of` names a target's statistic, or None if it has none now; `latest`
    is the latest time stamp that can be right, and `partial` has the hours that
    Home Assistant heard only a part of. `report` grows meanwhile. Raises what the
    meter's client raises, and HomeAssistantError if the recorder does not write.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        client: MeterClient,
        serial_number: str,
        statistic_of: Callable[[Target], Statistic | None],
        *,
        latest: int,
        partial: frozenset[int] = frozenset(),
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
        self._partial = partial
        self._rebuild = mode is Mode.REBUILD
        self._dry_run = dry_run
        self._on_progress = on_progress
        self._window = Window(0, 0)

    async def async_run(self, window: Window, targets: Sequence[Target]) -> None:
        """Fill a window, newest part first, energy before the rest."""
        newest = await self._reader.newest()
        compiled = await async_compiled_until(self._hass)
        if newest is None or compiled is None:
            return
        until = min(window.until, _whole_hour(compiled), _whole_hour(newest.at))
        since = await self._async_begin(window, newest)
        self.report.until = until
        self._window = Window(since, until)
        behind = newest.index + 1
        hours: list[Hour] = []
        following: Hour | None = None
        for part in _parts(since, until):
            first = await self._async_first(part, newest)
            hours = await self._async_read(part, first, behind, newest) + hours
            behind = min(first, behind)
            logged = _logged(
                Window(part.since, until), hours, part.since == since, following
            )
            if logged is None:
                # The next part has the register with which they begin.
                hours = [hour for hour in hours if hour.start >= part.since]
                continue
            await self._async_follow(part, logged, targets)
            until, hours = part.since, []
            following = next(iter(logged.hours), None)

    async def _async_begin(self, window: Window, newest: Record) -> int:
        """Return where the window begins, or the logger if that is later."""
        first = await self._reader.first_after(window.since, newest)
        if first > newest.index:
            return window.until
        record = await self._reader.record(first)
        if record is None or record.at <= window.since + HOUR:
            return window.since
        if await self._reader.record(first - 1) is None:
            self.report.logger_begins = record.at
        return max(window.since, _whole_hour(record.at - 1))

    async def _async_first(self, part: Window, newest: Record) -> int:
        """Return the index from which to read: one record before the part."""
        first = await self._reader.first_after(part.since - _MARGIN, newest)
        return max(first - 1, 0)

    async def _async_read(
        self, part: Window, first: int, behind: int, newest: Record
    ) -> list[Hour]:
        """Read and fold a part; what a newer part has counted counts only once."""
        folding = Folding(self._serial_number, self._latest)
        hours: list[Hour] = []
        until = part.until + _MARGIN
        async for page in self._reader.pages(first, behind - 1, until):
            hours += await self._async_fold(folding, page)
            self._count(page)
        self.report.refused += folding.refused
        async for page in self._reader.pages(behind, newest.index, until):
            hours += await self._async_fold(folding, page)
        hours += folding.close()
        for hour in hours:
            if part.since <= hour.start < part.until:
                self.report.status |= hour.status
        inside = (hour for hour in hours if hour.start < part.until)
        return sorted(inside, key=lambda hour: hour.start)

    async def _async_fold(self, folding: Folding, page: Page) -> list[Hour]:
        return await self._hass.async_add_executor_job(
            lambda: list(folding.feed(page.records))
        )

    def _count(self, page: Page) -> None:
        report = self.report
        report.records += len(page.records)
        report.refused.update(refusal.reason for refusal in page.refusals)
        for record in (*page.records[:1], *page.records[-1:]):
            report.first = min(report.first or record.at, record.at)
            report.last = max(report.last or record.at, record.at)

    async def _async_follow(
        self, part: Window, logged: _Logged, targets: Sequence[Target]
    ) -> None:
        """Let every statistic follow the hours of a part."""
        partial = set(self._partial)
        for number, target in enumerate(targets):
            self._progress(part, _READING + (1 - _READING) * number / len(targets))
            statistic = self._statistic_of(target)
            if statistic is None:
                continue
            outcome = self.report.statistics.setdefault(
                statistic.statistic_id, Outcome(statistic.unit, statistic.has_sum)
            )
            outcome.read += len(logged.hours)
            if target.is_register:
                partial |= await self._async_join(logged, target, statistic, outcome)
            else:
                await self._async_mend(logged, target, statistic, outcome, partial)
            if self._statistic_of(target) != statistic:
                raise HomeAssistantError(
                    translation_domain=DOMAIN,
                    translation_key="renamed",
                    translation_placeholders={"statistic_id": statistic.statistic_id},
                )
        self._progress(part, 1)

    async def _async_join(
        self, logged: _Logged, target: Target, statistic: Statistic, outcome: Outcome
    ) -> frozenset[int]:
        """Let a register's statistic follow, and return the hours that were wrong."""
        stored, plan = await self._async_plan(logged, target, statistic)
        # Rows behind an older part have been counted with the newer one.
        is_newest = logged.window.until == self._window.until
        until = inf if is_newest else logged.window.until
        await self._hass.async_add_executor_job(
            _count, outcome, logged, stored, plan, statistic, until
        )
        if not self._dry_run:
            await async_apply_plan(self._hass, statistic, stored, plan)
            if plan.rows and stored.is_newest:
                # A live row may have been compiled meanwhile, from what was before.
                stored, again = await self._async_plan(logged, target, statistic)
                await async_apply_plan(self._hass, statistic, stored, again)
        return plan.wrong

    async def _async_plan(
        self, logged: _Logged, target: Target, statistic: Statistic
    ) -> tuple[Stored, Plan]:
        window = logged.window
        last = logged.hours[-1] if logged.hours else logged.before
        stored = await async_stored(
            self._hass, statistic, window.since, window.until, target.register(last)
        )
        plan = await self._hass.async_add_executor_job(
            _plan, logged, target, stored, self._rebuild
        )
        return stored, plan

    async def _async_mend(
        self,
        logged: _Logged,
        target: Target,
        statistic: Statistic,
        outcome: Outcome,
        partial: Container[int],
    ) -> None:
        """Let a measurement's statistic follow."""
        window = logged.window
        stored = await async_stored_means(
            self._hass, statistic, window.since, window.until
        )
        means = await self._hass.async_add_executor_job(
            _wanting, logged, target, stored, partial, self._rebuild, outcome
        )
        if not self._dry_run:
            await async_write_means(self._hass, statistic, stored.unit, means)

    def _progress(self, part: Window, share: float) -> None:
        """Tell the share of the whole window that is done, 0 to 1."""
        whole = self._window.until - self._window.since
        newer = self._window.until - part.until
        self._on_progress((newer + share * (part.until - part.since)) / whole)


def _plan(logged: _Logged, target: Target, stored: Stored, rebuild: bool) -> Plan:
    before, following = logged.before, logged.following
    # A rebuild of the next part leaves nothing of what the row before knows better.
    stays = logged.is_oldest or not rebuild
    judged = (before, *logged.hours) if stays else logged.hours
    profile = Profile(
        since=logged.window.since,
        until=logged.window.until,
        before=before.start,
        begin=target.register(before),
        hours={hour.start: target.register(hour) for hour in logged.hours},
        inexact={hour.start for hour in judged if hour.known != hour.end},
        following=(following.start, target.register(following)) if following else None,
        skips_older=logged.is_oldest and before.start < logged.window.since,
    )
    return join(profile, stored.rows, stored.short_term, rebuild=rebuild)


def _count(
    outcome: Outcome,
    logged: _Logged,
    stored: Stored,
    plan: Plan,
    statistic: Statistic,
    until: float,
) -> None:
    more = changed(stored.rows, plan, until)
    new = more.keys() - {row.start for row in stored.rows}
    outcome.written += len(new)
    outcome.corrected += len(more) - len(new)
    outcome.left += sum(hour.start not in more for hour in logged.hours)
    per_unit = 10**statistic.decimals
    # A run rounds elsewhere than a dry run, and must not say something else.
    energies = [round(energy, _DIGITS) for energy in more.values()]
    outcome.more += sum(energy for energy in energies if energy > 0) / per_unit
    outcome.less -= sum(energy for energy in energies if energy < 0) / per_unit


def _wanting(
    logged: _Logged,
    target: Target,
    stored: StoredMeans,
    partial: Container[int],
    rebuild: bool,
    outcome: Outcome,
) -> list[Mean]:
    means = wanting(_means(logged, target), stored.rows, partial, rebuild=rebuild)
    new = {mean.start for mean in means} - {mean.start for mean in stored.rows}
    outcome.written += len(new)
    outcome.corrected += len(means) - len(new)
    outcome.left += len(logged.hours) - len(means)
    return means


def _means(logged: _Logged, target: Target) -> Iterator[Mean]:
    (column,) = target.columns
    for hour in logged.hours:
        yield Mean(
            hour.start, hour.means[column], hour.minima[column], hour.maxima[column]
        )


def _logged(
    window: Window, hours: Sequence[Hour], is_oldest: bool, following: Hour | None
) -> _Logged | None:
    """Return the hours of a window, if the registers with which they begin are known.

    Nothing older will be read than the oldest: it begins behind its first hour.
    """
    earlier = [hour for hour in hours if hour.start < window.since]
    inside = [hour for hour in hours if hour.start >= window.since]
    if is_oldest and not earlier:
        earlier, inside = inside[:1], inside[1:]
    if not earlier or not (inside or is_oldest):
        return None
    return _Logged(window, earlier[-1], inside, is_oldest, following)


def _parts(since: int, until: int) -> Iterator[Window]:
    """Yield the parts of a window, newest first."""
    size = _FIRST_PART
    while until > since:
        begin = max(until - size, since)
        yield Window(begin, until)
        until = begin
        size = _PART


def _whole_hour(at: int) -> int:
    return at // HOUR * HOUR
