"""The cost entities of the energy dashboard, and their prices."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

from homeassistant.const import ATTR_UNIT_OF_MEASUREMENT, UnitOfEnergy
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import entity_registry as er
from homeassistant.util.unit_conversion import EnergyConverter

from .costs import DECIMALS, mean_price
from .recorder import Statistic, async_hourly_means, async_is_recorded, async_states
from .times import HOUR

_ENERGY: Final = "energy"
_EXPORT: Final = "stat_energy_to"
_GRID: Final = (
    (
        *("stat_energy_from", "stat_cost", "cost"),
        *("entity_energy_price", "number_energy_price"),
    ),
    (
        *(_EXPORT, "stat_compensation", "compensation"),
        *("entity_energy_price_export", "number_energy_price_export"),
    ),
)
"""Keys of a grid connection: its energy, a cost entity of the owner's, the suffix of
Home Assistant's cost entity, and its prices."""


@dataclass(frozen=True, slots=True)
class Price:
    """A fixed price per kWh, or an entity with the price."""

    number: float | None = None
    entity_id: str | None = None


@dataclass(frozen=True, slots=True)
class CostSource:
    """Home Assistant's cost entity of an energy statistic.

    `is_compensation`: the energy is exported.
    """

    statistic: Statistic
    price: Price
    is_compensation: bool = False


async def async_cost_sources(hass: HomeAssistant) -> dict[str, list[CostSource]]:
    """Return the cost entities of the energy dashboard, by the statistic of the energy.

    Only existing ones, enabled and recorded.
    """
    if _ENERGY not in hass.config.components:
        return {}
    from homeassistant.components.energy.data import async_get_manager

    manager = await async_get_manager(hass)
    if manager.data is None:
        return {}
    sources: dict[str, list[CostSource]] = {}
    seen: set[str] = set()
    for source in manager.data["energy_sources"]:
        for energy_id, priced in _priced(hass, source):
            # Today's Home Assistant refuses a second connection with the same energy;
            # in older preferences the first one has the cost entity.
            if priced.statistic.statistic_id not in seen:
                seen.add(priced.statistic.statistic_id)
                sources.setdefault(energy_id, []).append(priced)
    return sources


def _priced(
    hass: HomeAssistant, source: Mapping[str, Any]
) -> Iterator[tuple[str, CostSource]]:
    """Yield the energy statistics of a source with a price, and their costs."""
    if source.get("type") != "grid":
        return
    for energy_key, own_cost_key, suffix, entity_key, number_key in _GRID:
        energy_id = source.get(energy_key)
        price = Price(source.get(number_key), source.get(entity_key))
        if (
            energy_id is None
            or source.get(own_cost_key) is not None
            or price == Price()
        ):
            continue
        if cost_id := _cost_entity_id(hass, energy_id, suffix):
            statistic = Statistic(cost_id, hass.config.currency, DECIMALS, has_sum=True)
            yield energy_id, CostSource(statistic, price, energy_key == _EXPORT)


def _cost_entity_id(hass: HomeAssistant, energy_id: str, suffix: str) -> str | None:
    """Return the entity ID of a cost entity, even after it was renamed."""
    registry = er.async_get(hass)
    if (energy := registry.async_get(energy_id)) is None:
        return None
    unique_id = f"{energy.id}_grid_{suffix}"
    cost_id = registry.async_get_entity_id("sensor", _ENERGY, unique_id)
    if cost_id is None or registry.entities[cost_id].disabled:
        return None
    return cost_id if async_is_recorded(hass, cost_id) else None


async def async_prices(
    hass: HomeAssistant, price: Price, hours: Collection[int]
) -> dict[int, float]:
    """Return the price per kWh of each hour with a price.

    The price of an entity is the mean of its statistic, or of its states in hours
    without a row there.
    """
    if price.entity_id is None:
        return {} if price.number is None else dict.fromkeys(hours, price.number)
    if not hours:
        return {}
    since, until = min(hours), max(hours) + HOUR
    unit, means = await async_hourly_means(hass, price.entity_id, since, until)
    found = {start: _per_kwh(means[start], unit) for start in hours if start in means}
    if others := hours - found.keys():
        states = await async_states(
            hass, price.entity_id, min(others), max(others) + HOUR
        )
        # The recorder purges the last change of a price that was constant for long.
        if current := hass.states.get(price.entity_id):
            states.append(current)
        found |= await hass.async_add_executor_job(
            _prices_of_states, states, unit, others
        )
    return found


def _prices_of_states(
    states: Iterable[State], unit: str | None, hours: Iterable[int]
) -> dict[int, float]:
    """Return the price per kWh of each hour with a price.

    A state without a unit has the given one.
    """
    prices = [(state.last_changed.timestamp(), _price(state, unit)) for state in states]
    return {
        start: mean
        for start in hours
        if (mean := mean_price(prices, start, start + HOUR)) is not None
    }


def _price(state: State, unit: str | None) -> float | None:
    """Return the price per kWh of a state, or None if it is none."""
    try:
        number = float(state.state)
    except ValueError:
        return None
    if not isfinite(number):
        return None
    return _per_kwh(number, state.attributes.get(ATTR_UNIT_OF_MEASUREMENT, unit))


def _per_kwh(price: float, unit: str | None) -> float:
    """Return a price per kWh, with its unit read as Home Assistant reads it."""
    energy = (unit or "").partition("/")[2]
    if energy not in set(UnitOfEnergy):
        energy = UnitOfEnergy.KILO_WATT_HOUR
    return EnergyConverter.convert(price, UnitOfEnergy.KILO_WATT_HOUR, energy)
