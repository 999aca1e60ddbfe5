"""An event loop whose time stands still while it works, and skips waits.

Whoever waits for a second waits no longer than it takes to find that nothing else is
going on. So a test needs no shorter limits than a real meter's, and what a busy
machine does more slowly is not late: no outcome depends on the machine's speed.

Sockets are real. While there is work in the executor, no time is skipped: a wait takes
as long as it says. A thread of another kind is not seen (`in_thread()` starts one that
may use the loop).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from functools import partial
import selectors
from threading import Thread
from typing import Any, override

_GRACE = 0.0005
"""Real seconds for the kernel to hand over what was sent before time is skipped."""
_TICK = 1e-9


async def in_thread(work: Callable[[], None]) -> None:
    """Do something in a thread that uses the event loop, and lets it skip time."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        try:
            work()
        except BaseException as err:  # noqa: BLE001
            loop.call_soon_threadsafe(done.set_exception, err)
        else:
            loop.call_soon_threadsafe(done.set_result, None)

    thread = Thread(target=run)
    thread.start()
    try:
        await done
    finally:
        thread.join()


class _Selector(selectors.DefaultSelector):
    """Waits for sockets, or skips the time until the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        """Seconds of the loop's clock."""
        self.jobs = 0
        """Work that goes on in executors."""

    @override
    def select(
        self, timeout: float | None = None
    ) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            return super().select(timeout)
        if not (events := super().select(timeout if self.jobs else _GRACE)):
            self.now += timeout
        return events


class CheckedLoop(asyncio.SelectorEventLoop):
    """An event loop that refuses to be used by other threads.

    asyncio's debug mode does that as well, and is three times as slow.
    """

    @override
    def call_soon[*Ts](
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Let a callback be called by the loop's own thread."""
        self._check_thread()  # type: ignore[attr-defined]
        return super().call_soon(callback, *args, context=context)

    @override
    def call_at[*Ts](
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Let a callback be called at a time by the loop's own thread."""
        self._check_thread()  # type: ignore[attr-defined]
        return super().call_at(when, callback, *args, context=context)


class FrozenLoop(CheckedLoop):
    """An event loop for a clock that stands still until a test moves it.

    A timer of this very moment counts as due. With the machine's resolution of 1 ns,
    which a float of this century can't add to its seconds, it never would, and the loop
    would ask for it without pause: other threads could hardly work.
    """

    def __init__(self) -> None:
        """Tell apart what floats can."""
        super().__init__()
        self._clock_resolution = 1e-5


class SkippingLoop(CheckedLoop):
    """An event loop with a clock of its own."""

    def __init__(self) -> None:
        """Begin at 0, as machines do when they are switched on."""
        self._waits = _Selector()
        super().__init__(self._waits)

    @override
    def time(self) -> float:
        """Return seconds of the loop's own clock, each time a little later.

        So that timers of the same moment go off in the order in which they were set.
        """
        self._waits.now += _TICK
        return self._waits.now

    def restore_time(self) -> None:
        """Take back that Home Assistant has put the machine's clock into its place."""
        del self.time

    @override
    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Skip no time until the work is done."""
        future = super().run_in_executor(executor, func, *args)
        self._waits.jobs += 1
        future.add_done_callback(self._job_done)
        return future

    @override
    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Skip no time until the executor's threads have ended.

        Home Assistant interrupts a thread that has not ended within a fraction of a
        second, and on a busy machine the others are then never woken.
        """
        self._waits.jobs += 1
        executor = self._default_executor  # type: ignore[attr-defined]
        try:
            if executor is not None:
                with ThreadPoolExecutor(1) as other:
                    end = partial(ThreadPoolExecutor.shutdown, executor)
                    await self.run_in_executor(other, partial(end, cancel_futures=True))
            await super().shutdown_default_executor(timeout)
        finally:
            self._waits.jobs -= 1

    def _job_done(self, future: asyncio.Future[Any]) -> None:
        self._waits.jobs -= 1
