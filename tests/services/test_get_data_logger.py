"""The action that reads the data logger."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
import voluptuous as vol

from custom_components.emu_professional.emu.logs import COLUMNS
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ServiceValidationError
from simulator import faults
from simulator.clock import ManualClock
from simulator.history import ClockChange, PowerFailure
from simulator.logger import Record
from simulator.web import MeterServer
from tests.conftest import NOON, SERIAL_NUMBER

from .actions import EXPORT, GET, KEYS, ZONE, Answer, at, call, local, logger, refusal


def shown(record: Record) -> Answer:
    """Return a record as a response should show it."""
    values = (
        round(value * 10**-quantity.decimals, quantity.decimals)
        for value, quantity in zip(record[4:], COLUMNS, strict=True)
    )
    return {
        "time": local(record.stamp),
        "index": record.index,
        "status": [],
        "status_bits": 0,
        **dict(zip(KEYS, values, strict=True)),
    }


def indices(answer: Answer) -> list[int]:
    """Return the indices of the records of a response."""
    return [record["index"] for record in answer["records"]]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-05-30 08:00:00", "2026-05-30 14:30:00"),
        ("2026-05-30T15:00:00+00:00", "2026-05-30T23:30:00+02:00"),
        (datetime(2026, 5, 30, 15, tzinfo=UTC), datetime(2026, 5, 30, 14, 30)),
    ],
)
async def test_records_of_a_window(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    start: str | datetime,
    end: str | datetime,
) -> None:
    """Records whose interval ends after the start and not after the end."""
    answer = await call(hass, GET, loaded, start=start, end=end)
    since = datetime(2026, 5, 30, 8, tzinfo=ZONE).timestamp()
    until = datetime(2026, 5, 30, 14, 30, tzinfo=ZONE).timestamp()
    expected = [
        shown(record)
        for record in server.meter.records()
        if since < record.stamp <= until
    ]
    assert len(expected) == 26
    assert answer == {
        "serial_number": SERIAL_NUMBER,
        "records": expected,
        "refused": {},
    }
    assert answer["records"][0]["time"] == "2026-05-30T08:15:00-07:00"
    assert answer["records"][-1]["time"] == "2026-05-30T14:30:00-07:00"


async def test_open_windows(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """Without a start it begins with the oldest record, without an end with the newest."""
    answer = await call(hass, GET, loaded, start=at(server, 950))
    assert indices(answer) == list(range(951, 961))
    answer = await call(hass, GET, loaded, end=at(server, 5))
    assert indices(answer) == list(range(1, 6))
    answer = await call(hass, GET, loaded)
    assert indices(answer) == list(range(1, 961))
    answer = await call(hass, GET, loaded, start=NOON + timedelta(days=1))
    assert answer["records"] == []
    answer = await call(hass, GET, loaded, end=NOON - timedelta(days=300))
    assert answer["records"] == []


async def test_records_by_index(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """Both indices are included; one of them is enough, beyond the ends is nothing."""
    answer = await call(hass, GET, loaded, first_index=100, last_index=102)
    assert answer["records"] == [shown(r) for r in server.meter.records(100, 102)]
    answer = await call(hass, GET, loaded, first_index=958)
    assert indices(answer) == [958, 959, 960]
    answer = await call(hass, GET, loaded, last_index=2)
    assert indices(answer) == [1, 2]
    answer = await call(hass, GET, loaded, first_index=959, last_index=2_000)
    assert indices(answer) == [959, 960]
    answer = await call(hass, GET, loaded, first_index=961, last_index=2_000)
    assert answer["records"] == []


LONG_AGO = "0001-01-01 00:00:00"
FAR_OFF = "9999-12-31 23:59:59"


async def test_times_and_indices_from_outside(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """Times that no clock can show and indices that no logger has are no raw errors."""
    for zone in ("", "+00:00", "+14:00", "-14:00"):
        window = {"start": LONG_AGO + zone, "end": FAR_OFF + zone}
        assert indices(await call(hass, GET, loaded, **window)) == list(range(1, 961))
        assert (await call(hass, "get_logbook", loaded, **window))["records"] == []
        for field in ({"end": LONG_AGO + zone}, {"start": FAR_OFF + zone}):
            assert (await call(hass, GET, loaded, **field))["records"] == []
            assert (await call(hass, "get_logbook", loaded, **field))["records"] == []
    huge = 10**30
    server.requests.clear()
    answer = await call(hass, GET, loaded, first_index=huge, last_index=huge)
    assert answer["records"] == []
    assert not [request for request in server.requests if "00000" in request.path]
    answer = await call(hass, GET, loaded, first_index=960, last_index=huge)
    assert indices(answer) == [960]
    # Home Assistant's own reading of a time does not survive half a character.
    times: tuple[object, ...] = ("\ud800", LONG_AGO + "\udfff", 10**30, True, [])
    for start in times:
        for service in (GET, "get_logbook", "backfill_statistics"):
            with pytest.raises(vol.Invalid):
                await call(hass, service, loaded, start=start)
    for index in (float("inf"), float("nan"), "1" * 5000, -1, [1], "ten"):
        with pytest.raises(vol.Invalid):
            await call(hass, GET, loaded, first_index=index)


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_damaged_newest_lines(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    folder: Path,
    count: int,
) -> None:
    """Lines after the last record that can be read are not left out without a word."""
    damaged = range(961 - count, 961)
    server.faults.set(faults.ReplacedField(20, "?", damaged), path="/data/")
    refused = {"a field is no number": count}
    for window in ({"first_index": 900}, {}, {"first_index": 961 - count}):
        answer = await call(hass, EXPORT, loaded, path=str(folder / "a.csv"), **window)
        first = window.get("first_index", 1)
        assert answer["records"] == 961 - count - first
        assert answer["refused"] == refused
    answer = await call(hass, GET, loaded, first_index=900)
    assert indices(answer) == list(range(900, 961 - count))
    assert answer["refused"] == refused
    # What was not asked for is not refused.
    answer = await call(hass, GET, loaded, first_index=900, last_index=950)
    assert answer["refused"] == {}
    answer = await call(hass, GET, loaded, end=local(int(NOON.timestamp()) - 7200))
    assert answer["refused"] == {}


async def test_stamps_from_outside(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, folder: Path
) -> None:
    """Stamps that no clock of a meter can show are no records."""
    path = str(folder / "meter.csv")
    indices_ = {"first_index": 955}
    for stamp in (
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "2106-02-07T06:28:17Z",
    ):
        server.faults.set(faults.ReplacedField(1, stamp, 957), path="/data/")
        answer = await call(hass, GET, loaded, **indices_)
        assert indices(answer) == [955, 956, 958, 959, 960]
        assert answer["refused"] == {"time stamp": 1}
        answer = await call(hass, EXPORT, loaded, path=path, **indices_)
        assert (answer["records"], answer["refused"]) == (5, {"time stamp": 1})
        server.faults.clear()


async def test_columns_of_choice(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """Only the chosen values come."""
    columns = ["voltage_l2", "energy_import_t1"]
    answer = await call(hass, GET, loaded, first_index=7, last_index=7, columns=columns)
    (record,) = answer["records"]
    (expected,) = server.meter.records(7, 7)
    assert record == {
        "time": local(expected.stamp),
        "index": 7,
        "status": [],
        "status_bits": 0,
        "energy_import_t1": expected.active_import_t1 / 1000,
        "voltage_l2": expected.voltage_l2 / 10,
    }
    with pytest.raises(vol.Invalid):
        await call(hass, GET, loaded, columns=["reactive_power"])


async def test_what_the_logger_has_forgotten(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """A ring that has gone round is not searched page by page."""
    logger(server, clock, days=1000, depth=50)
    server.requests.clear()
    newest = server.meter.newest_index
    answer = await call(hass, GET, loaded, first_index=3)
    assert indices(answer) == list(range(newest - 49, newest + 1))
    answer = await call(hass, GET, loaded, start=NOON - timedelta(days=900))
    assert indices(answer) == list(range(newest - 49, newest + 1))
    assert len(server.requests) < 60


@pytest.mark.parametrize("action", [GET, EXPORT])
async def test_logger_without_records(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    folder: Path,
    action: str,
) -> None:
    """A new meter has nothing to tell, and that is no error."""
    logger(server, clock, days=0)
    if action == GET:
        answer = await call(hass, GET, loaded)
        assert answer["records"] == []
        return
    path = folder / "meter.csv"
    answer = await call(hass, EXPORT, loaded, path=str(path), columns=["frequency"])
    assert (answer["records"], answer["first_record"]) == (0, None)
    assert path.read_text() == "time,index,status,serial_number,frequency [Hz]\n"


async def test_status(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """Status bits have names; one that the manual doesn't know is left out."""
    outage = NOON - timedelta(hours=5, minutes=7)
    logger(
        server,
        clock,
        PowerFailure(outage, outage + timedelta(hours=1)),
        ClockChange(outage + timedelta(minutes=63), 20),
    )
    server.faults.set(faults.ReplacedField(3, "256", 950), path="/data/")
    answer = await call(hass, GET, loaded, first_index=930)
    statuses = {
        record["index"]: record["status"]
        for record in answer["records"]
        if record["status"]
    }
    assert list(statuses.values()) == [["time_changed", "power_failure"]]


async def test_lines_that_are_no_records(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """They are counted, by reason, and so are records of another meter."""
    server.faults.set(faults.BrokenLine(20, 925), path="/data/")
    answer = await call(hass, GET, loaded, first_index=920, last_index=930)
    assert 925 not in indices(answer)
    assert answer["refused"] == {"20 columns instead of 28": 1}
    server.faults.clear()
    foreign = faults.foreign_serial_number(records=range(900, 925))
    server.faults.set(foreign, path="/data/")
    answer = await call(hass, GET, loaded, first_index=920, last_index=930)
    assert indices(answer) == list(range(925, 931))
    assert answer["refused"] == {"another serial number": 5}


@pytest.mark.parametrize(
    ("ahead", "length"),
    [
        (timedelta(minutes=10), timedelta(minutes=30)),
        (timedelta(minutes=40), timedelta(hours=30)),
    ],
)
async def test_clock_that_was_set_back(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    ahead: timedelta,
    length: timedelta,
) -> None:
    """Records with stamps that came twice are all there."""
    change = NOON - timedelta(hours=6, minutes=1)
    meter = logger(server, clock, ClockChange(change, -3600))
    end = change - ahead
    since, until = (end - length).timestamp(), end.timestamp()
    expected = [r.index for r in meter.records() if since < r.stamp <= until]
    assert len(expected) > length / timedelta(minutes=15)
    answer = await call(
        hass,
        GET,
        loaded,
        start=end - length,
        end=end,
    )
    assert indices(answer) == expected


async def test_more_than_a_response_holds(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """A thousand records are fine; beyond, the error says what to do."""
    logger(server, clock, interval=1, days=2)
    entry_id = loaded.entry_id
    answer = await call(hass, GET, loaded, first_index=1, last_index=1000)
    assert len(answer["records"]) == 1000
    told = await refusal(
        hass,
        GET,
        ServiceValidationError,
        config_entry_id=entry_id,
        first_index=11,
        last_index=1011,
    )
    assert "would be 1001 records" in told
    assert "1000 at most" in told
    assert "Export data logger" in told
    told = await refusal(
        hass,
        GET,
        ServiceValidationError,
        config_entry_id=entry_id,
        start=NOON - timedelta(days=1),
    )
    assert "would be 1440 records" in told
    told = await refusal(hass, GET, ServiceValidationError, config_entry_id=entry_id)
    assert "would be 2880 records" in told


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"start": NOON, "first_index": 3}, "either by start and end"),
        ({"end": NOON, "last_index": 3}, "either by start and end"),
        ({"first_index": 4, "last_index": 3}, "last index is before"),
        ({"start": NOON, "end": NOON}, "end must be after the start"),
        ({"start": NOON, "end": NOON - timedelta(days=1)}, "must be after the start"),
    ],
)
@pytest.mark.parametrize("action", [GET, EXPORT])
async def test_contradictions(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    action: str,
    data: Answer,
    told: str,
) -> None:
    """What can't be meant is refused before the meter is asked."""
    path = {"path": "/anywhere.csv"} if action == EXPORT else {}
    assert told in await refusal(
        hass,
        action,
        ServiceValidationError,
        config_entry_id=loaded.entry_id,
        **data,
        **path,
    )
