"""Actions: fill statistics, read data logger, consumption, logbook, firmware slots.

Chapters "Read-Out Data Logger", "Read-Out Logbook" and "Firmware-Update". A time without a time zone is meant in that of Home
Assistant; every time that is returned is in it, with its offset from UTC.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import MINYEAR, UTC, datetime
from functools import partial
from itertools import product
from math import isfinite
import os
from pathlib import Path
import re
import time
from typing import Any, BinaryIO, Final

import voluptuous as vol

from homeassistant.auth.permissions.const import CAT_ENTITIES, POLICY_READ
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import ATTR_CONFIG_ENTRY_ID, ATTR_DEVICE_ID, Platform
from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import (
    HomeAssistantError,
    ServiceValidationError,
    Unauthorized,
    UnknownUser,
)
from homeassistant.helpers import (
    config_validation as cv,
    device_registry as dr,
    entity_registry as er,
)
from homeassistant.helpers.service import (
    async_get_config_entry,
    async_register_admin_service,
)
from homeassistant.util import dt as dt_util
from homeassistant.util.json import JsonObjectType, JsonValueType
from homeassistant.util.ulid import ulid_now

from .action_queue import MOST_WAITING, QueueFull
from .backfill.logger_pages import LoggerReader
from .backfill.report import EVERYTHING, Mode, Outcome, Report, Window
from .backfill.times import HOUR
from .const import DOMAIN
from .consumption import Consumption, Per, borders, count as count_periods
from .consumption_reader import async_read as async_read_consumption
from .emu.errors import MeterError
from .emu.logs import COLUMNS, LoggerStatus, Record
from .emu.registers import Direction, Measurand, Quantity, Tariff
from .emu.request_queue import Priority
from .emu.serial_number import is_same_meter
from .record_data import described, shown
from .runtime import EmuConfigEntry

ATTR_COLUMNS: Final = "columns"
ATTR_COSTS: Final = "costs"
ATTR_DRY_RUN: Final = "dry_run"
ATTR_END: Final = "end"
ATTR_FIRST_INDEX: Final = "first_index"
ATTR_LAST_INDEX: Final = "last_index"
ATTR_MODE: Final = "mode"
ATTR_PATH: Final = "path"
ATTR_PER: Final = "per"
ATTR_PRICE: Final = "price"
ATTR_START: Final = "start"

SERVICE_CONSUMPTION: Final = "get_consumption"
SERVICE_BACKFILL: Final = "backfill_statistics"
SERVICE_COSTS: Final = "fill_costs"
SERVICE_EXPORT: Final = "export_data_logger"
SERVICE_GET: Final = "get_data_logger"
SERVICE_LOGBOOK: Final = "get_logbook"
SERVICE_SLOTS: Final = "firmware_slots"

MOST_RECORDS: Final = 1000
"""In a response: Home Assistant keeps all of it in memory and in traces."""

MOST_PERIODS: Final = 400
"""In a response: the days of a year, the hours of two weeks."""

_HIGHEST_PRICE: Final = 1e9
"""Of a kWh, in any currency."""

_MARGIN: Final = 2 * HOUR
"""What is read around a window, in case that the meter's clock was set there."""

_PART: Final = re.compile(r"\.[0-9A-HJKMNP-TV-Z]{26}\.part")
"""Name of a file that is being written."""
_LEFTOVER: Final = 24 * HOUR
"""Seconds without a byte after which nobody writes such a file any more."""

_EVER: Final = -EVERYTHING.until
_SENSORS: Final = frozenset({Platform.SENSOR})
"""The entities that show what a record of the data logger holds."""
_SENSORS_AND_EVENTS: Final = frozenset({Platform.SENSOR, Platform.EVENT})
"""The entities that show what a record of the logbook holds."""
_ENERGIES: Final = (Measurand.ENERGY, Measurand.REACTIVE_ENERGY)
_COSTS: Final = {Direction.IMPORT: "cost", Direction.EXPORT: "compensation"}
_LATEST: Final = 1 << 32
_FLAGS: Final = ("active", "confirmed", "pending", "permanent")
_FOREIGN: Final = "another serial number"


def _whole_number(value: object) -> int:
    """Return an index. Raises ValueError, where `int` alone may raise OverflowError."""
    if isinstance(value, int | str) or (isinstance(value, float) and isfinite(value)):
        return int(value)
    raise ValueError(value)


def _price(value: object) -> float:
    """Return a price. Raises ValueError, where `float` alone may raise OverflowError."""
    if isinstance(value, int | float | str):
        with suppress(OverflowError):
            if abs(price := float(value)) <= _HIGHEST_PRICE:
                return price
    raise ValueError(value)


def _storable(value: object) -> object:
    """Return a value. Raises ValueError for a text that can be no UTF-8.

    A lone surrogate, which YAML can name, ends the process in the library with which
    Home Assistant reads a time.
    """
    if isinstance(value, str):
        value.encode()
    return value


_TIME: Final = vol.All(_storable, cv.datetime)
_INDEX: Final = vol.All(
    vol.Coerce(_whole_number), vol.Range(min=0), vol.Clamp(max=EVERYTHING.until)
)
_METER: Final = {
    vol.Optional(ATTR_CONFIG_ENTRY_ID): str,
    vol.Optional(ATTR_DEVICE_ID): str,
}
_WINDOW: Final = {
    vol.Optional(ATTR_START): _TIME,
    vol.Optional(ATTR_END): _TIME,
}
_SELECTION: Final = {
    **_METER,
    **_WINDOW,
    vol.Optional(ATTR_FIRST_INDEX): _INDEX,
    vol.Optional(ATTR_LAST_INDEX): _INDEX,
    vol.Optional(ATTR_COLUMNS, default=[]): vol.All(
        cv.ensure_list, [vol.In([quantity.key for quantity in COLUMNS])]
    ),
}
_BACKFILL_SCHEMA: Final = vol.Schema(
    {
        **_METER,
        **_WINDOW,
        vol.Optional(ATTR_MODE, default=Mode.FILL): vol.Coerce(Mode),
        vol.Optional(ATTR_DRY_RUN, default=False): cv.boolean,
    }
)
_COSTS_SCHEMA: Final = vol.Schema(
    {
        **_METER,
        **_WINDOW,
        vol.Optional(ATTR_PRICE): _price,
        vol.Optional(ATTR_COSTS, default=[]): cv.entity_ids,
        vol.Optional(ATTR_DRY_RUN, default=False): cv.boolean,
    }
)
_GET_SCHEMA: Final = vol.Schema(_SELECTION)
_LOGBOOK_SCHEMA: Final = vol.Schema({**_METER, **_WINDOW})
_CONSUMPTION_SCHEMA: Final = vol.Schema(
    {
        **_METER,
        vol.Required(ATTR_START): _TIME,
        vol.Optional(ATTR_END): _TIME,
        vol.Optional(ATTR_PER, default=Per.PERIOD): vol.Coerce(Per),
    }
)
_SLOTS_SCHEMA: Final = vol.Schema(_METER)
_EXPORT_SCHEMA: Final = vol.Schema({**_SELECTION, vol.Required(ATTR_PATH): cv.string})

type _Columns = tuple[tuple[int, Quantity], ...]


async def _async_backfill_statistics(call: ServiceCall) -> ServiceResponse:
    """Fill the statistics of whole hours; energy is in the unit of its quantity."""
    entry = _entry(call)
    hours = _hours(call)
    mode, dry_run = call.data[ATTR_MODE], call.data[ATTR_DRY_RUN]
    backfill = entry.runtime_data.backfill
    report = await _async_while_loaded(
        call.hass, entry, backfill.async_run(hours, mode, dry_run=dry_run)
    )
    return {
        "records_read": report.records,
        "records_refused": dict(report.refused),
        "first_record": _maybe_shown(report.first),
        "last_record": _maybe_shown(report.last),
        "status": [*_names(report.status)],
        "dry_run": dry_run,
        "mode": str(mode),
        "statistics": {
            statistic_id: _outcome(outcome)
            for statistic_id, outcome in report.statistics.items()
        }
        | _costs(report),
    }


async def _async_fill_costs(call: ServiceCall) -> ServiceResponse:
    """Give the hours of a window their costs, in the currency of Home Assistant."""
    entry = _entry(call)
    dry_run: bool = call.data[ATTR_DRY_RUN]
    backfill = entry.runtime_data.backfill
    work = backfill.async_fill_costs(
        *(_hours(call), call.data.get(ATTR_PRICE), call.data[ATTR_COSTS]),
        dry_run=dry_run,
    )
    report = await _async_while_loaded(call.hass, entry, work)
    return {"dry_run": dry_run, "statistics": _costs(report)}


async def _async_get_data_logger(call: ServiceCall) -> ServiceResponse:
    """Return records; values are in the unit of their quantity."""
    entry = await _async_readable_entry(call, _SENSORS)
    readout = _Readout(call, entry)
    serial_number = entry.runtime_data.meter.serial_number
    collect = partial(_async_collect, call.hass, readout, serial_number)
    records = await _async_while_loaded(
        call.hass, entry, _async_in_turn(call, entry, collect)
    )
    return {
        "serial_number": serial_number,
        "records": records,
        "refused": dict(readout.refused),
    }


async def _async_export_data_logger(call: ServiceCall) -> ServiceResponse:
    """Write records into a file; one that is there already is replaced at the end."""
    entry = _entry(call)
    readout = _Readout(call, entry)
    path = await _async_while_loaded(
        call.hass, entry, _async_export(call, entry, readout)
    )
    return {
        "path": str(path),
        "records": readout.records,
        "refused": dict(readout.refused),
        "first_record": _maybe_shown(readout.first),
        "last_record": _maybe_shown(readout.last),
    }


async def _async_get_logbook(call: ServiceCall) -> ServiceResponse:
    """Return the records of the logbook that were written in a window."""
    entry = await _async_readable_entry(call, _SENSORS_AND_EVENTS)
    window = _window(call)
    read = entry.runtime_data.logbook.async_read
    logbook = await _async_while_loaded(
        call.hass, entry, _async_in_turn(call, entry, read)
    )
    serial_number = entry.runtime_data.meter.serial_number
    records = [r for r in logbook.records if window.since < r.at <= window.until]
    own = [r for r in records if is_same_meter(r.serial_number, serial_number)]
    refused: JsonObjectType = dict(logbook.refused)
    if foreign := len(records) - len(own):
        refused[_FOREIGN] = foreign
    return {
        "serial_number": serial_number,
        "records": [described(record) for record in own],
        "refused": refused,
    }


async def _async_get_consumption(call: ServiceCall) -> ServiceResponse:
    """Return what was counted in periods; values are in the unit of their quantity."""
    entry = await _async_readable_entry(call, _SENSORS)
    per: Per = call.data[ATTR_PER]
    ends = _borders(call, per)
    read = partial(async_read_consumption, call.hass, entry, ends)
    reading = await _async_while_loaded(
        call.hass, entry, _async_in_turn(call, entry, read)
    )
    response: JsonObjectType = {
        "serial_number": entry.runtime_data.meter.serial_number,
        "per": str(per),
        "refused": dict(reading.refused),
        "periods": [
            _described(period)
            | {
                _COSTS[direction]: _rounded(costs[number])
                for direction, costs in reading.costs.items()
            }
            for number, period in enumerate(reading.periods)
        ],
    }
    if reading.costs:
        response["currency"] = call.hass.config.currency
    return response


def _borders(call: ServiceCall, per: Per) -> list[int]:
    """Return the borders of the periods that a call wants; by default until now.

    Raises ServiceValidationError for more than a response should hold.
    """
    window = _window(call)
    now = int(dt_util.utcnow().timestamp())
    since = max(window.since, 0)
    until = min(window.until, _LATEST) if ATTR_END in call.data else now
    if until <= since:
        raise _invalid("window_reversed")
    zone = dt_util.get_default_time_zone()
    ends = borders(since, until, per, zone, MOST_PERIODS)
    if len(ends) > MOST_PERIODS + 1:
        periods = count_periods(since, until, per)
        raise _invalid("too_many_periods", count=str(periods), most=str(MOST_PERIODS))
    return ends


def _described(period: Consumption) -> JsonObjectType:
    """Return a period as an answer; what nothing is known of is None."""
    answer: JsonObjectType = {
        "start": shown(period.begin),
        "end": shown(period.end),
        "source": period.source and str(period.source),
    }
    for name, at, registers in (
        ("start", period.begin, period.at_begin),
        ("end", period.end, period.at_end),
    ):
        stamps = {known.at for known in registers.values()}
        answer[f"{name}_logged"] = _maybe_shown(max(stamps, default=None))
        answer[f"{name}_is_exact"] = stamps == {at}
        values = {key: known.value for key, known in registers.items()}
        answer[f"registers_at_{name}"] = _energies(values.get)
    peak = period.peak
    return (
        answer
        | _energies(period.energy)
        | {
            "peak_demand": peak and peak.demand,
            "peak_demand_time": peak and shown(peak.end),
            "power_failures": period.power_failures,
            "changed_ratios": period.changed_ratios,
            "hours_without_record": period.hours_without_record,
        }
    )


def _energies(energy: Callable[[str], float | None]) -> JsonObjectType:
    """Return energies in kWh and kvarh by register; a total may come from its tariffs."""
    energies: JsonObjectType = {}
    for measurand, direction in product(_ENERGIES, Direction):
        total = f"{measurand}_{direction}"
        tariffs = [energy(f"{total}_{tariff.lower()}") for tariff in Tariff]
        known = [each for each in tariffs if each is not None]
        both = sum(known) if len(known) == len(tariffs) else None
        for key, value in zip(
            (total, *(f"{total}_{tariff.lower()}" for tariff in Tariff)),
            (both if (own := energy(total)) is None else own, *tariffs),
            strict=True,
        ):
            energies[key] = None if value is None else round(value / 1000, 3)
    return energies


def _rounded(cost: float | None) -> float | None:
    return None if cost is None else round(cost, 4)


async def _async_firmware_slots(call: ServiceCall) -> ServiceResponse:
    """Return what is in the slots, in the words of the manual's `image list`."""
    slots = await _entry(call).runtime_data.meter.firmware.async_slots()
    return {
        "slots": [
            {
                "slot": slot.number,
                "version": slot.version,
                "bootable": slot.bootable,
                "flags": [flag for flag in _FLAGS if getattr(slot, flag)],
                "hash": slot.hash.hex(),
            }
            for slot in slots
        ]
    }


async def _async_readable_entry(
    call: ServiceCall, domains: frozenset[str]
) -> EmuConfigEntry:
    """Return the entry of the meter whose entities in these domains the caller may read.

    Raises Unauthorized before anything is said about the meter.
    """
    entry_id = _entry_id(call)
    if (entry := call.hass.config_entries.async_get_entry(entry_id)) is not None:
        await _async_check_readable(call, entry, domains)
    return _loaded_entry(call.hass, entry_id)


async def _async_check_readable(
    call: ServiceCall, entry: ConfigEntry, domains: frozenset[str]
) -> None:
    """Raise Unauthorized unless the caller may read all of the meter's entities.

    Whoever may see some of the values must not get the others with a whole record.
    """
    # Automations without a user, and Home Assistant itself, may do everything.
    if (user_id := call.context.user_id) is None:
        return
    if (user := await call.hass.auth.async_get_user(user_id)) is None:
        raise UnknownUser(context=call.context, permission=POLICY_READ, user_id=user_id)
    if user.permissions.access_all_entities(POLICY_READ):
        return
    registry = er.async_get(call.hass)
    entity_ids = [
        found.entity_id
        for found in er.async_entries_for_config_entry(registry, entry.entry_id)
        if found.domain in domains
    ]
    may_read = user.permissions.check_entity
    if not entity_ids or not all(may_read(each, POLICY_READ) for each in entity_ids):
        raise Unauthorized(
            context=call.context,
            config_entry_id=entry.entry_id,
            perm_category=CAT_ENTITIES,
            permission=POLICY_READ,
        )


def _entry(call: ServiceCall) -> EmuConfigEntry:
    """Return the entry of the meter that a call names; the caller's rights are known."""
    return _loaded_entry(call.hass, _entry_id(call))


def _entry_id(call: ServiceCall) -> str:
    """Return the entry ID of the meter that a call names in one of two ways."""
    entry_id: str | None = call.data.get(ATTR_CONFIG_ENTRY_ID)
    device_id: str | None = call.data.get(ATTR_DEVICE_ID)
    if entry_id is not None and device_id is None:
        return entry_id
    if device_id is not None and entry_id is None:
        return _entry_id_of_device(call.hass, device_id)
    raise _invalid("one_meter")


def _entry_id_of_device(hass: HomeAssistant, device_id: str) -> str:
    device = dr.async_get(hass).async_get(
        device_id, include_child_devices=False, include_composite_devices=False
    )
    entry = device and hass.config_entries.async_get_entry(device.config_entry_id)
    if not entry or entry.domain != DOMAIN:
        raise _invalid("no_meter", device_id=device_id)
    return entry.entry_id


def _loaded_entry(hass: HomeAssistant, entry_id: str) -> EmuConfigEntry:
    """Return an entry. Raises ServiceValidationError unless it is a loaded meter's."""
    entry: EmuConfigEntry = async_get_config_entry(hass, DOMAIN, entry_id)
    return entry


async def _async_in_turn[ResultT](
    call: ServiceCall,
    entry: EmuConfigEntry,
    read: Callable[[], Coroutine[Any, Any, ResultT]],
) -> ResultT:
    """Read the meter after the actions that were called before.

    Raises ServiceValidationError if too many of the caller's are waiting.
    """
    try:
        async with entry.runtime_data.actions.turn(call.context.user_id):
            return await read()
    except QueueFull:
        raise _invalid(
            "too_many_actions", meter=entry.title, waiting=str(MOST_WAITING)
        ) from None


async def _async_while_loaded[ResultT](
    hass: HomeAssistant, entry: EmuConfigEntry, work: Coroutine[Any, Any, ResultT]
) -> ResultT:
    """Do work that ends when the entry is unloaded, and tell what went wrong.

    Where the call itself is given up, as with its automation, the work is as well.
    """
    meter = entry.runtime_data.meter
    task = entry.async_create_background_task(hass, work, f"{entry.title} action")
    try:
        return await task
    except asyncio.CancelledError:
        if (caller := asyncio.current_task()) and caller.cancelling():
            raise
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="interrupted",
            translation_placeholders={"meter": entry.title},
        ) from None
    except MeterError as err:
        raise meter.failure(err, HomeAssistantError) from err


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Records with these indices, both included, that end in a window.

    An interval that ends when the window begins is not in it, one that ends with it
    is. Times are seconds since 1970-01-01 UTC.
    """

    first: int
    last: int
    since: int
    until: int

    def has(self, record: Record) -> bool:
        """Return whether a record, whose index is right, ends in the window."""
        return self.since < record.at <= self.until


class _Readout:
    """The records of the logger that a call wants, as they come.

    `refused` counts, by reason, the lines that were no records; `first` and `last`
    are stamps. Raises ServiceValidationError if the call contradicts itself.
    """

    def __init__(self, call: ServiceCall, entry: EmuConfigEntry) -> None:
        """Begin without having read anything."""
        self.columns = _columns(call)
        self.refused: Counter[str] = Counter()
        self.records = 0
        self.first: int | None = None
        self.last: int | None = None
        self._wanted = _wanted(call)
        self._reader = LoggerReader(entry.runtime_data.meter.client, Priority.ACTION)

    async def async_pages(self, most: int | None = None) -> AsyncIterator[list[Record]]:
        """Yield the records page by page.

        Raises what the meter's client raises, and ServiceValidationError as soon
        as there are more than `most`.
        """
        newest = await self._reader.newest()
        if newest is None:
            return
        if self._wanted.last > newest.index and self._wanted.until > newest.at:
            at_end = self._reader.refused_at_end
            self.refused.update(refusal.reason for refusal in at_end)
        first = await self._async_first(newest)
        last = min(self._wanted.last, newest.index)
        until = self._wanted.until + _MARGIN
        async for page in self._reader.pages(first, last, until):
            records = list(filter(self._wanted.has, page.records))
            self._count(records)
            self.refused.update(refusal.reason for refusal in page.refusals)
            if most is not None and self.records > most:
                count = await self._async_count(newest)
                raise _invalid("too_many_records", count=str(count), most=str(most))
            yield records

    def _count(self, records: list[Record]) -> None:
        self.records += len(records)
        if records:
            self.first = records[0].at if self.first is None else self.first
            self.last = records[-1].at

    async def _async_first(self, newest: Record) -> int:
        """Return from which index on to read: what is forgotten is not asked for."""
        wanted = self._wanted
        if wanted.first > newest.index:
            return wanted.first
        if wanted.since == _EVER and (
            record := await self._reader.record(wanted.first)
        ):
            return max(wanted.first, record.index)
        begin = await self._reader.first_after(wanted.since - _MARGIN, newest)
        return max(wanted.first, begin)

    async def _async_count(self, newest: Record) -> int:
        """Return how many records are wanted, but for clocks that were set."""
        wanted = self._wanted
        begin = await self._reader.first_after(wanted.since, newest)
        behind = await self._reader.first_after(wanted.until, newest)
        return min(wanted.last + 1, behind) - max(wanted.first, begin)


def _wanted(call: ServiceCall) -> _Wanted:
    window = _window(call)
    first: int = call.data.get(ATTR_FIRST_INDEX, 0)
    last: int = call.data.get(ATTR_LAST_INDEX, EVERYTHING.until)
    if not call.data.keys().isdisjoint({ATTR_FIRST_INDEX, ATTR_LAST_INDEX}):
        if not call.data.keys().isdisjoint({ATTR_START, ATTR_END}):
            raise _invalid("window_and_indices")
        if last < first:
            raise _invalid("indices_reversed")
    return _Wanted(first, last, window.since, window.until)


def _window(call: ServiceCall) -> Window:
    """Return from when to when, in seconds since 1970-01-01 UTC; default: ever."""
    window = Window(
        _seconds(call.data.get(ATTR_START), _EVER),
        _seconds(call.data.get(ATTR_END), EVERYTHING.until),
    )
    if window.until <= window.since:
        raise _invalid("window_reversed")
    return window


def _hours(call: ServiceCall) -> Window:
    """Return the window of a call in whole hours."""
    window = _window(call)
    return Window(window.since // HOUR * HOUR, -(-window.until // HOUR) * HOUR)


def _seconds(at: datetime | None, default: int) -> int:
    """Return a time in seconds since 1970-01-01 UTC, within what a window can be."""
    if at is None:
        return default
    try:
        return int(dt_util.as_utc(at).timestamp())
    except OverflowError:
        # In UTC it is before the first day that Python knows, or after the last one.
        edge = datetime.min if at.year == MINYEAR else datetime.max
        return int(edge.replace(tzinfo=UTC).timestamp())


def _columns(call: ServiceCall) -> _Columns:
    """Return the chosen columns with their positions; all, if none was chosen."""
    keys = call.data[ATTR_COLUMNS]
    return tuple(
        (position, quantity)
        for position, quantity in enumerate(COLUMNS)
        if not keys or quantity.key in keys
    )


async def _async_collect(
    hass: HomeAssistant, readout: _Readout, serial_number: str
) -> list[JsonValueType]:
    """Return the records of the meter; another one's are counted as refused."""
    collected: list[JsonValueType] = []
    async for records in readout.async_pages(MOST_RECORDS):
        own = [r for r in records if is_same_meter(r.serial_number, serial_number)]
        if foreign := len(records) - len(own):
            readout.refused[_FOREIGN] += foreign
        collected += await hass.async_add_executor_job(_objects, own, readout.columns)
    return collected


def _objects(records: Iterable[Record], columns: _Columns) -> list[JsonObjectType]:
    return [
        {
            "time": shown(record.at),
            "index": record.index,
            "status": [*_names(record.status)],
            "status_bits": record.status,
            **{
                quantity.key: record.values[position] / 10**quantity.decimals
                for position, quantity in columns
            },
        }
        for record in records
    ]


def _real_path(hass: HomeAssistant, text: str) -> Path:
    """Return where a file is to be written: a path without links.

    Raises ServiceValidationError where no file may be, and OSError where none can be.
    """
    path = Path(hass.config.path(text))
    try:
        # What can be no UTF-8 can be shown nowhere, even if the disk would take it.
        str(path).encode()
        path = path.resolve()
        is_allowed = hass.config.is_allowed_path(str(path))
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise _invalid("path_not_allowed", path=str(path))
    if not path.parent.is_dir():
        raise _invalid("no_folder", folder=str(path.parent))
    if path.is_dir():
        raise _invalid("path_is_folder", path=str(path))
    with suppress(FileNotFoundError):
        path.stat()
    return path


async def _async_export(
    call: ServiceCall, entry: EmuConfigEntry, readout: _Readout
) -> Path:
    """Check the path, wait for the meter, and return where the file was written.

    Raises what `_async_write_file` and `_async_in_turn` raise, ServiceValidationError
    if no file may be there, and HomeAssistantError if the disk is full or the like.
    """
    text: str = call.data[ATTR_PATH]
    try:
        path = await call.hass.async_add_executor_job(_real_path, call.hass, text)
        write = partial(_async_write_file, call.hass, readout, path)
        await _async_in_turn(call, entry, write)
    except OSError as err:
        raise HomeAssistantError(
            translation_domain=DOMAIN,
            translation_key="not_exported",
            translation_placeholders={
                "path": _printable(text),
                "error": str(err.strerror),
            },
        ) from err
    return path


async def _async_write_file(hass: HomeAssistant, readout: _Readout, path: Path) -> None:
    """Write the records beside the file, page by page, and then put them in its place.

    Raises OSError, and what `_Readout.async_pages` raises.
    """
    # Its name must not be longer than any that a file can have.
    part = path.with_name(f".{ulid_now()}.part")
    await _async_job(hass, _remove_leftovers, path.parent)
    file = await _async_job(hass, part.open, "xb")
    try:
        await _async_job(hass, file.write, _header(readout.columns))
        async for records in readout.async_pages():
            await _async_job(hass, _write, file, records, readout.columns)
        await _async_job(hass, _finish, file, path)
    finally:
        await _async_job(hass, _discard, file)


async def _async_job[*ArgumentsT, ResultT](
    hass: HomeAssistant, job: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT
) -> ResultT:
    """Do something in the executor, to its end even where nobody waits any more."""
    future = hass.async_add_executor_job(job, *arguments)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise


def _remove_leftovers(folder: Path) -> None:
    """Remove what exports have left that ended with a crash or a power failure."""
    latest = time.time() - _LEFTOVER
    for path in folder.glob(".*.part"):
        with suppress(OSError):
            if _PART.fullmatch(path.name) and path.stat().st_mtime < latest:
                path.unlink()


def _write(file: BinaryIO, records: Iterable[Record], columns: _Columns) -> None:
    file.write("".join(_line(record, columns) for record in records).encode())


def _finish(file: BinaryIO, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).replace(path)


def _discard(file: BinaryIO) -> None:
    """Close a file and remove it, if it was not put in its place."""
    try:
        file.close()
    finally:
        Path(file.name).unlink(missing_ok=True)


def _header(columns: _Columns) -> bytes:
    names = [
        f"{quantity.key} [{quantity.unit}]" if quantity.unit else quantity.key
        for _, quantity in columns
    ]
    return (
        ",".join(["time", "index", "status", "serial_number", *names]) + "\n"
    ).encode()


def _line(record: Record, columns: _Columns) -> str:
    fields = [
        shown(record.at),
        str(record.index),
        " ".join(_names(record.status)),
        record.serial_number,
    ]
    fields += [
        f"{record.values[position] / 10**quantity.decimals:.{quantity.decimals}f}"
        for position, quantity in columns
    ]
    return ",".join(fields) + "\n"


def _outcome(outcome: Outcome) -> JsonObjectType:
    shown: JsonObjectType = {
        "hours_read": outcome.read,
        "hours_written": outcome.written,
        "hours_corrected": outcome.corrected,
        "hours_left": outcome.left,
        "unit": outcome.unit,
    }
    if outcome.has_sum:
        shown["energy_moved"] = round(outcome.moved, 3)
    else:
        shown["periods_written"] = outcome.periods
    return shown


def _costs(report: Report) -> JsonObjectType:
    return {
        statistic_id: {
            "hours": outcome.hours,
            "hours_without_price": outcome.hours_without_price,
            "cost_before": round(outcome.before, 4),
            "cost_after": round(outcome.after, 4),
            "unit": outcome.unit,
        }
        for statistic_id, outcome in report.costs.items()
    }


def _names(status: int) -> list[str]:
    """Return the names of status bits, those that the manual does not name left out."""
    return [
        name.lower() for name, bit in LoggerStatus.__members__.items() if status & bit
    ]


def _maybe_shown(at: int | None) -> str | None:
    return None if at is None else shown(at)


def _invalid(key: str, **placeholders: str) -> ServiceValidationError:
    return ServiceValidationError(
        translation_domain=DOMAIN,
        translation_key=key,
        translation_placeholders={
            key: _printable(text) for key, text in placeholders.items()
        },
    )


def _printable(text: object) -> str:
    """Return a text that can be shown: one with lone surrogates is no UTF-8."""
    return str(text).encode(errors="backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class _Action:
    """An action: what it takes, what it does, and who may call it.

    An action that is not only for administrators and automations checks the rights
    of its caller itself.
    """

    schema: vol.Schema
    handler: Callable[[ServiceCall], Coroutine[Any, Any, ServiceResponse]]
    response: SupportsResponse
    only_administrators: bool


ACTIONS: Final = {
    SERVICE_BACKFILL: _Action(
        _BACKFILL_SCHEMA,
        _async_backfill_statistics,
        SupportsResponse.OPTIONAL,
        only_administrators=True,
    ),
    SERVICE_COSTS: _Action(
        _COSTS_SCHEMA,
        _async_fill_costs,
        SupportsResponse.OPTIONAL,
        only_administrators=True,
    ),
    SERVICE_EXPORT: _Action(
        _EXPORT_SCHEMA,
        _async_export_data_logger,
        SupportsResponse.OPTIONAL,
        only_administrators=True,
    ),
    SERVICE_SLOTS: _Action(
        _SLOTS_SCHEMA,
        _async_firmware_slots,
        SupportsResponse.ONLY,
        only_administrators=True,
    ),
    SERVICE_GET: _Action(
        _GET_SCHEMA,
        _async_get_data_logger,
        SupportsResponse.ONLY,
        only_administrators=False,
    ),
    SERVICE_CONSUMPTION: _Action(
        _CONSUMPTION_SCHEMA,
        _async_get_consumption,
        SupportsResponse.ONLY,
        only_administrators=False,
    ),
    SERVICE_LOGBOOK: _Action(
        _LOGBOOK_SCHEMA,
        _async_get_logbook,
        SupportsResponse.ONLY,
        only_administrators=False,
    ),
}


@callback
def async_setup_services(hass: HomeAssistant) -> None:
    """Register the actions."""
    for name, action in ACTIONS.items():
        if action.only_administrators:
            async_register_admin_service(
                hass, DOMAIN, name, action.handler, action.schema, action.response
            )
        else:
            hass.services.async_register(
                DOMAIN, name, action.handler, action.schema, action.response
            )
