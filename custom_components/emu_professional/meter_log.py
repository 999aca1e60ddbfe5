"""Following a meter's logbook and the status bits of its data logger.

Chapters "Read-Out Logbook" and "Definition of the Status-Codes". Events during a
downtime of Home Assistant are reported once, at its next start.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
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
from .emu.logs import LATENCY, USUAL_INTERVAL, LogbookRecord, LoggerStatus, Page, Record
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


@dataclass(frozen=True, slots=True)
class _Found[R: Record | LogbookRecord]:
    """What a look found in one log: its newest record, None if there is none.

    `records` are those after the position `start`. An `error` says that it can't be
    read now.
    """

    newest: R | None = None
    start: int | None = None
    records: Sequence[R] = ()
    error: MeterError | None = None


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
        try:
            logbook, logger = await self._async_look()
        except MeterError as err:
            # The coordinator of the readings reports a failing meter to its owner.
            LOGGER.debug("%s: %s", self.name, err)
            return self.data
        self._follow(logbook, logger)
        if not logger.error:
            self._learn_interval(logger.newest)
        self._plan_next_look()
        # A missing log may only be busy: its last known record stays.
        known = self.data
        return LogData(
            logbook.newest.index if logbook.newest else known.logbook,
            logger.newest.index if logger.newest else known.logger,
            LoggerStatus(logger.newest.status) if logger.newest else known.status,
        )

    async def _async_look(self) -> tuple[_Found[LogbookRecord], _Found[Record]]:
        """Return what is new in both logs.

        Each may fail without the other. Raises MeterError if both do, or if the
        logbook has failed for less than an hour.
        """
        client, last = self._meter.client, self._position

        async def first(newest: LogbookRecord) -> int:
            return await self._async_first(client, newest)

        async def last_of_past(newest: Record) -> int:
            # Its states count as reported, its events are of the past.
            return newest.index

        logbook = await _async_find(
            client.newest_logbook_records,
            client.logbook_records,
            last.logbook,
            first,
            LOGBOOK_SIZE,
        )
        logger = await _async_find(
            client.newest_records,
            client.records,
            last.logger,
            last_of_past,
            LOGGER_SIZE,
        )
        if logbook.error and logger.error:
            raise logger.error
        for error in (logbook.error, logger.error):
            if error:
                LOGGER.debug("%s: %s", self.name, error)
        self._check_logbook(logbook)
        return logbook, logger

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

    def _check_logbook(self, logbook: _Found[LogbookRecord]) -> None:
        """Raise MeterError if the logbook is missing or fails for less than an hour.

        Otherwise a change would be reported twice: for its status bit now, and for its
        record once the logbook is back.
        """
        last = self._position
        was_read = last.logbook is not None or (
            # A logbook that was empty may have its first record now.
            logbook.error is not None and last.empty_since is not None
        )
        if logbook.newest or not was_read:
            self._looks_without_logbook = 0
        elif self._looks_without_logbook < _LOOKS_WITHOUT_LOGBOOK:
            self._looks_without_logbook += 1
            raise logbook.error or MeterUnexpectedAnswer("the logbook is not there now")

    def _follow(self, logbook: _Found[LogbookRecord], logger: _Found[Record]) -> None:
        """Queue the events of the new records, and advance the position."""
        start = self._position
        is_empty = logbook.newest is None and logbook.error is None
        if is_empty and start.empty_since is None:
            start = replace(start, empty_since=int(self._meter_time()))
        if logbook.newest:
            start = replace(start, logbook=logbook.start)
        if logger.newest and logger.start != start.logger:
            start = replace(start, logger=logger.start)
            _, start = new_events(start, (), [logger.newest])
        # The module may have been moved from another meter, with its records.
        serial_number = normalized(self._meter.serial_number)
        own_logbook = [r for r in logbook.records if r.serial_number == serial_number]
        own_logger = [r for r in logger.records if r.serial_number == serial_number]
        events, position = new_events(start, own_logbook, own_logger)
        # Those of another meter count as read, or each look would read them again.
        self._position = replace(
            position,
            logbook=_last_index(logbook.records, position.logbook),
            logger=_last_index(logger.records, position.logger),
        )
        self._logger_records += own_logger
        # A disabled entity would report them all at once when it is enabled one day.
        if not self._is_entity_disabled():
            self.events += events
        else:
            self.events.clear()
        self._store_position()

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


async def _async_find[R: Record | LogbookRecord](
    ask_newest: Callable[[int], Awaitable[Page[R]]],
    ask: Callable[[int, int], Awaitable[Page[R]]],
    position: int | None,
    first: Callable[[R], Awaitable[int]],
    most: int,
) -> _Found[R]:
    """Return the records of a log after a position, the newest `most` of them.

    `first` returns the position to read from in a new or restarted log.
    """
    try:
        newest = await newest_record(ask_newest, position)
        if newest is None:
            return _Found()
        start = position
        if not _continues(position, newest.index):
            start = await first(newest)
        records = await records_after(ask, start, newest, most)
        return _Found(newest, start, records)
    except MeterError as err:
        return _Found(error=err)


def _last_index(
    records: Sequence[Record | LogbookRecord], position: int | None
) -> int | None:
    return records[-1].index if records else position


def _continues(position: int | None, newest: int) -> bool:
    """Return whether a log continues after a position; False if it restarted."""
    return position is not None and position <= newest
