"""A meter, its options, and hours for the checks of the vendor's address."""

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any
from uuid import uuid4

from aiohttp import FormData
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.emu_professional.const import DOMAIN
from homeassistant.components import file_upload
from homeassistant.config_entries import ConfigEntryState, ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from simulator.clock import ManualClock
from tests.conftest import SERIAL_NUMBER

from .options import Hours, Submit, show


@pytest.fixture(autouse=True)
def uploads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep simultaneous tests from deleting each other's files."""
    monkeypatch.setattr(file_upload, "TEMP_DIR_NAME", f"test-{uuid4().hex}")


@pytest.fixture
async def idle(hass: HomeAssistant, world_time: None) -> MockConfigEntry:
    """Return the entry of a meter without polls: firmware is kept beside meters."""
    assert await async_setup_component(hass, DOMAIN, {})
    entry = MockConfigEntry(domain=DOMAIN, unique_id=SERIAL_NUMBER)
    entry.add_to_hass(hass)
    entry.mock_state(hass, ConfigEntryState.LOADED)
    return entry


@pytest.fixture
async def submit(
    hass: HomeAssistant, idle: MockConfigEntry, hass_client: ClientSessionGenerator
) -> Submit:
    """Return a function for the firmware's form, filled in as by a browser."""
    client = await hass_client()

    async def submit(
        answers: dict[str, Any], content: bytes | None = None
    ) -> ConfigFlowResult:
        result = await show(hass, idle)
        if content is not None:
            form = FormData()
            form.add_field("file", BytesIO(content), filename="firmware.bin")
            response = await client.post("/api/file_upload", data=form)
            assert response.status == 200
            answers["firmware_file"] = (await response.json())["file_id"]
        return await hass.config_entries.options.async_configure(
            result["flow_id"], {"check_for_firmware": False, **answers}
        )

    return submit


@pytest.fixture
def hours(hass: HomeAssistant, clock: ManualClock) -> Hours:
    """Return a function to let hours pass, one by one."""

    async def hours(count: int) -> None:
        for _ in range(count):
            clock.advance(3600)
            async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=3605))
            await hass.async_block_till_done(wait_background_tasks=True)

    return hours
