"""A simulated module, and Home Assistant with its meter."""

from collections.abc import AsyncGenerator
from http import HTTPStatus
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.emu.updater.module import UpdateTimeouts
from custom_components.emu_professional.firmware import (
    meter_firmware as meter_firmware_module,
    unfinished,
)
from custom_components.emu_professional.firmware.kept import ImageSource, firmware_store
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from simulator.clock import ManualClock
from simulator.updater import UpdaterConfig, UpdaterServer
from simulator.web import MeterServer
from tests.conftest import QUICK_SESSION, Pass

from .house import NEW, OLD, Fix, Quarter


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
    monkeypatch.setattr(meter_firmware_module, "TIMEOUTS", timeouts)
    monkeypatch.setattr(unfinished, "_LOOK_BACK_PAUSE", 0.05)


@pytest.fixture(autouse=True)
async def updater(
    server: MeterServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[UpdaterServer]:
    """Serve the updates of the meter."""
    config = UpdaterConfig(image=OLD, old_answers=0.05, boot_seconds=0.15)
    async with UpdaterServer(server, config) as updater:
        monkeypatch.setattr(meter_firmware_module, "DEFAULT_PORT", updater.port)
        yield updater


@pytest.fixture
def quarter(hass: HomeAssistant, pass_time: Pass, clock: ManualClock) -> Quarter:
    """Return a function to let the quarter of an hour between two statuses pass."""

    async def quarter() -> None:
        # The time limit of a poll that is under way would be over.
        await hass.async_block_till_done(wait_background_tasks=True)
        clock.advance(15 * 60)
        await pass_time(5)

    return quarter


@pytest.fixture
async def given(hass: HomeAssistant, loaded: MockConfigEntry) -> MockConfigEntry:
    """Return the entry of the meter, with a newer kept firmware."""
    await firmware_store(hass).async_keep(read_firmware(NEW), ImageSource.UPLOAD)
    await hass.async_block_till_done(wait_background_tasks=True)
    return loaded


@pytest.fixture
async def fix(hass: HomeAssistant, hass_client: ClientSessionGenerator) -> Fix:
    """Return a function for the dialog of an issue."""
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
