"""When a meter's statistics are filled, and how far that is."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, override

import voluptuous as vol

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

from ..const import CONF_AUTOMATIC, DOMAIN, LOGGER
from ..coordinator import EmuCoordinator, Silence
from ..emu.errors import MeterError, MeterWithoutLogger
from ..lost_hours import LostHours
from ..storage import EntryStore, entry_store, shape
from .recorder import (
    Statistic,
    async_caught_up,
    async_has_rows,
    async_is_recorded,
    async_stored_units,
)
from .report import EVERYTHING, Mode, Report, Window
from .run import Backfill
from .targets import TARGETS, Target
from .times import HOUR

_STORE_DELAY: Final = 60
_RECONCILE: Final = timedelta(days=1)
_SPREAD: Final = 240
"""Seconds from the first meter's turn in each hour to the last one's."""
_AT_A_TIME: Final = 4
"""Meters that are filled by themselves at the same time: there is one recorder."""
_CATCH_UP_PAUSE: Final = 10
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

    By itself: once Home Assistant has started, after an interruption when the hour
    in which it ended is compiled, and once a day. Remembers for each quantity up to
    when its statistic was compared with the logger: nothing before that is read again
    unless its statistic is gone. Of many meters only a few are filled at a time.
    """

    config_entry: ConfigEntry

    def __init__(
        self, hass: HomeAssistant, entry: ConfigEntry, meter: EmuCoordinator
    ) -> None:
        """Initialize the back-fill of a config entry's meter."""
        super().__init__(hass, LOGGER, config_entry=entry, name=entry.title)
        self.data = BackfillProgress(BackfillState.IDLE)
        self.report: Report | None = None
        self._meter = meter
        self._serial_number = meter.serial_number
        self._store = backfill_store(hass, entry)
        self._settled: dict[str, int] = {}
        self._silences: list[Silence] = []
        self._reconciled: datetime | None = None
        self._is_automatic = False
        self._is_due = True
        self._is_running = False
        self._is_started = False
        self._failed = False
        self._names: dict[str, str] = {}
        self._lost_hours = LostHours(hass, entry)

    async def async_start(self) -> None:
        """Recall what is settled, and fill when it is time to."""
        await self._lost_hours.async_start()
        if (stored := await self._store.async_load()) is not None:
            self._settled = stored["settled"]
            self._silences = [Silence(*times) for times in stored["silences"]]
        else:
            # The hour in which a meter is added is heard only from now on.
            now = int(dt_util.utcnow().timestamp())
            self._silences = [Silence(now // HOUR * HOUR, now)]
        self._is_started = True
        entry = self.config_entry
        self._is_automatic = entry.options.get(CONF_AUTOMATIC, True)
        self._is_automatic &= _has_recorder(self.hass)
        self._take_silences()
        entry.async_on_unload(self._meter.async_add_listener(self._take_silences))
        if not self._is_automatic:
            return
        entry.async_on_unload(async_at_started(self.hass, self._reconcile_soon))
        spread = int(self._meter.place * _SPREAD)
        entry.async_on_unload(
            async_track_utc_time_change(
                self.hass, self._every_hour, minute=1 + spread // 60, second=spread % 60
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
    def _take_silences(self) -> None:
        """Note when the meter was not heard, until those hours are settled."""
        if self._meter.silences:
            self._silences += self._meter.silences
            self._meter.silences.clear()
            self._is_due = True
            self._store.async_delay_save(self._to_store, _STORE_DELAY)
            self._reconcile_soon(self.hass)

    @callback
    def _every_hour(self, now: datetime) -> None:
        if (
            self._is_due
            or self._reconciled is None
            or now - self._reconciled > _RECONCILE
        ):
            self._reconcile_soon(self.hass)

    @callback
    def _reconcile_soon(self, hass: HomeAssistant) -> None:
        is_started = hass.state is CoreState.running
        is_busy = self._is_running or self._meter.installation.is_busy
        if self._is_automatic and is_started and not is_busy:
            self.config_entry.async_create_background_task(
                hass, self._async_reconcile(), f"{self.name} back-fill"
            )

    async def _async_reconcile(self) -> None:
        """Compare what is not settled yet with the logger, in turn with others."""
        async with _turns(self.hass):
            await self._async_compare()

    async def _async_compare(self) -> None:
        if self.data.state is BackfillState.NOT_SUPPORTED:
            return
        while not await async_caught_up(self.hass):
            await asyncio.sleep(_CATCH_UP_PAUSE)
        try:
            for since, targets in await self._async_unsettled():
                report = await self._async_guarded(
                    Window(since, EVERYTHING.until), targets
                )
                self._settle(report, since, targets)
        except ServiceValidationError:
            # Somebody's own run is under way: the next hour will do.
            return
        except HomeAssistantError as err:
            if not self._failed:
                LOGGER.warning("%s: statistics were not filled: %s", self.name, err)
            self._failed = True
            return
        self._failed = False
        self._reconciled = dt_util.utcnow()
        self._is_due = bool(self._silences)

    async def _async_unsettled(self) -> list[tuple[int, list[Target]]]:
        """Return from when on which targets must be compared, newest first."""
        unsettled: dict[int, list[Target]] = {}
        for target in TARGETS:
            if (statistic := self._statistic_of(target)) is None:
                continue
            since = self._settled.get(target.key, 0)
            # Without a row just before it, the statistic is another one by now.
            if since and not await async_has_rows(self.hass, statistic, since):
                since = 0
            unsettled.setdefault(since, []).append(target)
        return sorted(unsettled.items(), reverse=True)

    def _settle(self, report: Report, since: int, targets: Iterable[Target]) -> None:
        if report.until is None:
            return
        for target in targets:
            self._settled[target.key] = max(report.until, since)
        self._tell_of_hole(report)
        settled = min(self._settled.values())
        self._silences = [
            silence for silence in self._silences if silence.until > settled
        ]
        self._store.async_delay_save(self._to_store, _STORE_DELAY)

    def _tell_of_hole(self, report: Report) -> None:
        """Raise an issue if the logger has forgotten a time without live readings."""
        if (begins := report.logger_begins) is None:
            return
        lost = [s for s in self._silences if s.since + HOUR < min(s.until, begins)]
        if not lost:
            return
        since = min(silence.since for silence in lost)
        until = min(max(silence.until for silence in lost), begins)
        self._lost_hours.add(since, until)

    async def _async_guarded(
        self,
        window: Window,
        targets: Sequence[Target],
        mode: Mode = Mode.FILL,
        dry_run: bool = False,
    ) -> Report:
        """Run a back-fill, one at a time, and show how far it is."""
        if self._is_running:
            raise _invalid("already_running", meter=self.name)
        self._is_running = True
        self._show(BackfillState.RUNNING, 0)
        state = BackfillState.FAILED
        try:
            report = await self._async_fill(window, targets, mode, dry_run)
            state = BackfillState.COMPLETE
        except asyncio.CancelledError:
            state = BackfillState.IDLE
            raise
        except MeterWithoutLogger as err:
            state = BackfillState.NOT_SUPPORTED
            raise self._meter.failure(err, HomeAssistantError) from err
        except MeterError as err:
            raise self._meter.failure(err, HomeAssistantError) from err
        finally:
            self._is_running = False
            complete = state is BackfillState.COMPLETE
            self._show(state, 100 if complete else self.data.percent)
        self.report = report
        return report

    async def _async_fill(
        self, window: Window, targets: Sequence[Target], mode: Mode, dry_run: bool
    ) -> Report:
        offset = self._meter.data.clock_offset or timedelta()
        if abs(offset) > _CLOCK_LIMIT:
            raise HomeAssistantError(
                translation_domain=DOMAIN,
                translation_key="clock_off",
                translation_placeholders={
                    "meter": self.name,
                    **self._meter.clocks(),
                },
            )
        await self._async_learn_names()
        begin = self.hass.loop.time()
        latest = dt_util.utcnow() + abs(offset) + _TOLERANCE
        backfill = Backfill(
            self.hass,
            self._meter.client,
            self._serial_number,
            self._statistic_of,
            latest=int(latest.timestamp()),
            partial=frozenset(_hours_of(self._silences)),
            mode=mode,
            dry_run=dry_run,
            on_progress=self._show_progress,
        )
        await backfill.async_run(window, targets)
        if not dry_run:
            self._log(backfill.report, self.hass.loop.time() - begin)
        for error in backfill.report.failed.values():
            raise error
        return backfill.report

    def _log(self, report: Report, seconds: float) -> None:
        outcomes = report.statistics.values()
        written = sum(outcome.written for outcome in outcomes)
        corrected = sum(outcome.corrected for outcome in outcomes)
        level = LOGGER.info if written or corrected else LOGGER.debug
        level(
            "%s: %s records read, %s refused; in %s statistics %s hours written and"
            " %s corrected within %.0f s",
            self.name,
            report.records,
            report.refused.total(),
            len(outcomes),
            written,
            corrected,
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
            if not async_is_recorded(self.hass, found):
                return None
            statistic_id, name = found, None
        return Statistic(
            statistic_id, quantity.unit, quantity.decimals, target.is_register, name
        )

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
            "settled": {key: _iso(at) for key, at in self._settled.items()},
            "outages": [[_iso(at) for at in silence] for silence in self._silences],
            "units": {key: units[each] for key, each in ids.items() if each in units},
            "report": self.report and _report_diagnostics(self.report, ids),
        }

    def _to_store(self) -> dict[str, Any]:
        return {
            "settled": self._settled,
            "silences": [[silence.since, silence.until] for silence in self._silences],
        }

    @override
    async def async_shutdown(self) -> None:
        """Keep what is settled, unless it was never recalled."""
        await super().async_shutdown()
        if self._is_started:
            await self._store.async_save(self._to_store())


@callback
def backfill_store(hass: HomeAssistant, entry: ConfigEntry) -> EntryStore:
    """Return where it outlives a restart up to when statistics are settled."""
    return entry_store(
        hass,
        entry,
        "backfill",
        shape(settled={str: int}, silences=[vol.ExactSequence([int, int])]),
    )


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


def _hours_of(silences: Iterable[Silence]) -> Iterable[int]:
    for silence in silences:
        yield from range(silence.since // HOUR * HOUR, silence.until, HOUR)


def _report_diagnostics(report: Report, ids: dict[str, str]) -> dict[str, Any]:
    return {
        "records": report.records,
        "refused": dict(report.refused),
        "status": report.status,
        "first": _iso(report.first),
        "last": _iso(report.last),
        "logger_begins": _iso(report.logger_begins),
        "until": _iso(report.until),
        "statistics": {
            key: asdict(report.statistics[statistic_id])
            for key, statistic_id in ids.items()
            if statistic_id in report.statistics
        },
    }


def _iso(at: int | None) -> str | None:
    return None if at is None else dt_util.utc_from_timestamp(at).isoformat()
