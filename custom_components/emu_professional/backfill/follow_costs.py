"""Lets the costs of the energy dashboard follow the energy that a run writes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from math import inf

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError

from ..const import LOGGER
from ..outages import Outages
from .costs import hourly_costs, plan_costs
from .prices import CostSource, async_prices
from .recorder import (
    Statistic,
    Stored,
    UnitNotConvertible,
    async_apply_plan,
    async_began,
    async_stored,
)
from .report import CostOutcome, Report, Window
from .series import Plan, Row, Unseen, carried_out, changed, changes, unseen_energy
from .times import HOUR

type FindSources = Callable[[], Awaitable[Mapping[str, Sequence[CostSource]]]]


class CostFollower:
    """Gives hours of energy their costs, before their energy is written.

    `find_sources` returns the cost entities by the statistic of their energy: a long
    run asks again, for they may be renamed meanwhile. `report` grows.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        find_sources: FindSources,
        report: Report,
        *,
        dry_run: bool,
    ) -> None:
        """Begin with nothing followed."""
        self._hass = hass
        self._find_sources = find_sources
        self._report = report
        self._dry_run = dry_run

    async def async_follow(
        self,
        energy: Statistic,
        stored: Stored,
        plan: Plan,
        outages: Outages,
        logged: Sequence[int],
        *,
        counted_until: float = inf,
    ) -> None:
        """Give the hours that a plan writes or corrects their costs.

        So it does those of the `logged` hours that touch an outage: the one in which
        it ends has the cost of all of it, or none, even where its energy is right.
        Hours are reported up to a time. Raises HomeAssistantError if a cost statistic
        was written in part: then the energy must not be written either, which tells
        the next run what is still to do.
        """
        found = await self._find_sources()
        if not (sources := found.get(energy.statistic_id)):
            return

        def energies() -> tuple[dict[int, float], Unseen | None]:
            hours = set(changed(stored.rows, plan))
            hours.update(at for at in logged if outages.seconds_within(at, at + HOUR))
            counted = changes(carried_out(stored.rows, plan))
            unseen = unseen_energy(stored.rows, plan) if stored.is_newest else None
            return {at: counted[at] for at in hours if at in counted}, unseen

        of_hours, unseen = await self._hass.async_add_executor_job(energies)
        for source in sources:
            began = await async_began(self._hass, source.statistic)
            if began is None:
                continue
            since = {at: counts for at, counts in of_hours.items() if at >= began}
            try:
                await self.async_price(energy, since, source, counted_until, unseen)
            except UnitNotConvertible as err:
                # Home Assistant itself tells its owner that the currency has changed.
                LOGGER.debug("%s", err)
                outcome = self._outcome(source.statistic)
                outcome.hours_without_price += sum(at < counted_until for at in since)

    async def async_fill(
        self, energy: Statistic, source: CostSource, window: Window
    ) -> None:
        """Give all hours of a window that have energy their costs.

        Raises what `async_price` raises.
        """
        since, until = window.since, window.until
        stored = await async_stored(self._hass, energy, since, until, register=None)

        def energies() -> dict[int, float]:
            counted = changes({row.start: row for row in stored.rows})
            return {at: counts for at, counts in counted.items() if since <= at < until}

        of_hours = await self._hass.async_add_executor_job(energies)
        await self.async_price(energy, of_hours, source)

    async def async_price(
        self,
        energy: Statistic,
        energies: Mapping[int, float],
        source: CostSource,
        counted_until: float = inf,
        unseen: Unseen | None = None,
    ) -> None:
        """Give hours their costs, in the last digits of their energy.

        The cost entity will count `unseen` by itself, although an hour has its cost.
        Raises UnitNotConvertible for a cost in another currency, and what
        `async_follow` raises.
        """
        if not energies:
            return
        hass, statistic = self._hass, source.statistic
        since, until = min(energies), max(energies) + HOUR
        stored = await async_stored(hass, statistic, since, until, register=None)
        hours = {*energies, unseen.start} if unseen else {*energies}
        prices = await async_prices(hass, source.price, hours)
        costs = hourly_costs(energies, prices, energy.decimals)
        again = hourly_costs(dict([unseen]) if unseen else {}, prices, energy.decimals)
        plans = await hass.async_add_executor_job(
            lambda: plan_costs(
                *(costs, stored.rows, stored.short_term),
                is_newest=stored.is_newest,
                unseen=sum(again.values()),
            )
        )
        outcome = self._outcome(statistic)
        outcome.count(energies.keys(), costs, stored.rows, counted_until)
        if self._dry_run:
            return
        try:
            for plan in plans:
                await async_apply_plan(hass, statistic, stored, plan)
        except HomeAssistantError as err:
            self._report.failed[statistic.statistic_id] = err
            self._report.unpriced.add(energy.statistic_id)
            now = await async_stored(hass, statistic, since, until, register=None)
            if _counts(now.rows) != _counts(stored.rows):
                raise

    def _outcome(self, statistic: Statistic) -> CostOutcome:
        return self._report.costs.setdefault(
            statistic.statistic_id, CostOutcome(statistic.unit)
        )


def _counts(rows: Sequence[Row]) -> dict[int, int]:
    """Return what each row counts, without what floating point loses."""
    counted = changes({row.start: row for row in rows})
    return {start: round(cost) for start, cost in counted.items()}
