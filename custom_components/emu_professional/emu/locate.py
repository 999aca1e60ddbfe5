"""Searching the data logger for a time, with few requests. Pure: no I/O."""

from collections.abc import Generator
from typing import Final

from .logs import EARLIEST, REACH, Record

_MOST_SLOW_STEPS: Final = 2
"""Steps with little progress before a search halves its interval."""


def locate(
    at: int, newest: Record, interval: int
) -> Generator[int, Record | None, int]:
    """Find the index of the first record ending after a time.

    `newest` must end after it; `interval` is an estimate in seconds. Yields an index
    and expects its record to be sent, or None if the logger no longer has it. If the
    clock was set back, several records may be the first: the result is one of them. If
    it was not set for a while, the result may be an earlier one: where that begins.

    Interpolates between index and time. Power failures bend this line, so after two
    steps with little progress the remaining range of indices is halved instead.

    After a power failure the clock may begin in 1970. Such a stamp shows nothing, so
    the next right record decides on which side of the time its stretch lies:

        2026-05-01 | 1970 ... 1970 | 2026-05-09 ... newest
                           ^ guess   ^ after the time: so the stretch is, too
    """
    low, high, high_at = -1, newest.index, newest.at
    low_at: int | None = None
    slow_steps = 0
    # Indices in the stretch that is looked at now, and whether `high` is in no stretch.
    unset: list[int] = []
    is_high_set = True
    while (size := high - low) > 1:
        if unset:
            guess = (unset[-1] + high) // 2
        elif low_at is None:
            guess = high - (high_at - at) // interval
        else:
            guess = low + size * (at - low_at) // max(high_at - low_at, 1)
        if not unset and (
            slow_steps == _MOST_SLOW_STEPS or (low_at is None and guess <= low)
        ):
            guess = low + size // 2
        guess = min(max(guess, low + 1), high - 1)
        record = yield guess
        if record and _is_unset(record, low_at):
            unset.append(guess)
        elif record and record.at > at:
            high, high_at, is_high_set = guess, record.at, True
        else:
            low, low_at = guess, record.at if record else None
            unset.clear()
        # Too early a result costs time, too late a one would lose records.
        if unset and (high - unset[-1] == 1 or not is_high_set):
            high, is_high_set = unset[0], False
            unset.clear()
        has_halved = high - low <= size // 2
        slow_steps = 0 if has_halved else slow_steps % _MOST_SLOW_STEPS + 1
    return high


def _is_unset(record: Record, before: int | None) -> bool:
    """Return whether a stamp is impossible: the clock was not set at that time.

    `before` is the stamp of an earlier record.
    """
    return record.at < EARLIEST or (before is not None and record.at < before - REACH)
