"""The choice of costs to fill, and their prices."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from homeassistant.core import HomeAssistant

from ..failures import invalid
from .prices import CostSource, Price, async_cost_sources
from .recorder import Statistic


@dataclass(frozen=True, slots=True)
class CostChoice:
    """The costs to fill, and their price per kWh.

    Without `cost_ids` all costs of a meter are filled; without a `price` at the
    dashboard's prices.
    """

    price: float | None = None
    cost_ids: Collection[str] = ()


async def async_chosen_costs(
    hass: HomeAssistant, meter: str, energies: Iterable[Statistic], choice: CostChoice
) -> list[tuple[Statistic, CostSource]]:
    """Return the energies of a meter with each of their chosen costs.

    Raises ServiceValidationError if one is no cost of the meter, or nothing has a
    price.
    """
    sources = await async_cost_sources(hass)
    priced = [
        (energy, source)
        for energy in energies
        for source in sources.get(energy.statistic_id, ())
    ]
    known = {source.statistic.statistic_id for _, source in priced}
    if unknown := sorted(set(choice.cost_ids) - known):
        raise invalid("not_a_cost", meter=meter, entity_id=unknown[0])
    if choice.cost_ids:
        priced = [
            (energy, source)
            for energy, source in priced
            if source.statistic.statistic_id in choice.cost_ids
        ]
    elif choice.price is not None:
        # What is paid for exported energy is another price than that of imported
        # energy: a compensation must be named.
        priced = [each for each in priced if not each[1].is_compensation]
    if not priced:
        raise invalid("no_costs", meter=meter)
    if choice.price is None:
        return priced
    price = Price(choice.price)
    return [(energy, replace(source, price=price)) for energy, source in priced]
