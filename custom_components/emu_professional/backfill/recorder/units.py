"""Statistics, and how their units relate to the last digit of their quantity."""

from dataclasses import dataclass

from homeassistant.components.recorder.statistics import (
    STATISTIC_UNIT_TO_UNIT_CONVERTER,
)
from homeassistant.exceptions import HomeAssistantError

from ...const import DOMAIN


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic of a quantity.

    `unit` is the quantity's ("" for none), which is the statistic's only where the
    recorder has none yet; `decimals` is the quantity's last digit. A sensor's own
    statistic has no `name`; an external one, which belongs to no sensor, has.
    """

    statistic_id: str
    unit: str
    decimals: int
    has_sum: bool
    name: str | None = None


class UnitNotConvertible(HomeAssistantError):
    """A statistic is stored in a unit that is none of its quantity's.

    It may be an older sensor's, whose entity id this one has got.
    """

    def __init__(self, statistic: Statistic, unit: str | None) -> None:
        """Name the statistic, its unit and the right one."""
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
    """Return how many last digits of its quantity a statistic's unit is.

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
    """Return the recorder's name for the units into which a statistic converts."""
    converter = STATISTIC_UNIT_TO_UNIT_CONVERTER.get(statistic.unit or None)
    return None if converter is None else converter.UNIT_CLASS
