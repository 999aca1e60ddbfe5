"""The port and the web page while the module is away."""

import asyncio
from contextlib import suppress
from dataclasses import replace
import socket

import aiohttp
import pytest
from pytest_socket import socket_allow_hosts
from smp.os_management import EchoWriteResponse

from simulator.updater import Closed, UpdaterServer
from simulator.web import MeterServer

from .client import NEW, NEW_HASH, QUICK, Asking, echo, serving

pytestmark = pytest.mark.usefixtures("socket_enabled")


async def test_web_page_is_away_during_a_reset(
    web: MeterServer, session: aiohttp.ClientSession
) -> None:
    """During a reset the web server is away; the meter measures on."""
    config = replace(QUICK, boot_seconds=0.2, web_seconds=0.2)
    async with serving(web, config) as (updater, client):
        registers, newest = web.meter.registers(), web.meter.newest_index
        url = web.url + "meterdata.json"
        async with session.get(url) as response:
            before = await response.read()
        await client.reset()
        while not web.away:
            await asyncio.sleep(0.01)
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)
        assert web.open_connections == 0
        await updater.booted(2)
        assert web.away
        assert updater.listening
        while web.away:
            await asyncio.sleep(0.01)
        async with session.get(url) as response:
            assert await response.read() == before
        assert web.meter.registers() == registers
        assert web.meter.newest_index == newest


@pytest.mark.parametrize("closed", Closed)
async def test_updates_that_are_switched_off(web: MeterServer, closed: Closed) -> None:
    """Silence, or an ICMP refusal, until updates are switched on."""
    async with serving(web, replace(QUICK, closed=closed)) as (updater, client):
        assert updater.listening
        web.meter.settings = replace(web.meter.settings, online_update=False)
        client.send(echo().BYTES)
        if closed is Closed.REFUSED:
            with pytest.raises(ConnectionRefusedError):
                await client.receive()
        else:
            assert await client.is_silent()
        assert updater.requests == []
        web.meter.settings = replace(web.meter.settings, online_update=True)
        await client.ask(echo(), EchoWriteResponse)


async def test_port_is_refused_while_the_module_restarts(web: MeterServer) -> None:
    """The same while the module restarts."""
    config = replace(QUICK, closed=Closed.REFUSED)
    async with serving(web, config) as (updater, client):
        await updater.power_cut(0.1)
        client.send(echo().BYTES)
        with pytest.raises(ConnectionRefusedError):
            await client.receive()
        await updater.booted(2)
        await client.ask(echo(), EchoWriteResponse)


async def test_port_belongs_to_one_server(web: MeterServer) -> None:
    """A port cannot be had twice, and a server has its own again."""
    async with UpdaterServer(web, replace(QUICK, closed=Closed.REFUSED)) as updater:
        web.meter.settings = replace(web.meter.settings, online_update=False)
        with pytest.raises(OSError, match="in use"):
            await UpdaterServer(web, port=updater.port).start()
        port = updater.port
        await updater.stop()
        await updater.start()
        assert updater.port == port
        with pytest.raises(RuntimeError):
            await updater.start()
        await updater.stop()
        await updater.stop()
        await updater.start()


def has_ipv6() -> bool:
    """Return whether the machine has an IPv6 loopback address."""
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("closed", Closed)
async def test_updater_at_an_ipv6_address(web: MeterServer, closed: Closed) -> None:
    """It serves IPv6 as well."""
    # The plugin's list knows IPv4 only.
    socket_allow_hosts(["127.0.0.1", "::1"])
    config = replace(QUICK, closed=closed)
    async with UpdaterServer(web, config, host="::1") as updater:
        client = Asking(updater.port, "::1")
        assert await client.upload() == len(NEW)
        await updater.power_cut()
        client.send(echo().BYTES)
        if closed is Closed.REFUSED:
            with pytest.raises(ConnectionRefusedError):
                await client.receive()
        await updater.booted(2)
        assert len(await client.states()) == 2
        client.socket.close()


async def test_flash_outlives_the_server(web: MeterServer) -> None:
    """Another server continues with the flash, also in the middle of a swap."""
    async with serving(web, replace(QUICK, boot_seconds=1.0)) as (updater, client):
        await client.upload()
        await client.set_state(NEW_HASH, confirm=False)
        await updater.power_cut()
        while updater.bootloader.flash[0][: len(NEW)] != NEW:
            await asyncio.sleep(0.01)
        assert updater.bootloader.running is None
        flash = updater.bootloader
    async with UpdaterServer(web, QUICK, bootloader=flash) as updater:
        assert updater.running == "1.0.17"
