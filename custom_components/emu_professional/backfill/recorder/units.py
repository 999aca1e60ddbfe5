"""Statistics, and the conversion of their units to last digits."""

from dataclasses import dataclass

from homeassistant.components.recorder.statistics import (
    STATISTIC_UNIT_TO_UNIT_CONVERTER,
)
from homeassistant.exceptions import HomeAssistantError

from ...const import DOMAIN


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of a quantity.

    `unit` is the unit of the quantity ("" for none). The stored statistic may have
    another one; without any rows it gets this one. `decimals` is the number of digits
    of the quantity. Only an external statistic, without a sensor, has a `name`.
    """

    statistic_id: str
    unit: str
    decimals: int
    has_sum: bool
    name: str | None = None


class UnitNotConvertible(HomeAssistantError):
    """A statistic is stored in a unit without a conversion to its quantity's.

    It may be of an older sensor with the same entity ID.
    """

    def __init__(self, statistic: Statistic, unit: str | None) -> None:
        """Initialize with the statistic and its stored unit."""
        super().__init__(
            translation_domain=DOMAIN,
            translation_key="unit_not_convertible",
            translation_placeholders={
                "statistic_id": statistic.statistic_id,
                "unit": unit or "-",
                "expected": statistic.unit or "-",
            },
        )


def last_digits_per(unit: str | None, statistic: Statistic) -> float:
    """Return the unit of a stored statistic, in last digits of its quantity.

    Raises UnitNotConvertible.
    """
    last_digits = 10.0**statistic.decimals
    own = statistic.unit or None
    if unit == own:
        return last_digits
    # A currency has no converter.
    converter = STATISTIC_UNIT_TO_UNIT_CONVERTER.get(own)
    if converter is None or unit not in converter.VALID_UNITS:
        raise UnitNotConvertible(statistic, unit)
    return converter.convert(1, unit, own) * last_digits


def unit_class(statistic: Statistic) -> str | None:
    """Return the recorder's class of the units of a statistic."""
    converter = STATISTIC_UNIT_TO_UNIT_CONVERTER.get(statistic.unit or None)
    return None if converter is None else converter.UNIT_CLASS
