"""The life of a config entry."""

from dataclasses import replace

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntryState
from homeassistant.const import CONF_PASSWORD, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import (
    device_registry as dr,
    entity_registry as er,
    issue_registry as ir,
)
from simulator import faults
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.web import MeterServer

from .conftest import SERIAL_NUMBER, Pass, state_of

REGISTER = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_energy_import"


async def test_load_reload_unload(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """An entry comes and goes."""
    assert await hass.config_entries.async_reload(loaded.entry_id)
    await hass.async_block_till_done()
    assert state_of(hass, REGISTER).state != STATE_UNAVAILABLE

    assert await hass.config_entries.async_unload(loaded.entry_id)
    await hass.async_block_till_done()
    assert state_of(hass, REGISTER).state == STATE_UNAVAILABLE
    assert server.open_connections == 0


async def test_nothing_is_polled_after_unload(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """An unloaded entry leaves the meter alone."""
    await pass_time(10)
    await hass.config_entries.async_unload(loaded.entry_id)
    polls = len(server.requests)
    await pass_time(30)
    assert len(server.requests) == polls


async def test_remove(
    hass: HomeAssistant, loaded: MockConfigEntry, hass_storage: dict[str, object]
) -> None:
    """A removed entry leaves no files."""
    assert await hass.config_entries.async_unload(loaded.entry_id)
    assert f"{DOMAIN}.{loaded.entry_id}" in hass_storage
    await hass.config_entries.async_remove(loaded.entry_id)
    await hass.async_block_till_done()
    assert f"{DOMAIN}.{loaded.entry_id}" not in hass_storage
    assert not er.async_get(hass).entities
    assert not list(dr.async_get(hass).devices)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "fault",
    [faults.ConnectionReset(), faults.Status(503), faults.TruncatedJson()],
)
async def test_meter_is_away_at_the_start(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    fault: faults.Fault,
) -> None:
    """Home Assistant tries again when the meter does not answer at once."""
    server.faults.set(fault)
    assert not await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.reason
    server.faults.clear()
    assert await hass.config_entries.async_reload(entry.entry_id)


async def test_password_is_wrong_at_the_start(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """Home Assistant tries again; only a long series of refusals asks for the password."""
    server.meter.password = "secret"
    assert not await hass.config_entries.async_setup(entry.entry_id)
    for _ in range(4):
        assert entry.state is ConfigEntryState.SETUP_RETRY
        assert not hass.config_entries.flow.async_progress()
        clock.advance(150)
        await hass.config_entries.async_reload(entry.entry_id)
        await hass.async_block_till_done()
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["context"]["source"] == SOURCE_REAUTH
    assert flow["context"]["entry_id"] == entry.entry_id

    server.meter.password = None
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert not hass.config_entries.flow.async_progress()


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_for_a_minute(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    pass_time: Pass,
    status: int,
) -> None:
    """A busy module, or another device at its address, ends nothing."""
    server.faults.set(faults.Status(status))
    await pass_time(90)
    assert state_of(hass, REGISTER).state == STATE_UNAVAILABLE
    assert not hass.config_entries.flow.async_progress()
    server.faults.clear()
    await pass_time(5)
    assert state_of(hass, REGISTER).state != STATE_UNAVAILABLE
    assert loaded.state is ConfigEntryState.LOADED


@pytest.mark.parametrize(("status", "is_asked"), [(401, True), (403, False)])
async def test_refused_for_long(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    pass_time: Pass,
    issue_registry: ir.IssueRegistry,
    status: int,
    is_asked: bool,
) -> None:
    """The owner is asked for the password until the meter answers again by itself."""
    server.faults.set(faults.Status(status))
    await pass_time(11 * 60)
    assert bool(hass.config_entries.flow.async_progress()) is is_asked
    server.requests.clear()
    await pass_time(5 * 60)
    assert 4 <= len(server.requests) <= 6
    assert len(hass.config_entries.flow.async_progress()) == is_asked

    server.faults.clear()
    await pass_time(60)
    assert state_of(hass, REGISTER).state != STATE_UNAVAILABLE
    assert not hass.config_entries.flow.async_progress()
    assert ("homeassistant", f"config_entry_reauth_{DOMAIN}_{loaded.entry_id}") not in (
        issue_registry.issues
    )


async def test_password_is_sent(
    hass: HomeAssistant, entry: MockConfigEntry, server: MeterServer
) -> None:
    """A stored password opens a meter with access protection."""
    server.meter.password = "secret"
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, CONF_PASSWORD: "secret"}
    )
    assert await hass.config_entries.async_setup(entry.entry_id)


async def test_another_meter_answers_at_the_start(
    hass: HomeAssistant, entry: MockConfigEntry, server: MeterServer
) -> None:
    """The values of another meter are never taken for this one's."""
    server.meter.status_override["meterserial"] = "22350099"
    assert not await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert "22350099" in entry.reason
    assert hass.states.get(REGISTER) is None


async def test_device(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    config: MeterConfig,
    device_registry: dr.DeviceRegistry,
    pass_time: Pass,
) -> None:
    """The device describes the meter, also after an update of its firmware."""
    (device,) = device_registry.devices
    assert device.identifiers == {(DOMAIN, config.serial_number)}
    assert device.name == f"EMU Professional II {config.serial_number}"
    assert device.manufacturer == "EMU Electronic AG"
    assert device.model == "EMU Professional II TCP/IP"
    assert device.serial_number == config.serial_number
    assert device.sw_version == "1.0.16"
    assert device.configuration_url == f"http://{server.host}:{server.port}"
    assert device.connections == {("mac", server.meter.mac_address.lower())}

    server.meter.settings = replace(server.meter.settings, software_version="1.1.0")
    await pass_time(15 * 60 + 5, interval=60)
    (device,) = device_registry.devices
    assert device.sw_version == "1.1.0"


async def test_register_does_not_run_backwards_over_a_restart(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    pass_time: Pass,
) -> None:
    """Zeros of a starting module are rejected, even right after a restart."""
    await hass.config_entries.async_unload(loaded.entry_id)
    server.meter.override["wpulse_cnt_L123_e"] = "0.000"
    await hass.config_entries.async_setup(loaded.entry_id)
    await hass.async_block_till_done()
    assert state_of(hass, REGISTER).state == STATE_UNAVAILABLE

    del server.meter.override["wpulse_cnt_L123_e"]
    await pass_time(5)
    assert (
        state_of(hass, REGISTER).state == server.meter.meter_data()["wpulse_cnt_L123_e"]
    )
