"""When each of many meters has its turn in what is done to all of them."""

from typing import Final

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant

from .const import DOMAIN

_GOLDEN: Final = (5**0.5 - 1) / 2


def place_of(hass: HomeAssistant, entry: ConfigEntry) -> float:
    """Return a meter's place in every interval, from 0 up to but not including 1.

    The same at each start; the places of any number of meters lie evenly.
    """
    # Multiples of the golden ratio do so without knowing how many there will be.
    number = hass.config_entries.async_entries(DOMAIN).index(entry)
    return number * _GOLDEN % 1


def time_behind(place: float, interval: float, now: float) -> float:
    """Return how long ago the last turn was, in seconds: less than an interval.

    `interval` and `now` are in seconds; `now` is of any clock, the same for all.
    """
    return (now - place * interval) % interval
