"""An owner with updates of the meter, and the proof of its safety afterwards."""

from collections.abc import Callable
from typing import Final

import aiohttp

from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import MeterUnreachable
from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.emu.updater.module import Access, UpdateTimeouts
from custom_components.emu_professional.emu.updater.outcome import (
    FirmwareUpdateFailed,
    Reason,
    Step,
)
from custom_components.emu_professional.emu.updater.procedure import Update
from simulator.bootloader import Swap
from simulator.images import signed_image
from simulator.updater import UpdaterServer
from tests.conftest import QUICK_SESSION, SERIAL_NUMBER

OLD: Final = signed_image("1.0.16", size=6 * 1024)


NEW: Final = signed_image("1.0.17", size=6 * 1024)


TIMEOUTS: Final = UpdateTimeouts(
    restart=2.5,
    readings=1,
    confirm=1,
    grace=0.4,
    look=0.02,
    away=0.1,
    session=QUICK_SESSION,
)


OLD_RUNS: Final = frozenset(
    {
        Reason.ONLINE_UPDATE_OFF,
        Reason.FIRMWARE_TOO_OLD,
        Reason.UPDATER_SILENT,
        Reason.UPLOAD_LOST,
        Reason.UPLOAD_REFUSED,
        Reason.UPLOAD_DAMAGED,
        Reason.TEST_REFUSED,
        Reason.NOT_STARTED,
        Reason.SWAP_REFUSED,
        Reason.NO_READINGS,
        Reason.WENT_BACK,
    }
)
"""Where the owner reads that the old firmware runs, and no other at the next restart."""


class Owner:
    """Updates the meter, with an event at some step."""

    def __init__(self, updater: UpdaterServer, session: aiohttp.ClientSession) -> None:
        """Let nothing happen."""
        web = updater.web
        access = Access(
            MeterClient(session, web.host, web.port), updater.host, updater.port
        )
        self.update = Update(lambda: access, SERIAL_NUMBER, TIMEOUTS, self._begins)
        self.steps: list[tuple[Step, int | None]] = []
        self.happens: dict[Step, Callable[[], None]] = {}

    def _begins(self, step: Step, percent: int | None) -> None:
        self.steps.append((step, percent))
        # What happens during the upload happens in its middle.
        if (step is not Step.UPLOAD or (percent or 0) >= 50) and step in self.happens:
            self.happens.pop(step)()

    async def install(self, image: bytes = NEW) -> Reason | str | None:
        """Install an image, and return the reason of a failure."""
        try:
            await self.update.install(read_firmware(image))
        except FirmwareUpdateFailed as err:
            return err.reason
        except MeterUnreachable:
            return UNREACHABLE
        return None


async def assert_safe(updater: UpdaterServer, reason: Reason | str | None) -> None:
    """Check that the reason is true, and that the meter is safe."""
    loader = updater.bootloader
    if reason is None:
        assert (updater.running, loader.swap) == ("1.0.17", Swap.NONE)
    if reason in OLD_RUNS:
        assert loader.image(0).version[:3] == (1, 0, 16)  # type: ignore[union-attr]
        assert loader.swap is Swap.NONE
    if reason is Reason.NOT_RESTARTED:
        assert (updater.running, loader.swap) == ("1.0.16", Swap.TEST)
    stays = "1.0.17" if is_new_to_stay(updater) else "1.0.16"
    # Two restarts, and the meter is where it stays, without anybody's doing.
    for _ in range(2):
        loader.power_cycle()
    assert updater.running == stays
    assert loader.swap is Swap.NONE


def is_new_to_stay(updater: UpdaterServer) -> bool:
    """Return whether the new image runs and is confirmed."""
    loader = updater.bootloader
    image = loader.image(0)
    return (
        image is not None and image.version.revision == 17 and loader.swap is Swap.NONE
    )


SUCCESS: Final = None


UNREACHABLE: Final = "unreachable"


def fill_slot(updater: UpdaterServer) -> None:
    """Fill slot 1 with an image, as an earlier update leaves it."""
    updater.bootloader.write(0, signed_image("1.0.15", size=6 * 1024))
