"""Reads the seals of statistics: see `ledger.py`."""

from collections.abc import Iterable, Sequence

from sqlalchemy import BigInteger, Select, cast, func, select
from sqlalchemy.orm import Session

from homeassistant.components.recorder.db_schema import Statistics
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance

from ..ledger import SEALED, Seal
from .query import async_query
from .units import Statistic, UnitNotConvertible, last_digits_per


async def async_seals(
    hass: HomeAssistant, statistics: Sequence[Statistic], until: int, since: int = 0
) -> dict[str, dict[int, Seal]]:
    """Return the seals of statistics, by their ID and month, with one query.

    Only rows from `since` on and before `until` count. A statistic without rows, or
    with an inconvertible unit, has no seals.
    """
    return await async_query(
        hass, lambda session: _seals(session, hass, statistics, (since, until))
    )


def _seals(
    session: Session,
    hass: HomeAssistant,
    statistics: Sequence[Statistic],
    window: tuple[int, int],
) -> dict[str, dict[int, Seal]]:
    by_id = {statistic.statistic_id: statistic for statistic in statistics}
    found = get_instance(hass).statistics_meta_manager.get_many(
        session, statistic_ids=set(by_id)
    )
    per_units: dict[int, tuple[str, float]] = {}
    for statistic_id, (metadata_id, metadata) in found.items():
        unit = metadata["unit_of_measurement"]
        try:
            per_unit = last_digits_per(unit, by_id[statistic_id])
        except UnitNotConvertible:
            continue
        per_units[metadata_id] = statistic_id, per_unit
    seals: dict[str, dict[int, Seal]] = {}
    sealed = session.execute(_seals_of(per_units, *window)).tuples()
    for of_statistic, bucket, rows, *values in sealed:
        statistic_id, per_unit = per_units[of_statistic or 0]
        total, lowest, highest = ((value or 0) * per_unit for value in values)
        seal = Seal(rows, total, lowest, highest)
        seals.setdefault(statistic_id, {})[int(bucket)] = seal
    return seals


type _Sealed = tuple[int | None, int, int, float, float | None, float | None]


def _seals_of(metadata_ids: Iterable[int], since: int, until: int) -> Select[_Sealed]:
    table = Statistics
    # Starts are whole hours: as an integer it is the same in every database.
    bucket = (cast(table.start_ts, BigInteger) // SEALED).label("bucket")
    offset = table.sum - table.state
    return (
        select(
            table.metadata_id,
            bucket,
            func.count(),
            func.sum(func.coalesce(table.mean, table.state)).label("total"),
            func.min(offset),
            func.max(offset),
        )
        .where(
            table.metadata_id.in_(list(metadata_ids)),
            table.start_ts >= since,
            table.start_ts < until,
        )
        .group_by(table.metadata_id, "bucket")
    )
