"""The type of the integration's config entries.

In a module of its own: `runtime.py` imports most modules that name it.
"""

from typing import TYPE_CHECKING

from homeassistant.config_entries import ConfigEntry

if TYPE_CHECKING:
    from .runtime import EmuRuntime

type EmuConfigEntry = ConfigEntry[EmuRuntime]
