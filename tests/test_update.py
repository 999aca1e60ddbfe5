"""The firmware of a meter, in Home Assistant."""

import ast
import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import (
    ClientSessionGenerator,
    WebSocketGenerator,
)

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.emu.updater.module import UpdateTimeouts
from custom_components.emu_professional.emu.updater.outcome import Step
from custom_components.emu_professional.firmware import (
    unfinished,
    updater as updater_module,
)
from custom_components.emu_professional.firmware.kept import (
    FirmwareStore,
    Source,
    firmware_store,
)
from custom_components.emu_professional.firmware.unfinished import update_store
from custom_components.emu_professional.firmware.updater import firmware_updater_of
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
from simulator.clock import ManualClock
from simulator.images import Trait, signed_image
from simulator.updater import UpdaterConfig, UpdaterServer
from simulator.web import MeterServer
from tests.conftest import QUICK_SESSION, SERIAL_NUMBER, Pass, put_on_trial, state_of

FIRMWARE: Final = f"update.emu_professional_ii_{SERIAL_NUMBER}_firmware"
RESTART: Final = f"button.emu_professional_ii_{SERIAL_NUMBER}_restart_tcp_ip_module"
DELETE: Final = f"button.emu_professional_ii_{SERIAL_NUMBER}_delete_previous_firmware"
POWER: Final = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_active_power"

OLD: Final = signed_image("1.0.16", size=6 * 1024)
NEW: Final = signed_image("1.0.17", size=6 * 1024)

type Fix = Callable[..., Awaitable[dict[str, Any]]]
type Quarter = Callable[[], Awaitable[None]]


@pytest.fixture(autouse=True)
def quick(
    monkeypatch: pytest.MonkeyPatch, impatient: None, quick_updater: None
) -> None:
    """Let nobody wait as long as a real network may need."""
    timeouts = UpdateTimeouts(
        restart=3,
        readings=2,
        confirm=2,
        grace=0.4,
        away=0.1,
        look=0.02,
        session=QUICK_SESSION,
    )
    monkeypatch.setattr(updater_module, "TIMEOUTS", timeouts)
    monkeypatch.setattr(unfinished, "_LOOK_BACK_PAUSE", 0.05)


@pytest.fixture(autouse=True)
async def updater(
    server: MeterServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[UpdaterServer]:
    """Serve the updates of the meter."""
    config = UpdaterConfig(image=OLD, old_answers=0.05, boot_seconds=0.15)
    async with UpdaterServer(server, config) as updater:
        monkeypatch.setattr(updater_module, "DEFAULT_PORT", updater.port)
        yield updater


@pytest.fixture
def quarter(hass: HomeAssistant, pass_time: Pass, clock: ManualClock) -> Quarter:
    """Return a function that lets the quarter pass after which the status is read."""

    async def quarter() -> None:
        # The time limit of a poll that is under way would be over.
        await hass.async_block_till_done(wait_background_tasks=True)
        clock.advance(15 * 60)
        await pass_time(5)

    return quarter


@pytest.fixture
async def given(hass: HomeAssistant, loaded: MockConfigEntry) -> MockConfigEntry:
    """Return the entry of the meter, with a newer firmware that was given."""
    await firmware_store(hass).async_keep(read_firmware(NEW), Source.UPLOAD)
    await hass.async_block_till_done(wait_background_tasks=True)
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
    """Return the keys of the issues that are there."""
    registry = ir.async_get(hass)
    return {
        issue.translation_key or ""
        for (domain, _), issue in registry.issues.items()
        if domain == DOMAIN and issue.active
    }


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
    """Let a firmware have been given before Home Assistant starts."""
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


SPELLINGS: Final = (
    "1.0.17",
    "V1.0.17",
    "v1.0.17",
    "1.0.17.0",
    "1.0.17+0",
    " 1.0.17 ",
    "01.00.17",
    "V 1.0.17",
    "1.0.18",
)


async def test_spellings_of_what_runs(
    hass: HomeAssistant,
    given: MockConfigEntry,
    updater: UpdaterServer,
    server: MeterServer,
    quarter: Quarter,
) -> None:
    """However the meter writes it, what runs is not offered, nor asked for."""
    asked = len(updater.requests)
    for shown in SPELLINGS:
        server.meter.status_override["softwareversion"] = shown
        await quarter()
        state = state_of(hass, FIRMWARE)
        versions = [
            state.attributes[f"{which}_version"] for which in ("installed", "latest")
        ]
        assert (state.state, len(set(versions))) == (STATE_OFF, 1), shown
    assert len(updater.requests) == asked


@pytest.mark.parametrize("shown", ["1.0.16", "1.0", "build 5", 9, "9" * 10_000])
async def test_what_runs_is_known_by_its_hash(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    server: MeterServer,
    quarter: Quarter,
    hass_storage: dict[str, Any],
    shown: str,
) -> None:
    """An image whose number was never raised on the web page is not offered again.

    One look at the slots a quarter of an hour says so; at no moment is it offered.
    """
    put_on_trial(updater, NEW)
    updater.bootloader.confirm()
    server.meter.status_override["softwareversion"] = shown
    offered: list[str] = []

    @callback
    def watch(event: Any) -> None:
        if (state := event.data["new_state"]).state == STATE_ON:
            offered.append(state.entity_id)

    hass.bus.async_listen("state_changed", watch)
    keep(hass_storage, NEW)
    await set_up(hass, entry)
    state = state_of(hass, FIRMWARE)
    assert state.state == STATE_OFF
    assert state.attributes["installed_version"] == "1.0.17"
    assert len(updater.requests) == 1
    await quarter()
    assert len(updater.requests) == 2
    assert FIRMWARE not in offered
    older = signed_image("1.0.16", size=6 * 1024)
    await firmware_store(hass).async_keep(read_firmware(older), Source.UPLOAD)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert FIRMWARE not in offered
    newer = signed_image("1.0.18", size=6 * 1024)
    await firmware_store(hass).async_keep(read_firmware(newer), Source.UPLOAD)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert state_of(hass, FIRMWARE).state == STATE_ON
    assert state_of(hass, FIRMWARE).attributes["latest_version"] == "1.0.18"


async def test_forgotten_number(
    hass: HomeAssistant,
    given: MockConfigEntry,
    updater: UpdaterServer,
    server: MeterServer,
    quarter: Quarter,
) -> None:
    """An automation that installs what is offered flashes the module once."""
    server.meter.status_override["softwareversion"] = "1.0.16"
    installed = 0
    for _ in range(3):
        if state_of(hass, FIRMWARE).state == STATE_ON:
            await install(hass)
            installed += 1
        await quarter()
        state = state_of(hass, FIRMWARE)
        assert state.state == STATE_OFF
        assert state.attributes["installed_version"] == "1.0.17"
    assert installed == 1
    # The old image is flashed back by other means; the web page shows no difference.
    updater.bootloader.mark_pending(permanent=True)
    updater.bootloader.power_cycle()
    await quarter()
    assert state_of(hass, FIRMWARE).state == STATE_ON


@pytest.mark.parametrize("trait", [Trait.WRONG_SIGNATURE, Trait.NO_WEB_PAGE])
async def test_unfit_firmware_is_not_offered_again(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    updater: UpdaterServer,
    quarter: Quarter,
    trait: Trait,
) -> None:
    """What the meter has tried in vain comes again only if its owner gives it again."""
    image = read_firmware(signed_image("1.0.17", size=6 * 1024, trait=trait))
    for _ in range(2):
        await firmware_store(hass).async_keep(image, Source.UPLOAD)
        await hass.async_block_till_done(wait_background_tasks=True)
        assert state_of(hass, FIRMWARE).state == STATE_ON
        with pytest.raises(HomeAssistantError):
            await install(hass)
        await quarter()
        assert state_of(hass, FIRMWARE).state == STATE_OFF
    restarted = FirmwareStore(hass)
    await restarted.async_load()
    assert restarted.is_unfit_for(SERIAL_NUMBER)


async def test_nothing_is_asked_without_a_firmware(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    updater: UpdaterServer,
    quarter: Quarter,
) -> None:
    """Who keeps no firmware is asked for nothing over UDP, ever."""
    await quarter()
    assert updater.datagrams.requests.count == 0


async def test_offered_by_its_number_where_nobody_answers(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    updater: UpdaterServer,
    server: MeterServer,
    quarter: Quarter,
) -> None:
    """Its owner reads what to do when trying to install it."""
    updater.datagrams.requests.loss = 1
    await firmware_store(hass).async_keep(read_firmware(NEW), Source.UPLOAD)
    assert state_of(hass, FIRMWARE).state == STATE_OFF
    await hass.async_block_till_done(wait_background_tasks=True)
    assert state_of(hass, FIRMWARE).state == STATE_ON
    asked = updater.datagrams.requests.count
    server.meter.settings = replace(server.meter.settings, online_update=False)
    await quarter()
    assert state_of(hass, FIRMWARE).state == STATE_ON
    assert updater.datagrams.requests.count == asked


async def test_online_update_is_off(
    hass: HomeAssistant,
    given: MockConfigEntry,
    server: MeterServer,
    quarter: Quarter,
) -> None:
    """The owner reads which box to tick, until it is ticked."""
    server.meter.settings = replace(server.meter.settings, online_update=False)
    with pytest.raises(HomeAssistantError, match="tick “Enable online update”"):
        await install(hass)
    assert issues(hass) == {"online_update_off"}
    assert state_of(hass, FIRMWARE).attributes["in_progress"] is False
    server.meter.settings = replace(server.meter.settings, online_update=True)
    await quarter()
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
    for work in (press(hass, RESTART), firmware_updater_of(hass, given).async_slots()):
        with pytest.raises(HomeAssistantError, match="is being changed already"):
            await work
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
    firmware = firmware_updater_of(hass, given)

    @callback
    def die() -> None:
        if firmware.activity.step is step and (
            step is not Step.UPLOAD or firmware.activity.percent
        ):
            updater.datagrams.answers.loss = 1

    stop = firmware.activity.async_add_listener(die)
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
    """An update that is not over is offered, though another one is noted."""
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
    issue = f"firmware_pending_{entry.entry_id}"
    shown = await fix(issue)
    assert shown["menu_options"] == ["finish_firmware", "delete_firmware"]
    shown = await fix(issue, {"next_step_id": "finish_firmware"})
    assert shown["type"] == "create_entry"
    assert (updater.running, updater.bootloader.swap) == ("1.0.17", Swap.NONE)
    assert not issues(hass)


async def test_boot_loader_refuses_the_swap(
    hass: HomeAssistant, given: MockConfigEntry, updater: UpdaterServer, fix: Fix
) -> None:
    """The owner reads what it is, can have it deleted, and can install another.

    Whoever has brought another image in by other means is offered the same.
    """
    updater.bootloader.refuses_swaps = True
    with pytest.raises(HomeAssistantError, match="boot loader does not start"):
        await install(hass)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert issues(hass) == {"firmware_pending"}
    issue = f"firmware_pending_{given.entry_id}"
    shown = await fix(issue, {"next_step_id": "delete_firmware"})
    assert "does not allow it" in shown["description_placeholders"]["error"]
    updater.config = replace(updater.config, erases_pending=True)
    shown = await fix(issue, {"next_step_id": "delete_firmware"})
    assert (shown["type"], updater.bootloader.swap) == ("create_entry", Swap.NONE)
    assert not issues(hass)

    updater.bootloader.refuses_swaps = False
    updater.bootloader.write(0, signed_image("1.0.15", size=6 * 1024))
    updater.bootloader.mark_pending()
    newer = read_firmware(signed_image("1.0.18", size=6 * 1024))
    await firmware_store(hass).async_keep(newer, Source.UPLOAD)
    await hass.async_block_till_done(wait_background_tasks=True)
    with pytest.raises(HomeAssistantError, match="Or have it deleted"):
        await install(hass)
    assert issues(hass) == {"delete_firmware"}
    shown = await fix(f"delete_firmware_{given.entry_id}", {})
    assert shown["type"] == "create_entry"
    await install(hass)
    assert (updater.running, updater.bootloader.swap) == ("1.0.18", Swap.NONE)


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
    firmware = firmware_updater_of(hass, given)

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


async def test_meter_with_a_name(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    names: dict[str, str],
) -> None:
    """A name that only Home Assistant can find leads to the updater as well."""
    names["meter.local"] = updater.web.host
    data = {**entry.data, "host": "meter.local"}
    hass.config_entries.async_update_entry(entry, data=data)
    assert await hass.config_entries.async_setup(entry.entry_id)
    firmware = firmware_updater_of(hass, entry)
    (slot,) = await firmware.async_slots()
    assert slot.active

    unknown = {**entry.data, "host": "another.local"}
    hass.config_entries.async_update_entry(entry, data=unknown)
    with pytest.raises(HomeAssistantError, match="does not answer"):
        await firmware.async_slots()


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


@pytest.mark.parametrize("step", [Step.CHECK, Step.UPLOAD, Step.RESTART, Step.TRIAL])
async def test_removed_in_the_middle(
    hass: HomeAssistant,
    given: MockConfigEntry,
    updater: UpdaterServer,
    hass_storage: dict[str, Any],
    step: Step,
) -> None:
    """An update ends with its meter, and the meter can be added and updated again."""
    firmware = firmware_updater_of(hass, given)
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
    await firmware_store(hass).async_keep(read_firmware(NEW), Source.UPLOAD)
    await firmware_updater_of(hass, again).async_install(read_firmware(NEW))
    assert (updater.running, updater.bootloader.swap) == ("1.0.17", Swap.NONE)


async def test_dialog_that_outlives_its_meter(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    updater: UpdaterServer,
    fix: Fix,
    all_enabled: None,
) -> None:
    """What is submitted after the meter was removed is not done."""
    updater.bootloader.write(0, NEW)
    firmware = firmware_updater_of(hass, loaded)
    firmware.async_offer_erase()
    await hass.config_entries.async_remove(loaded.entry_id)
    for work in (firmware.async_erase, firmware.async_slots, firmware.async_restart):
        with pytest.raises(HomeAssistantError, match="removed"):
            await work()
    assert not updater.requests
    assert not issues(hass)


async def test_raw_error_is_looked_back_on(
    hass: HomeAssistant, given: MockConfigEntry, updater: UpdaterServer
) -> None:
    """Whatever ends an update that has begun, its owner hears what became of it."""
    firmware = firmware_updater_of(hass, given)

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


async def test_huge_number_in_the_middle(
    hass: HomeAssistant, given: MockConfigEntry, updater: UpdaterServer
) -> None:
    """A forged answer of 1,800 bytes is an answer that does not count."""
    firmware = firmware_updater_of(hass, given)
    datagrams = updater.datagrams.answers
    carry = datagrams.send

    def forge(data: bytes, deliver: Callable[[bytes], None]) -> None:
        if firmware.activity.step is Step.CONFIRM:
            body = b"\xa1\x62rc\xc2\x59\x07\x08" + b"\xff" * 1800
            data = data[:2] + len(body).to_bytes(2) + data[4:8] + body
        carry(data, deliver)

    datagrams.send = forge  # type: ignore[method-assign]
    with pytest.raises(HomeAssistantError, match="does not answer that it will keep"):
        await install(hass)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert issues(hass) == {"firmware_on_trial"}


def test_nothing_is_imported_in_vain() -> None:
    """What an update needs is imported when one begins."""
    for path in Path(updater_module.__file__).parent.parent.rglob("*.py"):
        imported = {
            name.name if isinstance(statement, ast.Import) else statement.module
            for statement in ast.parse(path.read_text()).body
            if isinstance(statement, ast.Import | ast.ImportFrom)
            for name in statement.names
        }
        assert "cbor2" not in imported, path
