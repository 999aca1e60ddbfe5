"""Follows a meter's logbook and the status bits of its data logger.

Chapters "Read-Out Logbook" and "Definition of the Status-Codes". What happened while
Home Assistant was off is told at its next start, once.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, override

import voluptuous as vol

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator
from homeassistant.util import dt as dt_util
from homeassistant.util.json import JsonValueType

from .const import DOMAIN, LOGGER
from .coordinator import EmuCoordinator
from .emu.client import MeterClient
from .emu.errors import (
    MeterError,
    MeterUnexpectedAnswer,
    MeterUnreadable,
    MeterWithoutLogbook,
    MeterWithoutLogger,
)
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
from .emu.page_order import followed, newest_of
from .emu.request_queue import Priority
from .emu.serial_number import normalized
from .storage import EntryStore, entry_store, shape

LOGBOOK_KEY: Final = "logbook"
"""Of the entity that reports events."""

LOGBOOK_SIZE: Final = 2048
"""Records that a logbook holds at most."""

LOGGER_SIZE: Final = 3000
"""Records of the data logger that are looked at after a long absence."""

_INTERVAL: Final = timedelta(minutes=5)
_SLOW: Final = 2.0
"""Seconds for a single record: such a meter is asked only if something can be new."""
_USUAL_INTERVAL: Final = 900
_LATENCY: Final = 84
"""Seconds after its stamp until which a record may appear."""
_FIRST_LOOK: Final = timedelta(seconds=15)
"""After the start, when everything else asks the meter as well."""
_SPREAD: Final = timedelta(minutes=1)
"""From the first look of the first meter to that of the last one."""
_PAGE: Final = 96
_FEW: Final = 3
_MISSING: Final = "missing"
"""Why an index that lies between others is not among them."""
_LOOKS_WITHOUT_LOGBOOK: Final = 12
"""In an hour: a logbook that is missing for longer is no longer there."""
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


@dataclass(frozen=True, slots=True)
class LogbookAnswer:
    """Records of a logbook, and how many lines were refused, by reason."""

    records: list[LogbookRecord]
    refused: Counter[str]


class LogbookCoordinator(DataUpdateCoordinator[Remembered]):
    """Looks every 5 minutes whether the meter has logged something.

    One that is slow is asked only when its next record may be there.

    `events` has what happened until it is reported. Only then the position in the
    logs is stored: what was read but not reported, because the entry was disabled
    or Home Assistant stopped meanwhile, is read again. What a meter has logged
    before it was added is not reported.
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
        )
        self.data = Remembered()
        self.events: deque[MeterEvent] = deque(maxlen=LOGBOOK_SIZE)
        self._meter = meter
        self._told = Told()
        self._empty_since: int | None = None
        """When the meter was first seen without a logbook, by its own clock."""
        self._looks_without_logbook = 0
        self.newest_record: Record | None = None
        """Of the data logger, as of the last look that was answered."""
        self.logger_records: deque[Record] = deque(maxlen=LOGGER_SIZE)
        """New ones of this meter, until somebody takes them."""
        self._logger_interval = _USUAL_INTERVAL
        self._store = logbook_store(hass, entry)
        self._stored = self._to_store()

    async def async_start(self) -> None:
        """Begin once there are automations that can hear of it."""
        if stored := await self._store.async_load():
            self._stored = stored
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

    @callback
    def _first_look(self, now: datetime) -> None:
        self.config_entry.async_create_background_task(
            self.hass, self.async_refresh(), f"{self.name} first look"
        )

    @override
    async def _async_update_data(self) -> Remembered:
        if self._meter.is_being_updated or self._is_too_early():
            return self.data
        client = self._meter.client
        try:
            told = self._told
            logbook = await _newest(client.newest_logbook_records, told.logbook)
            self._check_logbook(logbook)
            logger = await _newest(client.newest_records, told.logger)
            await self._async_follow(client, logbook, logger)
            self._learn_interval(logger)
            self._plan_next_look()
        except MeterError as err:
            # The meter's own coordinator says so; here what was known stays.
            LOGGER.debug("%s: %s", self.name, err)
            return self.data
        # A log that is not there now may be busy only: what was known of it stays.
        known = self.data
        return Remembered(
            logbook.index if logbook else known.logbook,
            logger.index if logger else known.logger,
            LoggerStatus(logger.status) if logger else known.status,
        )

    def _is_too_early(self) -> bool:
        """Return whether a slow meter can't have logged anything since the last look.

        What is in the logbook also shows in the status of the next logger record.
        """
        if self._meter.client.pace.fixed < _SLOW:
            return False
        return (due := self._seconds_until_due()) is not None and due > 0

    def _seconds_until_due(self) -> float | None:
        """Return when the next record of the data logger must be there."""
        if self.newest_record is None:
            return None
        due = self.newest_record.at + self._logger_interval + _LATENCY
        ahead = self._meter.data.clock_offset or timedelta()
        return due - (dt_util.utcnow() + ahead).timestamp()

    def _plan_next_look(self) -> None:
        """Look again after the usual time, or once the next record is there.

        Of many meters not all at once.
        """
        due = self._seconds_until_due()
        look = _INTERVAL
        if due is not None and due > 0:
            look = min(look, timedelta(seconds=due) + self._meter.place * _SPREAD)
        self.update_interval = look

    def _learn_interval(self, newest: Record | None) -> None:
        """Learn how often the logger writes, from the newest records that were seen."""
        before, self.newest_record = self.newest_record, newest
        if newest is None or before is None or newest.index <= before.index:
            return
        interval = (newest.at - before.at) // (newest.index - before.index)
        if 0 < interval <= _USUAL_INTERVAL * 4:
            self._logger_interval = interval

    def _check_logbook(self, newest: LogbookRecord | None) -> None:
        """Raise MeterUnexpectedAnswer if the logbook is gone, unless that lasts.

        Without it a change would be reported for its status bit, and once more for
        its record when the logbook is there again.
        """
        if newest or self._told.logbook is None:
            self._looks_without_logbook = 0
        elif self._looks_without_logbook < _LOOKS_WITHOUT_LOGBOOK:
            self._looks_without_logbook += 1
            raise MeterUnexpectedAnswer("the logbook is not there now")

    async def _async_follow(
        self, client: MeterClient, logbook: LogbookRecord | None, logger: Record | None
    ) -> None:
        """Find out what happened; where reading fails in the middle, nothing counts."""
        told = self._told.copy()
        if logbook and not _goes_on(told.logbook, logbook.index):
            told.logbook = await self._async_first(client, logbook)
        elif logbook is None and self._empty_since is None:
            ahead = self._meter.data.clock_offset or timedelta()
            self._empty_since = int((dt_util.utcnow() + ahead).timestamp())
        if logger and not _goes_on(told.logger, logger.index):
            told.logger = logger.index
            new_events(told, (), [logger])
        new_logbook = await _read_new(
            client.logbook_records, told.logbook, logbook, LOGBOOK_SIZE
        )
        new_logger = await _read_new(client.records, told.logger, logger, LOGGER_SIZE)
        serial_number = normalized(self._meter.serial_number)
        own = [r for r in new_logger if r.serial_number == serial_number]
        self.events += new_events(
            told, [r for r in new_logbook if r.serial_number == serial_number], own
        )
        self.logger_records += own
        self._told = told
        if self._has_no_listener():
            self.events.clear()
        self._store_position()

    def _has_no_listener(self) -> bool:
        """Return whether the owner has disabled the entity that reports events.

        They must not come all at once when it is enabled one day.
        """
        registry = er.async_get(self.hass)
        unique_id = f"{self._meter.serial_number}_{LOGBOOK_KEY}"
        found = registry.async_get_entity_id(Platform.EVENT, DOMAIN, unique_id)
        return found is not None and registry.entities[found].disabled

    async def _async_first(self, client: MeterClient, newest: LogbookRecord) -> int:
        """Return up to where a logbook that was not there before is old."""
        since = self._empty_since
        if since is None or newest.at < since:
            return newest.index
        first = max(newest.index - _PAGE + 1, 0)
        page, _ = await _read(client.logbook_records, first, newest.index)
        new = [record.index for record in (*page, newest) if record.at >= since]
        return min(new) - 1

    async def async_read(self) -> LogbookAnswer:
        """Return the whole logbook. Raises MeterError."""
        client = self._meter.client
        ask_newest = partial(client.newest_logbook_records, priority=Priority.ACTION)
        ask = partial(client.logbook_records, priority=Priority.ACTION)
        newest = await _page_of(ask_newest(_PAGE))
        if not newest.records and not newest.refusals:
            # An empty answer may be a busy meter's.
            newest = await _page_of(ask_newest(1))
        if not newest.records:
            refusals = Counter(refusal.reason for refusal in newest.refusals)
            return LogbookAnswer([], refusals)
        # Lines that can't be read may be the newest ones.
        end = newest.records[-1].index
        last = end + len(newest.refusals)
        records, refused = await _read(ask, max(last - LOGBOOK_SIZE + 1, 0), last)
        found = {record.index: record for record in (*records, *newest.records)}
        if missing := end - min(found) + 1 - len(found) - refused.total():
            refused[_MISSING] = max(missing, 0)
        return LogbookAnswer([found[index] for index in sorted(found)], +refused)

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
    def report_events(self, report: Callable[[MeterEvent], None]) -> None:
        """Report what has happened, each event once, and note that it was."""
        while self.events:
            report(self.events[0])
            self.events.popleft()
        self._store_position()

    def _store_position(self) -> None:
        """Store up to where the logs were reported, unless something was not yet."""
        if self.events or (now := self._to_store()) == self._stored:
            return
        self._stored = now
        self.config_entry.async_create_task(self.hass, self._store.async_save(now))


async def _newest[R: Record | LogbookRecord](
    ask: Callable[[int], Awaitable[Page[R]]], told: int | None
) -> R | None:
    """Return the newest record that can be believed, or None if there is none at all.

    Where it does not follow the one that was reported last, its index may be damaged:
    then the records beside it decide. Else a log would seem to have begun again, and
    all that it holds would be reported once more.
    """
    try:
        page = await _page_of(ask(_FEW if told is None else 1))
        newest = newest_of(page.records)
        follows = newest and told is not None and 0 <= newest.index - told < LOGGER_SIZE
        if told is not None and not follows and (page.refusals or newest):
            page = await _page_of(ask(_FEW))
            newest = newest_of(page.records)
            if page.refusals and newest and newest.index < told:
                # A log that begins again has nothing damaged yet.
                raise MeterUnexpectedAnswer("the newest records contradict each other")
    except MeterWithoutLogbook, MeterWithoutLogger:
        return None
    if page.refusals and newest is None:
        raise MeterUnexpectedAnswer("the newest records can't be read")
    return newest


async def _read_new[R: Record | LogbookRecord](
    ask: Callable[[int, int], Awaitable[Page[R]]],
    told: int | None,
    newest: R | None,
    most: int,
) -> list[R]:
    """Return the records after the one that was reported last."""
    if told is None or newest is None:
        return []
    records, _ = await _read(ask, max(told + 1, newest.index - most + 1), newest.index)
    return records


async def _read[R: Record | LogbookRecord](
    ask: Callable[[int, int], Awaitable[Page[R]]], first: int, last: int
) -> tuple[list[R], Counter[str]]:
    """Return the records with these indices, and how many lines were refused and why.

    In small pages, with pauses. A page that was lost in the middle is asked for
    again from there on; once more one that is empty or has lines that can't be read.
    """
    records: list[R] = []
    refused: Counter[str] = Counter()
    while first <= last:
        end = min(first + _PAGE - 1, last)
        page = await _page_of(ask(first, end))
        if page.whole and (page.refusals or not page.records):
            page = min(await _page_of(ask(first, end)), page, key=_badness)
        # A meter may answer with others than it was asked for.
        page, following = followed(page, first)
        found = [record for record in page.records if first <= record.index <= end]
        records += found
        refused.update(refusal.reason for refusal in page.refusals)
        if following > first:
            first = following
        elif page.whole:
            first = end + 1
        else:
            raise MeterUnexpectedAnswer("an answer without the records asked for")
        if first <= last:
            await asyncio.sleep(_PAUSE)
    return records, refused


async def _page_of[R: Record | LogbookRecord](answer: Awaitable[Page[R]]) -> Page[R]:
    """Return a page, also one whose lines are all damaged; no table is an error."""
    try:
        return await answer
    except MeterUnreadable as err:
        if not err.is_table:
            raise
        return err.page


def _badness(page: Page[Any]) -> tuple[bool, bool, int]:
    return not page.whole, not page.records, len(page.refusals)


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
