"""Reading stretches of the logger over real sockets."""

from collections.abc import AsyncGenerator

import aiohttp
import pytest

from custom_components.emu_professional.backfill import pages
from custom_components.emu_professional.backfill.pages import LoggerReader
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import (
    MeterUnexpectedAnswer,
    MeterUnreachable,
)
from custom_components.emu_professional.emu.logs import Record
from simulator import faults
from simulator.web import MeterServer

from .house import INSTALLED, NOW

BEGIN = int(INSTALLED.timestamp())
END = int(NOW.timestamp())
FOR_EVER = 1 << 40


@pytest.fixture
async def reader(server: MeterServer) -> AsyncGenerator[LoggerReader]:
    """Return a reader of the simulated meter's logger."""
    async with aiohttp.ClientSession() as session:
        yield LoggerReader(MeterClient(session, server.host, server.port))


async def newest(reader: LoggerReader) -> Record:
    """Return the newest record."""
    record = await reader.newest()
    assert record
    return record


async def indices(reader: LoggerReader, first: int, until: int = FOR_EVER) -> list[int]:
    """Return the indices of the records of a stretch."""
    last = (await newest(reader)).index
    return [
        record.index
        async for page in reader.pages(first, last, until)
        for record in page.records
    ]


async def test_whole_logger(reader: LoggerReader) -> None:
    """Every record comes once, in order."""
    last = (await newest(reader)).index
    assert await indices(reader, 0) == list(range(1, last + 1))


async def test_first_after(reader: LoggerReader) -> None:
    """A time is found with few questions."""
    record = await newest(reader)
    assert await reader.first_after(0, record) == 1
    assert await reader.first_after(BEGIN + 900 * 100, record) == 101
    assert await reader.first_after(END, record) == record.index + 1


async def test_stretch_ends_where_it_should(reader: LoggerReader) -> None:
    """A short stretch costs one page of usual size, a longer one no more than it has."""
    read = await indices(reader, 100, BEGIN + 900 * 110)
    assert read[0] == 100
    assert len(read) == pages._FIRST_PAGE
    read = await indices(reader, 100, BEGIN + 900 * 250)
    assert read[-1] == 251


async def test_pages_grow_with_a_quick_meter(
    reader: LoggerReader, server: MeterServer
) -> None:
    """A quick meter is asked for more at a time."""
    await indices(reader, 1)
    sizes = [
        int(request.path.rpartition("to=")[2])
        - int(request.path.split("from=")[1].split("&")[0])
        for request in server.requests
        if "from=" in request.path
    ]
    assert sizes[1] > sizes[0]


async def test_slow_meter_gets_small_pages(
    reader: LoggerReader, server: MeterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Live polls wait for no longer than a page should take."""
    monkeypatch.setattr(pages, "_PAGE_TIME", 0.001)
    server.faults.set(faults.Slow(0.05), path="/data/")
    await indices(reader, 200)
    assert reader._size == pages._SMALLEST_PAGE


async def test_cut_page_is_gone_on_with(
    reader: LoggerReader, server: MeterServer
) -> None:
    """What came is kept, what is missing is asked for."""
    last = (await newest(reader)).index
    server.faults.set(faults.CutLine(records=50), path="/data/", times=1)
    pages_read = [page async for page in reader.pages(1, last, FOR_EVER)]
    assert [page.whole for page in pages_read[:2]] == [False, True]
    found = [record.index for page in pages_read for record in page.records]
    assert found == list(range(1, last + 1))


async def test_patience_ends(reader: LoggerReader, server: MeterServer) -> None:
    """A meter that stays away is given up."""
    server.faults.set(faults.ConnectionReset(), path="/data/", times=2)
    await newest(reader)
    server.faults.set(faults.ConnectionReset(), path="/data/")
    with pytest.raises(MeterUnreachable):
        await reader.newest()
    server.faults.clear()
    server.faults.set(faults.Status(500), path="/data/")
    with pytest.raises(MeterUnexpectedAnswer):
        await reader.newest()


async def test_record_that_cannot_be_read(
    reader: LoggerReader, server: MeterServer
) -> None:
    """The next one stands for it; beyond both ends there is none."""
    server.faults.set(faults.BrokenLine(20, records=100), path="/data/")
    record = await reader.record(100)
    assert record
    assert record.index == 101
    assert await reader.record(-1) is None
    assert await reader.record(100_000) is None
    assert await reader.first_after(BEGIN + 900 * 99, await newest(reader)) in (
        100,
        101,
    )
