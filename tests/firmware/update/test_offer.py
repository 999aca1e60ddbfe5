"""The offered firmware, by its number and its hash."""

from dataclasses import replace
from typing import Any, Final

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import WebSocketGenerator

from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.firmware.kept import (
    FirmwareStore,
    ImageSource,
    firmware_store,
)
from custom_components.emu_professional.firmware.meter_firmware import meter_firmware_of
from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from simulator.images import Trait, signed_image
from simulator.updater import ImageCommand, Moment, Op, Rc, UpdateRequest, UpdaterServer
from simulator.web import MeterServer
from tests.conftest import SERIAL_NUMBER, put_on_trial, state_of

from .house import FIRMWARE, NEW, Quarter, install, interrupted, keep, set_up


async def test_nothing_given(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    """Without a firmware from the owner there is nothing to install."""
    state = state_of(hass, FIRMWARE)
    assert state.state == STATE_OFF
    assert state.attributes["installed_version"] == "1.0.16"
    assert state.attributes["latest_version"] == "1.0.16"


async def test_release_notes(
    hass: HomeAssistant, given: MockConfigEntry, hass_ws_client: WebSocketGenerator
) -> None:
    """The owner reads about the image and the coming steps."""
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
    await firmware_store(hass).async_keep(read_firmware(older), ImageSource.UPLOAD)
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


async def test_spellings_of_the_running_version(
    hass: HomeAssistant,
    given: MockConfigEntry,
    updater: UpdaterServer,
    server: MeterServer,
    quarter: Quarter,
) -> None:
    """In any spelling, the running version is not offered, and no hash is needed."""
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
async def test_running_image_is_known_by_its_hash(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    server: MeterServer,
    quarter: Quarter,
    hass_storage: dict[str, Any],
    shown: str,
) -> None:
    """The running image is not offered again, though the web page shows an old number.

    One look at the slots each quarter of an hour is enough; it is offered at no moment.
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
    await firmware_store(hass).async_keep(read_firmware(older), ImageSource.UPLOAD)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert FIRMWARE not in offered
    newer = signed_image("1.0.18", size=6 * 1024)
    await firmware_store(hass).async_keep(read_firmware(newer), ImageSource.UPLOAD)
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
    """An automation with every offered update flashes the module once."""
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


@pytest.mark.parametrize("time", [None, 0])
async def test_meter_without_a_clock(
    hass: HomeAssistant,
    given: MockConfigEntry,
    updater: UpdaterServer,
    server: MeterServer,
    quarter: Quarter,
    time: int | None,
) -> None:
    """The running firmware is looked at again, though each status equals the one before."""
    server.meter.status_override["meterdatetime"] = time
    server.meter.status_override["softwareversion"] = "1.0.16"
    await install(hass)
    await quarter()
    assert state_of(hass, FIRMWARE).state == STATE_OFF
    asked = len(updater.requests)
    updater.bootloader.mark_pending(permanent=True)
    updater.bootloader.power_cycle()
    await quarter()
    assert len(updater.requests) == asked + 1
    assert state_of(hass, FIRMWARE).state == STATE_ON


@pytest.mark.parametrize(
    "trait", [Trait.WRONG_SIGNATURE, Trait.NO_WEB_PAGE, Trait.NEVER_BOOTS]
)
async def test_unfit_firmware_is_not_offered_again(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    updater: UpdaterServer,
    quarter: Quarter,
    trait: Trait,
) -> None:
    """An unfit firmware is offered again only if its owner gives it again."""
    image = read_firmware(signed_image("1.0.17", size=6 * 1024, trait=trait))
    for _ in range(2):
        await firmware_store(hass).async_keep(image, ImageSource.UPLOAD)
        await hass.async_block_till_done(wait_background_tasks=True)
        assert state_of(hass, FIRMWARE).state == STATE_ON
        with pytest.raises(HomeAssistantError):
            await install(hass)
        # One that never boots is there until somebody interrupts the power.
        boots = updater.boots
        updater.cut_power()
        await updater.booted(boots + 1)
        await quarter()
        assert updater.running == "1.0.16"
        assert state_of(hass, FIRMWARE).state == STATE_OFF
    restarted = FirmwareStore(hass)
    await restarted.async_load()
    assert restarted.is_unfit_for(SERIAL_NUMBER)


@pytest.mark.parametrize("what", ["listed", "tested"])
async def test_firmware_that_is_refused_after_its_upload(
    hass: HomeAssistant,
    given: MockConfigEntry,
    updater: UpdaterServer,
    quarter: Quarter,
    what: str,
) -> None:
    """No automation uploads it each day: it is not offered again either."""
    firmware = meter_firmware_of(hass, given)

    def refuse_test(request: UpdateRequest, moment: Moment) -> bool:
        if request.op == Op.WRITE and request.command == ImageCommand.STATE:
            updater.refusals[:] = [Rc.INVALID] if moment is Moment.ARRIVED else []
        return False

    @callback
    def damage() -> None:
        if firmware.activity.percent:
            updater.bootloader.write(0, bytes(4))

    if what == "tested":
        updater.cut_power_when = refuse_test
    else:
        firmware.activity.async_add_listener(damage)
    with pytest.raises(HomeAssistantError):
        await install(hass)
    await quarter()
    assert (updater.running, state_of(hass, FIRMWARE).state) == ("1.0.16", STATE_OFF)


@pytest.mark.parametrize("trait", [Trait.WRONG_SIGNATURE, Trait.NO_WEB_PAGE])
async def test_unfit_firmware_of_an_interrupted_update(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    quarter: Quarter,
    hass_storage: dict[str, Any],
    trait: Trait,
) -> None:
    """A firmware that proves unfit when its update is finished is not offered either."""
    image = signed_image("1.0.17", size=6 * 1024, trait=trait)
    keep(hass_storage, image)
    interrupted(hass_storage, entry, image)
    updater.bootloader.write(0, image)
    updater.bootloader.mark_pending()
    await set_up(hass, entry)
    with pytest.raises(HomeAssistantError):
        await meter_firmware_of(hass, entry).async_finish()
    await quarter()
    assert updater.running == "1.0.16"
    assert state_of(hass, FIRMWARE).state == STATE_OFF


@pytest.mark.parametrize("answers", [True, False])
async def test_firmware_that_was_taken_back(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    updater: UpdaterServer,
    quarter: Quarter,
    hass_storage: dict[str, Any],
    *,
    answers: bool,
) -> None:
    """No automation brings in again what the owner has just taken back."""
    keep(hass_storage, NEW)
    interrupted(hass_storage, entry)
    put_on_trial(updater, NEW)
    await set_up(hass, entry)
    if answers:
        await meter_firmware_of(hass, entry).async_revert()
    else:
        updater.datagrams.answers.loss = 1
        with pytest.raises(HomeAssistantError):
            await meter_firmware_of(hass, entry).async_revert()
        updater.datagrams.answers.loss = 0
        updater.bootloader.power_cycle()
    await quarter()
    assert (updater.running, state_of(hass, FIRMWARE).state) == ("1.0.16", STATE_OFF)
    await firmware_store(hass).async_keep(read_firmware(NEW), ImageSource.UPLOAD)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert state_of(hass, FIRMWARE).state == STATE_ON


async def test_nothing_is_asked_without_a_firmware(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    updater: UpdaterServer,
    quarter: Quarter,
) -> None:
    """Without a kept firmware no datagram is ever sent."""
    await quarter()
    assert updater.datagrams.requests.count == 0


async def test_offered_by_its_number_where_nobody_answers(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    updater: UpdaterServer,
    server: MeterServer,
    quarter: Quarter,
) -> None:
    """Its owner reads the remedy at the attempt."""
    updater.datagrams.requests.loss = 1
    await firmware_store(hass).async_keep(read_firmware(NEW), ImageSource.UPLOAD)
    assert state_of(hass, FIRMWARE).state == STATE_OFF
    await hass.async_block_till_done(wait_background_tasks=True)
    assert state_of(hass, FIRMWARE).state == STATE_ON
    asked = updater.datagrams.requests.count
    server.meter.settings = replace(server.meter.settings, online_update=False)
    await quarter()
    assert state_of(hass, FIRMWARE).state == STATE_ON
    assert updater.datagrams.requests.count == asked
