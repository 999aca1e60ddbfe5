"""Values of the meter: registers, momentary values, extremes of them."""

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Registers:
    """The energy registers, whole Wh and varh (chapter "CSV-File Structure", 5-12)."""

    active_import_t1: int = 0
    active_import_t2: int = 0
    active_export_t1: int = 0
    active_export_t2: int = 0
    reactive_import_t1: int = 0
    reactive_import_t2: int = 0
    reactive_export_t1: int = 0
    reactive_export_t2: int = 0

    @property
    def active_import(self) -> int:
        """Total import in Wh: the sum of T1 and T2 as shown."""
        return self.active_import_t1 + self.active_import_t2

    @property
    def active_export(self) -> int:
        """Total export in Wh: the sum of T1 and T2 as shown."""
        return self.active_export_t1 + self.active_export_t2


class Phases(NamedTuple):
    """One value per phase."""

    l1: int
    l2: int
    l3: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Momentary:
    """The momentary values of a step (chapter "CSV-File Structure", 13-28).

    Active power, current and power factor are negative while a phase exports.
    """

    active_power: Phases
    """W"""
    reactive_power: Phases
    """var, positive is inductive and counted as import"""
    current: Phases
    """mA"""
    current_n: int
    """mA, without sign"""
    voltage: Phases
    """0.1 V"""
    power_factor: Phases
    """0.01, -100 to 100"""
    frequency: int
    """0.1 Hz"""

    @property
    def active_power_total(self) -> int:
        """Sum of the phases, W."""
        return sum(self.active_power)

    @property
    def reactive_power_total(self) -> int:
        """Sum of the phases, var."""
        return sum(self.reactive_power)

    @property
    def current_total(self) -> int:
        """Sum of the phases, mA."""
        return sum(self.current)

    def columns(self) -> tuple[int, ...]:
        """Return the values in the order of `load.COLUMNS`."""
        return (
            *self.active_power,
            self.active_power_total,
            *self.reactive_power,
            self.reactive_power_total,
            *self.current,
            self.current_total,
            *self.voltage,
            *self.power_factor,
            self.frequency,
            self.current_n,
        )


class Extreme(NamedTuple):
    """A lowest or highest value, and the first time it was shown."""

    value: int
    at: int
    """Epoch second, UTC, true time."""


class Extremes(NamedTuple):
    """Minimum and maximum of every column of `load.COLUMNS`, in its order."""

    minima: tuple[Extreme, ...]
    maxima: tuple[Extreme, ...]

    def joined(self, later: Extremes) -> Extremes:
        """Return the extremes of both; of equal values the earlier one stays."""
        return Extremes(
            tuple(
                new if new.value < old.value else old
                for old, new in zip(self.minima, later.minima, strict=True)
            ),
            tuple(
                new if new.value > old.value else old
                for old, new in zip(self.maxima, later.maxima, strict=True)
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The displayed registers and momentary values of one moment."""

    at: int
    """Epoch second, UTC, true time; a multiple of 5."""
    registers: Registers
    momentary: Momentary


class Span(NamedTuple):
    """A span of true time, epoch seconds."""

    begin: int
    end: int
