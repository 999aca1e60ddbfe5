"""A Home Assistant with a recorder and a controlled clock."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.emu.errors import (
    MeterUnreachable,
    MeterWithoutLogger,
)
from custom_components.emu_professional.emu.logs import Page, Record, Timing
from custom_components.emu_professional.emu.pace import Pace
from custom_components.emu_professional.emu.table_reader import RecordReader
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.db_schema import (
    StateAttributes,
    States,
    StatesMeta,
    Statistics,
    StatisticsMeta,
    StatisticsRuns,
    StatisticsShortTerm,
)
from homeassistant.components.recorder.models import process_timestamp
from homeassistant.components.recorder.statistics import (
    DATA_SHORT_TERM_STATISTICS_RUN_CACHE,
    get_short_term_statistics_run_cache,
)
from homeassistant.components.recorder.tasks import (
    CompileMissingStatisticsTask,
    RecorderTask,
    SynchronizeTask,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.util import dt as dt_util
from simulator.meter import Meter

from .steps import DAY, PERIOD

ZONE: Final = ZoneInfo("Europe/Zurich")
BIRTH: Final = int(datetime(2060, 9, 6, 9, 40, tzinfo=UTC).timestamp())
"""Later than the run of statistics with which a recorder starts."""

KEEP: Final = 10 * DAY
PER_UNIT: Final = {
    "Wh": 1.0,
    "kWh": 1e3,
    "MWh": 1e6,
    "kvarh": 1e3,
    "W": 1.0,
    "kW": 1e3,
    "V": 10.0,
    "EUR": 1e6,
    "mV": 0.01,
}
"""Last digits of the quantity in the unit."""


@dataclass(frozen=True)
class Row:
    """A row of long-term statistics, in last digits of its quantity."""

    start: int
    state: float | None
    sum: float
    mean: tuple[float, ...]
    """With minimum and maximum; empty where none is stored."""


@dataclass(frozen=True)
class Stored:
    """All that the recorder holds of a statistic."""

    unit: str | None
    rows: Mapping[int, Row]
    raw: tuple[tuple[Any, ...], ...]

    def changes(self) -> dict[int, float]:
        """Return what each hour counts, as the energy dashboard shows it."""
        before = 0.0
        changes = {}
        for start, row in self.rows.items():
            changes[start] = row.sum - before
            before = row.sum
        return changes

    def rises(self) -> dict[int, bool]:
        """Return whether each row has another state than the one before.

        The first one counts as risen: the meter was observed.
        """
        before = None
        rises = {}
        for start, row in self.rows.items():
            rises[start] = row.state != before
            before = row.state
        return rises

    def periods(self) -> dict[int, tuple[float, ...]]:
        """Return mean, minimum and maximum of each five-minute row."""
        per_unit = PER_UNIT[self.unit or ""] if self.raw else 1
        return {
            int(start): tuple(value * per_unit for value in mean)
            for table, start, _, _, *mean in self.raw
            if table == StatisticsShortTerm.__tablename__ and None not in mean
        }

    def hours(self) -> dict[int, tuple[float, ...]]:
        """Return what an owner sees of each hour: not the sum, but what it counts."""
        changes = self.changes()
        return {
            start: (changes[start], row.state or 0, *row.mean)
            for start, row in self.rows.items()
        }

    def sum_before(self, at: int) -> float:
        """Return what all hours before a time count."""
        before = [row.sum for row in self.rows.values() if row.start < at]
        return before[-1] if before else 0


type Copy = Mapping[type[Any], Sequence[dict[str, Any]]]
"""The rows of all tables in which something changes."""

_EACH: Final = 0.002
"""Seconds that a record takes on the line."""

_TABLES: Final = (StatisticsRuns, Statistics, StatisticsShortTerm, States)
_NAMED_BY_STATES: Final = (StatesMeta, StateAttributes)
"""They stay as they are when a database is put back: the recorder knows their ids."""


class Stopped(Exception):
    """Home Assistant was stopped in the middle of a back-fill."""


class Hitch:
    """Something that comes in between, once.

    "line": the meter does not answer any more. "reset", "cut", "empty" and "gone": one
    answer does not come, is cut off in the middle, has nothing in it, or is a 404.
    "stop": Home Assistant ends before a write. "live": five minutes are compiled
    before a write. "late": the last five minutes are compiled after it.
    """

    def __init__(self, kind: str | None, after: int, live: Callable[[], None]) -> None:
        """Let some requests or writes go well."""
        self.kind = kind
        self._left = after
        self._live = live

    def answered(self, records: list[Record]) -> Page:
        """Return what arrives of an answer."""
        if self.kind in ("line", "reset", "cut", "empty", "gone"):
            self._left -= 1
            if self._left < 0 and self.kind == "line":
                raise MeterUnreachable("the line is cut")
            if self._left == -1:
                return self._troubled(records)
        return Page(tuple(records), (), whole=True)

    def _troubled(self, records: list[Record]) -> Page:
        if self.kind == "reset":
            raise MeterUnreachable("the connection was reset")
        if self.kind == "gone":
            raise MeterWithoutLogger("there is no /data/ (HTTP 404)")
        if self.kind == "empty":
            return Page((), (), whole=True, has_length=False)
        return Page(tuple(records[: len(records) // 2]), (), whole=False)

    def write(self) -> None:
        """Note a write to the recorder."""
        if self.kind in ("stop", "live"):
            self._left -= 1
            if self._left == -1:
                if self.kind == "stop":
                    raise Stopped
                self._live()


class Line:
    """The meter's client, without a network."""

    def __init__(self, meter: Meter, hitch: Hitch, latency: float = 0) -> None:
        """Read a meter's logger; each request takes some seconds more than its records."""
        self.pace = Pace()
        self._meter = meter
        self._hitch = hitch
        self._latency = latency

    async def status(self) -> SimpleNamespace:
        """Return what the meter's clock shows now."""
        ahead = timedelta(seconds=self._meter.meter_time() - self._meter.now())
        return SimpleNamespace(clock=dt_util.utcnow() + ahead)

    async def newest_records(self, number: int, *_: object) -> Page:
        """Return the newest records."""
        return self._page({"last": str(number)})

    async def records(self, first: int, last: int, *_: object) -> Page:
        """Return the records with these indices."""
        return self._page({"from": str(first), "to": str(last)})

    def _page(self, query: Mapping[str, str]) -> Page:
        reader = RecordReader()
        records = reader.feed(self._meter.data(query) or b"")
        page = self._hitch.answered(records)
        assert not reader.rejected
        if page.records and page.records[0].index > page.records[-1].index:
            page = replace(page, records=page.records[::-1])
        timing = Timing(self._latency, self._latency + len(records) * _EACH)
        return replace(page, timing=timing)


class World:
    """A Home Assistant with a recorder and a controlled clock."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Begin before the first life."""
        self.hass = hass
        self.now: float = BIRTH
        self.lives = count()

    @property
    def recorder(self) -> Recorder:
        """Return the recorder."""
        return get_instance(self.hass)

    def queue(self, task: RecorderTask) -> None:
        """Let the recorder do something after all earlier tasks."""
        self.recorder.queue_task(task)

    async def done(self) -> None:
        """Wait for the recorder."""
        done = self.hass.loop.create_future()
        self.queue(SynchronizeTask(done))
        await done

    async def compile_missing(self, now: float) -> None:
        """Let the recorder catch up, as it does when Home Assistant has started."""
        await self.done()
        self.now = now
        self.queue(CompileMissingStatisticsTask())
        await self.done()

    async def run[T](self, work: Callable[[], T]) -> T:
        """Do something with the database."""
        await self.done()
        return await self.recorder.async_add_executor_job(work)

    def compiled_until(self) -> int:
        """Return the end of the newest run of statistics."""
        with session_scope(hass=self.hass, read_only=True) as session:
            newest = session.execute(select(func.max(StatisticsRuns.start))).scalar()
        assert newest
        return int(process_timestamp(newest).timestamp()) + PERIOD

    def begin_anew(self, compiled: int) -> None:
        """Forget all that was recorded; statistics are compiled until a time."""
        self.put_back({})
        self.mark_compiled(compiled)

    def copied(self) -> Copy:
        """Return a copy of all that was recorded."""
        with session_scope(hass=self.hass, read_only=True) as session:
            return {
                table: _rows_of(session, table)
                for table in (*_TABLES, *_NAMED_BY_STATES)
            }

    def put_back(self, copy: Copy) -> None:
        """Let the database be what it was, as a recorder finds it that starts."""
        with session_scope(hass=self.hass) as session:
            # MariaDB would find a state that another one still names.
            session.execute(update(States).values(old_state_id=None))
            for table in _TABLES:
                session.execute(delete(table))
            # What no state has needed since then was purged, and its id is used again.
            meta, attributes = (
                _unchanged(session, table, copy.get(table, ()))
                for table in _NAMED_BY_STATES
            )
            for table in _TABLES:
                rows = copy.get(table, ())
                if table is States:
                    rows = [
                        row
                        for row in rows
                        if row["metadata_id"] in meta
                        and row["attributes_id"] in attributes
                    ]
                    states = {row["state_id"] for row in rows}
                    rows = [
                        row
                        if row["old_state_id"] in states
                        else {**row, "old_state_id": None}
                        for row in rows
                    ]
                if rows:
                    session.execute(insert(table), rows)
            self.recorder.states_manager.reset()
            # The time of the oldest state, among others.
            self.recorder.states_manager.load_from_db(session)
        self._forget_newest_rows()

    def clear(self, statistic_ids: Iterable[str], since: int, until: int) -> None:
        """Delete hourly rows."""
        self._clear(Statistics, statistic_ids, since, until)

    def clear_periods(
        self, statistic_ids: Iterable[str], since: int, until: int
    ) -> None:
        """Delete five-minute rows."""
        self._clear(StatisticsShortTerm, statistic_ids, since, until)
        self._forget_newest_rows()

    def _clear(
        self,
        table: type[Statistics | StatisticsShortTerm],
        statistic_ids: Iterable[str],
        since: int,
        until: int,
    ) -> None:
        with session_scope(hass=self.hass) as session:
            metadata_ids = select(StatisticsMeta.id).where(
                StatisticsMeta.statistic_id.in_(list(statistic_ids))
            )
            session.execute(
                delete(table).where(
                    table.metadata_id.in_(metadata_ids.scalar_subquery()),
                    table.start_ts >= since,
                    table.start_ts < until,
                )
            )

    def _forget_newest_rows(self) -> None:
        """Let the recorder look for the newest five-minute row of each statistic."""
        # `singleton` keeps it as well.
        getter: Any = get_short_term_statistics_run_cache
        getter.cache_clear()
        self.hass.data.pop(DATA_SHORT_TERM_STATISTICS_RUN_CACHE, None)

    def mark_compiled(self, until: int) -> None:
        """Let a run of statistics be the newest one."""
        with session_scope(hass=self.hass) as session:
            session.add(StatisticsRuns(start=time_of(until - PERIOD)))

    def repeat_rows(self, statistic_ids: Iterable[str], first: int, last: int) -> None:
        """Repeat the rows of the hour before `first` until `last`."""
        with session_scope(hass=self.hass) as session:
            query = (
                select(Statistics)
                .join(StatisticsMeta, Statistics.metadata_id == StatisticsMeta.id)
                .where(StatisticsMeta.statistic_id.in_(list(statistic_ids)))
                .where(Statistics.start_ts == first - HOUR)
            )
            session.add_all(
                Statistics(
                    created_ts=row.created_ts,
                    metadata_id=row.metadata_id,
                    start_ts=start,
                    **{
                        name: getattr(row, name)
                        for name in (
                            *("mean", "min", "max", "state", "sum"),
                            "last_reset_ts",
                        )
                    },
                )
                for row in session.execute(query).scalars().all()
                for start in range(first, last, HOUR)
            )

    def stored(self, statistic_id: str, default_unit: str) -> Stored:
        """Return all that is stored of a statistic."""
        with session_scope(hass=self.hass, read_only=True) as session:
            meta = session.execute(
                select(StatisticsMeta.id, StatisticsMeta.unit_of_measurement).where(
                    StatisticsMeta.statistic_id == statistic_id
                )
            ).first()
            if meta is None:
                return Stored(None, {}, ())
            metadata_id, unit = meta
            raw: tuple[tuple[Any, ...], ...] = tuple(
                (table.__tablename__, *row)
                for table in (Statistics, StatisticsShortTerm)
                for row in session.execute(
                    select(
                        *(table.start_ts, table.state, table.sum),
                        *(table.mean, table.min, table.max),
                    )
                    .where(table.metadata_id == metadata_id)
                    .order_by(table.start_ts)
                ).tuples()
            )
        per_unit = PER_UNIT[unit or default_unit]
        rows = {
            row.start: row
            for table, *columns in raw
            if table == Statistics.__tablename__
            for row in (_row(columns, per_unit),)
        }
        return Stored(unit, rows, raw)


def _row(columns: Sequence[float | None], per_unit: float) -> Row:
    start, state, total, *mean = columns
    return Row(
        start=int(start or 0),
        state=None if state is None else state * per_unit,
        sum=(total or 0) * per_unit,
        mean=tuple(value * per_unit for value in mean if value is not None),
    )


def time_of(at: float) -> datetime:
    """Return a time that statistics know."""
    return datetime.fromtimestamp(at, UTC)


def _rows_of(session: Session, table: type[Any]) -> list[dict[str, Any]]:
    """Return all rows of a table."""
    return [dict(row) for row in session.execute(select(table.__table__)).mappings()]


def _unchanged(
    session: Session, table: type[Any], copied: Sequence[dict[str, Any]]
) -> set[int]:
    """Return the ids of the rows of a table that are as they were copied."""
    (column,) = table.__table__.primary_key.columns
    now = {row[column.name]: row for row in _rows_of(session, table)}
    return {row[column.name] for row in copied if now.get(row[column.name]) == row}
