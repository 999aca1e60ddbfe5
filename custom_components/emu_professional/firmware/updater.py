"""A meter's firmware being changed: while it goes on, and after an interruption.

Chapter "Firmware-Update". What goes on here outlives a reload of the config entry,
for instance because the meter has got another address while it restarted. What is
left of an update when Home Assistant stops is found again at its next start.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

import voluptuous as vol

from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_PORT
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.util.hass_dict import HassKey

from ..const import DOMAIN, LOGGER
from ..emu.client import MeterClient
from ..emu.errors import MeterError
from ..emu.updater.image import Image
from ..emu.updater.module import Access, UpdateTimeouts
from ..emu.updater.outcome import Reason, Step, UpdateFailed
from ..emu.updater.procedure import Update
from ..emu.updater.session import DEFAULT_PORT
from ..emu.updater.slots import Slot, active_slot
from ..failures import failure
from ..relocation import async_address_of
from ..storage import CheckedStore, async_to_its_end, shape
from .kept import firmware_store

TIMEOUTS: Final = UpdateTimeouts()

_INSTALLATIONS: Final[HassKey[dict[str, Installation]]] = HassKey(
    f"{DOMAIN}.installations"
)
_LOOK_BACK_PAUSE: Final = 60
"""Seconds."""
_WANTED: Final = frozenset(
    {
        ConfigEntryState.LOADED,
        ConfigEntryState.SETUP_IN_PROGRESS,
        ConfigEntryState.SETUP_RETRY,
    }
)
"""States of a config entry whose meter is to be read."""


class Installation:
    """What is done to the firmware of one meter, one thing at a time.

    Every method that asks the meter raises HomeAssistantError with what its owner
    should know.
    """

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry) -> None:
        """Begin with nothing going on."""
        self.step: Step | None = None
        self.percent: int | None = None
        """Of an upload, 0 to 100."""
        self._hass = hass
        self._entry = entry
        self.is_busy = False
        """Whether its module is busy with it, or may be restarting."""
        self._listeners: set[CALLBACK_TYPE] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._look_back: asyncio.Task[None] | None = None
        self._is_removed = False
        self._store = update_store(hass, entry)
        assert entry.unique_id
        self._serial_number = entry.unique_id
        self._update = Update(self._find, self._serial_number, TIMEOUTS, self._show)

    @callback
    def async_add_listener(self, listener: CALLBACK_TYPE) -> CALLBACK_TYPE:
        """Call a listener whenever `step` or `percent` changes, until it is removed."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    async def async_install(self, image: Image) -> None:
        """Bring an image into the meter; it goes on even if the caller gives up."""
        await self._async_alone(self._async_install(image))

    async def async_finish(self) -> None:
        """Go on with the update that was interrupted."""
        await self._async_alone(self._async_finish())

    async def async_revert(self) -> None:
        """Go back from the firmware on trial to the one before."""
        await self._async_alone(self._async_revert())

    async def async_restart(self) -> None:
        """Restart the communication module; the meter goes on measuring."""
        await self._async_alone(self._update.restart())

    async def async_erase(self) -> None:
        """Delete the firmware that does not run, also if it waits for a restart."""
        await self._async_alone(self._async_erase())

    async def async_slots(self) -> tuple[Slot, ...]:
        """Return what is in the slots; nothing else that is asked for fails by it."""
        if self.is_busy:
            raise _error("update_running", self._entry)
        return await self._async_outcome(self._start(self._update.slots()))

    @property
    def running(self) -> Slot | None:
        """What ran when the slots were last looked at; None if that was never."""
        return self._update.running

    @callback
    def async_forget_running(self) -> None:
        """Forget what runs, for something else does."""
        self._update.forget_running()

    async def async_look(self) -> bool:
        """Look what runs, and return whether the updater has answered."""
        with suppress(MeterError):
            await self._update.slots()
            return True
        return False

    async def async_remove(self) -> None:
        """End everything and forget it, for the meter was removed.

        Of an update the meter has the firmware of before, at its next restart at the
        latest.
        """
        self._is_removed = True
        self._hass.data[_INSTALLATIONS].pop(self._entry.entry_id)
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
        await self._async_forget()
        for key in ("delete_firmware", "online_update_off"):
            self._delete_issue(key)

    @callback
    def async_updates_allowed(self) -> None:
        """Take back that the meter does not allow updates."""
        self._delete_issue("online_update_off")

    @callback
    def async_look_back(self) -> None:
        """Find out in the background what became of an interrupted update.

        Also while the meter can't be set up: the firmware on trial may be the reason.
        """
        if not self.is_busy and (not self._look_back or self._look_back.done()):
            self._look_back = self._start(self._async_look_back())

    async def _async_install(self, image: Image) -> None:
        begun = {"hash": image.hash.hex(), "version": str(image.version)}
        before = await self._store.async_load()
        await self._async_remember(begun)
        try:
            await self._async_settle(self._update.install(image), before)
        except UpdateFailed as err:
            if err.reason.is_unfit:
                store = firmware_store(self._hass)
                await store.async_note_unfit(self._serial_number, image)
            raise

    async def _async_finish(self) -> None:
        if (begun := await self._store.async_load()) is None:
            raise UpdateFailed(Reason.NOTHING_ON_TRIAL)
        work = self._update.finish(bytes.fromhex(begun["hash"]))
        await self._async_settle(work, begun)

    async def _async_revert(self) -> None:
        await self._async_settle(self._update.revert(), await self._store.async_load())

    async def _async_erase(self) -> None:
        await self._update.erase()
        # Nothing is on trial or pending any more.
        await self._async_forget()
        self._delete_issue("delete_firmware")

    async def _async_settle(
        self, work: Coroutine[Any, Any, None], before: dict[str, str] | None
    ) -> None:
        """Do work, and remember the update only if it may not be at its end.

        `before` is what was remembered, which is right where nothing was changed.
        """
        try:
            await work
        except MeterError as err:
            reason = err.reason if isinstance(err, UpdateFailed) else None
            if reason and reason.is_unfinished:
                raise
            if before and (reason is None or reason.is_untouched):
                await self._async_remember(before)
                raise
            await self._async_forget()
            raise
        await self._async_forget()

    async def _async_remember(self, begun: dict[str, str]) -> None:
        """Remember an update that has begun."""
        await async_to_its_end(self._hass, self._store.async_save(begun))

    async def _async_forget(self) -> None:
        """Forget an update that is at its end."""
        await self._store.async_remove()
        for key in ("firmware_on_trial", "firmware_pending"):
            self._delete_issue(key)

    async def _async_alone[ResultT](
        self, work: Coroutine[Any, Any, ResultT]
    ) -> ResultT:
        """Do work that Home Assistant's stop ends, but not that of its caller."""
        if self.is_busy:
            work.close()
            raise _error("update_running", self._entry)
        task = self._start(work)
        self.is_busy = True
        task.add_done_callback(self._ended)
        return await self._async_outcome(task)

    def _start[ResultT](
        self, work: Coroutine[Any, Any, ResultT]
    ) -> asyncio.Task[ResultT]:
        """Begin work that ends at the latest when the meter is removed."""
        if self._is_removed:
            work.close()
            raise _error("update_removed", self._entry)
        task = self._hass.async_create_background_task(
            work, f"{self._entry.title} firmware", eager_start=False
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _async_outcome[ResultT](self, task: asyncio.Task[ResultT]) -> ResultT:
        """Return what work returns, or raise what its owner should know."""
        # Unlike a shield it has no complaint if the caller is gone when it fails.
        await asyncio.wait((task,))
        if task.cancelled() and self._is_removed:
            raise _error("update_removed", self._entry)
        try:
            return task.result()
        except UpdateFailed as err:
            self._tell(err)
            raise _error(f"update_{err.reason}", self._entry) from err
        except MeterError as err:
            raise failure(err, HomeAssistantError, self._find().client.url) from err

    def _tell(self, err: UpdateFailed) -> None:
        LOGGER.warning("%s: firmware: %s", self._entry.title, err)
        if self._is_removed:
            return
        if err.reason is Reason.OTHER_PENDING:
            self.async_offer_erase()
        if err.reason is Reason.ONLINE_UPDATE_OFF:
            ir.async_create_issue(
                self._hass,
                DOMAIN,
                f"online_update_off_{self._entry.entry_id}",
                is_fixable=False,
                learn_more_url=self._find().client.url,
                severity=ir.IssueSeverity.WARNING,
                translation_key="online_update_off",
                translation_placeholders={"meter": self._entry.title},
            )

    @callback
    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.is_busy = False
        self._show(None, None)
        if self._is_removed:
            return
        # Whoever waited for it may have gone. What was settled is not remembered.
        if not task.cancelled() and task.exception():
            self.async_look_back()
        if self._entry.state is ConfigEntryState.SETUP_RETRY:
            self._hass.config_entries.async_schedule_reload(self._entry.entry_id)

    @callback
    def _show(self, step: Step | None, percent: int | None) -> None:
        if (step, percent) == (self.step, self.percent) and self.is_busy:
            return
        self.step, self.percent = step, percent
        for listener in [*self._listeners]:
            listener()

    async def _async_look_back(self) -> None:
        if (begun := await self._store.async_load()) is None:
            return
        if (slots := await self._async_slots_at_last()) is None:
            return
        active = active_slot(slots)
        assert active
        pending = next((slot for slot in slots if slot.pending), None)
        if (left := pending if active.confirmed else active) is None:
            await self._async_forget()
            LOGGER.warning(
                "%s: the update to %s was interrupted; firmware %s runs and is there"
                " to stay",
                self._entry.title,
                begun["version"],
                active.version,
            )
            return
        # Not always the noted one: Home Assistant may have been killed just after it
        # noted another update, which the meter refuses while this one is not over.
        if left.hash.hex() not in ("", begun["hash"]):
            found = {"hash": left.hash.hex(), "version": str(left.version)}
            await self._async_remember(found)
        key = "firmware_on_trial" if left is active else "firmware_pending"
        self._offer(key, str(left.version))

    async def _async_slots_at_last(self) -> tuple[Slot, ...] | None:
        """Return what is in the slots once the meter answers, while it is wanted."""
        while self._entry.state in _WANTED:
            if not self.is_busy:
                with suppress(MeterError):
                    slots = await self._update.slots()
                    # Something runs: a list without it was garbled on its way.
                    if active_slot(slots):
                        return slots
            await asyncio.sleep(_LOOK_BACK_PAUSE)
        return None

    @callback
    def async_offer_erase(self) -> None:
        """Ask the owner, as an issue, whether to delete the firmware that does not run."""
        self._offer("delete_firmware", "", ir.IssueSeverity.WARNING)

    def _offer(
        self,
        key: str,
        version: str,
        severity: ir.IssueSeverity = ir.IssueSeverity.ERROR,
    ) -> None:
        ir.async_create_issue(
            self._hass,
            DOMAIN,
            f"{key}_{self._entry.entry_id}",
            is_fixable=True,
            severity=severity,
            translation_key=key,
            translation_placeholders={"meter": self._entry.title, "version": version},
        )

    def _delete_issue(self, key: str) -> None:
        ir.async_delete_issue(self._hass, DOMAIN, f"{key}_{self._entry.entry_id}")

    def _find(self) -> Access:
        """Return where the meter is by what its config entry says now."""
        data = self._entry.data
        if self._entry.state is ConfigEntryState.LOADED:
            # The one that polls: a meter gets one request at a time.
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
def installation_of(hass: HomeAssistant, entry: ConfigEntry) -> Installation:
    """Return what is done to the firmware of an entry's meter."""
    installations = hass.data.setdefault(_INSTALLATIONS, {})
    if entry.entry_id not in installations:
        installations[entry.entry_id] = Installation(hass, entry)
    return installations[entry.entry_id]


def update_store(hass: HomeAssistant, entry: ConfigEntry) -> CheckedStore:
    """Return where an update that is not at its end outlives a restart."""
    check = shape(hash=vol.All(str, bytes.fromhex), version=str)
    return CheckedStore(hass, f"{DOMAIN}.{entry.entry_id}.update", check)


def _error(key: str, entry: ConfigEntry) -> HomeAssistantError:
    return HomeAssistantError(
        translation_domain=DOMAIN,
        translation_key=key,
        translation_placeholders={"meter": entry.title},
    )
