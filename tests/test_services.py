"""The actions that read and export the data logger, and what all actions refuse."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta
import errno
import json
import os
from pathlib import Path
import resource
import threading
import time
from typing import Any, cast
from zoneinfo import ZoneInfo

from freezegun.api import FrozenDateTimeFactory
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    MockUser,
    async_mock_service,
)
import voluptuous as vol

from custom_components.emu_professional import export
from custom_components.emu_professional.backfill import history_pages
from custom_components.emu_professional.backfill.report import Outcome
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.logs import COLUMNS
from custom_components.emu_professional.services import ACTIONS, statistics
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import (
    HomeAssistantError,
    ServiceValidationError,
    Unauthorized,
)
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.service import async_get_all_descriptions
from homeassistant.helpers.translation import async_get_translations
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import parse_yaml
from simulator import faults
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.history import ClockChange, Event, PowerFailure
from simulator.logger import Record
from simulator.meter import Meter
from simulator.web import MeterServer

from .conftest import COUNTED, NOON, SERIAL_NUMBER

# The tests' Home Assistant lives there.
ZONE = ZoneInfo("US/Pacific")
GET = "get_data_logger"
EXPORT = "export_data_logger"
BACKFILL = "backfill_statistics"
DOCUMENT = Path(__file__).parent.parent / "docs/actions.md"
KEYS = [quantity.key for quantity in COLUMNS]

type Answer = dict[str, Any]


@pytest.fixture(autouse=True)
def impatient_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait between pages."""
    monkeypatch.setattr(history_pages, "_PATIENCE", (0, 0))
    monkeypatch.setattr(history_pages, "_LONGEST_PAUSE", 0)


@pytest.fixture
def folder(hass: HomeAssistant, tmp_path: Path) -> Path:
    """Return a folder that Home Assistant may write to."""
    folder = tmp_path / "media"
    folder.mkdir()
    hass.config.allowlist_external_dirs = {str(folder)}
    return folder


def logger(
    server: MeterServer,
    clock: ManualClock,
    *events: Event,
    days: float = 10,
    **config: Any,
) -> Meter:
    """Let the meter have another logger."""
    server.meter = Meter(
        MeterConfig(
            serial_number=SERIAL_NUMBER,
            installed=NOON - timedelta(days=days),
            events=events,
            logger=replace(COUNTED, **config),
        ),
        clock,
    )
    return server.meter


async def call(
    hass: HomeAssistant, action: str, entry: MockConfigEntry, **data: Any
) -> Answer:
    """Call an action for a meter and return its response."""
    response = await hass.services.async_call(
        DOMAIN,
        action,
        {"config_entry_id": entry.entry_id, **data},
        blocking=True,
        return_response=True,
    )
    assert response is not None
    answer: Answer = json.loads(json.dumps(response))
    assert answer == response
    return answer


async def refusal(
    hass: HomeAssistant, action: str, error: type[HomeAssistantError], **data: Any
) -> str:
    """Call an action that must fail, and return what the owner reads."""
    with pytest.raises(error) as caught:
        await hass.services.async_call(
            DOMAIN, action, data, blocking=True, return_response=True
        )
    assert caught.value.translation_key
    return str(caught.value)


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


def local(stamp: int) -> str:
    """Return a time as it is read in the house."""
    return datetime.fromtimestamp(stamp, UTC).astimezone(ZONE).isoformat()


def indices(answer: Answer) -> list[int]:
    """Return the indices of the records of a response."""
    return [record["index"] for record in answer["records"]]


def at(server: MeterServer, index: int) -> datetime:
    """Return the stamp of a record."""
    (record,) = server.meter.records(index, index)
    return datetime.fromtimestamp(record.stamp, UTC)


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


async def test_window_of_a_back_fill(
    hass: HomeAssistant, loaded: MockConfigEntry
) -> None:
    """A back-fill must not end before it begins, and needs the recorder."""
    told = await refusal(
        hass,
        BACKFILL,
        ServiceValidationError,
        config_entry_id=loaded.entry_id,
        start=NOON,
        end=NOON - timedelta(seconds=1),
    )
    assert "end must be after the start" in told
    told = await refusal(
        hass, BACKFILL, ServiceValidationError, config_entry_id=loaded.entry_id
    )
    assert "recorder is switched off" in told


@pytest.mark.parametrize("action", [GET, EXPORT, BACKFILL])
async def test_meter_must_be_named(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    device_registry: dr.DeviceRegistry,
    action: str,
) -> None:
    """By its entry or by its device, and it must be one of ours that is loaded."""
    other = MockConfigEntry(domain="other", title="Other")
    other.add_to_hass(hass)
    foreign = device_registry.async_get_or_create(
        config_entry_id=other.entry_id, identifiers={("other", "1")}
    )
    (device,) = dr.async_entries_for_config_entry(device_registry, loaded.entry_id)
    path = {"path": "/anywhere.csv"} if action == EXPORT else {}

    async def told(**data: str) -> str:
        return await refusal(hass, action, ServiceValidationError, **data, **path)

    assert "either by its config entry or by its device" in await told()
    assert "either by its config entry or by its device" in await told(
        config_entry_id=loaded.entry_id, device_id=device.id
    )
    assert "device 4711 is not" in await told(device_id="4711")
    assert f"device {foreign.id} is not" in await told(device_id=foreign.id)
    assert "4711 was not found" in await told(config_entry_id="4711")
    assert "Other" in await told(config_entry_id=other.entry_id)
    await hass.config_entries.async_unload(loaded.entry_id)
    assert "not loaded" in await told(config_entry_id=loaded.entry_id)
    assert "not loaded" in await told(device_id=device.id)


async def test_meter_by_its_device(
    hass: HomeAssistant, loaded: MockConfigEntry, device_registry: dr.DeviceRegistry
) -> None:
    """A device is as good as a config entry."""
    (device,) = dr.async_entries_for_config_entry(device_registry, loaded.entry_id)
    answer = await hass.services.async_call(
        DOMAIN,
        GET,
        {"device_id": device.id, "last_index": 1},
        blocking=True,
        return_response=True,
    )
    assert answer and answer["serial_number"] == SERIAL_NUMBER


FAILURES = [
    (faults.Status(404), "no_data_logger"),
    (faults.Status(401), "unauthorized"),
    (faults.Status(500), "unexpected_answer"),
    (faults.ConnectionReset(), "unreachable"),
]


@pytest.mark.parametrize(("fault", "key"), FAILURES)
async def test_meter_that_does_not_answer(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    folder: Path,
    fault: faults.Fault,
    key: str,
) -> None:
    """The owner reads why."""
    server.faults.set(fault, path="/data/")
    path = str(folder / "meter.csv")
    with pytest.raises(HomeAssistantError) as caught:
        await call(hass, GET, loaded)
    assert caught.value.translation_key == key
    assert server.url.rstrip("/") in str(caught.value)
    with pytest.raises(HomeAssistantError) as caught:
        await call(hass, EXPORT, loaded, path=path)
    assert caught.value.translation_key == key
    assert names(folder) == []


async def test_page_that_is_lost(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, folder: Path
) -> None:
    """It is asked for again; no record is missing or there twice."""
    server.faults.set(faults.CutLine(records=500), path="/data/", times=4)
    path = folder / "meter.csv"
    answer = await call(hass, EXPORT, loaded, path=str(path))
    assert answer["records"] == 960
    assert [int(row["index"]) for row in rows(path)] == list(range(1, 961))


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def rows(path: Path) -> list[dict[str, str]]:
    """Return what a spreadsheet reads in a file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


async def test_export_of_everything(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    folder: Path,
) -> None:
    """Every record is in the file, to the last digit."""
    meter = logger(
        server,
        clock,
        PowerFailure(NOON - timedelta(days=3), NOON - timedelta(days=2)),
        days=40,
    )
    path = folder / "meter.csv"
    answer = await call(hass, EXPORT, loaded, path=str(path))
    records = meter.records()
    assert answer == {
        "path": str(path),
        "records": len(records),
        "refused": {},
        "first_record": local(records[0].stamp),
        "last_record": local(records[-1].stamp),
    }
    found = rows(path)
    assert len(found) == len(records) == 39 * 96
    for row, record in zip(found, records, strict=True):
        time, index, status, serial_number, *values = row.values()
        assert time == local(record.stamp)
        assert int(index) == record.index
        assert status == ("power_failure" if record.status else "")
        assert serial_number == SERIAL_NUMBER
        for value, digits, quantity in zip(values, record[4:], COLUMNS, strict=True):
            assert value.replace(".", "").lstrip("-0") == str(digits).lstrip("-0")
            assert len(value.partition(".")[2]) == quantity.decimals
            assert value.startswith("-") is (digits < 0)
    assert list(found[0]) == [
        *("time", "index", "status", "serial_number"),
        *(f"{q.key} [{q.unit}]" if q.unit else q.key for q in COLUMNS),
    ]
    assert {"energy_import_t1 [kWh]", "power_factor_l1"} <= found[0].keys()
    assert names(folder) == ["meter.csv"]


async def test_export_of_a_month(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, folder: Path
) -> None:
    """A window and columns of choice, into a file that is there already."""
    path = folder / "meter.csv"
    path.write_text("old")
    answer = await call(
        hass,
        EXPORT,
        loaded,
        path=str(path),
        start=at(server, 100),
        end=at(server, 102),
        columns="energy_import_t1",
    )
    assert answer["records"] == 2
    first, last = server.meter.records(101, 102)
    assert path.read_text() == (
        "time,index,status,serial_number,energy_import_t1 [kWh]\n"
        f"{local(first.stamp)},101,,{SERIAL_NUMBER},{first.active_import_t1 / 1000:.3f}\n"
        f"{local(last.stamp)},102,,{SERIAL_NUMBER},{last.active_import_t1 / 1000:.3f}\n"
    )


async def test_export_without_response(
    hass: HomeAssistant, loaded: MockConfigEntry, tmp_path: Path
) -> None:
    """A relative path begins in the configuration folder; nobody must ask back."""
    hass.config.config_dir = str(tmp_path)
    hass.config.allowlist_external_dirs = {str(tmp_path / "www")}
    (tmp_path / "www").mkdir()
    await hass.services.async_call(
        DOMAIN,
        EXPORT,
        {
            "config_entry_id": loaded.entry_id,
            "path": "www/meter.csv",
            "first_index": 5,
            "last_index": 5,
        },
        blocking=True,
    )
    assert [row["index"] for row in rows(tmp_path / "www/meter.csv")] == ["5"]


async def test_export_keeps_records_of_another_meter(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, folder: Path
) -> None:
    """A file names the meter in every line; lines that are no records are counted."""
    server.faults.set(faults.foreign_serial_number(records=3), path="/data/")
    path = folder / "meter.csv"
    answer = await call(hass, EXPORT, loaded, path=str(path), last_index=4)
    assert answer["records"] == 4
    assert len({row["serial_number"] for row in rows(path)}) == 2
    server.faults.set(faults.BrokenLine(20, 3), path="/data/")
    answer = await call(hass, EXPORT, loaded, path=str(path), last_index=4)
    assert answer["records"] == 3
    assert answer["refused"] == {"20 columns instead of 28": 1}


async def test_paths_that_are_refused(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    folder: Path,
    tmp_path: Path,
) -> None:
    """Nothing is written outside of the allowed folders, and the meter isn't asked."""
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "secret.csv").write_text("mine")
    (folder / "folder.csv").mkdir()
    server.requests.clear()

    async def told(path: Path) -> str:
        return await refusal(
            hass,
            EXPORT,
            ServiceValidationError,
            config_entry_id=loaded.entry_id,
            path=str(path),
        )

    for path in (
        tmp_path / "meter.csv",
        folder / ".." / "meter.csv",
        folder / "link.csv",
        Path("/"),
        folder / "nul\0.csv",
        folder / "nul\0" / "meter.csv",
        folder / "high\ud800.csv",
        folder / "low\udc80.csv",
        Path("\0"),
    ):
        text = await told(path)
        assert "must not write to" in text
        # It goes to browsers and into automations' traces.
        assert text.encode()
    assert "There is no folder" in await told(folder / "none" / "meter.csv")
    assert "is a folder" in await told(folder / "folder.csv")
    assert "is a folder" in await told(folder)
    assert not server.requests
    assert (tmp_path / "secret.csv").read_text() == "mine"
    assert names(tmp_path) == ["media", "secret.csv"]


@contextmanager
def little_room(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 50_000])
async def test_disk_is_full(
    hass: HomeAssistant, loaded: MockConfigEntry, folder: Path, size: int
) -> None:
    """The old file stays, nothing else is left, and the owner reads why."""
    path = folder / "meter.csv"
    path.write_text("old")
    with little_room(size), pytest.raises(HomeAssistantError) as caught:
        await call(hass, EXPORT, loaded, path=str(path))
    assert caught.value.translation_key == "not_exported"
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert path.read_text() == "old"
    assert names(folder) == ["meter.csv"]


async def test_name_that_is_too_long(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, folder: Path
) -> None:
    """What the system refuses is told before the meter is asked."""
    server.requests.clear()
    for name in ("x" * 256, "ü" * 128):
        with pytest.raises(HomeAssistantError, match=os.strerror(errno.ENAMETOOLONG)):
            await call(hass, EXPORT, loaded, path=str(folder / name))
    assert not server.requests
    for name in ("x" * 255, "ü" * 127):
        await call(hass, EXPORT, loaded, path=str(folder / name), last_index=1)
        assert len(rows(folder / name)) == 1


async def test_links(
    hass: HomeAssistant, loaded: MockConfigEntry, folder: Path, tmp_path: Path
) -> None:
    """What a link leads to is checked and written; the link stays, wherever it is."""
    allowed = folder / "meter.csv"
    allowed.write_text("old")
    (tmp_path / "forbidden.csv").symlink_to(allowed)
    (folder / "new.csv").symlink_to(folder / "not there yet.csv")
    (folder / "nowhere.csv").symlink_to(tmp_path / "not there yet.csv")
    (folder / "circle.csv").symlink_to(folder / "circle.csv")
    (folder / "away").symlink_to(tmp_path)
    (tmp_path / "back").symlink_to(folder)
    for path, written in (
        (tmp_path / "forbidden.csv", allowed),
        (folder / "new.csv", folder / "not there yet.csv"),
        (tmp_path / "back" / "third.csv", folder / "third.csv"),
    ):
        answer = await call(hass, EXPORT, loaded, path=str(path), last_index=1)
        assert answer["path"] == str(written)
        assert not written.is_symlink()
        assert len(rows(written)) == 1
    for path in (folder / "nowhere.csv", folder / "away" / "meter.csv"):
        with pytest.raises(ServiceValidationError, match="must not write to"):
            await call(hass, EXPORT, loaded, path=str(path))
    with pytest.raises(HomeAssistantError, match=os.strerror(errno.ELOOP)):
        await call(hass, EXPORT, loaded, path=str(folder / "circle.csv"))
    links = {
        path.name
        for path in (*folder.iterdir(), *tmp_path.iterdir())
        if path.is_symlink()
    }
    assert links == {
        "forbidden.csv",
        "new.csv",
        "nowhere.csv",
        "circle.csv",
        "away",
        "back",
    }
    assert not (tmp_path / "not there yet.csv").exists()


async def started(
    hass: HomeAssistant,
    server: MeterServer,
    entry: MockConfigEntry,
    path: Path,
) -> asyncio.Task[Answer]:
    """Begin an export that gets stuck after some pages."""
    path.write_text("old")

    async def stuck_in_the_middle() -> None:
        while sum("from=" in request.path for request in server.requests) < 2:
            await server.received(len(server.requests) + 1)
        server.faults.set(faults.Silent(), path="/data/")
        await server.received(len(server.requests) + 1)

    task = hass.async_create_task(call(hass, EXPORT, entry, path=str(path)))
    await stuck_in_the_middle()
    assert len(names(path.parent)) == 2
    return task


async def test_leftovers_of_a_crash(
    hass: HomeAssistant, loaded: MockConfigEntry, folder: Path
) -> None:
    """What an export could not remove goes with the next one, and nothing else does."""
    leftover = folder / ".01J9ZK3V5T8QW2X4Y6Z7A8B9CD.part"
    under_way = folder / ".01J9ZK3V5T8QW2X4Y6Z7A8B9CE.part"
    others = folder / ".download.part", folder / "meter.part"
    for file in (leftover, under_way, *others):
        file.write_text("half")
        long_ago = time.time() - 90_000
        if file is not under_way:
            os.utime(file, (long_ago, long_ago))
    (folder / ".01J9ZK3V5T8QW2X4Y6Z7A8B9CF.part").mkdir()
    await call(hass, EXPORT, loaded, path=str(folder / "meter.csv"), first_index=950)
    assert not leftover.exists()
    assert under_way.exists()
    assert all(file.exists() for file in others)


async def test_export_ends_with_the_entry(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, folder: Path
) -> None:
    """An interrupted export leaves the old file, and says so."""
    path = folder / "meter.csv"
    task = await started(hass, server, loaded, path)
    await hass.config_entries.async_unload(loaded.entry_id)
    with pytest.raises(HomeAssistantError) as caught:
        await task
    assert caught.value.translation_key == "interrupted"
    assert loaded.title in str(caught.value)
    assert path.read_text() == "old"
    assert names(folder) == ["meter.csv"]


async def test_export_ends_with_its_automation(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, folder: Path
) -> None:
    """Where nobody waits any more, nothing goes on."""
    path = folder / "meter.csv"
    task = await started(hass, server, loaded, path)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert path.read_text() == "old"
    assert names(folder) == ["meter.csv"]


@pytest.mark.parametrize("job", ["_write", "_finish"])
async def test_export_ends_while_it_writes(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    job: str,
) -> None:
    """A thread that still writes is waited for; then nothing is left behind."""
    begun, go_on = asyncio.Event(), threading.Event()
    done: Callable[..., None] = getattr(export, job)

    def slow(*arguments: Any) -> None:
        hass.loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)
        done(*arguments)

    monkeypatch.setattr(export, job, slow)
    path = folder / "meter.csv"
    path.write_text("old")
    task = hass.async_create_task(call(hass, EXPORT, loaded, path=str(path)))
    await begun.wait()
    unloading = hass.async_create_task(
        hass.config_entries.async_unload(loaded.entry_id)
    )
    await asyncio.sleep(0)
    go_on.set()
    assert await unloading
    with pytest.raises(HomeAssistantError, match="in the middle of the action"):
        await task
    assert (path.read_text() == "old") is (job == "_write")
    assert names(folder) == ["meter.csv"]


async def test_only_administrators_write(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    hass_read_only_user: MockUser,
    folder: Path,
) -> None:
    """Whoever may see the meter may read its logger, but not write with it."""
    context = Context(user_id=hass_read_only_user.id)
    data: Answer = {"config_entry_id": loaded.entry_id}

    async def ask(action: str, **more: str) -> object:
        return await hass.services.async_call(
            DOMAIN,
            action,
            data | more,
            blocking=True,
            return_response=True,
            context=context,
        )

    assert await ask(GET)
    with pytest.raises(Unauthorized):
        await ask(EXPORT, path=str(folder / "meter.csv"))
    with pytest.raises(Unauthorized):
        await ask(BACKFILL)


async def test_actions_are_there_without_a_meter(
    hass: HomeAssistant, loaded: MockConfigEntry
) -> None:
    """An automation that names an unloaded meter is told so, not that there is no action."""
    await hass.config_entries.async_remove(loaded.entry_id)
    assert hass.services.async_services_for_domain(DOMAIN).keys() == {
        GET,
        EXPORT,
        BACKFILL,
        "fill_costs",
        "get_consumption",
        "get_logbook",
        "firmware_slots",
    }


@pytest.mark.parametrize("language", ["en", "de"])
async def test_descriptions(
    hass: HomeAssistant, loaded: MockConfigEntry, language: str
) -> None:
    """Every field of every action is described, has a name, and is taken."""
    # Those of others would need their requirements.
    for domain, others in hass.services.async_services().items():
        for service in others if domain != DOMAIN else ():
            hass.services.async_remove(domain, service)
    described = (await async_get_all_descriptions(hass))[DOMAIN]
    texts = await async_get_translations(hass, language, "services", {DOMAIN})
    expected = set()
    for name, action in ACTIONS.items():
        fields = described[name]["fields"]
        assert fields.keys() == {str(key) for key in action.schema.schema}
        paths = [name, *(f"{name}.fields.{field}" for field in fields)]
        for path in paths:
            expected |= {
                f"component.{DOMAIN}.services.{path}.name",
                f"component.{DOMAIN}.services.{path}.description",
            }
    assert texts.keys() == expected
    options = await async_get_translations(hass, language, "selector", {DOMAIN})
    for name, field in (
        *((GET, "columns"), (EXPORT, "columns"), (BACKFILL, "mode")),
        ("get_consumption", "per"),
    ):
        select = described[name]["fields"][field]["selector"]["select"]
        for option in select["options"]:
            key = f"{select['translation_key']}.options.{option}"
            assert options[f"component.{DOMAIN}.selector.{key}"]
    select = described[GET]["fields"]["columns"]["selector"]["select"]
    assert select["options"] == KEYS


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, str(key)) for name in ACTIONS for key in ACTIONS[name].schema.schema],
)
def test_nested_lists(name: str, field: str) -> None:
    """They are refused before their text is made: that of many takes a minute of CPU."""
    nested: list[Any] = []
    for _ in range(900):
        nested = [nested]
    with pytest.raises(vol.Invalid) as caught:
        ACTIONS[name].schema({"start": "2026-06-01", "path": "/", field: nested})
    (error,) = (each for each in errors_of(caught.value) if each.path[:1] == [field])
    assert len(str(error)) < 200


def errors_of(error: vol.Invalid) -> list[vol.Invalid]:
    """Return the single errors of what a schema has raised."""
    return error.errors if isinstance(error, vol.MultipleInvalid) else [error]


def test_energy_has_the_digits_of_the_meter() -> None:
    """What many small differences sum up to is shown without the computer's own digits."""
    outcome = Outcome("kWh", has_sum=True, more=0.1 + 0.2)
    assert statistics._outcome(outcome)["energy_moved"] == 0.3


async def test_example_of_the_document(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    folder: Path,
    freezer: FrozenDateTimeFactory,
) -> None:
    """The script that writes a file of the last month does."""
    freezer.move_to(NOON)
    section = DOCUMENT.read_text().partition("### Export data logger")[2]
    text = section.split("```yaml")[1].partition("```")[0]
    example = cast("Answer", parse_yaml(text))
    data = example["sequence"][0]["data"]
    data["config_entry_id"] = loaded.entry_id
    data["path"] = data["path"].replace("/media/", f"{folder}/")
    messages = async_mock_service(hass, "notify", "notify")
    assert await async_setup_component(hass, "script", {"script": {"month": example}})
    await hass.services.async_call("script", "month", blocking=True)
    await hass.async_block_till_done(wait_background_tasks=True)
    midnight = NOON.astimezone(ZONE).replace(hour=0).timestamp()
    expected = [r.index for r in server.meter.records() if r.stamp <= midnight]
    found = rows(folder / "load-profile.csv")
    assert [int(row["index"]) for row in found] == expected
    (message,) = messages
    assert message.data["message"] == (
        f"{len(expected)} records until 2026-06-01T00:00:00-07:00 are in"
        f" {folder}/load-profile.csv. Lines that could not be read: 0."
    )
