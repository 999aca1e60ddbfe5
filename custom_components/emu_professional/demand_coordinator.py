"""Demand of a meter, from its data logger or from live readings."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, override

from homeassistant.core import CoreState, HomeAssistant, callback
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator
from homeassistant.util import dt as dt_util

from .backfill.logger_reader import LoggerReader
from .backfill.meter_clock import is_near, latest_stamp
from .backfill.times import HOUR
from .config_entry import EmuConfigEntry
from .const import LOGGER
from .coordinator import EmuCoordinator
from .demand import (
    LAST,
    LOGGED,
    PEAKS,
    LoggedDemand,
    Peaks,
    peaks_as_dict,
    peaks_from_dict,
)
from .emu.errors import MeterError
from .emu.logs import Record
from .emu.new_records import LOGGER_SIZE, PAGE
from .emu.readings import Readings
from .intervals import (
    Interval,
    LiveIntervals,
    expected,
    imported,
    month_begin,
    month_of,
    next_month,
)
from .meter_log import LogbookCoordinator
from .storage import EntryStore, entry_store, shape

_STORE_DELAY: Final = 60
_WATT_HOURS: Final = 1000
_REGISTER: Final = "energy_import"
_POWER: Final = "active_power"


@dataclass(frozen=True, slots=True)
class DemandData:
    """Demand of a meter; None for an unknown value."""

    last: Interval | None = None
    """The last complete interval."""
    this_month: Interval | None = None
    """The interval with the highest demand of this month."""
    last_month: Interval | None = None
    """The interval with the highest demand of last month."""


class DemandCoordinator(DataUpdateCoordinator[DemandData]):
    """Has the last interval's demand, and the peaks of this month and last month.

    A data logger is read once for both months. After that `LogbookCoordinator` hands
    over each new record. Live readings serve for the expected demand of the running
    interval; without a logger, also for the last interval and the peaks.
    """

    config_entry: EmuConfigEntry

    def __init__(
        self,
        hass: HomeAssistant,
        entry: EmuConfigEntry,
        meter: EmuCoordinator,
        logbook: LogbookCoordinator,
    ) -> None:
        """Initialize the coordinator of a config entry."""
        super().__init__(hass, LOGGER, config_entry=entry, name=f"{entry.title} demand")
        self.data = DemandData()
        self._meter = meter
        self._logbook = logbook
        self._live = LiveIntervals()
        self._readings = Readings(clock=None, values={})
        self._read_at = 0
        """Time of these readings by the meter's clock."""
        self._was_available = True
        self._changes_at = 0.0
        """Time of the next change without another interval, by the meter's clock."""
        self._is_reading = False
        self._is_loaded = False
        self._store = demand_store(hass, entry)
        self._zone = dt_util.get_default_time_zone()
        self._logged = LoggedDemand(self._meter.serial_number, self._zone)
        self._observed = Peaks(self._zone)
        self._last_observed: Interval | None = None

    async def async_start(self) -> None:
        """Load the stored state, and follow the meter."""
        if stored := await self._store.async_load():
            self._logged = LoggedDemand.from_dict(
                stored["logged"], self._meter.serial_number, self._zone
            )
            self._observed = peaks_from_dict(stored["observed"], self._zone)
            if stored["last_observed"] is not None:
                self._last_observed = Interval(*stored["last_observed"])
        self._is_loaded = True
        entry = self.config_entry
        self._follow_readings()
        self._show()
        entry.async_on_unload(self._meter.async_add_listener(self._follow_readings))
        entry.async_on_unload(self._logbook.async_add_listener(self._follow_logger))

    @property
    def expected(self) -> float | None:
        """Expected demand of the running interval in kW."""
        readings, at = self._readings, self._read_at
        register, power = (readings.values.get(key) for key in (_REGISTER, _POWER))
        begin = self._running_since(self._live.begin_of(at))
        if (
            begin is None
            or _REGISTER in readings.rejected
            or not isinstance(register, Decimal)
            or not isinstance(power, Decimal)
        ):
            return None
        energy = float(register) * _WATT_HOURS
        return expected(begin, self._live.seconds, at, energy, float(power))

    @callback
    def _follow_readings(self) -> None:
        """Follow the running interval at each poll."""
        meter = self._meter
        readings = meter.data.readings
        if readings is not self._readings:
            self._readings = readings
            self._follow_register(readings)
        if meter.last_update_success is not self._was_available:
            self._was_available = meter.last_update_success
            self.async_update_listeners()

    def _follow_register(self, readings: Readings) -> None:
        clock = readings.clock or dt_util.utcnow()
        self._read_at = at = int(clock.timestamp())
        register = readings.values.get(_REGISTER)
        if isinstance(register, Decimal) and _REGISTER not in readings.rejected:
            interval = self._live.feed(
                at, self.hass.loop.time(), float(register) * _WATT_HOURS
            )
            if interval is not None:
                self._last_observed = interval
                self._observed.add(interval)
                self._save_soon()
                self._show()
        if at >= self._changes_at:
            self._show()

    def _running_since(self, begin: int) -> tuple[int, float] | None:
        """Return the begin of the running interval and the register there, in Wh."""
        record = self._logged.record
        if record is not None and record.at == begin:
            return begin, imported(record)
        observed = self._live.begin
        return observed if observed and observed[0] == begin else None

    @callback
    def _follow_logger(self) -> None:
        """Take the new records; read missing ones in the background."""
        # The new records stay queued until the read in progress has ended.
        if self._is_reading:
            return
        # In another time zone the months begin at other times: they are read again. What
        # was observed can't be; it stays, as it does if Home Assistant restarts.
        if (zone := dt_util.get_default_time_zone()) != self._zone:
            self._zone = self._observed.zone = zone
            self._logged = LoggedDemand(self._meter.serial_number, zone)
        records = self._logbook.take_logger_records()
        newest = self._logbook.newest_record
        # By a clock far off, all records would be of the future and skipped for good, or
        # none would. They are read once it is right again.
        if newest is not None and is_near(self._meter.data.clock_offset):
            position = self._logged.position
            # Without a gap after the position, the new records are enough.
            if position is None or not records or records[0].index > position + 1:
                records = []
            if 0 < len(records) <= PAGE:
                self._logged.feed(records, self._latest())
                self._save_soon()
                records = []
            if self._logged.position != newest.index:
                self._read_soon(records)
        self._show()

    @callback
    def _read_soon(self, records: Sequence[Record]) -> None:
        """Take many new records, and read missing ones, unless the meter is busy."""
        is_running = self.hass.state is CoreState.running
        if is_running and not self._meter.is_being_updated:
            self._is_reading = True
            self.config_entry.async_create_background_task(
                self.hass, self._async_read(records), f"{self.name} look"
            )

    async def _async_read(self, records: Sequence[Record]) -> None:
        """Take new records, and read the missing ones of this month and last month.

        If a request fails, the next look continues from there.
        """
        try:
            if records:
                await self._async_feed(records)
                self._save_soon()
            newest = self._logbook.newest_record
            if newest is None or self._logged.position != newest.index:
                await self._async_read_unknown()
        except MeterError as err:
            # The coordinator of the readings reports a failing meter to its owner.
            LOGGER.debug("%s: %s", self.name, err)
        finally:
            self._is_reading = False
        self._show()

    async def _async_read_unknown(self) -> None:
        reader = LoggerReader(self._meter.client)
        newest = await reader.newest()
        if newest is None:
            return
        if self._begins_again(newest):
            self._logged.restart()
        position, last = self._logged.position, newest.index
        first = 0 if position is None else position + 1
        if last < first:
            return
        # Of years of records only two months are needed, and the record before them:
        # it has the initial register of their first interval.
        if last - first >= LOGGER_SIZE:
            months = next_month(month_of(self._meter_time(), self._zone), -1)
            since = month_begin(months, self._zone) - HOUR
            # Its stamp is wrong if the clock was right only after it. A later record
            # shows where the two months begin.
            if newest.at <= since:
                return
            first = max(first, await reader.first_after(since, newest) - 1)
        async for page in reader.pages(first, last):
            await self._async_feed(page.records)
        self._logged.read_until(last)
        self._save_soon()

    async def _async_feed(self, records: Sequence[Record]) -> None:
        # 3000 records take a tenth of a second: too long for the event loop.
        self._logged = await self.hass.async_add_executor_job(
            self._logged.fed, records, self._latest()
        )

    def _begins_again(self, newest: Record) -> bool:
        """Return whether the logger was erased: a later record has a lower index."""
        position, known = self._logged.position, self._logged.record
        if position is None or newest.index >= position:
            return False
        # If the last lines of an answer are damaged, an earlier record seems newest.
        return known is None or newest.at > known.at

    def _latest(self) -> int:
        return latest_stamp(self._meter.data.clock_offset)

    def _meter_time(self) -> float:
        """Return the time of the meter's clock, or ours if it has none."""
        ahead = self._meter.data.clock_offset
        now = dt_util.utcnow().timestamp()
        return now if ahead is None else now + ahead.total_seconds()

    @callback
    def _show(self) -> None:
        """Update the data, and the time of its next change."""
        now = self._meter_time()
        month = month_of(now, self._zone)
        # Logged intervals have precedence: they include those of an outage.
        known, peaks = [self._last_observed], self._observed
        if self._logged.position is not None:
            known, peaks = [self._logged.last, *known], self._logged.peaks
        if (record := self._logged.record) is not None:
            self._live.follow(record.at, self._logged.seconds)
        self._changes_at = month_begin(next_month(month), self._zone)
        fresh = [each for each in known if each and now < each.fresh_until]
        last = fresh[0] if fresh else None
        if last is not None:
            self._changes_at = min(self._changes_at, last.fresh_until)
        data = DemandData(
            last,
            peaks.by_month.get(month),
            peaks.by_month.get(next_month(month, -1)),
        )
        if data != self.data:
            self.async_set_updated_data(data)

    @callback
    def diagnostics(self) -> dict[str, Any]:
        """Return the demand; nothing in it names the meter."""
        return {
            "has_logger": self._logged.position is not None,
            "interval": self._live.seconds,
            "peaks": peaks_as_dict(self._logged.peaks),
            "observed_peaks": peaks_as_dict(self._observed),
        }

    @callback
    def _save_soon(self) -> None:
        self._store.async_delay_save(self._to_store, _STORE_DELAY)

    def _to_store(self) -> dict[str, Any]:
        return {
            "logged": self._logged.as_dict(),
            "observed": peaks_as_dict(self._observed),
            "last_observed": self._last_observed,
        }

    @override
    async def async_shutdown(self) -> None:
        """Store the state, unless it was never loaded."""
        await super().async_shutdown()
        if self._is_loaded:
            await self._store.async_save(self._to_store())


@callback
def demand_store(hass: HomeAssistant, entry: EmuConfigEntry) -> EntryStore:
    """Return the store of a meter's demand."""
    return entry_store(
        hass,
        entry,
        "demand",
        shape(logged=LOGGED, observed=PEAKS, last_observed=LAST),
    )
