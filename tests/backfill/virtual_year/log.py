"""The contents of a data logger."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from custom_components.emu_professional.backfill.targets import Target
from custom_components.emu_professional.backfill.times import HOUR
from simulator.history import Status
from simulator.logger import Record
from simulator.meter import Meter
from simulator.values import Registers

from .steps import PERIOD

MEASUREMENTS: Final = ("active_power", "voltage_l1")


@dataclass(frozen=True)
class Log:
    """The contents of the logger, found out without the integration."""

    known: Mapping[int, Registers]
    """Registers at full hours, by the meter's clock, as if they had never restarted."""
    last: Mapping[int, Registers]
    """The same of the last record in an hour, by its end, whatever the clock was."""
    odd: frozenset[int]
    """Full hours before which its clock was wrong."""
    hours: Mapping[int, Mapping[str, tuple[float, float, float]]]
    """Mean, minimum and maximum of measurements in hours that are logged wholly."""
    periods: Mapping[int, Mapping[str, tuple[float, float, float]]]
    """The same of five minutes."""
    since: int
    """Beginning of the first hour of which anything is known."""
    until: int
    """End of the last whole hour."""


def read_log(
    meter: Meter,
    logged: Callable[[int], Registers],
    levels: Callable[[int], Registers],
    latest: int,
) -> Log:
    """Return the contents of a meter's logger now, of records until a time.

    `logged` returns the registers of a record at a time, as if the module had always
    stayed in the meter; `levels` also as if they had never restarted.
    """
    records = meter.records()
    own = [
        record
        for record in records
        if record.serial_number == meter.config.serial_number and record.stamp <= latest
    ]
    clean = _clean(own)
    times = {
        record.stamp: meter.logger.recorded_at(record.index)
        for record in clean
        if record.stamp % HOUR == 0
    }
    for record in clean:
        if record.stamp in times:
            assert record.registers == logged(times[record.stamp])
    return Log(
        known={stamp: levels(at) for stamp, at in times.items()},
        last={
            end_of_hour(record.stamp): levels(meter.logger.recorded_at(record.index))
            for record in own
        },
        odd=frozenset(
            end_of_hour(record.stamp)
            for record in own
            if record.stamp != meter.logger.recorded_at(record.index)
        ),
        hours=_measured(own, {record.index for record in clean}, HOUR),
        periods=_measured(own, {record.index for record in clean}, PERIOD),
        since=(min(record.stamp for record in own) - 1) // HOUR * HOUR if own else 0,
        until=records[-1].stamp // HOUR * HOUR if own else 0,
    )


def end_of_hour(at: int) -> int:
    """Return the end of the hour that ends then, or next."""
    return -(-at // HOUR) * HOUR


def register_of(target: Target, registers: Registers) -> int:
    """Return a target's register among those of a meter."""
    name = target.key.replace("reactive_energy", "reactive").replace("energy", "active")
    value: int = getattr(registers, name)
    return value


def _clean(records: Sequence[Record]) -> list[Record]:
    """Return the records with stamps after all earlier ones and before all later ones."""
    highest, lowest = 0, 1 << 40
    rising = []
    for record in records:
        rising.append(record.stamp > highest)
        highest = max(highest, record.stamp)
    clean = []
    for record, is_rising in zip(reversed(records), reversed(rising), strict=True):
        if is_rising and record.stamp < lowest:
            clean.append(record)
        lowest = min(lowest, record.stamp)
    return clean[::-1]


def _measured(
    records: Sequence[Record], clean: set[int], step: int
) -> dict[int, dict[str, tuple[float, float, float]]]:
    parts: dict[int, list[tuple[int, Record]]] = {}
    for before, record in pairwise(records):
        if (
            record.status & (Status.TIME_CHANGED | Status.POWER_FAILURE)
            or record.index != before.index + 1
            or not {before.index, record.index} <= clean
        ):
            continue
        for start in range(before.stamp // step * step, record.stamp, step):
            begin, end = max(before.stamp, start), min(record.stamp, start + step)
            parts.setdefault(start, []).append((end - begin, record))
    return {
        start: {key: _mean(key, inside) for key in MEASUREMENTS}
        for start, inside in parts.items()
        if sum(seconds for seconds, _ in inside) == step
    }


def _mean(key: str, parts: Sequence[tuple[int, Record]]) -> tuple[float, float, float]:
    values = [(seconds, getattr(record, key)) for seconds, record in parts]
    return (
        sum(seconds * value for seconds, value in values)
        / sum(seconds for seconds, _ in values),
        min(value for _, value in values),
        max(value for _, value in values),
    )
