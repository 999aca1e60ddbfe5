"""One meter, its sensors, and what becomes of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Final, Self
from unittest.mock import patch

from custom_components.emu_professional.backfill import run
from custom_components.emu_professional.backfill.recorder import Statistic
from custom_components.emu_professional.backfill.report import Mode, Report, Window
from custom_components.emu_professional.backfill.targets import TARGETS, Target
from custom_components.emu_professional.backfill.times import HOUR, whole_hour
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.errors import (
    LoggerOfAnotherMeter,
    MeterUnreachable,
    MeterWithoutLogger,
)
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.tasks import PurgeTask, StatisticsTask
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.history import ClockSet, Event, IntervalChange, ModuleMoved, PowerFailure
from simulator.logger import LoggerConfig
from simulator.meter import Meter
from simulator.tables import TableConfig
from simulator.values import Registers, Snapshot

from .automatic import Automatic
from .contract import EXACT, Contract, mismatch
from .log import Log, read_log, register_of
from .priced import CURRENCY, CostEntity, check_costs
from .steps import (
    DAY,
    PERIOD,
    TO_THE_CLOCK_CHANGE,
    Clear,
    Clock,
    Compare,
    Fill,
    Interval,
    Live,
    Off,
    PutBack,
    Rename,
    Restart,
    Step,
    Unit,
    Unreachable,
)
from .world import (
    BIRTH,
    KEEP,
    PER_UNIT,
    ZONE,
    Copy,
    Hitch,
    Line,
    Row,
    Stopped,
    Stored,
    World,
    time_of,
)

UNITS: Final = {"energy": ("kWh", "Wh", "MWh"), "power": ("kW", "W"), "voltage": ("V",)}

SERIAL_NUMBER: Final = "22350001"
OTHER_SERIAL_NUMBER: Final = "22350002"
CLOCK_LIMIT: Final = 300
"""A meter whose clock is further off is not read."""

EVERYTHING: Final = Window(0, 1 << 40)
RECORDS_TO_TELL: Final = 4
"""A register that is lower for so long has restarted."""
MOST: Final = 5_000
"""Wh; more than a register counts in an hour."""
FORMS: Final = (
    TableConfig(),
    TableConfig(separator=",", header=False),
    TableConfig(line_end="\n", byte_order_mark=True, chunked=True),
)
"""How meters print their tables: one life always in the same way."""
NIGHT_OF_CHANGE: Final = 9 * HOUR
BY_KEY: Final = {target.key: target for target in TARGETS}


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
        rounds: bool = False,
        delay: int = 0,
        latency: float = 0,
        has_clock: bool = True,
        jumps: bool = False,
        fixed_price: float | None = None,
    ) -> None:
        """Install a meter some days before Home Assistant observes it.

        `rounds` says that it rounds a total and its tariffs each, `delay` after how
        many seconds at most a record can be read, `latency` how many seconds each
        request takes, `has_clock` whether its readings have its clock; `jumps` is what
        the cost entity does after a time off, `fixed_price` its price per kWh, if that
        does not change hourly.
        """
        self.world = world
        self.name = f"life_{next(world.lives)}"
        self.targets = [t for t in TARGETS if t.key in ("energy_import", *keys)]
        self.now = BIRTH
        self.interval = interval
        self.compiled = BIRTH
        self.offset = 0
        self.lag = 3
        self.is_observed = False
        self.observes_from: int = BIRTH + 1
        self.observed: set[int] = set()
        self.filled: int | None = None
        self.outages: list[tuple[int, int]] = []
        self.lost: list[tuple[int, int]] = []
        """Times of which the rows were lost, whatever was observed and noted."""
        self.forgotten: list[tuple[int, int]] = []
        """Outages that may have been settled before a database was put back."""
        self.keeps_copies = False
        self.copies: list[tuple[Copy, int]] = []
        """Of the database before each step, and until when it was compiled."""
        self.is_damaged = False
        """Whether rows have changed that were settled."""
        self.units = units
        self.rounds = rounds
        self.latency = latency
        self.has_clock = has_clock
        self.clock = ManualClock(BIRTH)
        installed = BIRTH - days * DAY - 1000
        config = MeterConfig(
            serial_number=SERIAL_NUMBER,
            installed=installed,
            logger=LoggerConfig(interval=interval, depth=depth, delay=delay),
            tables=FORMS[(days + units + depth) % len(FORMS)],
        )
        self.meter = Meter(config, self.clock)
        self.truth = Meter(config, self.clock)
        """The same meter, if its module had always stayed in it."""
        if moved:
            moved_at = BIRTH - DAY - 77
            self._happens(ModuleMoved(moved_at, OTHER_SERIAL_NUMBER, 2, installed))
        self.restarts: list[tuple[int, Registers]] = []
        """When the registers began at 0 again, and what they were just before."""
        self.restart_stamps: list[int] = []
        """The same times by the meter's clock."""
        self.cost = CostEntity(
            *(world.hass, f"sensor.{self.name}_cost"),
            jumps=jumps,
            fixed_price=fixed_price,
        )
        self.automatic = Automatic(
            world.hass, SERIAL_NUMBER, self.targets, self.statistic_of, self.cost.source
        )
        self.automatic.note(whole_hour(BIRTH), BIRTH)

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
        self.cost.remove()
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
        if self.keeps_copies:
            copy = await self.world.run(self.world.copied)
            self.copies.append((copy, self.compiled))
        match step:
            case Live():
                await self.live(step.periods)
            case Off():
                await self.off(step)
            case Unreachable():
                await self.unreachable(step)
            case Clock():
                self._happens(ClockSet(self.now, step.offset))
                self.offset = step.offset
            case Interval():
                self._happens(IntervalChange(self.now, step.minutes))
                self.interval = step.minutes
            case Unit():
                self.units = step.number
            case Restart():
                await self.restart()
            case Rename():
                await self.rename()
            case Fill():
                await self.fill(step)
            case Compare():
                await self.compare(step)
            case PutBack():
                await self.put_back(step)
            case Clear():
                await self.clear(step)

    def _happens(self, event: Event) -> None:
        self.meter.happens(event)
        if not isinstance(event, ModuleMoved):
            self.truth.happens(event)

    # Time passes

    async def live(self, periods: int) -> None:
        """Let Home Assistant run and observe the meter."""
        before = self.now // HOUR * HOUR
        for _ in range(periods):
            self._hear()
            self._period()
        await self._settled()
        await self._check_live_hours(before)

    def _hear(self) -> None:
        if not self.is_observed:
            self.is_observed = True
            self._show(self.now + max(self.observes_from - self.now, 1))

    def _period(self) -> None:
        """Let five minutes pass, and the recorder compile them."""
        self._pass()
        self._compile()

    def _pass(self) -> None:
        start = self.now
        self.now += PERIOD
        self.lag = self.lag % 5 + 1
        if self.is_observed:
            self._show(self.now - self.lag)
            if self.now % HOUR == 0:
                self.observed.add(self.now)
        if self._purges_between(start, self.now):
            self._purge()

    def _compile(self) -> None:
        self.world.queue(StatisticsTask(time_of(self.now - PERIOD), False))
        self.compiled = self.now

    def _purges_between(self, start: int, end: int) -> bool:
        """Whether it is 4:12 at home meanwhile."""
        return _night(end) > _night(start)

    def _purge(self) -> None:
        self.world.queue(PurgeTask(time_of(self.now - KEEP), False, False))

    async def _settled(self) -> None:
        """Wait for the recorder; the statistics of the house must continue."""
        self.clock.set(self.now)
        await self.world.done()
        self.world.now = self.now
        assert await self.world.run(self.world.compiled_until) == self.compiled

    async def off(self, step: Off) -> None:
        """Let Home Assistant be off for a while."""
        if self.is_observed and step.early:
            self._show(self.now + step.early)
        since = self.now
        await self.world.done()
        start = since + _seconds(since, step.seconds)
        self.is_observed = False
        self._show(start + step.late)
        self.cost.restart(start + step.late)
        if step.observed:
            self.is_observed = True
            self._show(start + min(step.late + 2, PERIOD - 8))
        await self._catch_up(start, step.late)
        self.now = start
        back = min(step.late + 2, PERIOD - 8) if step.observed else PERIOD
        self._note_outage(since + step.early, start + back)
        self.automatic.restart()
        self._period()
        await self._settled()

    async def _catch_up(self, until: int, late: int) -> None:
        """Let the recorder catch up; of a long time off not with the flat middle."""
        begin = max(self.compiled, (until + late - KEEP) // HOUR * HOUR)
        first = (begin // HOUR + 2) * HOUR
        last = until // HOUR * HOUR - HOUR
        if last - first > self.LONG:
            names = [self._entity_id(target) for target in self.sensors]
            names.append(self.cost.entity_id)
            await self.world.run(lambda: self.world.mark_compiled(begin))
            await self.world.compile_missing(first)
            await self.world.run(lambda: self.world.repeat_rows(names, first, last))
            await self.world.run(lambda: self.world.mark_compiled(last))
        await self.world.compile_missing(until + late)
        self.compiled = until

    async def unreachable(self, step: Unreachable) -> None:
        """Let Home Assistant run and not observe the meter."""
        since = self.now
        end = since + _seconds(since, step.seconds)
        self._happen_unreachable(step, end)
        if self.is_observed:
            if step.early:
                self._show(since + step.early)
            self.is_observed = False
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
        self.observes_from = end + step.late
        self._note_outage(since + step.early, self.observes_from)
        await self._settled()

    def _happen_unreachable(self, step: Unreachable, end: int) -> None:
        begin = self.now + step.early + 1
        if step.why == "power":
            self._happens(PowerFailure(begin, end + step.late - 20))
        elif step.why == "module":
            # It has come back from the other meter before.
            begin = max(begin, self.observes_from)
            installed = self.meter.config.installed
            self._happens(ModuleMoved(begin, SERIAL_NUMBER, 1, installed))
            self._happens(
                ModuleMoved(end + step.late - 20, OTHER_SERIAL_NUMBER, 2, installed)
            )

    # What the owner sees and does

    def _show(self, at: int) -> None:
        """Set the states as they are at a time."""
        snapshot = self.truth.snapshot(at)
        for target in self.sensors:
            measurand, state_class = _classes(target)
            units = UNITS[measurand]
            unit = units[self.units % len(units)]
            value = self._live_value(target, snapshot) / PER_UNIT[unit]
            self.world.hass.states.async_set(
                self._entity_id(target),
                f"{value:.6f}" if self.is_observed else STATE_UNAVAILABLE,
                {
                    "device_class": measurand,
                    "state_class": state_class,
                    "unit_of_measurement": unit,
                },
                timestamp=float(at),
            )
        if self.is_observed:
            register = self._live_value(BY_KEY["energy_import"], snapshot)
            self.cost.observe(register, at)

    def _live_value(self, target: Target, snapshot: Snapshot) -> int:
        value = _value(target, snapshot)
        if self.rounds and len(target.columns) > 1:
            # It never falls: what is lost with one digit is gained with the next.
            value += (0, 1, 0, -1)[value % 4]
        return value

    async def restart(self) -> None:
        """Let the registers begin at 0, and live until enough is logged to see it.

        Registers that have hardly counted anything could have been misread instead, or
        the one or two records before; and with a wrong clock the records around it have
        no order.
        """
        registers = self.truth.registers(self.now)
        shown = [register_of(t, registers) for t in self.sensors if t.is_register]
        seconds = RECORDS_TO_TELL * self.interval * 60
        most = MOST * seconds // HOUR
        if self.offset or min(filter(None, shown), default=0) < most:
            return
        records = self.meter.records()
        own = [one for one in records if one.serial_number == SERIAL_NUMBER]
        if len(own) < RECORDS_TO_TELL:
            return
        self.restarts.append((self.now, self.truth.registers(self.now)))
        self.restart_stamps.append(self.meter.meter_time(self.now))
        for meter in (self.meter, self.truth):
            before = meter.config
            moved = ModuleMoved(self.now, SERIAL_NUMBER, before.seed, before.installed)
            meter.config = replace(before, installed=self.now)
            meter.happens(moved)
        logger = self.meter.config.logger
        assert logger
        await self.live(seconds // PERIOD + 1)

    def logged(self, at: int) -> Registers:
        """Return the registers of a record at a time.

        If they restart in the same second, the record comes first.
        """
        return dict(self.restarts).get(at) or self.truth.registers(at)

    def levels(self, at: int) -> Registers:
        """Return the registers at a time, as if they had never restarted."""
        registers = self.truth.registers(at)
        for restarted, lost in self.restarts:
            if restarted <= at:
                registers = _added(registers, lost)
        return registers

    def level_of(self, target: Target, row: Row) -> float:
        """Return a row's state, as if the register had never restarted.

        A state that is higher than the register at the end of the hour is from before
        the last restart.
        """
        assert row.state is not None
        end = row.start + HOUR
        lost = [
            register_of(target, registers)
            for at, registers in self.restarts
            if at < end
        ]
        highest = register_of(target, self.truth.registers(end))
        while lost and row.state > highest + 1 + self.rounds:
            highest = lost.pop()
        return row.state + sum(lost)

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

    async def put_back(self, step: PutBack) -> None:
        """Let Home Assistant start with the database of some steps ago."""
        copy, compiled = self.copies[max(len(self.copies) - 1 - step.steps, 0)]
        await self.world.run(lambda: self.world.put_back(copy))
        self._forget(compiled, self.now)
        self.lost.append((compiled, self.now))
        self.forgotten = list(self.outages)
        self.compiled = compiled
        await self.off(Off(PERIOD, 0))

    async def clear(self, step: Clear) -> None:
        """Delete rows of all statistics."""
        ids = [self.statistic_of(target).statistic_id for target in self.targets]
        ids.append(self.cost.entity_id)
        since = (self.now // HOUR - step.since) * HOUR
        until = since + step.hours * HOUR
        await self.world.run(lambda: self.world.clear(ids, since, until))
        if step.with_periods:
            await self.world.run(lambda: self.world.clear_periods(ids, since, until))
        self._forget(since, self.now)

    def _forget(self, since: int, until: int) -> None:
        """Note that rows no longer show what was observed."""
        self.is_damaged = True
        self.filled = None
        self.observed -= {at for at in self.observed if since <= at <= until}

    def _note_outage(self, since: int, until: int) -> None:
        self.outages.append((since, until))
        self.automatic.note(since, until)

    def is_lost(self, start: int, seconds: int) -> bool:
        """Whether rows of a time were lost."""
        return _overlaps(self.lost, start, seconds)

    def is_forgotten(self, start: int) -> bool:
        """Whether nothing may show that five minutes of an old database were missed."""
        return _overlaps(self.forgotten, start, PERIOD)

    def is_outage(self, start: int) -> bool:
        """Whether the meter was not observed in a part of an hour, and that was noted.

        So was the part of an hour before the meter was added.
        """
        outages = ((whole_hour(BIRTH), BIRTH), *self.outages)
        return _overlaps(outages, start, HOUR)

    def unobserved(self, start: int, seconds: int) -> int:
        """Return how many seconds from a time on the meter was not observed."""
        end = start + seconds
        at, missed = start, 0
        for since, until in sorted(self.outages):
            begin, stop = max(since, at), min(until, end)
            missed += max(stop - begin, 0)
            at = max(at, stop)
        return missed

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
            self.world.now = self.now
        compiled = self.compiled
        first = step.days * DAY
        with patch.multiple(run, _FIRST_PART=first, _PART=2 * first):
            said = await self._run(window, step.mode, dry_run=True)
            assert await self.stored() == before, "a dry run wrote"
            log = self.log()
            contract = Contract(self, window, step, log, compiled, before)
            hitch = Hitch(step.hitch, step.after, self._period)
            try:
                report = await self._run(window, step.mode, hitch=hitch)
            except MeterUnreachable, MeterWithoutLogger, Stopped:
                interrupted = await self.stored()
                second = Contract(self, window, step, log, compiled, interrupted)
                if (second.since, second.until) != (contract.since, contract.until):
                    # One statistic is filled, another one not: by now the rows show
                    # the end of the outage that the window was widened to.
                    contract, before = second, interrupted
                report = await self._run(window, step.mode)
            else:
                if step.hitch in ("reset", "cut", "empty", "gone"):
                    # After an answer that did not come, pages are smaller.
                    report = replace(
                        report,
                        records=said.records,
                        last=said.last,
                        rejected=said.rejected,
                    )
                assert step.hitch == "live" or report == said, "a dry run was wrong"
            if step.hitch == "late":
                self._compile()
            after = await self.stored()
            contract.check(before, after)
            if step.hitch is None:
                contract.check_report(report, before, after)
            if step.hitch not in ("late", "live"):
                # What is compiled meanwhile has a cost that was not there before.
                check_costs(self, contract, before, after)
            window = Window(window.since, contract.until)
            is_same = step.hitch != "late"
            if step.hitch == "live":
                # The row of an hour that is over by now may show an outage at the end.
                now = Contract(self, window, step, log, self.compiled, after)
                is_same = now.until <= contract.until
            if is_same:
                # Late, an hour more can be filled by now.
                again = await self._run(window, step.mode)
                for outcome in again.statistics.values():
                    assert outcome.written == outcome.corrected == 0, (
                        "twice is not once"
                    )
                assert not any(cost.hours for cost in again.costs.values())
                assert await self.stored() == after
        await self._settled()
        self._note_filled(contract, after)

    async def compare(self, step: Compare) -> None:
        """Let statistics be filled automatically, and check the contract."""
        if abs(self.offset) > CLOCK_LIMIT:
            return
        is_daily = step.is_daily or self.is_damaged
        before = await self.stored()
        contract = Contract(self, EVERYTHING, Fill(), self.log(), self.compiled, before)
        await self._compare(is_daily)
        after = await self.stored()
        contract.check(before, after)
        check_costs(self, contract, before, after)
        await self._compare(is_daily)
        assert await self.stored() == after, "twice is not once"
        self.is_damaged = False
        await self._settled()
        self._note_filled(contract, after)

    async def _compare(self, is_daily: bool) -> None:
        self._reach(Hitch(None, 0, self._period))
        try:
            await self.automatic.async_compare(is_daily=is_daily)
        except HomeAssistantError as err:
            self._check_owner(err)

    def _note_filled(self, contract: Contract, after: Mapping[str, Stored]) -> None:
        """Note from where the next live hour continues."""
        until = contract.until
        if contract.is_rebuild:
            # Such an hour ends with the last record in it.
            self.observed -= {at for at in self.observed if contract.is_unknown(at)}
        if until in contract.log.odd:
            self.observed -= {at for at in self.observed if at >= until}
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
        self._reach(hitch)
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
            try:
                return await self.automatic.async_run(window, mode, dry_run=dry_run)
            except HomeAssistantError as err:
                if isinstance(err.__cause__, MeterUnreachable | MeterWithoutLogger):
                    raise err.__cause__ from err
                self._check_owner(err)
                return Report()

    def _reach(self, hitch: Hitch) -> None:
        """Connect the back-fill with the meter."""
        self.automatic.reach(Line(self.meter, hitch, self.latency))
        self.automatic.clock_is_ahead(self.offset if self.has_clock else None)

    def _check_owner(self, err: HomeAssistantError) -> None:
        """Raise an error, unless only another meter has logged anything."""
        newest = self.meter.records()[-1]
        if (
            not isinstance(err.__cause__, LoggerOfAnotherMeter)
            or newest.serial_number == SERIAL_NUMBER
        ):
            raise err

    def _latest(self) -> int:
        return self.now + abs(self.offset) + 60

    async def changes(self, key: str) -> list[float]:
        """Return what each hour counts of a quantity."""
        return [*(await self._stored_of(BY_KEY[key])).changes().values()]

    async def stored(self) -> dict[str, Stored]:
        """Return all that the recorder holds, with the cost of imported energy."""
        stored = {target.key: await self._stored_of(target) for target in self.targets}
        stored["cost"] = await self.world.run(
            lambda: self.world.stored(self.cost.entity_id, CURRENCY)
        )
        return stored

    async def _stored_of(self, target: Target) -> Stored:
        statistic = self.statistic_of(target)
        return await self.world.run(
            lambda: self.world.stored(statistic.statistic_id, statistic.unit)
        )

    async def _check_live_hours(self, since: int) -> None:
        """See that rows compiled since continue from the rows before."""
        for target in self.sensors:
            if not target.is_register:
                continue
            changes = (await self._stored_of(target)).changes()
            for start in range(since, self.now - HOUR + 1, HOUR):
                if start + HOUR not in self.observed or self.offset:
                    continue
                if self._has_restart(start):
                    # What passed since the last poll before is not counted.
                    continue
                if start in self.observed or start == self.filled:
                    least, most = self.live_energy(target, start)
                    assert least <= changes[start] <= most, mismatch(target, start)
        await self._check_live_costs(since)

    def _has_restart(self, hour: int) -> bool:
        """Return whether registers restart in an hour, or after the last record before.

        What they count until the first record after a restart is counted by nobody.
        """
        since = hour - hour % (self.interval * 60)
        return any(since <= at <= hour + HOUR for at, _ in self.restarts)

    async def _check_live_costs(self, since: int) -> None:
        """See that the cost of an hour that was observed as a whole has no jump."""
        stored = await self.world.run(
            lambda: self.world.stored(self.cost.entity_id, CURRENCY)
        )
        target, costs = BY_KEY["energy_import"], stored.changes()
        for start in range(since, self.now - HOUR + 1, HOUR):
            if not {start, start + HOUR} <= self.observed or self.offset:
                continue
            if start - HOUR not in costs or self.is_outage(start):
                continue
            if self._has_restart(start):
                continue
            energies = self.live_energy(target, start)
            least, most = sorted(
                1000 * self.cost.price_at(start) * each for each in energies
            )
            # The last poll before the hour counts at the price of this one.
            poll = (
                1000 * abs(self.cost.price_at(start)) * sum(self._lag_of(target, start))
            )
            # Its state is purged if the price was 0 for so long: there is no row then.
            cost = costs.get(start, 0)
            assert least - poll <= cost <= most + poll, mismatch(target, start)

    def _lag_of(self, target: Target, at: int) -> tuple[float, ...]:
        """Return the energy of the last seconds before two hours."""
        return tuple(
            register_of(target, self.levels(end))
            - register_of(target, self.levels(end - 10))
            for end in (at, at + HOUR)
        )

    def live_energy(self, target: Target, start: int) -> tuple[float, float]:
        """Return what an hour may count of which both ends were observed."""

        def value(at: int) -> float:
            return register_of(target, self.levels(at))

        least = value(start + HOUR - 10) - value(start)
        most = value(start + HOUR) - value(start - 10)
        rounding = 1 + 2 * self.rounds + EXACT
        return least - rounding, most + rounding

    def log(self) -> Log:
        """Return what is in the logger now."""
        return read_log(self.meter, self.logged, self.levels, self._latest())


def _overlaps(times: Iterable[tuple[int, int]], start: int, seconds: int) -> bool:
    """Return whether some seconds from a start on are in one of the times."""
    return any(since < start + seconds and start < until for since, until in times)


def _added(one: Registers, other: Registers) -> Registers:
    more = asdict(other)
    return Registers(**{name: more[name] + wh for name, wh in asdict(one).items()})


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


def _value(target: Target, snapshot: Snapshot) -> int:
    if target.is_register:
        return register_of(target, snapshot.registers)
    if target.key == "active_power":
        return snapshot.momentary.active_power_total
    return snapshot.momentary.voltage.l1
