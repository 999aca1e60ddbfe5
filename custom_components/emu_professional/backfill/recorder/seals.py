"""Reads the seals of statistics: see `ledger.py`."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from sqlalchemy import BigInteger, cast, func, select
from sqlalchemy.orm import Session

from homeassistant.components.recorder.db_schema import Statistics
from homeassistant.core import HomeAssistant

from ..ledger import SEALED, Seal
from .query import async_query, find, free_memory
from .units import Statistic, UnitNotConvertible

# Starts are whole hours: as an integer it is the same in every database.
_BUCKET: Final = (cast(Statistics.start_ts, BigInteger) // SEALED).label("bucket")
_OFFSET: Final = Statistics.sum - Statistics.state
_SEALED: Final = select(
    _BUCKET,
    func.count(),
    func.sum(func.coalesce(Statistics.mean, Statistics.state)).label("total"),
    func.min(_OFFSET),
    func.max(_OFFSET),
).group_by("bucket")

_AT_ONCE: Final = 12 * SEALED
"""Seconds of rows in a query: sorting five years of 18 statistics takes 16 MB more."""


async def async_seals(
    hass: HomeAssistant, statistics: Sequence[Statistic], until: int, since: int = 0
) -> dict[str, dict[int, Seal]]:
    """Return the seals of statistics, by their ID and month.

    Only rows from `since` on and before `until` count. A statistic without rows, or
    with an inconvertible unit, has no seals. Each statistic takes a query, and one for
    each year of its rows.
    """
    seals: dict[str, dict[int, Seal]] = {}
    for statistic in statistics:
        query = partial(_seals, hass, statistic, since, until)
        if of_statistic := await async_query(hass, query):
            seals[statistic.statistic_id] = of_statistic
    return seals


def _seals(
    hass: HomeAssistant, statistic: Statistic, since: int, until: int, session: Session
) -> dict[int, Seal]:
    try:
        found = find(session, hass, statistic)
    except UnitNotConvertible:
        return {}
    if found is None:
        return {}
    own_rows = Statistics.metadata_id == found.metadata_id
    oldest = session.scalar(
        select(func.min(Statistics.start_ts)).where(
            own_rows, Statistics.start_ts >= since
        )
    )
    if oldest is None:
        return {}
    seals: dict[int, Seal] = {}
    for begin in range(int(oldest) // SEALED * SEALED, until, _AT_ONCE):
        window = (
            Statistics.start_ts >= max(begin, since),
            Statistics.start_ts < min(begin + _AT_ONCE, until),
        )
        sealed = session.execute(_SEALED.where(own_rows, *window)).tuples()
        for bucket, rows, *values in sealed:
            total, lowest, highest = ((value or 0) * found.per_unit for value in values)
            seals[int(bucket)] = Seal(rows, total, lowest, highest)
        free_memory(session)
    return seals
