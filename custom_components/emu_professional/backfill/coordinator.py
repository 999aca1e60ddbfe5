"""The back-fill of one meter as the rest of the integration sees it."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, override

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator

from ..config_entry import EmuConfigEntry
from ..const import CONF_COSTS, LOGGER
from ..coordinator import EmuCoordinator
from .automatic import AutomaticBackfill
from .chosen_costs import CostChoice
from .ledger_keeper import LedgerKeeper
from .prices import CostSource, async_cost_sources
from .progress import BackfillProgress
from .recorder import Statistic, async_stored_units, has_recorder
from .report import EVERYTHING, Mode, Report, Request, Window, shown_time
from .runner import BackfillRunner
from .statistic_ids import MeterStatistics


class BackfillCoordinator(DataUpdateCoordinator[BackfillProgress]):
    """Fills the statistics of one meter from its data logger.

    `automatic` does so by itself, the methods at an owner's request. `data` is the
    progress.
    """

    config_entry: EmuConfigEntry

    def __init__(
        self,
        hass: HomeAssistant,
        entry: EmuConfigEntry,
        meter: EmuCoordinator,
        statistics: MeterStatistics | None = None,
    ) -> None:
        """Initialize the back-fill of a config entry's meter."""
        super().__init__(hass, LOGGER, config_entry=entry, name=entry.title)
        self.statistics = statistics or MeterStatistics(hass, entry)
        self.keeper = LedgerKeeper(hass, entry, self.statistics)
        self.runner = BackfillRunner(
            meter,
            self.statistics,
            self.keeper,
            self._async_costs,
            self.async_set_updated_data,
        )
        self.automatic = AutomaticBackfill(
            entry, meter, self.runner, self.keeper, self.statistics
        )
        self.data = self.runner.progress

    @property
    def report(self) -> Report | None:
        """The report of the last run."""
        return self.runner.report

    @property
    def foreign_serial_number(self) -> str | None:
        """The serial number of another meter, if it has logged all the records."""
        return self.runner.foreign_serial_number

    async def async_start(self) -> None:
        """Load the ledger, and start the automatic back-fill."""
        await self.keeper.async_start()
        self.automatic.async_start()

    @callback
    def async_fill_now(self) -> None:
        """Start a run over everything in the logger, in the background.

        Raises ServiceValidationError if no run can begin now.
        """
        self.runner.check_ready()
        self.config_entry.async_create_background_task(
            self.hass, self._async_fill_everything(), f"{self.name} fill"
        )

    async def _async_fill_everything(self) -> None:
        try:
            await self.async_run(EVERYTHING)
        except HomeAssistantError as err:
            # Nobody waits for a run in the background.
            LOGGER.warning("%s: %s", self.name, err)

    async def async_run(
        self, window: Window, mode: Mode = Mode.FILL, *, dry_run: bool = False
    ) -> Report:
        """Fill the hours of a window, and return the report.

        Raises ServiceValidationError if no run can begin now, and HomeAssistantError
        if the run fails; whatever was written until then is right.
        """
        self.runner.check_ready()
        return await self.runner.async_run(
            Request(window, self.statistics.targets, mode, dry_run)
        )

    async def async_fill_costs(
        self,
        window: Window,
        price: float | None = None,
        cost_ids: Collection[str] = (),
        *,
        dry_run: bool = False,
    ) -> Report:
        """Give the hours of a window their costs, at a price per kWh or the dashboard's.

        A price is for the costs named, or for all but compensations. Raises
        ServiceValidationError if nothing has a price or no run can begin now, and
        HomeAssistantError if it fails.
        """
        return await self.runner.async_fill_costs(
            window, CostChoice(price, cost_ids), dry_run=dry_run
        )

    @callback
    def register_statistics(self) -> dict[str, Statistic]:
        """Return the existing statistics of registers, by quantity."""
        return self.statistics.registers()

    async def async_diagnostics(self) -> dict[str, Any]:
        """Return the state of the back-fill for diagnostics, without the meter's name.

        Statistics are named by their keys, because their IDs contain the serial number.
        """
        ids: dict[str, str] = {}
        units: dict[str, str | None] = {}
        if has_recorder(self.hass):
            existing = self.statistics.existing()
            ids = {key: statistic.statistic_id for key, statistic in existing.items()}
            # Without the database an owner needs the rest all the more.
            with suppress(HomeAssistantError):
                units = await async_stored_units(self.hass, ids.values())
        schedule, ledger = self.automatic.schedule, self.keeper.ledger
        return {
            "state": self.data.state,
            "percent": self.data.percent,
            "is_automatic": self.automatic.is_enabled,
            "is_due": schedule.is_due,
            "last_failed": self.automatic.has_failed,
            "reconciled": schedule.completed and schedule.completed.isoformat(),
            "settled": {key: shown_time(at) for key, at in ledger.settled.items()},
            "outages": [[shown_time(at) for at in outage] for outage in ledger.outages],
            "units": {key: units[each] for key, each in ids.items() if each in units},
            "report": self.report and self.report.as_diagnostics(ids),
        }

    @override
    async def async_shutdown(self) -> None:
        """Save the ledger."""
        await super().async_shutdown()
        await self.keeper.async_stop()

    async def _async_costs(self) -> Mapping[str, Sequence[CostSource]]:
        """Return the costs of the energy dashboard, unless the owner wants none filled."""
        if not self.config_entry.options.get(CONF_COSTS, True):
            return {}
        return await async_cost_sources(self.hass)
