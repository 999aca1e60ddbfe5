"""Finds the outages at the ends of a window.

In an outage the rows of a register are missing or repeat its last state. Half an
outage can't be made right: what one hour gets, another one must give.
"""

from collections.abc import Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from homeassistant.components.recorder.db_schema import Statistics
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance, session_scope

from ..report import EVERYTHING, Window
from ..times import HOUR
from .units import Statistic


async def async_widened(
    hass: HomeAssistant, statistics: Sequence[Statistic], window: Window
) -> Window:
    """Return a window with the whole of an outage in which it begins or ends.

    An outage is where no register's statistic rises. `statistics` are those of the
    registers; without any the window stays as it is.
    """
    return await get_instance(hass).async_add_executor_job(
        _widened, hass, statistics, window
    )


async def async_last_rise(
    hass: HomeAssistant, statistic: Statistic, before: int
) -> int | None:
    """Return the start of the last row before a time from which the register has risen.

    It is less than that of the row before the time, and may have risen at any time
    since, also in hours that have no row.
    """
    return await get_instance(hass).async_add_executor_job(
        _last_rise, hass, statistic, before
    )


def _last_rise(hass: HomeAssistant, statistic: Statistic, before: int) -> int | None:
    with session_scope(hass=hass, read_only=True) as session:
        manager = get_instance(hass).statistics_meta_manager
        if (found := manager.get(session, statistic.statistic_id)) is None:
            return None
        lower = _Rises(session, found[0]).lower_before(before)
        return lower and lower[0]


def _widened(
    hass: HomeAssistant, statistics: Sequence[Statistic], window: Window
) -> Window:
    begins: list[int] = []
    ends: list[int] = []
    with session_scope(hass=hass, read_only=True) as session:
        manager = get_instance(hass).statistics_meta_manager
        for statistic in statistics:
            if (found := manager.get(session, statistic.statistic_id)) is None:
                continue
            rises = _Rises(session, found[0])
            if (row := rises.last_before(window.since)) is not None:
                begins.append(row + HOUR)
            if (row := rises.last_before(window.until)) is not None:
                later = rises.first_after(window.until)
                is_outage = row + HOUR < window.until
                ends.append(
                    (EVERYTHING.until if later is None else later + HOUR)
                    if is_outage
                    else window.until
                )
    return Window(
        min(max(begins, default=window.since), window.since),
        max(min(ends, default=window.until), window.until),
    )


class _Rises:
    """Finds the hours in which the state of a statistic has changed."""

    def __init__(self, session: Session, metadata_id: int) -> None:
        self._session = session
        self._rows = select(Statistics.start_ts, Statistics.state).where(
            Statistics.metadata_id == metadata_id
        )

    def last_before(self, at: int) -> int | None:
        """Return the start of the last hour before a time in which it has changed."""
        same = self._rows.where(Statistics.start_ts < at).order_by(Statistics.start_ts)
        if (lower := self.lower_before(at)) is not None:
            same = same.where(Statistics.start_ts > lower[0])
        first = self._first(same)
        return first and first[0]

    def lower_before(self, at: int) -> tuple[int, float | None] | None:
        """Return the last row that has another state than the one before a time."""
        newest = Statistics.start_ts.desc()
        before = self._rows.where(Statistics.start_ts < at).order_by(newest)
        if (last := self._first(before)) is None:
            return None
        return self._first(before.where(Statistics.state != last[1]))

    def first_after(self, at: int) -> int | None:
        """Return the start of the first hour from a time on in which it has changed."""
        newest = Statistics.start_ts.desc()
        before = self._first(
            self._rows.where(Statistics.start_ts < at).order_by(newest)
        )
        after = self._rows.where(Statistics.start_ts >= at)
        if before is not None:
            after = after.where(Statistics.state != before[1])
        first = self._first(after.order_by(Statistics.start_ts))
        return first and first[0]

    def _first(
        self, query: Select[tuple[float | None, float | None]]
    ) -> tuple[int, float | None] | None:
        found = self._session.execute(query.limit(1)).tuples().first()
        return None if found is None else (int(found[0] or 0), found[1])
