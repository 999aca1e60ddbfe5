"""Hosts and ports: names, impossible ones, and those where nobody listens."""

import asyncio
import socket

import pytest
from pytest_homeassistant_custom_component import plugins
from pytest_socket import socket_allow_hosts

from custom_components.emu_professional.emu.errors import MeterUnreachable
from custom_components.emu_professional.emu.updater import datagrams
from custom_components.emu_professional.emu.updater.session import UpdaterSession

from .scripted_server import IMAGE, QUICK, Flash, ScriptedServer, upload


@pytest.mark.usefixtures("quick")
async def test_nobody_listens(server: ScriptedServer) -> None:
    """The refusal of the network reaches whoever waits, soon."""
    await server.__aexit__()
    begin = asyncio.get_running_loop().time()
    async with UpdaterSession(server.host, server.port, QUICK) as session:
        with pytest.raises(MeterUnreachable, match="refused"):
            await session.slots()
        with pytest.raises(MeterUnreachable, match="refused"):
            await upload(session)
        assert not await session.reset()
    assert asyncio.get_running_loop().time() - begin < QUICK.contact


@pytest.mark.usefixtures("quick")
async def test_module_that_restarts_during_the_upload(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """The session waits out the refusals of the network, and the upload continues."""
    refused = asyncio.Event()
    endpoint = session._line.endpoint
    error_received = endpoint.error_received

    def notice(exc: Exception) -> None:
        refused.set()
        error_received(exc)

    endpoint.error_received = notice  # type: ignore[method-assign]
    task = asyncio.create_task(upload(session))
    await server.reached(3)
    await server.__aexit__()
    await refused.wait()
    flash.forget()
    async with server:
        await task
        assert flash.data == IMAGE


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "x..y", ""])
@pytest.mark.usefixtures("socket_enabled")
async def test_impossible_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An impossible name is out of reach."""
    monkeypatch.setattr(socket, "getaddrinfo", plugins._real_getaddrinfo)
    with pytest.raises(MeterUnreachable):
        async with UpdaterSession(host, 1):
            pytest.fail("There is no such host")


@pytest.mark.usefixtures("socket_enabled")
async def test_impossible_port() -> None:
    """An impossible port is out of reach."""
    with pytest.raises(MeterUnreachable):
        async with UpdaterSession("127.0.0.1", 70_000):
            pytest.fail("There is no such port")


async def test_slow_lookup(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent name server is given up."""
    monkeypatch.setattr(datagrams, "_LOOKUP_LIMIT", 0)
    with pytest.raises(MeterUnreachable, match="in time"):
        async with UpdaterSession("localhost", server.port):
            pytest.fail("There is no time for it")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_addresses_and_names(socket_enabled: None, host: str) -> None:
    """IPv4, IPv6, and a name, by its IPv4 address."""
    socket_allow_hosts(["127.0.0.1", "::1"])
    here = "::1" if host == "::1" else "127.0.0.1"
    async with (
        ScriptedServer(Flash().respond, here) as server,
        UpdaterSession(host, server.port) as session,
    ):
        assert len(await session.slots()) == 1
