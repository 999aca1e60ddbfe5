"""The back-fill of one meter as it is in a Home Assistant, without a network."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
import json
from types import SimpleNamespace
from typing import cast, override

from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.backfill.coordinator import BackfillCoordinator
from custom_components.emu_professional.backfill.ledger import Ledger
from custom_components.emu_professional.backfill.prices import CostSource
from custom_components.emu_professional.backfill.recorder import Statistic
from custom_components.emu_professional.backfill.report import Report, Window
from custom_components.emu_professional.backfill.targets import TARGETS, Target
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.coordinator import EmuCoordinator
from custom_components.emu_professional.emu.errors import MeterError
from custom_components.emu_professional.outages import Outage
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError

from .world import Line


def _failure(err: MeterError, error: type[HomeAssistantError]) -> HomeAssistantError:
    return error(str(err))


class Automatic(BackfillCoordinator):
    """What fills the statistics of one meter, and remembers what is settled."""

    def __init__(
        self,
        hass: HomeAssistant,
        serial_number: str,
        statistic_of: Callable[[Target], Statistic | None],
        cost: CostSource,
    ) -> None:
        """Begin with nothing settled; imported energy has a cost."""
        self._cost = cost
        self._readings = SimpleNamespace(
            serial_number=serial_number,
            data=SimpleNamespace(clock_offset=timedelta()),
            client=None,
            failure=_failure,
            clocks=lambda offset: {},
        )
        self._found = statistic_of
        entry = MockConfigEntry(domain=DOMAIN)
        super().__init__(hass, entry, cast("EmuCoordinator", self._readings))

    def reach(self, line: Line) -> None:
        """Ask the meter's logger on a line."""
        self._readings.client = line

    def clock_is_ahead(self, seconds: int | None) -> None:
        """Let the readings have this clock, or none."""
        offset = None if seconds is None else timedelta(seconds=seconds)
        self._readings.data.clock_offset = offset

    def note(self, since: int, until: int) -> None:
        """Note a time in which the meter was not observed."""
        self._ledger.note([Outage(since, until)])

    def forget_outages(self) -> None:
        """Know of no outage."""
        self._ledger.outages.clear()

    def restart(self) -> None:
        """Recall what is settled, as after a restart of Home Assistant."""
        self._ledger = Ledger.from_dict(json.loads(json.dumps(self._ledger.as_dict())))
        self._reconciled = self._compared = self._checked = None

    async def async_compare(self, targets: Sequence[Target], *, is_daily: bool) -> None:
        """Compare what is not settled; once a day all that is settled as well."""
        if is_daily:
            self._checked = None
        await self._async_fill_unsettled(targets)

    @override
    async def _async_learn_names(self) -> None:
        """Have no translations."""

    @override
    async def _async_costs(self) -> Mapping[str, Sequence[CostSource]]:
        """Have no energy dashboard."""
        (target,) = (t for t in TARGETS if t.key == "energy_import")
        statistic = self._found(target)
        return {statistic.statistic_id: [self._cost]} if statistic else {}

    @override
    def _save_soon(self) -> None:
        """Have no file."""

    @override
    def _report_lost_hours(self, window: Window, report: Report) -> None:
        """Raise no issue."""

    @override
    def _statistic_of(self, target: Target) -> Statistic | None:
        return self._found(target)
