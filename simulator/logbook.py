"""The logbook: changes of the clock and of logged settings.

Nothing is stored: the changes are in the meter's history, and the registers of their
moment are computed on request.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import NamedTuple

from .history import History
from .logger import Logger, Module
from .tables import MOST_LOGBOOK_RECORDS

type Field = int | str


class Unchanged(Enum):
    """Content of "pre change(if)" and "time stamp after change" without a change."""

    REPEATED = auto()
    """The same value again, as the manual's example has it."""
    EMPTY = auto()
    ZERO = auto()
    """0, and 1970-01-01T00:00:00Z as time stamp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogbookConfig:
    """Configuration of a logbook, including the gaps of the manual.

    The manual has a status bit for a full logbook, but leaves open what follows. By
    default nothing more is written, as usual for changes relevant to billing: a ring
    buffer is never full, and would lose a change.
    """

    depth: int = MOST_LOGBOOK_RECORDS
    """Capacity in records, 1 or more; with the last one it is full."""
    overwrites: bool = False
    """Whether a full logbook overwrites its oldest record."""
    first_index: int = 1
    """Of the first record ever."""
    unchanged: Unchanged = Unchanged.REPEATED


class LogbookRecord(NamedTuple):
    """One record, its fields in the order of the chapter "CSV-File Structure"."""

    stamp: int
    """The meter's clock before the change, epoch second, UTC."""
    stamp_after: int
    """The meter's clock after the change."""
    index: int  # type: ignore[assignment]
    """Hides `tuple.index`, not used here."""
    serial_number: str
    active_import_t1: int
    """Wh, like all active energies"""
    active_import_t2: int
    active_export_t1: int
    active_export_t2: int
    load_profile_index: int
    """Of the next record of the data logger, with the status bit of the change."""
    ct_primary: int
    """A, like all of the current transformers"""
    ct_primary_before: int
    ct_secondary: int
    ct_secondary_before: int
    vt_primary: int
    """V, like all of the voltage transformers"""
    vt_primary_before: int
    vt_secondary: int
    vt_secondary_before: int
    s0_pulse_value: int
    """Impulses per kWh"""
    s0_pulse_value_before: int
    s0_pulse_width: int
    """ms"""
    s0_pulse_width_before: int


_FIRST_SETTING = LogbookRecord._fields.index("ct_primary")


class Logbook:
    """Computes the logbook records of all times, also of the future.

    Changes of the same second are one record.
    """

    def __init__(
        self, config: LogbookConfig, history: History, modules: Sequence[Module]
    ) -> None:
        """Initialize for the meters of `modules`, the present one last."""
        if config.depth < 1:
            raise ValueError(f"A logbook holds a record or more, not {config.depth}")
        self.config = config
        self._history = history
        self._modules = modules
        self._moments = _moments(history, modules[0].metrology.installed)
        self.full_since = history.logbook_full
        """First epoch second of a full logbook."""
        if len(self._moments) >= config.depth:
            filled = self._moments[config.depth - 1]
            self.full_since = min(filled, self.full_since)
        if not config.overwrites:
            written = bisect_left(self._moments, history.logbook_full)
            del self._moments[min(written, config.depth) :]

    def newest_index(self, at: int) -> int:
        """Return the index of the last record at an epoch second of true time.

        It is `first_index` - 1 while there is none.
        """
        return self.config.first_index - 1 + bisect_right(self._moments, at)

    def oldest_index(self, at: int) -> int:
        """Return the index of the oldest existing record at an epoch second."""
        oldest = self.newest_index(at) - self.config.depth + 1
        return max(self.config.first_index, oldest)

    def records(self, first: int, last: int, logger: Logger) -> list[LogbookRecord]:
        """Return the records of two indices and all between them."""
        if first < self.config.first_index:
            raise IndexError(f"There is no record {first}")
        return [self._record(index, logger) for index in range(first, last + 1)]

    def _record(self, index: int, logger: Logger) -> LogbookRecord:
        history = self._history
        at = self._moments[index - self.config.first_index]
        module = self._module(at)
        registers = module.metrology.registers(at)
        before, actual = history.logged_settings(at - 1), history.logged_settings(at)
        return LogbookRecord(
            stamp=at + history.offset(at - 1),
            stamp_after=at + history.offset(at),
            index=index,
            serial_number=module.serial_number,
            active_import_t1=registers.active_import_t1,
            active_import_t2=registers.active_import_t2,
            active_export_t1=registers.active_export_t1,
            active_export_t2=registers.active_export_t2,
            load_profile_index=logger.made_index(at) + 1,
            ct_primary=actual.ct_primary,
            ct_primary_before=before.ct_primary,
            ct_secondary=actual.ct_secondary,
            ct_secondary_before=before.ct_secondary,
            vt_primary=actual.vt_primary,
            vt_primary_before=before.vt_primary,
            vt_secondary=actual.vt_secondary,
            vt_secondary_before=before.vt_secondary,
            s0_pulse_value=actual.s0_pulse_value,
            s0_pulse_value_before=before.s0_pulse_value,
            s0_pulse_width=actual.s0_pulse_width,
            s0_pulse_width_before=before.s0_pulse_width,
        )

    def _module(self, at: int) -> Module:
        # In the second of a move the record comes first, like those of the logger.
        untils = [module.until for module in self._modules[:-1]]
        return self._modules[bisect_left(untils, at)]


def printed(record: LogbookRecord, unchanged: Unchanged) -> list[Field]:
    """Return the fields of a line."""
    stamps: list[Field] = [_stamp(record.stamp), _stamp(record.stamp_after)]
    if record.stamp == record.stamp_after:
        stamps[1] = _without_change(stamps[0], _stamp(0), unchanged)
    fields = [*stamps, *record[2:]]
    for actual in range(_FIRST_SETTING, len(fields), 2):
        if fields[actual] == fields[actual + 1]:
            fields[actual + 1] = _without_change(fields[actual], 0, unchanged)
    return fields


def _without_change(value: Field, zero: Field, unchanged: Unchanged) -> Field:
    match unchanged:
        case Unchanged.REPEATED:
            return value
        case Unchanged.EMPTY:
            return ""
        case Unchanged.ZERO:
            return zero


def _stamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moments(history: History, installed: int) -> list[int]:
    moments = {change.at for change in history.offsets}
    moments |= {change.at for change in history.settings_changes}
    return sorted(at for at in moments if at >= installed)
