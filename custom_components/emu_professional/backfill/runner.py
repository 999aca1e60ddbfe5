"""Runs the back-fill of one meter, one run at a time, and reports its progress."""

import asyncio
from collections.abc import Callable

from homeassistant.core import CoreState
from homeassistant.exceptions import HomeAssistantError

from ..const import LOGGER
from ..coordinator import EmuCoordinator
from ..emu.errors import LoggerOfAnotherMeter, MeterError, MeterWithoutLogger
from ..failures import invalid
from ..outages import Outages
from .chosen_costs import CostChoice, async_chosen_costs
from .follow_costs import CostFollower, FindSources
from .follow_part import Destination
from .hour_reader import MeterLogger
from .ledger_keeper import LedgerKeeper
from .meter_clock import async_clock_offset, latest_stamp
from .progress import BackfillProgress, BackfillState
from .recorder import UnitNotConvertible, async_compiled_until, has_recorder
from .report import Report, Request, Window
from .run import Backfill
from .statistic_ids import MeterStatistics
from .times import whole_hour


class BackfillRunner:
    """Runs the back-fill of one meter.

    `find_costs` returns the cost entities of the energy dashboard. `on_progress` is
    called with each change of the progress. `report` is the report of the last run.
    """

    def __init__(
        self,
        meter: EmuCoordinator,
        statistics: MeterStatistics,
        keeper: LedgerKeeper,
        find_costs: FindSources,
        on_progress: Callable[[BackfillProgress], None],
    ) -> None:
        """Initialize a runner without a run."""
        self.progress = BackfillProgress(BackfillState.IDLE)
        self.is_running = False
        self.report: Report | None = None
        self.foreign_serial_number: str | None = None
        """The serial number of another meter, if it has logged all the records."""
        self._hass = meter.hass
        self._meter = meter
        self._statistics = statistics
        self._keeper = keeper
        self._find_costs = find_costs
        self._on_progress = on_progress

    def check_ready(self) -> None:
        """Raise ServiceValidationError if no run can begin now."""
        if not has_recorder(self._hass):
            raise invalid("no_recorder")
        # Until then the recorder catches up, and a row of ours would end that.
        if self._hass.state is not CoreState.running:
            raise invalid("not_started")
        self._check_idle()

    def _check_idle(self) -> None:
        if self.is_running:
            raise invalid("already_running", meter=self._meter.name)

    async def async_run(
        self, request: Request, *, seals_were_checked: bool = False
    ) -> Report:
        """Run a back-fill, settle its hours, and return its report.

        `seals_were_checked`: the rows around the window were compared with their
        seals before, as no run at an owner's request does.
        Raises ServiceValidationError during another run, and
        HomeAssistantError if the run fails; whatever was written until then is right.
        """
        self._check_idle()
        self.is_running = True
        self._show(BackfillState.RUNNING, 0)
        state = BackfillState.FAILED
        try:
            report = await self._async_fill(request)
            self.foreign_serial_number = None
            if not request.dry_run:
                await self._keeper.async_settle(
                    request, report, seals_were_checked=seals_were_checked
                )
            if not report.failed and not self._keeper.has_refused:
                state = BackfillState.COMPLETE
        except asyncio.CancelledError:
            # The entry is unloaded: nothing has failed.
            state = BackfillState.IDLE
            raise
        except MeterWithoutLogger as err:
            # A meter that is starting may not know a page yet that it had before.
            if not self._keeper.ledger.settled:
                state = BackfillState.NOT_SUPPORTED
            raise self._meter.failure(err, HomeAssistantError) from err
        except LoggerOfAnotherMeter as err:
            self.foreign_serial_number = err.serial_number
            raise self._meter.failure(err, HomeAssistantError) from err
        except MeterError as err:
            raise self._meter.failure(err, HomeAssistantError) from err
        finally:
            self.is_running = False
            is_complete = state is BackfillState.COMPLETE
            self._show(state, 100 if is_complete else self.progress.percent)
        self.report = report
        _raise_first(report)
        return report

    async def async_fill_costs(
        self, window: Window, choice: CostChoice, *, dry_run: bool
    ) -> Report:
        """Give the compiled hours of a window their costs, and return the report.

        Raises ServiceValidationError during another run or if nothing has a price, and
        HomeAssistantError if it fails.
        """
        self.check_ready()
        self.is_running = True
        try:
            energies = self._statistics.registers().values()
            chosen = await async_chosen_costs(
                self._hass, self._meter.name, energies, choice
            )
            compiled = await async_compiled_until(self._hass) or 0
            window = Window(window.since, min(window.until, whole_hour(compiled)))
            report = Report()
            follower = CostFollower(
                self._hass, self._find_costs, report, dry_run=dry_run
            )
            for energy, source in chosen:
                await follower.async_fill(energy, source, window)
        finally:
            self.is_running = False
        _raise_first(report)
        return report

    async def _async_fill(self, request: Request) -> Report:
        offset = await async_clock_offset(self._meter)
        await self._statistics.async_learn_names()
        begin = self._hass.loop.time()
        # The sign does not matter: the limit just has to be generous.
        latest = latest_stamp(abs(offset))
        logger = MeterLogger(
            self._meter.client,
            self._meter.serial_number,
            latest,
            self.foreign_serial_number,
        )
        destination = Destination(
            self._statistics.of,
            self._find_costs,
            Outages(self._keeper.ledger.outages),
            clock_off=abs(offset.total_seconds()),
        )
        backfill = Backfill(self._hass, logger, destination, request, self._show_share)
        await backfill.async_run()
        if not request.dry_run:
            seconds = self._hass.loop.time() - begin
            self._log(backfill.report, seconds)
        return backfill.report

    def _log(self, report: Report, seconds: float) -> None:
        outcomes = report.statistics.values()
        written = sum(outcome.written for outcome in outcomes)
        corrected = sum(outcome.corrected for outcome in outcomes)
        periods = sum(outcome.periods for outcome in outcomes)
        # Each hour there is a run that has only something to compare.
        log = LOGGER.info if written or corrected or periods else LOGGER.debug
        log(
            "%s: %s records read, %s refused; in %s statistics %s hours written and"
            " %s corrected, %s five-minute rows written, within %.0f s",
            self._meter.name,
            report.records,
            report.rejected.total(),
            len(outcomes),
            written,
            corrected,
            periods,
            seconds,
        )

    def _show_share(self, share: float) -> None:
        self._show(BackfillState.RUNNING, int(100 * share))

    def _show(self, state: BackfillState, percent: int | None) -> None:
        progress = BackfillProgress(state, percent)
        if progress != self.progress:
            self.progress = progress
            self._on_progress(progress)


def _raise_first(report: Report) -> None:
    """Raise the error of the first failed statistic, if there is one.

    Another error than an inconvertible unit comes first: that one may go away by itself.
    """
    errors = report.failed.values()
    for error in sorted(errors, key=lambda err: isinstance(err, UnitNotConvertible)):
        raise error
