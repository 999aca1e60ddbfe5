"""An update without a known end, from its note on disk to the owner's choice.

The note is written before the first byte is sent, and removed once the end is known. If
it is still there when Home Assistant starts, the slots of the module tell the end:

    running image is confirmed, nothing pending   the update is over, whichever way
    running image is on trial                     issue: keep it, or go back
    another image is pending                      issue: finish the update, or delete it
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import voluptuous as vol

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant

from .. import issues
from ..config_entry import EmuConfigEntry
from ..const import DOMAIN, LOGGER
from ..emu.errors import MeterError
from ..emu.updater.outcome import FirmwareUpdateFailed
from ..emu.updater.slots import Slot, active_slot
from ..storage import CheckedStore, async_to_its_end, shape
from .activity import Activity

_LOOK_BACK_PAUSE: Final = 60
"""Seconds between two tries to look at the slots."""

_STATES_IN_USE: Final = frozenset(
    {
        ConfigEntryState.LOADED,
        ConfigEntryState.SETUP_IN_PROGRESS,
        ConfigEntryState.SETUP_RETRY,
    }
)
"""States of a config entry with a meter in use, also while it does not answer."""

_QUESTIONS: Final = ("firmware_on_trial", "firmware_pending")
"""The issues about an update without a known end."""

type Note = dict[str, str]
"""The image of an update: its `hash` in hexadecimal digits, and its `version`."""


class UnfinishedUpdate:
    """The note of one meter's update, until the end of that update is known."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: EmuConfigEntry,
        activity: Activity,
        slots: Callable[[], Awaitable[tuple[Slot, ...]]],
    ) -> None:
        """Name the meter, and the way to read its slots."""
        self._hass = hass
        self._entry = entry
        self._activity = activity
        self._slots = slots
        self._store = update_store(hass, entry)

    @property
    def is_asked(self) -> bool:
        """Whether an issue asks the owner how to end it."""
        return any(issues.exists(self._hass, self._entry, key) for key in _QUESTIONS)

    async def async_load(self) -> Note | None:
        """Return the note; None if no update is unfinished."""
        return await self._store.async_load()

    async def async_note(self, note: Note) -> None:
        """Note that an update has begun."""
        await async_to_its_end(self._hass, self._store.async_save(note))

    async def async_forget(self) -> None:
        """Remove the note and its issues, because the end is known."""
        await self._store.async_remove()
        for key in _QUESTIONS:
            issues.async_delete(self._hass, self._entry, key)

    async def async_settle(
        self, work: Coroutine[Any, Any, None], before: Note | None
    ) -> None:
        """Await work, and keep a note only if the end of an update is still open.

        `before` is the note from before that work; it stays true if the work has changed
        nothing.
        """
        try:
            await work
        except MeterError as err:
            reason = err.reason if isinstance(err, FirmwareUpdateFailed) else None
            # Open: the note of the new update stays.
            if reason and reason.is_unfinished:
                raise
            # Nothing was changed: an earlier update is as open as before.
            if before and (reason is None or reason.is_untouched):
                await self.async_note(before)
                raise
            # Failed, but with a known end.
            await self.async_forget()
            raise
        await self.async_forget()

    async def async_look_back(self) -> None:
        """Find out how a noted update ended, and ask the owner if it has not."""
        if (note := await self._store.async_load()) is None:
            return
        if (slots := await self._async_slots_at_last()) is None:
            return
        active = active_slot(slots)
        assert active
        # Not confirmed: on trial, with the old image in slot 1. Otherwise only a pending
        # image leaves the end open.
        pending = next((slot for slot in slots if slot.pending), None)
        if (open_slot := pending if active.confirmed else active) is None:
            await self.async_forget()
            LOGGER.warning(
                "%s: the update to %s was interrupted; firmware %s runs and is there"
                " to stay",
                self._entry.title,
                note["version"],
                active.version,
            )
            return
        # Not always the noted one: Home Assistant may have been killed just after it
        # noted another update, and the meter refuses that one during this.
        if open_slot.hash.hex() not in ("", note["hash"]):
            found = {"hash": open_slot.hash.hex(), "version": str(open_slot.version)}
            await self.async_note(found)
        is_on_trial = open_slot is active
        key, other = _QUESTIONS if is_on_trial else reversed(_QUESTIONS)
        issues.async_delete(self._hass, self._entry, other)
        version = {"version": str(open_slot.version)}
        issues.async_raise(self._hass, self._entry, key, version)

    async def _async_slots_at_last(self) -> tuple[Slot, ...] | None:
        """Return the slots once the meter answers; None if it is no longer in use."""
        while self._entry.state in _STATES_IN_USE:
            # Other work may be about to settle it, or to restart the module.
            if not self._activity.is_busy:
                with suppress(MeterError):
                    slots = await self._slots()
                    # Something runs: a list without it was damaged on the line.
                    if active_slot(slots):
                        return slots
            await asyncio.sleep(_LOOK_BACK_PAUSE)
        return None


def update_store(hass: HomeAssistant, entry: EmuConfigEntry) -> CheckedStore:
    """Return the store of the note, which outlives a restart."""
    # No EntryStore: those are removed for good, this note after each update. When the
    # meter is removed, `Work` has ended all writes before.
    check = shape(hash=vol.All(str, bytes.fromhex), version=str)
    return CheckedStore(hass, f"{DOMAIN}.{entry.entry_id}.update", check)
