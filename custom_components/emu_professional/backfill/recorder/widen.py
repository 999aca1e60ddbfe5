"""Finds the outages at the ends of a window.

In an outage the rows of a register are missing or repeat its last state. Half an
outage can't be made right: the energy of one hour must be taken from another.
"""

from collections.abc import Sequence
from typing import Final

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


class _Rises:
    """Finds the hours in which the register of a statistic has risen."""

    def __init__(self, session: Session, metadata_id: int) -> None:
        self._session = session
        rows = select(Statistics.start_ts, Statistics.state).where(
            Statistics.metadata_id == metadata_id
        )
        self._oldest_first = rows.order_by(Statistics.start_ts)
        self._newest_first = rows.order_by(Statistics.start_ts.desc())

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
            has_risen = (
                not self._has_row_from(since) or self._first_from(since) == since
            )
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
            if not self._has_row_from(until):
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
        if not self._has_row_before(at):
            return None
        other = self._other_state_before(at)
        return other[0] if other else 0

    def _other_state_before(self, at: int) -> tuple[int, float | None] | None:
        """Return the last row with another state than the one before a time."""
        before = self._newest_first.where(Statistics.start_ts < at)
        if (last := self._first(before)) is None:
            return None
        return self._first(before.where(Statistics.state != last[1]))

    def _last_before(self, at: int) -> int | None:
        """Return the last hour with a rise before a time."""
        same = self._oldest_first.where(Statistics.start_ts < at)
        if (other := self._other_state_before(at)) is not None:
            same = same.where(Statistics.start_ts > other[0])
        first = self._first(same)
        return first and first[0]

    def _first_from(self, at: int) -> int | None:
        """Return the first hour with a rise from a time on."""
        after = self._oldest_first.where(Statistics.start_ts >= at)
        before = self._first(self._newest_first.where(Statistics.start_ts < at))
        if before is not None:
            after = after.where(Statistics.state != before[1])
        first = self._first(after)
        return first and first[0]

    def _has_row_before(self, at: int) -> bool:
        before = self._newest_first.where(Statistics.start_ts < at)
        return self._first(before) is not None

    def _has_row_from(self, at: int) -> bool:
        return (
            self._first(self._oldest_first.where(Statistics.start_ts >= at)) is not None
        )

    def _first(
        self, query: Select[tuple[float | None, float | None]]
    ) -> tuple[int, float | None] | None:
        found = self._session.execute(query.limit(1)).tuples().first()
        return None if found is None else (int(found[0] or 0), found[1])
