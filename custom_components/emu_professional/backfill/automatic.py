"""Compares the statistics of one meter with its data logger when it is due."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from homeassistant.core import CoreState, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers.event import async_track_utc_time_change
from homeassistant.helpers.singleton import singleton
from homeassistant.helpers.start import async_at_started
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey

from ..config_entry import EmuConfigEntry
from ..const import CONF_AUTOMATIC, DOMAIN, LOGGER
from ..coordinator import EmuCoordinator
from ..emu.errors import MeterError
from ..outages import Outage
from .ledger_keeper import LedgerKeeper
from .progress import BackfillState
from .recorder import UnitNotConvertible, async_caught_up, has_recorder
from .report import EVERYTHING
from .runner import BackfillRunner
from .schedule import Schedule, hourly_at
from .statistic_ids import MeterStatistics
from .targets import Target

_AT_A_TIME: Final = 4
"""Meters that are compared at the same time: they share one recorder."""

_CATCH_UP_PAUSE: Final = 10
_CATCH_UP_LIMIT: Final = 3000
"""Seconds to wait for the recorder; after that the next hour is soon enough."""

_SLOTS: Final[HassKey[asyncio.Semaphore]] = HassKey(f"{DOMAIN}.backfill_slots")


class AutomaticBackfill:
    """Compares the statistics of one meter with its logger, and fills the differences.

    `schedule` decides when. Only hours not settled yet, and settled months with changed
    rows, are read from the logger again.
    """

    def __init__(
        self,
        entry: EmuConfigEntry,
        meter: EmuCoordinator,
        runner: BackfillRunner,
        keeper: LedgerKeeper,
        statistics: MeterStatistics,
    ) -> None:
        """Initialize the automatic back-fill of a config entry's meter."""
        self.schedule = Schedule()
        self.is_enabled = False
        self.is_comparing = False
        self.has_failed = False
        """Whether the last comparison failed: that is logged once."""
        self._hass = meter.hass
        self._entry = entry
        self._meter = meter
        self._runner = runner
        self._keeper = keeper
        self._statistics = statistics

    @callback
    def async_start(self) -> None:
        """Note outages from now on, and compare after the start and every hour."""
        entry = self._entry
        self.is_enabled = entry.options.get(CONF_AUTOMATIC, True)
        self.is_enabled &= has_recorder(self._hass)
        # Outages are noted even if nothing is automatic: it may be switched on later.
        entry.async_on_unload(self._meter.async_watch_outages(self._note_outage))
        if not self.is_enabled:
            return
        entry.async_on_unload(async_at_started(self._hass, self._started))
        minute, second = hourly_at(self._meter.turn)
        entry.async_on_unload(
            async_track_utc_time_change(
                self._hass, self._every_hour, minute=minute, second=second
            )
        )

    @callback
    def _note_outage(self, outage: Outage) -> None:
        self._keeper.note(outage)
        self.schedule.is_due = True
        is_polled = not self._entry.pref_disable_polling
        if self.schedule.is_worth_comparing(
            outage, dt_util.utcnow(), is_polled=is_polled
        ):
            self._compare_soon(self._statistics.targets)

    @callback
    def _started(self, hass: HomeAssistant) -> None:
        self._compare_soon(self._statistics.targets)

    @callback
    def _every_hour(self, now: datetime) -> None:
        is_all = self.schedule.is_all_due(now)
        # No sensor observes the external quantities: every hour is missing.
        statistics = self._statistics
        self._compare_soon(statistics.targets if is_all else statistics.external)

    @callback
    def _compare_soon(self, targets: Sequence[Target]) -> None:
        is_started = self._hass.state is CoreState.running
        is_busy = self.is_comparing or self._runner.is_running
        # During an update of its firmware the meter must not be asked for records.
        is_busy |= self._meter.is_being_updated
        if self.is_enabled and is_started and not is_busy:
            self.is_comparing = True
            self._entry.async_create_background_task(
                self._hass,
                self._async_fill_in_slot(targets),
                f"{self._meter.name} back-fill",
            )

    async def _async_fill_in_slot(self, targets: Sequence[Target]) -> None:
        try:
            # After a start all meters of the house are due at the same moment.
            async with _slots(self._hass):
                if await self._async_recorder_is_ready():
                    await self._async_fill_and_note(targets)
        finally:
            self.is_comparing = False

    async def _async_recorder_is_ready(self) -> bool:
        """Wait until the recorder has caught up; return whether it has in time."""
        end = self._hass.loop.time() + _CATCH_UP_LIMIT
        while not await self._async_has_caught_up():
            if self._hass.loop.time() > end:
                return False
            await asyncio.sleep(_CATCH_UP_PAUSE)
        return True

    async def _async_has_caught_up(self) -> bool:
        try:
            return await async_caught_up(self._hass)
        except HomeAssistantError:
            # The server of the database may be restarting.
            return False

    async def _async_fill_and_note(self, targets: Sequence[Target]) -> None:
        """Fill all unsettled hours, and log the first failure in a row."""
        schedule = self.schedule
        is_all = len(targets) == len(self._statistics.targets)
        schedule.compared = dt_util.utcnow()
        if self._has_no_logger() and not (
            # The meter may have got a data logger by another firmware.
            is_all and schedule.is_daily_due(dt_util.utcnow())
        ):
            return
        try:
            await self.async_fill_unsettled(targets)
        except ServiceValidationError:
            # Somebody's own run is under way: the next hour is soon enough.
            return
        except HomeAssistantError as err:
            if not self.has_failed:
                LOGGER.warning(
                    "%s: statistics were not filled: %s", self._meter.name, err
                )
            self.has_failed = True
            if self._has_no_logger():
                schedule.completed = dt_util.utcnow()
            if not isinstance(err, UnitNotConvertible):
                return
        else:
            # The reason of a refused statistic was logged.
            self.has_failed = self._keeper.has_refused
        if is_all:
            schedule.completed = dt_util.utcnow()
            schedule.is_due = self._keeper.is_open

    def _has_no_logger(self) -> bool:
        return self._runner.progress.state is BackfillState.NOT_SUPPORTED

    async def async_fill_unsettled(self, targets: Sequence[Target]) -> None:
        """Fill all unsettled hours, newest first; raise the first error at the end.

        A statistic with an inconvertible unit is tried once a day, and prevents nothing.
        """
        error: HomeAssistantError | None = None
        is_daily = self.schedule.is_verification_due(dt_util.utcnow())
        is_all = len(targets) == len(self._statistics.targets)
        if not is_daily:
            targets = [t for t in targets if t.key not in self._keeper.refused]
        verified_since = 0 if is_daily else self._keeper.open_months(targets)
        unsettled = await self._keeper.async_unsettled(targets, verified_since)
        for request in unsettled:
            try:
                await self._runner.async_run(request, seals_were_checked=True)
            except ServiceValidationError:
                raise
            except HomeAssistantError as err:
                if error is None or isinstance(error, UnitNotConvertible):
                    error = err
                # A meter that does not answer won't do so for the other windows.
                if isinstance(err.__cause__, MeterError):
                    break
        if error is not None and not isinstance(error, UnitNotConvertible):
            raise error
        if any(request.window.until != EVERYTHING.until for request in unsettled):
            # A repair has shifted the rows of later months, which were verified too.
            await self._keeper.async_seal(targets, verified_since)
        if verified_since == 0 and is_all:
            self.schedule.verified = dt_util.utcnow()
        if error is not None:
            raise error


@singleton(_SLOTS)
@callback
def _slots(hass: HomeAssistant) -> asyncio.Semaphore:
    """Return the semaphore of all meters of the house."""
    return asyncio.Semaphore(_AT_A_TIME)
