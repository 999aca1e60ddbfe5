"""How long something was ago, by a clock that its owner may set back."""

from datetime import datetime, timedelta


def is_within(time: timedelta, since: datetime | None, now: datetime) -> bool:
    """Return whether less than a time has passed since a moment.

    False without a moment, and if it is in the future: the clock was set back, and
    nobody knows how much time has passed.
    """
    return since is not None and timedelta() <= now - since < time
