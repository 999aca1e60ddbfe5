"""The removal of a meter, also in the middle of its update."""

import asyncio
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.emu.updater.outcome import Step
from custom_components.emu_professional.firmware.kept import ImageSource, firmware_store
from custom_components.emu_professional.firmware.meter_firmware import meter_firmware_of
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from simulator.bootloader import Swap
from simulator.updater import UpdaterServer
from tests.conftest import SERIAL_NUMBER, issues

from .house import NEW, Fix, install, interrupted, set_up


async def test_removal_leaves_nothing(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
) -> None:
    """With the meter its update and its issues are forgotten."""
    interrupted(hass_storage, entry)
    updater.bootloader.write(0, NEW)
    updater.bootloader.mark_pending()
    await set_up(hass, entry)
    await hass.config_entries.async_remove(entry.entry_id)
    assert not issues(hass)
    assert f"{DOMAIN}.{entry.entry_id}.update" not in hass_storage


@pytest.mark.parametrize("step", [Step.CHECK, Step.UPLOAD, Step.RESTART, Step.TRIAL])
async def test_removed_in_the_middle(
    hass: HomeAssistant,
    given: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    step: Step,
) -> None:
    """An update ends with its meter, and the meter can be added and updated again."""
    firmware = meter_firmware_of(hass, given)
    arrived = asyncio.Event()

    @callback
    def watch() -> None:
        if firmware.activity.step is step:
            arrived.set()

    stop = firmware.activity.async_add_listener(watch)
    task = hass.async_create_task(install(hass))
    await arrived.wait()
    stop()
    await hass.config_entries.async_remove(given.entry_id)
    with pytest.raises(HomeAssistantError, match="removed"):
        await task
    sent = len(updater.requests)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert f"{DOMAIN}.{given.entry_id}.update" not in hass_storage
    assert not issues(hass)
    assert len(updater.requests) == sent
    again = MockConfigEntry(domain=DOMAIN, unique_id=SERIAL_NUMBER, data=given.data)
    again.add_to_hass(hass)
    updater.web.away = False
    await set_up(hass, again)
    await firmware_store(hass).async_keep(read_firmware(NEW), ImageSource.UPLOAD)
    await meter_firmware_of(hass, again).async_install(read_firmware(NEW))
    assert (updater.running, updater.bootloader.swap) == ("1.0.17", Swap.NONE)


async def test_dialog_that_outlives_its_meter(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    updater: UpdaterServer,
    fix: Fix,
    all_enabled: None,
) -> None:
    """A dialog has no effect after the removal of its meter."""
    updater.bootloader.write(0, NEW)
    firmware = meter_firmware_of(hass, loaded)
    firmware.async_offer_erase()
    await hass.config_entries.async_remove(loaded.entry_id)
    for work in (firmware.async_erase, firmware.async_slots, firmware.async_restart):
        with pytest.raises(HomeAssistantError, match="removed"):
            await work()
    assert not updater.requests
    assert not issues(hass)
