"""The CSV tables: their pages, and reading page by page at a real socket."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import aiohttp
from aiohttp import web

from custom_components.emu_professional.backfill import history_pages
from custom_components.emu_professional.backfill.logger_reader import LoggerReader
from custom_components.emu_professional.emu import new_records
from custom_components.emu_professional.emu.answers import PageBytes, Wanted, parse_page
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import MeterUnexpectedAnswer
from custom_components.emu_professional.emu.events import LogPosition, new_events
from custom_components.emu_professional.emu.logs import Page
from custom_components.emu_professional.emu.new_records import read_logbook
from custom_components.emu_professional.emu.table_reader import (
    LogbookReader,
    RecordReader,
)
from custom_components.emu_professional.record_data import (
    local_time,
    logbook_record_data,
)

from . import samples
from .documents import DOCUMENTED
from .mutations import damaged, pieces
from .target import Bounds, Target

_MOST_PAGES: Final = 40
"""After which a case stops to read: a table may be as long as it likes."""
_IN_VAIN: Final = 150
"""Requests that may bring nothing, among them those that look for a hole's end."""


class _Table(NamedTuple):
    pieces: list[bytes]
    most: int
    first: int | None


def _made(random: Random, tables: tuple[bytes, ...]) -> _Table:
    data = damaged(random, tables)
    most = random.choice((1, 3, 96, 3000))
    first = random.choice((None, 0, 1, 400, 2**32))
    return _Table(pieces(random, data), most, first)


def _page(given: _Table, reader: Any) -> Page[Any]:
    """Return what the client makes of an answer in pieces."""
    answer = PageBytes(given.most)
    answer.has_length = True
    for piece in given.pieces:
        answer.add(piece, 0)
    answer.is_whole = True
    indices = None
    if given.first is not None:
        indices = range(given.first, given.first + given.most)
    wanted = Wanted(given.most, indices)
    page: Page[Any] = parse_page(reader, answer, wanted)
    # Each line may be followed by an empty one, and each CR by an LF.
    lines = len(page.records) + len(page.rejected)
    assert lines <= 4 * given.most + 40, f"{lines} lines of {given.most}"
    assert all(len(line.text) <= 80 for line in page.rejected)
    return page


def _target(
    tables: Callable[[], tuple[bytes, ...]], read: Callable[[_Table], None]
) -> Target[_Table]:
    async def read_and_weigh(given: _Table) -> int:
        read(given)
        return sum(map(len, given.pieces))

    return Target(
        lambda random: _made(random, tables()),
        read_and_weigh,
        (MeterUnexpectedAnswer,),
        Bounds(0.5, 2, 6, 16),
    )


@asynccontextmanager
async def logger() -> AsyncGenerator[Target[_Table]]:
    """Read answers of the data logger."""

    def read(given: _Table) -> None:
        for record in _page(given, RecordReader()).records:
            assert 0 <= record.at <= 2**32
            assert 0 <= record.index < 10**10
            local_time(record.at)
            str(record.serial_number).encode()

    yield _target(samples.logger, read)


@asynccontextmanager
async def logbook() -> AsyncGenerator[Target[_Table]]:
    """Read answers of the logbook, and the events in them."""
    position = LogPosition()

    def read(given: _Table) -> None:
        page = _page(given, LogbookReader())
        for record in page.records:
            logbook_record_data(record)
        new_events(position, page.records, ())

    yield _target(samples.logbook, read)


class _Journey(NamedTuple):
    """A way to read a table of a meter whose answers may be damaged."""

    random: Random
    rate: float
    """How many of its answers are damaged."""
    jump: int
    """By how much its newest indices have jumped."""
    what: int
    form: int


def _journey(random: Random) -> _Journey:
    return _Journey(
        Random(random.random()),
        random.choice((0, 0.1, 0.5, 1)),
        random.choice((0, 0, 10_000, 4 * 10**9)),
        random.randrange(6),
        random.randrange(len(samples.FORMS)),
    )


class _Meter:
    """Answers from the simulated meter's tables, at times in a damaged form."""

    def __init__(self) -> None:
        self.meter = samples.meter()
        self.journey: _Journey | None = None
        self.requests = 0
        self.size = 0

    async def answer(self, request: web.BaseRequest) -> web.Response:
        journey = self.journey
        assert journey
        self.requests += 1
        self.meter.tables = samples.FORMS[journey.form]
        is_logger = request.path == "/data/"
        ask = self.meter.data if is_logger else self.meter.logbook_data
        body = ask(self._mapped(request, journey)) or b""
        if journey.jump:
            body = self._jumped(body, journey.jump)
        if journey.random.random() < journey.rate:
            tables = samples.logger() if is_logger else samples.logbook()
            body = damaged(journey.random, (body, body, body, *tables))
        self.size += len(body)
        return web.Response(body=body, content_type="text/csv")

    def _mapped(self, request: web.BaseRequest, journey: _Journey) -> dict[str, str]:
        query = dict(request.query)
        if journey.jump and "from" in query:
            first, last = int(query["from"]), int(query["to"])
            # Beyond the jump there is only the newest record.
            if last >= journey.jump:
                return {"from": str(max(first - journey.jump, 0)), "to": str(last)}
            return {"from": str(10**9), "to": str(10**9)}
        return query

    @staticmethod
    def _jumped(body: bytes, jump: int) -> bytes:
        lines = []
        for line in body.split(b"\n"):
            fields = line.split(b";")
            if len(fields) > 20 and fields[1].isdigit():
                fields[1] = b"%d" % (int(fields[1]) + jump)
            lines.append(b";".join(fields))
        return b"\n".join(lines)


@asynccontextmanager
async def pages() -> AsyncGenerator[Target[_Journey]]:
    """Read page by page: what is looked for, and with how many requests."""
    meter = _Meter()
    async with AsyncExitStack() as stack:
        stack.enter_context(
            patch.multiple(history_pages, _PATIENCE=(0,) * 4, _LONGEST_PAUSE=0)
        )
        stack.enter_context(patch.object(new_records, "_PAUSE", 0))
        runner = web.ServerRunner(web.Server(meter.answer, access_log=None))
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def read(given: _Journey) -> int:
            meter.journey, meter.requests, meter.size = given, 0, 0
            client = MeterClient(session, "127.0.0.1", port)
            try:
                useful = await _travel(client, given)
            except DOCUMENTED:
                useful = 0
            # A lost page is asked for five times, and an empty one twice.
            most = _IN_VAIN + 10 * (useful + 1)
            assert meter.requests <= most, f"{meter.requests} requests, {useful} pages"
            return meter.size

        yield Target(_journey, read, (), Bounds(1, 10, 16, 16))


async def _travel(client: MeterClient, given: _Journey) -> int:
    """Read in one of the ways in which it is done; return how many pages came."""
    at = int(samples.NOW.timestamp()) - given.random.choice((0, 3600, 300_000, 10**10))
    if given.what == 0:
        indices = [record.index for record in (await read_logbook(client)).records]
        assert indices == sorted(set(indices))
        return len(indices) // new_records.PAGE
    reader = LoggerReader(client)
    if (newest := await reader.newest()) is None:
        return 0
    match given.what:
        case 1:
            index = await reader.first_after(at, newest)
            assert 0 <= index <= newest.index + 1
        case 2:
            index = given.random.choice((0, 1, newest.index, newest.index // 2))
            await reader.record(index)
        case 3:
            return await _read_on(reader, await reader.first_after(at, newest), at)
        case _:
            first = given.random.choice((0, max(newest.index - 500, 0)))
            return await _read_on(reader, first, newest.index)
    return 0


async def _read_on(reader: LoggerReader, first: int, last: int) -> int:
    count = 0
    before = first - 1
    async for page in reader.pages(first, last):
        for record in page.records:
            assert before < record.index <= last, f"{record.index} after {before}"
            before = record.index
        count += 1
        if count == _MOST_PAGES:
            break
    return count
