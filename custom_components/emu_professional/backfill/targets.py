"""The quantities with a column in the data logger."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ..emu.logs import COLUMNS, REGISTER_COUNT
from ..emu.registers import QUANTITIES, Kind, Quantity
from .hours import Hour
from .load_profile import ROUNDING, TOTAL_ROUNDING, Reading


@dataclass(frozen=True, slots=True)
class Target:
    """A quantity of the logger with a statistic.

    `columns` are the positions of its values among the registers or the means of an
    `Hour`: a total is the sum of its tariffs. A quantity without a live value has an
    external statistic.
    """

    quantity: Quantity
    columns: tuple[int, ...]

    @property
    def key(self) -> str:
        """Stable name."""
        return self.quantity.key

    @property
    def is_register(self) -> bool:
        """Whether its statistic is a sum; the others are means."""
        return self.quantity.kind is Kind.REGISTER

    @property
    def is_external(self) -> bool:
        """Whether no sensor shows it."""
        return self.quantity.json_key is None

    @property
    def rounding(self) -> float:
        """The largest difference of a live and a logged value, in its last digit."""
        return ROUNDING if len(self.columns) == 1 else TOTAL_ROUNDING

    def reading(self, hour: Hour) -> Reading:
        """Return the last logged register of an hour, in its last digit."""
        register = lift = 0
        for column in self.columns:
            register += hour.registers[column]
            lift += hour.lift[column]
        return Reading(register, lift, is_exact=hour.known == hour.end)


def _targets() -> Iterator[Target]:
    for quantity in QUANTITIES:
        if columns := tuple(_columns(quantity)):
            yield Target(quantity, columns)


def _columns(quantity: Quantity) -> Iterator[int]:
    for position, column in enumerate(COLUMNS):
        if column is quantity or _is_tariff_of(column, quantity):
            yield position if position < REGISTER_COUNT else position - REGISTER_COUNT


def _is_tariff_of(column: Quantity, total: Quantity) -> bool:
    return (
        total.kind is column.kind is Kind.REGISTER
        and total.tariff is None
        and total.measurand is column.measurand
        and total.direction is column.direction
    )


TARGETS: Final = tuple(_targets())
"""Energy first: people look at it first."""
