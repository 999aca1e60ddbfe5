"""Constants of the EMU Professional II integration."""

from datetime import timedelta
import logging
from typing import Final

DOMAIN: Final = "emu_professional"
LOGGER = logging.getLogger(__package__)

MANUFACTURER: Final = "EMU Electronic AG"
MODEL: Final = "EMU Professional II TCP/IP"
NAME: Final = "EMU Professional II"

POLL_INTERVAL: Final = timedelta(seconds=5)
STATUS_INTERVAL: Final = timedelta(minutes=15)

CONF_AUTOMATIC: Final = "automatic_backfill"
CONF_COSTS: Final = "costs_follow_statistics"
