"""A house with one meter: its entities, its owner's clicks, its storage."""

import base64
from collections.abc import Awaitable, Callable
from typing import Any, Final

from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.image import read_firmware
from homeassistant.components.button.const import DOMAIN as BUTTON, SERVICE_PRESS
from homeassistant.components.update import DOMAIN as UPDATE, SERVICE_INSTALL
from homeassistant.const import ATTR_ENTITY_ID
from homeassistant.core import HomeAssistant
from simulator.images import signed_image
from tests.conftest import SERIAL_NUMBER

FIRMWARE: Final = f"update.emu_professional_ii_{SERIAL_NUMBER}_firmware"


RESTART: Final = f"button.emu_professional_ii_{SERIAL_NUMBER}_restart_tcp_ip_module"


DELETE: Final = f"button.emu_professional_ii_{SERIAL_NUMBER}_delete_previous_firmware"


POWER: Final = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_active_power"


OLD: Final = signed_image("1.0.16", size=6 * 1024)


NEW: Final = signed_image("1.0.17", size=6 * 1024)


type Fix = Callable[..., Awaitable[dict[str, Any]]]


type Quarter = Callable[[], Awaitable[None]]


async def install(hass: HomeAssistant, **data: Any) -> None:
    """Press Install."""
    await hass.services.async_call(
        UPDATE, SERVICE_INSTALL, {ATTR_ENTITY_ID: FIRMWARE, **data}, blocking=True
    )


async def press(hass: HomeAssistant, button: str) -> None:
    """Press a button."""
    await hass.services.async_call(
        BUTTON, SERVICE_PRESS, {ATTR_ENTITY_ID: button}, blocking=True
    )


def interrupted(
    storage: dict[str, Any], entry: MockConfigEntry, image: bytes = NEW
) -> None:
    """Let an update have begun before Home Assistant stopped."""
    key = f"{DOMAIN}.{entry.entry_id}.update"
    storage[key] = {
        "version": 1,
        "minor_version": 1,
        "key": key,
        "data": {"hash": read_firmware(image).hash.hex(), "version": "1.0.17"},
    }


def keep(storage: dict[str, Any], image: bytes) -> None:
    """Let a firmware be kept before Home Assistant starts."""
    key = f"{DOMAIN}.firmware"
    storage[key] = {
        "version": 1,
        "minor_version": 1,
        "key": key,
        "data": {
            "image": base64.b64encode(image).decode(),
            "source": "upload",
            "when": "2026-06-01T10:00:00+00:00",
            "is_checked_daily": False,
            "checked": None,
            "conditions": {},
        },
    }


async def set_up(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Set up a meter, and let an unfinished update be found."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
