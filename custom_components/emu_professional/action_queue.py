"""Lets the actions that read one meter wait for each other."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

MOST_WAITING: Final = 4
"""Actions of one caller that may wait for a meter at the same time."""


class QueueFull(Exception):
    """Too many actions of the same caller are waiting."""


class ActionQueue:
    """Runs one reading action of a meter at a time, in the order of the calls.

    The number of waiting actions is limited for each caller: a caller with too many
    keeps nobody else out. Callers are user IDs; None stands for Home Assistant itself
    and its automations.
    """

    def __init__(self) -> None:
        """Begin without a waiting action."""
        self._lock = asyncio.Lock()
        self._waiting: Counter[str | None] = Counter()

    @asynccontextmanager
    async def turn(self, caller: str | None) -> AsyncIterator[None]:
        """Wait until no other action reads the meter. Raises QueueFull at once."""
        if self._lock.locked() and self._waiting[caller] >= MOST_WAITING:
            raise QueueFull
        self._waiting[caller] += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting[caller] -= 1
            # Drop callers without a waiting action: the counter must not grow.
            self._waiting += Counter()
        try:
            yield
        finally:
            self._lock.release()
