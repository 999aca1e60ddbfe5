"""The address of a meter, and the proof of a new one.

Discovery is no proof: every device in the network can send a DHCP request with the
meter's MAC address, or a status.json with its serial number. So the known address is
asked first, the new one without password, and the password goes there only if the
known address is silent and the new one has the fingerprint of the meter.
"""

import asyncio
from enum import Enum, auto
from ipaddress import ip_address
import socket
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_HOST, CONF_MAC, CONF_PASSWORD, CONF_PORT
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.aiohttp_client import (
    HomeAssistantTCPConnector,
    async_get_clientsession,
)
from homeassistant.helpers.device_registry import format_mac

from .config_entry import EmuConfigEntry
from .const import LOGGER
from .emu.client import MeterClient
from .emu.errors import MeterError, MeterUnreachable, MeterUnsupported
from .emu.fingerprint import Fingerprint
from .emu.readings import Status
from .emu.serial_number import is_same_meter
from .storage import EntryStore, entry_store

_LOOKUP_LIMIT = 5.0
"""Seconds for the look-up of a name."""

_RELOADED = frozenset(
    {
        ConfigEntryState.LOADED,
        ConfigEntryState.SETUP_ERROR,
        ConfigEntryState.SETUP_RETRY,
    }
)
"""States of config entries to be reloaded with a new address."""


class Verdict(Enum):
    """Whether a meter has moved to the address of a DHCP request."""

    STAYS = auto()
    MOVED = auto()
    UNCLEAR = auto()
    """One of the two addresses may answer otherwise in a moment."""


class _Presence(Enum):
    """Answer of the address in a config entry."""

    THERE = auto()
    SILENT = auto()
    """No answer, or one with another serial number."""
    OTHER_DEVICE = auto()
    """An answer of a device without this page: at this moment, at least."""
    UNCLEAR = auto()


async def async_judge(
    hass: HomeAssistant,
    entry: EmuConfigEntry,
    host: str,
    mac: str | None,
    *,
    last: bool,
) -> Verdict:
    """Return whether an entry's meter has moved to a host, by DHCP with this MAC.

    `last` is true at the last look: then another device at the known address counts
    like silence.
    """
    data = entry.data
    # A host name is its owner's choice; the meter may still answer to it.
    if data[CONF_HOST] == host or not is_ip_address(data[CONF_HOST]):
        return Verdict.STAYS
    if (presence := await _async_presence(hass, entry)) is _Presence.THERE:
        return Verdict.STAYS
    new = _client(hass, host, data[CONF_PORT])
    try:
        fingerprint, status = await new.introduction()
    except MeterError as err:
        LOGGER.debug("%s: %s", new.url, err)
        return Verdict.UNCLEAR
    # Another meter, or the serial number with a strange MAC address.
    if status is not None and not is_status_of(entry, status, mac):
        return Verdict.STAYS
    if data.get(CONF_PASSWORD):
        return await _async_judge_protected(hass, entry, host, fingerprint, presence)
    if status is None:
        return Verdict.UNCLEAR
    # A device without a status at the known address may be the meter, still starting:
    # only the last look takes it for another device.
    if presence is _Presence.SILENT or (presence is _Presence.OTHER_DEVICE and last):
        return Verdict.MOVED
    return Verdict.UNCLEAR


async def _async_judge_protected(
    hass: HomeAssistant,
    entry: EmuConfigEntry,
    host: str,
    fingerprint: Fingerprint,
    presence: _Presence,
) -> Verdict:
    """Return the verdict for a meter with a password."""
    known = await async_load_fingerprint(hass, entry)
    # Another device must not get the password.
    if known is None or fingerprint != known:
        LOGGER.debug("%s: %s does not answer as it did", entry.title, host)
        return Verdict.UNCLEAR
    # A busy meter at the known address may only have paused during the last requests.
    if (
        presence is not _Presence.SILENT
        or await _async_presence(hass, entry) is not _Presence.SILENT
    ):
        return Verdict.UNCLEAR
    data = entry.data
    client = _client(hass, host, data[CONF_PORT], data[CONF_PASSWORD])
    try:
        status = await client.status()
    except MeterError as err:
        LOGGER.debug("%s: %s", client.url, err)
        return Verdict.UNCLEAR
    return Verdict.MOVED if is_status_of(entry, status, None) else Verdict.STAYS


async def _async_presence(hass: HomeAssistant, entry: EmuConfigEntry) -> _Presence:
    """Return whether the meter answers at the address in its entry."""
    data = entry.data
    client = _client(hass, data[CONF_HOST], data[CONF_PORT], data.get(CONF_PASSWORD))
    if entry.state is ConfigEntryState.LOADED:
        # A meter has a single connection: a second client would be refused beside the
        # polling one, and the meter would seem silent.
        polling = entry.runtime_data.meter.client
        client = polling if polling.url == client.url else client
    try:
        status = await client.status()
    except MeterUnreachable:
        return _Presence.SILENT
    except MeterUnsupported:
        return _Presence.OTHER_DEVICE
    except MeterError:
        return _Presence.UNCLEAR
    is_there = is_same_meter(status.serial_number, entry.unique_id)
    return _Presence.THERE if is_there else _Presence.SILENT


async def async_has_left(hass: HomeAssistant, entry: EmuConfigEntry, port: int) -> bool:
    """Return whether the address in an entry is silent, after its meter was found.

    False for a host name or another port: those are their owner's choice.
    """
    data = entry.data
    if not is_ip_address(data[CONF_HOST]) or data[CONF_PORT] != port:
        return False
    return await _async_presence(hass, entry) is _Presence.SILENT


def is_status_of(entry: EmuConfigEntry, status: Status, mac: str | None) -> bool:
    """Return whether a status.json, and a MAC address if given, are of an entry's meter.

    By serial number, and by MAC address if both sides know one.
    """
    macs = {format_mac(m) for m in (entry.data.get(CONF_MAC), status.mac, mac) if m}
    return is_same_meter(status.serial_number, entry.unique_id) and len(macs) <= 1


def is_ip_address(host: str) -> bool:
    """Return whether a host is an IP address, not a name."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def async_address_of(hass: HomeAssistant, host: str) -> str:
    """Return the IP address of a host, looked up like those of HTTP requests.

    Unlike the operating system, Home Assistant also resolves names of the local
    network such as "meter.local". Raises MeterUnreachable.
    """
    connector = async_get_clientsession(hass).connector
    assert isinstance(connector, HomeAssistantTCPConnector)
    try:
        async with asyncio.timeout(_LOOKUP_LIMIT):
            found = await connector.async_resolve_host(host)
    except (OSError, ValueError) as err:
        raise MeterUnreachable("its name is unknown") from err
    # The manual mentions IPv4 only.
    addresses = sorted(found, key=lambda result: result["family"] != socket.AF_INET)
    if not addresses:
        raise MeterUnreachable("its name is unknown")
    return addresses[0]["host"]


@callback
def async_relocate(
    hass: HomeAssistant, entry: EmuConfigEntry, changes: dict[str, Any]
) -> None:
    """Change an entry's data, and reload it unless only its MAC address changed."""
    data = {**entry.data, **changes}
    if not hass.config_entries.async_update_entry(entry, data=data):
        return
    if entry.state in _RELOADED and changes.keys() - {CONF_MAC}:
        hass.config_entries.async_schedule_reload(entry.entry_id)


async def async_load_fingerprint(
    hass: HomeAssistant, entry: EmuConfigEntry
) -> Fingerprint | None:
    """Return the fingerprint of an entry's meter, if it is known."""
    stored = await fingerprint_store(hass, entry).async_load()
    return None if stored is None else Fingerprint.from_json(stored)


async def async_learn_fingerprint(
    hass: HomeAssistant, entry: EmuConfigEntry, client: MeterClient
) -> None:
    """Store the fingerprint of a meter right after it accepted the password."""
    try:
        fingerprint, _ = await client.introduction()
    except MeterError as err:
        LOGGER.debug("%s: %s", client.url, err)
        return
    if fingerprint != await async_load_fingerprint(hass, entry):
        await fingerprint_store(hass, entry).async_save(fingerprint.as_json())


@callback
def fingerprint_store(hass: HomeAssistant, entry: EmuConfigEntry) -> EntryStore:
    """Return the store of a meter's fingerprint."""
    return entry_store(hass, entry, "fingerprint", Fingerprint.from_json)


def _client(
    hass: HomeAssistant, host: str, port: int, password: str | None = None
) -> MeterClient:
    return MeterClient(async_get_clientsession(hass), host, port, password)
