"""Follows a meter's logbook and the status bits of its data logger.

Chapters "Read-Out Logbook" and "Definition of the Status-Codes". What happened while
Home Assistant was off is told at its next start, once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, override

import voluptuous as vol

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator
from homeassistant.util import dt as dt_util
from homeassistant.util.json import JsonValueType

from .const import LOGGER
from .coordinator import EmuCoordinator
from .emu.client import MeterClient
from .emu.errors import MeterError, MeterWithoutLogbook, MeterWithoutLogger
from .emu.events import MeterEvent, Told, new_events
from .emu.logs import (
    LOGBOOK_REGISTERS,
    SETTINGS,
    ChangeKind,
    LogbookRecord,
    LoggerStatus,
    Page,
    Record,
)
from .storage import EntryStore, entry_store, shape

LOGBOOK_SIZE: Final = 2048
"""Records that a logbook holds at most."""

LOGGER_SIZE: Final = 3000
"""Records of the data logger that are looked at after a long absence."""

_INTERVAL: Final = timedelta(minutes=5)
_FIRST_LOOK: Final = timedelta(seconds=15)
"""After the start, when everything else asks the meter as well."""
_SPREAD: Final = timedelta(minutes=1)
"""From the first look of the first meter to that of the last one."""
_PAGE: Final = 96
_PAUSE: Final = 0.2
"""Seconds between two pages."""
_UNITS: Final = {pair.kind: pair.unit for pair in SETTINGS}


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of a meter's logs; None of a log that it does not have."""

    logbook: int | None = None
    """Index of the newest record of the logbook."""
    logger: int | None = None
    """Index of the newest record of the data logger."""
    status: LoggerStatus | None = None
    """Status bits of that record."""


class LogbookCoordinator(DataUpdateCoordinator[Remembered]):
    """Looks every 5 minutes whether the meter has logged something.

    `events` has what happened until somebody takes it. What a meter has logged
    before it was added is not told.
    """

    config_entry: ConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: ConfigEntry, meter: EmuCoordinator
    ) -> None:
        """Initialize the coordinator of a config entry."""
        super().__init__(
            hass,
            LOGGER,
            config_entry=entry,
            name=f"{entry.title} logbook",
            always_update=False,
        )
        self.data = Remembered()
        self.events: deque[MeterEvent] = deque(maxlen=LOGBOOK_SIZE)
        self._meter = meter
        self._told = Told()
        self._empty_since: int | None = None
        """When the meter was seen without a logbook: not with one that can't be read."""
        self._store = logbook_store(hass, entry)

    async def async_start(self) -> None:
        """Begin once there are automations that can hear of it."""
        if stored := await self._store.async_load():
            self._told = told = _told(stored)
            self._empty_since = stored["empty_since"]
            status = None if told.logger is None else told.lasting
            self.async_set_updated_data(Remembered(told.logbook, told.logger, status))
        # Without a listener nothing would be asked.
        self.config_entry.async_on_unload(self.async_add_listener(lambda: None))
        self.config_entry.async_on_unload(async_at_started(self.hass, self._begin))

    @callback
    def _begin(self, hass: HomeAssistant) -> None:
        self.update_interval = _INTERVAL
        self.config_entry.async_on_unload(
            async_call_later(
                hass, _FIRST_LOOK + self._meter.place * _SPREAD, self._first_look
            )
        )

    async def _first_look(self, now: datetime) -> None:
        await self.async_refresh()

    @override
    async def _async_update_data(self) -> Remembered:
        if self._meter.installation.is_busy:
            return self.data
        client = self._meter.client
        try:
            logbook = await _newest(client.newest_logbook_records)
            logger = await _newest(client.newest_records)
            await self._async_tell(client, logbook, logger)
        except MeterError as err:
            # The meter's own coordinator says so; here what was known stays.
            LOGGER.debug("%s: %s", self.name, err)
            return self.data
        return Remembered(
            logbook.index if logbook else None,
            logger.index if logger else None,
            LoggerStatus(logger.status) if logger else None,
        )

    async def _async_tell(
        self, client: MeterClient, logbook: LogbookRecord | None, logger: Record | None
    ) -> None:
        told = self._told
        before = self._to_store()
        if logbook and not _goes_on(told.logbook, logbook.index):
            told.logbook = await self._async_first(client, logbook)
        elif logbook is None and self._empty_since is None:
            self._empty_since = int(dt_util.utcnow().timestamp())
        if logger and not _goes_on(told.logger, logger.index):
            told.logger = logger.index
            new_events(told, (), [logger])
        new_logbook = await _read(
            client.logbook_records, told.logbook, logbook, LOGBOOK_SIZE
        )
        new_logger = await _read(client.records, told.logger, logger, LOGGER_SIZE)
        serial_number = self._meter.serial_number
        self.events += new_events(
            told,
            [r for r in new_logbook if r.serial_number == serial_number],
            [r for r in new_logger if r.serial_number == serial_number],
        )
        if (now := self._to_store()) != before:
            await self._store.async_save(now)

    async def _async_first(self, client: MeterClient, newest: LogbookRecord) -> int:
        """Return up to where a logbook that was not there before is old."""
        since = self._empty_since
        if since is None or newest.at < since:
            return newest.index
        page = await client.newest_logbook_records(_PAGE)
        return min(record.index for record in page.records if record.at >= since) - 1

    async def async_read(self) -> list[LogbookRecord]:
        """Return all records of the logbook. Raises MeterError."""
        client = self._meter.client
        page = await client.newest_logbook_records(1)
        newest = page.records[-1] if page.records else None
        return await _read(client.logbook_records, -1, newest, LOGBOOK_SIZE)

    @callback
    def diagnostics(self) -> dict[str, Any]:
        """Return how far the logs were followed; indices and bits name no meter."""
        told = self._told
        return {
            "logbook": self.data.logbook,
            "logger": self.data.logger,
            "status": None if self.data.status is None else int(self.data.status),
            "reported": {"logbook": told.logbook, "logger": told.logger},
            "lasting": int(told.lasting),
            "pending_events": len(self.events),
            "was_empty": self._empty_since is not None,
        }

    def _to_store(self) -> dict[str, Any]:
        told = self._told
        return {
            "logbook": told.logbook,
            "logger": told.logger,
            "lasting": int(told.lasting),
            "changes": [[index, int(bit)] for index, bit in sorted(told.changes)],
            "empty_since": self._empty_since,
        }

    @callback
    def take_events(self) -> list[MeterEvent]:
        """Return what has happened since this was called last."""
        events = [*self.events]
        self.events.clear()
        return events


async def _newest[R: Record | LogbookRecord](
    ask: Callable[[int], Awaitable[Page[R]]],
) -> R | None:
    try:
        page = await ask(1)
    except MeterWithoutLogbook, MeterWithoutLogger:
        return None
    return page.records[-1] if page.records else None


async def _read[R: Record | LogbookRecord](
    ask: Callable[[int, int], Awaitable[Page[R]]],
    told: int | None,
    newest: R | None,
    most: int,
) -> list[R]:
    """Return the records behind one that was told, in small pages."""
    if told is None or newest is None:
        return []
    records: list[R] = []
    first = max(told + 1, newest.index - most + 1)
    while first <= newest.index:
        page = await ask(first, min(first + _PAGE - 1, newest.index))
        records += page.records
        first += _PAGE
        if not page.whole or first > newest.index:
            break
        await asyncio.sleep(_PAUSE)
    return records


def _goes_on(told: int | None, newest: int) -> bool:
    """Whether a log goes on from where it was told; not if it was begun anew."""
    return told is not None and told <= newest


def described(record: LogbookRecord) -> dict[str, JsonValueType]:
    """Return a record of the logbook as event data or as an answer.

    Energy is in kWh, a setting in the unit beside it, times are Home Assistant's.
    """
    data: dict[str, JsonValueType] = {
        "time": shown(record.at),
        "index": record.index,
        "logger_index": record.logger_index,
    }
    for change in record.changes:
        is_time = change.kind is ChangeKind.TIME
        for name, value in (("before", change.before), ("after", change.after)):
            data[f"{change.kind}_{name}"] = shown(value) if is_time else value
        if unit := _UNITS.get(change.kind):
            data[f"{change.kind}_unit"] = unit
    for quantity, value in zip(LOGBOOK_REGISTERS, record.registers, strict=True):
        data[quantity.key] = value / 10**quantity.decimals
    return data


def shown(at: int) -> str:
    """Return seconds since 1970-01-01 UTC as Home Assistant's time, with its offset."""
    return dt_util.as_local(dt_util.utc_from_timestamp(at)).isoformat()


def _told(stored: dict[str, Any]) -> Told:
    return Told(
        stored["logbook"],
        stored["logger"],
        LoggerStatus(stored["lasting"]),
        {(index, LoggerStatus(bit)) for index, bit in stored["changes"]},
    )


@callback
def logbook_store(hass: HomeAssistant, entry: ConfigEntry) -> EntryStore:
    """Return where it outlives a restart what was told already."""
    return entry_store(
        hass,
        entry,
        "logbook",
        shape(
            logbook=vol.Maybe(int),
            logger=vol.Maybe(int),
            lasting=LoggerStatus,
            changes=[vol.ExactSequence([int, LoggerStatus])],
            empty_since=vol.Maybe(int),
        ),
    )
