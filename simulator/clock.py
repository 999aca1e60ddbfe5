"""True time of the simulation: it can be set, stopped and accelerated.

A meter's own clock may differ from it (see `meter.py`).
"""

from datetime import UTC, datetime, timedelta
import math
import time
from typing import Protocol, override

type Instant = datetime | float
"""A moment in true time: an aware datetime, or seconds since 1970-01-01 UTC."""


def epoch(at: Instant) -> int:
    """Return whole seconds since 1970-01-01 UTC, cut off towards the past."""
    if not isinstance(at, datetime):
        return math.floor(at)
    if at.tzinfo is None:
        raise ValueError("A moment without time zone is ambiguous")
    return math.floor(at.timestamp())


class Clock(Protocol):
    """True time."""

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC."""


class ManualClock(Clock):
    """Stands still until it is set or advanced."""

    def __init__(self, start: Instant) -> None:
        """Stop the clock at `start`."""
        self.set(start)

    @override
    def now(self) -> float:
        return self._now

    def set(self, at: Instant) -> None:
        """Set the clock to `at`, also to the past."""
        self._now = _seconds(at)

    def advance(self, by: timedelta | float) -> None:
        """Advance the clock by a time span or by seconds."""
        self._now += by.total_seconds() if isinstance(by, timedelta) else by


class RunningClock(Clock):
    """Runs `speed` simulated seconds in every real one."""

    def __init__(self, start: Instant | None = None, speed: float = 1.0) -> None:
        """Start at `start` (default: the computer's time)."""
        self._speed = _checked_speed(speed)
        self.set(datetime.now(UTC) if start is None else start)

    @property
    def speed(self) -> float:
        """Simulated seconds per real second, 0 or more; may be changed while running."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self.set(self.now())
        self._speed = _checked_speed(speed)

    @override
    def now(self) -> float:
        return self._origin + (time.monotonic() - self._started) * self._speed

    def set(self, at: Instant) -> None:
        """Set the clock to `at`; it continues to run."""
        self._origin = _seconds(at)
        self._started = time.monotonic()


def _seconds(at: Instant) -> float:
    if not isinstance(at, datetime):
        return float(at)
    if at.tzinfo is None:
        raise ValueError("A moment without time zone is ambiguous")
    return at.timestamp()


def _checked_speed(speed: float) -> float:
    if not 0 <= speed < math.inf:
        raise ValueError(f"Speed must be finite and not negative, not {speed}")
    return speed
