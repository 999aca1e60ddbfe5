"""The client at a real socket, with every fault of an answer."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
import socket
import tracemalloc

import aiohttp
from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.emu import client as client_module
from custom_components.emu_professional.emu.answers import parse_object
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import (
    MeterError,
    MeterUnauthorized,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    MeterUnsupported,
)
from simulator import faults
from simulator.web import MeterServer


@pytest.fixture
async def session(socket_enabled: None) -> AsyncGenerator[aiohttp.ClientSession]:
    """Return a session with the operating system's resolver."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def meter(session: aiohttp.ClientSession, server: MeterServer) -> MeterClient:
    """Return a client of the simulated meter."""
    return MeterClient(session, server.host, server.port)


async def test_readings_and_status(meter: MeterClient, server: MeterServer) -> None:
    """Both documents arrive."""
    readings = await meter.readings()
    assert readings.document == server.meter.meter_data()
    status = await meter.status()
    assert status.document == server.meter.status()
    assert meter.url == f"http://{server.host}:{server.port}"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.Silent(), MeterUnreachable),
        (faults.Slow(60), MeterUnreachable),
        (faults.Drip(0.01), MeterUnreachable),
        (faults.ConnectionReset(), MeterUnreachable),
        (faults.CloseWithoutAnswer(), MeterUnreachable),
        (faults.CloseHalfway(), MeterUnreachable),
        (faults.Status(401), MeterUnauthorized),
        (faults.Status(403), MeterUnauthorized),
        (faults.Status(404), MeterUnsupported),
        (faults.Status(500), MeterUnexpectedAnswer),
        (faults.Status(503), MeterUnexpectedAnswer),
        (faults.Redirect("http://192.0.2.1/"), MeterUnsupported),
        (faults.garbage(), MeterUnexpectedAnswer),
        (faults.empty_body(), MeterUnexpectedAnswer),
        (faults.TruncatedJson(), MeterUnexpectedAnswer),
        (faults.not_an_object(), MeterUnexpectedAnswer),
        (faults.Body(b"[" * 50_000), MeterUnexpectedAnswer),
        (faults.Body(b'{"a":' + b"9" * 5000 + b"}"), MeterUnexpectedAnswer),
        (faults.HugeBody(), MeterUnexpectedAnswer),
        (faults.HugeBody(declared=False), MeterUnexpectedAnswer),
    ],
)
@pytest.mark.usefixtures("impatient")
async def test_fault(
    meter: MeterClient,
    server: MeterServer,
    fault: faults.Fault,
    error: type[MeterError],
) -> None:
    """Every fault is one of the errors, and over when it is over."""
    server.faults.set(fault)
    with pytest.raises(MeterError) as raised:
        await meter.readings()
    assert type(raised.value) is error
    assert "\n" not in str(raised.value)
    assert server.host not in str(raised.value)
    with pytest.raises(error):
        await meter.status()
    server.faults.clear()
    await meter.readings()


@given(
    st.binary() | st.text(alphabet='{}[]":,0123456789eE+-.NaInfity\\u').map(str.encode)
)
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    """Each body gives an object or MeterUnexpectedAnswer, nothing else."""
    with suppress(MeterUnexpectedAnswer):
        assert isinstance(parse_object("/meterdata.json", body), dict)


async def test_compression_bomb(meter: MeterClient, server: MeterServer) -> None:
    """An answer takes no more memory than its bytes."""
    server.faults.set(faults.CompressionBomb(100_000_000))
    tracemalloc.start()
    with pytest.raises(MeterUnexpectedAnswer):
        await meter.readings()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


async def test_garbage_instead_of_http(
    socket_enabled: None, session: aiohttp.ClientSession
) -> None:
    """A server with another protocol gives an unexpected answer."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        writer.close()

    other = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(MeterUnexpectedAnswer):
            await MeterClient(session, "127.0.0.1", port).readings()


async def test_closed_session(
    meter: MeterClient, session: aiohttp.ClientSession
) -> None:
    """A request during the end of the session raises MeterUnreachable."""
    await session.close()
    with pytest.raises(MeterUnreachable, match="session is closed"):
        await meter.readings()


async def test_wrong_content_type_is_read(
    meter: MeterClient, server: MeterServer
) -> None:
    """JSON is read also from an answer with the type text/html."""
    server.faults.set(faults.ContentType())
    assert (await meter.status()).serial_number == server.meter.serial_number


async def test_nobody_listens(session: aiohttp.ClientSession) -> None:
    """A closed port is out of reach."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(MeterUnreachable, match="refused"):
        await MeterClient(session, "127.0.0.1", port).status()


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "x..y", "0.0.0.0.0"])
async def test_impossible_host(session: aiohttp.ClientSession, host: str) -> None:
    """An impossible name counts as unreachable."""
    with pytest.raises(MeterUnreachable):
        await MeterClient(session, host).status()


@pytest.mark.parametrize("password", ["secret", "Zähler", "a:b", "x" * 20])
async def test_password(
    session: aiohttp.ClientSession, server: MeterServer, password: str
) -> None:
    """Access protection lets only the right password in."""
    server.meter.password = password
    with pytest.raises(MeterUnauthorized):
        await MeterClient(session, server.host, server.port).readings()
    with pytest.raises(MeterUnauthorized):
        await MeterClient(session, server.host, server.port, "wrong").readings()
    await MeterClient(session, server.host, server.port, password).readings()


async def test_password_does_not_follow_a_redirect(
    session: aiohttp.ClientSession, server: MeterServer
) -> None:
    """A redirect to another host is not followed."""
    async with MeterServer(server.meter) as other:
        server.faults.set(faults.Redirect(f"{other.url}status.json"))
        meter = MeterClient(session, server.host, server.port, "secret")
        with pytest.raises(MeterUnsupported):
            await meter.status()
        assert not other.requests


@pytest.mark.parametrize(
    "fault",
    [faults.ConnectionReset(), faults.CloseWithoutAnswer(), faults.CloseHalfway()],
)
@pytest.mark.usefixtures("impatient")
async def test_dropped_connection_is_tried_again_once(
    meter: MeterClient, server: MeterServer, fault: faults.Fault
) -> None:
    """One cut connection goes unnoticed; the meter is not pestered."""
    server.faults.set(fault, times=1)
    await meter.readings()
    assert len(server.requests) == 2

    server.faults.set(fault)
    with pytest.raises(MeterUnreachable):
        await meter.readings()
    assert len(server.requests) == 4


@pytest.mark.usefixtures("impatient")
async def test_refused_connection_is_tried_again(
    meter: MeterClient, server: MeterServer
) -> None:
    """A meter with its only connection occupied for a moment is asked again."""
    server.connections = 0
    with pytest.raises(MeterUnreachable):
        await meter.readings()
    assert server.refused_connections == 2


async def test_one_request_at_a_time(meter: MeterClient, server: MeterServer) -> None:
    """A meter with a single connection is never asked twice at once."""
    server.connections = 1
    await asyncio.gather(*(meter.readings() for _ in range(5)), meter.status())
    assert server.most_connections == 1
    assert server.refused_connections == 0
    assert [request.status for request in server.requests] == [200] * 6


async def test_connection_is_left_to_others(
    meter: MeterClient, server: MeterServer
) -> None:
    """Between two polls the owner's browser finds the only connection free."""
    server.connections = 1
    await meter.readings()
    async with (
        aiohttp.ClientSession() as browser,
        browser.get(server.url) as page,
    ):
        assert page.status == 200


@pytest.mark.usefixtures("impatient")
async def test_time_limit_covers_the_retry(
    meter: MeterClient, server: MeterServer
) -> None:
    """Both tries together end in time."""
    loop = asyncio.get_running_loop()
    server.faults.set(faults.ConnectionReset(), times=1)
    server.faults.set(faults.Silent())
    begin = loop.time()
    with pytest.raises(MeterUnreachable):
        await meter.readings()
    assert loop.time() - begin < client_module.TIME_LIMIT * 5
