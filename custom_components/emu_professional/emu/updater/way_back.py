"""The ways back to the old firmware: the end of a trial, and the erase of an image.

Neither is needed for safety: a trial ends with any restart, and a refused image never
runs. They only make the meter fit for the next update at once.
"""

from collections.abc import Sequence
from contextlib import suppress

from ..errors import MeterError
from .module import Module
from .outcome import FirmwareUpdateFailed, Reason
from .restarts import RestartsInVain, restarts
from .session import UpdaterSession
from .slots import Slot, hash_on_trial, running_hash


async def end_trial(module: Module, on_trial: bytes, failure: Reason) -> None:
    """Restart the module until the image on trial has stopped running.

    Raises FirmwareUpdateFailed with `failure` if that can't be seen.
    """

    def still_on_trial(slots: Sequence[Slot]) -> bool:
        return hash_on_trial(slots) == on_trial

    # Restarts without effect end like a time that is over: the image may still run.
    with suppress(RestartsInVain):
        async for slots in restarts(module, still_on_trial, failure):
            if running_hash(slots) != on_trial:
                return
    raise FirmwareUpdateFailed(failure)


async def erase_pending(module: Module) -> None:
    """Erase an image that waits for the restart; most modules refuse that.

    Raises FirmwareUpdateFailed with STAYS_PENDING if they do, or if nobody can tell.
    """
    failure: MeterError | None = None
    try:
        await module.ask(UpdaterSession.erase)
    except MeterError as err:
        # Perhaps only the answer was lost: the slots tell.
        failure = err
    try:
        slots = await module.slots()
    except MeterError as err:
        raise FirmwareUpdateFailed(Reason.STAYS_PENDING, err) from err
    if any(slot.pending for slot in slots):
        raise FirmwareUpdateFailed(Reason.STAYS_PENDING, failure or "") from failure
