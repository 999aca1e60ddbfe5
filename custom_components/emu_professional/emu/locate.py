"""Searching the data logger for a time, with few requests. Pure: no I/O."""

from collections.abc import Generator
from typing import Final

from .logs import Record

_MOST_SLOW_STEPS: Final = 2
"""Steps with little progress before a search halves its interval."""


def locate(
    at: int, newest: Record, interval: int
) -> Generator[int, Record | None, int]:
    """Find the index of the first record ending after a time.

    `newest` must end after it; `interval` is an estimate in seconds. Yields an index
    and expects its record to be sent, or None if the logger no longer has it. If the
    clock was set back, several records may be the first: the result is one of them.

    Interpolates between index and time. Power failures bend this line, so after two
    steps with little progress the remaining range of indices is halved instead.
    """
    low, high, high_at = -1, newest.index, newest.at
    low_at: int | None = None
    slow_steps = 0
    while (size := high - low) > 1:
        if low_at is None:
            guess = high - (high_at - at) // interval
        else:
            guess = low + size * (at - low_at) // max(high_at - low_at, 1)
        if slow_steps == _MOST_SLOW_STEPS or (low_at is None and guess <= low):
            guess = low + size // 2
        guess = min(max(guess, low + 1), high - 1)
        record = yield guess
        if record and record.at > at:
            high, high_at = guess, record.at
        else:
            low, low_at = guess, record.at if record else None
        has_halved = high - low <= size // 2
        slow_steps = 0 if has_halved else slow_steps % _MOST_SLOW_STEPS + 1
    return high
