"""Makes every statistic of a meter follow the logged hours of one part."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError

from ..failures import failed
from ..outages import Outages
from .follow_costs import CostFollower, EnergyChange, FindSources
from .hours import Hour
from .means import MeanProfile, Unobserved, plan_means
from .parts import Part
from .recorder import (
    Statistic,
    Stored,
    async_apply_plan,
    async_last_rise,
    async_stored,
    async_stored_means,
    async_write_means,
)
from .report import Mode, Outcome, Report, Request
from .rows import Plan
from .series import plan_register
from .targets import Target


@dataclass(frozen=True, slots=True)
class Destination:
    """The statistics to fill, and their outages.

    `statistic_of` returns the statistic of a quantity, or None if it has none now.
    `find_costs` returns the cost entities of the energy dashboard. During `outages`
    Home Assistant did not observe the meter, whose clock is off by `clock_off` seconds.
    """

    statistic_of: Callable[[Target], Statistic | None]
    find_costs: FindSources
    outages: Outages
    clock_off: float = 0


class PartFollower:
    """Makes statistics follow the logger, part by part, and counts in the report.

    The error of one statistic is reported, and stops no other.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        destination: Destination,
        request: Request,
        report: Report,
    ) -> None:
        """Initialize the follower of one run."""
        self._hass = hass
        self._destination = destination
        self._targets = request.targets
        self._rebuild = request.mode is Mode.REBUILD
        self._dry_run = request.dry_run
        self._report = report
        self._costs = CostFollower(
            hass, destination.find_costs, report, dry_run=request.dry_run
        )
        self._counted: set[str] = set()
        """The statistics with their rows after the window in the report."""

    @property
    def has_failed(self) -> bool:
        """Whether no statistic is left that can follow: older parts are of no use."""
        return all(
            statistic.statistic_id in self._report.failed
            for target in self._targets
            if (statistic := self._destination.statistic_of(target)) is not None
        )

    async def async_follow(
        self,
        part: Part,
        unfinished: Sequence[Hour],
        on_share: Callable[[float], None],
    ) -> None:
        """Make every statistic follow a part.

        Of the `unfinished` hours only five-minute rows are written: they are not over,
        or not logged to their end. `on_share` is called with the share done, 0 to 1.
        """
        for hour in part.hours:
            self._report.status |= hour.status
        # Registers come first: the means of their wrong hours are wrong as well.
        wrong: set[int] = set()
        for number, target in enumerate(self._targets):
            on_share(number / len(self._targets))
            statistic = self._destination.statistic_of(target)
            if statistic is None or statistic.statistic_id in self._report.failed:
                continue
            try:
                if target.is_register:
                    wrong |= await self._async_follow_register(part, target, statistic)
                else:
                    profile = MeanProfile(
                        (*part.hours_with_known_begin, *unfinished),
                        target.columns[0],
                        part.until,
                    )
                    await self._async_follow_mean(part, profile, statistic, wrong)
                self._check_name(target, statistic)
            except HomeAssistantError as err:
                self._report.failed[statistic.statistic_id] = err
                # If it was renamed, it is not complete under its new name either.
                if renamed := self._destination.statistic_of(target):
                    self._report.failed[renamed.statistic_id] = err
        on_share(1)

    def _check_name(self, target: Target, statistic: Statistic) -> None:
        """Raise HomeAssistantError if the statistic was renamed during its run.

        Its rows may have been written under the old name.
        """
        if self._destination.statistic_of(target) != statistic:
            raise failed("renamed", statistic_id=statistic.statistic_id)

    def _outcome(self, statistic: Statistic) -> Outcome:
        return self._report.statistics.setdefault(
            statistic.statistic_id, Outcome(statistic.unit, statistic.has_sum)
        )

    async def _async_follow_register(
        self, part: Part, target: Target, statistic: Statistic
    ) -> frozenset[int]:
        """Make a register's statistic follow, and return its wrong hours.

        An hour without a row in one statistic says nothing about others.
        """
        stored, plan = await self._async_plan(part, target, statistic)
        wrong = plan.wrong.intersection(row.start for row in stored.rows)
        counted_until = self._counted_until(part, statistic, plan)
        logged = [hour.start for hour in part.hours_with_known_begin]
        await self._hass.async_add_executor_job(
            self._outcome(statistic).count_register,
            logged,
            stored.rows,
            plan,
            statistic.decimals,
            counted_until,
        )
        # The cost comes first: as long as the energy of an hour is not written, the
        # next run after an interruption finds its cost missing as well.
        outages = self._destination.outages
        change = EnergyChange(statistic, stored, plan, logged, outages)
        await self._costs.async_follow(change, counted_until=counted_until)
        if not self._dry_run:
            await async_apply_plan(self._hass, statistic, stored, plan)
            if plan.rows and stored.is_newest:
                # Meanwhile Home Assistant may have compiled a row that continues from
                # the short-term row as it was before.
                stored, again = await self._async_plan(part, target, statistic)
                change = EnergyChange(statistic, stored, again, (), outages)
                await self._costs.async_follow(change, counted_until=0)
                await async_apply_plan(self._hass, statistic, stored, again)
        return wrong

    def _counted_until(self, part: Part, statistic: Statistic, plan: Plan) -> float:
        """Return until when the hours of a plan are counted in the report.

        Rows after the window are counted once, with the first part of any effect.
        """
        is_counted = statistic.statistic_id in self._counted
        if part.hours or plan.rows or plan.shift_from is not None:
            self._counted.add(statistic.statistic_id)
        return part.until if is_counted else inf

    async def _async_plan(
        self, part: Part, target: Target, statistic: Statistic
    ) -> tuple[Stored, Plan]:
        last = part.hours[-1] if part.hours else part.previous
        # Not its level: the states of rows are registers, without the lift of restarts.
        # Without a logged hour it is 0: any row with a state can continue the series.
        register = target.reading(last).register if last else 0
        stored = await async_stored(
            self._hass, statistic, part.since, part.until, register
        )
        profile = replace(
            part.profile(target, rebuild=self._rebuild),
            clock_off=self._destination.clock_off,
        )
        if part.previous is None:
            # To judge whether the rows before the logger are of the same meter.
            rise = await async_last_rise(self._hass, statistic, part.since)
            profile = replace(profile, last_known=rise)
        state = self._hass.states.get(statistic.statistic_id)
        is_live = state is not None and _is_number(state.state)
        plan = await self._hass.async_add_executor_job(
            lambda: plan_register(
                profile,
                stored.rows,
                stored.short_term,
                rebuild=self._rebuild,
                is_live=is_live,
            )
        )
        return stored, plan

    async def _async_follow_mean(
        self,
        part: Part,
        profile: MeanProfile,
        statistic: Statistic,
        wrong: Iterable[int],
    ) -> None:
        """Make a measurement's statistic follow."""
        hours = profile.hours
        until = hours[-1].end if hours else part.until
        stored = await async_stored_means(self._hass, statistic, part.since, until)
        unobserved = Unobserved(self._destination.outages, wrong)
        plan = await self._hass.async_add_executor_job(
            lambda: plan_means(profile, stored, unobserved, rebuild=self._rebuild)
        )
        logged = [hour.start for hour in part.hours_with_known_begin]
        self._outcome(statistic).count_means(logged, stored, plan)
        if not self._dry_run:
            await async_write_means(self._hass, statistic, stored.unit, plan)


def _is_number(state: str) -> bool:
    try:
        float(state)
    except ValueError:
        return False
    return True
