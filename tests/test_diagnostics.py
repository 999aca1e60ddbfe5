"""What an owner attaches to a report."""

import json
from typing import Any

from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.components.diagnostics import (
    get_diagnostics_for_config_entry,
)

from homeassistant.const import CONF_MAC, CONF_PASSWORD
from homeassistant.core import HomeAssistant
from simulator.web import MeterServer

from .conftest import SERIAL_NUMBER


async def test_diagnostics(
    hass: HomeAssistant,
    world_time: None,
    hass_client: Any,
    entry: MockConfigEntry,
    server: MeterServer,
) -> None:
    """All values are there, nothing that names the owner's meter or network."""
    server.meter.password = "top secret"
    hass.config_entries.async_update_entry(
        entry,
        data={
            **entry.data,
            CONF_PASSWORD: "top secret",
            CONF_MAC: server.meter.mac_address,
        },
    )
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    diagnostics = await get_diagnostics_for_config_entry(hass, hass_client, entry)

    assert diagnostics["readings"] == server.meter.meter_data()
    assert diagnostics["status"]["softwareversion"] == "1.0.16"
    assert diagnostics["last_update_success"] is True
    assert diagnostics["clock_offset"] == "0:00:00"
    assert diagnostics["rejected"] == {}

    text = json.dumps(diagnostics).lower()
    settings = server.meter.settings
    for secret in (
        "top secret",
        SERIAL_NUMBER,
        server.meter.mac_address,
        server.host,
        settings.ip_address,
        settings.subnet_mask,
        settings.gateway,
        settings.dns_server,
        settings.ntp_server,
    ):
        assert secret.lower() not in text, secret
