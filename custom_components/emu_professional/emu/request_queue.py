"""The order of requests to a meter: it answers one at a time."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from typing import Final

from .errors import MeterBusy

MOST_WAITING: Final = 16
"""Largest number of waiting requests of one priority."""

_MOST_PASSED: Final = 3
"""Largest number of actions served before a waiting background request."""


class Priority(IntEnum):
    """Purpose of a request; lower numbers go first."""

    LIVE = 0
    """Readings and status: always first."""
    ACTION = 1
    """Actions and dialogs, with a waiting caller."""
    BACKGROUND = 2
    """Back-fill and logs, without a waiting caller."""


class RequestQueue:
    """Gives turns by priority, and within a priority in the order of asking.

    Actions in a row keep background requests waiting for a few turns only.
    """

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        """Begin with an empty queue."""
        self._most_waiting = most_waiting
        self._is_taken = False
        self._passed = 0
        self._waiting: dict[Priority, deque[asyncio.Future[None]]] = {
            priority: deque() for priority in Priority
        }

    def is_waiting(self, priority: Priority) -> bool:
        """Return whether a request of a priority waits for its turn."""
        return bool(self._waiting[priority])

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator[None]:
        """Wait for the turn of a request, and occupy the meter until the exit.

        Raises MeterBusy at once if too many requests of this priority wait.
        """
        await self._take(priority)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, priority: Priority) -> None:
        if not self._is_taken:
            self._is_taken = True
            return
        waiting = self._waiting[priority]
        if len(waiting) >= self._most_waiting:
            raise MeterBusy(f"{len(waiting)} requests wait for this meter already")
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                # The turn came in the same moment: the next request gets it.
                self._pass_on()
            elif turn in waiting:
                waiting.remove(turn)
            raise

    def _pass_on(self) -> None:
        """Let the next request have its turn, if one waits."""
        while (waiting := self._next()) is not None:
            # A cancelled request may still be in the queue.
            if not (turn := waiting.popleft()).done():
                turn.set_result(None)
                return
        self._is_taken = False

    def _next(self) -> deque[asyncio.Future[None]] | None:
        live, actions, background = self._waiting.values()
        if live:
            return live
        # An automation with many actions in a row must not stop the back-fill.
        if actions and not (background and self._passed >= _MOST_PASSED):
            self._passed += 1
            return actions
        self._passed = 0
        return background or None
