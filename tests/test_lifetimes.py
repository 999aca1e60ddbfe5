"""Work in progress while its meter is disabled or removed."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
import json
import threading
from typing import Any, Final
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
    async_fire_time_changed,
)

from custom_components.emu_professional.backfill.ledger_keeper import backfill_store
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.coordinator import registers_store
from custom_components.emu_professional.demand_coordinator import demand_store
from custom_components.emu_professional.emu import new_records
from custom_components.emu_professional.log_position import logbook_store
from custom_components.emu_professional.relocation import fingerprint_store
from homeassistant.config_entries import ConfigEntryDisabler
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import Event, HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.storage import Store
from simulator import faults
from simulator.clock import ManualClock
from simulator.history import CurrentRatioChange
from simulator.web import MeterServer
from tests.conftest import SERIAL_NUMBER

LOGBOOK: Final = f"event.emu_professional_ii_{SERIAL_NUMBER}_logbook"


class Disk:
    """A disk that stops in the middle of a write until it is told to go on.

    As with Home Assistant's own, a thread writes: it goes on if nobody waits for it.
    """

    def __init__(self, hass: HomeAssistant, files: dict[str, Any]) -> None:
        """Begin as a quick disk."""
        self._hass = hass
        self._files = files
        self._is_slow = False
        self._begun = asyncio.Event()
        self._go_on = threading.Event()
        self._write_other = Store._async_write_data

    async def write(self, store: Store[Any], data: dict[str, Any]) -> None:
        """Write a file, those of others without a thread."""
        if not store.key.startswith(f"{DOMAIN}."):
            await self._write_other(store, data)
            return
        if "data_func" in data:
            data["data"] = data.pop("data_func")()
        text = json.dumps(data)
        await self._hass.async_add_executor_job(self._write, store.key, text)

    def _write(self, key: str, text: str) -> None:
        if self._is_slow:
            self._is_slow = False
            self._hass.loop.call_soon_threadsafe(self._begun.set)
            assert self._go_on.wait(30)
        self._files[key] = json.loads(text)

    def slow_down(self) -> None:
        """Let the next write take its time, and no other."""
        self._is_slow = True

    async def begun(self) -> None:
        """Wait for a write."""
        await self._begun.wait()

    def go_on(self) -> None:
        """Let the stopped write continue."""
        self._go_on.set()


@pytest.fixture
def disk(hass: HomeAssistant, hass_storage: dict[str, Any]) -> Iterator[Disk]:
    """Return the disk with Home Assistant's files."""
    disk = Disk(hass, hass_storage)

    async def write(store: Store[Any], data: dict[str, Any]) -> None:
        await disk.write(store, data)

    with patch.object(Store, "_async_write_data", write):
        yield disk


@pytest.fixture
async def followed(
    hass: HomeAssistant,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    impatient: None,
    loaded: MockConfigEntry,
) -> MockConfigEntry:
    """Return the entry of a meter after the first look at its logs."""
    monkeypatch.setattr(new_records, "_PAUSE", 0)
    await look(hass)
    return loaded


async def look(hass: HomeAssistant) -> None:
    """Let the time for a look at the logs come."""
    async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=310))
    await hass.async_block_till_done(wait_background_tasks=True)


def reported(events: list[Event[Any]]) -> list[str]:
    """Return the reported events of the logbook, with repetitions."""
    return [
        event.data["new_state"].attributes["event_type"]
        for event in events
        if event.data["entity_id"] == LOGBOOK
        and event.data["new_state"]
        and event.data["new_state"].state not in ("unavailable", "unknown")
        and event.data["old_state"]
        and event.data["old_state"].state != "unavailable"
        and event.data["old_state"].state != event.data["new_state"].state
    ]


def files(hass_storage: dict[str, Any], entry: MockConfigEntry) -> list[str]:
    """Return the files of an entry."""
    return [key for key in hass_storage if entry.entry_id in key]


def happen(server: MeterServer, clock: ManualClock, primary: int = 100) -> None:
    """Change a setting of the meter."""
    at = datetime.fromtimestamp(clock.now(), UTC) + timedelta(seconds=10)
    server.meter.happens(CurrentRatioChange(at, primary=primary))
    clock.advance(60)


async def test_disabled_between_reading_and_reporting(
    hass: HomeAssistant,
    followed: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    disk: Disk,
) -> None:
    """Events read but not reported are reported once the entry is enabled again."""
    changes = async_capture_events(hass, EVENT_STATE_CHANGED)
    happen(server, clock)
    disk.slow_down()
    async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=310))
    await disk.begun()
    disabling = hass.async_create_task(
        hass.config_entries.async_set_disabled_by(
            followed.entry_id, ConfigEntryDisabler.USER
        )
    )
    await asyncio.wait([disabling], timeout=0.3)
    disk.go_on()
    await disabling
    await hass.async_block_till_done()
    await hass.config_entries.async_set_disabled_by(followed.entry_id, None)
    await hass.async_block_till_done()
    for _ in range(2):
        await look(hass)
    assert reported(changes) == ["current_transformer_changed"]


async def test_disabled_while_reading(
    hass: HomeAssistant,
    followed: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """Events of an interrupted look are reported later, once."""
    changes = async_capture_events(hass, EVENT_STATE_CHANGED)
    happen(server, clock)
    server.faults.set(faults.Silent(), path="/data/")
    asked = len(server.requests)
    async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=310))
    while not any("/data/" in r.path for r in server.requests[asked:]):
        await server.received(len(server.requests) + 1)
    await hass.config_entries.async_unload(followed.entry_id)
    server.faults.clear()
    await hass.config_entries.async_setup(followed.entry_id)
    for _ in range(2):
        await look(hass)
    assert reported(changes) == ["current_transformer_changed"]


async def test_first_look_ends_with_the_entry(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """A look in progress ends with its entry."""
    server.faults.set(faults.Slow(0.5), path="/logbook/")
    asked = len(server.requests)
    async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=80))
    while not any("/logbook/" in r.path for r in server.requests[asked:]):
        await server.received(len(server.requests) + 1)
    await hass.config_entries.async_unload(loaded.entry_id)
    server.requests.clear()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert not server.requests


async def test_disabled_entity(
    hass: HomeAssistant,
    followed: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """Events of a time with a disabled entity are not reported later."""
    registry = er.async_get(hass)
    registry.async_update_entity(LOGBOOK, disabled_by=er.RegistryEntryDisabler.USER)
    await hass.config_entries.async_reload(followed.entry_id)
    happen(server, clock)
    await look(hass)
    registry.async_update_entity(LOGBOOK, disabled_by=None)
    changes = async_capture_events(hass, EVENT_STATE_CHANGED)
    await hass.config_entries.async_reload(followed.entry_id)
    await look(hass)
    assert reported(changes) == []
    happen(server, clock, primary=200)
    await look(hass)
    assert reported(changes) == ["current_transformer_changed"]


async def test_removed_while_a_file_is_written(
    hass: HomeAssistant,
    followed: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    disk: Disk,
    hass_storage: dict[str, Any],
) -> None:
    """No file of a meter comes back after its removal."""
    assert files(hass_storage, followed)
    happen(server, clock)
    disk.slow_down()
    async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=310))
    await disk.begun()
    removal = hass.async_create_task(
        hass.config_entries.async_remove(followed.entry_id)
    )
    await asyncio.wait([removal], timeout=0.3)
    disk.go_on()
    await removal
    await hass.async_block_till_done(wait_background_tasks=True)
    async_fire_time_changed(hass, datetime.now(UTC) + timedelta(hours=1))
    await hass.async_block_till_done(wait_background_tasks=True)
    assert files(hass_storage, followed) == []


async def test_what_is_saved_after_the_removal(
    hass: HomeAssistant, followed: MockConfigEntry, hass_storage: dict[str, Any]
) -> None:
    """Late saves are ignored."""
    stores = [
        store(hass, followed)
        for store in (
            registers_store,
            backfill_store,
            logbook_store,
            demand_store,
            fingerprint_store,
        )
    ]
    await hass.config_entries.async_remove(followed.entry_id)
    for store in stores:
        await store.async_save({"late": True})
        store.async_delay_save(lambda: {"late": True})
    await hass.async_block_till_done()
    assert files(hass_storage, followed) == []
