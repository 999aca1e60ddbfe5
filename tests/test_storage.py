"""Stored data is checked: another release, or a full disk, may have written it."""

import json
import logging
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_PASSWORD
from homeassistant.core import HomeAssistant
from simulator.web import MeterServer

STORES = ["", ".backfill", ".logbook", ".update", ".lost_hours", ".demand"]
AT = "2026-06-01T09:00:00+00:00"


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        "text",
        {"registers": {}, "at": "2026-06-01T09:00:00", "settled": [], "hash": 1},
        {"registers": {"energy_import": "NaN"}, "at": AT, "silences": [[1]]},
        {
            "registers": {"energy_import": "x"},
            "at": AT,
            "settled": {"energy_import": None},
            "silences": [],
            "hash": "no hash",
            "version": "1.0.17",
            "times": [[1, 2, 3]],
            "logbook": 1,
            "logger": 1,
            "lasting": None,
            "changes": [],
            "empty_since": None,
        },
        # Impossible times, and impossible seals
        {
            "registers": {"energy_import": "1"},
            "at": "0001-01-01T00:00:00+14:00",
            "settled": {},
            "silences": [],
            "seals": {"energy_import": {"1": ["2", "x"]}},
            "hash": "00",
            "version": [],
            "times": [[1 << 40, 1 << 41]],
            "logbook": 1,
            "logger": 1,
            "lasting": 0,
            "changes": [[1, "1"]],
            "empty_since": "never",
        },
        None,
    ],
)
@pytest.mark.parametrize("version", [1, 99])
async def test_another_shape(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    data: object,
    version: int,
) -> None:
    """Data of another shape or version is forgotten, with one warning each."""
    for name in STORES:
        key = f"{DOMAIN}.{entry.entry_id}{name}"
        hass_storage[key] = {"version": version, "key": key, "data": data}
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED
    warnings = [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.endswith(DOMAIN)
    ]
    is_lost = version > 1 or data is not None
    assert len(warnings) == len(STORES) * is_lost, json.dumps(warnings, indent=1)
    assert await hass.config_entries.async_reload(entry.entry_id)


async def test_fingerprint_of_another_shape(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    hass_storage: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is learned again."""
    server.meter.password = "secret"
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, CONF_PASSWORD: "secret"}
    )
    key = f"{DOMAIN}.{entry.entry_id}.fingerprint"
    hass_storage[key] = {"version": 1, "key": key, "data": {"status": "?"}}
    assert await hass.config_entries.async_setup(entry.entry_id)
    assert caplog.text.count("starting over") == 1
    assert hass_storage[key]["data"]["status"] == 401
