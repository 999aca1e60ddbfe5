"""Following a meter's logbook and the status bits of its data logger.

Chapters "Read-Out Logbook" and "Definition of the Status-Codes". Events during a
downtime of Home Assistant are reported once, at its next start.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, override

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator
from homeassistant.util import dt as dt_util

from .config_entry import EmuConfigEntry
from .const import DOMAIN, LOGGER
from .coordinator import EmuCoordinator
from .emu.client import MeterClient
from .emu.errors import MeterError, MeterUnexpectedAnswer
from .emu.events import LogPosition, MeterEvent, new_events
from .emu.logs import LATENCY, USUAL_INTERVAL, LogbookRecord, LoggerStatus, Record
from .emu.new_records import (
    LOGBOOK_SIZE,
    LOGGER_SIZE,
    PAGE,
    LogbookAnswer,
    newest_record,
    read_logbook,
    read_span,
    records_after,
)
from .emu.serial_number import normalized
from .log_position import logbook_store, position_as_dict, position_from_dict

LOGBOOK_KEY: Final = "logbook"
"""Key of the event entity."""

_INTERVAL: Final = timedelta(minutes=5)
_SLOW: Final = 2.0
"""Seconds for one record; a slower meter is asked only when a record is due."""
_FIRST_LOOK: Final = timedelta(seconds=15)
"""Delay after the start, when everything else asks the meter as well."""
_SPREAD: Final = timedelta(minutes=1)
"""Time over which the looks of several meters are staggered."""
_LOOKS_WITHOUT_LOGBOOK: Final = 12
"""A logbook missing for this many looks (one hour) counts as removed."""


@dataclass(frozen=True, slots=True)
class LogData:
    """Newest records of a meter's logs; None for an absent log."""

    logbook: int | None = None
    """Index of the newest logbook record."""
    logger: int | None = None
    """Index of the newest logger record."""
    status: LoggerStatus | None = None
    """Status bits of the newest logger record."""


class LogbookCoordinator(DataUpdateCoordinator[LogData]):
    """Looks for new log records every 5 minutes; on a slow meter when one is due.

    `events` queues events until they are reported. Only then the position in the logs
    is stored: if the entry is disabled before, they are read again later. Records from
    before the meter was added are not reported.
    """

    config_entry: EmuConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: EmuConfigEntry, meter: EmuCoordinator
    ) -> None:
        """Initialize the coordinator of a config entry."""
        super().__init__(
            hass,
            LOGGER,
            config_entry=entry,
            name=f"{entry.title} logbook",
        )
        self.data = LogData()
        self.events: deque[MeterEvent] = deque(maxlen=LOGBOOK_SIZE)
        self._meter = meter
        self._position = LogPosition()
        self._looks_without_logbook = 0
        self.newest_record: Record | None = None
        """Newest logger record at the last successful look."""
        self._logger_records: deque[Record] = deque(maxlen=LOGGER_SIZE)
        self._logger_interval = USUAL_INTERVAL
        self._store = logbook_store(hass, entry)
        self._stored = position_as_dict(self._position)

    async def async_start(self) -> None:
        """Load the position, and begin once Home Assistant runs its automations."""
        if stored := await self._store.async_load():
            self._stored = stored
            self._position = last = position_from_dict(stored)
            status = None if last.logger is None else last.lasting
            self.async_set_updated_data(LogData(last.logbook, last.logger, status))
        # A coordinator without a listener does not poll.
        self.config_entry.async_on_unload(self.async_add_listener(lambda: None))
        self.config_entry.async_on_unload(async_at_started(self.hass, self._begin))

    @callback
    def _begin(self, hass: HomeAssistant) -> None:
        self.update_interval = _INTERVAL
        self.config_entry.async_on_unload(
            async_call_later(
                hass, _FIRST_LOOK + self._meter.turn * _SPREAD, self._first_look
            )
        )

    @callback
    def _first_look(self, now: datetime) -> None:
        self.config_entry.async_create_background_task(
            self.hass, self.async_refresh(), f"{self.name} first look"
        )

    @override
    async def _async_update_data(self) -> LogData:
        if self._meter.is_being_updated or self._is_too_early():
            return self.data
        client = self._meter.client
        last = self._position
        try:
            logbook = await newest_record(client.newest_logbook_records, last.logbook)
            self._check_logbook(logbook)
            logger = await newest_record(client.newest_records, last.logger)
            await self._async_follow(client, logbook, logger)
            self._learn_interval(logger)
            self._plan_next_look()
        except MeterError as err:
            # The coordinator of the readings reports a failing meter to its owner.
            LOGGER.debug("%s: %s", self.name, err)
            return self.data
        # A missing log may only be busy: its last known record stays.
        known = self.data
        return LogData(
            logbook.index if logbook else known.logbook,
            logger.index if logger else known.logger,
            LoggerStatus(logger.status) if logger else known.status,
        )

    def _is_too_early(self) -> bool:
        """Return whether a slow meter can't have logged anything since the last look.

        A logbook record also sets a status bit in the next logger record.
        """
        if self._meter.client.pace.fixed < _SLOW:
            return False
        return (due := self._seconds_until_due()) is not None and due > 0

    def _seconds_until_due(self) -> float | None:
        """Return the seconds until the next logger record; None if unknown."""
        if self.newest_record is None:
            return None
        longest = self._logger_interval + LATENCY
        due = self.newest_record.at + longest - self._meter_time()
        # The meter's clock was lost or set back: by it no record would be due for years.
        return due if due <= longest else None

    def _meter_time(self) -> float:
        """Return the time of the meter's clock in seconds since 1970-01-01."""
        ahead = self._meter.data.clock_offset or timedelta()
        return (dt_util.utcnow() + ahead).timestamp()

    def _plan_next_look(self) -> None:
        """Look again after the interval, or earlier for the next logger record."""
        due = self._seconds_until_due()
        look = _INTERVAL
        if due is not None and due > 0:
            # Records of several meters are due at the same moment.
            look = min(look, timedelta(seconds=due) + self._meter.turn * _SPREAD)
        self.update_interval = look

    def _learn_interval(self, newest: Record | None) -> None:
        """Learn the logger's interval from the newest records of two looks."""
        previous, self.newest_record = self.newest_record, newest
        if newest is None or previous is None or newest.index <= previous.index:
            return
        interval = (newest.at - previous.at) // (newest.index - previous.index)
        # A set clock can make it negative or hours long.
        if 0 < interval <= USUAL_INTERVAL * 4:
            self._logger_interval = interval

    def _check_logbook(self, newest: LogbookRecord | None) -> None:
        """Raise MeterUnexpectedAnswer if the logbook is missing for less than an hour.

        Otherwise a change would be reported twice: for its status bit now, and for its
        record once the logbook is back.
        """
        if newest or self._position.logbook is None:
            self._looks_without_logbook = 0
        elif self._looks_without_logbook < _LOOKS_WITHOUT_LOGBOOK:
            self._looks_without_logbook += 1
            raise MeterUnexpectedAnswer("the logbook is not there now")

    async def _async_follow(
        self, client: MeterClient, logbook: LogbookRecord | None, logger: Record | None
    ) -> None:
        """Read the new records of both logs, and queue their events.

        If a request fails in between, the position stays and all is read again.
        """
        if logbook is None and self._position.empty_since is None:
            now = int(self._meter_time())
            self._position = replace(self._position, empty_since=now)
        start = await self._async_start_position(client, logbook, logger)
        new_logbook = await records_after(
            client.logbook_records, start.logbook, logbook, LOGBOOK_SIZE
        )
        new_logger = await records_after(
            client.records, start.logger, logger, LOGGER_SIZE
        )
        # The module may have been moved from another meter, with its records.
        serial_number = normalized(self._meter.serial_number)
        own_logbook = [r for r in new_logbook if r.serial_number == serial_number]
        own_logger = [r for r in new_logger if r.serial_number == serial_number]
        events, position = new_events(start, own_logbook, own_logger)
        # Those of another meter count as read, or each look would read them again.
        self._position = replace(
            position,
            logbook=new_logbook[-1].index if new_logbook else position.logbook,
            logger=new_logger[-1].index if new_logger else position.logger,
        )
        self._logger_records += own_logger
        # A disabled entity would report them all at once when it is enabled one day.
        if not self._is_entity_disabled():
            self.events += events
        else:
            self.events.clear()
        self._store_position()

    async def _async_start_position(
        self, client: MeterClient, logbook: LogbookRecord | None, logger: Record | None
    ) -> LogPosition:
        """Return the position to read from, also for a new or restarted log."""
        start = self._position
        if logbook and not _continues(start.logbook, logbook.index):
            first = await self._async_first(client, logbook)
            start = replace(start, logbook=first)
        if logger and not _continues(start.logger, logger.index):
            # Its states count as reported, its events are of the past.
            start = replace(start, logger=logger.index)
            _, start = new_events(start, (), [logger])
        return start

    def _is_entity_disabled(self) -> bool:
        """Return whether the owner has disabled the event entity."""
        registry = er.async_get(self.hass)
        unique_id = f"{self._meter.serial_number}_{LOGBOOK_KEY}"
        found = registry.async_get_entity_id(Platform.EVENT, DOMAIN, unique_id)
        return found is not None and registry.entities[found].disabled

    async def _async_first(self, client: MeterClient, newest: LogbookRecord) -> int:
        """Return the index before the first new record of a formerly empty logbook."""
        since = self._position.empty_since
        if since is None or newest.at < since:
            return newest.index
        first = max(newest.index - PAGE + 1, 0)
        page, _ = await read_span(client.logbook_records, first, newest.index)
        new = [record.index for record in (*page, newest) if record.at >= since]
        return min(new) - 1

    @callback
    def take_logger_records(self) -> list[Record]:
        """Return the new logger records of this meter since the last call."""
        records = [*self._logger_records]
        self._logger_records.clear()
        return records

    async def async_read(self) -> LogbookAnswer:
        """Return the whole logbook. Raises MeterError."""
        return await read_logbook(self._meter.client)

    @callback
    def diagnostics(self) -> dict[str, Any]:
        """Return the position in both logs; indices and bits name no meter."""
        last = self._position
        return {
            "logbook": self.data.logbook,
            "logger": self.data.logger,
            "status": None if self.data.status is None else int(self.data.status),
            "reported": {"logbook": last.logbook, "logger": last.logger},
            "lasting": int(last.lasting),
            "pending_events": len(self.events),
            "was_empty": last.empty_since is not None,
        }

    @callback
    def report_events(self, report: Callable[[MeterEvent], None]) -> None:
        """Report each queued event once, and store the position after them."""
        while self.events:
            report(self.events[0])
            self.events.popleft()
        self._store_position()

    def _store_position(self) -> None:
        """Store the position, unless some of its events are not reported yet."""
        now = position_as_dict(self._position)
        if self.events or now == self._stored:
            return
        self._stored = now
        self.config_entry.async_create_task(self.hass, self._store.async_save(now))


def _continues(position: int | None, newest: int) -> bool:
    """Return whether a log continues after a position; False if it restarted."""
    return position is not None and position <= newest
