"""Lets the test plugin load beside a Home Assistant newer than its own.

The plugin is made for 2026.10; scripts/test --homeassistant has pytest import this
first. It can go, with its mention there, when the plugin has become one for 2026.11.
"""

# isort: off
# From 2026.11 on it puts httpx2 in the place of httpx: that must be before respx,
# another plugin, imports httpx.
import homeassistant  # noqa: F401

# The plugin's own first imports, as they change what follows
from pytest_homeassistant_custom_component import (  # noqa: F401
    patch_json,
    patch_recorder,
    patch_time,
)

# isort: on
from homeassistant.components import logger
from homeassistant.components.logger import helpers

# The plugin imports it from where it no longer is.
logger._clear_logger_overwrites = (  # type: ignore[attr-defined]
    helpers._clear_logger_overwrites
)
