"""When a meter's statistics are compared with its data logger.

Pure: no I/O, no clock. Times are by Home Assistant's clock.

    event                          | compared are
    -------------------------------+------------------------------------------------
    Home Assistant has started     | all statistics
    an outage of a whole hour ends | all statistics, at once
    a shorter outage ends          | all statistics, at most once in 30 min
    a full hour                    | all if an outage is not settled or a day has
                                   | passed; else only the external ones
    once a day                     | with them, every settled month (its seal)
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from ..elapsed import is_within
from ..outages import Outage

_DAY: Final = timedelta(days=1)
_OFTEN: Final = timedelta(minutes=30)

_FIRST_MINUTE: Final = 2
"""Of each hour: the recorder compiles the last five minutes of the hour before first."""

_SPREAD: Final = 240
"""Seconds in each hour over which several meters are spread."""


@dataclass(slots=True)
class Schedule:
    """Decides when the statistics of one meter are compared with its logger.

    `is_due`: an outage is not settled yet. `compared` is the time at which the last
    comparison of any statistic began, `completed` at which the last one of all ended,
    and `verified` the end of the last one with all seals.
    """

    is_due: bool = True
    compared: datetime | None = None
    completed: datetime | None = None
    verified: datetime | None = None

    def is_all_due(self, now: datetime) -> bool:
        """Return whether a full hour is a reason to compare all statistics."""
        return self.is_due or self.is_daily_due(now)

    def is_daily_due(self, now: datetime) -> bool:
        """Return whether the last complete comparison was a day ago or more."""
        return not is_within(_DAY, self.completed, now)

    def is_verification_due(self, now: datetime) -> bool:
        """Return whether all seals were compared a day ago or more."""
        return not is_within(_DAY, self.verified, now)

    def is_worth_comparing(
        self, outage: Outage, now: datetime, *, is_polled: bool
    ) -> bool:
        """Return whether the end of an outage is a reason to compare at once.

        `is_polled`: Home Assistant polls the meter. If an automation does so
        instead, each of its polls ends an outage, and the full hour is enough.
        """
        if outage.is_long:
            return True
        return is_polled and not is_within(_OFTEN, self.compared, now)


def hourly_at(turn: float) -> tuple[int, int]:
    """Return the minute and second of each hour for the comparison of a meter."""
    seconds = int(turn * _SPREAD)
    return _FIRST_MINUTE + seconds // 60, seconds % 60
