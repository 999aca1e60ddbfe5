"""Adding a meter, and correcting its address or password."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import CONF_AUTOMATIC, CONF_COSTS, DOMAIN
from custom_components.emu_professional.flows import meter_flow
from custom_components.emu_professional.flows.address import parse_host
from homeassistant.config_entries import (
    SOURCE_DHCP,
    SOURCE_IGNORE,
    SOURCE_USER,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.const import CONF_HOST, CONF_MAC, CONF_PASSWORD, CONF_PORT
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo
from simulator import faults
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.meter import Meter
from simulator.web import MeterServer

from .conftest import SERIAL_NUMBER

MAC = "10:2c:ef:55:09:31"
OTHER = "22350099"

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def flow_server(server: MeterServer) -> MeterServer:
    """Return the served meter with a MAC address of its own."""
    server.meter.status_override["networkmac"] = MAC.upper()
    return server


@pytest.fixture
async def other(
    socket_enabled: None, config: MeterConfig, clock: ManualClock
) -> AsyncGenerator[MeterServer]:
    """Serve another meter."""
    async with MeterServer(Meter(replace(config, serial_number=OTHER), clock)) as other:
        yield other


def address(server: MeterServer) -> str:
    """Return the owner's input."""
    return f"{server.host}:{server.port}"


async def start(hass: HomeAssistant) -> ConfigFlowResult:
    """Begin as an owner does."""
    return await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )


async def submit(
    hass: HomeAssistant, result: ConfigFlowResult, **user_input: Any
) -> ConfigFlowResult:
    """Fill in the form."""
    result = await hass.config_entries.flow.async_configure(
        result["flow_id"], user_input
    )
    await hass.async_block_till_done()
    return result


async def discover(
    hass: HomeAssistant, server: MeterServer, mac: str = MAC, ip: str | None = None
) -> ConfigFlowResult:
    """See the meter ask for an address. Meters listen at port 80, this one doesn't."""
    with patch.object(meter_flow, "DEFAULT_PORT", server.port):
        result = await hass.config_entries.flow.async_init(
            DOMAIN,
            context={"source": SOURCE_DHCP},
            data=DhcpServiceInfo(
                ip=ip or server.host, hostname="", macaddress=mac.replace(":", "")
            ),
        )
    await hass.async_block_till_done()
    return result


@pytest.mark.parametrize(
    "form",
    [
        "{address}",
        "http://{address}/",
        " http://{address}/#config ",
        "{address}/status.json",
    ],
)
async def test_user(hass: HomeAssistant, flow_server: MeterServer, form: str) -> None:
    """An address is all it takes, however it was copied."""
    result = await start(hass)
    assert (result["type"], result["step_id"]) == (FlowResultType.FORM, "user")
    assert not result["errors"]

    host = form.format(address=address(flow_server))
    result = await submit(hass, result, host=host)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == f"EMU Professional II {SERIAL_NUMBER}"
    assert result["result"].unique_id == SERIAL_NUMBER
    assert result["result"].state is ConfigEntryState.LOADED
    assert result["data"] == {
        CONF_HOST: flow_server.host,
        CONF_PORT: flow_server.port,
        CONF_MAC: MAC,
    }


async def test_user_with_password(
    hass: HomeAssistant, flow_server: MeterServer
) -> None:
    """A meter with access protection asks for its password, until it is right."""
    flow_server.meter.password = "secret"
    result = await submit(hass, await start(hass), host=address(flow_server))
    assert (result["type"], result["step_id"]) == (FlowResultType.FORM, "password")
    assert result["description_placeholders"] == {"host": address(flow_server)}
    assert not result["errors"]

    result = await submit(hass, result, password="wrong")
    assert result["errors"] == {CONF_PASSWORD: "invalid_auth"}

    flow_server.faults.set(faults.Status(503), times=1)
    result = await submit(hass, result, password="secret")
    assert result["errors"] == {"base": "unexpected_answer"}

    result = await submit(hass, result, password="secret")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["data"][CONF_PASSWORD] == "secret"
    assert result["result"].state is ConfigEntryState.LOADED


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.ConnectionReset(), "cannot_connect"),
        (faults.Silent(), "cannot_connect"),
        (faults.Status(404), "not_emu_meter"),
        (faults.Redirect("http://192.0.2.1/"), "not_emu_meter"),
        (faults.MissingKeys("meterserial"), "not_emu_meter"),
        (faults.Status(500), "unexpected_answer"),
        # No wrong password: nobody has asked for one.
        (faults.Status(403), "unexpected_answer"),
        (faults.TruncatedJson(), "unexpected_answer"),
        (faults.garbage(), "unexpected_answer"),
        (faults.ReplacedValues({"meterserial": "<b>"}), "unexpected_answer"),
    ],
)
async def test_user_error(
    hass: HomeAssistant, flow_server: MeterServer, fault: faults.Fault, error: str
) -> None:
    """Each error has its own text, and the owner can try again."""
    flow_server.faults.set(fault)
    result = await submit(hass, await start(hass), host=address(flow_server))
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {CONF_HOST: error}

    flow_server.faults.clear()
    result = await submit(hass, result, host=address(flow_server))
    assert result["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize(
    "host",
    ["", "my meter", "http://", "1.2.3.4:99999", "a" * 254, "?", "[::1%a]:80x@"],
)
async def test_user_invalid_host(hass: HomeAssistant, host: str) -> None:
    """An impossible address is not tried."""
    result = await submit(hass, await start(hass), host=host)
    assert result["errors"] == {CONF_HOST: "invalid_host"}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.168.1.50", "192.168.1.50", 80),
        ("192.168.1.50:8080", "192.168.1.50", 8080),
        ("http://192.168.1.50/", "192.168.1.50", 80),
        ("https://192.168.1.50/?privacy", "192.168.1.50", 80),
        ("http://admin:secret@192.168.1.50/", "192.168.1.50", 80),
        ("Zaehler-1.fritz.box", "zaehler-1.fritz.box", 80),
        ("fe80::1", "fe80::1", 80),
        ("[fe80::1]:81", "fe80::1", 81),
    ],
)
def test_parse_host(text: str, host: str, port: int) -> None:
    """Everything an owner may paste names a host and a port."""
    assert parse_host(text) == (host, port)


async def test_user_same_meter_at_a_new_address(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    config: MeterConfig,
    clock: ManualClock,
) -> None:
    """The same meter at another address updates its entry."""
    async with MeterServer(Meter(config, clock)) as moved:
        result = await submit(hass, await start(hass), host=address(moved))
        assert result["type"] is FlowResultType.ABORT
        assert result["reason"] == "already_configured"
        assert loaded.data[CONF_PORT] == moved.port
        assert loaded.state is ConfigEntryState.LOADED


async def test_dhcp(hass: HomeAssistant, flow_server: MeterServer) -> None:
    """A new meter in the network is shown with its serial number."""
    result = await discover(hass, flow_server)
    assert result["step_id"] == "discovery_confirm"
    assert result["description_placeholders"] == {
        "serial_number": SERIAL_NUMBER,
        "host": address(flow_server),
    }
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["context"]["title_placeholders"] == {
        "name": f"EMU Professional II {SERIAL_NUMBER}"
    }

    again = await discover(hass, flow_server)
    assert (again["type"], again["reason"]) == (
        FlowResultType.ABORT,
        "already_in_progress",
    )

    result = await submit(hass, result)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["result"].unique_id == SERIAL_NUMBER
    assert result["data"][CONF_MAC] == MAC


async def test_dhcp_with_password(
    hass: HomeAssistant, flow_server: MeterServer
) -> None:
    """A discovered meter with protection asks for its password first."""
    flow_server.meter.password = "secret"
    result = await discover(hass, flow_server)
    assert result["step_id"] == "password"
    again = await discover(hass, flow_server)
    assert again["reason"] == "already_in_progress"

    result = await submit(hass, result, password="secret")
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["result"].unique_id == SERIAL_NUMBER


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.ConnectionReset(), "cannot_connect"),
        (faults.Status(404), "not_emu_meter"),
        (faults.TruncatedJson(), "unexpected_answer"),
    ],
)
async def test_dhcp_error(
    hass: HomeAssistant, flow_server: MeterServer, fault: faults.Fault, reason: str
) -> None:
    """Another product of the same manufacturer is not offered."""
    flow_server.faults.set(fault)
    result = await discover(hass, flow_server)
    assert (result["type"], result["reason"]) == (FlowResultType.ABORT, reason)


async def test_dhcp_without_mac_in_the_status(
    hass: HomeAssistant, flow_server: MeterServer
) -> None:
    """The MAC address of the discovery serves where the meter's is blacked out."""
    flow_server.meter.status_override["networkmac"] = "10:2C:EF:**:**"
    result = await submit(hass, await discover(hass, flow_server))
    assert result["data"][CONF_MAC] == MAC


async def test_user_without_mac(hass: HomeAssistant, flow_server: MeterServer) -> None:
    """A meter without a MAC address in its status is added without it."""
    del flow_server.meter.status_override["networkmac"]
    flow_server.faults.set(faults.MissingKeys("networkmac"))
    result = await submit(hass, await start(hass), host=address(flow_server))
    assert CONF_MAC not in result["data"]


async def test_dhcp_ignored(hass: HomeAssistant, flow_server: MeterServer) -> None:
    """An ignored meter with access protection stays ignored."""
    flow_server.meter.password = "secret"
    MockConfigEntry(domain=DOMAIN, unique_id=MAC, source=SOURCE_IGNORE).add_to_hass(
        hass
    )
    result = await discover(hass, flow_server)
    assert (result["type"], result["reason"]) == (
        FlowResultType.ABORT,
        "already_configured",
    )


async def test_dhcp_known_meter(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """A known meter at its address is met again without being asked anything."""
    hass.config_entries.async_update_entry(loaded, data={**loaded.data, CONF_MAC: MAC})
    server.requests.clear()
    result = await discover(hass, server)
    assert (result["type"], result["reason"]) == (
        FlowResultType.ABORT,
        "already_configured",
    )
    assert not server.requests


async def test_dhcp_known_meter_without_known_mac(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """An entry without MAC address learns it."""
    assert CONF_MAC not in loaded.data
    server.meter.status_override["networkmac"] = "10:2C:EF:**:**"
    result = await discover(hass, server)
    assert result["reason"] == "already_configured"
    assert loaded.data[CONF_MAC] == MAC


async def test_reauth(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """The new password is asked for until it is right."""
    server.meter.password = "new"
    result = await loaded.start_reauth_flow(hass)
    assert (result["type"], result["step_id"]) == (
        FlowResultType.FORM,
        "reauth_confirm",
    )
    assert result["description_placeholders"]["host"] == address(server)

    result = await submit(hass, result, password="old")
    assert result["errors"] == {CONF_PASSWORD: "invalid_auth"}
    server.faults.set(faults.TruncatedJson(), times=1)
    result = await submit(hass, result, password="new")
    assert result["errors"] == {"base": "unexpected_answer"}
    result = await submit(hass, result, password="new")
    assert (result["type"], result["reason"]) == (
        FlowResultType.ABORT,
        "reauth_successful",
    )
    assert loaded.data[CONF_PASSWORD] == "new"
    assert loaded.state is ConfigEntryState.LOADED


@pytest.mark.parametrize("dialog", ["reauth", "reconfigure"])
async def test_forbidden_is_no_wrong_password(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, dialog: str
) -> None:
    """HTTP 403 is no answer to a password, whatever dialog it was entered in."""
    server.faults.set(faults.Status(403))
    if dialog == "reauth":
        result = await loaded.start_reauth_flow(hass)
        result = await submit(hass, result, password="new")
        assert result["errors"] == {"base": "unexpected_answer"}
    else:
        result = await loaded.start_reconfigure_flow(hass)
        result = await submit(hass, result, host=address(server), password="new")
        assert result["errors"] == {CONF_HOST: "unexpected_answer"}
    assert CONF_PASSWORD not in loaded.data


async def test_reauth_of_another_meter(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """The password of another meter at the address is not stored."""
    server.meter.status_override["meterserial"] = OTHER
    result = await loaded.start_reauth_flow(hass)
    result = await submit(hass, result, password="new")
    assert (result["type"], result["reason"]) == (
        FlowResultType.ABORT,
        "unique_id_mismatch",
    )
    assert CONF_PASSWORD not in loaded.data


async def test_reconfigure(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    config: MeterConfig,
    clock: ManualClock,
) -> None:
    """Address and password change; the entry stays."""
    async with MeterServer(Meter(config, clock)) as moved:
        moved.meter.password = "secret"
        result = await loaded.start_reconfigure_flow(hass)
        assert (result["type"], result["step_id"]) == (
            FlowResultType.FORM,
            "reconfigure",
        )

        result = await submit(hass, result, host="my meter")
        assert result["errors"] == {CONF_HOST: "invalid_host"}
        result = await submit(hass, result, host=address(moved))
        assert result["errors"] == {CONF_PASSWORD: "invalid_auth"}
        result = await submit(hass, result, host=address(moved), password="secret")
        assert (result["type"], result["reason"]) == (
            FlowResultType.ABORT,
            "reconfigure_successful",
        )
        assert loaded.data[CONF_PORT] == moved.port
        assert loaded.data[CONF_PASSWORD] == "secret"
        assert loaded.state is ConfigEntryState.LOADED

        # An empty field keeps the password.
        result = await loaded.start_reconfigure_flow(hass)
        result = await submit(hass, result, host=address(moved))
        assert result["reason"] == "reconfigure_successful"
        assert loaded.data[CONF_PASSWORD] == "secret"


async def test_reconfigure_to_another_meter(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    other: MeterServer,
) -> None:
    """Another meter does not take over the entities of this one."""
    result = await loaded.start_reconfigure_flow(hass)
    result = await submit(hass, result, host=address(other))
    assert (result["type"], result["reason"]) == (
        FlowResultType.ABORT,
        "unique_id_mismatch",
    )
    assert result["description_placeholders"] == {"serial_number": OTHER}
    assert loaded.data[CONF_PORT] == server.port


async def test_options(hass: HomeAssistant, loaded: MockConfigEntry) -> None:
    """Filling statistics automatically can be switched off."""
    result = await hass.config_entries.options.async_init(loaded.entry_id)
    assert result["type"] is FlowResultType.MENU
    assert result["menu_options"] == ["statistics", "firmware"]
    result = await hass.config_entries.options.async_configure(
        result["flow_id"], {"next_step_id": "statistics"}
    )
    assert result["type"] is FlowResultType.FORM
    result = await hass.config_entries.options.async_configure(
        result["flow_id"], {CONF_AUTOMATIC: False}
    )
    await hass.async_block_till_done()
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert loaded.options == {CONF_AUTOMATIC: False, CONF_COSTS: True}
