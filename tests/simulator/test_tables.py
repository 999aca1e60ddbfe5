"""`/data/` prints what is asked for, in every way that the manual leaves open."""

import csv
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
import re
from typing import Any

import aiohttp
from hypothesis import given, strategies as st
import pytest

from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.history import PowerFailure
from simulator.logger import Record
from simulator.meter import Meter
from simulator.tables import (
    LOGGER_COLUMNS,
    BeyondTheEnds,
    NotANumber,
    OneSided,
    Selection,
    TableConfig,
    selection,
)
from simulator.web import MeterServer
from tests.conftest import COUNTED

from .conftest import MANUALS_FORM

NEWEST = 4000
NINE = int(datetime(2026, 6, 1, 9, tzinfo=UTC).timestamp())


def printed(record: Record) -> list[str]:
    """Return the fields of a line, as the manual's example shows them."""
    stamp = datetime.fromtimestamp(record.stamp, UTC).isoformat()
    return [stamp.replace("+00:00", "Z"), *map(str, record[1:])]


def rows(table: bytes, separator: str = ",") -> list[list[str]]:
    """Return the fields of each line."""
    return list(csv.reader(StringIO(table.decode()), delimiter=separator))


@pytest.fixture
def config(config: MeterConfig) -> MeterConfig:
    """Return a meter that has 4000 records in a ring of 3600."""
    return replace(
        config,
        installed=NINE - 60 * NEWEST,
        logger=replace(COUNTED, interval=1, depth=3600),
    )


@pytest.fixture
def clock() -> ManualClock:
    """Return the time of the newest record."""
    return ManualClock(NINE)


async def fetched(
    session: aiohttp.ClientSession, server: MeterServer, query: str = ""
) -> bytes:
    """Return the body of a right answer."""
    async with session.get(f"{server.url}data/{query}") as response:
        assert response.status == 200
        assert response.content_type == "text/csv"
        return await response.read()


@pytest.mark.parametrize(
    ("query", "first", "last", "step"),
    [
        ("", 1001, 4000, -1),
        ("?last=96", 3905, 4000, -1),
        ("?last=1", 4000, 4000, -1),
        ("?last=3000", 1001, 4000, -1),
        ("?last=3001", 1001, 4000, -1),
        ("?from=3955&to=3965", 3955, 3965, 1),
        ("?to=3965&from=3955", 3955, 3965, 1),
        ("?from=3965&to=3955", 3955, 3965, -1),
        ("?from=3955&to=3955", 3955, 3955, 1),
        ("?from=1&to=4000", 401, 3400, 1),
        ("?from=4000&to=1", 1001, 4000, -1),
        ("?from=1&to=401", 401, 401, 1),
        ("?from=00000000000000003999&to=4294967295", 3999, 4000, 1),
        ("?from=3999&to=4294967296", 3999, 4000, 1),
        ("?from=4294967296&to=410", 401, 410, 1),
        (f"?last={5 * '0123456789'}", 1001, 4000, -1),
        ("?from=3999&to=999999999", 3999, 4000, 1),
        ("?from=3990", 3990, 4000, 1),
        ("?from=500", 500, 3499, 1),
        ("?to=410", 401, 410, 1),
        ("?from=3990&to=4000&last=2", 3999, 4000, -1),
        ("?last=x&from=3990&to=4000", 3990, 4000, 1),
        ("?from=-5&to=4000", 401, 3400, 1),
        ("?from=x&to=y", 1001, 4000, -1),
        ("?last=", 1001, 4000, -1),
        ("?last=1e3", 1001, 4000, -1),
        ("?last=%D9%A3", 1001, 4000, -1),
        ("?other=7", 1001, 4000, -1),
    ],
)
async def test_answer_has_the_records_that_were_asked_for(
    server: MeterServer,
    session: aiohttp.ClientSession,
    query: str,
    first: int,
    last: int,
    step: int,
) -> None:
    """Answer has the records that were asked for, in the right order."""
    expected = [printed(record) for record in server.meter.records(first, last)][::step]
    assert len(expected) == last - first + 1
    assert rows(await fetched(session, server, query)) == expected


@pytest.mark.parametrize(
    "query", ["?last=0", "?from=4001", "?to=400", "?from=1&to=400"]
)
async def test_answer_may_have_no_record(
    server: MeterServer, session: aiohttp.ClientSession, query: str
) -> None:
    """Answer may have no record."""
    assert await fetched(session, server, query) == b""


async def test_line_is_the_manuals(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Line is the manual's."""
    table = await fetched(session, server, "?last=2")
    line = rb"2026-06-01T09:00:00Z,4000,0,22350001(,\d+){8}(,-?\d+){16}\r\n"
    assert re.match(line, table)
    assert table.count(b"\r\n") == 2
    assert table.endswith(b"\r\n")
    (fields, _) = rows(table)
    assert len(fields) == len(LOGGER_COLUMNS) == len(Record._fields) == 28


@pytest.mark.parametrize(
    ("changes", "pattern"),
    [
        ({"separator": ";"}, r"([^;,]+;){27}\d+\r\n([^;,]+;){27}\d+\r\n"),
        ({"line_end": "\n"}, r"[^\r\n]+\n[^\r\n]+\n"),
        ({"final_line_end": False}, r"[^\r\n]+\r\n[^\r\n]+"),
        ({"byte_order_mark": True}, r"\ufeff2026[^\ufeff]+"),
        ({"header": True}, r"Time stamp,Index,Status,.+,Frequency\r\n2026[\s\S]+"),
        (
            {"header": True, "byte_order_mark": True, "separator": ";"},
            r"\ufeffTime stamp;Index;Status;.+;Frequency\r\n2026[\s\S]+",
        ),
        ({"last_ascending": True}, r"2026-06-01T08:59[^\n]+\n2026-06-01T09:00.+\r\n"),
    ],
)
async def test_format_can_be_another(
    server: MeterServer,
    session: aiohttp.ClientSession,
    changes: dict[str, Any],
    pattern: str,
) -> None:
    """Format can be another."""
    server.meter.tables = replace(MANUALS_FORM, **changes)
    assert re.fullmatch(pattern, (await fetched(session, server, "?last=2")).decode())


async def test_default_is_what_real_meters_send(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """One header line with names of their own, semicolons, whole numbers."""
    server.meter.tables = TableConfig()
    header, *lines, rest = (await fetched(session, server, "?last=2")).split(b"\r\n")
    names = header.decode().split(";")
    assert names[:5] == [
        *("Timestamp", "Index", "Status", "Serial"),
        "Active Energy Import L123 T1 [Wh]",
    ]
    assert names[20:22] == ["Current N [mA]", "Voltage L1-N [1/10 V]"]
    assert names[-4:] == [
        *(f"Powerfactor L{phase} [1/100]" for phase in (1, 2, 3)),
        "Frequency [1/10 Hz]",
    ]
    assert [line.split(b";")[1] for line in lines] == [b"4000", b"3999"]
    assert all(re.fullmatch(rb"[-\d]+T[\d:]+Z(;-?\d+){27}", line) for line in lines)
    assert not rest


@pytest.mark.parametrize("chunked", [True, False])
async def test_answer_may_not_say_how_long_it_is(
    server: MeterServer, session: aiohttp.ClientSession, chunked: bool
) -> None:
    """Answer may not say how long it is."""
    server.meter.tables = replace(
        MANUALS_FORM, chunked=chunked, content_type="text/plain"
    )
    async with session.get(server.url + "data/") as response:
        assert response.content_type == "text/plain"
        assert ("Content-Length" in response.headers) is not chunked
        assert response.headers.get("Transfer-Encoding") == (
            "chunked" if chunked else None
        )
        assert len(rows(await response.read())) == 3000


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("status", [200, 404])
async def test_logger_may_be_empty(
    server: MeterServer,
    session: aiohttp.ClientSession,
    clock: ManualClock,
    status: int,
    header: bool,
) -> None:
    """Logger may be empty."""
    server.meter.tables = replace(
        MANUALS_FORM, empty_status=status, header=header, beyond=BeyondTheEnds.CLAMPED
    )
    clock.set(NINE - 60 * NEWEST)
    for query in ("", "?last=5", "?from=1&to=5", "?from=1", "?to=5"):
        async with session.get(f"{server.url}data/{query}") as response:
            assert response.status == status
            body = await response.read()
        assert len(rows(body)) == (header and status == 200)


@pytest.mark.parametrize("status", [404, 200, 500])
async def test_meter_without_logger_has_no_table(
    session: aiohttp.ClientSession, clock: ManualClock, status: int
) -> None:
    """Meter without logger has no table."""
    config = MeterConfig(logger=None, tables=TableConfig(missing_status=status))
    async with (
        MeterServer(Meter(config, clock)) as server,
        session.get(server.url + "data/") as response,
    ):
        assert response.status == status
        assert await response.read() == b""


async def test_garbage_may_be_refused(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Garbage may be refused."""
    server.meter.tables = TableConfig(garbage_status=400)
    for query in ("last=x", "from=1&to=", "from=1&to=9999999999", "to=-1"):
        async with session.get(f"{server.url}data/?{query}") as response:
            assert response.status == 400


async def test_table_is_protected(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Table is protected."""
    server.meter.password = "secret"
    async with session.get(server.url + "data/") as response:
        assert response.status == 401


async def test_meter_without_power_does_not_answer(
    server: MeterServer, session: aiohttp.ClientSession, clock: ManualClock
) -> None:
    """Meter without power does not answer, old connections neither."""
    server.meter.happens(PowerFailure(NINE + 600, NINE + 1200))
    await fetched(session, server, "?last=1")
    clock.set(NINE + 599)
    await fetched(session, server, "?last=1")
    seen = len(server.requests)
    clock.set(NINE + 600)
    for path in ("data/", "status.json", ""):
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(server.url + path)
    assert len(server.requests) == seen
    assert server.refused_connections > 0
    clock.set(NINE + 1200)
    assert (
        rows(await fetched(session, server, "?last=2"))[0][0] == "2026-06-01T09:10:00Z"
    )


indices = st.integers(0, 80)
numbers = indices.map(str) | st.sampled_from(
    ["", "x", "-3", "12345678901", "4294967295"]
)
queries = st.dictionaries(st.sampled_from(["last", "from", "to"]), numbers)


@given(
    query=queries,
    oldest=st.integers(0, 60),
    held=st.integers(0, 20),
    most=st.integers(1, 12),
    one_sided=st.sampled_from(OneSided),
    beyond=st.sampled_from(BeyondTheEnds),
)
def test_selection_is_that_of_a_patient_reader(
    query: dict[str, str],
    oldest: int,
    held: int,
    most: int,
    one_sided: OneSided,
    beyond: BeyondTheEnds,
) -> None:
    """Selection is that of somebody who writes the indices down."""
    config = TableConfig(most=most, one_sided=one_sided, beyond=beyond)
    newest = oldest + held - 1
    chosen = selection(query, oldest, newest, config)
    known = list(range(oldest, newest + 1))
    assert written(chosen) == expected(query, known, config)[:most]


def written(chosen: Selection) -> list[int]:
    """Return the indices of a selection."""
    indices = range(chosen.first, chosen.last + 1)
    return list(reversed(indices) if chosen.descending else indices)


def expected(query: dict[str, str], known: list[int], config: TableConfig) -> list[int]:
    """Return the indices to print, too many of them maybe."""
    given = {k: int(v) for k, v in query.items() if v.isdecimal() and int(v) < 2**32}
    newest_first = known[::-1]
    if not known:
        return []
    if "last" in given:
        return newest_first[: given["last"]]
    one_sided = len({"from", "to"} & given.keys()) == 1
    if one_sided and config.one_sided is OneSided.SINGLE:
        (index,) = given.values()
        given = {"from": index, "to": index}
    if one_sided and config.one_sided is OneSided.OPEN:
        low = given.get("from", min(known[0], given.get("to", 0)))
        given = {"from": low, "to": given.get("to", max(known[-1], low))}
    if len(given) < 2:
        return newest_first
    return between(given["from"], given["to"], known, config.beyond)


def between(begin: int, end: int, known: list[int], beyond: BeyondTheEnds) -> list[int]:
    """Return the indices of a range."""
    if beyond is BeyondTheEnds.NOTHING and not {begin, end} <= set(known):
        return []
    step = -1 if begin > end else 1
    if beyond is BeyondTheEnds.CLAMPED:
        begin, end = (min(max(i, known[0]), known[-1]) for i in (begin, end))
    low, high = min(begin, end), max(begin, end)
    return [index for index in known if low <= index <= high][::step]


def test_garbage_is_named() -> None:
    """Garbage is named."""
    config = TableConfig(garbage_status=400)
    with pytest.raises(NotANumber, match="last=x"):
        selection({"last": "x"}, 1, 5, config)
