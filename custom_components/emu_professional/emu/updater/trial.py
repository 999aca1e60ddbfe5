"""The trial of an uploaded image: test, restart, readings, confirm."""

from collections.abc import Callable, Sequence
from contextlib import suppress

from ..errors import MeterError, UpdaterRefused
from ..serial_number import is_same_meter
from .module import Module
from .outcome import FirmwareUpdateFailed, Reason, Step
from .restarts import RestartsInVain, restarts
from .slots import Slot, is_confirmed, is_pending, running_hash
from .way_back import end_trial, erase_pending


class Trial:
    """The trial of one image, by its hash. Every method raises FirmwareUpdateFailed."""

    def __init__(
        self,
        module: Module,
        serial_number: str,
        hash: bytes,
        on_step: Callable[[Step], None],
    ) -> None:
        """Name the module, its meter's serial number, and the image in slot 1."""
        self._module = module
        self._serial_number = serial_number
        self._hash = hash
        self._on_step = on_step

    async def mark(self) -> None:
        """Mark the image as pending (*test*): it will run after the next restart."""
        self._on_step(Step.TEST)
        try:
            await self._module.ask(lambda session: session.test(self._hash))
        except UpdaterRefused as err:
            if not await self._is_marked():
                raise FirmwareUpdateFailed(Reason.TEST_REFUSED, err) from err
        except MeterError as err:
            # The module may have got the request all the same.
            raise FirmwareUpdateFailed(Reason.TEST_LOST, err) from err

    async def run(self) -> None:
        """Start the image, wait for the meter's readings, and confirm it.

        Also of an interrupted update, whether the module has restarted since or not.
        """
        # Somebody may have confirmed it meanwhile, for instance with the manual's tool.
        if is_confirmed(await self._start()):
            return
        await self._await_readings()
        await self._confirm()

    async def _is_marked(self) -> bool:
        """Return whether the image is pending or runs, in spite of a refused *test*.

        A repeated request is refused if the answer to the first one was lost; the
        module may even have lost power and restarted since.
        """
        try:
            slots = await self._module.slots()
        except MeterError as err:
            raise FirmwareUpdateFailed(Reason.TEST_LOST, err) from err
        return running_hash(slots) == self._hash or self._is_pending(slots)

    def _is_pending(self, slots: Sequence[Slot]) -> bool:
        return is_pending(slots, self._hash)

    async def _start(self) -> tuple[Slot, ...]:
        """Restart the module until the new image runs; return the slots."""
        self._on_step(Step.RESTART)
        try:
            async for slots in restarts(
                self._module, self._is_pending, Reason.NOT_RESTARTED
            ):
                if running_hash(slots) == self._hash:
                    return slots
                # Neither running nor pending: the boot loader has refused the image, or
                # has swapped it in and back already.
                if not self._is_pending(slots):
                    raise FirmwareUpdateFailed(Reason.NOT_STARTED)
        except RestartsInVain as err:
            # It would be tried again at each restart, and keep every other image out.
            await erase_pending(self._module)
            raise FirmwareUpdateFailed(Reason.SWAP_REFUSED) from err
        # The time is over without a clear answer.
        raise FirmwareUpdateFailed(Reason.NO_RETURN)

    async def _await_readings(self) -> None:
        """Wait until the meter serves its readings; end the trial if it does not."""
        self._on_step(Step.TRIAL)
        async for _ in self._module.pauses(self._module.timeouts.readings):
            if await self._serves_readings():
                return
        # Returns only if the old image runs again.
        await end_trial(self._module, self._hash, Reason.NO_READINGS_ON_TRIAL)
        raise FirmwareUpdateFailed(Reason.NO_READINGS)

    async def _serves_readings(self) -> bool:
        client = self._module.client
        try:
            status = await client.status()
            await client.readings()
        except MeterError:
            return False
        # Another meter may have got the address during the restart.
        return is_same_meter(status.serial_number, self._serial_number)

    async def _confirm(self) -> None:
        """Confirm the image until the slots show it as confirmed."""
        self._on_step(Step.CONFIRM)
        async for slots in self._module.looks(self._module.timeouts.confirm):
            if self._is_pending(slots):
                # It restarted, and then got the confirm as a late datagram. The image is
                # pending now, as after a *test* with a lost answer: the same reason.
                raise FirmwareUpdateFailed(Reason.TEST_LOST)
            if running_hash(slots) != self._hash:
                raise FirmwareUpdateFailed(Reason.WENT_BACK)
            if is_confirmed(slots):
                return
            # One confirm for each look: the module may have restarted between two of
            # them, and a confirm then would make an image permanent without a trial.
            with suppress(MeterError):
                await self._module.ask(lambda session: session.confirm(self._hash))
        raise FirmwareUpdateFailed(Reason.NOT_CONFIRMED)
