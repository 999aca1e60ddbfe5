"""The firmware of one meter: installed, confirmed, taken back or deleted."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_PORT
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.util.hass_dict import HassKey

from .. import issues
from ..config_entry import EmuConfigEntry
from ..const import DOMAIN, LOGGER
from ..emu.client import MeterClient
from ..emu.errors import MeterError
from ..emu.updater.image import Image
from ..emu.updater.module import Access, UpdateTimeouts
from ..emu.updater.outcome import FirmwareUpdateFailed, Reason
from ..emu.updater.procedure import Update
from ..emu.updater.session import DEFAULT_PORT
from ..emu.updater.slots import Slot
from ..failures import failed, failure
from ..relocation import async_address_of
from .activity import Activity
from .kept import firmware_store
from .unfinished import UnfinishedUpdate
from .work import Work

TIMEOUTS: Final = UpdateTimeouts()

_METERS: Final[HassKey[dict[str, MeterFirmware]]] = HassKey(f"{DOMAIN}.meter_firmware")


class MeterFirmware:
    """Changes the firmware of one meter, one thing at a time.

    Every method that asks the meter raises HomeAssistantError with a text for its owner.
    """

    def __init__(self, hass: HomeAssistant, entry: EmuConfigEntry) -> None:
        """Initialize without any work."""
        self._hass = hass
        self._entry = entry
        assert entry.unique_id
        self._serial_number = entry.unique_id
        self.activity = Activity()
        self._work = Work(hass, entry, self.activity)
        self._update = Update(
            self._find, self._serial_number, TIMEOUTS, self.activity.show
        )
        self._unfinished = UnfinishedUpdate(
            hass, entry, self.activity, self._update.slots
        )
        self._look_back: asyncio.Task[None] | None = None

    async def async_install(self, image: Image) -> None:
        """Bring an image into the meter, even if the caller gives up."""
        await self._async_alone(self._async_install(image))

    async def async_finish(self) -> None:
        """Continue the interrupted update."""
        await self._async_alone(self._async_finish())

    async def async_revert(self) -> None:
        """Go back from the firmware on trial to the one before."""
        await self._async_alone(self._async_revert())

    async def async_restart(self) -> None:
        """Restart the communication module; the meter continues to measure."""
        await self._async_alone(self._update.restart())

    async def async_erase(self) -> None:
        """Delete the firmware that does not run, even if it waits for a restart."""
        await self._async_alone(self._async_erase())

    async def async_slots(self) -> tuple[Slot, ...]:
        """Return the slots with an image; a failure here ends no other work."""
        if self.activity.is_busy:
            raise failed("update_running", meter=self._entry.title)
        return await self._async_outcome(self._work.start(self._update.slots()))

    @property
    def running(self) -> Slot | None:
        """The slot of the running firmware at the last look; None before any."""
        return self._update.running

    @callback
    def async_forget_running(self) -> None:
        """Forget the running firmware until the next look, because it has changed."""
        self._update.forget_running()

    async def async_look(self) -> bool:
        """Look at the running firmware, and return whether the updater has answered."""
        # Not by `Work`: it is part of its caller's task, and ends with it.
        with suppress(MeterError):
            await self._update.slots()
            return True
        return False

    @callback
    def async_look_back(self) -> None:
        """Find out in the background how an interrupted update ended.

        Also while the meter can't be set up: the firmware on trial may be the reason.
        """
        is_looking = self._look_back and not self._look_back.done()
        if not self.activity.is_busy and not is_looking:
            self._look_back = self._work.start(self._unfinished.async_look_back())

    async def async_remove(self) -> None:
        """End all work and forget the unfinished update, for the meter was removed.

        An image on trial is undone at the next restart of the module, a pending one at
        the second: its trial comes between.
        """
        self._hass.data[_METERS].pop(self._entry.entry_id)
        await self._work.async_remove()
        await self._unfinished.async_forget()

    @callback
    def async_updates_allowed(self) -> None:
        """Delete the issue that the meter does not allow updates."""
        issues.async_delete(self._hass, self._entry, "online_update_off")

    @callback
    def async_look_again(self) -> None:
        """Look back again while the owner is asked how to end an update.

        Any restart of the module, also by hand or a loss of power, changes the question.
        """
        if self._unfinished.is_asked:
            self.async_look_back()

    @callback
    def async_offer_erase(self) -> None:
        """Ask the owner, by an issue, whether to delete the firmware that does not run."""
        issues.async_raise(self._hass, self._entry, "delete_firmware")

    async def _async_install(self, image: Image) -> None:
        before = await self._unfinished.async_load()
        # First the note: from now on a restart of Home Assistant leaves no open end.
        await self._unfinished.async_note(
            {"hash": image.hash.hex(), "version": str(image.version)}
        )
        work = self._update.install(image)
        await self._async_try(image.hash, self._unfinished.async_settle(work, before))

    async def _async_finish(self) -> None:
        # The issue may be older than the end of its update.
        if (note := await self._unfinished.async_load()) is None:
            raise FirmwareUpdateFailed(Reason.NOTHING_ON_TRIAL)
        noted = bytes.fromhex(note["hash"])
        work = self._update.finish(noted)
        await self._async_try(noted, self._unfinished.async_settle(work, note))

    async def _async_revert(self) -> None:
        if note := await self._unfinished.async_load():
            # Whether the meter answers or not: its owner does not want this one.
            await self._async_note_unfit(bytes.fromhex(note["hash"]))
        await self._unfinished.async_settle(self._update.revert(), note)

    async def _async_try(self, hash: bytes, work: Coroutine[Any, Any, None]) -> None:
        """Await the trial of an image, and note if the image has proved unfit."""
        try:
            await work
        except FirmwareUpdateFailed as err:
            if err.reason.is_unfit:
                await self._async_note_unfit(hash)
            raise

    async def _async_note_unfit(self, hash: bytes) -> None:
        # Else the update entity would offer it again at once.
        store = firmware_store(self._hass)
        await store.async_note_unfit(self._serial_number, hash)

    async def _async_erase(self) -> None:
        await self._update.erase()
        # Nothing is on trial or pending any more.
        await self._unfinished.async_forget()
        issues.async_delete(self._hass, self._entry, "delete_firmware")

    async def _async_alone(self, work: Coroutine[Any, Any, None]) -> None:
        await self._async_outcome(self._work.start_alone(work, self._ended))

    async def _async_outcome[ResultT](self, task: asyncio.Task[ResultT]) -> ResultT:
        """Return the result of a task, or raise its error with a text for the owner."""
        # Unlike a shield it logs no error if the caller is gone when the task fails.
        await asyncio.wait((task,))
        # Otherwise Home Assistant stops, and `result()` raises the cancellation.
        if task.cancelled() and self._work.is_removed:
            raise failed("update_removed", meter=self._entry.title)
        try:
            return task.result()
        except FirmwareUpdateFailed as err:
            self._report(err)
            raise failed(f"update_{err.reason}", meter=self._entry.title) from err
        except MeterError as err:
            raise failure(err, HomeAssistantError, self._find().client.url) from err

    def _report(self, err: FirmwareUpdateFailed) -> None:
        """Log a failed update, and raise an issue if the owner can do something."""
        LOGGER.warning("%s: firmware: %s", self._entry.title, err)
        # The issues of a removed meter would stay for good.
        if self._work.is_removed:
            return
        if err.reason is Reason.OTHER_PENDING:
            self.async_offer_erase()
        if err.reason is Reason.ONLINE_UPDATE_OFF:
            issues.async_raise(self._hass, self._entry, "online_update_off")

    @callback
    def _ended(self, task: asyncio.Task[Any]) -> None:
        """Release the meter after some work."""
        self.activity.end()
        if self._work.is_removed:
            return
        # The caller may have gone, so nobody else looks. A settled update has no note.
        if not task.cancelled() and task.exception():
            self.async_look_back()
        # Home Assistant's own next try may be minutes away.
        if self._entry.state is ConfigEntryState.SETUP_RETRY:
            self._hass.config_entries.async_schedule_reload(self._entry.entry_id)

    def _find(self) -> Access:
        """Return where the meter is by its config entry now."""
        data = self._entry.data
        if self._entry.state is ConfigEntryState.LOADED:
            # The same client as the polls: a meter gets one request at a time.
            client = self._entry.runtime_data.meter.client
        else:
            client = MeterClient(
                async_get_clientsession(self._hass),
                data[CONF_HOST],
                data[CONF_PORT],
                data.get(CONF_PASSWORD),
            )
        return Access(
            client,
            data[CONF_HOST],
            DEFAULT_PORT,
            partial(async_address_of, self._hass),
        )


@callback
def meter_firmware_of(hass: HomeAssistant, entry: EmuConfigEntry) -> MeterFirmware:
    """Return the firmware of an entry's meter, loaded or not."""
    meters = hass.data.setdefault(_METERS, {})
    if entry.entry_id not in meters:
        meters[entry.entry_id] = MeterFirmware(hass, entry)
    return meters[entry.entry_id]
