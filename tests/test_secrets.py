"""The meter's password is nowhere but in its config entry."""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
import logging
from typing import Final

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.diagnostics import (
    async_get_config_entry_diagnostics,
)
from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_PORT
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from simulator import faults
from simulator.web import MeterServer
from tests.conftest import SERIAL_NUMBER

PASSWORD: Final = "s3cret pass-word"
SECRETS: Final = (PASSWORD, b64encode(f"admin:{PASSWORD}".encode()).decode())

TROUBLE: Final = (
    faults.Status(401),
    faults.Status(404),
    faults.Status(500),
    faults.ConnectionReset(),
    faults.CloseHalfway(),
    faults.GarbageBytes(),
    faults.Redirect("http://127.0.0.1:9/status.json"),
    faults.TruncatedJson(),
)


@pytest.mark.usefixtures("impatient", "world_time")
async def test_password_is_nowhere(
    hass: HomeAssistant, server: MeterServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither logs nor errors nor diagnostics show it, with any fault."""
    caplog.set_level(logging.DEBUG)
    server.meter.password = PASSWORD
    entry = MockConfigEntry(
        domain=DOMAIN,
        unique_id=SERIAL_NUMBER,
        data={
            CONF_HOST: server.host,
            CONF_PORT: server.port,
            CONF_PASSWORD: PASSWORD,
        },
    )
    entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entry.entry_id)
    said = [str(await async_get_config_entry_diagnostics(hass, entry))]
    for trouble in TROUBLE:
        server.faults.set(trouble)
        async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=310))
        await hass.async_block_till_done(wait_background_tasks=True)
        try:
            answer = await hass.services.async_call(
                DOMAIN,
                "get_logbook",
                {"config_entry_id": entry.entry_id},
                blocking=True,
                return_response=True,
            )
        except HomeAssistantError as err:
            said.append(str(err))
        else:
            said.append(str(answer))
        server.faults.clear()
    said.append(caplog.text)
    assert len(caplog.text) > 1000
    for text in said:
        assert not [secret for secret in SECRETS if secret in text]
    assert all(SECRETS[1] not in request.path for request in server.requests)
