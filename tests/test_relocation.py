"""Discovery never sends a meter, nor its password, to a stranger."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from aiohttp import ClientSession
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)
from pytest_socket import socket_allow_hosts

from custom_components.emu_professional import rediscovery
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.flows import meter_flow
from custom_components.emu_professional.rediscovery import (
    PAUSES,
    async_end,
    async_look_again,
    async_sighting,
)
from custom_components.emu_professional.relocation import fingerprint_store
from homeassistant.config_entries import (
    SOURCE_DHCP,
    SOURCE_USER,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.const import CONF_HOST, CONF_MAC, CONF_PASSWORD, CONF_PORT
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers.service_info.dhcp import DhcpServiceInfo
from homeassistant.util import dt as dt_util
from simulator import faults
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.meter import Meter
from simulator.web import MeterServer

from .conftest import SERIAL_NUMBER
from .stranger import Stranger

OLD = "127.0.0.1"
NEW = "127.0.0.2"
MAC = "10:2c:ef:55:09:31"
OTHER_MAC = "10:2c:ef:55:09:99"
OTHER = "22350099"
PASSWORD = "secret"
OTHER_REALM = {"WWW-Authenticate": 'Basic realm="Login"'}

pytestmark = pytest.mark.usefixtures("impatient", "two_addresses")


@pytest.fixture
def two_addresses(server: MeterServer) -> None:
    """Allow another address of the loopback interface, and give the meter a MAC."""
    socket_allow_hosts([OLD, NEW], allow_unix_socket=True)
    server.meter.status_override["networkmac"] = MAC.upper()


@pytest.fixture
async def moved(
    server: MeterServer, config: MeterConfig, clock: ManualClock, two_addresses: None
) -> AsyncGenerator[MeterServer]:
    """Return the same meter at its new address, not serving yet."""
    moved = MeterServer(Meter(config, clock), port=server.port)
    moved.host = NEW
    moved.meter.status_override["networkmac"] = MAC.upper()
    yield moved
    await moved.stop()


def claims(**changes: object) -> dict[str, object]:
    """Return a status.json with the meter's serial number."""
    return {"meterserial": SERIAL_NUMBER, "networkmac": MAC.upper(), **changes}


def sighting(ip: str = NEW, mac: str = MAC) -> DhcpServiceInfo:
    """Return a DHCP request."""
    return DhcpServiceInfo(ip=ip, hostname="", macaddress=mac.replace(":", ""))


async def discover(
    hass: HomeAssistant, info: DhcpServiceInfo | None = None
) -> ConfigFlowResult:
    """See a DHCP request."""
    result = await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_DHCP}, data=info or sighting()
    )
    await hass.async_block_till_done()
    return result


async def look_again(hass: HomeAssistant) -> None:
    """Let the time to the next look pass."""
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=max(PAUSES) + 1))
    await hass.async_block_till_done(wait_background_tasks=True)


async def set_up(
    hass: HomeAssistant, entry: MockConfigEntry, **changes: Any
) -> MockConfigEntry:
    """Set the meter's entry up with other data."""
    data = {**entry.data, CONF_MAC: MAC, **changes}
    hass.config_entries.async_update_entry(entry, data=data)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


async def protect(
    hass: HomeAssistant, entry: MockConfigEntry, *servers: MeterServer
) -> None:
    """Set the entry of a meter with access protection up."""
    for server in servers:
        server.meter.password = PASSWORD
    await set_up(hass, entry, **{CONF_PASSWORD: PASSWORD})


async def refusal_of(server: MeterServer) -> dict[str, str]:
    """Return the headers of a meter's request for its password."""
    async with ClientSession() as session, session.get(server.url) as response:
        assert response.status == 401
        changing = ("Date", "Content-Length")
        return {k: v for k, v in response.headers.items() if k not in changing}


@dataclass(frozen=True)
class Attack:
    """The answers of a protected meter's old and new address."""

    title: str
    old: int | None
    """HTTP status there; 0 for silence, None for the meter itself."""
    status: int = 401
    headers: Mapping[str, str] | None = None
    """None: as the meter has them."""
    document: Mapping[str, object] | None = None
    admits: bool = False

    @property
    def is_imitation(self) -> bool:
        """Whether it is indistinguishable from the meter before the password is sent."""
        return self.old == 0 and self.headers is None


ATTACKS = [
    Attack("the meter answers where it is", None),
    Attack("the old address is busy", 503),
    Attack("the old address asks for a password", 401),
    Attack("the old address refuses", 403),
    Attack("the old address has other pages", 404),
    Attack("no password needed", 0, 200, {}, claims()),
    Attack("another realm", 0, 401, OTHER_REALM),
    Attack("no challenge", 0, 401, {}),
    Attack("a redirect", 0, 302, {"Location": f"http://{NEW}/status.json"}),
    Attack("an empty page", 0, 200, {}),
    # A remaining risk, documented in the README: an imitation while the meter is away.
    Attack("an imitation", 0, document=claims(meterserial=OTHER), admits=True),
    Attack("an imitation that refuses the password", 0),
]


async def test_password_goes_to_no_stranger(
    hass: HomeAssistant, entry: MockConfigEntry, server: MeterServer
) -> None:
    """A discovered address gets neither the entry nor the password of a meter."""
    await protect(hass, entry, server)
    refusal = await refusal_of(server)
    before = dict(entry.data)
    for attack in ATTACKS:
        async with AsyncExitStack() as stack:
            if attack.old is not None:
                await server.stop()
            if attack.old:
                await stack.enter_async_context(Stranger(OLD, server.port, attack.old))
            stranger = Stranger(
                NEW,
                server.port,
                attack.status,
                refusal if attack.headers is None else attack.headers,
                attack.document,
                attack.admits,
            )
            await stack.enter_async_context(stranger)
            result = await discover(hass)
            assert result["reason"] == "already_configured", attack.title
            assert bool(stranger.secrets) is attack.is_imitation, attack.title
            assert dict(entry.data) == before, attack.title
        if attack.old is not None:
            await server.start()
        async_end(hass, sighting())


async def test_meter_that_is_busy_with_us_is_not_silent(
    hass: HomeAssistant, entry: MockConfigEntry, server: MeterServer
) -> None:
    """A meter with a single connection, busy with a page for us, answers after it."""
    await protect(hass, entry, server)
    before = dict(entry.data)
    server.connections = 1
    silent = faults.Silent()
    server.faults.set(silent, path="/data/")
    server.requests.clear()
    client = entry.runtime_data.meter.client
    page = hass.async_create_task(client.newest_records(1), eager_start=True)
    await server.received(1)
    async with Stranger(
        NEW, server.port, 401, {"WWW-Authenticate": faults.CHALLENGE}
    ) as stranger:
        discovery = hass.async_create_task(discover(hass), eager_start=True)
        # Longer than a refused connection takes.
        async with ClientSession() as session, session.get(stranger.url):
            pass
        silent.release()
        await discovery
    await page
    assert server.refused_connections == 0
    assert not stranger.secrets
    assert dict(entry.data) == before


async def test_protected_meter_is_followed(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    moved: MeterServer,
) -> None:
    """A meter with the same answer and a silent old address has moved."""
    await protect(hass, entry, server, moved)
    await server.stop()
    await moved.start()
    # An entry from before there were fingerprints has to learn one first.
    store = fingerprint_store(hass, entry)
    fingerprint = await store.async_load()
    await store.async_remove()
    await discover(hass)
    assert entry.data[CONF_HOST] == OLD
    assert all(request.status == 401 for request in moved.requests)

    assert fingerprint
    await fingerprint_store(hass, entry).async_save(fingerprint)
    await discover(hass)
    assert (entry.data[CONF_HOST], entry.data[CONF_PORT]) == (NEW, server.port)
    assert entry.state is ConfigEntryState.LOADED


@pytest.mark.parametrize(
    ("mac", "document"),
    [
        (MAC, claims(meterserial=OTHER)),
        (MAC, claims(networkmac=OTHER_MAC)),
        (OTHER_MAC, claims()),
        (OTHER_MAC, claims(networkmac=OTHER_MAC)),
        (OTHER_MAC, claims(networkmac="10:2C:EF:**:**")),
    ],
)
async def test_serial_number_of_a_stranger(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    mac: str,
    document: dict[str, object],
) -> None:
    """A serial number with another meter's MAC address proves nothing."""
    await set_up(hass, entry)
    before = dict(entry.data)
    await server.stop()
    async with Stranger(NEW, server.port, document=document):
        with patch.object(meter_flow, "DEFAULT_PORT", server.port):
            await discover(hass, sighting(mac=mac))
    assert dict(entry.data) == before


async def test_meter_that_answers_stays(
    hass: HomeAssistant, entry: MockConfigEntry, server: MeterServer
) -> None:
    """A device with the meter's serial number changes nothing while the meter answers."""
    await set_up(hass, entry)
    before = dict(entry.data)
    async with Stranger(NEW, server.port, document=claims()) as stranger:
        for mac in (MAC, OTHER_MAC):
            with patch.object(meter_flow, "DEFAULT_PORT", server.port):
                await discover(hass, sighting(mac=mac))
            assert dict(entry.data) == before
        assert stranger.requests


@pytest.mark.parametrize(
    ("old", "looks"), [(None, 1), (OTHER, 1), (404, len(PAUSES) + 1), (503, 0)]
)
async def test_meter_without_password_is_followed(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    moved: MeterServer,
    old: str | int | None,
    looks: int,
) -> None:
    """It moves at once if its old address is silent or another meter's.

    Another device there must be so for a while (0: never), for a meter is busy at times.
    """
    await set_up(hass, entry)
    await server.stop()
    await moved.start()
    async with AsyncExitStack() as stack:
        if old is not None:
            status = old if isinstance(old, int) else 200
            document = claims(meterserial=old)
            await stack.enter_async_context(
                Stranger(OLD, server.port, status, document=document)
            )
        await discover(hass)
        for look in range(1, len(PAUSES) + 2):
            is_moved = bool(looks) and look >= looks
            assert (entry.data[CONF_HOST] == NEW) is is_moved, look
            await look_again(hass)
    if looks:
        assert entry.data == {CONF_HOST: NEW, CONF_PORT: server.port, CONF_MAC: MAC}
        assert entry.state is ConfigEntryState.LOADED


@pytest.mark.parametrize(("old", "new"), [(OLD, "::1"), ("::1", OLD)])
async def test_from_one_internet_protocol_to_the_other(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    moved: MeterServer,
    old: str,
    new: str,
) -> None:
    """An IPv6 address is an address like another one."""
    socket_allow_hosts([OLD, "::1"], allow_unix_socket=True)
    await server.stop()
    server.host, moved.host = old, new
    await server.start()
    hass.config_entries.async_update_entry(entry, data={**entry.data, CONF_HOST: old})
    await protect(hass, entry, server, moved)
    await discover(hass, sighting(new))
    assert entry.data[CONF_HOST] == old
    await server.stop()
    await moved.start()
    await discover(hass, sighting(new))
    assert entry.data[CONF_HOST] == new
    assert entry.data[CONF_PASSWORD] == PASSWORD
    assert entry.state is ConfigEntryState.LOADED


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (f"00{SERIAL_NUMBER}", SERIAL_NUMBER),
        (SERIAL_NUMBER, f"00{SERIAL_NUMBER}"),
        (SERIAL_NUMBER, f" {SERIAL_NUMBER}"),
        (f"0{SERIAL_NUMBER}", int(SERIAL_NUMBER)),
    ],
)
async def test_serial_number_in_another_form(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    moved: MeterServer,
    stored: str,
    told: str | int,
) -> None:
    """Another firmware may print it in another form: it is the same meter."""
    hass.config_entries.async_update_entry(entry, unique_id=stored)
    await set_up(hass, entry)
    for meter in (server.meter, moved.meter):
        meter.status_override["meterserial"] = told
    await discover(hass, sighting(OLD))
    assert entry.data[CONF_HOST] == OLD
    await server.stop()
    await moved.start()
    await discover(hass)
    assert entry.data[CONF_HOST] == NEW
    assert entry.state is ConfigEntryState.LOADED
    # By its owner's hand, in each dialog
    await moved.stop()
    await server.start()
    here = {CONF_HOST: f"{OLD}:{server.port}"}
    flows = hass.config_entries.flow
    result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    result = await flows.async_configure(result["flow_id"], here)
    assert result["reason"] == "already_configured"
    assert entry.data[CONF_HOST] == OLD
    result = await entry.start_reconfigure_flow(hass)
    result = await flows.async_configure(result["flow_id"], here)
    assert result["reason"] == "reconfigure_successful"
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED
    assert entry.unique_id == stored
    assert not flows.async_progress()
    assert hass.config_entries.async_entries(DOMAIN) == [entry]


async def test_two_meters_change_places(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    config: MeterConfig,
    clock: ManualClock,
) -> None:
    """Each entry finds its own meter at the other one's address."""
    server.meter.status_override |= {"meterserial": OTHER, "networkmac": OTHER_MAC}
    other = MockConfigEntry(
        domain=DOMAIN,
        unique_id=OTHER,
        data={CONF_HOST: NEW, CONF_PORT: server.port, CONF_MAC: OTHER_MAC},
    )
    other.add_to_hass(hass)
    hass.config_entries.async_update_entry(entry, data={**entry.data, CONF_MAC: MAC})
    meter = MeterServer(Meter(config, clock), port=server.port)
    meter.host = NEW
    meter.meter.status_override["networkmac"] = MAC.upper()
    async with meter:
        await hass.config_entries.async_setup(entry.entry_id)
        assert not hass.config_entries.async_loaded_entries(DOMAIN)
        await discover(hass)
        await discover(hass, sighting(OLD, OTHER_MAC))
        assert (entry.data[CONF_HOST], other.data[CONF_HOST]) == (NEW, OLD)
        assert hass.config_entries.async_loaded_entries(DOMAIN) == [entry, other]


async def test_host_name_is_kept(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    moved: MeterServer,
    names: dict[str, str],
) -> None:
    """A host name is not replaced, but asked again at once."""
    names["meter.lan"] = OLD
    await set_up(hass, entry, **{CONF_HOST: "meter.lan"})
    await server.stop()
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    await moved.start()
    names["meter.lan"] = NEW
    await discover(hass)
    assert entry.data[CONF_HOST] == "meter.lan"


async def test_entry_in_setup_error_follows(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    moved: MeterServer,
) -> None:
    """A new address is worth another attempt, however the last one ended."""
    hass.config_entries.async_update_entry(entry, data={**entry.data, CONF_MAC: MAC})
    entry.mock_state(hass, ConfigEntryState.SETUP_ERROR)
    await server.stop()
    await discover(hass)
    assert entry.data[CONF_HOST] == OLD
    await moved.start()
    await look_again(hass)
    assert entry.data[CONF_HOST] == NEW
    assert entry.state is ConfigEntryState.LOADED


async def test_meter_is_removed_while_it_is_looked_at(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    moved: MeterServer,
) -> None:
    """Changes of the owner during the look count."""
    await set_up(hass, entry)
    silent = faults.Silent()
    moved.faults.set(silent)
    await server.stop()
    await moved.start()
    discovery = hass.async_create_task(discover(hass), eager_start=True)
    await moved.received(1)
    await hass.config_entries.async_remove(entry.entry_id)
    silent.release()
    result = await discovery
    assert result["reason"] == "already_configured"


async def test_discovered_too_early(hass: HomeAssistant, server: MeterServer) -> None:
    """A meter is offered also if its web server starts after its DHCP request."""
    server.away = True
    with patch.object(meter_flow, "DEFAULT_PORT", server.port):
        result = await discover(hass, sighting(OLD))
        assert result["reason"] == "cannot_connect"
        await look_again(hass)
        server.away = False
        server.faults.set(faults.Status(403), times=1)
        await look_again(hass)
        assert not hass.config_entries.flow.async_progress()
        await look_again(hass)
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["context"]["unique_id"] == SERIAL_NUMBER


@pytest.mark.parametrize("is_up", [False, True])
async def test_two_addresses_close_together(
    hass: HomeAssistant, server: MeterServer, moved: MeterServer, is_up: bool
) -> None:
    """The look at a former address, which ends later, plans and cancels nothing."""
    server.faults.set(faults.Silent())
    with patch.object(meter_flow, "DEFAULT_PORT", server.port):
        former = hass.async_create_task(discover(hass, sighting(OLD)), eager_start=True)
        await server.received(1)
        if is_up:
            await moved.start()
        await hass.config_entries.flow.async_init(
            DOMAIN, context={"source": SOURCE_DHCP}, data=sighting()
        )
        await server.stop()
        assert (await former)["type"] is FlowResultType.ABORT
        if not is_up:
            await moved.start()
            await look_again(hass)
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["context"]["unique_id"] == SERIAL_NUMBER
    assert len(moved.requests) == 1


async def test_identified_at_a_former_address(
    hass: HomeAssistant, server: MeterServer, moved: MeterServer
) -> None:
    """The device at a former address does not end the looks at the new one."""
    for ip in (OLD, NEW):
        async_sighting(hass, sighting(ip))
    async_look_again(hass, sighting(), None)
    async_end(hass, sighting(OLD))
    await moved.start()
    with patch.object(meter_flow, "DEFAULT_PORT", server.port):
        await look_again(hass)
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["context"]["unique_id"] == SERIAL_NUMBER


async def test_looking_again_ends(hass: HomeAssistant, server: MeterServer) -> None:
    """Another product of the manufacturer is asked for two minutes, then no more."""
    server.faults.set(faults.Status(404))
    with patch.object(meter_flow, "DEFAULT_PORT", server.port):
        await discover(hass, sighting(OLD))
        for _ in range(len(PAUSES) + 3):
            await look_again(hass)
    assert len(server.requests) == len(PAUSES) + 1


async def test_looking_again_is_bounded(
    hass: HomeAssistant, server: MeterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invented MAC addresses do not keep Home Assistant busy."""
    monkeypatch.setattr(rediscovery, "MOST_SIGHTINGS", 1)
    server.faults.set(faults.Status(404))
    with patch.object(meter_flow, "DEFAULT_PORT", server.port):
        for mac in (MAC, OTHER_MAC):
            await discover(hass, sighting(OLD, mac))
        await look_again(hass)
    assert len(server.requests) == 3


async def test_card_follows_its_meter(
    hass: HomeAssistant, server: MeterServer, moved: MeterServer
) -> None:
    """A meter that moves before its owner's answer leaves no outdated card."""
    with patch.object(meter_flow, "DEFAULT_PORT", server.port):
        await discover(hass, sighting(OLD))
        await server.stop()
        await moved.start()
        result = await discover(hass)
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["flow_id"] == result["flow_id"]
    result = await hass.config_entries.flow.async_configure(flow["flow_id"], {})
    await hass.async_block_till_done()
    assert result["data"][CONF_HOST] == NEW


async def test_card_of_a_meter_that_was_added_by_hand(
    hass: HomeAssistant, server: MeterServer
) -> None:
    """It is removed, also for a protected meter with an unknown serial number."""
    server.meter.password = PASSWORD
    with patch.object(meter_flow, "DEFAULT_PORT", server.port):
        await discover(hass, sighting(OLD))
    flows = hass.config_entries.flow
    result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    for answer in ({CONF_HOST: f"{OLD}:{server.port}"}, {CONF_PASSWORD: PASSWORD}):
        result = await flows.async_configure(result["flow_id"], answer)
    await hass.async_block_till_done()
    assert result["result"].state is ConfigEntryState.LOADED
    assert not flows.async_progress()


async def test_protected_meter_at_the_address_of_an_entry_without_mac(
    hass: HomeAssistant, entry: MockConfigEntry, server: MeterServer
) -> None:
    """An older entry, without MAC address, is discovered again: no card."""
    server.meter.password = PASSWORD
    data = {**entry.data, CONF_PASSWORD: PASSWORD}
    hass.config_entries.async_update_entry(entry, data=data)
    with patch.object(meter_flow, "DEFAULT_PORT", server.port):
        result = await discover(hass, sighting(OLD))
    assert result["reason"] == "already_configured"


async def test_password_entered_for_a_known_meter(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    moved: MeterServer,
) -> None:
    """The card of a known meter corrects its entry only if the old address is silent."""
    server.meter.password = moved.meter.password = PASSWORD
    data = {**entry.data, CONF_PASSWORD: PASSWORD}
    hass.config_entries.async_update_entry(entry, data=data)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await moved.start()
    for host in (OLD, NEW):
        with patch.object(meter_flow, "DEFAULT_PORT", server.port):
            result = await discover(hass)
        assert result["step_id"] == "password"
        await hass.config_entries.flow.async_configure(
            result["flow_id"], {CONF_PASSWORD: PASSWORD}
        )
        await hass.async_block_till_done()
        assert entry.data[CONF_HOST] == host
        await server.stop()


async def test_owner_types_the_address_of_a_stranger(
    hass: HomeAssistant, entry: MockConfigEntry, server: MeterServer
) -> None:
    """Nor does a stranger get the stored password when it is added or reconfigured."""
    await protect(hass, entry, server)
    before = dict(entry.data)
    flows = hass.config_entries.flow
    refusal = await refusal_of(server)
    for status, headers, error in (
        (200, {}, "password_again"),
        (401, OTHER_REALM, "password_again"),
        (503, {}, "password_again"),
        (401, refusal, "invalid_auth"),
    ):
        async with Stranger(NEW, server.port, status, headers, claims()) as stranger:
            address = f"{NEW}:{server.port}"
            result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
            await flows.async_configure(result["flow_id"], {CONF_HOST: address})
            result = await entry.start_reconfigure_flow(hass)
            result = await flows.async_configure(
                result["flow_id"], {CONF_HOST: address}
            )
            assert result["errors"] == {CONF_PASSWORD: error}
            assert dict(entry.data) == before
            assert bool(stranger.secrets) is (headers is refusal)
        for flow in flows.async_progress():
            flows.async_abort(flow["flow_id"])

    result = await entry.start_reconfigure_flow(hass)
    answer = {CONF_HOST: f"{NEW}:{server.port}"}
    result = await flows.async_configure(result["flow_id"], answer)
    assert result["errors"] == {CONF_HOST: "cannot_connect"}
    document = claims(meterserial=OTHER)
    async with Stranger(NEW, server.port, document=document) as stranger:
        result = await flows.async_configure(result["flow_id"], answer)
    assert result["reason"] == "unique_id_mismatch"
    assert not stranger.secrets


async def test_reauthentication_with_a_stranger(
    hass: HomeAssistant, entry: MockConfigEntry, server: MeterServer
) -> None:
    """A new password, too, goes only to a device with the meter's fingerprint."""
    await protect(hass, entry, server)
    result = await entry.start_reauth_flow(hass)
    await server.stop()
    answer = {CONF_PASSWORD: "new"}
    configure = hass.config_entries.flow.async_configure
    result = await configure(result["flow_id"], answer)
    assert result["errors"] == {"base": "cannot_connect"}
    async with Stranger(OLD, server.port, 401, OTHER_REALM) as stranger:
        result = await configure(result["flow_id"], answer)
        assert result["errors"] == {"base": "answers_differently"}
        assert not stranger.secrets
    server.meter.password = None
    await server.start()
    result = await configure(result["flow_id"], answer)
    await hass.async_block_till_done()
    assert result["reason"] == "reauth_successful"


async def test_reauthentication_after_a_move(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    moved: MeterServer,
) -> None:
    """The dialog asks the meter where it is by now, and writes back nothing else."""
    await set_up(hass, entry)
    result = await entry.start_reauth_flow(hass)
    moved.meter.password = "new"
    await server.stop()
    await moved.start()
    hass.config_entries.async_update_entry(entry, data={**entry.data, CONF_HOST: NEW})
    result = await hass.config_entries.flow.async_configure(
        result["flow_id"], {CONF_PASSWORD: "new"}
    )
    await hass.async_block_till_done()
    assert result["reason"] == "reauth_successful"
    assert (entry.data[CONF_HOST], entry.data[CONF_PASSWORD]) == (NEW, "new")
