"""The action that writes the data logger to a file."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
import errno
import os
from pathlib import Path
import resource
import threading
import time
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional import export
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.logs import COLUMNS
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from simulator import faults
from simulator.clock import ManualClock
from simulator.history import PowerFailure
from simulator.web import MeterServer
from tests.conftest import NOON, SERIAL_NUMBER

from .actions import EXPORT, Answer, at, call, local, logger, names, refusal, rows


async def test_page_that_is_lost(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, folder: Path
) -> None:
    """It is asked for again; no record is missing or there twice."""
    server.faults.set(faults.CutLine(records=500), path="/data/", times=4)
    path = folder / "meter.csv"
    answer = await call(hass, EXPORT, loaded, path=str(path))
    assert answer["records"] == 960
    assert [int(row["index"]) for row in rows(path)] == list(range(1, 961))


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
    """A name that the system rejects is an error before the meter is asked."""
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
    """The export ends when its automation is stopped, and leaves the old file."""
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
    """Unloading waits for the thread that still writes; no other file is left."""
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
