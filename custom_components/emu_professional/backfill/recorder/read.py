"""Reads stored statistics as rows of `rows.py` and `means.py`."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, bindparam, func, not_, select
from sqlalchemy.orm import Session

from homeassistant.components.recorder.db_schema import (
    Statistics,
    StatisticsMeta,
    StatisticsShortTerm,
)
from homeassistant.components.recorder.models import StatisticData
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance
from homeassistant.util import dt as dt_util

from ..load_profile import ROUNDING
from ..means import Mean, StoredMeans
from ..report import Window
from ..rows import Row
from ..times import END_OF_TIME, HOUR, PERIOD
from .compiled import async_periods_kept_since, compiled_until
from .query import Found, async_query, find
from .units import Statistic

type Table = type[Statistics | StatisticsShortTerm]
type _Columns = tuple[float | None, float | None, float | None, float | None]

_A_WHILE: Final = 30 * 24 * HOUR

_TABLES: Final[Sequence[Table]] = (StatisticsShortTerm, Statistics)
_VALUES: Final = ("state", "sum", "mean", "min", "max")

# To build these takes longer than to execute them.
_METADATA_ID: Final = (
    select(StatisticsMeta.id)
    .where(StatisticsMeta.statistic_id == bindparam("statistic_id"))
    .scalar_subquery()
)
_AT_STARTS: Final[Mapping[Table, Select[Any]]] = {
    table: select(table.start_ts, *(getattr(table, name) for name in _VALUES)).where(
        table.metadata_id == _METADATA_ID,
        table.start_ts.in_(bindparam("starts", expanding=True)),
    )
    for table in _TABLES
}
_FIRST_SUM: Final[Mapping[Table, Select[Any]]] = {
    table: select(table.start_ts, table.sum)
    .where(
        table.metadata_id == _METADATA_ID,
        table.start_ts >= bindparam("since"),
        table.sum.is_not(None),
    )
    .order_by(table.start_ts)
    .limit(1)
    for table in _TABLES
}


@dataclass(frozen=True, slots=True)
class Stored:
    """The stored rows of a statistic with a sum, and its unit.

    `rows` are the long-term rows for `series.plan_register`, `short_term` is the
    newest short-term one. `is_newest`: there are no later rows, so Home Assistant
    continues from `short_term`.
    """

    rows: tuple[Row, ...]
    short_term: Row | None
    unit: str | None
    is_newest: bool


async def async_has_rows(
    hass: HomeAssistant, statistic: Statistic, before: int
) -> bool:
    """Return whether a statistic has rows before a time."""
    if statistic.has_sum:
        stored = await async_stored(hass, statistic, before, before, None)
        return any(row.start < before for row in stored.rows)
    means = await async_stored_means(hass, statistic, before - _A_WHILE, before)
    return bool(means.hours)


async def async_stored(
    hass: HomeAssistant,
    statistic: Statistic,
    since: int,
    until: int,
    register: float | None,
) -> Stored:
    """Return the rows of a window, the last one before it and some after it.

    The rows after it end with the second one with a state of at least `register`, the
    register at the end of the window, that does not repeat a higher state of the window;
    without a `register`, with the second one, even without a state.
    Raises UnitNotConvertible.
    """

    def stored(session: Session) -> Stored:
        if (found := find(session, hass, statistic)) is None:
            return Stored((), None, statistic.unit or None, is_newest=True)
        return read_sums(session, found, Window(since, until), register)

    return await async_query(hass, stored)


async def async_stored_means(
    hass: HomeAssistant, statistic: Statistic, since: int, until: int
) -> StoredMeans:
    """Return the hourly and five-minute rows of a window.

    Raises UnitNotConvertible.
    """
    now = dt_util.utcnow()
    kept_since = async_periods_kept_since(hass)

    def stored(session: Session) -> StoredMeans:
        compiled = compiled_until(session, now) or 0
        if (found := find(session, hass, statistic)) is None:
            return StoredMeans(statistic.unit or None, compiled=compiled)
        window = Window(since, until)
        return read_means(session, found, window, kept_since, compiled)

    return await async_query(hass, stored)


async def async_stored_units(
    hass: HomeAssistant, statistic_ids: Collection[str]
) -> dict[str, str | None]:
    """Return the units of the existing ones of the statistics."""

    def units(session: Session) -> dict[str, str | None]:
        manager = get_instance(hass).statistics_meta_manager
        found = manager.get_many(session, statistic_ids=set(statistic_ids))
        return {
            statistic_id: metadata["unit_of_measurement"]
            for statistic_id, (_, metadata) in found.items()
        }

    return await async_query(hass, units)


def read_sums(
    session: Session, found: Found, window: Window, register: float | None
) -> Stored:
    """Return the rows of a window and those around it, as `async_stored` says.

    Rows of an outage after the window have not observed its end. They are read as well,
    because they must repeat it. The first row with the register at the end, or a higher
    one, continues the series, however late it is.
    """
    metadata_id, unit, per_unit = found
    since, until = window.since, window.until
    table = Statistics
    of_hours = _sums_of(table, metadata_id)
    before = of_hours.where(table.start_ts < since).order_by(table.start_ts.desc())
    inside = of_hours.where(table.start_ts >= since, table.start_ts < until).order_by(
        table.start_ts
    )
    after = of_hours.where(table.start_ts >= until).order_by(table.start_ts)
    short_term = _sums_of(StatisticsShortTerm, metadata_id).order_by(
        StatisticsShortTerm.start_ts.desc()
    )

    def rows(query: Select[_Columns]) -> list[Row]:
        return [_row(*row, per_unit) for row in session.execute(query).tuples()]

    until_end = [*rows(before.limit(1)), *rows(inside)]
    reached = after
    if register is not None:
        reached = after.where(table.state >= (register - ROUNDING) / per_unit)
        state = until_end[-1].state if until_end else None
        if state is not None and state > register + ROUNDING:
            # Rows of an outage repeat it, from before the register restarted.
            low, high = (state - ROUNDING) / per_unit, (state + ROUNDING) / per_unit
            reached = reached.where(not_(table.state.between(low, high)))
    # While the logger is read, Home Assistant may compile an hour or two. Its short-term
    # row still decides how the sums continue: only a third row shows a past window.
    following = rows(reached.limit(3))
    is_newest = len(following) < 3
    last = END_OF_TIME if is_newest else following[1].start
    return Stored(
        rows=(
            *until_end,
            *rows(after.where(table.start_ts <= last)),
        ),
        short_term=next(iter(rows(short_term.limit(1))), None) if is_newest else None,
        unit=unit,
        is_newest=is_newest,
    )


def read_means(
    session: Session, found: Found, window: Window, kept_since: int, compiled: int
) -> StoredMeans:
    """Return the rows as `async_stored_means` does."""
    metadata_id, unit, per_unit = found
    since, until = window.since, window.until
    short_term = StatisticsShortTerm
    oldest = session.execute(
        select(func.min(short_term.start_ts)).where(
            short_term.metadata_id == metadata_id
        )
    ).scalar()
    periods_since = None
    if oldest is not None:
        # Before the oldest one the frontend shows hourly rows.
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
        # With the row before, to see whether the first one repeats it.
        periods = rows(short_term, max(periods_since, since) - PERIOD)
    return StoredMeans(unit, rows(Statistics, since), periods, periods_since, compiled)


def is_written(
    session: Session,
    statistic_id: str,
    table: Table,
    expected: Sequence[StatisticData],
) -> bool:
    """Return whether rows are stored as they were given to the recorder."""
    values = {
        row["start"].timestamp(): [row.get(name) for name in _VALUES]
        for row in expected
    }
    stored = session.connection().execute(
        _AT_STARTS[table], {"statistic_id": statistic_id, "starts": [*values]}
    )
    return {start: row for start, *row in stored} == values


def first_sums(
    session: Session, statistic_id: str, since: int
) -> dict[Table, tuple[float, float]]:
    """Return the start and sum of the first row from a time on, by table.

    Sums are in the unit of the stored statistic. A table without such a row is left out.
    """
    values = {"statistic_id": statistic_id, "since": since}
    sums: dict[Table, tuple[float, float]] = {}
    for table in _TABLES:
        if first := session.connection().execute(_FIRST_SUM[table], values).first():
            sums[table] = (first[0], first[1])
    return sums


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
