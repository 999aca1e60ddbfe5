"""What is fuzzed, and what must be true of each case."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
import gc
from random import Random
import sys
import time
import traceback
import tracemalloc
from typing import Any, Final

_HANGS: Final = 60.0
"""Seconds after which a case is one that never ends."""
_MOST_FINDS: Final = 20
"""After which a reader is left alone: the others have their turn as well."""
_MEASURED: Final = 8
"""Of so many cases the memory of one is measured: that makes a case slower."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a case may cost: a fixed part, and one for each byte of its input."""

    seconds: float
    """CPU time: it does not depend on what else the machine does."""
    microseconds_each: float
    megabytes: float
    bytes_each: float


@dataclass(frozen=True, slots=True)
class Target[T]:
    """A reader.

    `make` makes an input. `read` reads it and returns its bytes; it raises `errors`,
    and AssertionError for what must never be.
    """

    make: Callable[[Random], T]
    read: Callable[[T], Awaitable[int]]
    errors: tuple[type[Exception], ...]
    bounds: Bounds


type Targets = dict[str, Callable[[], AbstractAsyncContextManager[Target[Any]]]]


@dataclass(slots=True)
class Result:
    """What became of a target's cases."""

    cases: int = 0
    refused: int = 0
    """Cases that ended with one of the errors that are allowed."""
    seconds: float = 0
    """CPU time of the worst case."""
    megabytes: float = 0
    """Peak of the worst case."""
    finds: list[str] = field(default_factory=list)


async def run(
    target: Target[Any],
    name: str,
    seed: str,
    first: int,
    is_over: Callable[[int], bool],
) -> Result:
    """Run cases from a number on until a function of their count says that it is over.

    Each has random numbers of its own, so that it can be repeated alone.
    """
    result = Result()
    # What is imported and kept with the first case is not its own.
    await _case(target, Random(f"{seed}/{name}"), 0, Result())
    noticed: list[str] = []
    # Looking for garbage among everything that is imported takes half a second.
    gc.collect()
    gc.freeze()
    loop = asyncio.get_running_loop()
    handler = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: noticed.append(str(context)))
    try:
        while not is_over(result.cases) and len(result.finds) < _MOST_FINDS:
            number = first + result.cases
            find = await _case(
                target, Random(f"{seed}/{name}/{number}"), number, result
            )
            if find or noticed:
                result.finds.append(f"{name} {number}: {find or noticed}")
                noticed.clear()
            result.cases += 1
    finally:
        loop.set_exception_handler(handler)
        gc.unfreeze()
    return result


def _size_of(given: object, depth: int = 2) -> int:
    """Return how many bytes an input has, itself or in its parts."""
    if isinstance(given, bytes):
        return len(given)
    if depth and isinstance(given, list | tuple):
        return sum(_size_of(part, depth - 1) for part in given)
    return 0


async def _case(
    target: Target[Any], random: Random, number: int, result: Result
) -> str | None:
    """Run a case; return what is wrong, if anything is."""
    given = target.make(random)
    is_measured = number % _MEASURED == 0
    if is_measured:
        tracemalloc.start()
    begin = time.process_time()
    size = 0
    find = None
    try:
        async with asyncio.timeout(_HANGS):
            size = await target.read(given)
    except target.errors:
        result.refused += 1
    except Exception as err:  # noqa: BLE001
        where = traceback.extract_tb(sys.exc_info()[2])[-1]
        find = f"{err!r:.300} at {where.filename}:{where.lineno}"
    seconds = time.process_time() - begin
    peak = 0.0
    if is_measured:
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
    else:
        result.seconds = max(result.seconds, seconds)
    result.megabytes = max(result.megabytes, peak)
    size = size or _size_of(given)
    bounds = target.bounds
    if (
        not is_measured
        and seconds > bounds.seconds + bounds.microseconds_each * size / 1e6
    ):
        find = find or f"{seconds:.2f} s of CPU for {size} bytes"
    if peak > bounds.megabytes + bounds.bytes_each * size / 1e6:
        find = find or f"{peak:.1f} MB for {size} bytes"
    return find
