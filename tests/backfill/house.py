"""A Home Assistant with a simulated meter, and a clock for both."""

from datetime import UTC, datetime, timedelta
from math import inf
from typing import Literal

from freezegun.api import FrozenDateTimeFactory
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
    do_adhoc_statistics,
)
from yarl import URL

from custom_components.emu_professional.backfill.coordinator import BackfillCoordinator
from custom_components.emu_professional.backfill.report import EVERYTHING, Mode, Report
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.logs import Record
from homeassistant.components.recorder.statistics import (
    StatisticsRow,
    statistics_during_period,
)
from homeassistant.core import HomeAssistant
from homeassistant.helpers.recorder import get_instance
from simulator.clock import ManualClock
from simulator.history import ClockSet
from simulator.web import MeterServer
from tests.conftest import SERIAL_NUMBER


def worst(errors: dict[int, float]) -> float:
    """Return the largest error."""
    return max(map(abs, errors.values()))


# Later than the run of statistics with which a recorder starts.
NOW = datetime(2060, 6, 1, 9, 40, tzinfo=UTC)
DAYS = 2
"""How long most meters have logged: rows cost most of a test's time."""
INSTALLED = NOW - timedelta(days=DAYS)
LONG_AGO = NOW - timedelta(days=5)
PERIOD = timedelta(minutes=5)
EXACT = 0.01
A_POLL = 20
DEVICE = f"sensor.emu_professional_ii_{SERIAL_NUMBER}"
EXTERNAL = f"{DOMAIN}:{SERIAL_NUMBER}"
IMPORT = f"{DEVICE}_energy_import"
SENSORS = {
    IMPORT: "active_import",
    f"{IMPORT}_t1": "active_import_t1",
    f"{DEVICE}_energy_export": "active_export",
}
"""A total, a register that stands still at times, and one that does so by night."""
REGISTERS = SENSORS | {
    f"{IMPORT}_t2": "active_import_t2",
    f"{DEVICE}_energy_export_t1": "active_export_t1",
    f"{DEVICE}_energy_export_t2": "active_export_t2",
    f"{EXTERNAL}_reactive_energy_import_t1": "reactive_import_t1",
    f"{EXTERNAL}_reactive_energy_import_t2": "reactive_import_t2",
    f"{EXTERNAL}_reactive_energy_export_t1": "reactive_export_t1",
    f"{EXTERNAL}_reactive_energy_export_t2": "reactive_export_t2",
}
FEW = frozenset(
    {
        *("energy_import", "energy_import_t1", "energy_export"),
        *("active_power", "voltage_l1", "frequency"),
        *("reactive_energy_import_t1", "current_n"),
    }
)
"""Statistics of each kind."""


class House:
    """A Home Assistant with a meter; the test moves their clock."""

    def __init__(
        self,
        hass: HomeAssistant,
        freezer: FrozenDateTimeFactory,
        clock: ManualClock,
        server: MeterServer,
        entry: MockConfigEntry,
        installed: datetime = INSTALLED,
    ) -> None:
        """Begin now."""
        self.installed = installed
        self.hass = hass
        self.server = server
        self.entry = entry
        self.now = NOW
        self._polled: datetime | None = None
        self._freezer = freezer
        self.clock = clock

    @property
    def backfill(self) -> BackfillCoordinator:
        """Return the back-fill of the meter."""
        backfill: BackfillCoordinator = self.entry.runtime_data.backfill
        return backfill

    def move_to(self, at: datetime) -> None:
        """Let time pass at once."""
        self._freezer.move_to(at)
        self.clock.advance(at.timestamp() - self.clock.now())
        self.now = at

    async def compile(self, start: datetime) -> None:
        """Let the recorder compile five minutes."""
        await async_wait_recording_done(self.hass)
        do_adhoc_statistics(self.hass, start=start)
        await async_wait_recording_done(self.hass)

    async def load(self) -> None:
        """Set up the meter and let it be filled."""
        assert await self.hass.config_entries.async_setup(self.entry.entry_id)
        await self.settle()

    async def settle(self) -> None:
        """Wait for all tasks."""
        await self.hass.async_block_till_done(wait_background_tasks=True)
        await async_wait_recording_done(self.hass)

    async def live(self, periods: int) -> None:
        """Let five minutes pass some times, with a poll at both ends."""
        for _ in range(periods):
            start = self.now
            for at in (start + timedelta(seconds=1), start + PERIOD):
                self.move_to(
                    at - timedelta(seconds=1) if at > start + PERIOD / 2 else at
                )
                await self._poll()
            self.move_to(start + PERIOD)
            await self.compile(start)
            # A run takes seconds: on a busy machine it must not take hours.
            await self.settle()

    async def lose_clock(self) -> None:
        """Let the meter show no clock and be two hours slow, for half an hour."""
        meter = self.server.meter
        for document in (meter.override, meter.status_override):
            document["meterdatetime"] = 0
        await self.entry.runtime_data.meter.async_refresh()
        meter.happens(ClockSet(int(self.now.timestamp()), -2 * HOUR))
        await self.live(6)

    async def _poll(self) -> None:
        """Poll the meter, as if it had been polled since its last observation."""
        meter = self.entry.runtime_data.meter
        if meter._answered == self._polled:
            meter._observed = self.now
        self._polled = self.now
        await meter.async_refresh()
        await self.hass.async_block_till_done()

    async def unload(self) -> None:
        """Unload the meter, as at the end of Home Assistant."""
        assert await self.hass.config_entries.async_unload(self.entry.entry_id)
        await self.settle()

    def records(self) -> list[Record]:
        """Return what the logger holds."""
        meter = self.server.meter
        return [
            Record(stamp, index, status, serial_number, tuple(values))
            for stamp, index, status, serial_number, *values in meter.records(
                0, meter.newest_index
            )
        ]

    def asked(self) -> list[int]:
        """Return with which indices the logger was asked for records."""
        paths = [URL(request.path) for request in self.server.requests]
        return [int(p.query["from"]) for p in paths if "from" in p.query]

    async def pass_hour(self) -> None:
        """Let the clock strike, for what happens every hour."""
        async_fire_time_changed(self.hass, self.now)
        await self.settle()

    async def fill(self, mode: Mode = Mode.FILL, *, dry_run: bool = False) -> Report:
        """Fill everything."""
        report = await self.backfill.async_run(EVERYTHING, mode, dry_run=dry_run)
        await self.settle()
        return report

    async def rows(
        self, statistic_id: str, period: Literal["5minute", "hour"] = "hour"
    ) -> dict[int, StatisticsRow]:
        """Return the rows of a statistic by their start."""
        found = await get_instance(self.hass).async_add_executor_job(
            lambda: statistics_during_period(
                self.hass,
                self.installed,
                None,
                {statistic_id},
                period,
                {"energy": "Wh", "reactive_energy": "varh"},
                {"change", "last_reset", "mean", "min", "max", "state", "sum"},
            )
        )
        return {int(row["start"]): row for row in found.get(statistic_id, [])}

    async def errors(self, statistic_id: str, register: str) -> dict[int, float]:
        """Return by how much each hour's bar is wrong, in Wh."""
        rows = await self.rows(statistic_id)
        first = int(self.installed.timestamp()) // HOUR * HOUR + HOUR
        errors = {}
        for start in range(first, int(self.now.timestamp()) // HOUR * HOUR, HOUR):
            begin, end = (
                getattr(self.server.meter.registers(at), register)
                for at in (start, start + HOUR)
            )
            change = rows[start]["change"] if start in rows else 0
            errors[start] = (change or 0) - (end - begin)
        return errors

    async def worst_error(self, *, until: datetime | None = None) -> float:
        """Return by how much a bar of any sensor is wrong at most, in Wh.

        Only hours that begin before a time count, if one is given: live ones after
        it are short of what the last poll did not see.
        """
        end = until.timestamp() if until else inf
        errors = [await self.errors(*sensor) for sensor in SENSORS.items()]
        return max(
            worst({start: error for start, error in one.items() if start < end})
            for one in errors
        )
