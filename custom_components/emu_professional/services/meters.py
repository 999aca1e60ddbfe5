"""The meter of an action: which one, who may read it, and work that ends with it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from homeassistant.auth.permissions.const import CAT_ENTITIES, POLICY_READ
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import ATTR_CONFIG_ENTRY_ID, ATTR_DEVICE_ID, Platform
from homeassistant.core import HomeAssistant, ServiceCall
from homeassistant.exceptions import HomeAssistantError, Unauthorized, UnknownUser
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.service import async_get_config_entry

from ..action_queue import MOST_WAITING, QueueFull
from ..backfill.records import ANOTHER_METER
from ..config_entry import EmuConfigEntry
from ..const import DOMAIN
from ..emu.errors import MeterError
from ..emu.logs import LogbookRecord, Record
from ..emu.serial_number import is_same_meter
from ..failures import failed, invalid

SENSORS: Final = frozenset({Platform.SENSOR})
"""Domains of the entities with the values of a load profile's record."""


async def async_readable_entry(
    call: ServiceCall, domains: frozenset[str]
) -> EmuConfigEntry:
    """Return the loaded entry of the call's meter, for a caller who may read it.

    `domains` are those of the entities with the values to be read. Raises Unauthorized
    first: an error about the meter would tell a stranger whether it is loaded.
    """
    entry_id = _entry_id(call)
    if (entry := call.hass.config_entries.async_get_entry(entry_id)) is not None:
        await _async_check_readable(call, entry, domains)
    return _loaded_entry(call.hass, entry_id)


async def _async_check_readable(
    call: ServiceCall, entry: ConfigEntry, domains: frozenset[str]
) -> None:
    """Raise Unauthorized unless the caller may read all of the meter's entities.

    A record holds all values: a caller who may see some must not get the others.
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


def entry_of(call: ServiceCall) -> EmuConfigEntry:
    """Return the loaded entry of the call's meter, without a check of rights.

    For actions of administrators. Raises ServiceValidationError without such a meter.
    """
    return _loaded_entry(call.hass, _entry_id(call))


def _entry_id(call: ServiceCall) -> str:
    """Return the entry ID of the call's meter, named by its entry or its device."""
    entry_id: str | None = call.data.get(ATTR_CONFIG_ENTRY_ID)
    device_id: str | None = call.data.get(ATTR_DEVICE_ID)
    if entry_id is not None and device_id is None:
        return entry_id
    if device_id is not None and entry_id is None:
        return _entry_id_of_device(call.hass, device_id)
    raise invalid("one_meter")


def _entry_id_of_device(hass: HomeAssistant, device_id: str) -> str:
    """Return the entry ID of a device. Raises ServiceValidationError if it is no meter."""
    device = dr.async_get(hass).async_get(
        device_id, include_child_devices=False, include_composite_devices=False
    )
    entry = device and hass.config_entries.async_get_entry(device.config_entry_id)
    if not entry or entry.domain != DOMAIN:
        raise invalid("no_meter", device_id=device_id)
    return entry.entry_id


def _loaded_entry(hass: HomeAssistant, entry_id: str) -> EmuConfigEntry:
    """Return an entry. Raises ServiceValidationError unless it is a loaded meter's."""
    entry: EmuConfigEntry = async_get_config_entry(hass, DOMAIN, entry_id)
    return entry


async def async_in_turn[ResultT](
    call: ServiceCall,
    entry: EmuConfigEntry,
    read: Callable[[], Coroutine[Any, Any, ResultT]],
) -> ResultT:
    """Return the result of `read`, started after the reading actions called before.

    Raises ServiceValidationError if too many actions of the caller are waiting, or
    while the firmware is being updated: an old module does not survive many requests.
    """
    try:
        async with entry.runtime_data.actions.turn(call.context.user_id):
            if entry.runtime_data.meter.is_being_updated:
                raise invalid("updating", meter=entry.title)
            return await read()
    except QueueFull:
        raise invalid(
            "too_many_actions", meter=entry.title, waiting=str(MOST_WAITING)
        ) from None


async def async_while_loaded[ResultT](
    hass: HomeAssistant, entry: EmuConfigEntry, work: Coroutine[Any, Any, ResultT]
) -> ResultT:
    """Return the result of work that is cancelled when the entry is unloaded.

    A cancelled call, for instance of an automation that was stopped, cancels the work.
    Raises HomeAssistantError for an error of the meter, and for an unloaded entry.
    """
    meter = entry.runtime_data.meter
    task = entry.async_create_background_task(hass, work, f"{entry.title} action")
    try:
        return await task
    except asyncio.CancelledError:
        if (caller := asyncio.current_task()) and caller.cancelling():
            raise
        raise failed("interrupted", meter=entry.title) from None
    except MeterError as err:
        raise meter.failure(err, HomeAssistantError) from err


async def async_read_in_turn[ResultT](
    call: ServiceCall,
    entry: EmuConfigEntry,
    read: Callable[[], Coroutine[Any, Any, ResultT]],
) -> ResultT:
    """Return the result of `read`, in its turn and while the entry is loaded.

    Raises the errors of `async_in_turn` and `async_while_loaded`.
    """
    return await async_while_loaded(call.hass, entry, async_in_turn(call, entry, read))


def own_records[RecordT: Record | LogbookRecord](
    records: Iterable[RecordT], serial_number: str, refused: Counter[str]
) -> list[RecordT]:
    """Return the records of a meter; those of another one are counted as refused."""
    own: list[RecordT] = []
    for record in records:
        if is_same_meter(record.serial_number, serial_number):
            own.append(record)
        else:
            refused[ANOTHER_METER] += 1
    return own
