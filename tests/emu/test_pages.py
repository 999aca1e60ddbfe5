"""Pages of the data logger at a real socket, in every form and under faults."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
import tracemalloc

import aiohttp
import pytest

from custom_components.emu_professional.emu import client as client_module
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import (
    MeterUnauthorized,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    MeterUnreadable,
    MeterUnsupported,
)
from custom_components.emu_professional.emu.logs import Record
from simulator import faults
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.meter import Meter
from simulator.tables import BeyondTheEnds, TableConfig
from simulator.web import Latency, MeterServer
from tests.conftest import NOON


@pytest.fixture
async def meter(server: MeterServer) -> AsyncGenerator[MeterClient]:
    """Return a client of the simulated meter."""
    async with aiohttp.ClientSession() as session:
        yield MeterClient(session, server.host, server.port)


def expected(meter: Meter, first: int, last: int) -> tuple[Record, ...]:
    """Return the logger records of the simulated meter."""
    return tuple(
        Record(stamp, index, status, serial_number, tuple(values))
        for stamp, index, status, serial_number, *values in meter.records(first, last)
    )


FORMS = [
    TableConfig(),
    TableConfig(separator=",", header=False, line_end="\n"),
    TableConfig(byte_order_mark=True, header=True),
    TableConfig(final_line_end=False, chunked=True),
    TableConfig(final_line_end=False, last_ascending=True),
    TableConfig(content_type="application/octet-stream"),
]


@pytest.mark.parametrize("form", FORMS)
async def test_pages(
    meter: MeterClient, server: MeterServer, form: TableConfig
) -> None:
    """Newest records and ranges come in the order of the index, in all forms."""
    server.meter.tables = form
    newest = server.meter.newest_index
    page = await meter.newest_records(20)
    assert page.records == expected(server.meter, newest - 19, newest)
    page = await meter.records(5, 30)
    assert page.records == expected(server.meter, 5, 30)
    assert page.whole
    assert not page.rejected


async def test_page_without_records(meter: MeterClient, server: MeterServer) -> None:
    """A range after the newest record gives an empty page, no error."""
    newest = server.meter.newest_index
    page = await meter.records(newest + 1, newest + 10)
    assert page.records == ()
    assert page.whole


async def test_page_in_a_slow_line(meter: MeterClient, server: MeterServer) -> None:
    """After a connection lost in mid-line the whole lines before it stay."""
    server.faults.set(faults.CutLine(records=25), path="/data/")
    page = await meter.records(20, 40)
    assert page.records == expected(server.meter, 20, 24)
    assert not page.whole
    server.faults.clear()
    rest = await meter.records(page.records[-1].index + 1, 40)
    assert page.records + rest.records == expected(server.meter, 20, 40)


async def test_slow_page(
    meter: MeterClient, server: MeterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records received within the time limit are kept."""
    monkeypatch.setattr(client_module, "PAGE_LIMIT", 0.5)
    server.faults.set(faults.SlowLine(bytes_per_second=4000), path="/data/")
    page = await meter.records(1, 900)
    assert not page.whole
    count = len(page.records)
    assert 0 < count < 900
    assert page.records == expected(server.meter, 1, count)


async def test_line_that_is_no_record(meter: MeterClient, server: MeterServer) -> None:
    """A damaged line is reported, the others are read."""
    server.faults.set(faults.BrokenLine(columns=20, records=25), path="/data/")
    page = await meter.records(20, 30)
    assert [record.index for record in page.records] == [*range(20, 25), *range(26, 31)]
    assert [line.reason for line in page.rejected] == ["20 columns instead of 28"]


@pytest.mark.parametrize(
    "fault", [faults.ConnectionReset(), faults.CloseWithoutAnswer(), faults.Silent()]
)
async def test_no_answer(
    meter: MeterClient,
    server: MeterServer,
    monkeypatch: pytest.MonkeyPatch,
    fault: faults.Fault,
) -> None:
    """A silent logger is unreachable."""
    monkeypatch.setattr(client_module, "FIRST_BYTE_LIMIT", 0.3)
    server.faults.set(fault, path="/data/")
    with pytest.raises(MeterUnreachable):
        await meter.newest_records(1)
    await meter.readings()


async def test_password(meter: MeterClient, server: MeterServer) -> None:
    """The logger is protected like the rest."""
    server.meter.password = "secret"
    with pytest.raises(MeterUnauthorized):
        await meter.newest_records(1)


async def test_meter_without_logger(
    socket_enabled: None, config: MeterConfig, clock: ManualClock
) -> None:
    """A meter without a data logger says so."""
    config = replace(config, logger=None)
    async with (
        MeterServer(Meter(config, clock)) as server,
        aiohttp.ClientSession() as session,
    ):
        with pytest.raises(MeterUnsupported):
            await MeterClient(session, server.host, server.port).newest_records(1)


async def test_live_polls_go_between_pages(
    meter: MeterClient, server: MeterServer
) -> None:
    """On a meter with one connection a poll waits for at most one page."""
    server.connections = 1
    pages = [meter.records(1 + 90 * i, 90 + 90 * i) for i in range(6)]
    tasks = [asyncio.create_task(page) for page in pages[:2]]
    tasks.append(asyncio.create_task(meter.readings()))  # type: ignore[arg-type]
    tasks += [asyncio.create_task(page) for page in pages[2:]]
    await asyncio.gather(*tasks)
    paths = [request.path.partition("?")[0] for request in server.requests]
    assert paths == ["/data/", "/meterdata.json"] + ["/data/"] * 5
    assert server.refused_connections == 0


async def test_whole_logger(meter: MeterClient, server: MeterServer) -> None:
    """Pages of ten days have all records of the meter's ten days."""
    newest = server.meter.newest_index
    records: list[Record] = []
    while not records or records[-1].index < newest:
        first = records[-1].index + 1 if records else 1
        records += (await meter.records(first, first + 95)).records
    assert len(records) == newest == 10 * 96
    assert records[-1].at == NOON.timestamp()
    assert records[0].at == (NOON - timedelta(days=10)).timestamp() + 900


async def test_live_poll_ends_a_long_page(
    meter: MeterClient, server: MeterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may take as long as bytes keep coming, unless a live poll waits."""
    monkeypatch.setattr(client_module, "LIVE_WAIT", 0.3)
    monkeypatch.setattr(client_module, "STALL_LIMIT", 5)
    server.faults.set(faults.SlowLine(bytes_per_second=20_000), path="/data/")
    page = await meter.records(1, 100)
    assert page.whole
    assert page.timing
    assert page.timing.whole > 0.3
    slow = asyncio.create_task(meter.records(1, 900))
    await server.received(2)
    await meter.readings()
    page = await slow
    assert not page.whole
    assert 0 < len(page.records) < 900
    assert page.records == expected(server.meter, 1, len(page.records))
    assert meter.waited > 0.2


async def test_first_byte_of_a_real_meter(
    meter: MeterClient, server: MeterServer
) -> None:
    """What begins after twice the 10 to 20 s of real meters is read."""
    server.latency = Latency(40, 40)
    assert (await meter.newest_records(1)).whole
    server.latency = Latency(60, 60)
    with pytest.raises(MeterUnreachable):
        await meter.newest_records(1)


@pytest.mark.parametrize(
    ("bytes_per_second", "records"), [(1000, 300), (100, 300), (4000, 3000)]
)
async def test_patience_of_a_live_poll(
    meter: MeterClient, server: MeterServer, bytes_per_second: int, records: int
) -> None:
    """A poll waits for whole pages of 15 s, and for others no longer than 25 s."""
    loop = asyncio.get_running_loop()
    server.faults.set(faults.SlowLine(bytes_per_second), path="/data/")
    pages = [
        asyncio.create_task(meter.records(1, count))
        for count in (15 * bytes_per_second // 200, records)
    ]
    # The second page begins before the second poll, which waits for it.
    for requests, page, is_whole in zip((1, 3), pages, (True, False), strict=True):
        await server.received(requests)
        begin = loop.time()
        await meter.readings()
        assert loop.time() - begin < 25
        assert (await page).whole == is_whole


@pytest.mark.parametrize(("pause", "least", "most"), [(10, 400, 900), (30, 0, 60)])
async def test_patience_with_a_page(
    meter: MeterClient, server: MeterServer, pause: int, least: int, most: int
) -> None:
    """A page that nobody waits for may pause for 10 s and take minutes."""
    loop = asyncio.get_running_loop()
    server.faults.set(faults.Drip(pause), path="/data/")
    begin = loop.time()
    with pytest.raises(MeterUnreachable):
        await meter.records(1, 900)
    assert least <= loop.time() - begin <= most


@pytest.mark.parametrize("body", [b"a\n" * 2_000_000, b"x" * 4_000_000])
async def test_no_more_than_was_asked_for(
    meter: MeterClient, server: MeterServer, body: bytes
) -> None:
    """Megabytes of short lines cost neither memory nor time."""
    server.faults.set(faults.Body(body), path="/data/")
    tracemalloc.start()
    with pytest.raises(MeterUnexpectedAnswer, match="more than was asked for"):
        await meter.records(1, 3000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The simulated meter's own copies included.
    assert peak < 20_000_000


async def test_records_that_were_not_asked_for(
    meter: MeterClient, server: MeterServer
) -> None:
    """A record with an unrequested index is rejected; the nearest one is none either."""
    server.faults.set(faults.ReplacedField(2, "4000000000", records=7), path="/data/")
    page = await meter.records(5, 9)
    assert [record.index for record in page.records] == [5, 6, 8, 9]
    assert [line.reason for line in page.rejected] == ["index not asked for"]
    server.faults.clear()
    server.meter.tables = TableConfig(beyond=BeyondTheEnds.CLAMPED)
    page = await meter.records(100_000, 100_010)
    assert not page.records
    assert not page.rejected


@pytest.mark.parametrize(
    ("came", "damaged", "read"),
    [
        ([9, 8, 7, 6, 5], {}, [5, 6, 7, 8, 9]),
        ([7, 8, 9, 5, 6], {}, [5, 6, 7, 8, 9]),
        ([6, 5, 9, 8, 7], {}, [5, 6, 7, 8, 9]),
        ([5, 6, 5, 6, 7], {}, [5, 6, 7]),
        ([5, 6, 8, 7, 9], {}, [5, 6, 7, 8, 9]),
        ([5, 6, 7, 8, 9], {7: 9}, [5, 6, 8, 9]),
        ([5, 6, 7, 8, 9], {7: 6}, [5, 6, 8, 9]),
        ([9, 8, 7, 6, 5], {7: 5}, [5, 6, 8, 9]),
        ([5, 6, 7, 8, 9], {9: 5}, [5, 6, 7, 8]),
        ([5, 6, 7, 8, 9], {5: 9}, [6, 7, 8, 9]),
        ([5, 9], {9: 5}, []),
    ],
)
async def test_order_of_records(
    meter: MeterClient,
    server: MeterServer,
    came: list[int],
    damaged: dict[int, int],
    read: list[int],
) -> None:
    """A ring may begin anywhere, and no record comes twice; no index is guessed."""
    lines = {}
    for index in range(5, 10):
        page = server.meter.data({"from": str(index), "to": str(index)})
        assert page
        at, _, rest = page.splitlines()[-1].split(b";", 2)
        lines[index] = b"%b;%d;%b" % (at, damaged.get(index, index), rest)
    body = b"\n".join(lines[index] for index in came) + b"\n"
    server.faults.set(faults.Body(body), path="/data/")
    try:
        page_read = await meter.records(5, 9)
    except MeterUnreadable as err:
        page_read = err.page
    found = [
        record for index in read for record in expected(server.meter, index, index)
    ]
    assert page_read.records == tuple(found)
    refused = len(came) - len(read) if damaged else 0
    assert len(page_read.rejected) == refused
