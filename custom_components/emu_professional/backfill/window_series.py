"""The series of a register in a window, as it must be.

Pure: no I/O, no clock. Steps 1 and 2 of `series.py`.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from typing import Final, NamedTuple

from .lifts import Lifts
from .load_profile import ROUNDING, LoadProfile, Reading
from .rows import Row
from .times import HOUR

_PLAUSIBLE: Final = 4
"""Unknown hours may have used so many times the energy of the strongest known one,"""
_LITTLE_ENERGY: Final = 2_000
"""and so many Wh more,"""
_UNKNOWN_ENERGY: Final = 100_000
"""or so many if fewer than `_KNOWN_HOURS` are known."""
_KNOWN_HOURS: Final = 24


class SeriesHour(NamedTuple):
    """An hour of the series; `level` is the register at its end with the lift.

    `known` is the start of the last hour until this one with a known register.
    """

    start: int
    level: float
    lift: float
    known: int

    def row(self, offset: float) -> Row:
        """Return the row of the hour."""
        return Row(self.start, self.level - self.lift, self.level + offset)


@dataclass(frozen=True, slots=True)
class WindowSeries:
    """The hours of a window as they must be; at least one.

    `rows` are the stored rows around the window, by their start and in order. `initial`
    is the level at the begin of the window, and `offset` the difference of sum and
    level. `known` is the start of the last hour before the window with a known register.
    `lifts` are those of the rows.
    """

    profile: LoadProfile
    rows: Mapping[int, Row]
    initial: float
    offset: float
    known: int
    hours: Sequence[SeriesHour]
    lifts: Lifts

    @property
    def last(self) -> SeriesHour:
        """The last hour."""
        return self.hours[-1]

    def powers(self) -> Iterator[float]:
        """Yield the mean power of each hour, in last digits per hour.

        An hour after unknown ones has the mean of all of them.
        """
        known, level = self.known, self.initial
        for hour in self.hours:
            yield (hour.level - level) * HOUR / (hour.start - known)
            known, level = hour.known, hour.level


def window_series(
    profile: LoadProfile, rows: Mapping[int, Row], *, rebuild: bool
) -> WindowSeries | None:
    """Return the series of a window, or None if nothing was logged or stored in it.

    `rows` are the stored rows from the last one before the window on.
    """
    begin = _begin(profile, rows)
    if begin is None:
        return None
    lifts = Lifts(begin.profile, rows)
    hours = tuple(_hours(begin, rows, lifts, rebuild=rebuild))
    if not hours:
        return None
    return WindowSeries(
        begin.profile, rows, begin.initial, begin.offset, begin.known, hours, lifts
    )


class _Begin(NamedTuple):
    """The begin of a series: its window, the level there and the offset.

    `known` is the start of the last hour before with a known register.
    """

    profile: LoadProfile
    initial: float
    offset: float
    known: int


def _begin(profile: LoadProfile, rows: Mapping[int, Row]) -> _Begin | None:
    """Return the begin of the series, or None if nothing was logged in the window."""
    previous = rows.get(
        max((start for start in rows if start < profile.since), default=0)
    )
    if profile.initial is not None:
        level, known = _initial_level(profile, profile.initial, previous)
        return _Begin(profile, level, (previous.sum if previous else 0) - level, known)
    first = next(iter(profile.hours), None)
    if first is None:
        return None
    reading = profile.hours[first]
    if previous is None:
        # The energy of the first hour is unknown: the series begins at its end.
        profile = replace(profile, since=first + HOUR, initial=reading)
        row = rows.get(first)
        level, known = _initial_level(profile, reading, row)
        return _Begin(profile, level, (row.sum if row else 0) - level, known)
    rise = previous.start if profile.last_known is None else profile.last_known
    state = previous.state
    if state is not None and _can_continue(
        profile, reading.level - state, first - rise
    ):
        # The first hour counts all the energy that the logger has forgotten.
        return _Begin(profile, state, previous.sum - state, rise)
    # Another meter's rows: they stay as they are, and this meter's follow them.
    level = reading.level
    return _Begin(profile, level, previous.sum - level, profile.since - HOUR)


def _initial_level(
    profile: LoadProfile, initial: Reading, previous: Row | None
) -> tuple[float, int]:
    """Return the level at the begin of a window, and since which hour it is known.

    `previous` is the row before the window.
    """
    last = profile.since - HOUR
    known = last if profile.last_known is None else profile.last_known
    if (
        previous is None
        or previous.start != last
        or previous.state is None
        or initial.is_exact
    ):
        return initial.level, known
    following = next(
        (r.level for at, r in profile.hours.items() if at >= profile.since), inf
    )
    observed = _between(
        initial.level, previous.state + initial.lift, following, profile.rounding
    )
    # After the last record Home Assistant may have observed more of that hour.
    return (initial.level, known) if observed is None else (observed, last)


def _between(
    lowest: float, observed: float, highest: float, rounding: float
) -> float | None:
    """Return an observed level if it lies between logged ones, else None.

    A total may be outside of them by its rounding.
    """
    level = min(max(observed, lowest), highest)
    return level if abs(level - observed) <= rounding else None


def _can_continue(profile: LoadProfile, passed: float, seconds: int) -> bool:
    """Return whether rows before the begin of the logger can be of the same meter.

    So much must have `passed` since them as a house can have used, and not less than
    nothing. They have not risen for so many seconds.
    """
    hours = profile.hours
    strongest = max(
        (
            (reading.level - before.level) * HOUR / (start - last)
            for (last, before), (start, reading) in pairwise(hours.items())
        ),
        default=0,
    )
    unknown = _UNKNOWN_ENERGY if len(hours) < _KNOWN_HOURS else _LITTLE_ENERGY
    most = seconds // HOUR * (_PLAUSIBLE * strongest + unknown)
    return -ROUNDING <= passed <= most


def _hours(
    begin: _Begin, rows: Mapping[int, Row], lifts: Lifts, *, rebuild: bool
) -> Iterator[SeriesHour]:
    """Yield the logged or stored hours of a window, with their registers."""
    profile, level, known = begin.profile, begin.initial, begin.known
    lift = profile.initial_lift
    for start in sorted(profile.hours.keys() | rows.keys()):
        if not profile.since <= start < profile.until:
            continue
        reading, row = profile.hours.get(start), rows.get(start)
        if reading is not None:
            level, lift, known = reading.level, reading.lift, start
        is_end_logged = reading is not None and (reading.is_exact or rebuild)
        # Without a record at the end of the hour, Home Assistant may know more.
        if row is not None and row.state is not None and not is_end_logged:
            after = bisect_right(lifts.starts, start)
            following = lifts.starts[after : after + 1]
            highest = profile.hours[following[0]].level if following else inf
            seen = lifts.level(start, row.state)
            observed = _between(level, seen, highest, profile.rounding)
            if observed is not None:
                # Home Assistant has observed the meter after its last record.
                level, known = observed, start
        yield SeriesHour(start, level, lift, known)
