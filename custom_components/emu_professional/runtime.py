"""What there is of a meter while its config entry is loaded."""

from dataclasses import dataclass, field

from homeassistant.config_entries import ConfigEntry

from .action_queue import ActionQueue
from .backfill.coordinator import BackfillCoordinator
from .coordinator import EmuCoordinator
from .demand_coordinator import DemandCoordinator
from .meter_log import LogbookCoordinator

type EmuConfigEntry = ConfigEntry[EmuRuntime]


@dataclass(frozen=True, slots=True)
class EmuRuntime:
    """What goes on with a meter: live readings, back-fill, its logs, demand."""

    meter: EmuCoordinator
    backfill: BackfillCoordinator
    logbook: LogbookCoordinator
    demand: DemandCoordinator
    actions: ActionQueue = field(default_factory=ActionQueue)
    """Lets the actions that read the meter wait for each other."""
