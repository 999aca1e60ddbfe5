"""The EMU Professional II TCP/IP, a three-phase energy meter."""

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.typing import ConfigType

from . import issues
from .backfill.coordinator import BackfillCoordinator
from .backfill.ledger_keeper import backfill_store
from .config_entry import EmuConfigEntry
from .const import DOMAIN
from .coordinator import EmuCoordinator, registers_store
from .demand_coordinator import DemandCoordinator, demand_store
from .firmware.kept import firmware_store
from .firmware.meter_firmware import meter_firmware_of
from .log_position import logbook_store
from .lost_hours import lost_hours_store
from .meter_log import LogbookCoordinator
from .password import async_forget_password
from .relocation import fingerprint_store
from .runtime import EmuRuntime
from .services import async_setup_services

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)
PLATFORMS = [
    Platform.BINARY_SENSOR,
    Platform.BUTTON,
    Platform.EVENT,
    Platform.SENSOR,
    Platform.UPDATE,
]


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Set up what all meters share: actions, issues and firmware."""
    async_setup_services(hass)
    issues.async_start(hass)
    firmware = firmware_store(hass)
    await firmware.async_load()
    firmware.async_start()
    return True


async def async_setup_entry(hass: HomeAssistant, entry: EmuConfigEntry) -> bool:
    """Set up a meter."""
    # First of all: a firmware on trial may be the reason why the meter is silent.
    meter_firmware_of(hass, entry).async_look_back()
    meter = EmuCoordinator(hass, entry)
    await meter.async_config_entry_first_refresh()
    backfill = BackfillCoordinator(hass, entry, meter)
    logbook = LogbookCoordinator(hass, entry, meter)
    demand = DemandCoordinator(hass, entry, meter, logbook)
    entry.runtime_data = EmuRuntime(meter, backfill, logbook, demand)
    # Before the entities: demand must be up to date when they read it at a poll.
    await demand.async_start()
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    await backfill.async_start()
    await logbook.async_start()
    # Last: the first check reads the data of all coordinators.
    issues.async_watch(hass, entry)
    return True


async def async_unload_entry(hass: HomeAssistant, entry: EmuConfigEntry) -> bool:
    """Unload a meter."""
    return await hass.config_entries.async_unload_platforms(entry, PLATFORMS)


async def async_remove_entry(hass: HomeAssistant, entry: EmuConfigEntry) -> None:
    """Delete all files and issues of a removed meter."""
    await meter_firmware_of(hass, entry).async_remove()
    await registers_store(hass, entry).async_remove()
    await backfill_store(hass, entry).async_remove()
    await logbook_store(hass, entry).async_remove()
    await demand_store(hass, entry).async_remove()
    await fingerprint_store(hass, entry).async_remove()
    async_forget_password(hass, entry)
    await lost_hours_store(hass, entry).async_remove()
    issues.async_forget(hass, entry)
    firmware = firmware_store(hass)
    if not firmware.has_meters():
        await firmware.async_delete()
