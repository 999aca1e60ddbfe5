"""An update of one meter's firmware: the steps in their order, and the owner's wishes."""

from collections.abc import Callable, Sequence
from typing import Final

from ..errors import MeterDifferent, MeterError
from ..serial_number import is_same_meter
from .image import Image, Version
from .module import Access, Module, UpdateTimeouts
from .outcome import FirmwareUpdateFailed, Reason, Step
from .restarts import MOST_RESTARTS
from .session import UpdaterSession
from .slots import Slot, hash_on_trial, is_pending, running_hash
from .trial import Trial
from .upload import upload
from .way_back import end_trial, erase_pending

OLDEST: Final = Version(1, 0, 6)
"""The oldest firmware that can be updated (chapter "Firmware-Update")."""


class Update:
    """One meter's firmware, to be looked at or changed.

    `find` returns where the meter is now: its address may change during a restart.
    Every method that acts raises FirmwareUpdateFailed, or another MeterError if the meter's
    web page fails before anything was changed.
    """

    def __init__(
        self,
        find: Callable[[], Access],
        serial_number: str,
        timeouts: UpdateTimeouts,
        on_step: Callable[[Step, int | None], None] = lambda step, percent: None,
    ) -> None:
        """Name the meter; `on_step` gets each step, and the percentage of an upload."""
        self._module = Module(find, timeouts)
        self._serial_number = serial_number
        self._on_step = on_step

    @property
    def running(self) -> Slot | None:
        """The slot of the running image at the last look; None before any."""
        return self._module.running

    def forget_running(self) -> None:
        """Forget the running image until the next look, because it has changed."""
        self._module.running = None

    async def slots(self) -> tuple[Slot, ...]:
        """Return the slots with an image."""
        try:
            return await self._module.slots()
        except MeterError as err:
            # Each method looks first, so nothing is changed yet.
            raise FirmwareUpdateFailed(Reason.UPDATER_SILENT, err) from err

    async def install(self, image: Image) -> None:
        """Bring an image into the meter, and return when it is there to stay.

        An interrupted update of the same image is resumed where the slots show it.
        """
        self._on_step(Step.CHECK, None)
        await self._check_meter()
        slots = await self.slots()
        _refuse_another_update(slots, image.hash)
        trial = self._trial(image.hash)
        # A module refuses *test* of an image that runs or is pending already.
        if running_hash(slots) != image.hash and not is_pending(slots, image.hash):
            self._on_step(Step.UPLOAD, None)
            await upload(
                self._module,
                image,
                lambda percent: self._on_step(Step.UPLOAD, percent),
            )
            await trial.mark()
        await trial.run()

    async def finish(self, hash: bytes) -> None:
        """Continue an update after its *test*, whether the module restarted or not."""
        slots = await self.slots()
        _refuse_another_update(slots, hash)
        # A restart, or somebody with the manual's tool, has ended it meanwhile.
        if running_hash(slots) != hash and not is_pending(slots, hash):
            raise FirmwareUpdateFailed(Reason.WENT_BACK)
        await self._trial(hash).run()

    async def revert(self) -> None:
        """End a trial by a restart, and return when the old firmware runs again."""
        slots = await self.slots()
        if (on_trial := hash_on_trial(slots)) is None:
            raise FirmwareUpdateFailed(Reason.NOTHING_ON_TRIAL)
        await end_trial(self._module, on_trial, Reason.NOT_REVERTED)

    async def restart(self) -> None:
        """Restart the module; refused if that would begin or end a trial.

        Without an image on trial or pending, another reset does no harm: a lost one is
        sent again.
        """
        slots = await self.slots()
        for _ in range(MOST_RESTARTS):
            _refuse_another_update(slots)
            if await self._module.ask(UpdaterSession.reset):
                return
            try:
                slots = await self._module.slots()
            except MeterError:
                # Only the answer was lost: it restarts.
                return
        # It lists its slots, but no reset gets through.
        raise FirmwareUpdateFailed(Reason.UPDATER_SILENT)

    async def erase(self) -> None:
        """Delete the image in slot 1, which does not run, even if it is pending.

        Raises UpdaterRefused if the module does not allow it.
        """
        slots = await self.slots()
        # During a trial, slot 1 has the old image: the way back.
        if hash_on_trial(slots) is not None:
            raise FirmwareUpdateFailed(Reason.OTHER_ON_TRIAL)
        # Most modules refuse to erase a pending image: that has a reason of its own.
        if any(slot.pending for slot in slots):
            await erase_pending(self._module)
        else:
            await self._module.ask(UpdaterSession.erase)

    async def _check_meter(self) -> None:
        """Raise an error unless it is the right meter, and one that can be updated."""
        status = await self._module.client.status()
        if not is_same_meter(status.serial_number, self._serial_number):
            raise MeterDifferent(f"meter {status.serial_number} answers instead")
        # None if the meter does not say: then only silence shows it.
        if status.online_update is False:
            raise FirmwareUpdateFailed(Reason.ONLINE_UPDATE_OFF)
        if is_too_old(status.software_version):
            raise FirmwareUpdateFailed(Reason.FIRMWARE_TOO_OLD, status.software_version)

    def _trial(self, hash: bytes) -> Trial:
        return Trial(
            self._module,
            self._serial_number,
            hash,
            lambda step: self._on_step(step, None),
        )


def is_too_old(version: str | None) -> bool:
    """Return whether a firmware can't be updated; False for a text that is no version."""
    try:
        return version is not None and Version.parse(version) < OLDEST
    except ValueError:
        return False


def _refuse_another_update(slots: Sequence[Slot], hash: bytes | None = None) -> None:
    """Raise FirmwareUpdateFailed during an update of any image but one."""
    if hash_on_trial(slots) not in (None, hash):
        raise FirmwareUpdateFailed(Reason.OTHER_ON_TRIAL)
    if any(slot.pending and slot.hash != hash for slot in slots):
        raise FirmwareUpdateFailed(Reason.OTHER_PENDING)
