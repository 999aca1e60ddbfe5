"""The logbook has what was set, when, and what it was before; and `/logbook/` prints it."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import aiohttp
from hypothesis import given, strategies as st
import pytest

from simulator import faults
from simulator.clock import ManualClock, epoch
from simulator.config import MeterConfig
from simulator.history import (
    ClockChange,
    ClockSet,
    CurrentRatioChange,
    Event,
    ImpulseLengthChange,
    ImpulseRatioChange,
    LogbookFull,
    LoggedSettings,
    ModuleMoved,
    Status,
    VoltageRatioChange,
)
from simulator.logbook import LogbookConfig, LogbookRecord, Unchanged
from simulator.logger import LoggerConfig
from simulator.meter import Meter
from simulator.tables import LOGBOOK_COLUMNS, TableConfig
from simulator.web import MeterServer
from tests.conftest import COUNTED

from .conftest import MANUALS_FORM

NINE = int(datetime(2022, 9, 28, 9, tzinfo=UTC).timestamp())
CHANGED = int(datetime(2022, 9, 28, 10, 35, tzinfo=UTC).timestamp())
NOON = NINE + 3 * 3600

MANUAL = (
    CurrentRatioChange(CHANGED, 500, 5),
    VoltageRatioChange(CHANGED, 200, 100),
    ImpulseRatioChange(CHANGED, 1000),
    ImpulseLengthChange(CHANGED, 2),
    ClockChange(CHANGED, 150),
)
"""What the manual's example of a record tells of."""


def made(*events: Event, now: int = NOON, **logbook: Any) -> Meter:
    """Return a meter to which something happened."""
    config = MeterConfig(
        serial_number="22350000",
        installed=NINE,
        events=events,
        logger=COUNTED,
        tables=MANUALS_FORM,
        logbook=LogbookConfig(**logbook),
    )
    return Meter(config, ManualClock(now))


def rows(table: bytes | None, separator: str = ",") -> list[list[str]]:
    """Return the fields of each line."""
    return [line.split(separator) for line in (table or b"").decode().splitlines()]


def test_example_of_the_manual() -> None:
    """What the manual's example tells of gives the manual's values."""
    meter = made(*MANUAL)
    (fields,) = rows(meter.logbook_data({}))
    assert fields[:4] == [
        *("2022-09-28T10:35:00Z", "2022-09-28T10:37:30Z", "1", "22350000")
    ]
    assert ",".join(fields[9:]) == "500,5,5,5,200,100,100,100,1000,10,2,40"
    assert len(fields) == len(LOGBOOK_COLUMNS) == len(LogbookRecord._fields) == 21


@pytest.mark.parametrize(
    ("event", "changed", "bit"),
    [
        (ClockChange(CHANGED, -90), {"stamp": -90}, Status.TIME_CHANGED),
        (ClockSet(CHANGED, 30), {"stamp": 30}, Status.TIME_CHANGED),
        *(
            (event, changed, Status.CURRENT_RATIO_CHANGED)
            for event, changed in (
                (CurrentRatioChange(CHANGED, 500, 5), {"ct_primary": 500}),
                (CurrentRatioChange(CHANGED, 5, 1), {"ct_secondary": 1}),
            )
        ),
        *(
            (event, changed, Status.VOLTAGE_RATIO_CHANGED)
            for event, changed in (
                (VoltageRatioChange(CHANGED, 200, 100), {"vt_primary": 200}),
                (VoltageRatioChange(CHANGED, 100, 110), {"vt_secondary": 110}),
            )
        ),
        (
            ImpulseRatioChange(CHANGED, 1000),
            {"s0_pulse_value": 1000},
            Status.IMPULSE_RATIO_CHANGED,
        ),
        (
            ImpulseLengthChange(CHANGED, 2),
            {"s0_pulse_width": 2},
            Status.IMPULSE_LENGTH_CHANGED,
        ),
        (CurrentRatioChange(CHANGED, 5, 5), {}, Status.CURRENT_RATIO_CHANGED),
    ],
)
def test_what_is_set_is_one_pair(
    event: Event, changed: dict[str, int], bit: Status
) -> None:
    """What is set differs in its pair and in no other; the logger's record tells of it."""
    meter = made(event)
    (record,) = meter.logbook_records()
    assert record.stamp == CHANGED
    assert record.stamp_after == CHANGED + changed.get("stamp", 0)
    values, settings = record._asdict(), asdict(LoggedSettings())
    for name, before in settings.items():
        assert values[f"{name}_before"] == before
        assert values[name] == changed.get(name, before)
        assert getattr(meter.logged_settings, name) == changed.get(name, before)
    index = record.load_profile_index
    flagged = {one.index: one.status for one in meter.records() if one.status}
    assert flagged == {index: bit}


def test_registers_are_those_of_the_moment() -> None:
    """The registers are those that the meter had when it was set."""
    meter = made(CurrentRatioChange(CHANGED), VoltageRatioChange(CHANGED + 4001))
    records = meter.logbook_records()
    assert [record.index for record in records] == [1, 2]
    for record, at in zip(records, (CHANGED, CHANGED + 4001), strict=True):
        registers = meter.registers(at)
        assert record[4:8] == (
            *(registers.active_import_t1, registers.active_import_t2),
            *(registers.active_export_t1, registers.active_export_t2),
        )
    assert sum(records[1][4:8]) > sum(records[0][4:8]) > 0


def test_record_is_of_the_meter_in_which_the_module_was() -> None:
    """The record is of the meter in which the module was, until it leaves."""
    settings = [CurrentRatioChange(CHANGED + second) for second in (-1, 0, 1)]
    meter = made(*settings, ModuleMoved(CHANGED, "22340000"))
    records = meter.logbook_records()
    assert [record.serial_number for record in records] == [
        *("22340000", "22340000", "22350000")
    ]
    assert records[0][4:8] != records[2][4:8]


def test_what_is_set_before_the_installation_is_not_logged() -> None:
    """It is what the first record begins with."""
    meter = made(CurrentRatioChange(NINE - 1, 400, 5), ImpulseRatioChange(NINE))
    (record,) = meter.logbook_records()
    assert (record.ct_primary, record.ct_primary_before) == (400, 400)
    assert (record.s0_pulse_value, record.s0_pulse_value_before) == (1000, 10)


def test_record_comes_when_it_happens() -> None:
    """It is there in the second of the event and not before."""
    meter = made(*MANUAL, now=CHANGED - 1)
    assert not meter.logbook_records()
    assert meter.logbook_data({}) is None
    assert meter.logged_settings == LoggedSettings()
    clock = meter.clock
    assert isinstance(clock, ManualClock)
    clock.advance(1)
    assert len(meter.logbook_records()) == 1
    meter.happens(ImpulseLengthChange(meter.now(), 7))
    assert meter.logbook_records()[-1].s0_pulse_width == 7


moments = st.integers(NINE - 100, NINE + 400)
sizes = st.integers(1, 3)
events = st.one_of(
    st.builds(ClockChange, moments, st.integers(-2, 2)),
    st.builds(ClockSet, moments, st.integers(-2, 2)),
    st.builds(CurrentRatioChange, moments, sizes, sizes),
    st.builds(VoltageRatioChange, moments, sizes, sizes),
    st.builds(ImpulseRatioChange, moments, sizes),
    st.builds(ImpulseLengthChange, moments, sizes),
)


def diary(happened: list[Event]) -> list[tuple[int, ...]]:
    """Return stamps and pairs, written by somebody who watches the meter."""
    now = [0, 5, 5, 100, 100, 10, 40]
    lines = []
    ordered = sorted(happened, key=lambda event: event.at)  # type: ignore[union-attr]
    for at, group in groupby(ordered, key=lambda event: event.at):  # type: ignore[union-attr]
        before, is_logged = list(now), False
        for event in group:
            offset = now[0]
            match event:
                case ClockChange(_, seconds):
                    now[0] += seconds
                case ClockSet(_, seconds):
                    now[0] = seconds
                case CurrentRatioChange(_, primary, secondary):
                    now[1:3] = primary, secondary
                case VoltageRatioChange(_, primary, secondary):
                    now[3:5] = primary, secondary
                case ImpulseRatioChange(_, value):
                    now[5] = value
                case ImpulseLengthChange(_, width):
                    now[6] = width
            is_clock = isinstance(event, ClockChange | ClockSet)
            is_logged |= not is_clock or now[0] != offset
        if is_logged and epoch(at) >= NINE:
            pairs = zip(now[1:], before[1:], strict=True)
            stamps = epoch(at) + before[0], epoch(at) + now[0]
            lines.append((*stamps, *(value for pair in pairs for value in pair)))
    return lines


@given(st.lists(events, max_size=12))
def test_records_are_those_of_somebody_who_watches(happened: list[Event]) -> None:
    """Records are what somebody writes down who watches the meter."""
    records = made(*happened).logbook_records()
    assert [(*record[:2], *record[9:]) for record in records] == diary(happened)


def set_often(times: int) -> list[Event]:
    """Return as many changes, a minute after each other."""
    return [ImpulseRatioChange(NINE + 60 * n, 1 + n % 7) for n in range(1, times + 1)]


def test_full_logbook_stays_as_it_is() -> None:
    """Nothing more is written, and the logger's records have bit 7."""
    meter = made(*set_often(100), depth=20)
    assert [record.index for record in meter.logbook_records()] == list(range(1, 21))
    status = {record.stamp - NINE: record.status for record in meter.records()}
    full = {at for at, bits in status.items() if bits & Status.LOGBOOK_FULL}
    assert full == {at for at in status if at > 20 * 60}
    assert meter.logged_settings.s0_pulse_value == 1 + 100 % 7


def test_logbook_may_be_a_ring() -> None:
    """The oldest records go; it is full all the same."""
    meter = made(*set_often(100), depth=20, overwrites=True)
    assert [record.index for record in meter.logbook_records()] == list(range(81, 101))
    assert meter.records()[2].status & Status.LOGBOOK_FULL


@pytest.mark.parametrize(("overwrites", "count"), [(False, 9), (True, 100)])
def test_logbook_may_be_full_by_an_event(overwrites: bool, count: int) -> None:
    """What it has stays."""
    full = LogbookFull(NINE + 600)
    meter = made(*set_often(100), full, overwrites=overwrites)
    assert len(meter.logbook_records()) == count
    assert meter.records()[0].status & Status.LOGBOOK_FULL


def test_logbook_holds_2048_records() -> None:
    """A full logbook is as large as the manual says."""
    meter = made(*set_often(2100), now=NINE + 60 * 2100)
    assert len(meter.logbook_records()) == 2048
    assert len(rows(meter.logbook_data({}))) == 2048
    larger = made(*set_often(2100), now=NINE + 60 * 2100, depth=2100)
    assert len(larger.logbook_records()) == 2100
    assert len(rows(larger.logbook_data({}))) == 2048
    meter.tables = replace(MANUALS_FORM, most=100)
    assert len(rows(meter.logbook_data({}))) == 100


def test_logbook_holds_something() -> None:
    """A logbook without room is none."""
    with pytest.raises(ValueError, match="a record or more"):
        made(depth=0)
    meter = made(*MANUAL, first_index=0)
    assert meter.logbook_records()[0].index == 0
    with pytest.raises(IndexError):
        meter.logbook.records(-1, 0, meter.logger)


@pytest.mark.parametrize(
    ("unchanged", "pattern"),
    [
        (Unchanged.REPEATED, "2022-09-28T10:35:00Z,5,5,100,100,10,40"),
        (Unchanged.EMPTY, ",5,,,,,"),
        (Unchanged.ZERO, "1970-01-01T00:00:00Z,5,0,0,0,0,0"),
    ],
)
def test_what_stands_where_nothing_changed(unchanged: Unchanged, pattern: str) -> None:
    """The manual does not say what stands where nothing changed."""
    meter = made(CurrentRatioChange(CHANGED, 500, 5), unchanged=unchanged)
    (fields,) = rows(meter.logbook_data({}))
    assert ",".join([fields[1], *fields[10::2]]) == pattern
    assert fields[9::2] == ["500", "5", "100", "100", "10", "40"]


@pytest.fixture
def config() -> MeterConfig:
    """Return a meter whose logbook has 2100 records in a ring of 2048."""
    return MeterConfig(
        installed=NINE,
        events=tuple(set_often(2100)),
        tables=MANUALS_FORM,
        logbook=LogbookConfig(overwrites=True),
    )


@pytest.fixture
def clock() -> ManualClock:
    """Return the time of the newest record."""
    return ManualClock(NINE + 60 * 2100)


async def fetched(
    session: aiohttp.ClientSession, server: MeterServer, query: str = ""
) -> bytes:
    """Return the body of a right answer."""
    async with session.get(f"{server.url}logbook/{query}") as response:
        assert response.status == 200
        assert response.content_type == "text/csv"
        return await response.read()


@pytest.mark.parametrize(
    ("query", "first", "last", "step"),
    [
        ("", 53, 2100, -1),
        ("?last=96", 2005, 2100, -1),
        ("?last=2049", 53, 2100, -1),
        ("?from=55&to=65", 55, 65, 1),
        ("?from=1&to=100", 53, 100, 1),
        ("?from=72&to=53", 53, 72, -1),
        ("?from=2090", 2090, 2100, 1),
        ("?last=0", 1, 0, 1),
        ("?from=2101&to=2200", 1, 0, 1),
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
    """The answer has the records that were asked for, in the right order."""
    fields = rows(await fetched(session, server, query))
    expected = [str(index) for index in range(first, last + 1)][::step]
    assert [line[2] for line in fields] == expected


async def test_format_is_that_of_all_tables(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """Separator, header and the rest are those of the data logger."""
    server.meter.tables = TableConfig(
        separator=";", header=True, line_end="\n", byte_order_mark=True
    )
    header, *lines = (await fetched(session, server, "?last=2")).decode().split("\n")
    assert header == "\ufeff" + ";".join(LOGBOOK_COLUMNS)
    assert [line.count(";") for line in lines] == [20, 20, 0]


@pytest.mark.parametrize("status", [404, 200])
@pytest.mark.parametrize(
    "config", [MeterConfig(logger=None), MeterConfig(logbook=None)]
)
async def test_meter_without_logbook_has_no_table(
    session: aiohttp.ClientSession, clock: ManualClock, config: MeterConfig, status: int
) -> None:
    """Without load profile there is no logbook; it may also be all that is missing."""
    tables = TableConfig(missing_status=status)
    meter = Meter(replace(config, tables=tables), clock)
    with pytest.raises(LookupError):
        meter.logbook_records()
    async with (
        MeterServer(meter) as server,
        session.get(server.url + "logbook/") as response,
    ):
        assert response.status == status
        assert await response.read() == b""


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("status", [200, 404])
async def test_logbook_may_be_empty(
    session: aiohttp.ClientSession, clock: ManualClock, status: int, header: bool
) -> None:
    """A meter that nothing ever happened to has an empty logbook."""
    tables = replace(MANUALS_FORM, empty_status=status, header=header)
    async with (
        MeterServer(Meter(MeterConfig(tables=tables), clock)) as server,
        session.get(server.url + "logbook/") as response,
    ):
        assert response.status == status
        expected = [list(LOGBOOK_COLUMNS)] if header and status == 200 else []
        assert rows(await response.read()) == expected


async def test_garbage_may_be_refused_and_the_table_is_protected(
    server: MeterServer, session: aiohttp.ClientSession
) -> None:
    """The rest of the server treats it like the data logger."""
    server.meter.tables = TableConfig(garbage_status=400)
    async with session.get(server.url + "logbook/?last=x") as response:
        assert response.status == 400
    server.meter.password = "secret"
    async with session.get(server.url + "logbook/") as response:
        assert response.status == 401


@pytest.mark.parametrize("unchanged", Unchanged)
@pytest.mark.parametrize("header", [True, False])
async def test_faults_find_the_records_of_the_logbook(
    server: MeterServer,
    session: aiohttp.ClientSession,
    unchanged: Unchanged,
    header: bool,
) -> None:
    """Faults find a record by its index, which stands in another column here."""
    config = replace(
        server.meter.config,
        logbook=LogbookConfig(overwrites=True, unchanged=unchanged),
        tables=replace(MANUALS_FORM, header=header),
    )
    server.meter = Meter(config, server.meter.clock)
    right = await fetched(session, server, "?from=100&to=103")
    server.faults.set(faults.MissingLine(records=102), path=faults.LOGBOOK)
    lines = right.splitlines(keepends=True)
    del lines[header + 2]
    assert await fetched(session, server, "?from=100&to=103") == b"".join(lines)
    async with session.get(server.url + "data/?last=3") as response:
        assert len((await response.read()).splitlines()) == 3 + header


async def test_interval_is_no_matter_of_the_logbook() -> None:
    """The index of the load profile's entry is that of the next record."""
    config = MeterConfig(
        installed=NINE,
        events=(CurrentRatioChange(NINE + 600), CurrentRatioChange(NINE + 601)),
        logger=LoggerConfig(interval=5, first_index=0, delay=0),
    )
    meter = Meter(config, ManualClock(NOON))
    indices = [record.load_profile_index for record in meter.logbook_records()]
    assert indices == [2, 2]
    assert [record.index for record in meter.records() if record.status] == [2]
