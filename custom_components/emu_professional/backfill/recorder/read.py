"""Reads statistics as rows of `series.py` and `means.py`."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Select, cast, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from homeassistant.components.recorder.db_schema import (
    Statistics,
    StatisticsRuns,
    StatisticsShortTerm,
)
from homeassistant.components.recorder.entity_options import is_entity_recorded
from homeassistant.components.recorder.models import StatisticData, process_timestamp
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.util import dt as dt_util

from ...const import DOMAIN
from ..ledger import SEALED, Seal
from ..load_profile import ROUNDING
from ..means import Mean, StoredMeans
from ..rows import Row
from ..times import HOUR, PERIOD
from .units import Statistic, UnitNotConvertible, last_digits_per

type Table = type[Statistics | StatisticsShortTerm]
type _Columns = tuple[float | None, float | None, float | None, float | None]

_NEVER: Final = 1 << 40
_A_WHILE: Final = 30 * 24 * HOUR


@dataclass(frozen=True, slots=True)
class Stored:
    """The stored rows of a statistic with a sum.

    `rows` are its long-term rows as `series.reconcile` wants them, `short_term` its
    newest short-term one; `unit` is the unit of the statistic. `is_newest` says that
    no later rows exist: then Home Assistant continues from `short_term`.
    """

    rows: tuple[Row, ...]
    short_term: Row | None
    unit: str | None
    is_newest: bool


def has_recorder(hass: HomeAssistant) -> bool:
    """Return whether Home Assistant has a recorder."""
    return "recorder" in hass.config.components


@callback
def async_is_recorded(hass: HomeAssistant, entity_id: str) -> bool:
    """Return whether the owner lets the recorder record an entity."""
    return is_entity_recorded(hass, entity_id)


@callback
def async_periods_kept_since(hass: HomeAssistant) -> int:
    """Return the first whole hour whose five-minute rows the recorder keeps now."""
    keep = get_instance(hass).keep_days * 24 * HOUR
    return -int((keep - dt_util.utcnow().timestamp()) // HOUR) * HOUR


async def async_compiled_until(hass: HomeAssistant) -> int | None:
    """Return until when statistics are compiled, or None if none ever were.

    An hour that ends later must not be written, or the statistics of the whole
    house stop. It is never later than now: a run in the future comes from a clock
    that was ahead once, and says nothing about the hours before it.
    """
    now = dt_util.utcnow()
    return await async_query(hass, lambda session: _compiled_until(session, now))


async def async_caught_up(hass: HomeAssistant) -> bool:
    """Return whether the time that Home Assistant was off is compiled by now."""
    if not get_instance(hass).async_recorder_ready.is_set():
        return False
    until = await async_compiled_until(hass)
    now = dt_util.utcnow().timestamp()
    return until is not None and until > now - 2 * PERIOD


async def async_has_rows(
    hass: HomeAssistant, statistic: Statistic, before: int
) -> bool:
    """Return whether a statistic has rows before a time."""
    if statistic.has_sum:
        stored = await async_stored(hass, statistic, before, before)
        return any(row.start < before for row in stored.rows)
    means = await async_stored_means(hass, statistic, before - _A_WHILE, before)
    return bool(means.hours)


async def async_stored(
    hass: HomeAssistant,
    statistic: Statistic,
    since: int,
    until: int,
    register: float | None = 0,
) -> Stored:
    """Return the rows of a window, the last one before it and some after it.

    Those after it end with the second one whose state has reached `register`, which
    is the register at the end of the window; with the second one at all, if it is
    None. Raises UnitNotConvertible.
    """
    return await async_query(
        hass,
        lambda session: _stored(session, hass, statistic, since, until, register),
    )


async def async_stored_means(
    hass: HomeAssistant, statistic: Statistic, since: int, until: int
) -> StoredMeans:
    """Return the hourly and five-minute rows of a window.

    Raises UnitNotConvertible.
    """
    now = dt_util.utcnow()
    kept_since = async_periods_kept_since(hass)

    def stored(session: Session) -> StoredMeans:
        compiled = _compiled_until(session, now) or 0
        return _stored_means(
            session, hass, statistic, (since, until), kept_since, compiled
        )

    return await async_query(hass, stored)


async def async_seals(
    hass: HomeAssistant, statistics: Sequence[Statistic], until: int, since: int = 0
) -> dict[str, dict[int, Seal]]:
    """Return the seals of statistics, by their id and bucket, with one query.

    Only rows that start from `since` on and before `until` count. A statistic without
    rows, or whose unit can't be converted, has no seals.
    """
    return await async_query(
        hass, lambda session: _seals(session, hass, statistics, (since, until))
    )


async def async_stored_units(
    hass: HomeAssistant, statistic_ids: Collection[str]
) -> dict[str, str | None]:
    """Return the units of those of the statistics that exist."""
    return await async_query(
        hass, lambda session: _stored_units(session, hass, set(statistic_ids))
    )


async def async_is_written(
    hass: HomeAssistant, statistic_id: str, table: Table, expected: StatisticData
) -> bool:
    """Return whether a row is stored as it was given to the recorder."""
    return await async_query(
        hass, lambda session: _is_written(session, hass, statistic_id, table, expected)
    )


async def async_query[R](hass: HomeAssistant, query: Callable[[Session], R]) -> R:
    """Return the answer to a query.

    Raises HomeAssistantError if the database does not answer, as when its connection
    is lost or rows are locked.
    """
    return await get_instance(hass).async_add_executor_job(_query, hass, query)


def _query[R](hass: HomeAssistant, query: Callable[[Session], R]) -> R:
    with session_scope(hass=hass, read_only=True) as session:
        # Raised in here, it would be logged with a traceback.
        try:
            return query(session)
        except SQLAlchemyError as err:
            trouble = err
    raise database_trouble(trouble) from trouble


def database_trouble(err: SQLAlchemyError) -> HomeAssistantError:
    """Return an error that the owner can read."""
    return HomeAssistantError(
        translation_domain=DOMAIN,
        translation_key="database_trouble",
        translation_placeholders={"error": _short(err)},
    )


def _short(err: SQLAlchemyError) -> str:
    """Return an error in one line, without the statement and its parameters."""
    original = getattr(err, "orig", None) or err
    return str(original).strip().partition("\n")[0]


def _compiled_until(session: Session, now: datetime) -> int | None:
    newest = select(func.max(StatisticsRuns.start)).where(
        StatisticsRuns.start <= now - timedelta(seconds=PERIOD)
    )
    # Naive in UTC, or aware in the zone of the database's session.
    start = process_timestamp(session.execute(newest).scalar())
    return int(start.timestamp()) + PERIOD if start else None


def _stored_units(
    session: Session, hass: HomeAssistant, statistic_ids: set[str]
) -> dict[str, str | None]:
    manager = get_instance(hass).statistics_meta_manager
    found = manager.get_many(session, statistic_ids=statistic_ids)
    return {
        statistic_id: metadata["unit_of_measurement"]
        for statistic_id, (_, metadata) in found.items()
    }


def _stored(
    session: Session,
    hass: HomeAssistant,
    statistic: Statistic,
    since: int,
    until: int,
    register: float | None,
) -> Stored:
    manager = get_instance(hass).statistics_meta_manager
    found = manager.get(session, statistic.statistic_id)
    if found is None:
        return Stored((), None, statistic.unit or None, is_newest=True)
    metadata_id, metadata = found
    unit = metadata["unit_of_measurement"]
    per_unit = last_digits_per(unit, statistic)
    table = Statistics
    of_hours = _sums_of(table, metadata_id)
    before = of_hours.where(table.start_ts < since).order_by(table.start_ts.desc())
    inside = of_hours.where(table.start_ts >= since, table.start_ts < until).order_by(
        table.start_ts
    )
    after = of_hours.where(table.start_ts >= until).order_by(table.start_ts)
    reached = after
    if register is not None:
        reached = after.where(table.state >= (register - ROUNDING) / per_unit)
    short_term = _sums_of(StatisticsShortTerm, metadata_id).order_by(
        StatisticsShortTerm.start_ts.desc()
    )

    def rows(query: Select[_Columns]) -> list[Row]:
        return [_row(*found, per_unit) for found in session.execute(query).tuples()]

    following = rows(reached.limit(3))
    is_newest = len(following) < 3
    last = _NEVER if is_newest else following[1].start
    return Stored(
        rows=(
            *rows(before.limit(1)),
            *rows(inside),
            *rows(after.where(table.start_ts <= last)),
        ),
        short_term=next(iter(rows(short_term.limit(1))), None) if is_newest else None,
        unit=unit,
        is_newest=is_newest,
    )


def _stored_means(
    session: Session,
    hass: HomeAssistant,
    statistic: Statistic,
    window: tuple[int, int],
    kept_since: int,
    compiled: int,
) -> StoredMeans:
    manager = get_instance(hass).statistics_meta_manager
    found = manager.get(session, statistic.statistic_id)
    if found is None:
        return StoredMeans(statistic.unit or None, compiled=compiled)
    metadata_id, metadata = found
    unit = metadata["unit_of_measurement"]
    per_unit = last_digits_per(unit, statistic)
    since, until = window
    short_term = StatisticsShortTerm
    oldest = session.execute(
        select(func.min(short_term.start_ts)).where(
            short_term.metadata_id == metadata_id
        )
    ).scalar()
    periods_since = None
    if oldest is not None:
        # Before the oldest one the frontend shows the hourly rows.
        periods_since = max(kept_since, int(oldest) // HOUR * HOUR)

    def rows(table: Table, since: int) -> dict[int, Mean]:
        query = select(table.start_ts, table.mean, table.min, table.max).where(
            table.metadata_id == metadata_id,
            table.start_ts >= since,
            table.start_ts < until,
        )
        return {
            int(start or 0): Mean(
                int(start or 0), mean * per_unit, least * per_unit, most * per_unit
            )
            for start, mean, least, most in session.execute(query).tuples()
            if mean is not None and least is not None and most is not None
        }

    periods: Mapping[int, Mean] = {}
    if periods_since is not None and periods_since < until:
        # The one before tells whether the first repeats it.
        periods = rows(short_term, max(periods_since, since) - PERIOD)
    return StoredMeans(unit, rows(Statistics, since), periods, periods_since, compiled)


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


def _is_written(
    session: Session,
    hass: HomeAssistant,
    statistic_id: str,
    table: Table,
    expected: StatisticData,
) -> bool:
    found = get_instance(hass).statistics_meta_manager.get(session, statistic_id)
    if found is None:
        return False
    query = select(table.sum, table.mean).where(
        table.metadata_id == found[0],
        table.start_ts == expected["start"].timestamp(),
    )
    rows = list(session.execute(query).tuples())
    return rows == [(expected.get("sum"), expected.get("mean"))]


def _sums_of(table: Table, metadata_id: int) -> Select[_Columns]:
    return select(table.start_ts, table.state, table.sum, table.last_reset_ts).where(
        table.metadata_id == metadata_id
    )


def _row(
    start: float | None,
    state: float | None,
    total: float | None,
    last_reset: float | None,
    per_unit: float,
) -> Row:
    return Row(
        start=int(start or 0),
        state=None if state is None else state * per_unit,
        sum=(total or 0) * per_unit,
        last_reset=last_reset,
    )
