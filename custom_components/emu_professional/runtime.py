"""Runtime data of a config entry."""

from dataclasses import dataclass, field

from .action_queue import ActionQueue
from .backfill.coordinator import BackfillCoordinator
from .coordinator import EmuCoordinator
from .demand_coordinator import DemandCoordinator
from .meter_log import LogbookCoordinator


@dataclass(frozen=True, slots=True)
class EmuRuntime:
    """The coordinators of a meter."""

    meter: EmuCoordinator
    backfill: BackfillCoordinator
    logbook: LogbookCoordinator
    demand: DemandCoordinator
    actions: ActionQueue = field(default_factory=ActionQueue)
    """Queue of the actions with many requests to the meter."""
