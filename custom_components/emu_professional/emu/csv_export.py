"""Records of the data logger as a table of comma-separated values.

One line for each record, in the units of their quantities: what a spreadsheet reads,
where the meter's own table (chapter "CSV-File Structure of the data logger") has whole
numbers of last digits. Pure: no I/O.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo

from .logs import COLUMNS, LoggerStatus, Record
from .registers import Quantity

type Columns = Sequence[tuple[int, Quantity]]
"""Chosen quantities with their positions in `Record.values`."""


def columns(keys: Iterable[str]) -> Columns:
    """Return the columns with these keys in the logger's order; all, if there are none."""
    chosen = set(keys)
    return tuple(
        (position, quantity)
        for position, quantity in enumerate(COLUMNS)
        if not chosen or quantity.key in chosen
    )


def header(columns: Columns) -> str:
    """Return the first line: names of the fields, with their units."""
    names = [
        f"{quantity.key} [{quantity.unit}]" if quantity.unit else quantity.key
        for _, quantity in columns
    ]
    return ",".join(["time", "index", "status", "serial_number", *names]) + "\n"


def line(record: Record, columns: Columns, zone: tzinfo) -> str:
    """Return the line of a record; its time is in a time zone, with its offset."""
    fields = [
        datetime.fromtimestamp(record.at, zone).isoformat(),
        str(record.index),
        " ".join(status_names(record.status)),
        record.serial_number,
    ]
    fields += [
        f"{record.values[position] / 10**quantity.decimals:.{quantity.decimals}f}"
        for position, quantity in columns
    ]
    return ",".join(fields) + "\n"


def status_names(status: int) -> list[str]:
    """Return the names of status bits, without those that the manual does not name."""
    return [
        name.lower() for name, bit in LoggerStatus.__members__.items() if status & bit
    ]
