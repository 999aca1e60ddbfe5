"""The meter's web server speaks real HTTP."""

import asyncio
from base64 import b64encode
import json

import aiohttp
import pytest

from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.documents import rendered
from simulator.meter import Meter
from simulator.web import Latency, MeterServer


def basic(login: str, password: str) -> str:
    """Return a header of HTTP Basic authentication."""
    return "Basic " + b64encode(f"{login}:{password}".encode()).decode()


async def test_documents_are_served(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Documents are served."""
    for path, document in (
        ("meterdata.json", server.meter.meter_data()),
        ("status.json", server.meter.status()),
    ):
        async with session.get(server.url + path) as response:
            assert response.status == 200
            assert response.content_type == "application/json"
            assert await response.text() == rendered(document)


async def test_values_follow_the_clock(
    server: MeterServer, session: aiohttp.ClientSession, clock: ManualClock
) -> None:
    """Values follow the clock."""
    seen = []
    for _ in range(3):
        async with session.get(server.url + "meterdata.json") as response:
            seen.append(await response.json())
        clock.advance(5)
    assert [later["meterdatetime"] - seen[0]["meterdatetime"] for later in seen] == [
        0,
        5,
        10,
    ]
    assert len({document["p_L123_act_e"] for document in seen}) == 3


async def test_page_is_served(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Page is served."""
    async with session.get(server.url) as response:
        assert response.content_type == "text/html"
        assert await response.text() == server.meter.page()


@pytest.mark.parametrize("path", ["nothing", "meterdata.json/", "METERDATA.JSON"])
async def test_other_addresses_are_unknown(
    server: MeterServer, session: aiohttp.ClientSession, path: str
) -> None:
    """Other addresses are unknown."""
    async with session.get(server.url + path) as response:
        assert response.status == 404
    assert server.requests[-1].status == 404


@pytest.mark.parametrize("path", ["", "meterdata.json", "status.json", "nothing"])
async def test_protection_covers_every_address(
    server: MeterServer, session: aiohttp.ClientSession, path: str
) -> None:
    """Protection covers every address."""
    server.meter.password = "sécret"
    async with session.get(server.url + path) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (basic("admin", "sécret"), 200),
        (basic("admin", "sécret").replace("Basic", "BASIC"), 200),
        (basic("admin", "secret"), 401),
        (basic("Admin", "sécret"), 401),
        (basic("admin", ""), 401),
        ("Basic", 401),
        ("Basic !", 401),
        ("Basic /w==", 401),
        ("Bearer sécret".encode().decode("latin-1"), 401),
    ],
)
async def test_only_admin_with_the_password_is_welcome(
    server: MeterServer,
    session: aiohttp.ClientSession,
    authorization: str,
    status: int,
) -> None:
    """Only admin with the password is welcome."""
    server.meter.password = "sécret"
    headers = {"Authorization": authorization}
    async with session.get(server.url + "status.json", headers=headers) as response:
        assert response.status == status
    server.meter.password = None
    async with session.get(server.url + "status.json", headers=headers) as response:
        assert response.status == 200


async def test_meters_serve_side_by_side(
    server: MeterServer, session: aiohttp.ClientSession, clock: ManualClock
) -> None:
    """Meters serve side by side."""
    config = MeterConfig(serial_number="22350002", seed=2)
    async with MeterServer(Meter(config, clock)) as other:
        assert other.port != server.port
        for one in (server, other):
            async with session.get(one.url + "status.json") as response:
                status = await response.json()
            assert status["meterserial"] == one.meter.serial_number


async def test_restart_keeps_the_port(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Restart keeps the port."""
    url = server.url + "meterdata.json"
    for _ in range(3):
        async with session.get(url) as response:
            assert response.status == 200
        await server.stop()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)
        await server.start()
    async with session.get(url) as response:
        assert response.status == 200


async def test_second_server_cannot_have_the_port(
    server: MeterServer, clock: ManualClock
) -> None:
    """Second server cannot have the port."""
    other = MeterServer(Meter(MeterConfig(), clock), port=server.port)
    with pytest.raises(OSError, match="in use"):
        await other.start()
    await other.stop()


async def test_running_server_cannot_be_started(server: MeterServer) -> None:
    """Running server cannot be started."""
    with pytest.raises(RuntimeError):
        await server.start()


async def test_stopped_server_has_no_connections(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Stopped server has no connections."""
    async with session.get(server.url):
        assert server.open_connections == 1
    await server.stop()
    assert server.open_connections == 0
    await server.stop()


async def test_connections_are_kept_alive(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Connections are kept alive."""
    for _ in range(3):
        async with session.get(server.url + "status.json") as response:
            await response.read()
    assert [request.connection for request in server.requests] == [1, 1, 1]
    assert server.most_connections == 1


async def test_requests_are_logged(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Requests are logged."""
    begin = asyncio.get_running_loop().time()
    async with session.get(server.url + "data/?from=1&to=100") as response:
        await response.read()
    end = asyncio.get_running_loop().time()
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/data/?from=1&to=100")
    assert request.status == response.status
    assert request.finished is not None
    assert begin <= request.started <= request.finished <= end


async def test_most_connections_are_counted(server: MeterServer) -> None:
    """Most connections are counted."""
    for count in (2, 1):
        streams = [await connected(server) for _ in range(count)]
        for reader, writer in streams:
            writer.write(
                b"GET /status.json HTTP/1.1\r\nHost: meter\r\nConnection: close\r\n\r\n"
            )
            assert await reader.read()
            writer.close()
            await writer.wait_closed()
        assert server.open_connections == 0
    assert server.most_connections == 2
    assert [request.connection for request in server.requests] == [1, 2, 3]


async def test_second_connection_is_refused(server: MeterServer) -> None:
    """Second connection is refused."""
    server.connections = 1
    reader, writer = await connected(server)
    await refused(server)
    await refused(server)
    writer.write(
        b"GET /status.json HTTP/1.1\r\nHost: meter\r\nConnection: close\r\n\r\n"
    )
    answer = await reader.read()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["meterserial"] == "22350001"
    writer.close()
    await writer.wait_closed()
    assert (server.most_connections, server.refused_connections) == (2, 2)
    assert len(server.requests) == 1
    _, writer = await connected(server)
    server.connections = None
    _, other = await connected(server)
    for stream in (writer, other):
        stream.close()
        await stream.wait_closed()


async def test_arrival_of_requests_can_be_awaited(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Arrival of requests can be awaited."""
    arrived = asyncio.create_task(server.received(2))
    for expected in (False, True):
        async with session.get(server.url) as response:
            await response.read()
        await asyncio.sleep(0)
        assert arrived.done() is expected
    await server.received(2)
    await arrived


async def connected(
    server: MeterServer,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection that the server has noticed."""
    before = server.open_connections
    streams = await asyncio.open_connection(server.host, server.port)
    async with asyncio.timeout(5):
        while server.open_connections == before:
            await asyncio.sleep(0)
    return streams


async def refused(server: MeterServer) -> None:
    """Expect a connection to be reset."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    with pytest.raises(ConnectionResetError):
        await writer.wait_closed()


async def test_latency_of_the_data_logger(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """It takes its time for little as well, and nothing else is done meanwhile."""
    server.latency = Latency(span=0.2, newest=0.4)
    loop = asyncio.get_running_loop()

    async def seconds(path: str) -> float:
        begin = loop.time()
        async with session.get(server.url + path) as response:
            assert response.status == 200
            await response.read()
        return loop.time() - begin

    assert await seconds("status.json") < 0.2
    assert await seconds("data/?last=1") >= 0.4
    assert await seconds("data/") >= 0.4
    logger = asyncio.create_task(seconds("data/?from=1&to=1"))
    await server.received(4)
    begin = loop.time()
    await seconds("meterdata.json")
    assert loop.time() - begin > 0.05
    assert 0.2 <= await logger < 0.4
