"""Makes the costs of the energy dashboard follow the energy of a run."""

from bisect import bisect_left, bisect_right
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

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
from .rows import (
    EQUAL,
    Plan,
    Row,
    Unpolled,
    carried_out,
    changed,
    changes,
    unpolled_energy,
)
from .times import HOUR

_DAY: Final = 24 * HOUR

type FindSources = Callable[[], Awaitable[Mapping[str, Sequence[CostSource]]]]


@dataclass(frozen=True, slots=True)
class EnergyChange:
    """The change of an energy statistic in a run.

    `stored` are its rows, `plan` the change. `logged` are the starts of the hours read
    from the logger, `outages` the times without observation.
    """

    energy: Statistic
    stored: Stored
    plan: Plan
    logged: Sequence[int]
    outages: Outages

    def energies(self) -> Energies:
        """Return the energies of the hours to price.

        To price are all changed hours, and logged ones in an outage: the last hour of
        an outage has the cost of all of it, or none, even if its energy is right.
        """
        rows, plan = self.stored.rows, self.plan
        hours = set(changed(rows, plan))
        hours.update(
            at for at in self.logged if self.outages.seconds_within(at, at + HOUR)
        )
        counted = changes(carried_out(rows, plan))
        unpolled = unpolled_energy(rows, plan) if self.stored.is_newest else None
        of_hours = {at: counted[at] for at in hours if at in counted}
        return Energies(of_hours, _neighbors(counted, of_hours), unpolled)


@dataclass(frozen=True, slots=True)
class Energies:
    """The energies of hours, in the last digit of their quantity.

    `neighbors` has the hours with energy before and after each: if one of them had no
    price, the cost entity has counted its energy later, perhaps in this hour. It will
    count `unpolled` by itself, although an hour has its cost.
    """

    of_hours: Mapping[int, float]
    neighbors: Mapping[int, set[int]] = field(default_factory=dict)
    unpolled: Unpolled | None = None

    def since(self, begin: int) -> Energies:
        """Return the energies from a time on."""
        of_hours = {at: energy for at, energy in self.of_hours.items() if at >= begin}
        neighbors = {
            at: {other for other in self.neighbors.get(at, ()) if other >= begin}
            for at in of_hours
        }
        return Energies(of_hours, neighbors, self.unpolled)


class CostFollower:
    """Gives hours of energy their costs, before their energy is written.

    `find_sources` returns the cost entities by the statistic of their energy. It is
    called for each part of a long run, because they may be renamed during it.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        find_sources: FindSources,
        report: Report,
        *,
        dry_run: bool,
    ) -> None:
        """Initialize the follower of one run, with its report."""
        self._hass = hass
        self._find_sources = find_sources
        self._report = report
        self._dry_run = dry_run

    async def async_follow(
        self, change: EnergyChange, *, counted_until: float = inf
    ) -> None:
        """Give the hours of a changed energy statistic their costs.

        Hours before `counted_until` are reported. Raises HomeAssistantError if a cost
        statistic was written in part. Then the energy must not be written either: the
        next run finds the same hours wrong, and completes them.
        """
        energy = change.energy
        found = await self._find_sources()
        if not (sources := found.get(energy.statistic_id)):
            return
        energies = await self._hass.async_add_executor_job(change.energies)
        for source in sources:
            began = await async_began(self._hass, source.statistic)
            if began is None:
                # Home Assistant has not compiled any of it yet: there is nothing to continue.
                continue
            since = energies.since(began)
            try:
                await self.async_price(energy, since, source, counted_until)
            except UnitNotConvertible as err:
                # Home Assistant itself reports to the owner that the currency changed.
                LOGGER.debug("%s", err)
                if missing := sum(at < counted_until for at in since.of_hours):
                    self._outcome(source.statistic).hours_without_price += missing

    async def async_fill(
        self, energy: Statistic, source: CostSource, window: Window
    ) -> None:
        """Give all hours of a window with energy their costs.

        Raises the errors of `async_price`.
        """
        since, until = window.since, window.until
        stored = await async_stored(self._hass, energy, since, until, register=None)

        def energies() -> dict[int, float]:
            counted = changes({row.start: row for row in stored.rows})
            return {at: counts for at, counts in counted.items() if since <= at < until}

        of_hours = await self._hass.async_add_executor_job(energies)
        await self.async_price(energy, Energies(of_hours), source)

    async def async_price(
        self,
        energy: Statistic,
        energies: Energies,
        source: CostSource,
        counted_until: float = inf,
    ) -> None:
        """Give hours their costs.

        Raises UnitNotConvertible for a cost in another currency, and the errors
        of `async_follow`.
        """
        of_hours, unpolled = energies.of_hours, energies.unpolled
        if not of_hours:
            return
        hass, statistic = self._hass, source.statistic
        since, until = min(of_hours), max(of_hours) + HOUR
        stored = await async_stored(hass, statistic, since, until, register=None)
        neighbors = {at: energies.neighbors.get(at, set()) for at in of_hours}
        hours = {*of_hours}.union(*neighbors.values())
        if unpolled:
            hours.add(unpolled.start)
        prices = await async_prices(hass, source.price, hours)
        known = {row.start for row in stored.rows}
        kept = {
            at
            for at, around in neighbors.items()
            if at in known and not around <= prices.keys()
        }
        costs = hourly_costs(
            {at: counts for at, counts in of_hours.items() if at not in kept},
            prices,
            energy.decimals,
        )
        again = hourly_costs(
            dict([unpolled]) if unpolled else {}, prices, energy.decimals
        )
        plans = await hass.async_add_executor_job(
            lambda: plan_costs(
                *(costs, stored.rows, stored.short_term),
                is_newest=stored.is_newest,
                unpolled=sum(again.values()),
            )
        )
        if since < counted_until:
            outcome = self._outcome(statistic)
            outcome.count(of_hours.keys(), costs, stored.rows, counted_until)
        if self._dry_run:
            return
        try:
            for plan in plans:
                await async_apply_plan(hass, statistic, stored, plan)
        except HomeAssistantError as err:
            self._report.failed[statistic.statistic_id] = err
            self._report.unpriced.add(energy.statistic_id)
            now = await async_stored(hass, statistic, since, until, register=None)
            # If no cost was written at all, the energy need not wait for it.
            if _counts(now.rows) != _counts(stored.rows):
                raise

    def _outcome(self, statistic: Statistic) -> CostOutcome:
        return self._report.costs.setdefault(
            statistic.statistic_id, CostOutcome(statistic.unit)
        )


def _neighbors(
    counted: Mapping[int, float], starts: Iterable[int]
) -> dict[int, set[int]]:
    """Return the hours with energy before and after some hours, within a day."""
    hours = [at for at, energy in counted.items() if abs(energy) > EQUAL]
    neighbors: dict[int, set[int]] = {}
    for at in starts:
        before, after = bisect_left(hours, at), bisect_right(hours, at)
        near = (*hours[max(before - 1, 0) : before], *hours[after : after + 1])
        neighbors[at] = {other for other in near if abs(other - at) <= _DAY}
    return neighbors


def _counts(rows: Sequence[Row]) -> dict[int, int]:
    """Return the cost of each row, without the rounding of floating point."""
    counted = changes({row.start: row for row in rows})
    return {start: round(cost) for start, cost in counted.items()}
