"""Times in responses: in Home Assistant's time zone, with their offset from UTC."""

from ..record_data import local_time


def maybe_shown(at: int | None) -> str | None:
    """Return seconds since 1970-01-01 UTC as a time; None stays None."""
    return None if at is None else local_time(at)
