"""The module as the parts of the server share it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from ..bootloader import SECTOR, Bootloader
from ..images import public_key, signed_image, unsigned_image
from ..web import MeterServer
from .config import UpdaterConfig


@dataclass(slots=True)
class Module:
    """A meter's module: its web server, its flash, and how it behaves now."""

    web: MeterServer
    bootloader: Bootloader
    config: UpdaterConfig
    _progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def erase_slowly(self) -> None:
        """Erase slot 1, as slowly as configured; cancel it to cut the power."""
        loop = asyncio.get_running_loop()
        begin, length = loop.time(), self.config.erase_seconds
        sectors = self.bootloader.slot_size // SECTOR
        for number, _ in enumerate(self.bootloader.erase_steps(), start=1):
            due = begin + length * number / sectors
            if due > loop.time():
                await asyncio.sleep(due - loop.time())

    async def boot_slowly(self) -> None:
        """Run the boot loader, as slowly as configured; cancel it to cut the power."""
        loop = asyncio.get_running_loop()
        begin, length = loop.time(), self.config.boot_seconds
        sectors = self.bootloader.slot_size // SECTOR
        for number, _ in enumerate(self.bootloader.boot_steps()):
            due = begin + length / 2 * number / sectors
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
        await asyncio.sleep(begin + length - loop.time())

    async def reached(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition is true."""
        async with self._progress:
            await self._progress.wait_for(condition)

    async def progressed(self) -> None:
        """Check the conditions of all waiters."""
        async with self._progress:
            self._progress.notify_all()


def new_flash(image: bytes | None, version: str) -> Bootloader:
    """Return a module's flash as the factory delivers it.

    Without imgtool nothing is signed, and so no signature is asked for.
    """
    try:
        key = public_key()
        return Bootloader(image or signed_image(version), key=key)
    except ImportError:
        return Bootloader(image or unsigned_image(version))
