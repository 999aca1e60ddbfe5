"""The logbook: its lines, and its pages at a real socket, in every form and under faults."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from itertools import pairwise
import re
from typing import cast

import aiohttp
from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.emu import client as client_module, new_records
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import (
    MeterUnauthorized,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    MeterUnreadable,
    MeterUnsupported,
    MeterWithoutLogbook,
    MeterWithoutLogger,
)
from custom_components.emu_professional.emu.logs import (
    DAMAGED_INDEX,
    LOGBOOK_REGISTERS,
    SETTINGS,
    Change,
    ChangeKind,
    LogbookRecord,
)
from custom_components.emu_professional.emu.table_reader import LogbookReader
from simulator import faults, logbook as simulated
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.history import (
    ClockChange,
    CurrentRatioChange,
    Event,
    ImpulseLengthChange,
    ImpulseRatioChange,
    VoltageRatioChange,
)
from simulator.logbook import LogbookConfig, Unchanged
from simulator.meter import Meter
from simulator.tables import LOGBOOK_COLUMNS, TableConfig, rendered
from simulator.web import MeterServer
from tests.conftest import NOON

BOOK = "/logbook/"
START = int(NOON.timestamp()) - 40 * 3600
COUNT = 40

MANUAL = "2022-09-28T10:35:00Z,2022-09-28T10:37:30Z,3,22350000,2568,120,487,3615,35,500,5,5,5,200,100,100,100,1000,10,2,40"


def happenings(count: int) -> tuple[Event, ...]:
    """Return one change of each kind after the other, an hour between them."""
    makers = (
        lambda at, n: CurrentRatioChange(at, 100 + n, 5 + n),
        lambda at, n: ClockChange(at, 60 if n % 2 else -60),
        lambda at, n: VoltageRatioChange(at, 200 + n, 100 + n),
        lambda at, n: ImpulseRatioChange(at, 500 + n),
        lambda at, n: ImpulseLengthChange(at, 50 + n),
    )
    return tuple(makers[n % 5](START + 3600 * n, n) for n in range(count))


@pytest.fixture
def config(config: MeterConfig) -> MeterConfig:
    """Return a meter with 40 logbook records."""
    return replace(config, events=happenings(COUNT))


@pytest.fixture
async def meter(server: MeterServer) -> AsyncGenerator[MeterClient]:
    """Return a client of the simulated meter."""
    async with aiohttp.ClientSession() as session:
        yield MeterClient(session, server.host, server.port)


def expected_record(record: simulated.LogbookRecord) -> LogbookRecord:
    """Return a record of the simulated meter as it should be read."""
    values = record._asdict()
    changes = []
    if record.stamp != record.stamp_after:
        changes = [Change(ChangeKind.TIME, record.stamp, record.stamp_after)]
    for kind in list(ChangeKind)[1:]:
        before, after = values[f"{kind}_before"], values[kind]
        if before != after:
            changes.append(Change(kind, before, after))
    return LogbookRecord(
        at=record.stamp,
        index=record.index,
        serial_number=record.serial_number,
        registers=tuple(record[4:8]),
        logger_index=record.load_profile_index,
        settings=tuple(record[9::2]),
        changes=tuple(changes),
    )


def expected(meter: Meter, first: int, last: int) -> tuple[LogbookRecord, ...]:
    """Return the logbook records of the simulated meter."""
    return tuple(map(expected_record, meter.logbook_records(first, last)))


def read(
    data: bytes, *, complete: bool = True
) -> tuple[list[LogbookRecord], list[str]]:
    """Return records, and reject reasons, of a whole answer."""
    reader = LogbookReader()
    records = reader.feed(data) + reader.close(complete=complete)
    return records, [line.reason for line in reader.rejected]


def test_example_of_the_manual() -> None:
    """The manual's example values arrive in their columns."""
    (record,), refused = read(MANUAL.encode())
    assert not refused
    assert (record.index, record.serial_number, record.logger_index) == (
        *(3, "22350000", 35),
    )
    registers = zip(LOGBOOK_REGISTERS, record.registers, strict=True)
    assert {q.key: value for q, value in registers} == {
        "energy_import_t1": 2568,
        "energy_import_t2": 120,
        "energy_export_t1": 487,
        "energy_export_t2": 3615,
    }
    settings = zip(SETTINGS, record.settings, strict=True)
    assert {(pair.kind, pair.unit): value for pair, value in settings} == {
        ("ct_primary", "A"): 500,
        ("ct_secondary", "A"): 5,
        ("vt_primary", "V"): 200,
        ("vt_secondary", "V"): 100,
        ("s0_pulse_value", "P/kWh"): 1000,
        ("s0_pulse_width", "ms"): 2,
    }
    assert record.changes == (
        Change(ChangeKind.TIME, 1_664_361_300, 1_664_361_450),
        Change(ChangeKind.CT_PRIMARY, 5, 500),
        Change(ChangeKind.VT_PRIMARY, 100, 200),
        Change(ChangeKind.S0_PULSE_VALUE, 10, 1000),
        Change(ChangeKind.S0_PULSE_WIDTH, 40, 2),
    )
    assert record.at == 1_664_361_300


PAIRS = {
    ChangeKind.CT_PRIMARY: (10, 11),
    ChangeKind.CT_SECONDARY: (12, 13),
    ChangeKind.VT_PRIMARY: (14, 15),
    ChangeKind.VT_SECONDARY: (16, 17),
    ChangeKind.S0_PULSE_VALUE: (18, 19),
    ChangeKind.S0_PULSE_WIDTH: (20, 21),
}
"""Columns "actual" and "pre change(if)" in the manual."""


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("unchanged", ["7", "", "0"])
def test_every_pair(kind: ChangeKind, unchanged: str) -> None:
    """Each pair is its own change; what stands in the others is none."""
    fields = MANUAL.split(",")
    fields[1] = {"7": fields[0], "": "", "0": "1970-01-01T00:00:00Z"}[unchanged]
    fields[9:] = ["7", unchanged] * 6
    actual, before = PAIRS[kind]
    fields[actual - 1], fields[before - 1] = "9999999999", "8"
    (record,), _ = read(",".join(fields).encode())
    assert record.changes == (Change(kind, 8, 9_999_999_999),)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (",40", "", "20 columns instead of 21"),
        (",40", ",40,1", "22 columns instead of 21"),
        ("2,40", ",40", "a field is no number"),
        (",500", ",-500", "a field is no number"),
        (",500", ",+500", "a field is no number"),
        (",500", ",5_00", "a field is no number"),
        (",500", ",５００", "a field is no number"),
        (",500", ",12345678901", "a field is no number"),
        (",1000", ",0.5", "a field is no number"),
        (",35,", ",,", "a field is no number"),
        ("22350000", "<b>", "a field is no number"),
        ("2568", "", "a field is no number"),
        ("10:37:30Z", "10:37:30", "a field is no number"),
        ("2022-09-28T10:35", "2022-02-30T10:35", "time stamp"),
        ("2022-09-28T10:37", "2022-02-30T10:37", "time stamp after change"),
        ("2568", "-1", "negative register"),
        ("3615", "-1", "negative register"),
    ],
)
def test_line_that_is_no_record(old: str, new: str, reason: str) -> None:
    """A damaged line is counted and reported, the ones around it are read."""
    damaged = MANUAL.replace(old, new, 1)
    records, refused = read(f"{MANUAL}\n{damaged}\n{MANUAL}\n".encode())
    assert len(records) == 2
    assert refused == [reason]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_last_field_may_be_empty(separator: str) -> None:
    """Also where the separator is a blank that ends the line."""
    line = MANUAL.removesuffix("40").replace(",", separator)
    records, refused = read(f"{line}\n{line}".encode())
    assert not refused
    assert [len(record.changes) for record in records] == [4, 4]


def test_line_that_was_cut_off() -> None:
    """Half a number is a number as well: a cut line is never read."""
    for length in range(len(MANUAL)):
        records, refused = read(f"{MANUAL}\n{MANUAL[:length]}".encode(), complete=False)
        assert len(records) == 1
        assert refused == (["cut off"] if length else [])


@given(st.binary(max_size=300))
def test_garbage(data: bytes) -> None:
    """Any bytes give records and rejected lines, never an error."""
    records, _ = read(MANUAL.encode() + b"\n" + data + b"\n" + MANUAL.encode() + b"\n")
    assert records[0].index == records[-1].index == 3


SECONDS = st.integers(1, 2**32)
SETTING = st.integers(1, 2**32) | st.sampled_from([1, 5, 100])
SIMULATED = st.builds(
    simulated.LogbookRecord,
    SECONDS,
    SECONDS,
    st.integers(0, 10**9),
    st.text("123456789", min_size=1, max_size=10),
    *(st.integers(0, 10**11) for _ in range(4)),
    st.integers(0, 10**9),
    *(SETTING for _ in range(12)),
)


@given(
    st.lists(SIMULATED, max_size=5),
    st.builds(
        TableConfig,
        separator=st.sampled_from(",;\t"),
        header=st.booleans(),
        line_end=st.sampled_from(["\n", "\r\n", "\r"]),
        byte_order_mark=st.booleans(),
        final_line_end=st.booleans(),
    ),
    st.sampled_from(Unchanged),
    st.integers(1, 200),
)
def test_what_the_meter_prints_is_read(
    records: list[simulated.LogbookRecord],
    form: TableConfig,
    unchanged: Unchanged,
    piece: int,
) -> None:
    """All forms and sizes of pieces give the same records."""
    rows = [simulated.printed(record, unchanged) for record in records]
    columns = [[row[column] for row in rows] for column in range(21)]
    data = rendered(LOGBOOK_COLUMNS, columns, form)
    reader = LogbookReader()
    found = []
    for begin in range(0, len(data), piece):
        found += reader.feed(data[begin : begin + piece])
    found += reader.close(complete=True)
    assert found == list(map(expected_record, records))
    assert not reader.rejected


FORMS = [
    TableConfig(),
    TableConfig(separator=",", header=False, line_end="\n"),
    TableConfig(byte_order_mark=True, header=True),
    TableConfig(final_line_end=False, chunked=True),
    TableConfig(final_line_end=False, last_ascending=True),
    TableConfig(content_type="application/octet-stream"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("unchanged", Unchanged)
async def test_pages(
    meter: MeterClient, server: MeterServer, form: TableConfig, unchanged: Unchanged
) -> None:
    """Newest records and ranges come in the order of the index, in all forms."""
    config = replace(server.meter.config, logbook=LogbookConfig(unchanged=unchanged))
    server.meter = Meter(config, server.meter.clock)
    server.meter.tables = form
    page = await meter.newest_logbook_records(20)
    assert page.records == expected(server.meter, 21, 40)
    page = await meter.logbook_records(5, 30)
    assert page.records == expected(server.meter, 5, 30)
    assert page.whole
    assert not page.rejected
    kinds = {change.kind for record in page.records for change in record.changes}
    assert kinds == set(ChangeKind)
    paths = [request.path for request in server.requests]
    assert paths == ["/logbook/?last=20", "/logbook/?from=5&to=30"]


@pytest.mark.parametrize(
    ("event", "kind", "before", "after"),
    [
        (ClockChange(START, 150), ChangeKind.TIME, START, START + 150),
        (CurrentRatioChange(START, 500, 5), ChangeKind.CT_PRIMARY, 5, 500),
        (CurrentRatioChange(START, 5, 1), ChangeKind.CT_SECONDARY, 5, 1),
        (VoltageRatioChange(START, 200, 100), ChangeKind.VT_PRIMARY, 100, 200),
        (VoltageRatioChange(START, 100, 110), ChangeKind.VT_SECONDARY, 100, 110),
        (ImpulseRatioChange(START, 1000), ChangeKind.S0_PULSE_VALUE, 10, 1000),
        (ImpulseLengthChange(START, 2), ChangeKind.S0_PULSE_WIDTH, 40, 2),
    ],
)
async def test_every_pair_from_the_meter(
    meter: MeterClient,
    server: MeterServer,
    event: Event,
    kind: ChangeKind,
    before: int,
    after: int,
) -> None:
    """A change at the meter comes with the previous value and the registers."""
    config = replace(server.meter.config, events=(event,))
    server.meter = Meter(config, server.meter.clock)
    (record,) = (await meter.newest_logbook_records(5)).records
    assert record.changes == (Change(kind, before, after),)
    registers = server.meter.registers(START)
    assert record.registers == (
        *(registers.active_import_t1, registers.active_import_t2),
        *(registers.active_export_t1, registers.active_export_t2),
    )
    (logged,) = (await meter.records(record.logger_index, record.logger_index)).records
    assert logged.status
    assert logged.at > record.at


async def test_page_without_records(meter: MeterClient, server: MeterServer) -> None:
    """A range after the newest record gives an empty page, no error."""
    page = await meter.logbook_records(COUNT + 1, COUNT + 10)
    assert page.records == ()
    assert page.whole
    server.meter = Meter(MeterConfig(), server.meter.clock)
    page = await meter.newest_logbook_records(1)
    assert page.records == ()
    assert page.rejected == ()


async def test_page_in_a_slow_line(meter: MeterClient, server: MeterServer) -> None:
    """After a connection lost in mid-line the whole lines before it stay."""
    server.faults.set(faults.CutLine(records=25), path=BOOK)
    page = await meter.logbook_records(20, 40)
    assert page.records == expected(server.meter, 20, 24)
    assert not page.rejected
    assert not page.whole
    server.faults.clear()
    rest = await meter.logbook_records(page.records[-1].index + 1, 40)
    assert page.records + rest.records == expected(server.meter, 20, 40)


async def test_slow_page(
    meter: MeterClient, server: MeterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records received within the time limit are kept."""
    monkeypatch.setattr(client_module, "PAGE_LIMIT", 0.5)
    server.faults.set(faults.SlowLine(bytes_per_second=4000), path=BOOK)
    page = await meter.logbook_records(1, 40)
    assert not page.whole
    count = len(page.records)
    assert 0 < count < 40
    assert page.records == expected(server.meter, 1, count)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (faults.BrokenLine(columns=20, records=25), "20 columns instead of 21"),
        (faults.GarbageBytes(records=25), "a field is no number"),
        (faults.negative_register(records=25), "negative register"),
        (faults.ReplacedField(20, "", records=25), "a field is no number"),
    ],
)
async def test_line_that_is_refused(
    meter: MeterClient, server: MeterServer, fault: faults.Fault, reason: str
) -> None:
    """A damaged line is reported, the others are read."""
    server.faults.set(fault, path=BOOK)
    page = await meter.logbook_records(20, 30)
    indices = [record.index for record in page.records]
    assert indices == [*range(20, 25), *range(26, 31)]
    # Garbage may have line ends.
    assert reason in {re.sub(r"\d+ col", "20 col", r.reason) for r in page.rejected}


@pytest.mark.parametrize(
    "fault",
    [
        faults.garbage(),
        faults.Body(b"<html>\n<body>404</body>\n</html>\n"),
        faults.Body(b'{"a": 1}'),
    ],
)
async def test_answer_that_is_no_table(
    meter: MeterClient, server: MeterServer, fault: faults.Fault
) -> None:
    """An answer with status 200 and no record is no empty logbook."""
    server.faults.set(fault, path=BOOK)
    with pytest.raises(MeterUnexpectedAnswer):
        await meter.newest_logbook_records(5)


@pytest.mark.parametrize("header", [False, True])
async def test_empty_logbook(
    meter: MeterClient, server: MeterServer, header: bool
) -> None:
    """Nothing at all is an empty logbook, and so is a header line alone."""
    names = ";".join(LOGBOOK_COLUMNS).encode() if header else b""
    server.faults.set(faults.Body(names), path=BOOK)
    page = await meter.newest_logbook_records(5)
    assert not page.records
    assert not page.rejected


async def test_data_logger_is_no_logbook(
    meter: MeterClient, server: MeterServer
) -> None:
    """Lines of the data logger are no logbook: the manual's examples have its address."""
    body = server.meter.data({"last": "3"})
    server.faults.set(faults.Body(body or b""), path=BOOK)
    with pytest.raises(MeterUnreadable) as raised:
        await meter.newest_logbook_records(3)
    reasons = {line.reason for line in raised.value.page.rejected}
    assert reasons == {"28 columns instead of 21"}
    assert raised.value.is_table


@pytest.mark.parametrize(
    "fault", [faults.ConnectionReset(), faults.CloseWithoutAnswer(), faults.Silent()]
)
async def test_no_answer(
    meter: MeterClient,
    server: MeterServer,
    monkeypatch: pytest.MonkeyPatch,
    fault: faults.Fault,
) -> None:
    """A silent logbook is unreachable; the rest of the meter is not."""
    monkeypatch.setattr(client_module, "FIRST_BYTE_LIMIT", 0.3)
    server.faults.set(fault, path=BOOK)
    with pytest.raises(MeterUnreachable, match="/logbook/"):
        await meter.newest_logbook_records(1)
    await meter.readings()
    assert (await meter.newest_records(1)).records


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.Status(404), MeterWithoutLogbook),
        (faults.Redirect("/"), MeterWithoutLogbook),
        (faults.Status(401), MeterUnauthorized),
        (faults.Status(500), MeterUnexpectedAnswer),
        (faults.HugeBody(5_000_000), MeterUnexpectedAnswer),
    ],
)
async def test_refused_page(
    meter: MeterClient,
    server: MeterServer,
    fault: faults.Fault,
    error: type[Exception],
) -> None:
    """Only a missing page means a meter without logbook."""
    server.faults.set(fault, path=BOOK)
    with pytest.raises(error) as raised:
        await meter.logbook_records(1, 5)
    assert raised.type is error


@pytest.mark.parametrize(
    "config", [MeterConfig(logger=None), MeterConfig(logbook=None)]
)
async def test_meter_without_logbook(
    meter: MeterClient, server: MeterServer, config: MeterConfig
) -> None:
    """A meter without a logbook says so, by 404 or by nothing."""
    with pytest.raises(MeterWithoutLogbook) as raised:
        await meter.newest_logbook_records(1)
    assert isinstance(raised.value, MeterUnsupported)
    assert not isinstance(raised.value, MeterWithoutLogger)
    server.meter.tables = TableConfig(missing_status=200)
    assert (await meter.newest_logbook_records(1)).records == ()


@pytest.mark.parametrize(
    ("times", "count", "rejected"), [(None, 299, {DAMAGED_INDEX: 1}), (1, 300, {})]
)
async def test_damaged_index_at_the_end(
    meter: MeterClient,
    server: MeterServer,
    monkeypatch: pytest.MonkeyPatch,
    times: int | None,
    count: int,
    rejected: dict[str, int],
) -> None:
    """One damaged index after the others hides no record, and costs few requests."""
    monkeypatch.setattr(new_records, "_PAUSE", 0)
    begin = START - 300 * 3600
    events = tuple(CurrentRatioChange(begin + 3600 * n, n + 1) for n in range(300))
    config = replace(server.meter.config, installed=begin - 86_400, events=events)
    server.meter = Meter(config, server.meter.clock)
    fault = faults.ReplacedField(3, "4000000000", records=300)
    server.faults.set(fault, path=BOOK, times=times)
    answer = await new_records.read_logbook(meter)
    assert tuple(answer.records) == expected(server.meter, 1, count)
    assert answer.rejected == rejected
    assert len(server.requests) <= 6


FULL = 2048
PAGE = 96


async def test_whole_logbook_without_delaying_live_polls(
    socket_enabled: None, clock: ManualClock
) -> None:
    """A full logbook is read; a poll waits for one page, as small as the logger's."""
    first = int(NOON.timestamp()) - FULL * 60
    config = MeterConfig(
        installed=first - 86_400,
        events=tuple(CurrentRatioChange(first + 60 * n, n + 1) for n in range(FULL)),
    )
    async with (
        MeterServer(Meter(config, clock), connections=1) as server,
        aiohttp.ClientSession() as session,
    ):
        meter = MeterClient(session, server.host, server.port)
        read = asyncio.create_task(_whole(meter))
        while not read.done():
            begin = len(server.requests)
            await meter.readings()
            paths = [request.path for request in server.requests[begin:]]
            assert "/meterdata.json" in paths[:2]
        records = await read
        assert tuple(records) == expected(server.meter, 1, FULL)
        assert server.refused_connections == 0
        assert server.most_connections == 1
        polled = [request.path == "/meterdata.json" for request in server.requests]
        assert sum(polled) >= FULL // PAGE
        assert all(one or other for one, other in pairwise(polled))
        page = {"last": str(PAGE)}
        sizes = [
            len(cast("bytes", body))
            for body in (server.meter.logbook_data(page), server.meter.data(page))
        ]
        assert sizes[0] <= sizes[1]


async def _whole(meter: MeterClient) -> list[LogbookRecord]:
    records: list[LogbookRecord] = []
    while len(records) < FULL:
        begin = len(records) + 1
        page = await meter.logbook_records(begin, begin + PAGE - 1)
        assert page.whole
        assert page.records
        records += page.records
    return records
