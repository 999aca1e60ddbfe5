"""An update from click to end, and the words for its failures."""

import ast
import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.emu.updater.outcome import Step
from custom_components.emu_professional.firmware import (
    meter_firmware as meter_firmware_module,
)
from custom_components.emu_professional.firmware.kept import ImageSource, firmware_store
from custom_components.emu_professional.firmware.meter_firmware import meter_firmware_of
from custom_components.emu_professional.firmware.unfinished import update_store
from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from simulator.bootloader import Swap
from simulator.images import signed_image
from simulator.updater import UpdaterServer
from simulator.web import MeterServer
from tests.conftest import SERIAL_NUMBER, issues, state_of

from .house import FIRMWARE, POWER, RESTART, Fix, Quarter, install, press


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


async def test_online_update_is_off(
    hass: HomeAssistant,
    given: MockConfigEntry,
    server: MeterServer,
    quarter: Quarter,
) -> None:
    """The owner reads the box to tick, until it is ticked."""
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
    """During an update nothing else is done to the firmware."""
    task = hass.async_create_task(install(hass))
    await updater.received(3)
    for work in (press(hass, RESTART), meter_firmware_of(hass, given).async_slots()):
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
    """The stop of an automation does not stop an update."""
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
    """At every step the owner reads the known, and the rest is found out."""
    firmware = meter_firmware_of(hass, given)

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


async def test_boot_loader_refuses_the_swap(
    hass: HomeAssistant, given: MockConfigEntry, updater: UpdaterServer, fix: Fix
) -> None:
    """The owner reads the reason, can have it deleted, and can install another.

    The same is offered for a pending image from another tool.
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
    await firmware_store(hass).async_keep(newer, ImageSource.UPLOAD)
    await hass.async_block_till_done(wait_background_tasks=True)
    with pytest.raises(HomeAssistantError, match="Or have it deleted"):
        await install(hass)
    assert issues(hass) == {"delete_firmware"}
    shown = await fix(f"delete_firmware_{given.entry_id}", {})
    assert shown["type"] == "create_entry"
    await install(hass)
    assert (updater.running, updater.bootloader.swap) == ("1.0.18", Swap.NONE)


async def test_meter_with_a_name(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    names: dict[str, str],
) -> None:
    """A name known to Home Assistant alone leads to the updater as well."""
    names["meter.local"] = updater.web.host
    data = {**entry.data, "host": "meter.local"}
    hass.config_entries.async_update_entry(entry, data=data)
    assert await hass.config_entries.async_setup(entry.entry_id)
    firmware = meter_firmware_of(hass, entry)
    (slot,) = await firmware.async_slots()
    assert slot.active

    unknown = {**entry.data, "host": "another.local"}
    hass.config_entries.async_update_entry(entry, data=unknown)
    with pytest.raises(HomeAssistantError, match="does not answer"):
        await firmware.async_slots()


async def test_huge_number_in_the_middle(
    hass: HomeAssistant, given: MockConfigEntry, updater: UpdaterServer
) -> None:
    """A forged answer of 1,800 bytes does not count."""
    firmware = meter_firmware_of(hass, given)
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


def test_cbor_is_imported_late() -> None:
    """The library of an update is imported at its beginning."""
    for path in Path(meter_firmware_module.__file__).parent.parent.rglob("*.py"):
        imported = {
            name.name if isinstance(statement, ast.Import) else statement.module
            for statement in ast.parse(path.read_text()).body
            if isinstance(statement, ast.Import | ast.ImportFrom)
            for name in statement.names
        }
        assert "cbor2" not in imported, path
