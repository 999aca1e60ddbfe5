"""The module's buttons and slots."""

from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.image import read_firmware
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from simulator.updater import UpdaterServer
from tests.conftest import issues

from .house import DELETE, NEW, OLD, RESTART, Fix, press


async def test_delete_previous_firmware(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    all_enabled: None,
    loaded: MockConfigEntry,
    updater: UpdaterServer,
    fix: Fix,
) -> None:
    """It is deleted after the owner's confirmation."""
    updater.bootloader.write(0, NEW)
    await press(hass, DELETE)
    assert len(updater.bootloader.slots) == 2
    assert issues(hass) == {"delete_firmware"}
    shown = await fix(f"delete_firmware_{loaded.entry_id}", {})
    assert shown["type"] == "create_entry"
    assert len(updater.bootloader.slots) == 1
    assert not issues(hass)


async def test_restart(
    hass: HomeAssistant, loaded: MockConfigEntry, updater: UpdaterServer
) -> None:
    """The button restarts the module; the same firmware runs."""
    boots = updater.boots
    await press(hass, RESTART)
    await updater.booted(boots + 1)
    assert updater.running == "1.0.16"


async def test_firmware_slots(
    hass: HomeAssistant, loaded: MockConfigEntry, updater: UpdaterServer
) -> None:
    """The action returns the same as the manual's tool shows."""
    updater.bootloader.write(0, NEW)
    updater.bootloader.mark_pending()
    answer = await hass.services.async_call(
        DOMAIN,
        "firmware_slots",
        {"config_entry_id": loaded.entry_id},
        blocking=True,
        return_response=True,
    )
    assert answer == {
        "slots": [
            {
                "slot": 0,
                "version": "1.0.16",
                "bootable": True,
                "flags": ["active", "confirmed"],
                "hash": read_firmware(OLD).hash.hex(),
            },
            {
                "slot": 1,
                "version": "1.0.17",
                "bootable": True,
                "flags": ["pending"],
                "hash": read_firmware(NEW).hash.hex(),
            },
        ]
    }
