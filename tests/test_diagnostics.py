"""The file of diagnostics for a report."""

from dataclasses import replace
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.errors import MeterUnreachable
from custom_components.emu_professional.emu.pace import FIRST_PAGE
from custom_components.emu_professional.lost_hours import LostHours
from homeassistant.const import CONF_MAC, CONF_PASSWORD
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.discovery_flow import DiscoveryKey
from homeassistant.setup import async_setup_component
from simulator import faults
from simulator.web import MeterServer

from .conftest import NOON, SERIAL_NUMBER

MAC: Final = "10:2C:EF:12:34:56"
STREET: Final = "Bahnhofstrasse 7"
STRANGE_VALUES: Final[tuple[faults.Json, ...]] = (
    f"{SERIAL_NUMBER} at {MAC}, {STREET}",
    [STREET],
    {MAC: SERIAL_NUMBER},
    SERIAL_NUMBER * 2,
    10**30,
    True,
)
STRANGE: Final = f"{SERIAL_NUMBER} at {MAC}, {STREET}"


async def download(
    hass: HomeAssistant, hass_client: Any, entry: MockConfigEntry
) -> tuple[dict[str, Any], str]:
    """Return the file as its owner gets it, and as text in lower case."""
    assert await async_setup_component(hass, "diagnostics", {})
    await hass.async_block_till_done()
    client = await hass_client()
    answer = await client.get(f"/api/diagnostics/config_entry/{entry.entry_id}")
    assert answer.status == HTTPStatus.OK
    text = await answer.text() + answer.headers["Content-Disposition"]
    return await answer.json(), text.lower()


@pytest.fixture
async def protected(
    hass: HomeAssistant, world_time: None, entry: MockConfigEntry, server: MeterServer
) -> MockConfigEntry:
    """Return the entry of a meter with everything private."""
    server.meter.password = "top secret"
    server.meter.settings = replace(server.meter.settings, ntp_server="ntp.home.arpa")
    hass.config_entries.async_update_entry(
        entry,
        title=f"{STREET}, {SERIAL_NUMBER}",
        data={**entry.data, CONF_PASSWORD: "top secret", CONF_MAC: MAC, "token": MAC},
        options={"automatic_backfill": True, "nickname": STREET},
        discovery_keys=MappingProxyType(
            {
                "dhcp": (
                    DiscoveryKey(domain="dhcp", key=MAC.replace(":", ""), version=1),
                )
            }
        ),
    )
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


def secrets(server: MeterServer) -> list[str]:
    """Return the private texts of a meter, its network and its home, in lower case."""
    settings = server.meter.settings
    own_mac = server.meter.mac_address
    return [
        secret.lower()
        for secret in (
            "top secret",
            SERIAL_NUMBER,
            STREET,
            *(mac.replace(":", by) for mac in (MAC, own_mac) for by in (":", "", "-")),
            server.host,
            settings.ip_address,
            settings.subnet_mask,
            settings.gateway,
            settings.dns_server,
            settings.ntp_server,
        )
    ]


async def test_diagnostics(
    hass: HomeAssistant,
    hass_client: Any,
    protected: MockConfigEntry,
    server: MeterServer,
) -> None:
    """All values are there, but no private text of meter, network or home."""
    lost = LostHours(hass, protected)
    lost.add(int(NOON.timestamp()) - 86400, int(NOON.timestamp()))
    file, text = await download(hass, hass_client, protected)
    data = file["data"]
    assert data["readings"] == server.meter.meter_data()
    assert data["status"] == server.meter.status() | dict.fromkeys(
        (
            "meterserial",
            "meterfactorynr",
            "networkmac",
            "networkip",
            "networknm",
            "networkgw",
            "networkdns1",
            "ntp1",
        ),
        "**REDACTED**",
    )
    assert data["last_update_success"] is True
    assert data["clock_offset"] == "0:00:00"
    assert data["rejected"] == {}
    assert 0 <= data["seconds_waited"] < 60
    assert data["entry"] == {
        "version": 1,
        "minor_version": 1,
        "source": "user",
        "state": "loaded",
        "has_password": True,
        "has_default_port": False,
        "automatic_backfill": True,
        "costs_follow_statistics": True,
    }
    assert data["logs"]["logger"] is None
    assert data["firmware"]["kept"] is None
    assert data["firmware"]["is_unfit"] is False
    assert data["backfill"]["state"] == "idle"
    # No page was read yet, so its duration is unknown.
    assert data["pages"] == {
        "size": FIRST_PAGE,
        "probe": 1,
        "seconds_fixed": 0,
        "seconds_each": 0,
    }
    assert file["integration_manifest"]["version"]
    assert [issue["issue_id"].split("_")[0] for issue in file["issues"]]
    for secret in secrets(server):
        assert secret not in text, secret


async def test_diagnostics_of_a_meter_that_was_read(
    hass: HomeAssistant,
    hass_client: Any,
    protected: MockConfigEntry,
    server: MeterServer,
) -> None:
    """The durations of pages and the last error are there, and still no private text."""
    meter = protected.runtime_data.meter
    page = await meter.client.records(1, 96)
    assert page.timing
    meter.client.pace.learn(96, first=12.0, whole=13.92)
    meter.last_exception = MeterUnreachable(STRANGE)
    file, text = await download(hass, hass_client, protected)
    pages = file["data"]["pages"]
    assert pages["size"] > FIRST_PAGE
    assert pages["seconds_fixed"] == 12
    assert pages["seconds_each"] == pytest.approx(0.02)
    assert file["data"]["last_error"] == "MeterUnreachable"
    for secret in secrets(server):
        assert secret not in text, secret


async def test_what_is_not_known_is_left_out(
    hass: HomeAssistant,
    hass_client: Any,
    protected: MockConfigEntry,
    server: MeterServer,
) -> None:
    """New keys and values of another kind than expected are counted, never shown."""
    coordinator = protected.runtime_data.meter
    status = set(server.meter.status()) - {"meterserial"}
    for value in STRANGE_VALUES:
        for path, known in (
            ("/status.json", status),
            ("/meterdata.json", server.meter.meter_data()),
        ):
            keys = ["newkey", STRANGE, *known]
            strange: dict[str, faults.Json | faults.Literal] = dict.fromkeys(
                keys, value
            )
            server.faults.set(faults.ReplacedValues(strange), path=path)
        coordinator._status_read = None
        await coordinator.async_refresh()
        file, text = await download(hass, hass_client, protected)
        assert file["data"]["unknown_keys"] == {"status": 2, "readings": 2}
        assert file["data"]["rejected"]
        for secret in [*secrets(server), str(10**30)]:
            assert secret not in text, secret
        server.faults.clear()


async def test_diagnostics_of_a_meter_that_is_not_loaded(
    hass: HomeAssistant,
    hass_client: Any,
    protected: MockConfigEntry,
    server: MeterServer,
) -> None:
    """A meter with a failing set-up has a file as well: its owner needs it most."""
    server.faults.set(faults.ConnectionReset())
    await hass.config_entries.async_reload(protected.entry_id)
    file, text = await download(hass, hass_client, protected)
    assert file["data"]["entry"]["state"] == "setup_retry"
    for secret in secrets(server):
        assert secret not in text, secret


async def test_lost_hours(
    hass: HomeAssistant, hass_storage: dict[str, Any], loaded: MockConfigEntry
) -> None:
    """The issue comes again at each start until its owner confirms it."""
    since = int(NOON.timestamp()) - 86400
    issue_id = f"lost_hours_{loaded.entry_id}_{since}"
    registry = ir.async_get(hass)
    # As the version before left it to Home Assistant.
    ir.async_create_issue(
        hass,
        DOMAIN,
        issue_id,
        is_fixable=True,
        is_persistent=True,
        severity=ir.IssueSeverity.WARNING,
        translation_key="lost_hours",
        translation_placeholders={
            "meter": loaded.title,
            "since": "2026-05-31 03:00",
            "until": "2026-06-01 03:00",
        },
    )
    for _ in range(2):
        await hass.config_entries.async_reload(loaded.entry_id)
        await hass.async_block_till_done()
        issue = registry.async_get_issue(DOMAIN, issue_id)
        assert issue
        assert not issue.is_persistent
        assert issue.translation_placeholders == {
            "meter": loaded.title,
            "since": "2026-05-31 03:00",
            "until": "2026-06-01 03:00",
        }
        # Home Assistant forgets such an issue when it stops.
        registry.issues.clear()
    await hass.config_entries.async_reload(loaded.entry_id)
    await hass.async_block_till_done()
    ir.async_delete_issue(hass, DOMAIN, issue_id)
    await hass.async_block_till_done()
    await hass.config_entries.async_reload(loaded.entry_id)
    await hass.async_block_till_done()
    assert not registry.async_get_issue(DOMAIN, issue_id)
    loaded.runtime_data.backfill.keeper.lost_hours.add(since, since + 86400)
    await hass.config_entries.async_remove(loaded.entry_id)
    await hass.async_block_till_done()
    assert not registry.async_get_issue(DOMAIN, issue_id)
    assert not [key for key in hass_storage if loaded.entry_id in key]
