"""Reading stretches of the logger over real sockets."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import override

import aiohttp
from aiohttp import web
import pytest

from custom_components.emu_professional.backfill import history_pages
from custom_components.emu_professional.backfill.logger_reader import LoggerReader
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import (
    MeterUnexpectedAnswer,
    MeterUnreachable,
)
from custom_components.emu_professional.emu.logs import Page, Record
from custom_components.emu_professional.emu.pace import FIRST_PAGE, Pace
from custom_components.emu_professional.emu.request_queue import Priority
from simulator import faults
from simulator.web import MeterServer
from tests.conftest import EMPTY_LOGGER, SERIAL_NUMBER

from .house import LONG_AGO, NOW

BEGIN = int(LONG_AGO.timestamp())
END = int(NOW.timestamp())
FOR_EVER = 1 << 40


@pytest.fixture
def installed() -> datetime:
    """Return since when the meter has logged: some pages."""
    return LONG_AGO


@pytest.fixture
async def client(server: MeterServer) -> AsyncGenerator[MeterClient]:
    """Return a client of the simulated meter."""
    async with aiohttp.ClientSession() as session:
        yield MeterClient(session, server.host, server.port)


@pytest.fixture
def reader(client: MeterClient) -> LoggerReader:
    """Return a reader of the simulated meter's logger."""
    return LoggerReader(client)


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


async def test_stretch_ends_where_it_should(
    reader: LoggerReader, server: MeterServer
) -> None:
    """Not much more is read than what ends before a time."""
    for first in (100, 250):
        last = await indices(reader, first, BEGIN + 900 * 360)
        assert last[0] == first
        assert 360 <= last[-1] < 360 + FIRST_PAGE
    record = await reader.record(100)
    assert record
    server.requests.clear()
    assert (await indices(reader, 100, BEGIN + 900 * 110))[-1] < 120


async def test_begin_of_a_part_is_not_requested_again(
    reader: LoggerReader, server: MeterServer
) -> None:
    """An older part ends with it, however much was read in between."""
    last = (await newest(reader)).index
    for first in (400, 200):
        assert [page async for page in reader.pages(first, last)]
    server.requests.clear()
    end = BEGIN + 900 * 440
    again = [r.index async for p in reader.pages(400, last, end) for r in p.records]
    assert again[0] == 400
    assert again[-1] < 400 + FIRST_PAGE
    assert not server.requests


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


@pytest.mark.parametrize("half_a_line", [False, True])
async def test_what_was_asked_for_is_not_taken_for_what_has_come(
    reader: LoggerReader, server: MeterServer, half_a_line: bool
) -> None:
    """Answers that end early without a word cost requests, and no record."""
    last = (await newest(reader)).index
    server.faults.set(faults.SilentCut(50, half_a_line), path="/data/")
    found = [
        record.index
        async for page in reader.pages(1, last, FOR_EVER)
        for record in page.records
    ]
    assert found == list(range(1, last + 1))
    assert not [r async for page in reader.pages(1, 99) for r in page.rejected]


@pytest.mark.parametrize(
    "line", [b"<p>Internal error</p>", b"2060-09-06T09:40:00+00:00;1;0;22350001"]
)
async def test_lines_instead_of_the_rest(
    reader: LoggerReader, server: MeterServer, line: bytes
) -> None:
    """Whatever stands there in place of records, they are asked for and counted once."""
    last = (await newest(reader)).index
    cut = faults.TruncatedTable(range(60, 70), b"\n" + b"\n".join([line] * 30))
    server.faults.set(cut, path="/data/", times=1)
    read = [page async for page in reader.pages(1, last)]
    found = [record.index for page in read for record in page.records]
    assert found == list(range(1, last + 1))


async def test_nothing_may_have_been_cut(
    reader: LoggerReader, server: MeterServer
) -> None:
    """An empty answer without a length is no sign that there is no record."""
    server.faults.set(faults.SilentCut(0), path="/data/", times=1)
    assert await reader.record(1)
    server.faults.set(faults.SilentCut(0), path="/data/", times=1)
    record = await reader.record(0)
    assert record
    assert record.index == 1


@pytest.mark.parametrize("times", [1, 2, 3, 4, 8, 12])
@pytest.mark.parametrize("older", [0, 100])
async def test_empty_answers_of_a_busy_meter(
    reader: LoggerReader, server: MeterServer, times: int, older: int
) -> None:
    """They are no hole: all records come, also those of an older part."""
    last = (await newest(reader)).index - older
    server.faults.set(EMPTY_LOGGER, path="/data/", times=times)
    server.requests.clear()
    read = [page async for page in reader.pages(20, last)]
    assert [r.index for page in read for r in page.records] == [*range(20, last + 1)]
    assert not [line for page in read for line in page.rejected]
    assert len(server.requests) < 50


@pytest.mark.parametrize("times", [1, 2, 3, 4, 8])
async def test_empty_answers_in_a_search(
    reader: LoggerReader, server: MeterServer, times: int
) -> None:
    """The logger does not begin with the first record after them."""
    record = await newest(reader)
    server.faults.set(EMPTY_LOGGER, path="/data/", times=times)
    assert await reader.first_after(BEGIN + 900 * 100, record) == 101
    assert await reader.first_after(0, record) == 1


@pytest.mark.parametrize("older", [0, 100])
async def test_meter_that_answers_nothing_any_more(
    reader: LoggerReader, server: MeterServer, older: int
) -> None:
    """Reading does not end as if the rest of the records did not exist."""
    last = (await newest(reader)).index - older
    server.faults.set(EMPTY_LOGGER, path="/data/")
    server.requests.clear()
    with pytest.raises(MeterUnexpectedAnswer, match="empty"):
        assert [page async for page in reader.pages(20, last)]
    assert len(server.requests) < 30


@pytest.mark.parametrize("is_nothing", [False, True])
@pytest.mark.parametrize(
    ("hole", "last"), [((200, 300), 400), ((200, 300), 250), ((200, 300), 299)]
)
async def test_hole_between_records(
    reader: LoggerReader,
    is_nothing: bool,
    hole: tuple[int, int],
    last: int,
) -> None:
    """It is passed with few requests, also if the part to be read ends in it."""
    await newest(reader)
    ask = reader._ask
    absent = range(*hole)
    count: list[int] = []

    async def ask_with_hole(first: int, end: int, priority: Priority) -> Page:
        count.append(first)
        page = await ask(first, end, priority)
        found = tuple(r for r in page.records if r.index not in absent)
        # Some meters may answer with nothing if they lack a part of the range.
        is_partial = is_nothing and len(found) < len(page.records)
        return replace(page, records=() if is_partial else found)

    reader._ask = ask_with_hole
    came = [r.index async for page in reader.pages(150, last) for r in page.records]
    assert came == [i for i in range(150, last + 1) if i not in absent]
    assert len(count) < (46 if is_nothing else 15)


async def test_answer_that_is_no_table_is_an_error(
    reader: LoggerReader, server: MeterServer
) -> None:
    """HTML with status 200 is no empty logger; a header alone is one."""
    last = (await newest(reader)).index
    html = faults.Body(b"<html>\n<body>Please wait, restarting;</body></html>")
    server.faults.set(html, path="/data/")
    for work in (reader.newest(), reader.record(7), indices(reader, 1)):
        with pytest.raises(MeterUnexpectedAnswer):
            await work
    with pytest.raises(MeterUnexpectedAnswer):
        assert [page async for page in reader.pages(1, last)]
    server.faults.clear()
    server.faults.set(faults.BrokenLine(20, faults.EVERY_RECORD), path="/data/")
    with pytest.raises(MeterUnexpectedAnswer):
        await reader.newest()
    server.faults.clear()
    server.faults.set(EMPTY_LOGGER, path="/data/")
    assert await reader.newest() is None


async def test_damaged_lines_at_the_end_hide_nothing(
    reader: LoggerReader, server: MeterServer
) -> None:
    """The newest record that can be read is found, and damaged stretches are passed."""
    last = (await newest(reader)).index
    damaged = range(last - 9, last + 1)
    server.faults.set(faults.BrokenLine(20, damaged), path="/data/")
    assert (await newest(reader)).index == last - 10
    read = [page async for page in reader.pages(last - 60, last)]
    assert sum(len(page.rejected) for page in read) == len(damaged)
    assert read[-1].rejected or read[0].rejected


@pytest.mark.parametrize("damaged", [[20], [1, 2], range(30, 34), [7, 25]])
async def test_lines_damaged_on_their_way(
    reader: LoggerReader, server: MeterServer, damaged: Sequence[int]
) -> None:
    """The meter has them as they were: a second request brings them."""
    last = (await newest(reader)).index
    server.faults.set(faults.BrokenLine(20, damaged), path="/data/", times=1)
    read = [page async for page in reader.pages(1, last)]
    assert not [line for page in read for line in page.rejected]
    found = [record.index for page in read for record in page.records]
    assert found == list(range(1, last + 1))


async def test_only_line_of_a_page_damaged_on_its_way(
    reader: LoggerReader, server: MeterServer
) -> None:
    """It is requested again as well."""
    await newest(reader)
    server.faults.set(faults.BrokenLine(20), path="/data/", times=1)
    (page,) = [page async for page in reader.pages(200, 200)]
    assert [record.index for record in page.records] == [200]
    assert not page.rejected


@pytest.mark.parametrize("missing", [[7], range(30, 34), range(80, 90)])
async def test_lines_lost_on_their_way(
    reader: LoggerReader, server: MeterServer, missing: Sequence[int]
) -> None:
    """A whole answer without them proves nothing if the meter has them."""
    last = (await newest(reader)).index
    server.faults.set(faults.MissingLine(missing), path="/data/", times=1)
    assert await indices(reader, 1) == list(range(1, last + 1))


async def test_damaged_line_in_a_page_with_the_begin_of_the_logger(
    reader: LoggerReader, server: MeterServer
) -> None:
    """Indices before the logger's first one are not missing."""
    last = (await newest(reader)).index
    server.faults.set(faults.BrokenLine(20, 40), path="/data/", times=1)
    found = [r.index async for page in reader.pages(0, last) for r in page.records]
    assert found == list(range(1, last + 1))


@pytest.mark.parametrize("damaged", [250, range(250, 252)])
@pytest.mark.parametrize("stamp", ["-", "5-30T10:15:00Z"])
async def test_stored_line_without_a_stamp(
    reader: LoggerReader, server: MeterServer, stamp: str, damaged: int | range
) -> None:
    """It costs its record only, also as the only line or the last one of an answer."""
    last = (await newest(reader)).index
    damaged_ones = [damaged] if isinstance(damaged, int) else damaged
    server.faults.set(faults.ReplacedField(1, stamp, damaged_ones), path="/data/")
    for end in (last, damaged_ones[-1]):
        server.requests.clear()
        found = [r.index async for page in reader.pages(1, end) for r in page.records]
        assert found == [i for i in range(1, end + 1) if i not in damaged_ones]
        assert len(server.requests) < 15


async def test_meter_that_has_no_memory_for_large_pages(
    client: MeterClient, server: MeterServer
) -> None:
    """A page that does not come is requested again with fewer records."""

    @dataclass(frozen=True)
    class TooLarge(faults.Fault):
        @override
        async def answer(
            self, request: web.Request, respond: faults.Respond
        ) -> web.StreamResponse:
            query = request.query
            if "from" in query and int(query["to"]) - int(query["from"]) >= 150:
                return await faults.Status(503).answer(request, respond)
            return await respond()

    server.faults.set(TooLarge(), path="/data/")
    for _ in range(3):
        reader = LoggerReader(client)
        last = (await newest(reader)).index
        assert await indices(reader, 1) == list(range(1, last + 1))


async def test_damaged_lines_that_stay(
    client: MeterClient, reader: LoggerReader, server: MeterServer
) -> None:
    """They are not requested again for ever."""
    last = (await newest(reader)).index
    damaged = range(10, last, 20)
    requests = []
    for fault in ((), damaged):
        server.faults.set(faults.BrokenLine(20, fault), path="/data/")
        server.requests.clear()
        read = [page async for page in LoggerReader(client).pages(1, last)]
        assert sum(len(page.rejected) for page in read) == len(fault)
        requests.append(len(server.requests))
    assert requests[1] <= requests[0] + 3


async def test_index_that_jumps(reader: LoggerReader, server: MeterServer) -> None:
    """Billions of indices without a record cost some tens of requests."""
    last = (await newest(reader)).index
    jump = 4_000_000_000

    async def ask(first: int, end: int, priority: Priority) -> Page:
        """Return records of a logger whose index jumps after half of them."""
        begin = first - jump if first > jump else first
        if begin > last // 2 and first < jump + last // 2:
            begin = last // 2 + 1
        stop = end - jump if end > jump else min(end, last // 2)
        count.append((first, end))
        if begin > stop:
            return Page((), (), whole=True)
        page = await client.records(begin, stop)
        moved = tuple(
            replace(r, index=r.index + jump) if r.index > last // 2 else r
            for r in page.records
            if first <= r.index + jump * (r.index > last // 2) <= end
        )
        return replace(page, records=moved)

    count: list[tuple[int, int]] = []
    async with aiohttp.ClientSession() as session:
        client = MeterClient(session, server.host, server.port)
        jumping = LoggerReader(client)
        jumping._ask = ask
        found = [
            record.index
            async for page in jumping.pages(1, last + jump)
            for record in page.records
        ]
    half = last // 2
    assert found == [*range(1, half + 1), *range(jump + half + 1, jump + last + 1)]
    assert len(count) < 60


async def test_records_without_end(
    reader: LoggerReader, server: MeterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table of billions of records, of which one comes at a time, is given up."""

    class One(faults.Fault):
        @override
        async def answer(
            self, request: web.Request, respond: faults.Respond
        ) -> web.StreamResponse:
            index = request.query.get("from", "4000000000")
            line = f"2026-05-20T10:00:00Z;{index};0;{SERIAL_NUMBER}{';1' * 24}\n"
            return web.Response(text=line, content_type="text/csv")

    server.faults.set(One(), path="/data/")
    last = (await newest(reader)).index
    monkeypatch.setattr(history_pages, "_MOST_PAGES", 50)
    with pytest.raises(MeterUnexpectedAnswer, match="no end"):
        assert [page async for page in reader.pages(0, last)]
    assert len(server.requests) < 60


async def test_damaged_newest_index(reader: LoggerReader, server: MeterServer) -> None:
    """A newest record whose index stands alone is not believed."""
    last = (await newest(reader)).index
    server.faults.set(
        faults.ReplacedField(2, "4000000000", records=last), path="/data/"
    )
    assert (await newest(reader)).index == last - 1


async def test_stamps_that_run_back_to_1970(
    reader: LoggerReader, server: MeterServer
) -> None:
    """What a clock without time has stamped is passed by bisecting."""
    record = await newest(reader)
    back = range(120, 400)
    server.faults.set(faults.ShiftedStamp(30 * 86_400 - END, back), path="/data/")
    server.requests.clear()
    reader._pace = Pace(most=24)
    read = [page async for page in reader.pages(1, record.index)]
    came = [r.index for page in read for r in page.records if r.at > BEGIN - 900]
    assert {*range(1, 120), *range(400, record.index + 1)} <= set(came)
    assert sum(len(page.records) for page in read) < record.index - 50
    assert history_pages.FAR_IN_THE_PAST in [r.reason for p in read for r in p.rejected]
    assert len(server.requests) < 25


def lose_time(reader: LoggerReader, stretches: list[range]) -> list[int]:
    """Let the clock begin in 1970 in each stretch; return where requests began."""
    ask = reader._ask
    requests: list[int] = []

    def wrong(record: Record) -> Record:
        for stretch in stretches:
            if record.index in stretch:
                return replace(record, at=900 * (record.index - stretch.start))
        return record

    async def ask_without_time(first: int, last: int, priority: Priority) -> Page:
        requests.append(first)
        page = await ask(first, last, priority)
        return replace(page, records=tuple(map(wrong, page.records)))

    reader._ask = ask_without_time
    return requests


@pytest.mark.parametrize(
    "stretches",
    [
        [range(100, 200), range(300, 400)],
        [range(60, 100), range(240, 460)],
        [range(60, 250), range(250, 460)],
        [range(60, 160), range(170, 270), range(280, 380)],
    ],
)
async def test_clock_that_was_unset_more_than_once(
    reader: LoggerReader, stretches: list[range]
) -> None:
    """What was logged between two such stretches is read."""
    last = (await newest(reader)).index
    requests = lose_time(reader, stretches)
    reader._pace = Pace(most=24)
    came = {r.index async for page in reader.pages(1, last) for r in page.records}
    absent = {index for stretch in stretches for index in stretch}
    assert set(range(1, last + 1)) - absent <= came
    assert len(requests) < 60


@pytest.mark.parametrize(
    ("stretch", "target", "first"),
    [
        # The target is before, in, and after the stretch.
        (range(300, 400), 250, 251),
        (range(300, 400), 350, 300),
        (range(300, 400), 420, 421),
        (range(100, 470), 50, 51),
        # Where nothing right is older, the logger begins with its first right record.
        (range(1, 100), -5000, 100),
        (range(1, 100), 50, 100),
        (range(1, 2), -5000, 2),
        (range(1, 100), 110, 111),
    ],
)
async def test_search_past_a_clock_without_time(
    reader: LoggerReader, stretch: range, target: int, first: int
) -> None:
    """No right record after the time is passed; an earlier one does no harm."""
    record = await newest(reader)
    requests = lose_time(reader, [stretch])
    assert await reader.first_after(BEGIN + 900 * target, record) == first
    assert len(requests) < 30


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
