"""A module's life, from one loss of power to the next."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import NoReturn

from ..images import Trait, trait_of, version_of
from .module import Module


class Life:
    """Boots a module, lets it serve, and ends with its power.

    `answer_requests` runs as long as the module serves; `on_change` is called when it
    begins or ends, `forget` when everything in its memory is lost.
    """

    def __init__(
        self,
        module: Module,
        answer_requests: Callable[[], Coroutine[None, None, None]],
        on_change: Callable[[], None],
        forget: Callable[[], None],
    ) -> None:
        """Be without power."""
        self.is_serving = False
        """Whether the running image has an updater that answers."""
        self.boots = 0
        """Times that the module has booted or failed to."""
        self._module = module
        self._answer_requests = answer_requests
        self._on_change = on_change
        self._forget = forget
        self._lives: list[asyncio.Task[None]] = []
        self._reset: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Switch the power on; return when the module has booted or failed to."""
        if self._module.bootloader.running is None:
            self._module.bootloader.power_cycle()
        boots = self.boots
        self._begin(self._run())
        await self._module.reached(lambda: self.boots > boots)

    async def stop(self) -> None:
        """Switch the power off; return when everything has ended."""
        self._end()
        lives, self._lives = self._lives, []
        for life in lives:
            with suppress(asyncio.CancelledError):
                await life

    def restart(self, seconds: float = 0.0) -> None:
        """Cut the power for some seconds, and boot afterwards."""
        self._end()
        self._module.web.away = True
        self._begin(self._boot(seconds))

    async def lose_power(self, seconds: float) -> NoReturn:
        """Cut the power in the middle of a request: its caller never continues."""
        self.restart(seconds)
        # Cancelled with the life that ended.
        await asyncio.get_running_loop().create_future()
        raise RuntimeError("A life without an end")

    def reset_soon(self) -> None:
        """Restart, after the old image has answered a little longer."""
        if self._reset is not None:
            self._reset.cancel()
        self._reset = asyncio.get_running_loop().call_later(
            self._module.config.old_answers, self.restart
        )

    def _begin(self, life: Coroutine[None, None, None]) -> None:
        self._lives.append(asyncio.get_running_loop().create_task(life))

    def _end(self) -> None:
        if self._reset is not None:
            self._reset.cancel()
            self._reset = None
        for life in self._lives:
            life.cancel()
        self.is_serving = False
        self._forget()
        self._on_change()

    async def _boot(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._module.boot_slowly()
        await self._run()

    async def _run(self) -> None:
        running = self._module.bootloader.running
        if running is not None and trait_of(running) is not Trait.NEVER_BOOTS:
            await self._serve(running)
            return
        self._module.web.away = True
        self.boots += 1
        await self._module.progressed()
        watchdog = self._module.config.watchdog_seconds
        if running is not None and watchdog is not None:
            await asyncio.sleep(watchdog)
            self.restart()

    async def _serve(self, running: bytes) -> None:
        web = self._module.web
        web.meter.running_version = version_of(running)
        trait = trait_of(running)
        self.is_serving = trait is not Trait.NO_UPDATER
        self._on_change()
        if trait is Trait.NO_WEB_PAGE:
            # Also after a `stop()`, which leaves the web server to others.
            web.away = True
        elif not self._module.config.web_seconds:
            web.away = False
        self.boots += 1
        await self._module.progressed()
        async with asyncio.TaskGroup() as tasks:
            if trait is not Trait.NO_WEB_PAGE and web.away:
                tasks.create_task(self._bring_web_page())
            tasks.create_task(self._answer_requests())

    async def _bring_web_page(self) -> None:
        await asyncio.sleep(self._module.config.web_seconds)
        self._module.web.away = False
