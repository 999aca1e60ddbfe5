"""Finds the outages at the ends of a window.

In an outage the rows of a register are missing or repeat its last state. Half an
outage can't be made right: the energy of one hour must be taken from another.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from homeassistant.components.recorder.db_schema import Statistics
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance

from ..report import EVERYTHING, Window
from ..times import HOUR
from .query import async_query
from .units import Statistic

_IN_A_ROW: Final = 24
"""Outages with one hour between them. A load that is on in one hour of several looks
the same, for ever."""


async def async_widened(
    hass: HomeAssistant, statistics: Sequence[Statistic], window: Window
) -> Window:
    """Return a window widened to the whole outages at its begin and end.

    In an outage the statistic of no register rises. `statistics` are those of the
    registers; without any the window stays as it is.
    """
    return await async_query(
        hass, lambda session: _widened(session, hass, statistics, window)
    )


async def async_last_rise(
    hass: HomeAssistant, statistic: Statistic, before: int
) -> int | None:
    """Return the start of the last row before a time with another state than the newest.

    The register has risen at some time since then, perhaps in an hour without a row.
    0 if all rows have the same state, None if there is no row before the time.
    """
    return await async_query(
        hass, lambda session: _last_rise(session, hass, statistic, before)
    )


def _last_rise(
    session: Session, hass: HomeAssistant, statistic: Statistic, before: int
) -> int | None:
    manager = get_instance(hass).statistics_meta_manager
    if (found := manager.get(session, statistic.statistic_id)) is None:
        return None
    return _Rises(session, found[0]).risen_since(before)


def _widened(
    session: Session,
    hass: HomeAssistant,
    statistics: Sequence[Statistic],
    window: Window,
) -> Window:
    begins: list[int] = []
    ends: list[int] = []
    manager = get_instance(hass).statistics_meta_manager
    for statistic in statistics:
        if found := manager.get(session, statistic.statistic_id):
            rises = _Rises(session, found[0])
            # Without a row there, a statistic shows neither an outage nor its end.
            if (begin := rises.begin(window.since)) is not None:
                begins.append(begin)
            if (end := rises.end(window.until)) is not None:
                ends.append(end)
            if window.since in begins and window.until in ends:
                # One register that rises is enough. Another one may have been constant
                # for years, and its query would have to search them all.
                return window
    return Window(max(begins, default=window.since), min(ends, default=window.until))


class _State(NamedTuple):
    """The state of a register in the row of an hour."""

    start: int
    state: float | None


class _Rises:
    """Finds the hours in which the register of a statistic has risen."""

    def __init__(self, session: Session, metadata_id: int) -> None:
        self._session = session
        rows = select(Statistics.start_ts, Statistics.state).where(
            Statistics.metadata_id == metadata_id
        )
        self._oldest_first = rows.order_by(Statistics.start_ts)
        self._newest_first = rows.order_by(Statistics.start_ts.desc())
        # The rows next to the times that were asked for.
        self._before: dict[int, _State | None] = {}
        self._from: dict[int, _State | None] = {}

    def begin(self, since: int) -> int | None:
        """Return the begin of the outage around a time, or the time itself.

        None without a row before it.
        """
        begin = None
        # Another outage may end in the hour in which this one begins.
        for _ in range(_IN_A_ROW):
            if (before := self._last_before(since)) is None:
                break
            # It is an outage unless the hours on both sides of the time have risen.
            following = self._row_from(since)
            has_risen = following is None or self._first_from(since) == since
            if before == since - HOUR and has_risen:
                return since
            begin = since = before
        return begin

    def end(self, until: int) -> int | None:
        """Return the end of the outage around a time, or the time itself.

        None without a row from it on.
        """
        end = None
        # The next outage may begin in the hour in which this one ends.
        for _ in range(_IN_A_ROW):
            if self._row_from(until) is None:
                break
            # The register has not risen since: the outage lasts until now.
            if (after := self._first_from(until)) is None:
                return EVERYTHING.until
            if after == until and self._last_before(until) == until - HOUR:
                return until
            end = until = after + HOUR
        return end

    def risen_since(self, at: int) -> int | None:
        """Return the start of the last row before a time with another state than the newest.

        0 if there is none: the age of the first state is unknown. Rows before it may be
        lost, for instance with an older database put back. None without any row.
        """
        if (last := self._row_before(at)) is None:
            return None
        other = self._other_state_before(last)
        return other.start if other else 0

    def _last_before(self, at: int) -> int | None:
        """Return the last hour with a rise before a time."""
        if (last := self._row_before(at)) is None:
            return None
        other = self._other_state_before(last)
        if other is not None and other.start == last.start - HOUR:
            return last.start
        same = self._oldest_first.where(Statistics.start_ts < at)
        if other is not None:
            same = same.where(Statistics.start_ts > other.start)
        first = self._first(same)
        return first and first.start

    def _first_from(self, at: int) -> int | None:
        """Return the first hour with a rise from a time on."""
        before, first = self._row_before(at), self._row_from(at)
        if first is None or before is None:
            return first and first.start
        # As in SQL, a row without a state differs from no other.
        if first.state in (None, before.state):
            later = self._oldest_first.where(Statistics.start_ts > first.start)
            first = self._first(later.where(Statistics.state != before.state))
        return first and first.start

    def _other_state_before(self, last: _State) -> _State | None:
        """Return the last row with another state before a row."""
        before = self._newest_first.where(Statistics.start_ts < last.start)
        return self._first(before.where(Statistics.state != last.state))

    def _row_before(self, at: int) -> _State | None:
        if at not in self._before:
            before = self._newest_first.where(Statistics.start_ts < at)
            self._before[at] = self._first(before)
        return self._before[at]

    def _row_from(self, at: int) -> _State | None:
        if at not in self._from:
            after = self._oldest_first.where(Statistics.start_ts >= at)
            self._from[at] = self._first(after)
        return self._from[at]

    def _first(self, query: Select[tuple[float | None, float | None]]) -> _State | None:
        found = self._session.execute(query.limit(1)).tuples().first()
        return None if found is None else _State(int(found[0] or 0), found[1])
