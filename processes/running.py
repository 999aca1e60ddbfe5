"""Runs Python programs of this repository and leaves nothing of them behind."""

import asyncio
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
import os
from pathlib import Path
import signal
import socket
import sys
from typing import Any

from aiohttp import ClientError, ClientSession

ROOT = Path(__file__).parent.parent

PATIENCE = 600
"""Seconds; at its first start Home Assistant installs what it is missing."""


class ProgramError(Exception):
    """A program has ended, or is not ready in time."""


@asynccontextmanager
async def running(
    *arguments: str, quiet: bool = False, **environment: str
) -> AsyncIterator[Process]:
    """Run a Python program that has nothing left running when this ends.

    `environment` is what it finds there beside what this program does; `quiet` keeps
    its errors from the console.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        env=os.environ | environment,
        stdin=DEVNULL,
        stderr=DEVNULL if quiet else None,
        # Ctrl-C must reach the calling program alone: the meter is to outlive
        # Home Assistant.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError, TimeoutError):
            process.terminate()
            async with asyncio.timeout(30):
                await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def while_running[ResultT](
    process: Process, doing: Coroutine[Any, Any, ResultT]
) -> ResultT:
    """Do something for which a program must be running; ProgramError if it is not."""
    task = asyncio.create_task(doing)
    end = asyncio.create_task(process.wait())
    try:
        await asyncio.wait(
            (task, end), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        if end.done():
            raise ProgramError(f"a program ended with exit code {process.returncode}")
        if not task.done():
            raise ProgramError(f"not ready after {PATIENCE} s")
        return await task
    finally:
        task.cancel()
        end.cancel()


async def wait_for(session: ClientSession, url: str) -> None:
    """Wait until an address answers."""
    while True:
        with suppress(ClientError):
            async with session.get(url) as response:
                if response.ok:
                    return
        await asyncio.sleep(0.2)


async def until(
    condition: Callable[[], Awaitable[bool]], *, seconds: float = 30
) -> None:
    """Wait until something is true; TimeoutError if it does not become so."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.1)


def own_addresses() -> Iterator[str]:
    """Yield addresses of the loopback interface that no other process yields.

    For programs that have one port each, like a meter's updater. Only Linux has them.
    """
    process = os.getpid()
    for number in count(2):
        yield f"127.{process >> 8 & 255}.{process & 255}.{number}"


def own_port(first: int) -> int:
    """Return a free TCP port, of the hundred from this one on.

    Another run of the same program at the same time hardly chooses the same one.
    """
    return free_port(first + os.getpid() % 100)


def free_port(first: int) -> int:
    """Return the first free TCP port from this one on."""
    return next(port for port in range(first, 2**16) if is_free(port))


def is_free(port: int, kind: int = socket.SOCK_STREAM) -> bool:
    """Return whether a port of the loopback interface is free."""
    with socket.socket(type=kind) as candidate:
        # Of a connection that has just ended its port is free; a datagram socket that
        # is asked to share its port shares it with one that is in use.
        if kind == socket.SOCK_STREAM:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
