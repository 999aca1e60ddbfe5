"""The data logger: the load profile as a pure function of time and history.

Nothing is stored. A record is computed on request, from the same registers and powers
as the meter's live values (see `measuring.py`).
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

import numpy as np

from . import load
from .history import History, Status
from .load import Counts
from .measuring import Metrology
from .values import Registers

FIFTEEN_MINUTES = 15
THREE_YEARS = 3 * 365 * 96
LONGEST_DELAY = 84
"""Seconds after its stamp at which a record of a real meter was readable.

It may have been readable before: there is one observation only.
"""
_FIRST_INDICES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggerConfig:
    """Configuration of a logger, including the gaps of the manual."""

    interval: int = FIFTEEN_MINUTES
    """Minutes between two records at first, 1 to 60."""
    depth: int = THREE_YEARS
    """Capacity in records, 1 or more; a full logger overwrites its oldest record."""
    first_index: int | None = None
    """Of the first record ever; None: derived from the serial number."""
    delay: int = LONGEST_DELAY
    """Longest time from a record's stamp until it is readable, in seconds."""
    means: bool = True
    """Power and current are means of the interval, else momentary values at its end."""
    signed: bool = True
    """Power and current are negative on export, else without sign."""


class Record(NamedTuple):
    """One record, its fields in the order of the chapter "CSV-File Structure"."""

    stamp: int
    """End of the interval by the meter's clock, epoch second, UTC."""
    index: int  # type: ignore[assignment]
    """Hides `tuple.index`, not used here."""
    status: int
    """Bits, see `history.Status`."""
    serial_number: str
    active_import_t1: int
    """Wh, like all active energies"""
    active_import_t2: int
    active_export_t1: int
    active_export_t2: int
    reactive_import_t1: int
    """varh, like all reactive energies"""
    reactive_import_t2: int
    reactive_export_t1: int
    reactive_export_t2: int
    active_power: int
    """W, of all phases"""
    active_power_l1: int
    active_power_l2: int
    active_power_l3: int
    current: int
    """mA, of all phases"""
    current_l1: int
    current_l2: int
    current_l3: int
    current_n: int
    voltage_l1: int
    """0.1 V"""
    voltage_l2: int
    voltage_l3: int
    power_factor_l1: int
    """0.01"""
    power_factor_l2: int
    power_factor_l3: int
    frequency: int
    """0.1 Hz"""

    @property
    def registers(self) -> Registers:
        """The energy registers."""
        return Registers(**dict(zip(_REGISTERS, self[4:12], strict=True)))


_REGISTERS = tuple(Registers.__dataclass_fields__)


class Block(NamedTuple):
    """Successive records, column by column."""

    stamps: Counts
    """Epoch seconds of the meter's clock, UTC."""
    indices: Counts
    status: Counts
    serial_numbers: list[str]
    measured: Counts
    """A row for each further field of `Record`."""

    def columns(self) -> list[list[int] | list[str]]:
        """Return a list for each field of `Record`."""
        return [
            self.stamps.tolist(),
            self.indices.tolist(),
            self.status.tolist(),
            self.serial_numbers,
            *self.measured.tolist(),
        ]


_NOTHING = np.zeros(0, dtype=np.int64)
_EMPTY = Block(
    *(_NOTHING, _NOTHING, _NOTHING, []),
    np.zeros((len(Record._fields) - 4, 0), dtype=np.int64),
)


class Module(NamedTuple):
    """The meter of the logger until a moment."""

    until: int
    """Epoch second, true time, of the move to the next meter."""
    serial_number: str
    metrology: Metrology


class Logger:
    """Computes the records of all times, also of the future."""

    def __init__(
        self,
        config: LoggerConfig,
        history: History,
        modules: Sequence[Module],
        logbook_full: int,
    ) -> None:
        """Initialize for the meters of `modules`, the present one last.

        Records after the epoch second `logbook_full` have bit 7.
        """
        if config.depth < 1:
            raise ValueError(f"A logger holds a record or more, not {config.depth}")
        self.config = config
        self.first_index = _first_index(config, modules[-1].serial_number)
        """Of the first record ever."""
        self._history = history
        self._modules = modules
        self._logbook_full = logbook_full
        installed = modules[0].metrology.installed
        self._runs = list(_runs(history, installed))
        self._run_rows = np.array(self._runs, dtype=np.int64).T
        self._flags = self._numbered_flags(installed)
        starts = [installed, *(end for _, end in history.failures)]
        starts += [module.until for module in modules[:-1]]
        self._starts = np.array(sorted(starts), dtype=np.int64)

    def made_index(self, at: int) -> int:
        """Return the index of the last record made at an epoch second of true time.

        It is `first_index` - 1 while there is none.
        """
        return self.first_index - 1 + self._count(at)

    def newest_index(self, at: int) -> int:
        """Return the index of the last readable record at an epoch second.

        It is `first_index` - 1 while there is none.
        """
        newest = self.made_index(at)
        while newest >= self.first_index and self.readable_at(newest) > at:
            newest -= 1
        return newest

    def oldest_index(self, at: int) -> int:
        """Return the index of the oldest existing record at an epoch second."""
        oldest = self.newest_index(at) - self.config.depth + 1
        return max(self.first_index, oldest)

    def recorded_at(self, index: int) -> int:
        """Return the time of a record, epoch second, true time."""
        number = index - self.first_index
        run = self._runs[bisect_right(self._runs, number, key=_number) - 1]
        return run.begin + (number - run.number) * run.interval

    def readable_at(self, index: int) -> int:
        """Return the time at which a record becomes readable, epoch second."""
        # Knuth's multiplicative hash: as good as random, and always the same.
        delay = (index * 2_654_435_761 % 2**32 >> 8) % (self.config.delay + 1)
        return self.recorded_at(index) + delay

    def records(self, first: int, last: int) -> list[Record]:
        """Return the records of two indices and all between them."""
        columns = self.block(first, last).columns()
        return list(map(Record._make, zip(*columns, strict=True)))

    def block(self, first: int, last: int) -> Block:
        """Return the records of two indices and all between them, column by column."""
        if first < self.first_index:
            raise IndexError(f"There is no record {first}")
        if last < first:
            return _EMPTY
        indices = np.arange(first, last + 1)
        numbers = indices - self.first_index
        ats, offsets = self._times(numbers)
        serial_numbers, measured = self._measured(self._begins(numbers, ats), ats)
        return Block(
            ats + offsets,
            indices,
            self._status(numbers, ats),
            serial_numbers,
            measured,
        )

    def _count(self, at: int) -> int:
        run = bisect_right(self._runs, at, key=_begin) - 1
        if run < 0:
            return 0
        begin, number, interval, _, length = self._runs[run]
        return number + min(length, (at - begin) // interval + 1)

    def _times(self, numbers: Counts) -> tuple[Counts, Counts]:
        begins, first_numbers, intervals, offsets, _ = self._run_rows
        runs = np.searchsorted(first_numbers, numbers, side="right") - 1
        ats = begins[runs] + (numbers - first_numbers[runs]) * intervals[runs]
        return ats, offsets[runs]

    def _begins(self, numbers: Counts, ats: Counts) -> Counts:
        # An interval begins with the record before it, or with the power.
        before, _ = self._times(np.maximum(numbers - 1, 0))
        started = self._starts[np.searchsorted(self._starts, ats) - 1]
        return np.where(numbers > 0, np.maximum(before, started), started)

    def _numbered_flags(self, installed: int) -> Counts:
        flags: dict[int, int] = {}
        for at, bit in self._history.flags:
            # A power failure before the installation is not the meter's.
            if at > installed or (at == installed and bit != Status.POWER_FAILURE):
                number = self._count(at)
                flags[number] = flags.get(number, 0) | bit
        return np.array(sorted(flags.items()), dtype=np.int64).reshape(-1, 2).T

    def _status(self, numbers: Counts, ats: Counts) -> Counts:
        status = np.zeros(len(numbers), dtype=np.int64)
        flagged, bits = self._flags
        window = slice(*np.searchsorted(flagged, (numbers[0], numbers[-1] + 1)))
        status[flagged[window] - numbers[0]] = bits[window]
        for begin, end in self._history.unsynchronized:
            span = slice(*np.searchsorted(ats, (begin, end), side="right"))
            status[span] |= Status.NO_SYNCHRONIZATION
        status[ats > self._logbook_full] |= Status.LOGBOOK_FULL
        return status

    def _measured(self, begins: Counts, ats: Counts) -> tuple[list[str], Counts]:
        serial_numbers: list[str] = []
        rows = []
        untils = [module.until for module in self._modules[:-1]]
        moves = np.searchsorted(ats, untils, side="right").tolist()
        borders = [0, *moves, len(ats)]
        for module, (begin, end) in zip(self._modules, pairwise(borders), strict=True):
            if begin < end:
                serial_numbers += [module.serial_number] * (end - begin)
                span = slice(begin, end)
                rows.append(self._rows(module.metrology, begins[span], ats[span]))
        return serial_numbers, np.concatenate(rows, axis=1)

    def _rows(self, metrology: Metrology, begins: Counts, ats: Counts) -> Counts:
        shown = metrology.momentary_rows(ats)
        if self.config.means:
            means = metrology.mean_rows(begins, ats)
        else:
            means = shown[_AVERAGED]
        if not self.config.signed:
            means = abs(means)
        return np.concatenate((metrology.register_rows(ats), means, shown[_SHOWN]))


class _Run(NamedTuple):
    """Records in equal intervals, without a change of the clock."""

    begin: int
    """Epoch second of the first one, true time."""
    number: int
    """Of the first one, from 0 on."""
    interval: int
    """Seconds"""
    offset: int
    """The meter's clock minus true time, in seconds."""
    length: int
    """Number of records"""


def _begin(run: _Run) -> int:
    return run.begin


def _number(run: _Run) -> int:
    return run.number


def _runs(history: History, installed: int) -> Iterator[_Run]:
    number = 0
    for begin, end, offset, interval in history.stretches(installed):
        length = (end + offset) // interval - (begin + offset) // interval
        if length:
            first = begin + interval - (begin + offset) % interval
            yield _Run(first, number, interval, offset, length)
            number += length


def _first_index(config: LoggerConfig, serial_number: str) -> int:
    if config.first_index is None:
        return crc32(serial_number.encode()) % _FIRST_INDICES
    return config.first_index


def _columns_of(*names: str) -> list[int]:
    return [load.COLUMNS.index(name) for name in names]


_AVERAGED = _columns_of(*load.AVERAGED)
_SHOWN = _columns_of("u_L1", "u_L2", "u_L3", "pf_L1", "pf_L2", "pf_L3", "f_L123")
