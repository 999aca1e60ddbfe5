"""A Home Assistant with a recorder and the meter, and nothing else."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Final

from custom_components.emu_professional.backfill.recorder import async_caught_up
from custom_components.emu_professional.backfill.targets import TARGETS
from custom_components.emu_professional.const import CONF_AUTOMATIC, DOMAIN
from custom_components.emu_professional.runtime import EmuRuntime
from homeassistant import bootstrap, loader
from homeassistant.config_entries import SOURCE_USER, ConfigEntries, ConfigEntry
from homeassistant.const import CONF_HOST, CONF_PORT
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import async_initialize_recorder
from homeassistant.setup import async_setup_component

from .simulated_meter import ROOT, SERIAL_NUMBER

DATABASE: Final = "home.db"


@asynccontextmanager
async def home(folder: Path) -> AsyncGenerator[HomeAssistant]:
    """Run a Home Assistant with a recorder and nothing else."""
    (folder / "custom_components").symlink_to(ROOT / "custom_components")
    hass = HomeAssistant(str(folder))
    loader.async_setup(hass)
    hass.config.skip_pip = True
    hass.config_entries = ConfigEntries(hass, {})
    assert await bootstrap.async_load_base_functionality(hass)
    # Home Assistant's HTTP sessions resolve names through it.
    assert await async_setup_component(hass, "network", {})
    # Only the option flow needs it, and with it a web server with its users.
    hass.config.components.add("file_upload")
    async_initialize_recorder(hass)
    config = {"recorder": {"db_url": f"sqlite:///{folder / DATABASE}"}}
    assert await async_setup_component(hass, "recorder", config)
    await hass.async_start()
    while not await async_caught_up(hass):
        await asyncio.sleep(0.1)
    try:
        yield hass
    finally:
        await hass.async_stop(force=True)


async def meter(hass: HomeAssistant, port: int) -> EmuRuntime:
    """Add the meter, with the back-fill left to us."""
    entry: ConfigEntry[EmuRuntime] = ConfigEntry(
        domain=DOMAIN,
        title=f"EMU Professional II {SERIAL_NUMBER}",
        unique_id=SERIAL_NUMBER,
        data={CONF_HOST: "127.0.0.1", CONF_PORT: port},
        options={CONF_AUTOMATIC: False},
        source=SOURCE_USER,
        version=1,
        minor_version=1,
        discovery_keys=MappingProxyType({}),
        subentries_data=(),
    )
    await hass.config_entries.async_add(entry)
    return entry.runtime_data


def energy_ids(hass: HomeAssistant) -> set[str]:
    """Return the statistics that the energy dashboard shows."""
    registry = er.async_get(hass)
    found = {
        registry.async_get_entity_id("sensor", DOMAIN, f"{SERIAL_NUMBER}_{target.key}")
        for target in TARGETS
        if target.is_register
    }
    return {entity_id for entity_id in found if entity_id}
