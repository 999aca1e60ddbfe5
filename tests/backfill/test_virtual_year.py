"""A virtual year of a house, through the real recorder: every hour is right.

A meter with its logger, and a Home Assistant that is off, or does not hear the
meter, or is told to fill its statistics, in any order. Time passes as it is told:
what happens is compiled, caught up with and purged by the recorder's own tasks;
only of long stretches in which nothing changes the middle is left out.

`VIRTUAL_YEARS=500 scripts/test tests/backfill/test_virtual_year.py` searches long.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
import logging
import os
from typing import Any, Final, Self, cast
from unittest.mock import patch
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, Phase, given, settings, strategies as st
import pytest
from sqlalchemy import delete, func, select, update

from custom_components.emu_professional.backfill import job, pages
from custom_components.emu_professional.backfill.hours import HOUR
from custom_components.emu_professional.backfill.job import (
    Backfill,
    Mode,
    Outcome,
    Report,
    Window,
)
from custom_components.emu_professional.backfill.recorder import Statistic
from custom_components.emu_professional.backfill.targets import TARGETS, Target
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import MeterUnreachable
from custom_components.emu_professional.emu.logs import Page, RecordReader
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.db_schema import (
    States,
    Statistics,
    StatisticsMeta,
    StatisticsRuns,
    StatisticsShortTerm,
)
from homeassistant.components.recorder.statistics import statistics_during_period
from homeassistant.components.recorder.tasks import (
    CompileMissingStatisticsTask,
    PurgeTask,
    RecorderTask,
    StatisticsTask,
    SynchronizeTask,
)
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.recorder import get_instance, session_scope
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from simulator.clock import ManualClock
from simulator.history import (
    ClockSet,
    Event,
    IntervalChange,
    ModuleMoved,
    PowerFailure,
    Status,
)
from simulator.logger import LoggerConfig, Record
from simulator.measuring import Registers, Snapshot
from simulator.meter import Meter, MeterConfig

YEARS: Final = int(os.environ.get("VIRTUAL_YEARS") or 0)

ZONE: Final = ZoneInfo("Europe/Zurich")
BIRTH: Final = int(datetime(2060, 9, 6, 9, 40, tzinfo=UTC).timestamp())
"""Later than the run of statistics with which a recorder starts."""

PERIOD: Final = 300
DAY: Final = 24 * HOUR
KEEP: Final = 10 * DAY
EXACT: Final = 0.01
EVERYTHING: Final = Window(0, 1 << 40)
SERIAL_NUMBER: Final = "22350001"
OTHER_SERIAL_NUMBER: Final = "22350002"
CLOCK_LIMIT: Final = 300
"""A meter whose clock is further off is not read."""

PER_UNIT: Final = {
    "Wh": 1.0,
    "kWh": 1e3,
    "MWh": 1e6,
    "kvarh": 1e3,
    "W": 1.0,
    "kW": 1e3,
    "V": 10.0,
    "mV": 0.01,
}
"""Last digits of the quantity in the unit."""

UNITS: Final = {"energy": ("kWh", "Wh", "MWh"), "power": ("kW", "W"), "voltage": ("V",)}

BY_KEY: Final = {target.key: target for target in TARGETS}
REGISTERS: Final = (
    "energy_import_t1",
    "energy_import_t2",
    "energy_export",
    "energy_export_t1",
    "reactive_energy_import_t1",
)
MEASUREMENTS: Final = ("active_power", "voltage_l1")
EXTERNAL: Final = "reactive_energy_import_t1"


# What happens


@dataclass(frozen=True)
class Live:
    """Home Assistant runs and hears the meter."""

    periods: int


@dataclass(frozen=True)
class Off:
    """Home Assistant is off; then it runs, and hears the meter or not yet."""

    seconds: int
    early: int = 90
    """Seconds of the last period in which it still ran."""
    late: int = 200
    """Seconds of the period in which it starts."""
    heard: bool = True


@dataclass(frozen=True)
class Silent:
    """Home Assistant runs and does not hear the meter."""

    seconds: int
    early: int = 90
    late: int = 200
    why: str = "network"
    """Or "power": the meter has none; "module": it sits in another meter."""


@dataclass(frozen=True)
class Clock:
    """The meter's clock is set to so many seconds ahead."""

    offset: int


@dataclass(frozen=True)
class Interval:
    """The logger gets another interval."""

    minutes: int


@dataclass(frozen=True)
class Unit:
    """The owner chooses another unit for all sensors that may have one."""

    number: int


@dataclass(frozen=True)
class Rename:
    """The owner gives the sensors other entity ids."""


@dataclass(frozen=True)
class Fill:
    """A back-fill of a window of hours before now, or of everything."""

    mode: Mode = Mode.FILL
    since: int | None = None
    """Hours before now."""
    hours: int | None = None
    """Of the window."""
    hitch: str | None = None
    """What comes in between: see `Hitch`."""
    after: int = 0
    """How many requests or writes go well before that."""
    days: int = 30
    """Of the first part that is read and written at a time; the others are twice that."""


type Step = Live | Off | Silent | Clock | Interval | Unit | Rename | Fill

TO_THE_CLOCK_CHANGE: Final = -1
"""Until some hours before summer time begins or ends."""

NIGHT_OF_CHANGE: Final = 9 * HOUR


# What others see


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


class Stopped(Exception):
    """Home Assistant was stopped in the middle of a back-fill."""


class Hitch:
    """Something that comes in between, once.

    "line": the meter does not answer any more. "stop": Home Assistant ends before
    a write. "live": five minutes are compiled before a write. "late": the last five
    minutes are compiled behind it.
    """

    def __init__(self, kind: str | None, after: int, live: Callable[[], None]) -> None:
        """Let some requests or writes go well."""
        self.kind = kind
        self._left = after
        self._live = live

    def request(self) -> None:
        """Note a request to the meter."""
        if self.kind == "line":
            self._left -= 1
            if self._left < 0:
                raise MeterUnreachable("the line is cut")

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

    def __init__(self, meter: Meter, hitch: Hitch) -> None:
        """Read a meter's logger."""
        self._meter = meter
        self._hitch = hitch

    async def newest_records(self, number: int) -> Page:
        """Return the newest records."""
        return self._page({"last": str(number)})

    async def records(self, first: int, last: int) -> Page:
        """Return the records with these indices."""
        return self._page({"from": str(first), "to": str(last)})

    def _page(self, query: Mapping[str, str]) -> Page:
        self._hitch.request()
        reader = RecordReader()
        records = reader.feed(self._meter.data(query) or b"")
        if records and records[0].index > records[-1].index:
            records.reverse()
        return Page(tuple(records), tuple(reader.refusals), whole=True)


class World:
    """A Home Assistant with a recorder, in which time passes as it is told."""

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
        """Let the recorder do something after all that it was told before."""
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
        return int(newest.replace(tzinfo=UTC).timestamp()) + PERIOD

    def begin_anew(self, compiled: int) -> None:
        """Forget all that was recorded; statistics are compiled until a time."""
        with session_scope(hass=self.hass) as session:
            # MariaDB would find a state that another one still names.
            session.execute(update(States).values(old_state_id=None))
            for table in (StatisticsRuns, Statistics, StatisticsShortTerm, States):
                session.execute(delete(table))
            # The time of the oldest state, among others.
            self.recorder.states_manager.load_from_db(session)
        self.mark_compiled(compiled)

    def mark_compiled(self, until: int) -> None:
        """Let a run of statistics be the newest one."""
        with session_scope(hass=self.hass) as session:
            session.add(StatisticsRuns(start=_time(until - PERIOD)))

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
                        for name in ("mean", "min", "max", "state", "sum")
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


@dataclass(frozen=True)
class Log:
    """What the logger can tell, found out without the integration."""

    known: Mapping[int, Registers]
    """Registers at full hours, by the meter's clock."""
    last: Mapping[int, Registers]
    """Registers of the last record in an hour, by its end, whatever the clock was."""
    odd: frozenset[int]
    """Full hours before which its clock was wrong."""
    hours: Mapping[int, Mapping[str, tuple[float, float, float]]]
    """Mean, minimum and maximum of measurements in hours that are logged wholly."""
    since: int
    """Beginning of the first hour of which anything is known."""
    until: int
    """End of the last whole hour."""
    foreign: int
    """Records of another meter."""


class Life:
    """One meter, its sensors, and what becomes of them."""

    LONG = 2 * HOUR
    """Of more hours without anything new the recorder compiles only some."""

    def __init__(
        self,
        world: World,
        keys: Sequence[str] = (),
        *,
        interval: int = 15,
        depth: int = 900,
        days: int = 3,
        moved: bool = False,
        units: int = 0,
    ) -> None:
        """Install a meter some days before Home Assistant hears of it."""
        self.world = world
        self.name = f"life_{next(world.lives)}"
        self.targets = [t for t in TARGETS if t.key in ("energy_import", *keys)]
        self.now = BIRTH
        self.compiled = BIRTH
        self.offset = 0
        self.lag = 3
        self.is_heard = False
        self.hears_from: int = BIRTH + 1
        self.heard: set[int] = set()
        self.filled: int | None = None
        self.partial: set[int] = set()
        self.units = units
        self.clock = ManualClock(BIRTH)
        installed = BIRTH - days * DAY - 1000
        config = MeterConfig(
            serial_number=SERIAL_NUMBER,
            installed=installed,
            logger=LoggerConfig(interval=interval, depth=depth),
        )
        self.meter = Meter(config, self.clock)
        self.truth = Meter(config, self.clock)
        """The same meter, if its module had always stayed in it."""
        if moved:
            self._happens(ModuleMoved(BIRTH - DAY - 77, OTHER_SERIAL_NUMBER))

    async def begin(self) -> Self:
        """Add the sensors."""
        await self.world.run(lambda: self.world.begin_anew(self.compiled))
        registry = er.async_get(self.world.hass)
        for target in self.sensors:
            registry.async_get_or_create(
                "sensor",
                DOMAIN,
                self._unique_id(target),
                suggested_object_id=f"{self.name}_{target.key}",
            )
        return self

    async def end(self) -> None:
        """Remove the sensors' states."""
        for target in self.sensors:
            self.world.hass.states.async_remove(self._entity_id(target))
        await self.world.done()

    @property
    def sensors(self) -> list[Target]:
        """Return the targets that have sensors."""
        return [target for target in self.targets if not target.is_external]

    def statistic_of(self, target: Target) -> Statistic:
        """Return a target's statistic."""
        quantity = target.quantity
        name = None
        if target.is_external:
            statistic_id = name = f"{DOMAIN}:{self.name}_{target.key}"
        else:
            statistic_id = self._entity_id(target)
        return Statistic(
            statistic_id, quantity.unit, quantity.decimals, target.is_register, name
        )

    def _unique_id(self, target: Target) -> str:
        return f"{self.name}_{target.key}"

    def _entity_id(self, target: Target) -> str:
        registry = er.async_get(self.world.hass)
        found = registry.async_get_entity_id("sensor", DOMAIN, self._unique_id(target))
        assert found
        return found

    async def take(self, step: Step) -> None:
        """Let something happen."""
        match step:
            case Live():
                await self.live(step.periods)
            case Off():
                await self.off(step)
            case Silent():
                await self.silent(step)
            case Clock():
                self._happens(ClockSet(self.now, step.offset))
                self.offset = step.offset
            case Interval():
                self._happens(IntervalChange(self.now, step.minutes))
            case Unit():
                self.units = step.number
            case Rename():
                await self.rename()
            case Fill():
                await self.fill(step)

    def _happens(self, event: Event) -> None:
        self.meter.happens(event)
        if not isinstance(event, ModuleMoved):
            self.truth.happens(event)

    # Time passes

    async def live(self, periods: int) -> None:
        """Let Home Assistant run and hear the meter."""
        before = self.now // HOUR * HOUR
        for _ in range(periods):
            self._hear()
            self._period()
        await self._settled()
        await self._check_live_hours(before)

    def _hear(self) -> None:
        if not self.is_heard:
            self.is_heard = True
            self._show(self.now + max(self.hears_from - self.now, 1))

    def _period(self) -> None:
        """Let five minutes pass, and the recorder compile them."""
        self._pass()
        self._compile()

    def _pass(self) -> None:
        start = self.now
        self.now += PERIOD
        self.lag = self.lag % 5 + 1
        if self.is_heard:
            self._show(self.now - self.lag)
            if self.now % HOUR == 0:
                self.heard.add(self.now)
        if self._purges_between(start, self.now):
            self._purge()

    def _compile(self) -> None:
        self.world.queue(StatisticsTask(_time(self.now - PERIOD), False))
        self.compiled = self.now

    def _purges_between(self, start: int, end: int) -> bool:
        """Whether it is 4:12 at home meanwhile."""
        return _night(end) > _night(start)

    def _purge(self) -> None:
        self.world.queue(PurgeTask(_time(self.now - KEEP), False, False))

    async def _settled(self) -> None:
        """Wait for the recorder; the house's statistics must go on."""
        self.clock.set(self.now)
        await self.world.done()
        self.world.now = self.now
        assert await self.world.run(self.world.compiled_until) == self.compiled

    async def off(self, step: Off) -> None:
        """Let Home Assistant be off for a while."""
        if self.is_heard and step.early:
            self._show(self.now + step.early)
        since = self.now
        await self.world.done()
        start = since + _seconds(since, step.seconds)
        self.is_heard = False
        self._show(start + step.late)
        if step.heard:
            self.is_heard = True
            self._show(start + min(step.late + 2, PERIOD - 8))
        await self._catch_up(start, step.late)
        self.now = start
        self._note_partial(since, start + PERIOD)
        self._period()
        await self._settled()

    async def _catch_up(self, until: int, late: int) -> None:
        """Let the recorder catch up; of a long time off not with the flat middle."""
        begin = max(self.compiled, (until + late - KEEP) // HOUR * HOUR)
        first = (begin // HOUR + 2) * HOUR
        last = until // HOUR * HOUR - HOUR
        if last - first > self.LONG:
            names = [self._entity_id(target) for target in self.sensors]
            await self.world.run(lambda: self.world.mark_compiled(begin))
            await self.world.compile_missing(first)
            await self.world.run(lambda: self.world.repeat_rows(names, first, last))
            await self.world.run(lambda: self.world.mark_compiled(last))
        await self.world.compile_missing(until + late)
        self.compiled = until

    async def silent(self, step: Silent) -> None:
        """Let Home Assistant run and not hear the meter."""
        since = self.now
        end = since + _seconds(since, step.seconds)
        self._happen_silently(step, end)
        if self.is_heard:
            if step.early:
                self._show(since + step.early)
            self.is_heard = False
            self._show(since + step.early + 1)
        while self.now < end and (self.now % HOUR or self.now < since + PERIOD):
            self._period()
        if end - self.now > PERIOD:
            # In between there is nothing to compile.
            begin, self.now = self.now, end - PERIOD
            if self._purges_between(begin, self.now):
                self._purge()
        while self.now < end:
            self._period()
        self.hears_from = end + step.late
        self._note_partial(since, end + PERIOD)
        await self._settled()

    def _happen_silently(self, step: Silent, end: int) -> None:
        begin = self.now + step.early + 1
        if step.why == "power":
            self._happens(PowerFailure(begin, end + step.late - 20))
        elif step.why == "module":
            installed = self.meter.config.installed
            self._happens(ModuleMoved(begin, SERIAL_NUMBER, 1, installed))
            self._happens(ModuleMoved(end + step.late - 20, OTHER_SERIAL_NUMBER))

    def _note_partial(self, since: int, until: int) -> None:
        self.partial.update(range(since // HOUR * HOUR, until, HOUR))

    # What the owner sees and does

    def _show(self, at: int) -> None:
        """Set the states as they are at a time."""
        snapshot = self.truth.snapshot(at)
        for target in self.sensors:
            measurand, state_class = _classes(target)
            units = UNITS[measurand]
            unit = units[self.units % len(units)]
            value = _value(target, snapshot) / PER_UNIT[unit]
            self.world.hass.states.async_set(
                self._entity_id(target),
                f"{value:.6f}" if self.is_heard else STATE_UNAVAILABLE,
                {
                    "device_class": measurand,
                    "state_class": state_class,
                    "unit_of_measurement": unit,
                },
                timestamp=float(at),
            )

    async def rename(self) -> None:
        """Let the owner give the sensors other entity ids."""
        registry = er.async_get(self.world.hass)
        number = next(self.world.lives)
        for target in self.sensors:
            old = self._entity_id(target)
            new = f"sensor.renamed_{number}_{target.key}"
            registry.async_update_entity(old, new_entity_id=new)
            if state := self.world.hass.states.get(old):
                self.world.hass.states.async_remove(old)
                self.world.hass.states.async_set(
                    new, state.state, state.attributes, timestamp=self.now + 0.5
                )
        await self.world.hass.async_block_till_done()
        await self.world.done()

    # Back-fills and what must be true of them

    async def fill(self, step: Fill) -> None:
        """Fill, and see that the contract holds."""
        if abs(self.offset) > CLOCK_LIMIT:
            return
        window = self._window(step)
        before = await self.stored()
        if step.hitch == "late":
            self._pass()
            self.clock.set(self.now)
        compiled = self.compiled
        first = step.days * DAY
        with patch.multiple(job, _FIRST_PART=first, _PART=2 * first):
            said = await self._run(window, step.mode, dry_run=True)
            assert await self.stored() == before, "a dry run wrote"
            log = self.log()
            hitch = Hitch(step.hitch, step.after, self._period)
            try:
                report = await self._run(window, step.mode, hitch=hitch)
            except MeterUnreachable, Stopped:
                report = await self._run(window, step.mode)
            else:
                assert step.hitch == "live" or report == said, "a dry run was wrong"
            if step.hitch == "late":
                self._compile()
            after = await self.stored()
            contract = Contract(self, window, step, log, compiled)
            contract.check(before, after)
            if step.hitch is None:
                contract.check_report(report, before, after)
            window = Window(window.since, contract.until)
            again = await self._run(window, step.mode)
        for outcome in again.statistics.values():
            assert outcome.written == outcome.corrected == 0, "twice is not once"
        assert await self.stored() == after
        await self._settled()
        self._note_filled(contract, after)

    def _note_filled(self, contract: Contract, after: Mapping[str, Stored]) -> None:
        """Note from where the next live hour goes on."""
        until = contract.until
        if contract.is_rebuild:
            # Such an hour ends with the last record in it.
            self.heard -= {at for at in self.heard if contract.is_unknown(at)}
        if until in contract.log.odd:
            self.heard -= {at for at in self.heard if at >= until}
        elif until == self.now // HOUR * HOUR and contract.knows_end():
            self.filled = until if contract.leaves_nothing_before(after) else None

    def _window(self, step: Fill) -> Window:
        if step.since is None:
            return EVERYTHING
        since = (self.now // HOUR - step.since) * HOUR
        until = EVERYTHING.until if step.hours is None else since + step.hours * HOUR
        return Window(since, until)

    async def _run(
        self,
        window: Window,
        mode: Mode,
        *,
        dry_run: bool = False,
        hitch: Hitch | None = None,
    ) -> Report:
        hitch = hitch or Hitch(None, 0, self._period)
        backfill = Backfill(
            self.world.hass,
            cast("MeterClient", Line(self.meter, hitch)),
            SERIAL_NUMBER,
            self.statistic_of,
            latest=self._latest(),
            partial=frozenset(self.partial),
            mode=mode,
            dry_run=dry_run,
        )
        imports, adjusts = (
            Recorder.async_import_statistics,
            Recorder.async_adjust_statistics,
        )

        def import_statistics(*arguments: Any) -> None:
            hitch.write()
            imports(*arguments)

        def adjust_statistics(*arguments: Any) -> None:
            hitch.write()
            adjusts(*arguments)

        with (
            patch.object(Recorder, "async_import_statistics", import_statistics),
            patch.object(Recorder, "async_adjust_statistics", adjust_statistics),
        ):
            await backfill.async_run(window, self.targets)
        return backfill.report

    def _latest(self) -> int:
        return self.now + abs(self.offset) + 60

    async def changes(self, key: str) -> list[float]:
        """Return what each hour counts of a quantity."""
        return [*(await self._stored_of(BY_KEY[key])).changes().values()]

    async def stored(self) -> dict[str, Stored]:
        """Return all that the recorder holds."""
        return {target.key: await self._stored_of(target) for target in self.targets}

    async def _stored_of(self, target: Target) -> Stored:
        statistic = self.statistic_of(target)
        return await self.world.run(
            lambda: self.world.stored(statistic.statistic_id, statistic.unit)
        )

    async def _check_live_hours(self, since: int) -> None:
        """See that what was compiled since goes on from what was there before."""
        for target in self.sensors:
            if not target.is_register:
                continue
            changes = (await self._stored_of(target)).changes()
            for start in range(since, self.now - HOUR + 1, HOUR):
                if start + HOUR not in self.heard or self.offset:
                    continue
                if start in self.heard or start == self.filled:
                    least, most = self.live_energy(target, start)
                    assert least <= changes[start] <= most, _told(target, start)

    def live_energy(self, target: Target, start: int) -> tuple[float, float]:
        """Return what an hour may count of which both ends were heard."""

        def value(at: int) -> float:
            return _register(target, self.truth.registers(at))

        least = value(start + HOUR - 10) - value(start)
        most = value(start + HOUR) - value(start - 10)
        return least - 1 - EXACT, most + 1 + EXACT

    def log(self) -> Log:
        """Return what the logger can tell now."""
        records = self.meter.records()
        own = [
            record
            for record in records
            if record.serial_number == SERIAL_NUMBER and record.stamp <= self._latest()
        ]
        clean = _clean(own)
        times = {
            record.stamp: self.meter.logger.recorded_at(record.index)
            for record in clean
            if record.stamp % HOUR == 0
        }
        known = {stamp: self.truth.registers(at) for stamp, at in times.items()}
        for record in clean:
            if record.stamp in known:
                assert record.registers == known[record.stamp]
        return Log(
            known=known,
            last={_end_of_hour(record.stamp): record.registers for record in own},
            odd=frozenset(
                _end_of_hour(record.stamp)
                for record in own
                if record.stamp != self.meter.logger.recorded_at(record.index)
            ),
            hours=_measured(own, {record.index for record in clean}),
            since=(min(record.stamp for record in own) - 1) // HOUR * HOUR
            if own
            else 0,
            until=records[-1].stamp // HOUR * HOUR if own else 0,
            foreign=len([r for r in records if r.serial_number != SERIAL_NUMBER]),
        )


class Contract:
    """What must be true after a back-fill."""

    def __init__(
        self, life: Life, window: Window, step: Fill, log: Log, compiled: int
    ) -> None:
        """Take what was asked for, and when statistics had been compiled."""
        self.life = life
        self.log = log
        self.known = log.known
        self.since = max(window.since, log.since)
        self.begins_with_logger = window.since < log.since
        self.compiled = compiled // HOUR * HOUR
        self.until = max(min(window.until, self.compiled, log.until), window.since)
        self.has_parts = self.until - self.since > step.days * DAY
        self.is_rebuild = step.mode is Mode.REBUILD
        self.borders = [at for at in self.known if self.since <= at <= self.until]
        self.stretches = list(pairwise(self.borders))
        """Hours, or more where the logger does not know the hours between."""

    def check(self, before: Mapping[str, Stored], after: Mapping[str, Stored]) -> None:
        """See that the contract holds for all statistics."""
        for target in self.life.targets:
            old, new = before[target.key], after[target.key]
            assert old.unit is None or new.unit == old.unit, "the unit has changed"
            assert not old.rows.keys() - new.rows.keys(), "rows are gone"
            for start in new.rows.keys() - old.rows.keys():
                assert self._is_inside(start) or start >= self.compiled, _told(
                    target, start, "a row outside the window"
                )
            if target.is_register:
                self._check_register(target, old, new)
            else:
                self._check_means(target, old, new)

    def check_report(
        self, report: Report, before: Mapping[str, Stored], after: Mapping[str, Stored]
    ) -> None:
        """See that what was told is what an owner sees."""
        for target in self.life.targets:
            old, new = before[target.key].hours(), after[target.key].hours()
            statistic_id = self.life.statistic_of(target).statistic_id
            outcome = Outcome(target.quantity.unit, target.is_register)
            told = report.statistics.get(statistic_id, outcome)
            changed = [start for start in old if not _is_like(old[start], new[start])]
            assert told.written == len(new.keys() - old.keys()), target.key
            assert told.corrected == len(changed), target.key
            assert 0 <= told.read - told.left <= told.written + told.corrected
            if target.is_register:
                more = [new[start][0] - old.get(start, (0,))[0] for start in new]
                moved = max(
                    sum(energy for energy in more if energy > 0),
                    -sum(energy for energy in more if energy < 0),
                )
                told_moved = told.moved * 10**target.quantity.decimals
                assert abs(told_moved - moved) <= EXACT, target.key

    def knows_end(self) -> bool:
        """Whether the logger knows the last hour, which needs two registers."""
        return bool(self.stretches) and self.stretches[-1][1] == self.until

    def leaves_nothing_before(self, after: Mapping[str, Stored]) -> bool:
        """Whether nothing before the window is left to the first hour behind it."""
        if self.begins_with_logger:
            return True
        olders = {
            target: self._last_before(after[target.key]) for target in self.life.sensors
        }
        return self.since in self.known and all(
            (older.state or 0)
            >= self._register(target, self.since) - self._lag(target, self.since)
            for target, older in olders.items()
            if older is not None and target.is_register
        )

    def is_unknown(self, at: int) -> bool:
        """Whether the logger does not know the register at the end of an hour."""
        return self.since < at <= self.until and at not in self.known

    def _is_inside(self, start: int) -> bool:
        return self.since <= start < self.until

    def _check_register(self, target: Target, old: Stored, new: Stored) -> None:
        was, now = old.changes(), new.changes()
        written = {
            start
            for start in now
            if start not in was or abs(now[start] - was[start]) > EXACT
        }
        self._check_energies(target, now)
        self._check_beginning(target, new)
        self._check_outside(target, old, new, written)
        self._check_total(target, old, new)
        for start in now:
            if self._is_inside(start) or start in written:
                assert now[start] >= -EXACT, _told(target, start, "negative")

    def _check_energies(self, target: Target, changes: Mapping[int, float]) -> None:
        for begin, end in self.stretches:
            energy = self._register(target, end) - self._register(target, begin)
            hours = range(begin, end, HOUR)
            counted = sum(changes.get(start, 0) for start in hours)
            if end == begin + HOUR:
                assert begin in changes, _told(target, begin, "missing")
            assert abs(counted - energy) <= EXACT, _told(
                target, begin, f"{counted} of {energy} in {len(hours)} h"
            )

    def _check_beginning(self, target: Target, new: Stored) -> None:
        """See that what was forgotten counts where the register is known again."""
        older = [row for start, row in new.rows.items() if start < self.since]
        if not self.begins_with_logger or not older or not self.borders:
            return
        begin = self.borders[0]
        state = older[-1].state
        assert state is not None
        counted = new.sum_before(begin) - older[-1].sum
        energy = self._register(target, begin) - state
        assert abs(counted - energy) <= self._lag(target, begin) + EXACT, _told(
            target, begin, f"{counted} of {energy} before"
        )

    def _lag(self, target: Target, at: int) -> float:
        """Return what was counted since the last poll but one."""
        before = self.life.truth.registers(at - 10)
        return 1 + abs(self._register(target, at) - _register(target, before))

    def _check_outside(
        self, target: Target, old: Stored, new: Stored, written: set[int]
    ) -> None:
        behind = [row for start, row in new.rows.items() if start >= self.until]
        ends = [row.start for row in behind if self._has_heard(target, row)][:2]
        for start in written & old.rows.keys():
            if self._is_inside(start):
                continue
            told = _told(target, start, "outside the window")
            assert not ends[1:] or self.until <= start <= ends[1], told
            if ends and start == ends[0] and self._is_total_as_before(old, new, start):
                continue
            self._check_behind(target, new, start, told)

    def _check_total(self, target: Target, old: Stored, new: Stored) -> None:
        """See that a window within an outage takes what it counts from its end."""
        behind = (row for start, row in old.rows.items() if start >= self.until)
        heard = next((row for row in behind if self._has_heard(target, row)), None)
        older = self._last_before(old)
        if heard is None or older is None or self.has_parts:
            return
        if not {self.since, self.until} <= self.known.keys():
            return
        state, state_before = heard.state or 0, older.state or 0
        least = state - self._register(target, self.since)
        most = state - state_before
        lag = 4.1 + 0.02 * most
        if least - lag <= heard.sum - older.sum <= most + lag:
            assert self._is_total_as_before(old, new, heard.start, lag), _told(
                target, heard.start, "more or less than before since the window"
            )

    def _is_total_as_before(
        self, old: Stored, new: Stored, start: int, lag: float = EXACT
    ) -> bool:
        """Whether hours from before the window to a row count together what they did."""
        if (older := self._last_before(old)) is None:
            return False
        was = old.rows[start].sum - older.sum
        now = new.rows[start].sum - new.rows[older.start].sum
        return abs(now - was) <= lag

    def _last_before(self, stored: Stored) -> Row | None:
        older = [row for start, row in stored.rows.items() if start < self.since]
        return older[-1] if older else None

    def _has_heard(self, target: Target, row: Row) -> bool:
        """Whether a row knows of the register at the end of the window."""
        if self.until not in self.known:
            return True
        return (row.state or 0) >= self._register(target, self.until) - EXACT

    def _check_behind(self, target: Target, new: Stored, start: int, told: str) -> None:
        """See that a row behind counts what the window has not counted, if it changed."""
        state = new.rows[start].state
        assert state is not None, told
        before = [s for s in new.rows if s < start][-1]
        registers: list[float] = []
        if before >= self.until:
            registers.append(new.rows[before].state or 0)
        if self.until in self.known:
            # A row before that has not heard the meter has an older one.
            registers.append(self._register(target, self.until))
        elif registers and self.until in self.log.last:
            # Logged while the clock was behind, it may be a later one.
            registers.append(_register(target, self.log.last[self.until]))
        if not registers:
            return
        energy = max(state - max(registers), 0)
        counted = new.changes()[start]
        assert abs(counted - energy) <= 4.1 + 0.02 * energy, told

    def _register(self, target: Target, at: int) -> int:
        return _register(target, self.known[at])

    def _check_means(self, target: Target, old: Stored, new: Stored) -> None:
        for start, row in new.rows.items():
            held = old.rows.get(start)
            is_written = held is None or not _is_like(held.mean, row.mean)
            if not self._is_inside(start):
                assert start >= self.compiled or not is_written, _told(target, start)
            elif is_written and start in self.log.hours:
                logged = self.log.hours[start][target.key]
                assert _is_like(row.mean, logged), _told(target, start)
        for start, hour in self.log.hours.items():
            if self._is_inside(start) and self._is_wanted(start, old):
                row = new.rows[start]
                assert _is_like(row.mean, hour[target.key]), _told(target, start)

    def _is_wanted(self, start: int, old: Stored) -> bool:
        return (
            self.is_rebuild or start not in old.rows or start in self.life.partial
        ) and {start, start + HOUR} <= self.known.keys()


# Helpers


def _row(columns: Sequence[float | None], per_unit: float) -> Row:
    start, state, total, *mean = columns
    return Row(
        start=int(start or 0),
        state=None if state is None else state * per_unit,
        sum=(total or 0) * per_unit,
        mean=tuple(value * per_unit for value in mean if value is not None),
    )


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _end_of_hour(at: int) -> int:
    return -(-at // HOUR) * HOUR


def _night(at: int) -> int:
    """Return the number of the night, which begins at 4:12 local time."""
    local = datetime.fromtimestamp(at, ZONE) - timedelta(hours=4, minutes=12)
    return local.toordinal()


def _seconds(now: int, seconds: int) -> int:
    if seconds != TO_THE_CLOCK_CHANGE:
        return seconds
    first = now + NIGHT_OF_CHANGE
    nights = count(first - first % DAY + HOUR, DAY)
    change = next(at for at in nights if at > first and _changes_after(at))
    return change - NIGHT_OF_CHANGE - now // PERIOD * PERIOD


def _changes_after(at: int) -> bool:
    return _offset(at - HOUR) != _offset(at + HOUR)


def _offset(at: int) -> timedelta | None:
    return datetime.fromtimestamp(at, ZONE).utcoffset()


def _classes(target: Target) -> tuple[str, str]:
    if target.is_register:
        return "energy", "total_increasing"
    return ("power" if "power" in target.key else "voltage"), "measurement"


def _register(target: Target, registers: Registers) -> int:
    name = target.key.replace("reactive_energy", "reactive").replace("energy", "active")
    value: int = getattr(registers, name)
    return value


def _value(target: Target, snapshot: Snapshot) -> int:
    if target.is_register:
        return _register(target, snapshot.registers)
    if target.key == "active_power":
        return snapshot.momentary.active_power_total
    return snapshot.momentary.voltage.l1


def _clean(records: Sequence[Record]) -> list[Record]:
    """Return the records whose stamps lie behind all before and before all behind."""
    highest, lowest = 0, 1 << 40
    rising = []
    for record in records:
        rising.append(record.stamp > highest)
        highest = max(highest, record.stamp)
    clean = []
    for record, is_rising in zip(reversed(records), reversed(rising), strict=True):
        if is_rising and record.stamp < lowest:
            clean.append(record)
        lowest = min(lowest, record.stamp)
    return clean[::-1]


def _measured(
    records: Sequence[Record], clean: set[int]
) -> dict[int, dict[str, tuple[float, float, float]]]:
    parts: dict[int, list[tuple[int, Record]]] = {}
    for before, record in pairwise(records):
        if (
            record.status & (Status.TIME_CHANGED | Status.POWER_FAILURE)
            or record.index != before.index + 1
            or not {before.index, record.index} <= clean
        ):
            continue
        for start in range(before.stamp // HOUR * HOUR, record.stamp, HOUR):
            begin, end = max(before.stamp, start), min(record.stamp, start + HOUR)
            parts.setdefault(start, []).append((end - begin, record))
    return {
        start: {key: _mean(key, inside) for key in MEASUREMENTS}
        for start, inside in parts.items()
        if sum(seconds for seconds, _ in inside) == HOUR
    }


def _mean(key: str, parts: Sequence[tuple[int, Record]]) -> tuple[float, float, float]:
    values = [(seconds, getattr(record, key)) for seconds, record in parts]
    return (
        sum(seconds * value for seconds, value in values) / HOUR,
        min(value for _, value in values),
        max(value for _, value in values),
    )


def _is_like(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(abs(a - b) < 1e-5 for a, b in zip(one, other, strict=True))


def _told(target: Target, start: int, what: str = "") -> str:
    return f"{target.key} {_time(start):%Y-%m-%d %H:%M}: {what}"


# The lives


@pytest.fixture
def mock_recorder_before_hass() -> Generator[None]:
    """Let the database not log every statement: most of the time would go there."""
    logger = logging.getLogger("sqlalchemy.engine")
    level = logger.level
    logger.setLevel(logging.WARNING)
    yield
    logger.setLevel(level)


@pytest.fixture
def recorder_config() -> dict[str, Any]:
    """Let the recorder not commit every single state."""
    return {"commit_interval": 1}


@pytest.fixture
async def world(
    recorder_mock: Recorder, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[World]:
    """Return a Home Assistant in Switzerland, in which time passes as it is told."""
    assert await async_setup_component(hass, "sensor", {})
    await hass.config.async_set_time_zone(ZONE.key)
    world = World(hass)
    await world.done()
    monkeypatch.setattr(dt_util, "utcnow", lambda: _time(world.now))
    monkeypatch.setattr(pages, "_LONGEST_PAUSE", 0)
    monkeypatch.setattr(pages, "_PATIENCE", (0,) * 4)
    yield world
    await world.done()


async def live(world: World, life: Life, steps: Iterable[Step]) -> Life:
    """Live a life, and some hours more."""
    await life.begin()
    for step in (*steps, Clock(0), Live(2), Fill(), Live(14)):
        await life.take(step)
    return life


SPANS = st.sampled_from(
    [
        *(PERIOD, 6 * PERIOD, HOUR, 3 * HOUR + 4 * PERIOD, 9 * HOUR),
        *(26 * HOUR, 5 * DAY, 12 * DAY, 40 * DAY, TO_THE_CLOCK_CHANGE),
    ]
)
SECONDS = st.sampled_from([0, 1, 90, 240])
LATE = st.sampled_from([25, 90, 200, 280])
STEPS = st.one_of(
    st.builds(Live, st.sampled_from([1, 2, 7, 13, 25])),
    st.builds(Off, SPANS, SECONDS, LATE, st.booleans()),
    st.builds(
        Silent, SPANS, SECONDS, LATE, st.sampled_from(["network", "power", "module"])
    ),
    st.one_of(
        st.builds(Clock, st.sampled_from([0, 40, -40, 240, -240, 4000, -4000])),
        st.builds(Interval, st.sampled_from([1, 5, 7, 15, 20, 30, 45, 60])),
        st.builds(Unit, st.integers(0, 2)),
        st.just(Rename()),
    ),
    st.builds(
        Fill,
        mode=st.sampled_from(Mode),
        since=st.sampled_from([None, None, 2, 5, 30, 300]),
        hours=st.sampled_from([None, None, 1, 3, 24]),
        hitch=st.sampled_from([None, "line", "stop", "live", "late"]),
        after=st.integers(0, 6),
        days=st.sampled_from([1, 2, 30]),
    ),
)
LIVES = st.fixed_dictionaries(
    {
        "keys": st.tuples(st.sampled_from(REGISTERS), st.sampled_from(MEASUREMENTS)),
        "interval": st.sampled_from([15, 15, 7, 5, 60]),
        "depth": st.sampled_from([400, 900, 1500]),
        "days": st.sampled_from([0, 2, 5]),
        "moved": st.booleans(),
        "units": st.integers(0, 2),
    }
)


A_YEAR: Final[tuple[Step, ...]] = (
    # History before the first live hour, then the first ones.
    *(Fill(), Live(14), Fill(Mode.REBUILD), Live(13), Fill(hitch="late")),
    # Off over a full hour, and over the end of summer time.
    *(Live(1), Off(3 * HOUR + 4 * PERIOD), Live(13), Fill(), Live(13)),
    *(Off(TO_THE_CLOCK_CHANGE), Live(5), Off(12 * HOUR), Live(13)),
    *(Fill(hitch="line", after=5, days=2), Live(25)),
    # Another unit and other names; silent, also so long that the sum begins anew.
    *(Unit(1), Live(13), Rename(), Silent(5 * HOUR), Live(9)),
    *(Fill(since=9, hours=3), Live(13), Fill(hitch="stop", after=2), Live(1)),
    *(Silent(12 * DAY), Live(14), Fill(hitch="stop", after=1, days=2), Live(13)),
    *(Silent(11 * DAY), Fill(), Live(14), Fill(Mode.REBUILD)),
    # No power, another interval, clock set back and forth.
    *(Silent(9 * HOUR, why="power"), Live(14), Unit(2), Fill(), Live(13)),
    *(Interval(7), Live(25), Off(2 * HOUR), Live(37), Fill(), Rename()),
    *(Live(13), Fill(Mode.REBUILD), Interval(60), Live(25), Fill(), Interval(15)),
    *(Clock(-240), Live(25), Clock(200), Live(14), Fill(), Clock(0), Live(13)),
    *(Clock(4000), Live(13), Clock(0), Live(37), Fill(), Live(13)),
    # Off until summer time begins; most of it is forgotten by the logger.
    *(Off(TO_THE_CLOCK_CHANGE, heard=False), Live(25), Silent(9 * HOUR), Live(13)),
    *(Fill(hitch="live", after=3), Live(13)),
    # The module visits another meter, and comes back.
    *(Silent(30 * HOUR, why="module"), Live(13), Fill(), Live(14)),
    *(Off(30 * DAY), Live(1), Fill(Mode.REBUILD, since=100, hours=50), Fill()),
    *(Off(60 * DAY), Live(25), Fill(hitch="live", after=5), Live(13), Fill()),
)


@pytest.mark.timeout(300)
async def test_a_whole_year(world: World) -> None:
    """All that can happen, at least once, from autumn to summer."""
    life = Life(world, ["energy_export", "active_power"], depth=500, moved=True)
    await live(world, life, A_YEAR)
    assert life.now > BIRTH + 250 * DAY
    await life.end()


@pytest.mark.parametrize("fills_before", [False, True])
async def test_silent_for_twelve_days(world: World, fills_before: bool) -> None:
    """Core has purged the sensor's short-term rows, and would begin anew at 0."""
    life = await Life(world, ["energy_export", "active_power"], depth=1500).begin()
    for step in (Live(14), Fill(), Live(13), Silent(12 * DAY + HOUR)):
        await life.take(step)
    if fills_before:
        await life.take(Fill())
    life.hears_from = life.now + 1
    await life.live(14)
    assert (min(await life.changes("energy_import")) >= 0) is fills_before
    await life.take(Fill())
    await life.live(14)
    assert min(await life.changes("energy_import")) >= 0
    await life.end()


async def test_off_for_twelve_days(world: World) -> None:
    """Home Assistant repeats its last rows, and counts it all when it is back."""
    keys = ["energy_export", "active_power"]
    life = await Life(world, keys, depth=1500, units=1).begin()
    for step in (Live(14), Fill(), Live(13), Off(12 * DAY + HOUR), Live(14)):
        await life.take(step)
    assert max(await life.changes("energy_import")) > 100_000
    await life.take(Fill())
    assert max(await life.changes("energy_import")) < 20_000
    await life.live(14)
    await life.end()


LIVES_TO_REMEMBER: Final[Mapping[str, tuple[dict[str, Any], tuple[Step, ...]]]] = {
    "the clock was set back a little, and intervals changed": (
        {
            "keys": ["energy_export", "active_power"],
            "interval": 60,
            "days": 2,
            "moved": True,
            "units": 1,
        },
        (Rename(), Clock(-240), Interval(45), Rename()),
    ),
    "back while another tariff counts": (
        {"keys": ["energy_import_t1"], "days": 0},
        (Live(3), Off(9 * HOUR, 0, 25), Live(1), Off(26 * HOUR, 0, 25)),
    ),
    "off so long that the logger has forgotten": (
        {"depth": 400},
        (Live(7), Fill(), Off(12 * DAY), Live(13)),
    ),
    "silent so long that the logger has forgotten": (
        {"depth": 400},
        (Live(7), Fill(), Silent(12 * DAY), Live(13)),
    ),
    "off while no record ends with the hour": (
        {},
        (Live(7), Interval(7), Off(5 * DAY)),
    ),
    "no sensor, and the end of the newest hour is not logged yet": (
        {"keys": [EXTERNAL], "interval": 45},
        (Live(3),),
    ),
    "first heard while no record ends with the hour": (
        {"interval": 7, "depth": 400},
        (Live(3),),
    ),
    "more than one part": (
        {"depth": 1300},
        (Live(7), Fill(), Silent(12 * DAY), Live(14), Fill(days=2)),
    ),
    "interrupted while nothing recent goes on live": (
        {"keys": ["energy_import_t1"], "depth": 400, "days": 5},
        (
            Fill(days=1),
            Off(40 * DAY, 0, 25, heard=False),
            Fill(Mode.REBUILD, hitch="stop", after=4, days=1),
        ),
    ),
    "parts that begin within a record": (
        {"keys": ["energy_import_t1"], "depth": 600, "interval": 45},
        (Off(12 * DAY), Off(5 * DAY, heard=False), Live(9), Fill(days=2)),
    ),
    "no power so long that a part is behind the shift of a newer one": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 5},
        (
            *(Live(1), Live(1), Live(1), Rename(), Live(1)),
            *(Silent(40 * DAY, 0, 25, "power"), Live(25)),
        ),
    ),
    "a row behind the window counts from a poll before the end of the window": (
        {"keys": ["energy_export"], "depth": 400, "days": 0},
        (Live(17), Silent(HOUR, 0, 25, "power")),
    ),
    "in another meter, back unheard, and a part begins meanwhile": (
        {"days": 0},
        (
            *(Live(9), Silent(5 * DAY, 0, 25, "module")),
            *(Off(6 * PERIOD, 0, 25, heard=False), Fill(days=1)),
        ),
    ),
    "in another meter for longer than a part, and back unheard": (
        {"days": 2},
        (
            *(Live(25), Silent(5 * DAY, 0, 25, "module")),
            *(Off(9 * HOUR, 0, 25, heard=False), Fill(days=1)),
        ),
    ),
    "all that is older than a part was in another meter": (
        {"days": 0, "depth": 400},
        (
            *(Live(13), Silent(5 * DAY, 0, 25, "module")),
            *(Off(9 * HOUR, 0, 25, heard=False), Fill(days=1)),
        ),
    ),
    "the clock was behind at the end of the window, where nothing was logged": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 0},
        (Clock(-4000), Live(25), Interval(1)),
    ),
    "the clock was ahead, and a live row knows better where the window begins": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 0},
        (Clock(4000), Live(25), Interval(1)),
    ),
    "in another meter for so long that the sum begins anew": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 0},
        (Live(1), Silent(40 * DAY, 0, 25, "module"), Live(25)),
    ),
    "in another meter for so long, and only the end of an hour is logged since": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 0},
        (Live(1), Live(25), Silent(40 * DAY, 0, 25, "module")),
    ),
    "the hour that is compiled next has not heard the meter since it was back": (
        {"depth": 400, "days": 0},
        (
            *(Live(1), Off(12 * DAY, 0, 25, heard=False), Silent(PERIOD, 0, 25)),
            Fill(Mode.REBUILD, since=30, hitch="late", days=1),
        ),
    ),
    "the end of the newest hour was logged twice: the clock was set back to it": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 0},
        (Live(1), Live(1), Live(7), Live(7), Clock(-240), Live(1)),
    ),
    "an hour is compiled between two writes, and has not heard the meter either": (
        {"depth": 400, "days": 0},
        (
            *(Live(1), Off(12 * DAY, 0, 25, heard=False), Silent(PERIOD, 0, 25)),
            Fill(since=30, hitch="live", days=1),
        ),
    ),
    "a row behind the window follows one that has not heard the meter": (
        {"depth": 400, "days": 0},
        (
            *(Live(1), Off(12 * DAY, 0, 25, heard=False), Silent(PERIOD, 0, 25)),
            *(Live(1), Fill(Mode.REBUILD, since=5, hours=3)),
        ),
    ),
    "no power since a record that the last poll was a little short of": (
        {"keys": ["energy_export", "active_power"], "depth": 400, "days": 0},
        (
            *(Off(6 * PERIOD, 0, 25), Silent(TO_THE_CLOCK_CHANGE, 0, 25, "power")),
            Live(13),
        ),
    ),
    "no power for longer than a part, since a little after the last poll": (
        {"keys": ["energy_export", "active_power"], "depth": 400, "days": 0},
        (Off(6 * PERIOD, 0, 25), Silent(40 * DAY, 0, 25, "power"), Live(13)),
    ),
    "a narrow window within a power failure, then everything": (
        {
            "keys": ["energy_export_t1", "active_power"],
            "depth": 1500,
            "days": 0,
            "moved": True,
        },
        (
            *(Off(6 * PERIOD, 0, 25), Silent(TO_THE_CLOCK_CHANGE, 0, 25, "power")),
            *(Live(1), Live(13), Rename()),
            Fill(Mode.REBUILD, since=2, hours=3, hitch="stop", after=4, days=1),
        ),
    ),
    "a rebuild in parts, and no record ends with the hour between them": (
        {"keys": ["energy_export"], "interval": 7, "days": 0},
        (Live(25), Off(DAY), Live(2), Fill(Mode.REBUILD, days=1)),
    ),
    "no power soon after the clock was set back from hours that did not come again": (
        {"keys": ["energy_export"], "days": 0},
        (
            *(Live(25), Clock(4000), Live(2), Clock(0), Live(2)),
            *(Silent(9 * HOUR, 0, 25, "power"), Fill(days=1), Live(13)),
            Fill(Mode.REBUILD),
        ),
    ),
    "no power soon after the clock was set back, before which little was logged": (
        {
            "keys": ["energy_import_t1", "active_power"],
            "interval": 7,
            "depth": 400,
            "days": 0,
        },
        (
            *(Live(1), Live(1), Clock(4000), Live(1), Clock(0)),
            Silent(3 * HOUR + 4 * PERIOD, 90, 25, "power"),
        ),
    ),
    "the clock was behind, and the end of the window was logged twice": (
        {
            "keys": ["energy_import_t1", "active_power"],
            "interval": 45,
            "depth": 400,
            "days": 0,
        },
        (
            *(Off(3 * HOUR + 4 * PERIOD, 0, 25, heard=False), Live(25), Live(25)),
            *(Live(13), Live(1), Live(1), Clock(-4000), Live(25)),
        ),
    ),
    "the clock was ahead, and a row between two parts knows more than is logged": (
        {"keys": ["energy_export"], "interval": 7, "days": 0},
        (
            *(Live(25), Clock(4000), Live(25), Live(25), Clock(0), Live(2)),
            *(Off(20 * HOUR), Live(2), Fill(days=1), Fill(Mode.REBUILD, days=1)),
        ),
    ),
    "rows between two parts have counted what was logged before the clock was set": (
        {"keys": ["energy_export"], "interval": 45, "days": 0},
        (
            *(Live(25), Clock(4000), Live(25), Live(25), Clock(0), Live(2)),
            *(Off(20 * HOUR), Live(2), Fill(days=1)),
        ),
    ),
    "a live row in a hole between two parts": (
        {"interval": 60, "days": 0},
        (
            *(Live(25), Clock(-4000), Live(25), Live(25), Clock(0), Live(13)),
            *(Off(22 * HOUR), Live(2), Fill(days=1)),
        ),
    ),
    "a live row in a hole between two parts knows more than is logged": (
        {"keys": ["energy_export"], "interval": 60, "days": 0},
        (
            *(Live(25), Clock(4000), Live(25), Live(25), Clock(0), Live(13)),
            *(Off(19 * HOUR), Live(2), Fill(days=1)),
        ),
    ),
    "a live row in a hole behind the first hour of a part": (
        {"interval": 45, "days": 0},
        (
            *(Live(25), Clock(4000), Live(25), Live(25), Clock(0), Live(13)),
            *(Off(18 * HOUR), Live(2), Fill(days=1)),
        ),
    ),
    "a live row at the end of the window, whose hour the clock was set back from": (
        {"interval": 7, "depth": 100, "days": 2},
        (Live(7), Live(25), Live(25), Clock(-4000), Live(7)),
    ),
    "the clock was set back, and an interval before that was longer": (
        {"keys": ["active_power"], "interval": 60, "days": 2},
        (Clock(-4000), Interval(1), Live(1)),
    ),
    "the clock was set back, and an interval was shorter in hours that are gone": (
        {"keys": ["active_power"], "depth": 400, "days": 0},
        (
            *(Clock(4000), Live(1), Off(TO_THE_CLOCK_CHANGE, 0, 25, heard=False)),
            *(Interval(1), Live(1)),
        ),
    ),
    "off since the first hour, in which little was heard and one record logged": (
        {"keys": ["energy_import_t1"], "days": 0},
        (
            *(Live(1), Off(PERIOD, 0, 25, heard=False)),
            *(Off(3 * HOUR + 4 * PERIOD, 0, 25, heard=False), Fill()),
        ),
    ),
    "narrow windows within the time off": (
        {"keys": ["energy_import_t1"], "days": 2},
        (
            *(Live(25), Off(26 * HOUR), Live(25), Fill(since=15, hours=3), Live(13)),
            *(Fill(since=25, hours=3), Fill(since=12, hours=3), Live(13)),
        ),
    ),
    "narrow windows within silence": (
        {"keys": ["energy_import_t1"], "days": 2},
        (
            *(Live(25), Silent(26 * HOUR), Live(3), Fill(since=5, hours=3), Live(13)),
            *(Fill(since=25, hours=3), Fill(since=12, hours=3), Live(13)),
        ),
    ),
    "a window that begins within silence, whose end is not compiled yet": (
        {"keys": ["energy_import_t1"], "days": 2},
        (Live(25), Silent(26 * HOUR), Live(2), Fill(since=5), Live(13), Live(13)),
    ),
    "off so long that no row is left from before, and the logger begins meanwhile": (
        {"depth": 1500, "days": 0},
        (Live(1), Off(40 * DAY, 0, 25, heard=False), Live(1), Clock(-240), Live(1)),
    ),
    "the clock was behind since the first hour": (
        {"keys": ["energy_import_t1"], "depth": 400, "days": 0},
        (Clock(-4000), Live(25)),
    ),
    "the clock was behind for hours since the first one": (
        {"keys": ["energy_export"], "depth": 400, "days": 0},
        (Clock(-4000), Live(1), Live(25), Live(25), Unit(2), Live(7)),
    ),
}


@pytest.mark.parametrize("name", LIVES_TO_REMEMBER)
async def test_life_to_remember(world: World, name: str) -> None:
    """What was wrong once stays right."""
    made, steps = LIVES_TO_REMEMBER[name]
    life = Life(world, **made)
    await live(world, life, steps)
    await life.end()


async def test_hours_that_nobody_noted(world: World) -> None:
    """Where the energy of an hour was wrong, its means are taken for wrong as well."""
    life = await Life(world, ["energy_export", "active_power"]).begin()
    for step in (Live(14), Fill(), Live(13), Off(5 * HOUR), Live(14)):
        await life.take(step)
    noted = sorted(life.partial)
    life.partial.clear()
    await life.take(Fill())
    rows = (await life.stored())["active_power"].rows
    logged = life.log().hours
    for start in noted[1:-1]:
        assert _is_like(rows[start].mean, logged[start]["active_power"])
    await life.end()


async def test_middle_that_is_left_out(world: World) -> None:
    """It is what the recorder itself makes of a long time off."""
    found = []
    for leaves_out in (False, True):
        life = await Life(world, ["active_power"]).begin()
        await life.live(4)
        with patch.object(Life, "LONG", 2 * HOUR if leaves_out else KEEP):
            await life.off(Off(15 * HOUR))
        await life.live(14)
        found.append([stored.rows for stored in (await life.stored()).values()])
        await life.end()
    assert found[0] == found[1]


async def test_bars_of_the_dashboard(world: World) -> None:
    """What is checked here is what Home Assistant shows."""
    life = await Life(world).begin()
    for step in (Live(14), Fill(), Silent(3 * HOUR), Live(14), Off(5 * HOUR), Live(20)):
        await life.take(step)
    entity_id = life.statistic_of(BY_KEY["energy_import"]).statistic_id
    found = await world.run(
        lambda: statistics_during_period(
            world.hass,
            start_time=_time(0),
            end_time=None,
            statistic_ids={entity_id},
            period="hour",
            units={"energy": "Wh"},
            types={"change"},
        )
    )
    shown = [row["change"] for row in found[entity_id]]
    assert shown == pytest.approx(await life.changes("energy_import"), abs=EXACT)
    await life.end()


@pytest.mark.timeout(0 if YEARS else 120)
async def test_a_virtual_year(world: World) -> None:
    """Whatever happens, and whenever statistics are filled: every hour is right."""

    @settings(
        max_examples=YEARS or 8,
        phases=list(Phase) if YEARS else (Phase.explicit, Phase.reuse, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(LIVES, st.lists(STEPS, min_size=2, max_size=9))
    def search(made: dict[str, Any], steps: list[Step]) -> None:
        async def try_it() -> None:
            life = Life(world, **made)
            try:
                await live(world, life, steps)
            finally:
                await life.end()

        asyncio.run_coroutine_threadsafe(try_it(), world.hass.loop).result()

    await asyncio.to_thread(search)
