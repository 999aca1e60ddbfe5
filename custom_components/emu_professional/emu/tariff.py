"""The active tariff, from the registers of T1 and T2.

The meter does not report it; it is the tariff of the register with the last gain.
Pure: no I/O, no clock.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from .readings import HOLD, Value
from .registers import BY_JSON_KEY, Kind, Tariff

_REGISTERS: Final = tuple(
    (quantity.key, quantity.tariff)
    for quantity in BY_JSON_KEY.values()
    if quantity.kind is Kind.REGISTER and quantity.tariff
)


class TariffWatch:
    """Follows the registers of both tariffs, import and export.

    `tariff` is None before the first gain of a register, and after an outage in which
    both tariffs gained.
    """

    def __init__(self) -> None:
        """Begin without a reading."""
        self.tariff: Tariff | None = None
        self._registers: dict[str, tuple[Decimal, datetime]] = {}

    def accept(self, values: Mapping[str, Value], at: datetime) -> Tariff | None:
        """Return the tariff at a time (UTC) with these registers in kWh."""
        moved: dict[Tariff, timedelta] = {}
        for key, tariff in _REGISTERS:
            value = values.get(key)
            if not isinstance(value, Decimal):
                continue
            previous, seen = self._registers.get(key, (value, at))
            # A restarted register is lower: no energy of its tariff.
            if value > previous:
                moved[tariff] = max(at - seen, moved.get(tariff, timedelta()))
            self._registers[key] = value, at
        if len(moved) == 1:
            (self.tariff,) = moved
        elif moved:
            self.tariff = self._after_both(max(moved.values()))
        return self.tariff

    def _after_both(self, passed: timedelta) -> Tariff | None:
        """Return the tariff after a gain of both since the last reading.

        Between two polls the tariff was switched once. In a longer time it may have
        been switched back.
        """
        if self.tariff is None or passed > HOLD:
            return None
        return Tariff.T2 if self.tariff is Tariff.T1 else Tariff.T1
