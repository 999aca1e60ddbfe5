"""The EMU Professional II TCP/IP, a three-phase energy meter."""

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant

from .coordinator import EmuConfigEntry, EmuCoordinator, registers_store

PLATFORMS = [Platform.BINARY_SENSOR, Platform.SENSOR]


async def async_setup_entry(hass: HomeAssistant, entry: EmuConfigEntry) -> bool:
    """Set up a meter."""
    coordinator = EmuCoordinator(hass, entry)
    await coordinator.async_config_entry_first_refresh()
    entry.runtime_data = coordinator
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: EmuConfigEntry) -> bool:
    """Unload a meter."""
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_entry(hass: HomeAssistant, entry: EmuConfigEntry) -> None:
    """Forget a meter."""
    await registers_store(hass, entry).async_remove()
