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
from custom_components.emu_professional.backfill.schedule import Schedule
from custom_components.emu_professional.backfill.statistic_ids import MeterStatistics
from custom_components.emu_professional.backfill.targets import TARGETS, Target
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.coordinator import EmuCoordinator
from custom_components.emu_professional.emu.errors import MeterError
from custom_components.emu_professional.lost_hours import LostHours
from custom_components.emu_professional.outages import Outage
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError

from .world import Line


def _failure(err: MeterError, error: type[HomeAssistantError]) -> HomeAssistantError:
    return error(str(err))


class _Statistics(MeterStatistics):
    """The statistics of one meter, without a registry of entities."""

    def __init__(
        self,
        targets: Sequence[Target],
        statistic_of: Callable[[Target], Statistic | None],
    ) -> None:
        """Have some quantities only."""
        self.targets = targets
        self._statistic_of = statistic_of

    @override
    def of(self, target: Target) -> Statistic | None:
        return self._statistic_of(target)

    @override
    async def async_learn_names(self) -> None:
        """Have no translations."""


class _LostHours(LostHours):
    """Raises no issue."""

    @override
    def add(self, since: int, until: int) -> None:
        """Raise none."""

    @override
    def remove(self, since: int, until: int) -> None:
        """Delete none."""


class Automatic(BackfillCoordinator):
    """What fills the statistics of one meter, and remembers what is settled."""

    def __init__(
        self,
        hass: HomeAssistant,
        serial_number: str,
        targets: Sequence[Target],
        statistic_of: Callable[[Target], Statistic | None],
        cost: CostSource,
    ) -> None:
        """Begin with nothing settled; imported energy has a cost."""
        self._cost = cost
        self._readings = SimpleNamespace(
            hass=hass,
            name="meter",
            serial_number=serial_number,
            data=SimpleNamespace(clock_offset=timedelta()),
            client=None,
            failure=_failure,
            clocks=lambda offset: {},
        )
        entry = MockConfigEntry(domain=DOMAIN)
        super().__init__(
            hass,
            entry,
            cast("EmuCoordinator", self._readings),
            _Statistics(targets, statistic_of),
        )
        self.keeper.lost_hours = _LostHours(hass, entry)

    def reach(self, line: Line) -> None:
        """Ask the meter's logger on a line."""
        self._readings.client = line

    def clock_is_ahead(self, seconds: int | None) -> None:
        """Let the readings have this clock, or none."""
        offset = None if seconds is None else timedelta(seconds=seconds)
        self._readings.data.clock_offset = offset

    def note(self, since: int, until: int) -> None:
        """Note a time in which the meter was not observed."""
        self.keeper.ledger.note([Outage(since, until)])

    @property
    def outages(self) -> list[tuple[int, int]]:
        """Return the times of which it is noted that the meter was not observed."""
        return [(since, until) for since, until in self.keeper.ledger.outages]

    def forget_outages(self) -> None:
        """Know of no outage."""
        self.keeper.ledger.outages.clear()

    def restart(self) -> None:
        """Recall what is settled, as after a restart of Home Assistant."""
        stored = json.loads(json.dumps(self.keeper.ledger.as_dict()))
        self.keeper.ledger = Ledger.from_dict(stored)
        self.automatic.schedule = Schedule()

    async def async_compare(self, *, is_daily: bool) -> None:
        """Compare what is not settled; once a day all that is settled as well."""
        if is_daily:
            self.automatic.schedule.verified = None
        await self.automatic.async_fill_unsettled(self.statistics.targets)

    @override
    async def _async_costs(self) -> Mapping[str, Sequence[CostSource]]:
        """Have no energy dashboard."""
        (target,) = (t for t in TARGETS if t.key == "energy_import")
        statistic = self.statistics.of(target)
        return {statistic.statistic_id: [self._cost]} if statistic else {}
