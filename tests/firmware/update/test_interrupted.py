"""Updates interrupted by Home Assistant's stop, and their dialogs."""

from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.outcome import Step
from custom_components.emu_professional.firmware.meter_firmware import meter_firmware_of
from custom_components.emu_professional.firmware.unfinished import update_store
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from simulator.bootloader import Swap
from simulator.images import Trait, signed_image
from simulator.updater import UpdaterServer
from tests.conftest import issues, put_on_trial, state_of

from .house import FIRMWARE, NEW, Fix, Quarter, install, interrupted, set_up


async def test_interrupted_on_trial(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    fix: Fix,
) -> None:
    """After a restart the owner is asked whether to keep a firmware on trial."""
    interrupted(hass_storage, entry)
    put_on_trial(updater, NEW)
    await set_up(hass, entry)
    assert issues(hass) == {"firmware_on_trial"}
    issue = f"firmware_on_trial_{entry.entry_id}"
    shown = await fix(issue)
    assert shown["menu_options"] == ["confirm_firmware", "revert_firmware"]
    shown = await fix(issue, {"next_step_id": "confirm_firmware"})
    assert shown["type"] == "create_entry"
    assert (updater.bootloader.swap, issues(hass)) == (Swap.NONE, set())
    updater.bootloader.power_cycle()
    assert updater.running == "1.0.17"


@pytest.mark.parametrize("key", ["firmware_on_trial", "firmware_pending"])
async def test_killed_at_the_beginning_of_another_update(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    fix: Fix,
    key: str,
) -> None:
    """The unfinished update is offered, though another one is noted."""
    interrupted(hass_storage, entry, signed_image("1.0.18"))
    updater.bootloader.write(0, NEW)
    updater.bootloader.mark_pending()
    if key == "firmware_on_trial":
        updater.bootloader.power_cycle()
    await set_up(hass, entry)
    assert issues(hass) == {key}
    steps = {"firmware_on_trial": "confirm_firmware"}
    step = steps.get(key, "finish_firmware")
    shown = await fix(f"{key}_{entry.entry_id}", {"next_step_id": step})
    assert shown["type"] == "create_entry"
    assert (updater.running, updater.bootloader.swap) == ("1.0.17", Swap.NONE)


async def test_revert(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    fix: Fix,
) -> None:
    """The owner may go back instead."""
    interrupted(hass_storage, entry)
    put_on_trial(updater, NEW)
    await set_up(hass, entry)
    issue = f"firmware_on_trial_{entry.entry_id}"
    shown = await fix(issue, {"next_step_id": "revert_firmware"})
    assert shown["type"] == "create_entry"
    assert (updater.running, updater.bootloader.swap) == ("1.0.16", Swap.NONE)
    assert not issues(hass)


async def test_interrupted_on_trial_without_web_page(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    fix: Fix,
) -> None:
    """A firmware on trial can be taken back, also if it prevents the set-up."""
    image = signed_image("1.0.17", trait=Trait.NO_WEB_PAGE)
    interrupted(hass_storage, entry, image)
    put_on_trial(updater, image)
    updater.web.away = True
    assert not await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert issues(hass) == {"firmware_on_trial"}
    issue = f"firmware_on_trial_{entry.entry_id}"
    shown = await fix(issue, {"next_step_id": "revert_firmware"})
    assert (shown["type"], updater.running) == ("create_entry", "1.0.16")
    await hass.async_block_till_done()
    assert not issues(hass)
    assert hass.config_entries.async_loaded_entries(DOMAIN) == [entry]


async def test_interrupted_before_the_restart(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    fix: Fix,
) -> None:
    """A pending firmware can be brought in from the issue."""
    interrupted(hass_storage, entry)
    updater.bootloader.write(0, NEW)
    updater.bootloader.mark_pending()
    await set_up(hass, entry)
    assert issues(hass) == {"firmware_pending"}
    issue = f"firmware_pending_{entry.entry_id}"
    shown = await fix(issue)
    assert shown["menu_options"] == ["finish_firmware", "delete_firmware"]
    shown = await fix(issue, {"next_step_id": "finish_firmware"})
    assert shown["type"] == "create_entry"
    assert (updater.running, updater.bootloader.swap) == ("1.0.17", Swap.NONE)
    assert not issues(hass)


async def test_power_ends_the_trial(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    quarter: Quarter,
    hass_storage: dict[str, Any],
) -> None:
    """The question goes away by itself when a loss of power has answered it."""
    interrupted(hass_storage, entry)
    put_on_trial(updater, NEW)
    await set_up(hass, entry)
    assert issues(hass) == {"firmware_on_trial"}
    updater.bootloader.power_cycle()
    await quarter()
    assert not issues(hass)
    assert await update_store(hass, entry).async_load() is None


@pytest.mark.parametrize("sees", ["status", "dialog"])
async def test_power_begins_the_trial(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    quarter: Quarter,
    hass_storage: dict[str, Any],
    fix: Fix,
    sees: str,
) -> None:
    """Another question takes the place of the one before, not a place beside it."""
    interrupted(hass_storage, entry)
    updater.bootloader.write(0, NEW)
    updater.bootloader.mark_pending()
    await set_up(hass, entry)
    assert issues(hass) == {"firmware_pending"}
    updater.bootloader.power_cycle()
    if sees == "status":
        await quarter()
    else:
        issue = f"firmware_pending_{entry.entry_id}"
        shown = await fix(issue, {"next_step_id": "delete_firmware"})
        assert "is on trial" in shown["description_placeholders"]["error"]
        await hass.async_block_till_done(wait_background_tasks=True)
    assert issues(hass) == {"firmware_on_trial"}


async def test_interrupted_during_the_upload(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With nothing on trial, a line in the log names the running firmware."""
    interrupted(hass_storage, entry)
    await set_up(hass, entry)
    assert not issues(hass)
    assert "update to 1.0.17 was interrupted; firmware 1.0.16 runs" in caplog.text
    assert await update_store(hass, entry).async_load() is None


async def test_interrupted_and_silent(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
) -> None:
    """A silent updater is asked until it answers."""
    interrupted(hass_storage, entry)
    updater.datagrams.requests.loss = 1
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    updater.datagrams.requests.loss = 0
    await hass.async_block_till_done(wait_background_tasks=True)
    assert await update_store(hass, entry).async_load() is None


@pytest.mark.parametrize("way", ["async_unload", "async_remove"])
async def test_interrupted_and_no_longer_in_use(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    way: str,
) -> None:
    """A disabled or removed meter is not asked any more."""
    interrupted(hass_storage, entry)
    updater.datagrams.requests.loss = 1
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    await getattr(hass.config_entries, way)(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)
    updater.datagrams.requests.loss = 0
    assert not issues(hass)


async def test_update_that_may_not_be_at_its_end(
    hass: HomeAssistant, given: MockConfigEntry, updater: UpdaterServer, fix: Fix
) -> None:
    """Where a trial could not be confirmed, Home Assistant looks again by itself."""
    firmware = meter_firmware_of(hass, given)

    @callback
    def lose_everything() -> None:
        if firmware.activity.step is Step.CONFIRM:
            updater.datagrams.requests.loss = 1

    stop_losing = firmware.activity.async_add_listener(lose_everything)
    with pytest.raises(HomeAssistantError, match="does not answer that it will keep"):
        await install(hass)
    assert state_of(hass, FIRMWARE).attributes["in_progress"] is False
    stop_losing()
    updater.datagrams.requests.loss = 0
    await hass.async_block_till_done(wait_background_tasks=True)
    assert issues(hass) == {"firmware_on_trial"}
    await fix(
        f"firmware_on_trial_{given.entry_id}", {"next_step_id": "confirm_firmware"}
    )
    assert updater.bootloader.swap is Swap.NONE
    assert not issues(hass)


async def test_repair_that_fails(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    fix: Fix,
) -> None:
    """The dialog says why, and the issue stays."""
    interrupted(hass_storage, entry)
    updater.bootloader.write(0, NEW)
    updater.bootloader.mark_pending()
    await set_up(hass, entry)
    updater.datagrams.requests.loss = 1
    for language, words in (("en", "does not answer"), ("de", "antwortet nicht")):
        hass.config.language = language
        shown = await fix(
            f"firmware_pending_{entry.entry_id}", {"next_step_id": "finish_firmware"}
        )
        assert (shown["type"], shown["reason"]) == ("abort", "failed")
        assert words in shown["description_placeholders"]["error"]
    assert issues(hass) == {"firmware_pending"}


async def test_unexpected_error(
    hass: HomeAssistant, given: MockConfigEntry, updater: UpdaterServer
) -> None:
    """Any end of a begun update leads to a look at its outcome."""
    firmware = meter_firmware_of(hass, given)

    @callback
    def fail() -> None:
        if firmware.activity.step is Step.CONFIRM:
            raise LookupError

    stop = firmware.activity.async_add_listener(fail)
    with pytest.raises(LookupError):
        await install(hass)
    stop()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert issues(hass) == {"firmware_on_trial"}
