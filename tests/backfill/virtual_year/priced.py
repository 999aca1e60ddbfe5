"""A cost entity of the energy dashboard, and what its hours must cost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from custom_components.emu_professional.backfill.prices import CostSource, Price
from custom_components.emu_professional.backfill.recorder import Statistic
from custom_components.emu_professional.backfill.times import HOUR
from homeassistant.core import HomeAssistant

from .contract import Contract, is_like, mismatch
from .world import Stored, time_of

if TYPE_CHECKING:
    from .life import Life

CURRENCY: Final = "EUR"
EXACT: Final = 100
"""0.0001 of the currency, in millionths."""
PRICE: Final = "sensor.hourly_price"


def price_at(at: float) -> float:
    """Return a price per kWh that changes each hour, and is negative in some."""
    return (int(at) // HOUR * 37 % 11 - 3) / 20


class CostEntity:
    """What Home Assistant makes of a price: it counts energy × the price of now.

    With `jumps` a restart counts the energy of the time off at once, as Home Assistant
    2026.11 does after it was stopped; else not at all, as 2026.10 and after a crash.
    The price is a fixed one per kWh, or that of an entity.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        entity_id: str,
        *,
        jumps: bool,
        fixed_price: float | None = None,
    ) -> None:
        """Begin at 0."""
        self._fixed_price = fixed_price
        self.entity_id = entity_id
        self._hass = hass
        self._jumps = jumps
        self._value = 0.0
        self._last_reset = 0
        self._last: int | None = None

    def price_at(self, at: float) -> float:
        """Return the price per kWh at a time."""
        return price_at(at) if self._fixed_price is None else self._fixed_price

    def restart(self, at: int) -> None:
        """Begin at 0 again, as with each start of Home Assistant."""
        self._value, self._last_reset = 0.0, at
        if not self._jumps:
            self._last = None
        self._show(at)

    def observe(self, register: int, at: int) -> None:
        """Count the energy since the last reading, in Wh."""
        if self._last is None:
            self._last_reset = self._last_reset or at
            self._last = register
        if register < 0.9 * self._last:
            # A new cycle of the meter is one of the cost.
            self._value, self._last_reset, self._last = 0.0, at, 0
        self._value += (register - self._last) / 1000 * self.price_at(at)
        self._last = register
        self._show(at)

    def _show(self, at: int) -> None:
        self._hass.states.async_set(
            self.entity_id,
            f"{self._value:.9f}",
            {
                "device_class": "monetary",
                "state_class": "total",
                "unit_of_measurement": CURRENCY,
                "last_reset": time_of(self._last_reset).isoformat(),
            },
            timestamp=float(at),
        )

    def remove(self) -> None:
        """Remove its state."""
        self._hass.states.async_remove(self.entity_id)

    @property
    def source(self) -> CostSource:
        """Return how the energy dashboard prices it."""
        statistic = Statistic(self.entity_id, CURRENCY, 6, has_sum=True)
        if self._fixed_price is None:
            return CostSource(statistic, Price(entity_id=PRICE))
        return CostSource(statistic, Price(number=self._fixed_price))


async def async_hourly_means(
    hass: HomeAssistant, statistic_id: str, since: int, until: int
) -> tuple[str, dict[int, float]]:
    """Return the prices of hours, instead of the recorder."""
    hours = range(since // HOUR * HOUR, until, HOUR)
    return f"{CURRENCY}/kWh", {start: price_at(start) for start in hours}


def check_costs(
    life: Life,
    contract: Contract,
    before: Mapping[str, Stored],
    after: Mapping[str, Stored],
) -> None:
    """See that hours that were filled cost price × energy, and others what they did."""
    target = next(t for t in life.targets if t.key == "energy_import")
    old_energy, new_energy = before[target.key].hours(), after[target.key].hours()
    old, new = before["cost"].changes(), after["cost"].changes()
    if not before["cost"].raw:
        assert not new
        return
    # Its first hour may have five-minute rows alone.
    began = min(int(row[1]) // HOUR * HOUR for row in before["cost"].raw)
    for start in sorted(new_energy.keys() | new.keys()):
        if start < began:
            assert start not in new, mismatch(target, start, "a cost before the first")
            continue
        energy = new_energy[start][0] if start in new_energy else 0
        cost = energy / 1000 * life.cost.price_at(start) * 1e6
        is_cost = abs(new.get(start, 0) - cost) <= EXACT
        is_kept = abs(new.get(start, 0) - old.get(start, 0)) <= EXACT
        is_same = start in old_energy and is_like(old_energy[start], new_energy[start])
        detail = f"cost {new.get(start)} of {cost}, was {old.get(start)}"
        if start in new_energy and not is_same:
            assert is_cost, mismatch(target, start, detail)
        elif life.is_outage(start):
            # The logger may know how its hour ended, and not how it began.
            assert is_cost or (is_kept and not contract.is_logged(start)), mismatch(
                target, start, f"{detail} in an outage"
            )
        else:
            assert is_kept, mismatch(target, start, detail)
