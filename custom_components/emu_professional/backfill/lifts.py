"""The lifts of the rows of a register that has restarted.

Pure: no I/O, no clock. `series.py` says what a lift is.

A row may be from before a restart that the logger knows: Home Assistant was off, and
began its next row with the state from then.

    logged register   1100  1200 |   30   130
    lift                 0     0 | 1250  1250
    state of the row  1100  1200   1240   129
    its lift             0     0      0  1250
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping

from .load_profile import LoadProfile, Reading
from .rows import Row
from .times import whole_hour


class Lifts:
    """The lifts of rows, in a load profile."""

    def __init__(self, profile: LoadProfile, rows: Mapping[int, Row]) -> None:
        """Initialize the lifts.

        `rows` are the stored rows around the window, by their start and in order.
        """
        self.starts = list(profile.hours)
        """The starts of all logged hours, in order."""
        self._profile = profile
        self._rows = rows
        self._stored = list(rows)
        self._restarts: list[int] = []
        """The starts of the hours with a restart."""
        self._last: list[Reading] = []
        """The last reading before each restart."""
        before = profile.initial
        for start, reading in profile.hours.items():
            if before is not None and reading.lift != before.lift:
                self._restarts.append(start)
                self._last.append(before)
            before = reading

    def _at(self, start: int) -> float:
        """Return the lift of the last reading until the hour of a row."""
        number = bisect_right(self.starts, start)
        if number == 0:
            return self._profile.initial_lift
        return self._profile.hours[self.starts[number - 1]].lift

    def of(self, start: int, state: float) -> float:
        """Return the lift of a row with a state: of the last restart it has observed."""
        if not self._restarts:
            return self._at(start)
        hours = self._profile.hours
        # A row that repeats the one before has observed nothing since.
        while whole_hour(start) not in hours:
            previous = self.row_before(start)
            if previous is None or previous.state != state:
                return self._at(start)
            start = previous.start
        reading = hours[whole_hour(start)]
        number = bisect_right(self._restarts, start)
        if number == 0:
            return reading.lift
        # The register only grows: a state above it is of the cycle before, if nearer.
        last = self._last[number - 1]
        is_older = abs(last.register - state) < state - reading.register
        return last.lift if is_older else reading.lift

    def level(self, start: int, state: float) -> float:
        """Return the level of a row with a state."""
        return state + self.of(start, state)

    def row_before(self, start: int) -> Row | None:
        """Return the last stored row before a time."""
        number = bisect_left(self._stored, start)
        return self._rows[self._stored[number - 1]] if number else None
