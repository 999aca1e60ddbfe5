"""Each fault does what it says."""

import asyncio
from collections.abc import AsyncGenerator, Callable
import json
from typing import Any

import aiohttp
import pytest

from simulator import faults
from simulator.clock import ManualClock
from simulator.documents import Literal, rendered
from simulator.faults import Fault
from simulator.meter import Meter, MeterConfig
from simulator.web import MeterServer

DATA = "/meterdata.json"
STATUS = "/status.json"
POWER = "p_L123_act_e"
ENERGY = "wpulse_cnt_L123_e"
HOUR = 3600.0
SILENT = faults.Silent()


@pytest.fixture
def right(server: MeterServer) -> bytes:
    """Return the body of an undisturbed answer."""
    return rendered(server.meter.meter_data()).encode()


async def raw(server: MeterServer, path: str = DATA) -> tuple[str, bytes]:
    """Return head and body of an answer, read until the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    request = f"GET {path} HTTP/1.1\r\nHost: meter\r\nConnection: close\r\n\r\n"
    writer.write(request.encode())
    try:
        answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body


async def document(server: MeterServer) -> dict[str, Any]:
    """Return the document of an answer."""
    _, body = await raw(server)
    answer: dict[str, Any] = json.loads(body)
    return answer


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


@pytest.mark.parametrize("status", [400, 401, 404, 500, 503])
async def test_status_is_answered(server: MeterServer, status: int) -> None:
    """Status is answered."""
    server.faults.set(faults.Status(status))
    head, body = await raw(server)
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert "Content-Type: text/html" in head
    assert ("WWW-Authenticate: Basic" in head) is (status == 401)
    assert b"<html>" in body
    assert server.requests[0].status == status


async def test_redirect_names_another_address(server: MeterServer) -> None:
    """Redirect names another address."""
    server.faults.set(faults.Redirect("http://192.0.2.1/", 307))
    head, _ = await raw(server)
    assert head.startswith("HTTP/1.1 307 ")
    assert "Location: http://192.0.2.1/" in head


async def test_garbage_is_no_text(server: MeterServer) -> None:
    """Garbage is no text."""
    server.faults.set(faults.garbage(500))
    _, body = await raw(server)
    assert len(body) == 500
    assert body == faults.garbage(500).body
    with pytest.raises(UnicodeDecodeError):
        body.decode()


async def test_empty_body_is_a_success(server: MeterServer) -> None:
    """Empty body is a success."""
    server.faults.set(faults.empty_body())
    head, body = await raw(server)
    assert head.startswith("HTTP/1.1 200 ")
    assert body == b""


@pytest.mark.parametrize("text", ["[]", "[1]", '"text"', "1.5", "true", "null"])
async def test_document_may_be_no_object(server: MeterServer, text: str) -> None:
    """Document may be no object."""
    server.faults.set(faults.not_an_object(text))
    head, body = await raw(server)
    assert "Content-Type: application/json" in head
    assert body == text.encode()


async def test_truncated_json_is_a_complete_answer(
    server: MeterServer, right: bytes
) -> None:
    """Truncated json is a complete answer."""
    server.faults.set(faults.TruncatedJson())
    head, body = await raw(server)
    assert f"Content-Length: {len(body)}\r\n" in head
    assert body == right[: len(right) // 2]


@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        (faults.null_values(POWER, ENERGY), {POWER: None, ENERGY: None}),
        (faults.dash_values(POWER, ENERGY), {POWER: "-", ENERGY: "-"}),
        (faults.ReplacedValues({POWER: "NaN"}), {POWER: "NaN"}),
        (faults.ReplacedValues({POWER: [[1], {}]}), {POWER: [[1], {}]}),
        (faults.ReplacedValues({POWER: 10**400}), {POWER: 10**400}),
        (faults.ReplacedValues({"new": "<b>"}), {"new": "<b>"}),
        (faults.literal_value(POWER, "1e999"), {POWER: float("inf")}),
    ],
)
async def test_values_are_replaced(
    server: MeterServer, right: bytes, fault: Fault, changes: dict[str, Any]
) -> None:
    """Values are replaced."""
    server.faults.set(fault)
    assert await document(server) == json.loads(right) | changes


async def test_literal_stands_as_it_is(server: MeterServer) -> None:
    """Literal stands as it is."""
    server.faults.set(faults.ReplacedValues({POWER: Literal("-00.1e")}))
    assert f'"{POWER}": -00.1e,'.encode() in (await raw(server))[1]


async def test_keys_are_missing(server: MeterServer, right: bytes) -> None:
    """Keys are missing."""
    server.faults.set(faults.MissingKeys(POWER, "unknown"))
    expected = json.loads(right)
    del expected[POWER]
    answer = await document(server)
    assert answer == expected
    assert list(answer) == list(expected)


async def test_documents_only_are_changed(server: MeterServer) -> None:
    """Documents only are changed."""
    server.faults.set(faults.TruncatedJson())
    assert (await raw(server, "/"))[1] == server.meter.page().encode()
    head, _ = await raw(server, "/nothing")
    assert head.startswith("HTTP/1.1 404 ")


async def test_content_type_is_wrong(server: MeterServer, right: bytes) -> None:
    """Content type is wrong."""
    server.faults.set(faults.ContentType())
    head, body = await raw(server)
    assert "Content-Type: text/html" in head
    assert body == right


@pytest.mark.parametrize("declared", [True, False])
async def test_huge_body_is_huge_and_right(
    server: MeterServer, session: aiohttp.ClientSession, right: bytes, declared: bool
) -> None:
    """Huge body is huge and right."""
    server.faults.set(faults.HugeBody(3_000_000, declared=declared))
    async with session.get(server.url + DATA[1:]) as response:
        assert response.content_length == (3_000_000 if declared else None)
        body = await response.read()
    assert len(body) == 3_000_000
    assert json.loads(body) == json.loads(right)


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


async def test_fault_is_counted(server: MeterServer) -> None:
    """Fault is counted."""
    server.faults.set(faults.Status(503), path=DATA, times=2)
    assert [await status(server, DATA) for _ in range(3)] == [503, 503, 200]


async def test_fault_is_of_its_path(server: MeterServer) -> None:
    """Fault is of its path."""
    server.faults.set(faults.Status(503), path=DATA)
    assert await status(server, STATUS) == 200
    assert await status(server, f"{DATA}?query") == 503
    server.faults.set(faults.Status(500))
    assert [await status(server, path) for path in (DATA, STATUS, "/")] == [500] * 3


async def test_faults_are_cleared(server: MeterServer) -> None:
    """Faults are cleared."""
    server.faults.set(faults.Status(500))
    server.faults.set(faults.Status(503), path=DATA)
    server.faults.clear(path=DATA)
    assert [await status(server, path) for path in (DATA, STATUS)] == [500, 500]
    server.faults.clear()
    assert [await status(server, path) for path in (DATA, STATUS)] == [200, 200]


async def test_last_fault_goes_first(server: MeterServer) -> None:
    """Last fault goes first."""
    server.faults.set(faults.Status(500), times=1)
    server.faults.set(faults.Status(503), times=1)
    assert [await status(server, DATA) for _ in range(3)] == [503, 500, 200]


async def test_protection_holds_behind_a_fault(server: MeterServer) -> None:
    """Protection holds behind a fault."""
    server.meter.password = "secret"
    server.faults.set(faults.Slow(0))
    assert await status(server, DATA) == 401


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


@pytest.fixture
async def stoppable(
    socket_enabled: None, clock: ManualClock
) -> AsyncGenerator[MeterServer]:
    """Return a server that a test may leave stopped."""
    server = MeterServer(Meter(MeterConfig(), clock))
    await server.start()
    yield server
    await server.stop()


async def asked(
    server: MeterServer,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask and do not read."""
    reader, writer = await asyncio.open_connection(server.host, server.port, limit=1000)
    writer.write(f"GET {DATA} HTTP/1.1\r\nHost: meter\r\n\r\n".encode())
    return reader, writer


async def status(server: MeterServer, path: str) -> int:
    """Return the status of an answer."""
    head, _ = await raw(server, path)
    return int(head.split()[1])
