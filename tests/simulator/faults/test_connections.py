"""Faults of a connection: slow, silent, or cut."""

import asyncio
from collections.abc import Callable

import aiohttp
import pytest

from simulator import faults
from simulator.faults import Fault
from simulator.web import MeterServer

from .asking import DATA, HOUR, SILENT, STATUS, asked, raw


async def test_slow_answer_is_right_and_late(server: MeterServer, right: bytes) -> None:
    """Slow answer is right and late."""
    server.faults.set(faults.Slow(0.05))
    assert (await raw(server))[1] == right
    (request,) = server.requests
    assert request.finished is not None
    assert request.finished - request.started >= 0.05
    assert request.status == 200


async def test_dripping_answer_is_right_and_comes_in_bits(
    server: MeterServer, session: aiohttp.ClientSession, right: bytes
) -> None:
    """Dripping answer is right and comes in bits."""
    server.faults.set(faults.Drip(0))
    async with session.get(server.url + DATA[1:]) as response:
        assert response.content_length == len(right)
        bits = [bit async for bit, _ in response.content.iter_chunks()]
    assert b"".join(bits) == right
    server.faults.set(faults.Drip(HOUR))
    async with session.get(server.url + DATA[1:]) as response:
        assert await response.content.readany() == right[:1]


async def test_silent_answers_when_released(server: MeterServer, right: bytes) -> None:
    """Silent answers when released."""
    silent = faults.Silent()
    server.faults.set(silent)
    waiting = asyncio.create_task(raw(server))
    await server.received(1)
    assert server.requests[0].finished is None
    assert not waiting.done()
    silent.release()
    assert (await waiting)[1] == right
    assert (await raw(server))[1] == right


@pytest.mark.parametrize("turn", [1, 2])
async def test_fault_may_serve_tests_with_their_own_loops(
    server: MeterServer, turn: int
) -> None:
    """Fault may serve tests with their own loops."""
    server.faults.set(SILENT)
    waiting = asyncio.create_task(raw(server))
    await server.received(1)
    await server.stop()
    with pytest.raises(ConnectionResetError):
        await waiting


async def test_silent_ends_when_the_client_gives_up(server: MeterServer) -> None:
    """Silent ends when the client gives up."""
    server.faults.set(faults.Silent())
    waiting = asyncio.create_task(raw(server))
    await server.received(1)
    waiting.cancel()
    async with asyncio.timeout(5):
        while server.open_connections or server.requests[0].finished is None:
            await asyncio.sleep(0)
    assert server.requests[0].status is None


async def test_reset_is_a_reset(server: MeterServer) -> None:
    """Reset is a reset."""
    server.faults.set(faults.ConnectionReset())
    with pytest.raises(ConnectionResetError):
        await raw(server)
    assert server.requests[0].status is None


async def test_close_without_answer_is_an_orderly_end(server: MeterServer) -> None:
    """Close without answer is an orderly end."""
    server.faults.set(faults.CloseWithoutAnswer())
    assert await raw(server) == ("", b"")


async def test_close_halfway_sends_half(server: MeterServer, right: bytes) -> None:
    """Close halfway sends half."""
    server.faults.set(faults.CloseHalfway())
    head, body = await raw(server)
    assert f"Content-Length: {len(right)}\r\n" in head
    assert body == right[: len(right) // 2]


async def test_second_connection_is_refused(server: MeterServer, right: bytes) -> None:
    """Second connection is refused."""
    silent = faults.Silent()
    server.faults.set(silent, path=DATA)
    server.faults.set(faults.SecondConnectionRefused(), times=1)
    first = asyncio.create_task(raw(server))
    await server.received(1)
    with pytest.raises(ConnectionResetError):
        await raw(server, STATUS)
    head, _ = await raw(server, STATUS)
    assert head.startswith("HTTP/1.1 200 ")
    silent.release()
    assert (await first)[1] == right
    assert server.refused_connections == 1
    server.faults.set(faults.SecondConnectionRefused())
    assert (await raw(server))[1] == right


@pytest.mark.parametrize(
    "fault",
    [
        faults.Slow(HOUR),
        faults.Drip(HOUR),
        faults.Silent,
        # More than the socket's buffers hold: the server waits for the reader.
        faults.HugeBody(100_000_000),
    ],
)
async def test_closing_the_server_ends_everything_at_once(
    stoppable: MeterServer, fault: Fault | Callable[[], Fault]
) -> None:
    """Closing the server ends everything at once."""
    stoppable.faults.set(fault if isinstance(fault, Fault) else fault())
    tasks = asyncio.all_tasks()
    clients = [await asked(stoppable) for _ in range(3)]
    await stoppable.received(3)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await stoppable.stop()
    assert loop.time() - begin < 1
    assert asyncio.all_tasks() == tasks
    assert stoppable.open_connections == 0
    assert all(request.finished is not None for request in stoppable.requests)
    for reader, writer in clients:
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
