"""Staggers the periodic work of several meters: each has its turn.

A turn is a share of any interval. Polls, looks into the logs and comparisons of all
meters have intervals of their own, and each meter has the same turn in all of them.
"""

from typing import Final

from homeassistant.core import HomeAssistant

from .config_entry import EmuConfigEntry
from .const import DOMAIN

_GOLDEN_RATIO: Final = (5**0.5 - 1) / 2


def turn_of(hass: HomeAssistant, entry: EmuConfigEntry) -> float:
    """Return a meter's turn as a share of any interval, 0 to less than 1.

    The same at each start. The turns of any number of meters are spread evenly.
    """
    # Multiples of the golden ratio stay evenly spread however many meters are added.
    number = hass.config_entries.async_entries(DOMAIN).index(entry)
    return number * _GOLDEN_RATIO % 1


def seconds_since_turn(turn: float, interval: float, now: float) -> float:
    """Return the seconds since a meter's last turn: less than the interval.

    `interval` and `now` are in seconds; `now` may be of any clock, the same for all
    meters.
    """
    return (now - turn * interval) % interval
