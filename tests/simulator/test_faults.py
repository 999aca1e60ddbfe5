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
from simulator.tables import TableConfig
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


async def test_fault_does_not_lift_the_protection(server: MeterServer) -> None:
    """The password is needed in spite of a fault."""
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
    """Return a server for a test to stop."""
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


def lines(body: bytes, separator: bytes = b",") -> list[list[bytes]]:
    """Return the fields of each line of a table."""
    return [line.split(separator) for line in body.splitlines()]


@pytest.fixture
def table(server: MeterServer) -> bytes:
    """Return a table of seven records, 954 to 960."""
    body = server.meter.data({"last": "7"})
    assert body is not None
    return body


TABLE = "/data/?last=7"


@pytest.mark.parametrize(
    "fault",
    [faults.Slow(0.01), faults.Drip(0), faults.SlowLine(1_000_000), faults.Fault()],
)
async def test_faults_of_the_line_leave_tables_as_they_are(
    server: MeterServer, table: bytes, fault: Fault
) -> None:
    """Faults of the line leave tables as they are."""
    server.faults.set(fault, path="/data/")
    head, body = await raw(server, TABLE)
    assert "text/csv" in head
    assert body == table


async def test_slow_line_is_as_slow_as_it_says(
    server: MeterServer, table: bytes
) -> None:
    """Slow line is as slow as it says."""
    server.faults.set(faults.SlowLine(len(table) / 0.2))
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(f"GET {TABLE} HTTP/1.0\r\n\r\n".encode())
    body = (await reader.readuntil(b"\r\n\r\n"))[:0]
    begin, parts = loop.time(), 0
    while part := await reader.read(100_000):
        body += part
        parts += 1
    assert 0.15 < loop.time() - begin < 2
    assert parts > 2
    assert body == table
    writer.close()


@pytest.mark.parametrize("with_reset", [False, True])
async def test_line_is_cut_in_its_middle(
    server: MeterServer, table: bytes, with_reset: bool
) -> None:
    """Line is cut in its middle."""
    whole = table.splitlines(keepends=True)
    server.faults.set(faults.CutLine(958, with_reset=with_reset), path="/data/")
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(f"GET {TABLE} HTTP/1.1\r\nHost: meter\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert f"Content-Length: {len(table)}".encode() in head
    before = b"".join(whole[:2])
    assert await reader.readexactly(len(before)) == before
    if with_reset:
        with pytest.raises(ConnectionResetError):
            await reader.read()
    else:
        assert await reader.read() == whole[2][: len(whole[2]) // 2]
    writer.close()
    server.faults.clear()
    assert (await raw(server, TABLE))[1] == table


async def test_cut_line_of_another_record_cuts_nothing(
    server: MeterServer, table: bytes
) -> None:
    """Cut line of another record cuts nothing."""
    server.faults.set(faults.CutLine(7))
    assert (await raw(server, TABLE))[1] == table
    server.faults.set(faults.TruncatedTable(range(7)))
    assert (await raw(server, TABLE))[1] == table


async def test_truncated_table_is_a_complete_answer(
    server: MeterServer, table: bytes
) -> None:
    """Truncated table is a complete answer."""
    server.faults.set(faults.TruncatedTable())
    head, body = await raw(server, TABLE)
    assert f"Content-Length: {len(body)}" in head
    whole = table.splitlines(keepends=True)
    assert body == b"".join(whole[:3]) + whole[3][: len(whole[3]) // 2]


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize(
    ("fault", "changes"),
    [
        (faults.BrokenLine(), {957: lambda f: f[:27]}),
        (faults.BrokenLine(30, 960), {960: lambda f: [*f, b"0", b"0"]}),
        (faults.BrokenLine(1, 954), {954: lambda f: f[:1]}),
        (faults.ReplacedField(13, "", 959), {959: lambda f: [*f[:12], b"", *f[13:]]}),
        (
            faults.foreign_serial_number("22351234", {955, 958, 9999}),
            dict.fromkeys((955, 958), lambda f: [*f[:3], b"22351234", *f[4:]]),
        ),
        (
            faults.foreign_serial_number(records=faults.EVERY_RECORD),
            dict.fromkeys(range(954, 961), lambda f: [*f[:3], b"22359999", *f[4:]]),
        ),
        (faults.negative_register(), {957: lambda f: [*f[:4], b"-1", *f[5:]]}),
        (
            faults.negative_register(8, "-4815", 954),
            {954: lambda f: [*f[:7], b"-4815", *f[8:]]},
        ),
        (
            faults.ShiftedStamp(365 * 86_400, 956),
            {956: lambda f: [f[0].replace(b"2026", b"2027"), *f[1:]]},
        ),
        (faults.MissingLine(range(955, 957)), dict.fromkeys((955, 956))),
    ],
)
async def test_lines_of_some_records_are_changed(
    server: MeterServer,
    fault: Fault,
    changes: dict[int, Callable[[list[bytes]], list[bytes]] | None],
    separator: str,
    header: bool,
) -> None:
    """Lines of some records are changed, and no others."""
    server.meter.tables = TableConfig(separator=separator, header=header)
    whole = server.meter.data({"last": "7"})
    assert whole is not None
    server.faults.set(fault)
    _, body = await raw(server, TABLE)
    expected = []
    for fields in lines(whole, separator.encode()):
        change = changes.get(int(fields[1]) if fields[1].isdigit() else 0, list)
        expected += [change(fields)] if change else []
    assert lines(body, separator.encode()) == expected
    assert body.endswith(b"\r\n")


async def test_stamp_in_the_future_keeps_the_byte_order_mark(
    server: MeterServer,
) -> None:
    """Stamp in the future keeps the byte order mark."""
    server.meter.tables = TableConfig(header=False, byte_order_mark=True)
    server.faults.set(faults.ShiftedStamp(records=faults.EVERY_RECORD))
    _, body = await raw(server, TABLE)
    assert body.startswith(b"\xef\xbb\xbf2036-05-29T10:00:00Z;960;")
    assert body.count(b"Z;") == body.count(b"\n2036") + 1 == 7


async def test_garbage_bytes_stand_in_a_line(server: MeterServer, table: bytes) -> None:
    """Garbage bytes stand in a line."""
    server.faults.set(faults.GarbageBytes(300, 956))
    (_, one), (_, other) = await raw(server, TABLE), await raw(server, TABLE)
    assert one == other
    assert len(one) == len(table) + 300
    with pytest.raises(UnicodeDecodeError):
        one.decode()
    before = table.index(b"\r\n", table.index(b",957,")) + 2
    assert one[:before] == table[:before]
    after = table.index(b",955,") - len("2026-06-01T08:45:00Z")
    assert one.endswith(table[after:])


@pytest.mark.parametrize(
    "fault",
    [
        faults.CutLine(),
        faults.TruncatedTable(),
        faults.BrokenLine(),
        faults.MissingLine(),
        faults.GarbageBytes(),
    ],
)
async def test_faults_of_tables_leave_documents_alone(
    server: MeterServer, right: bytes, fault: Fault
) -> None:
    """Faults of tables leave documents alone, and answers without records."""
    server.faults.set(fault)
    assert (await raw(server))[1] == right
    assert (await raw(server, "/data/?last=0"))[1] == b""
    server.meter.password = "secret"
    head, _ = await raw(server, TABLE)
    assert " 401 " in head.splitlines()[0]


async def test_faults_of_documents_for_tables(
    server: MeterServer, table: bytes
) -> None:
    """Faults of documents have their effect on tables, too."""
    server.faults.set(faults.TruncatedJson(), times=1)
    assert (await raw(server, TABLE))[1] == table
    server.faults.set(faults.CloseHalfway(), times=1)
    assert (await raw(server, TABLE))[1] == table[: len(table) // 2]
    server.faults.set(faults.HugeBody(10_000), times=1)
    assert (await raw(server, TABLE))[1] == table.ljust(10_000)
    server.faults.set(faults.empty_body(), times=1)
    head, body = await raw(server, TABLE)
    assert "text/csv" in head
    assert body == b""
    server.faults.set(faults.Status(404), times=1)
    assert " 404 " in (await raw(server, TABLE))[0].splitlines()[0]
    server.faults.set(faults.ContentType("text/html"), times=1)
    assert "text/html" in (await raw(server, TABLE))[0]
