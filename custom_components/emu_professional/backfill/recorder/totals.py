"""Reads the sums of statistics at given times."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from homeassistant.components.recorder.db_schema import Statistics
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance

from ..times import HOUR
from .query import async_query

_AT_ONCE: Final = 500
"""Times in one query: databases have a limit."""


class Total(NamedTuple):
    """The row of the last hour before a time: its end, state and sum."""

    at: int
    state: float | None
    sum: float


class Totals(NamedTuple):
    """The totals of a statistic at given times, in its own unit.

    `first` is its first row. Earlier totals are None.
    """

    unit: str | None
    first: Total | None
    totals: list[Total | None]


async def async_totals(
    hass: HomeAssistant, statistic_ids: Sequence[str], ats: Sequence[int]
) -> dict[str, Totals]:
    """Return the totals of the existing statistics at given times, in their order."""
    return await async_query(
        hass, lambda session: _totals(session, hass, statistic_ids, ats)
    )


def _totals(
    session: Session,
    hass: HomeAssistant,
    statistic_ids: Sequence[str],
    ats: Sequence[int],
) -> dict[str, Totals]:
    manager = get_instance(hass).statistics_meta_manager
    found = manager.get_many(session, statistic_ids=set(statistic_ids))
    return {
        statistic_id: Totals(
            metadata["unit_of_measurement"],
            _first(session, metadata_id),
            _totals_of(session, metadata_id, ats),
        )
        for statistic_id, (metadata_id, metadata) in found.items()
    }


type _Columns = tuple[float | None, float | None, float | None]


def _rows(metadata_id: int) -> Select[_Columns]:
    table = Statistics
    return select(table.start_ts, table.state, table.sum).where(
        table.metadata_id == metadata_id, table.sum.is_not(None)
    )


def _first(session: Session, metadata_id: int) -> Total | None:
    oldest = _rows(metadata_id).order_by(Statistics.start_ts).limit(1)
    row = session.execute(oldest).tuples().first()
    return _total(*row) if row else None


def _totals_of(
    session: Session, metadata_id: int, ats: Sequence[int]
) -> list[Total | None]:
    table = Statistics
    rows = _rows(metadata_id)
    exact: dict[int, Total] = {}
    for first in range(0, len(ats), _AT_ONCE):
        starts = [at - HOUR for at in ats[first : first + _AT_ONCE]]
        for row in session.execute(rows.where(table.start_ts.in_(starts))).tuples():
            total = _total(*row)
            exact[total.at] = total
    totals: list[Total | None] = []
    for at in ats:
        total_at = exact.get(at)
        # The hour has no row, as before the first one or in an outage.
        if total_at is None:
            before = rows.where(table.start_ts <= at - HOUR)
            newest = before.order_by(table.start_ts.desc()).limit(1)
            row_before = session.execute(newest).tuples().first()
            total_at = _total(*row_before) if row_before else None
        totals.append(total_at)
    return totals


def _total(start: float | None, state: float | None, total: float | None) -> Total:
    return Total(int(start or 0) + HOUR, state, total or 0)
