"""The entities of a meter."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
import json
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
)

from custom_components.emu_professional.binary_sensor import BINARY_SENSORS
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.registers import BY_JSON_KEY, Kind
from custom_components.emu_professional.sensor import SENSORS
from homeassistant.components.sensor import SensorDeviceClass, SensorStateClass
from homeassistant.const import STATE_UNKNOWN, EntityCategory
from homeassistant.core import Event, EventStateReportedData, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from simulator import faults
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.web import MeterServer

from .conftest import NOON, SERIAL_NUMBER, Pass, state_of

PREFIX = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_"
BINARY_PREFIX = f"binary_sensor.emu_professional_ii_{SERIAL_NUMBER}_"

MONTHS = ("this_month", "last_month")

ENABLED = {
    "active_power",
    *(f"active_power_l{phase}" for phase in (1, 2, 3)),
    *(f"current_l{phase}" for phase in (1, 2, 3)),
    *(f"energy_{d}{t}" for d in ("import", "export") for t in ("", "_t1", "_t2")),
    *("backfill", "backfill_progress", "fill_statistics"),
    "firmware",
    "clock_offset",
    "modbus",
    "ntp",
    "ntp_server",
    "online_update",
    "restart",
    "tariff",
    "demand",
    *(f"peak_demand_{month}{time}" for month in MONTHS for time in ("", "_time")),
}

pytestmark = pytest.mark.usefixtures("impatient")


def unique_ids(entities: list[er.RegistryEntry]) -> set[str]:
    """Return the keys of entities."""
    prefix = f"{SERIAL_NUMBER}_"
    assert all(entity.unique_id.startswith(prefix) for entity in entities)
    return {entity.unique_id.removeprefix(prefix) for entity in entities}


def id_of(entity_registry: er.EntityRegistry, key: str) -> str:
    """Return the entity id of an existing sensor."""
    entity_id = entity_registry.async_get_entity_id(
        "sensor", DOMAIN, f"{SERIAL_NUMBER}_{key}"
    )
    assert entity_id
    return entity_id


def of(
    entity_registry: er.EntityRegistry, entry: MockConfigEntry
) -> list[er.RegistryEntry]:
    """Return the entities of an entry."""
    return er.async_entries_for_config_entry(entity_registry, entry.entry_id)


async def test_every_value_of_the_manual_is_an_entity(
    entity_registry: er.EntityRegistry, loaded: MockConfigEntry
) -> None:
    """No value is left out; few of them are enabled by default."""
    entities = of(entity_registry, loaded)
    assert unique_ids(entities) == {
        *(quantity.key for quantity in BY_JSON_KEY.values()),
        *("clock", "clock_offset", "ip_address", "modbus_port", "ntp_server"),
        *("dhcp", "modbus", "ntp", "online_update"),
        *("backfill", "backfill_progress", "fill_statistics"),
        *("firmware", "restart", "delete_firmware", "tariff"),
        *("demand", "expected_demand"),
        *(f"peak_demand_{month}{time}" for month in MONTHS for time in ("", "_time")),
    }
    assert unique_ids([e for e in entities if not e.disabled]) == ENABLED


async def test_registered_entities_stay_as_they_are(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    entry: MockConfigEntry,
    server: MeterServer,
) -> None:
    """The default applies to the first registration of an entity only."""
    key = f"{SERIAL_NUMBER}_voltage_l1"
    entity_registry.async_get_or_create("sensor", DOMAIN, key, config_entry=entry)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    entity_id = id_of(entity_registry, "voltage_l1")
    assert state_of(hass, entity_id).state == server.meter.meter_data()["u_L1_act_e"]


@pytest.mark.usefixtures("all_enabled")
async def test_every_value_arrives(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    loaded: MockConfigEntry,
    server: MeterServer,
    pass_time: Pass,
) -> None:
    """Every entity shows the meter's value, to the last digit."""
    for _ in range(3):
        await pass_time(5)
        document: dict[str, Any] = dict(server.meter.meter_data())
        for json_key, quantity in BY_JSON_KEY.items():
            entity_id = id_of(entity_registry, quantity.key)
            raw = document[json_key]
            if quantity.kind.is_time:
                raw = datetime.fromtimestamp(raw, UTC).isoformat()
            assert state_of(hass, entity_id).state == raw, quantity.key
        clock = state_of(hass, f"{PREFIX}meter_clock")
        assert (
            datetime.fromisoformat(clock.state).timestamp() == document["meterdatetime"]
        )


@pytest.mark.usefixtures("all_enabled")
async def test_configuration_arrives(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """The meter's configuration is shown, also after it changed."""
    assert state_of(hass, f"{BINARY_PREFIX}modbus_server").state == "on"
    assert state_of(hass, f"{BINARY_PREFIX}time_synchronization").state == "on"
    assert state_of(hass, f"{BINARY_PREFIX}online_updates_allowed").state == "on"
    assert state_of(hass, f"{BINARY_PREFIX}dhcp").state == "off"
    assert state_of(hass, f"{PREFIX}modbus_port").state == "502"
    assert state_of(hass, f"{PREFIX}ntp_server").state == "pool.ntp.org"
    assert state_of(hass, f"{PREFIX}ip_address").state == "10.255.255.7"

    server.meter.settings = replace(
        server.meter.settings, modbus=False, ntp_server="192.168.1.1"
    )
    await pass_time(15 * 60 + 5, interval=60)
    assert state_of(hass, f"{BINARY_PREFIX}modbus_server").state == "off"
    assert state_of(hass, f"{PREFIX}ntp_server").state == "192.168.1.1"


async def test_configuration_is_read_again_after_an_interruption(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """A restart of the module may have changed its configuration."""
    server.meter.settings = replace(server.meter.settings, modbus=False)
    await pass_time(10)
    assert state_of(hass, f"{BINARY_PREFIX}modbus_server").state == "on"
    await server.stop()
    await pass_time(5)
    await server.start()
    await pass_time(5)
    assert state_of(hass, f"{BINARY_PREFIX}modbus_server").state == "off"


@pytest.mark.usefixtures("all_enabled")
async def test_configuration_is_read_after_the_clock_was_set_back(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    pass_time: Pass,
) -> None:
    """It is not left alone until the clock of Home Assistant is as late again."""
    await pass_time(5)
    server.meter.settings = replace(server.meter.settings, modbus=False)
    clock.advance(-24 * 3600)
    await pass_time(5)
    assert state_of(hass, f"{BINARY_PREFIX}modbus_server").state == "off"


async def test_configuration_is_read_seldom(
    loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """In half an hour the configuration is read twice, the values 360 times."""
    server.requests.clear()
    await pass_time(1800)
    paths = [request.path for request in server.requests]
    assert paths.count("/status.json") == 2
    assert paths.count("/meterdata.json") == 360
    assert server.most_connections == 1


@pytest.mark.usefixtures("all_enabled")
async def test_classes(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    """Energy sensors fit the energy dashboard and statistics."""
    energy = state_of(hass, f"{PREFIX}energy_import").attributes
    assert energy["device_class"] == SensorDeviceClass.ENERGY
    assert energy["state_class"] == SensorStateClass.TOTAL_INCREASING
    assert energy["unit_of_measurement"] == "kWh"
    for name, device_class, unit in (
        ("active_power", SensorDeviceClass.POWER, "kW"),
        ("reactive_power_l1", SensorDeviceClass.REACTIVE_POWER, "kvar"),
        ("current_l1", SensorDeviceClass.CURRENT, "A"),
        ("voltage_l1", SensorDeviceClass.VOLTAGE, "V"),
        ("power_factor_l1", SensorDeviceClass.POWER_FACTOR, None),
        ("frequency", SensorDeviceClass.FREQUENCY, "Hz"),
    ):
        attributes = state_of(hass, f"{PREFIX}{name}").attributes
        assert attributes["device_class"] == device_class
        assert attributes["state_class"] == SensorStateClass.MEASUREMENT
        assert attributes.get("unit_of_measurement") == unit
    extreme = state_of(hass, f"{PREFIX}active_power_l1_maximum").attributes
    assert "state_class" not in extreme
    time = state_of(hass, f"{PREFIX}active_power_l1_maximum_time").attributes
    assert time["device_class"] == SensorDeviceClass.TIMESTAMP


@pytest.mark.usefixtures("all_enabled")
async def test_display_precision_is_the_meters_resolution(
    entity_registry: er.EntityRegistry, loaded: MockConfigEntry
) -> None:
    """Every number is shown with the meter's digits."""
    for quantity in BY_JSON_KEY.values():
        registered = entity_registry.async_get(id_of(entity_registry, quantity.key))
        assert registered
        options: Mapping[str, Any] = registered.options.get("sensor", {})
        expected = None if quantity.kind.is_time else quantity.decimals
        assert options.get("suggested_display_precision") == expected


def test_only_configuration_and_clock_are_diagnostic() -> None:
    """Measured values stand among the sensors of the device page."""
    diagnostic = {
        description.key
        for description in (*SENSORS, *BINARY_SENSORS)
        if description.entity_category is EntityCategory.DIAGNOSTIC
    }
    assert diagnostic == {
        *("clock", "clock_offset", "ip_address", "modbus_port", "ntp_server"),
        *("dhcp", "modbus", "ntp", "online_update"),
    }


async def test_unchanged_value_costs_nothing(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """An unchanged value is not even reported."""
    await pass_time(5)
    frozen = server.meter.meter_data()
    del frozen["meterdatetime"]
    changed = async_capture_events(hass, "state_changed")
    reported: list[Event[EventStateReportedData]] = []

    @callback
    def listen(event: Event[EventStateReportedData]) -> None:
        reported.append(event)

    hass.bus.async_listen("state_reported", listen, callback(lambda data: True))
    server.faults.set(
        faults.ReplacedValues(frozen | {"p_L1_act_e": "1.234"}), path="/meterdata.json"
    )
    await pass_time(5)
    assert [event.data["entity_id"] for event in changed] == [
        f"{PREFIX}active_power_l1"
    ]
    await pass_time(15)
    assert len(changed) == 1
    assert not reported


@pytest.mark.parametrize("config", [MeterConfig(serial_number="22340000")])
async def test_meter_without_extremes(
    entity_registry: er.EntityRegistry, entry: MockConfigEntry, hass: HomeAssistant
) -> None:
    """A meter below serial number 22350000 has no entities for extremes."""
    hass.config_entries.async_update_entry(entry, unique_id="22340000")
    await hass.config_entries.async_setup(entry.entry_id)
    keys = {e.unique_id.partition("_")[2] for e in of(entity_registry, entry)}
    assert not any("minimum" in key or "maximum" in key for key in keys)
    momentary = {q.key for q in BY_JSON_KEY.values() if q.kind is Kind.MOMENTARY}
    assert momentary <= keys


async def test_value_that_appears_later(
    hass: HomeAssistant,
    entity_registry: er.EntityRegistry,
    entry: MockConfigEntry,
    server: MeterServer,
    pass_time: Pass,
) -> None:
    """An entity is made once the meter reports its value, be it late."""
    key = f"{SERIAL_NUMBER}_current_l1"
    server.faults.set(faults.MissingKeys("i_L1_act_e"))
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert not entity_registry.async_get_entity_id("sensor", DOMAIN, key)
    server.faults.clear()
    await pass_time(5)
    entity_id = id_of(entity_registry, "current_l1")
    assert state_of(hass, entity_id).state == server.meter.meter_data()["i_L1_act_e"]
    server.faults.set(faults.MissingKeys("i_L1_act_e"))
    await pass_time(5)
    assert state_of(hass, entity_id).state == STATE_UNKNOWN


async def test_clock_offset(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """A wrong clock is shown; the offset of a right one does not change."""
    entity_id = f"{PREFIX}clock_offset"
    assert state_of(hass, entity_id).attributes["state_class"] == "measurement"
    assert state_of(hass, entity_id).state == "0"
    changed = async_capture_events(hass, "state_changed")
    await pass_time(60)
    assert entity_id not in {event.data["entity_id"] for event in changed}
    server.meter.set_clock_offset(-3600)
    await pass_time(5)
    assert state_of(hass, entity_id).state == "-3600"


async def test_tariff(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """The tariff is unknown until a register moves, also after a restart."""
    frozen = dict(server.meter.meter_data())
    for tariff in ("T1", "T2"):
        server.faults.set(faults.ReplacedValues(dict(frozen)), path="/meterdata.json")
        await pass_time(5)
        assert state_of(hass, f"{PREFIX}tariff").state == STATE_UNKNOWN
        key = f"wpulse_cnt_L123_{tariff}_e"
        frozen[key] = f"{float(str(frozen[key])) + 0.01:.3f}"
        server.faults.clear()
        server.faults.set(faults.ReplacedValues(dict(frozen)), path="/meterdata.json")
        await pass_time(5)
        assert state_of(hass, f"{PREFIX}tariff").state == tariff.lower()
        await hass.config_entries.async_reload(loaded.entry_id)
        await hass.async_block_till_done()
    options = state_of(hass, f"{PREFIX}tariff").attributes["options"]
    assert options == ["t1", "t2"]


async def test_clock_that_is_not_set(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """A meter without time has an unknown offset."""
    server.meter.override["meterdatetime"] = 0
    await pass_time(5)
    assert state_of(hass, f"{PREFIX}clock_offset").state == STATE_UNKNOWN


async def test_names(
    hass: HomeAssistant, loaded: MockConfigEntry, clock: ManualClock
) -> None:
    """Names are made of quantity, direction, tariff and phase."""
    device = f"EMU Professional II {SERIAL_NUMBER}"
    names = {state.name for state in hass.states.async_all()}
    assert {
        f"{device} Energy import",
        f"{device} Energy export T2",
        f"{device} Active power L1",
        f"{device} Current L3",
    } <= names
    assert clock.now() == NOON.timestamp()


async def test_german_names(
    hass: HomeAssistant, entry: MockConfigEntry, server: MeterServer
) -> None:
    """A German home has German names."""
    hass.config.language = "de"
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    names = {state.name for state in hass.states.async_all()}
    device = f"EMU Professional II {SERIAL_NUMBER}"
    assert f"{device} Wirkenergie Bezug T1" in names
    assert f"{device} Wirkleistung L2" in names
    assert json.dumps(sorted(names)).count("None") == 0
