"""What there is of a meter while its config entry is loaded."""

from dataclasses import dataclass

from homeassistant.config_entries import ConfigEntry

from .backfill.coordinator import BackfillCoordinator
from .coordinator import EmuCoordinator

type EmuConfigEntry = ConfigEntry[EmuRuntime]


@dataclass(frozen=True, slots=True)
class EmuRuntime:
    """The two things that go on with a meter: live readings and back-fill."""

    meter: EmuCoordinator
    backfill: BackfillCoordinator
