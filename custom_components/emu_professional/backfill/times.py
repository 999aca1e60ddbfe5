"""Hours and periods of statistics, in seconds since 1970-01-01 UTC."""

from typing import Final

HOUR: Final = 3600
PERIOD: Final = 300
"""Seconds of a short-term row."""

END_OF_TIME: Final = 1 << 40
"""Later than every time of a clock."""

BEGIN_OF_TIME: Final = -END_OF_TIME
"""Earlier than every time of a clock."""


def whole_hour(at: int) -> int:
    """Return the start of the hour of a time."""
    return at // HOUR * HOUR
