"""The firmware of a meter, in Home Assistant."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
import subprocess
import sys
from typing import Any, Final

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import (
    ClientSessionGenerator,
    WebSocketGenerator,
)

from custom_components.emu_professional import installation as installation_module
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.firmware import read_firmware
from custom_components.emu_professional.emu.update import Patience, Step
from custom_components.emu_professional.firmware import Source, firmware_store
from custom_components.emu_professional.installation import (
    installation_of,
    update_store,
)
from homeassistant.components.button.const import DOMAIN as BUTTON, SERVICE_PRESS
from homeassistant.components.update import DOMAIN as UPDATE, SERVICE_INSTALL
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import ATTR_ENTITY_ID, STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import (
    device_registry as dr,
    entity_registry as er,
    issue_registry as ir,
)
from homeassistant.setup import async_setup_component
from simulator.bootloader import Swap
from simulator.images import Trait, signed_image
from simulator.updater import UpdaterConfig, UpdaterServer
from simulator.web import MeterServer
from tests.conftest import SERIAL_NUMBER, Pass, put_on_trial, state_of

FIRMWARE: Final = f"update.emu_professional_ii_{SERIAL_NUMBER}_firmware"
RESTART: Final = f"button.emu_professional_ii_{SERIAL_NUMBER}_restart_tcp_ip_module"
DELETE: Final = f"button.emu_professional_ii_{SERIAL_NUMBER}_delete_previous_firmware"
POWER: Final = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_active_power"

OLD: Final = signed_image("1.0.16", size=6 * 1024)
NEW: Final = signed_image("1.0.17", size=6 * 1024)

type Fix = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(autouse=True)
def quick(
    monkeypatch: pytest.MonkeyPatch, impatient: None, quick_updater: None
) -> None:
    """Let nobody wait as long as a real network may need."""
    patience = Patience(restart=3, readings=2, confirm=2, grace=0.4, look=0.02)
    monkeypatch.setattr(installation_module, "PATIENCE", patience)
    monkeypatch.setattr(installation_module, "_LOOK_BACK_PAUSE", 0.05)


@pytest.fixture(autouse=True)
async def updater(
    server: MeterServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[UpdaterServer]:
    """Serve the updates of the meter."""
    config = UpdaterConfig(image=OLD, old_answers=0.05, boot_seconds=0.15)
    async with UpdaterServer(server, config) as updater:
        monkeypatch.setattr(installation_module, "DEFAULT_PORT", updater.port)
        yield updater


@pytest.fixture
async def given(hass: HomeAssistant, loaded: MockConfigEntry) -> MockConfigEntry:
    """Return the entry of the meter, with a newer firmware that was given."""
    await firmware_store(hass).async_keep(read_firmware(NEW), Source.UPLOAD)
    return loaded


@pytest.fixture
async def fix(hass: HomeAssistant, hass_client: ClientSessionGenerator) -> Fix:
    """Return a function that goes through the dialog of an issue."""
    # What registers pages comes before the server begins to serve them.
    for component in ("repairs", "file_upload"):
        assert await async_setup_component(hass, component, {})
    client = await hass_client()

    async def fix(issue: str, *answers: dict[str, Any]) -> dict[str, Any]:
        url = "/api/repairs/issues/fix"
        answer = await client.post(url, json={"handler": DOMAIN, "issue_id": issue})
        assert answer.status == HTTPStatus.OK
        shown: dict[str, Any] = await answer.json()
        for user_input in answers:
            answer = await client.post(f"{url}/{shown['flow_id']}", json=user_input)
            assert answer.status == HTTPStatus.OK
            shown = await answer.json()
        return shown

    return fix


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


def issues(hass: HomeAssistant) -> set[str]:
    """Return the keys of the issues that are there, but for the missing password."""
    registry = ir.async_get(hass)
    keys = {
        issue.translation_key or ""
        for (domain, _), issue in registry.issues.items()
        if domain == DOMAIN and issue.active
    }
    return keys - {"unprotected"}


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


async def set_up(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Set up a meter, and let what is left of an update be found."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done(wait_background_tasks=True)


async def test_nothing_given(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    """Without a firmware from the owner there is nothing to install."""
    state = state_of(hass, FIRMWARE)
    assert state.state == STATE_OFF
    assert state.attributes["installed_version"] == "1.0.16"
    assert state.attributes["latest_version"] == "1.0.16"


async def test_install(
    hass: HomeAssistant,
    given: MockConfigEntry,
    updater: UpdaterServer,
    device_registry: dr.DeviceRegistry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One click, and the new firmware runs and is there to stay."""
    assert state_of(hass, FIRMWARE).state == STATE_ON
    shown: list[tuple[Any, Any]] = []

    @callback
    def watch(event: Any) -> None:
        state = event.data["new_state"]
        if state.entity_id == FIRMWARE:
            progress = ("in_progress", "update_percentage")
            shown.append(tuple(state.attributes[key] for key in progress))
        elif state.entity_id == POWER:
            assert state.state != "unavailable"

    hass.bus.async_listen("state_changed", watch)
    await install(hass)
    await hass.async_block_till_done(wait_background_tasks=True)
    percents = [percent for busy, percent in shown if busy and percent is not None]
    assert shown[0] == (True, None)
    assert percents == sorted(percents)
    assert len(percents) > 8
    assert shown[-1] == (False, None)
    assert state_of(hass, FIRMWARE).state == STATE_OFF
    assert state_of(hass, FIRMWARE).attributes["installed_version"] == "1.0.17"
    assert (updater.running, updater.bootloader.swap) == ("1.0.17", Swap.NONE)
    device = device_registry.async_get_device_by_identifier(
        (DOMAIN, SERIAL_NUMBER), given.entry_id
    )
    assert device
    assert device.sw_version == "1.0.17"
    assert await update_store(hass, given).async_load() is None
    assert not [
        record
        for record in caplog.records
        if record.levelname != "DEBUG" and "emu_professional" in record.name
    ]


async def test_release_notes(
    hass: HomeAssistant, given: MockConfigEntry, hass_ws_client: WebSocketGenerator
) -> None:
    """The owner reads which image it is and what will be done."""
    client = await hass_ws_client(hass)
    await client.send_json_auto_id(
        {"type": "update/release_notes", "entity_id": FIRMWARE}
    )
    notes = (await client.receive_json())["result"]
    assert read_firmware(NEW).hash.hex() in notes
    assert "1.0.17" in notes
    assert "6.0 KiB" in notes
    await firmware_store(hass).async_remove()
    await client.send_json_auto_id(
        {"type": "update/release_notes", "entity_id": FIRMWARE}
    )
    assert (await client.receive_json())["result"] is None


async def test_older_firmware_only_on_purpose(
    hass: HomeAssistant, loaded: MockConfigEntry, updater: UpdaterServer
) -> None:
    """An older firmware is no update, but can be installed by its version."""
    older = signed_image("1.0.15", size=6 * 1024)
    await firmware_store(hass).async_keep(read_firmware(older), Source.UPLOAD)
    assert state_of(hass, FIRMWARE).state == STATE_OFF
    with pytest.raises(HomeAssistantError):
        await install(hass)
    with pytest.raises(ServiceValidationError):
        await install(hass, version="1.0.14")
    assert not updater.requests
    await install(hass, version="1.0.15")
    assert updater.running == "1.0.15"


async def test_online_update_is_off(
    hass: HomeAssistant,
    given: MockConfigEntry,
    server: MeterServer,
    pass_time: Pass,
) -> None:
    """The owner reads which box to tick, until it is ticked."""
    server.meter.settings = replace(server.meter.settings, online_update=False)
    with pytest.raises(HomeAssistantError, match="tick “Enable online update”"):
        await install(hass)
    assert issues(hass) == {"online_update_off"}
    assert state_of(hass, FIRMWARE).attributes["in_progress"] is False
    server.meter.settings = replace(server.meter.settings, online_update=True)
    await pass_time(16 * 60)
    assert not issues(hass)


async def test_meter_is_away(
    hass: HomeAssistant, given: MockConfigEntry, server: MeterServer
) -> None:
    """Where the web page fails, nothing was begun."""
    await server.stop()
    with pytest.raises(HomeAssistantError, match="can't be reached"):
        await install(hass)
    assert await update_store(hass, given).async_load() is None


async def test_one_at_a_time(
    hass: HomeAssistant, given: MockConfigEntry, updater: UpdaterServer
) -> None:
    """While an update goes on, nothing else is done to the firmware."""
    task = hass.async_create_task(install(hass))
    await updater.received(3)
    with pytest.raises(HomeAssistantError, match="is being changed already"):
        await press(hass, RESTART)
    await task
    assert updater.running == "1.0.17"


async def test_reload_in_the_middle(
    hass: HomeAssistant, given: MockConfigEntry, updater: UpdaterServer
) -> None:
    """A new address of the meter, for instance, does not end its update."""
    task = hass.async_create_task(install(hass))
    await updater.received(3)
    assert await hass.config_entries.async_reload(given.entry_id)
    assert state_of(hass, FIRMWARE).attributes["in_progress"] is True
    await task
    await hass.async_block_till_done(wait_background_tasks=True)
    assert state_of(hass, FIRMWARE).attributes["in_progress"] is False
    assert state_of(hass, FIRMWARE).attributes["installed_version"] == "1.0.17"


async def test_caller_gives_up(
    hass: HomeAssistant, given: MockConfigEntry, updater: UpdaterServer
) -> None:
    """An automation that is stopped does not stop an update."""
    task = hass.async_create_task(install(hass))
    await updater.received(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await hass.async_block_till_done(wait_background_tasks=True)
    assert updater.running == "1.0.17"
    assert updater.bootloader.swap is Swap.NONE
    assert state_of(hass, FIRMWARE).attributes["in_progress"] is False


@pytest.mark.parametrize(
    ("step", "words", "left"),
    [
        (Step.CHECK, "does not answer. Check that", set()),
        (Step.UPLOAD, "lost during the upload. The meter still runs its old", set()),
        (Step.TEST, "may try the new one at its next restart", {"firmware_pending"}),
        (Step.RESTART, "its updater has not come back", {"firmware_pending"}),
        (Step.TRIAL, "does not answer that it will keep it", {"firmware_on_trial"}),
        (Step.CONFIRM, "does not answer that it will keep it", {"firmware_on_trial"}),
    ],
)
async def test_network_dies(
    hass: HomeAssistant,
    given: MockConfigEntry,
    updater: UpdaterServer,
    step: Step,
    words: str,
    left: set[str],
) -> None:
    """At every step the owner reads what is known, and what is not is found out."""
    meter = installation_of(hass, given)

    @callback
    def die() -> None:
        if meter.step is step and (step is not Step.UPLOAD or meter.percent):
            updater.datagrams.answers.loss = 1

    stop = meter.async_add_listener(die)
    with pytest.raises(HomeAssistantError, match=words):
        await install(hass)
    assert state_of(hass, FIRMWARE).attributes["in_progress"] is False
    stop()
    updater.datagrams.answers.loss = 0
    await hass.async_block_till_done(wait_background_tasks=True)
    state = state_of(hass, FIRMWARE)
    assert state.attributes["installed_version"] == updater.running
    assert issues(hass) == left


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
    """A firmware on trial that keeps a meter from being set up can be taken back."""
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
    """A firmware that waits for the restart can be brought in from the issue."""
    interrupted(hass_storage, entry)
    updater.bootloader.write(0, NEW)
    updater.bootloader.mark_pending()
    await set_up(hass, entry)
    assert issues(hass) == {"firmware_pending"}
    shown = await fix(f"firmware_pending_{entry.entry_id}", {})
    assert shown["type"] == "create_entry"
    assert (updater.running, updater.bootloader.swap) == ("1.0.17", Swap.NONE)
    assert not issues(hass)


async def test_interrupted_during_the_upload(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where nothing is on trial, a line in the log says what runs."""
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
    """A meter whose updater does not answer yet is asked until it does."""
    interrupted(hass_storage, entry)
    updater.datagrams.requests.loss = 1
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    updater.datagrams.requests.loss = 0
    await hass.async_block_till_done(wait_background_tasks=True)
    assert await update_store(hass, entry).async_load() is None


@pytest.mark.parametrize("way", ["async_unload", "async_remove"])
async def test_interrupted_and_no_longer_wanted(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    way: str,
) -> None:
    """A meter that was disabled or removed is not asked any more."""
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
    meter = installation_of(hass, given)

    @callback
    def lose_everything() -> None:
        if meter.step is Step.CONFIRM:
            updater.datagrams.requests.loss = 1

    stop_losing = meter.async_add_listener(lose_everything)
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
        shown = await fix(f"firmware_pending_{entry.entry_id}", {})
        assert (shown["type"], shown["reason"]) == ("abort", "failed")
        assert words in shown["description_placeholders"]["error"]
    assert issues(hass) == {"firmware_pending"}


async def test_delete_previous_firmware(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    all_enabled: None,
    loaded: MockConfigEntry,
    updater: UpdaterServer,
    fix: Fix,
) -> None:
    """It is deleted once the owner has confirmed that."""
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
    """The action returns what the manual's tool shows."""
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


def test_nothing_is_imported_in_vain() -> None:
    """What an update needs is imported when one begins."""
    code = (
        # They bring the updater's session with them.
        "import sys, custom_components.emu_professional.update,"
        " custom_components.emu_professional.services;"
        "sys.exit('cbor2' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
