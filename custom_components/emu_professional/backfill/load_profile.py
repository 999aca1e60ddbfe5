"""The load profile of a register, as the data logger knows it.

Pure: no I/O, no clock. Registers are in the last digit of their quantity (Wh, varh),
times are seconds since 1970-01-01 UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

ROUNDING: Final = 0.5
"""Registers are whole numbers: a smaller difference is none."""

TOTAL_ROUNDING: Final = 1.5
"""The meter rounds a total and its tariffs each: they differ by one digit."""


class Reading(NamedTuple):
    """The last logged register of an hour.

    `is_exact`: it was logged at the end of the hour. `lift` is the total loss of the
    register by restarts until then: another module or meter, a rollover.
    """

    register: float
    lift: float = 0
    is_exact: bool = True

    @property
    def level(self) -> float:
        """The register as if it had never restarted."""
        return self.register + self.lift


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """The logged readings of a register around a window.

    `hours` has the readings by the start of their hour, in order. Those from `since` to
    `until` are in the window; later ones show how the register continues. `initial` is
    the last reading before the window, or None if the logger begins in it. A state and
    a reading are the same if they differ by no more than `rounding`. `last_known` is the
    start of the last hour before the window with a known register at its end: that of
    `initial`, or without one of the last stored row with another state than the newest
    there (0 if there is none). None: the hour before the window, or without `initial`
    that of the newest stored row. By `clock_off` seconds the meter's clock may differ
    from Home Assistant's.
    """

    since: int
    until: int
    initial: Reading | None
    hours: Mapping[int, Reading]
    rounding: float = ROUNDING
    last_known: int | None = None
    clock_off: float = 0

    @property
    def initial_lift(self) -> float:
        """The lift before the window."""
        return self.initial.lift if self.initial else 0.0
