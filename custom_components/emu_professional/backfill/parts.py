"""Cuts the hours of the logger into parts, where it knows the registers exactly.

Pure: no I/O, no clock. Times are seconds since 1970-01-01 UTC.

A part needs the registers at its begin. So its border lies where a record was
logged at the end of an hour, as near to the planned place as possible:

    logged hours      ... | 08  | 09  | 10  | 11  | 12  | 13 ...
    record at the end       yes   yes   no    no    yes
    planned                             ^
    border                        ^
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .hours import Hour
from .load_profile import LoadProfile
from .targets import Target
from .times import HOUR

_SEARCH: Final = 24 * HOUR
"""A border may lie so far from its planned place to be known exactly."""


@dataclass(frozen=True, slots=True)
class LoggedHours:
    """The hours around a part, in order.

    `undecided_since` is the stamp of the first record in need of later ones to confirm
    it, `clock_set_at` the one of the first after the clock was set for the first time;
    None without such a record.
    """

    hours: Sequence[Hour]
    undecided_since: int | None
    clock_set_at: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive hours of the logger around a part of the window.

    `hours` are the logged ones from `since` to `until`, `later` those after it.
    `previous` is the last logged hour before the part, or None if the logger begins in
    it. `is_oldest`: no older part follows.
    """

    since: int
    until: int
    previous: Hour | None
    hours: Sequence[Hour]
    later: Sequence[Hour]
    is_oldest: bool

    @property
    def hours_with_known_begin(self) -> Sequence[Hour]:
        """The hours with a logged register at their begin: these have an energy."""
        return self.hours if self.previous is not None else self.hours[1:]

    def profile(self, target: Target, *, rebuild: bool) -> LoadProfile:
        """Return the load profile of a register."""
        initial = last_known = None
        if self.previous is not None:
            last_known = self.previous.start
            initial = target.reading(self.previous)
            # In rebuild mode the next (older) part overwrites the row before this one,
            # so its state must not override the logger here.
            is_exact = self.previous.known == self.since or (
                rebuild and not self.is_oldest
            )
            initial = initial._replace(is_exact=is_exact)
        return LoadProfile(
            since=self.since,
            until=self.until,
            initial=initial,
            hours={h.start: target.reading(h) for h in (*self.hours, *self.later)},
            rounding=target.rounding,
            last_known=last_known,
        )


def cut_part(
    logged: LoggedHours, planned: int, until: int, *, is_oldest: bool
) -> Part | None:
    """Return a part with its begin at the planned time or near.

    None if no register is known there: the logger must be read from earlier on.
    """
    hours = logged.hours
    if (clock_set_at := logged.clock_set_at) is not None:
        # All older records have wrong stamps.
        hours = [hour for hour in hours if hour.end >= clock_set_at]
        is_oldest = is_oldest or not any(hour.end <= planned for hour in hours)
    border = planned if is_oldest else _border(hours, planned, until)
    if border is None:
        return None
    earlier = [hour for hour in hours if hour.start < border]
    inside = [hour for hour in hours if border <= hour.start < until]
    # The logger begins in this part: there is nothing to fill before its first hour.
    if not earlier:
        border = inside[0].start if inside else until
    return Part(
        since=border,
        until=until,
        previous=earlier[-1] if earlier else None,
        hours=inside,
        later=[hour for hour in hours if hour.start >= until],
        is_oldest=is_oldest,
    )


def _border(hours: Sequence[Hour], planned: int, until: int) -> int | None:
    """Return the begin of a part: the end of a logged hour, an exact one if possible."""
    near = [
        hour.end
        for hour in hours
        if hour.known == hour.end < until and abs(hour.end - planned) <= _SEARCH
    ]
    if near:
        return min(near, key=lambda end: abs(end - planned))
    return max((hour.end for hour in hours if hour.end <= planned), default=None)
