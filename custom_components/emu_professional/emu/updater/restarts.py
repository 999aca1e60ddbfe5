"""Restarts of a module whose answers may be lost.

A second reset would end the trial that the first one began, so another one is sent only
to a module that has certainly missed the last:

    reset ──► accepted ──► old image answers on ──► away ──► new image on trial
              │◄──────────── grace ───────────►│
                                                still as before? only now send another
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final

from ..errors import MeterError
from .module import Module
from .outcome import FirmwareUpdateFailed, Reason
from .session import UpdaterSession
from .slots import Slot

MOST_RESTARTS: Final = 3
"""Resets with effect, and as many without, because some may be lost on the way."""


class RestartsInVain(Exception):
    """The module restarts, but its boot loader does not swap the images."""


async def restarts(
    module: Module, is_needed: Callable[[Sequence[Slot]], bool], no_restart: Reason
) -> AsyncIterator[tuple[Slot, ...]]:
    """Yield the slots, and restart the module as long as it is needed.

    `no_restart` is the failure of a module that answers, but does not restart.
    Raises RestartsInVain if it restarts without any effect.
    """
    now = asyncio.get_running_loop().time
    timeouts = module.timeouts
    # The first reset needs no grace.
    last_sent, count = -timeouts.grace, 0
    # Numbers of the resets after which the module was away
    effective: set[int] = set()
    last_answer = now()
    while True:
        # Each reset has the whole time: a slow module may need most of it.
        async for slots in module.looks(timeouts.restart):
            if count and now() - last_answer > timeouts.away:
                effective.add(count)
            last_answer = now()
            yield slots
            # Within the grace the old image may still answer: too early to tell.
            if is_needed(slots) and now() - last_sent >= timeouts.grace:
                break
        else:
            return
        if len(effective) == MOST_RESTARTS:
            raise RestartsInVain
        if count - len(effective) == MOST_RESTARTS:
            raise FirmwareUpdateFailed(no_restart)
        count += 1
        # Whether it arrived, only the next slots tell.
        with suppress(MeterError):
            await module.ask(UpdaterSession.reset)
        # From here on: waiting for a lost answer must not look like a restart.
        last_answer = last_sent = now()
