"""Faults of tables: lines of data logger and logbook."""

import asyncio
from collections.abc import Callable

import pytest

from simulator import faults
from simulator.faults import Fault
from simulator.tables import TableConfig
from simulator.web import MeterServer

from .asking import TABLE, lines, raw


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
