"""Brings a firmware into a meter's communication module, from check to confirm.

Chapter "Firmware-Update". The module has two slots: what runs is in slot 0, an
upload goes to slot 1. *Test* makes the upload pending; the restart swaps the slots
and runs it on trial; only *confirm* makes it stay. Whatever goes wrong before that
leaves the meter with the firmware that it had, at its next restart at the latest.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ..client import MeterClient
from ..errors import (
    MeterDifferent,
    MeterError,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    UpdaterRefused,
)
from ..serial_number import is_same_meter
from .image import Image, Version
from .session import Slot, UpdaterSession

OLDEST: Final = Version(1, 0, 6)
"""The oldest firmware that can be updated (chapter "Firmware-Update")."""

_RESTARTS: Final = 3
_UPLOADS: Final = 4


class Step(StrEnum):
    """What an update is at."""

    CHECK = "check"
    UPLOAD = "upload"
    TEST = "test"
    RESTART = "restart"
    TRIAL = "trial"
    CONFIRM = "confirm"


class Reason(StrEnum):
    """Why an update did not succeed; each says which firmware runs afterwards."""

    ONLINE_UPDATE_OFF = "online_update_off"
    FIRMWARE_TOO_OLD = "firmware_too_old"
    UPDATER_SILENT = "updater_silent"
    OTHER_PENDING = "other_pending"
    OTHER_ON_TRIAL = "other_on_trial"
    UPLOAD_LOST = "upload_lost"
    UPLOAD_REFUSED = "upload_refused"
    UPLOAD_DAMAGED = "upload_damaged"
    TEST_LOST = "test_lost"
    TEST_REFUSED = "test_refused"
    NOT_RESTARTED = "not_restarted"
    NO_RETURN = "no_return"
    NOT_STARTED = "not_started"
    SWAP_REFUSED = "swap_refused"
    STAYS_PENDING = "stays_pending"
    NO_READINGS = "no_readings"
    NO_READINGS_ON_TRIAL = "no_readings_on_trial"
    WENT_BACK = "went_back"
    NOT_CONFIRMED = "not_confirmed"
    NOT_REVERTED = "not_reverted"
    NOTHING_ON_TRIAL = "nothing_on_trial"

    @property
    def untouched(self) -> bool:
        """Whether what runs, and what will at the next restart, is as it was before."""
        return self in _UNTOUCHED

    @property
    def unfit(self) -> bool:
        """Whether the meter has tried the new firmware, and it is no good there."""
        return self in _UNFIT

    @property
    def unfinished(self) -> bool:
        """Whether the new firmware may still be on trial, or begin to be."""
        return self in _UNFINISHED


_UNTOUCHED: Final = frozenset(
    {
        Reason.ONLINE_UPDATE_OFF,
        Reason.FIRMWARE_TOO_OLD,
        Reason.UPDATER_SILENT,
        Reason.OTHER_PENDING,
        Reason.OTHER_ON_TRIAL,
        Reason.UPLOAD_LOST,
        Reason.UPLOAD_REFUSED,
        Reason.UPLOAD_DAMAGED,
        Reason.TEST_REFUSED,
    }
)
_UNFIT: Final = frozenset(
    {
        Reason.NOT_STARTED,
        Reason.SWAP_REFUSED,
        Reason.STAYS_PENDING,
        Reason.NO_READINGS,
        Reason.NO_READINGS_ON_TRIAL,
    }
)
_UNFINISHED: Final = frozenset(
    {
        Reason.TEST_LOST,
        Reason.NOT_RESTARTED,
        Reason.STAYS_PENDING,
        Reason.NO_RETURN,
        Reason.NO_READINGS_ON_TRIAL,
        Reason.NOT_CONFIRMED,
        Reason.NOT_REVERTED,
    }
)


class UpdateFailed(MeterError):
    """An update that did not succeed, and why."""

    def __init__(self, reason: Reason, detail: object = "") -> None:
        """Say why; `detail` is a short English clause for the log."""
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason


class _RestartsInVain(Exception):
    """The module restarts, but its boot loader does not swap the images."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where a meter is now: its web page, and the host and UDP port of its updater."""

    client: MeterClient
    host: str
    port: int
    resolve: Callable[[str], Awaitable[str]] | None = None
    """Returns the IP address of a host name; None: the operating system does."""

    async def address(self) -> str:
        """Return where to send datagrams. Raises MeterUnreachable."""
        return await self.resolve(self.host) if self.resolve else self.host


@dataclass(frozen=True, slots=True)
class Patience:
    """For how long an update waits, in seconds."""

    restart: float = 300
    readings: float = 180
    confirm: float = 60
    """Until nobody can know any more whether the meter has got the message."""
    grace: float = 3
    """For which the old image may go on answering after a restart was accepted."""
    away: float = 2
    """After a restart was accepted: a longer silence than this was the restart.

    The module boots, finds its network and gets an address; a lost datagram is
    repeated sooner.
    """
    look: float = 1
    """Between two looks at the slots or the web page."""


class Update:
    """One meter whose firmware is looked at or changed.

    `find` returns where the meter is now: while it restarts, its address may change.
    Every method that does something raises UpdateFailed, or another MeterError if
    the meter's web page fails before anything was changed.
    """

    def __init__(
        self,
        find: Callable[[], Access],
        serial_number: str,
        patience: Patience,
        on_step: Callable[[Step, int | None], None] = lambda step, percent: None,
    ) -> None:
        """Name the meter; `on_step` is told each step, and the percentage of an upload."""
        self._find = find
        self._serial_number = serial_number
        self._patience = patience
        self._on_step = on_step
        self._session = asyncio.Lock()
        self.running: Slot | None = None
        """What ran when the slots were last looked at; None if that was never."""

    async def slots(self) -> tuple[Slot, ...]:
        """Return what is in the slots."""
        try:
            return await self._look()
        except MeterError as err:
            raise UpdateFailed(Reason.UPDATER_SILENT, err) from err

    async def install(self, image: Image) -> None:
        """Bring an image into the meter, and return when it is there to stay.

        An update that was interrupted is taken up where the slots say it is.
        """
        self._on_step(Step.CHECK, None)
        await self._check_meter()
        slots = await self.slots()
        _refuse_another_update(slots, image.hash)
        if _running(slots) != image.hash and not is_pending(slots, image.hash):
            await self._upload(image)
            await self._test(image.hash)
        await self._finish(image.hash)

    async def finish(self, hash: bytes) -> None:
        """Go on with an update after its *test*, whether the module restarted or not."""
        slots = await self.slots()
        _refuse_another_update(slots, hash)
        if _running(slots) != hash and not is_pending(slots, hash):
            raise UpdateFailed(Reason.WENT_BACK)
        await self._finish(hash)

    async def revert(self) -> None:
        """End a trial by a restart, and return when the old firmware runs again."""
        slots = await self.slots()
        if (on_trial := hash_on_trial(slots)) is None:
            raise UpdateFailed(Reason.NOTHING_ON_TRIAL)
        await self._end_trial(on_trial, Reason.NOT_REVERTED)

    async def restart(self) -> None:
        """Restart the module; refused while that would begin or end a trial.

        Where no image is on trial or pending, another reset does no harm: one that was
        lost is sent again.
        """
        slots = await self.slots()
        for _ in range(_RESTARTS):
            _refuse_another_update(slots)
            if await self._ask(UpdaterSession.reset):
                return
            try:
                slots = await self._look()
            except MeterError:
                # Only the answer was lost: it restarts.
                return
        raise UpdateFailed(Reason.UPDATER_SILENT)

    async def erase(self) -> None:
        """Delete the image in slot 1, which does not run, also if it is pending.

        Raises UpdaterRefused where the module does not allow it.
        """
        slots = await self.slots()
        if hash_on_trial(slots) is not None:
            raise UpdateFailed(Reason.OTHER_ON_TRIAL)
        if any(slot.pending for slot in slots):
            await self._erase_pending()
        else:
            await self._ask(UpdaterSession.erase)

    async def _erase_pending(self) -> None:
        """Delete an image that waits for the restart; most modules refuse that."""
        failed: MeterError | None = None
        try:
            await self._ask(UpdaterSession.erase)
        except MeterError as err:
            # Perhaps only the answer was lost: the slots tell.
            failed = err
        try:
            slots = await self._look()
        except MeterError as err:
            raise UpdateFailed(Reason.STAYS_PENDING, err) from err
        if any(slot.pending for slot in slots):
            raise UpdateFailed(Reason.STAYS_PENDING, failed or "") from failed

    async def _check_meter(self) -> None:
        status = await self._find().client.status()
        if not is_same_meter(status.serial_number, self._serial_number):
            raise MeterDifferent(f"meter {status.serial_number} answers instead")
        if status.online_update is False:
            raise UpdateFailed(Reason.ONLINE_UPDATE_OFF)
        if is_too_old(status.software_version):
            raise UpdateFailed(Reason.FIRMWARE_TOO_OLD, status.software_version)

    async def _look(self) -> tuple[Slot, ...]:
        slots = await self._ask(UpdaterSession.slots)
        self.running = active_slot(slots) or self.running
        return slots

    async def _upload(self, image: Image) -> None:
        self._on_step(Step.UPLOAD, None)
        try:
            await self._ask(lambda updater: self._send(updater, image))
        except UpdaterRefused as err:
            raise UpdateFailed(Reason.UPLOAD_REFUSED, err) from err
        except (MeterUnreachable, MeterUnexpectedAnswer) as err:
            raise UpdateFailed(Reason.UPLOAD_LOST, err) from err

    async def _send(self, updater: UpdaterSession, image: Image) -> None:
        for erases_left in reversed(range(_UPLOADS)):
            try:
                await self._send_once(updater, image)
                break
            except UpdaterRefused:
                # The manual: a module with two images takes a third only after an erase.
                # One of them may be this one, whose last answer was lost.
                if not erases_left or len(await updater.slots()) < 2:
                    raise
                await updater.erase()
        if not any(slot.hash == image.hash for slot in await updater.slots()):
            raise UpdateFailed(Reason.UPLOAD_DAMAGED)

    async def _send_once(self, updater: UpdaterSession, image: Image) -> None:
        def accepted(size: int) -> None:
            self._on_step(Step.UPLOAD, 100 * size // len(image.data))

        await updater.upload(image.data, accepted)

    async def _test(self, hash: bytes) -> None:
        self._on_step(Step.TEST, None)
        try:
            await self._ask(lambda updater: updater.test(hash))
        except UpdaterRefused as err:
            if not await self._has_been_tested(hash):
                raise UpdateFailed(Reason.TEST_REFUSED, err) from err
        except MeterError as err:
            raise UpdateFailed(Reason.TEST_LOST, err) from err

    async def _has_been_tested(self, hash: bytes) -> bool:
        """Return whether an image is pending or runs although its *test* was refused.

        Only the repeated request was: the answer to the first one was lost, and the
        module may have lost power and have restarted since. Raises UpdateFailed where
        that can't be found out.
        """
        try:
            slots = await self._look()
        except MeterError as err:
            raise UpdateFailed(Reason.TEST_LOST, err) from err
        return _running(slots) == hash or is_pending(slots, hash)

    async def _finish(self, hash: bytes) -> None:
        if _is_confirmed(await self._start_trial(hash)):
            return
        await self._await_readings(hash)
        await self._confirm(hash)

    async def _start_trial(self, hash: bytes) -> tuple[Slot, ...]:
        """Restart the module until the new image runs."""
        self._on_step(Step.RESTART, None)

        def pending(slots: Sequence[Slot]) -> bool:
            return is_pending(slots, hash)

        try:
            async for slots in self._restarts(pending, Reason.NOT_RESTARTED):
                if _running(slots) == hash:
                    return slots
                if not pending(slots):
                    raise UpdateFailed(Reason.NOT_STARTED)
        except _RestartsInVain as err:
            # It would be tried again at each restart, and keep every other image out.
            await self._erase_pending()
            raise UpdateFailed(Reason.SWAP_REFUSED) from err
        raise UpdateFailed(Reason.NO_RETURN)

    async def _end_trial(self, on_trial: bytes, failed: Reason) -> None:
        """Restart the module until the image on trial runs no longer."""

        def still_on_trial(slots: Sequence[Slot]) -> bool:
            return hash_on_trial(slots) == on_trial

        with suppress(_RestartsInVain):
            async for slots in self._restarts(still_on_trial, failed):
                if _running(slots) != on_trial:
                    return
        raise UpdateFailed(failed)

    async def _restarts(
        self, needed: Callable[[Sequence[Slot]], bool], deaf: Reason
    ) -> AsyncIterator[tuple[Slot, ...]]:
        """Yield what is in the slots, and restart the module while that is needed.

        `deaf` is why an update failed whose module answers, but does not restart.
        Raises _RestartsInVain where it restarts, and nothing else changes.

        A second restart would end the trial that the first began. So another one is
        sent only to a module that shows, later than it could after a restart, that
        it has not got the last.
        """
        now = asyncio.get_running_loop().time
        last, sent = -self._patience.grace, 0
        # Those resets after which the module was away
        restarts: set[int] = set()
        heard = now()
        async for slots in self._looks(self._patience.restart):
            if sent and now() - heard > self._patience.away:
                restarts.add(sent)
            heard = now()
            yield slots
            if not needed(slots) or now() - last < self._patience.grace:
                continue
            if sent == _RESTARTS:
                raise _RestartsInVain if len(restarts) == sent else UpdateFailed(deaf)
            last, sent = now(), sent + 1
            with suppress(MeterError):
                await self._ask(UpdaterSession.reset)
            heard = last = now()

    async def _looks(self, limit: float) -> AsyncIterator[tuple[Slot, ...]]:
        """Yield what is in the slots whenever the meter answers, for some seconds."""
        async for _ in self._turns(limit):
            try:
                slots = await self._look()
            except MeterError:
                continue
            yield slots

    async def _turns(self, limit: float) -> AsyncIterator[None]:
        """Yield now and then, for some seconds."""
        now = asyncio.get_running_loop().time
        end = now() + limit
        while now() < end:
            yield
            await asyncio.sleep(self._patience.look)

    async def _await_readings(self, hash: bytes) -> None:
        """Wait until the meter serves its readings; end the trial if it does not."""
        self._on_step(Step.TRIAL, None)
        async for _ in self._turns(self._patience.readings):
            if await self._serves_readings():
                return
        await self._end_trial(hash, Reason.NO_READINGS_ON_TRIAL)
        raise UpdateFailed(Reason.NO_READINGS)

    async def _serves_readings(self) -> bool:
        client = self._find().client
        try:
            status = await client.status()
            await client.readings()
        except MeterError:
            return False
        return is_same_meter(status.serial_number, self._serial_number)

    async def _confirm(self, hash: bytes) -> None:
        self._on_step(Step.CONFIRM, None)
        async for slots in self._looks(self._patience.confirm):
            if is_pending(slots, hash):
                # It restarted, and then got the confirm: as a late datagram.
                raise UpdateFailed(Reason.TEST_LOST)
            if _running(slots) != hash:
                raise UpdateFailed(Reason.WENT_BACK)
            if _is_confirmed(slots):
                return
            # One by one: between two of them the module may have restarted.
            with suppress(MeterError):
                await self._ask(lambda updater: updater.confirm(hash))
        raise UpdateFailed(Reason.NOT_CONFIRMED)

    async def _ask[T](self, request: Callable[[UpdaterSession], Awaitable[T]]) -> T:
        # An old server does not survive more requests than it has buffers for.
        async with self._session:
            access = self._find()
            address = await access.address()
            async with UpdaterSession(address, access.port) as updater:
                return await request(updater)


def is_too_old(version: str | None) -> bool:
    """Return whether a firmware can't be updated; False for what is no version."""
    try:
        return version is not None and Version.parse(version) < OLDEST
    except ValueError:
        return False


def _refuse_another_update(slots: Sequence[Slot], hash: bytes | None = None) -> None:
    """Raise UpdateFailed while an update goes on, but for that of one image."""
    if hash_on_trial(slots) not in (None, hash):
        raise UpdateFailed(Reason.OTHER_ON_TRIAL)
    if any(slot.pending and slot.hash != hash for slot in slots):
        raise UpdateFailed(Reason.OTHER_PENDING)


def active_slot(slots: Sequence[Slot]) -> Slot | None:
    """Return the slot of what runs."""
    return next((slot for slot in slots if slot.active), None)


def _running(slots: Sequence[Slot]) -> bytes | None:
    active = active_slot(slots)
    return active.hash if active else None


def hash_on_trial(slots: Sequence[Slot]) -> bytes | None:
    """Return the hash of what runs, if that is not confirmed."""
    active = active_slot(slots)
    return active.hash if active and not active.confirmed else None


def _is_confirmed(slots: Sequence[Slot]) -> bool:
    active = active_slot(slots)
    return active is not None and active.confirmed


def is_pending(slots: Sequence[Slot], hash: bytes) -> bool:
    """Return whether an image will run on trial after the next restart."""
    return any(slot.pending and slot.hash == hash for slot in slots)
