"""When a meter's statistics are filled, and how far that is."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import CoreState, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.event import async_track_utc_time_change
from homeassistant.helpers.singleton import singleton
from homeassistant.helpers.start import async_at_started
from homeassistant.helpers.translation import async_get_translations
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator
from homeassistant.util import dt as dt_util, slugify
from homeassistant.util.hass_dict import HassKey

from ..const import CONF_AUTOMATIC, CONF_COSTS, DOMAIN, LOGGER
from ..coordinator import EmuCoordinator
from ..emu.errors import LoggerOfAnotherMeter, MeterError, MeterWithoutLogger
from ..lost_hours import LostHours
from ..outages import Outage, lost_time
from ..storage import EntryStore, entry_store
from .follow_costs import CostFollower
from .ledger import SEALED, Ledger, Seal
from .prices import CostSource, Price, async_cost_sources
from .recorder import (
    Statistic,
    async_caught_up,
    async_compiled_until,
    async_has_rows,
    async_is_recorded,
    async_seals,
    async_stored_units,
)
from .records import clock_offset
from .report import EVERYTHING, Mode, Report, Window
from .run import Backfill
from .targets import TARGETS, Target
from .times import whole_hour

_STORE_DELAY: Final = 60
_RECONCILE: Final = timedelta(days=1)
_OFTEN: Final = timedelta(minutes=30)
_SPREAD: Final = 240
"""Seconds from the first meter's turn in each hour to the last one's."""
_AT_A_TIME: Final = 4
"""Meters that are filled by themselves at the same time: there is one recorder."""
_CATCH_UP_PAUSE: Final = 10
_CATCH_UP_LIMIT: Final = 3000
"""Seconds to wait for the recorder; after that the next hour will do."""
_TURNS: Final[HassKey[asyncio.Semaphore]] = HassKey(f"{DOMAIN}.backfill_turns")
_TOLERANCE: Final = timedelta(seconds=60)
_CLOCK_LIMIT: Final = timedelta(minutes=5)
"""A meter whose clock is further off would have its energy in the wrong hours."""


class BackfillState(StrEnum):
    """What the back-fill does, or how the last one ended."""

    IDLE = "idle"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    NOT_SUPPORTED = "not_supported"


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """How far the back-fill is; `percent` is of the run under way or the last one."""

    state: BackfillState
    percent: int | None = None


class BackfillCoordinator(DataUpdateCoordinator[BackfillProgress]):
    """Fills the statistics of one meter, one run at a time.

    By itself: once Home Assistant has started, after an outage when the hour in which
    it ended is compiled, and once a day; what no sensor shows every hour. The ledger
    knows for each quantity up to when its statistic follows the logger: nothing before
    that is read again unless its rows have changed. Of many meters only a few are
    filled at a time.
    """

    config_entry: ConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: ConfigEntry, meter: EmuCoordinator
    ) -> None:
        """Initialize the back-fill of a config entry's meter."""
        super().__init__(hass, LOGGER, config_entry=entry, name=entry.title)
        self.data = BackfillProgress(BackfillState.IDLE)
        self.report: Report | None = None
        self.foreign_serial_number: str | None = None
        """Of another meter that has made all records of the data logger."""
        self._meter = meter
        self._serial_number = meter.serial_number
        self._store = backfill_store(hass, entry)
        self._ledger = Ledger()
        self._reconciled: datetime | None = None
        self._compared: datetime | None = None
        self._checked: datetime | None = None
        self._is_automatic = False
        self._is_due = True
        self._is_running = False
        self._is_comparing = False
        self._is_started = False
        self._failed = False
        self._names: dict[str, str] = {}
        self._lost_hours = LostHours(hass, entry)

    async def async_start(self) -> None:
        """Recall what is settled, and fill when it is time to."""
        await self._lost_hours.async_start()
        if (stored := await self._store.async_load()) is not None:
            self._ledger = Ledger.from_dict(stored)
        else:
            # The hour in which a meter is added is observed only from now on.
            now = _now()
            self._ledger.note([Outage(whole_hour(now), now)])
        self._is_started = True
        entry = self.config_entry
        self._is_automatic = entry.options.get(CONF_AUTOMATIC, True)
        self._is_automatic &= _has_recorder(self.hass)
        entry.async_on_unload(self._meter.async_watch_outages(self._note_outage))
        if not self._is_automatic:
            return
        entry.async_on_unload(async_at_started(self.hass, self._started))
        spread = int(self._meter.phase_offset * _SPREAD)
        entry.async_on_unload(
            async_track_utc_time_change(
                self.hass, self._every_hour, minute=2 + spread // 60, second=spread % 60
            )
        )

    @callback
    def async_fill_now(self) -> None:
        """Begin to fill whatever is missing, as far back as the logger goes.

        Raises what `async_run` raises before it begins.
        """
        self._check_ready()
        self.config_entry.async_create_background_task(
            self.hass, self._async_fill_everything(), f"{self.name} fill"
        )

    async def async_run(
        self, window: Window, mode: Mode = Mode.FILL, *, dry_run: bool = False
    ) -> Report:
        """Fill the hours of a window.

        Raises ServiceValidationError if a run is under way or can't be now, and
        HomeAssistantError if it fails: what was written by then is right.
        """
        self._check_ready()
        return await self._async_guarded(window, TARGETS, mode, dry_run)

    async def async_fill_costs(
        self,
        window: Window,
        price: float | None = None,
        cost_ids: Collection[str] = (),
        *,
        dry_run: bool = False,
    ) -> Report:
        """Give the hours of a window their costs, at a price or at the dashboard's.

        A price per kWh is for all costs, and for a compensation if that is named.
        Raises ServiceValidationError if nothing has a price or no run can be now, and
        HomeAssistantError if it fails.
        """
        self._check_ready()
        self._is_running = True
        try:
            sources = await self._async_chosen_costs(price, cost_ids)
            compiled = await async_compiled_until(self.hass) or 0
            until = min(window.until, whole_hour(compiled))
            report = Report()
            follower = CostFollower(
                self.hass, self._async_costs, report, dry_run=dry_run
            )
            for energy, source in sources:
                await follower.async_fill(energy, source, Window(window.since, until))
        finally:
            self._is_running = False
        for error in report.failed.values():
            raise error
        return report

    async def _async_chosen_costs(
        self, price: float | None, cost_ids: Collection[str]
    ) -> list[tuple[Statistic, CostSource]]:
        """Return energies of the meter, and their chosen costs with their prices."""
        sources = await async_cost_sources(self.hass)
        priced = [
            (energy, source)
            for target in TARGETS
            if target.is_register and (energy := self._statistic_of(target)) is not None
            for source in sources.get(energy.statistic_id, ())
        ]
        found = {source.statistic.statistic_id for _, source in priced}
        if unknown := sorted(set(cost_ids) - found):
            raise _invalid("not_a_cost", meter=self.name, entity_id=unknown[0])
        if cost_ids:
            priced = [
                (energy, source)
                for energy, source in priced
                if source.statistic.statistic_id in cost_ids
            ]
        elif price is not None:
            priced = [each for each in priced if not each[1].is_compensation]
        if not priced:
            raise _invalid("no_costs", meter=self.name)
        if price is None:
            return priced
        return [
            (energy, replace(source, price=Price(price))) for energy, source in priced
        ]

    def _check_ready(self) -> None:
        if not _has_recorder(self.hass):
            raise _invalid("no_recorder")
        if self.hass.state is not CoreState.running:
            raise _invalid("not_started")
        if self._is_running:
            raise _invalid("already_running", meter=self.name)

    async def _async_fill_everything(self) -> None:
        try:
            await self.async_run(EVERYTHING)
        except HomeAssistantError as err:
            LOGGER.warning("%s: %s", self.name, err)

    @callback
    def _note_outage(self, outage: Outage) -> None:
        """Note when the meter was not observed, until those hours are settled."""
        self._ledger.note([outage])
        self._ledger.prune(self._active(), _now())
        self._is_due = True
        self._save_soon()
        if outage.is_long or not self._is_often():
            self._reconcile_soon(TARGETS)

    def _is_often(self) -> bool:
        """Return whether short outages come so often that the full hour is enough.

        So it is if an automation polls the meter instead of Home Assistant.
        """
        if self.config_entry.pref_disable_polling or self._compared is None:
            return self.config_entry.pref_disable_polling
        passed = dt_util.utcnow() - self._compared
        return timedelta() <= passed < _OFTEN

    @callback
    def _started(self, hass: HomeAssistant) -> None:
        self._reconcile_soon(TARGETS)

    @callback
    def _every_hour(self, now: datetime) -> None:
        if self._is_due or _is_over(self._reconciled, now):
            self._reconcile_soon(TARGETS)
        else:
            self._reconcile_soon([t for t in TARGETS if t.is_external])

    @callback
    def _reconcile_soon(self, targets: Sequence[Target]) -> None:
        is_started = self.hass.state is CoreState.running
        is_busy = self._is_comparing or self._is_running
        is_busy |= self._meter.is_being_updated
        if self._is_automatic and is_started and not is_busy:
            self._is_comparing = True
            self.config_entry.async_create_background_task(
                self.hass, self._async_reconcile(targets), f"{self.name} back-fill"
            )

    async def _async_reconcile(self, targets: Sequence[Target]) -> None:
        """Compare what is not settled yet with the logger, in turn with others."""
        try:
            async with _turns(self.hass):
                if await self._async_recorder_is_ready():
                    await self._async_compare(targets)
        finally:
            self._is_comparing = False

    async def _async_recorder_is_ready(self) -> bool:
        """Wait until the time that Home Assistant was off is compiled, but not forever."""
        end = self.hass.loop.time() + _CATCH_UP_LIMIT
        while not await async_caught_up(self.hass):
            if self.hass.loop.time() > end:
                return False
            await asyncio.sleep(_CATCH_UP_PAUSE)
        return True

    async def _async_compare(self, targets: Sequence[Target]) -> None:
        is_all = len(targets) == len(TARGETS)
        self._compared = dt_util.utcnow()
        if self._is_not_supported(is_all):
            return
        try:
            await self._async_fill_unsettled(targets)
        except ServiceValidationError:
            # Somebody's own run is under way: the next hour will do.
            return
        except HomeAssistantError as err:
            if not self._failed:
                LOGGER.warning("%s: statistics were not filled: %s", self.name, err)
            self._failed = True
            if self.data.state is BackfillState.NOT_SUPPORTED:
                self._reconciled = dt_util.utcnow()
            return
        self._failed = False
        if is_all:
            self._reconciled = dt_util.utcnow()
            self._is_due = self._ledger.is_open(self._active())

    def _is_not_supported(self, is_all: bool) -> bool:
        """Return whether the meter had no logger a moment ago: it may have one later."""
        return self.data.state is BackfillState.NOT_SUPPORTED and not (
            is_all and _is_over(self._reconciled, dt_util.utcnow())
        )

    async def _async_fill_unsettled(self, targets: Sequence[Target]) -> None:
        """Fill what is not settled, newest first; raise the first error at the end."""
        error: HomeAssistantError | None = None
        checked_since = self._checked_since(targets)
        unsettled = await self._async_unsettled(targets, checked_since)
        for window, open_targets in unsettled:
            try:
                await self._async_guarded(window, open_targets, is_checked=True)
            except ServiceValidationError:
                raise
            except HomeAssistantError as err:
                error = error or err
                if isinstance(err.__cause__, MeterError):
                    break
        if error is not None:
            raise error
        if any(window.until != EVERYTHING.until for window, _ in unsettled):
            # What was repaired has shifted later months, which were compared as well.
            await self._async_seal(targets, checked_since)
        if checked_since == 0 and len(targets) == len(TARGETS):
            self._checked = dt_util.utcnow()

    def _checked_since(self, targets: Sequence[Target]) -> int:
        """Return the begin of the months whose rows are compared with their seals.

        That is all of them once a day, and always those in which rows are settled:
        they get new seals.
        """
        if _is_over(self._checked, dt_util.utcnow()):
            return 0
        settled = self._ledger.settled
        times = [settled[t.key] for t in targets if t.key in settled]
        return min(times, default=0) // SEALED * SEALED

    async def _async_unsettled(
        self, targets: Sequence[Target], checked_since: int
    ) -> list[tuple[Window, list[Target]]]:
        """Return which windows of which targets must be compared, newest first."""
        unsettled: dict[Window, list[Target]] = {}
        found = await self._async_seals(targets, checked_since)
        for target in targets:
            if (statistic := self._statistic_of(target)) is None:
                continue
            since = self._ledger.settled.get(target.key, 0)
            if (
                since
                and target.key not in self._ledger.seals
                and not await async_has_rows(self.hass, statistic, since)
            ):
                # It was settled before there were seals, and is another one by now.
                self._ledger.settled.pop(target.key)
            for begin, end in self._ledger.unsettled(
                target.key, found.get(target.key, {}), EVERYTHING.until, checked_since
            ):
                unsettled.setdefault(Window(begin, end), []).append(target)
        return sorted(unsettled.items(), key=lambda item: item[0].until, reverse=True)

    async def _async_seals(
        self, targets: Sequence[Target], since: int = 0
    ) -> dict[str, dict[int, Seal]]:
        """Return the seals of the settled rows as they are, by the targets' keys.

        Five years of 21 statistics cost 2 s of CPU in the database's thread: only the
        months from `since` on are read.
        """
        by_settled: dict[int, dict[str, Statistic]] = {}
        for target in targets:
            settled = self._ledger.settled.get(target.key)
            statistic = self._statistic_of(target)
            if settled is not None and statistic is not None:
                by_settled.setdefault(settled, {})[target.key] = statistic
        found: dict[str, dict[int, Seal]] = {}
        for settled, statistics in by_settled.items():
            seals = await async_seals(
                self.hass, list(statistics.values()), settled, since
            )
            for key, statistic in statistics.items():
                found[key] = seals.get(statistic.statistic_id, {})
        return found

    async def _async_seal(
        self, targets: Sequence[Target], since: int, until: int = EVERYTHING.until
    ) -> None:
        """Seal the months that a time touches, as their rows are now."""
        for key, seals in (await self._async_seals(targets, since)).items():
            self._ledger.seal(key, seals, since, until)

    async def _async_settle(
        self,
        window: Window,
        report: Report,
        targets: Sequence[Target],
        is_checked: bool,
    ) -> None:
        """Note what follows the logger now.

        A month that is only partly in the window is sealed again only if the rest of
        its rows was compared with its seal before: `is_checked`.
        """
        if report.until is None:
            return
        done = [
            target
            for target in targets
            if (statistic := self._statistic_of(target)) is not None
            and statistic.statistic_id not in report.failed.keys() | report.unpriced
        ]
        if window.until == EVERYTHING.until:
            open_since = {t.key: self._ledger.settled.get(t.key, 0) for t in done}
            self._ledger.settle(
                (key for key, since in open_since.items() if window.since <= since),
                report.until,
            )
        since, until = window.since // SEALED * SEALED, window.until
        if not is_checked:
            since = -(-window.since // SEALED) * SEALED
            until = window.until // SEALED * SEALED
        if since < until:
            await self._async_seal(done, since, until)
        self._report_lost_hours(window, report)
        self._ledger.prune(self._active(), _now())
        self._save_soon()

    def _active(self) -> set[str]:
        """Return the keys of the quantities that have a statistic now."""
        return {t.key for t in TARGETS if self._statistic_of(t) is not None}

    @callback
    def _save_soon(self) -> None:
        self._store.async_delay_save(self._ledger.as_dict, _STORE_DELAY)

    def _report_lost_hours(self, window: Window, report: Report) -> None:
        """Raise an issue if the logger has forgotten a time without live readings."""
        begins = report.logger_begins
        self._lost_hours.remove(max(window.since, begins or 0), window.until)
        if begins and (times := lost_time(self._ledger.outages, begins)):
            self._lost_hours.add(*times)

    async def _async_guarded(
        self,
        window: Window,
        targets: Sequence[Target],
        mode: Mode = Mode.FILL,
        dry_run: bool = False,
        is_checked: bool = False,
    ) -> Report:
        """Run a back-fill, one at a time, and show how far it is."""
        if self._is_running:
            raise _invalid("already_running", meter=self.name)
        self._is_running = True
        self._show(BackfillState.RUNNING, 0)
        state = BackfillState.FAILED
        try:
            report = await self._async_fill(window, targets, mode, dry_run)
            self.foreign_serial_number = None
            if not report.failed:
                state = BackfillState.COMPLETE
            if not dry_run:
                await self._async_settle(window, report, targets, is_checked)
        except asyncio.CancelledError:
            state = BackfillState.IDLE
            raise
        except MeterWithoutLogger as err:
            state = BackfillState.NOT_SUPPORTED
            raise self._meter.failure(err, HomeAssistantError) from err
        except LoggerOfAnotherMeter as err:
            self.foreign_serial_number = err.serial_number
            raise self._meter.failure(err, HomeAssistantError) from err
        except MeterError as err:
            raise self._meter.failure(err, HomeAssistantError) from err
        finally:
            self._is_running = False
            complete = state is BackfillState.COMPLETE
            self._show(state, 100 if complete else self.data.percent)
        self.report = report
        for error in report.failed.values():
            raise error
        return report

    async def _async_fill(
        self, window: Window, targets: Sequence[Target], mode: Mode, dry_run: bool
    ) -> Report:
        offset = await self._async_clock_offset()
        await self._async_learn_names()
        begin = self.hass.loop.time()
        latest = dt_util.utcnow() + abs(offset) + _TOLERANCE
        backfill = Backfill(
            self.hass,
            self._meter.client,
            self._serial_number,
            self._statistic_of,
            latest=int(latest.timestamp()),
            outages=self._ledger.outages,
            find_costs=self._async_costs,
            mode=mode,
            dry_run=dry_run,
            on_progress=self._show_progress,
        )
        await backfill.async_run(window, targets)
        if not dry_run:
            self._log(backfill.report, self.hass.loop.time() - begin)
        return backfill.report

    async def _async_costs(self) -> Mapping[str, Sequence[CostSource]]:
        """Return what the energy dashboard prices, if costs are to follow."""
        if not self.config_entry.options.get(CONF_COSTS, True):
            return {}
        return await async_cost_sources(self.hass)

    async def _async_clock_offset(self) -> timedelta:
        """Return how far the meter's clock is ahead.

        Raises HomeAssistantError if it is off by too much, or nothing is known of it.
        """
        offset = self._meter.data.clock_offset
        if offset is None:
            clock = (await self._meter.client.status()).clock
            offset = None if clock is None else clock - dt_util.utcnow()
        if offset is None:
            newest = await self._meter.client.newest_records(2)
            seconds = clock_offset(newest.records, _now())
            offset = None if seconds is None else timedelta(seconds=seconds)
        if offset is None:
            raise _error("clock_unknown", meter=self.name)
        if abs(offset) > _CLOCK_LIMIT:
            raise _error("clock_off", meter=self.name, **self._meter.clocks(offset))
        return offset

    def _log(self, report: Report, seconds: float) -> None:
        outcomes = report.statistics.values()
        written = sum(outcome.written for outcome in outcomes)
        corrected = sum(outcome.corrected for outcome in outcomes)
        periods = sum(outcome.periods for outcome in outcomes)
        level = LOGGER.info if written or corrected or periods else LOGGER.debug
        level(
            "%s: %s records read, %s refused; in %s statistics %s hours written and"
            " %s corrected, %s five-minute rows written, within %.0f s",
            self.name,
            report.records,
            report.refused.total(),
            len(outcomes),
            written,
            corrected,
            periods,
            seconds,
        )

    @callback
    def _show_progress(self, share: float) -> None:
        self._show(BackfillState.RUNNING, int(100 * share))

    def _show(self, state: BackfillState, percent: int | None) -> None:
        progress = BackfillProgress(state, percent)
        if progress != self.data:
            self.async_set_updated_data(progress)

    async def _async_learn_names(self) -> None:
        """Learn how the statistics that no sensor shows are called."""
        language = self.hass.config.language
        texts = await async_get_translations(self.hass, language, "entity", {DOMAIN})
        device = dr.async_get(self.hass).async_get_device_by_identifier(
            (DOMAIN, self._serial_number), self.config_entry.entry_id
        )
        name = (device and (device.name_by_user or device.name)) or self.name
        for target in TARGETS:
            if target.is_external:
                key = f"component.{DOMAIN}.entity.sensor.{target.key}.name"
                self._names[target.key] = f"{name} {texts.get(key, target.key)}"

    def _statistic_of(self, target: Target) -> Statistic | None:
        """Return a target's statistic, or None if its sensor has none.

        That is one that is disabled, or excluded from the recorder.
        """
        quantity = target.quantity
        if target.is_external:
            statistic_id = f"{DOMAIN}:{slugify(self._serial_number)}_{target.key}"
            name = self._names.get(target.key, target.key)
        else:
            registry = er.async_get(self.hass)
            unique_id = f"{self._serial_number}_{target.key}"
            found = registry.async_get_entity_id("sensor", DOMAIN, unique_id)
            if found is None or registry.entities[found].disabled:
                return None
            # Without a recorder, nothing is excluded from it.
            if _has_recorder(self.hass) and not async_is_recorded(self.hass, found):
                return None
            statistic_id, name = found, None
        return Statistic(
            statistic_id, quantity.unit, quantity.decimals, target.is_register, name
        )

    @callback
    def register_statistics(self) -> dict[str, Statistic]:
        """Return the statistics of registers that there are now, by quantity."""
        return {
            target.key: statistic
            for target in TARGETS
            if target.is_register and (statistic := self._statistic_of(target))
        }

    async def async_diagnostics(self) -> dict[str, Any]:
        """Return what helps to understand the back-fill, and names no meter.

        Statistics are named by their keys, for their IDs hold the serial number.
        """
        ids: dict[str, str] = {}
        units: dict[str, str | None] = {}
        if _has_recorder(self.hass):
            ids = {
                target.key: statistic.statistic_id
                for target in TARGETS
                if (statistic := self._statistic_of(target))
            }
            units = await async_stored_units(self.hass, ids.values())
        return {
            "state": self.data.state,
            "percent": self.data.percent,
            "is_automatic": self._is_automatic,
            "is_due": self._is_due,
            "last_failed": self._failed,
            "reconciled": self._reconciled and self._reconciled.isoformat(),
            "settled": {key: _iso(at) for key, at in self._ledger.settled.items()},
            "outages": [[_iso(at) for at in outage] for outage in self._ledger.outages],
            "units": {key: units[each] for key, each in ids.items() if each in units},
            "report": self.report and _report_diagnostics(self.report, ids),
        }

    @override
    async def async_shutdown(self) -> None:
        """Keep what is settled, unless it was never recalled."""
        await super().async_shutdown()
        if self._is_started:
            await self._store.async_save(self._ledger.as_dict())


@callback
def backfill_store(hass: HomeAssistant, entry: ConfigEntry) -> EntryStore:
    """Return the store of a meter's ledger."""
    return entry_store(hass, entry, "backfill", Ledger.from_dict)


@singleton(_TURNS)
@callback
def _turns(hass: HomeAssistant) -> asyncio.Semaphore:
    """Return what lets meters wait for each other."""
    return asyncio.Semaphore(_AT_A_TIME)


def _has_recorder(hass: HomeAssistant) -> bool:
    return "recorder" in hass.config.components


def _invalid(key: str, **placeholders: str) -> ServiceValidationError:
    return ServiceValidationError(
        translation_domain=DOMAIN,
        translation_key=key,
        translation_placeholders=placeholders,
    )


def _error(key: str, **placeholders: str) -> HomeAssistantError:
    return HomeAssistantError(
        translation_domain=DOMAIN,
        translation_key=key,
        translation_placeholders=placeholders,
    )


def _is_over(last: datetime | None, now: datetime) -> bool:
    """Return whether a day has passed since something that is done once a day.

    Home Assistant's clock may have been ahead the last time.
    """
    return last is None or not timedelta() <= now - last <= _RECONCILE


def _now() -> int:
    return int(dt_util.utcnow().timestamp())


def _report_diagnostics(report: Report, ids: dict[str, str]) -> dict[str, Any]:
    return {
        "records": report.records,
        "refused": dict(report.refused),
        "status": report.status,
        "first": _iso(report.first),
        "last": _iso(report.last),
        "logger_begins": _iso(report.logger_begins),
        "until": _iso(report.until),
        "costs": [asdict(outcome) for outcome in report.costs.values()],
        "statistics": {
            key: asdict(report.statistics[statistic_id])
            for key, statistic_id in ids.items()
            if statistic_id in report.statistics
        },
    }


def _iso(at: int | None) -> str | None:
    return None if at is None else dt_util.utc_from_timestamp(at).isoformat()
