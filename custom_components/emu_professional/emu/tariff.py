"""Tells which tariff counts: the one whose register moved last.

Pure: no I/O, no clock. The meter reports no tariff, but its registers of T1 and T2.
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

    `tariff` is None until a register has moved, and after a time without readings
    in which those of both tariffs did.
    """

    def __init__(self) -> None:
        """Begin without a register."""
        self.tariff: Tariff | None = None
        self._registers: dict[str, tuple[Decimal, datetime]] = {}

    def accept(self, values: Mapping[str, Value], at: datetime) -> Tariff | None:
        """Return the tariff after the registers, in kWh, of a time, UTC."""
        moved: dict[Tariff, timedelta] = {}
        for key, tariff in _REGISTERS:
            value = values.get(key)
            if not isinstance(value, Decimal):
                continue
            before, seen = self._registers.get(key, (value, at))
            # A register that restarted is lower: that is no energy of its tariff.
            if value > before:
                moved[tariff] = max(at - seen, moved.get(tariff, timedelta()))
            self._registers[key] = value, at
        if len(moved) == 1:
            (self.tariff,) = moved
        elif moved:
            self.tariff = self._after_both(max(moved.values()))
        return self.tariff

    def _after_both(self, passed: timedelta) -> Tariff | None:
        """Return the tariff after registers of both have moved since the last look.

        Between two polls it was switched once. In a longer time it may have been
        switched back.
        """
        if self.tariff is None or passed > HOLD:
            return None
        return Tariff.T2 if self.tariff is Tariff.T1 else Tariff.T1
