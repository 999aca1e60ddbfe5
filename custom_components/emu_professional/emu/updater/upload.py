"""The upload of an image to slot 1, preceded by an erase if the module wants it."""

from collections.abc import Callable
from typing import Final

from ..errors import MeterUnexpectedAnswer, MeterUnreachable, UpdaterRefused
from .image import Image
from .module import Module
from .outcome import FirmwareUpdateFailed, Reason
from .session import UpdaterSession

# The first may meet a full slot. Each power failure in the last chunk costs another one:
# nobody knows whether that chunk was written, so it starts over with a full slot.
_UPLOADS: Final = 4


async def upload(
    module: Module, image: Image, on_percent: Callable[[int], None]
) -> None:
    """Upload an image; return when slot 1 shows its hash.

    `on_percent` gets the percentage at the module. Raises FirmwareUpdateFailed: the same
    firmware as before runs then, and will after the next restart.
    """
    try:
        await module.ask(lambda session: _send(session, image, on_percent))
    except UpdaterRefused as err:
        raise FirmwareUpdateFailed(Reason.UPLOAD_REFUSED, err) from err
    except (MeterUnreachable, MeterUnexpectedAnswer) as err:
        raise FirmwareUpdateFailed(Reason.UPLOAD_LOST, err) from err


async def _send(
    session: UpdaterSession, image: Image, on_percent: Callable[[int], None]
) -> None:
    def accepted(size: int) -> None:
        on_percent(100 * size // len(image.data))

    for erases_left in reversed(range(_UPLOADS)):
        try:
            await session.upload(image.data, accepted)
            break
        except UpdaterRefused:
            # The manual: a module with two images takes a third only after an erase.
            # One of them may be this one, if its last answer was lost.
            if not erases_left or len(await session.slots()) < 2:
                raise
            await session.erase()
    # The module checks nothing meanwhile: only the listed hash shows a whole image.
    if not any(slot.hash == image.hash for slot in await session.slots()):
        raise FirmwareUpdateFailed(Reason.UPLOAD_DAMAGED)
