"""The JSON documents and the page of the manual's chapter "Access via HTTP"."""

from collections.abc import Mapping
from html import escape
import json
from typing import NamedTuple

from .load import COLUMNS
from .values import Extremes, Snapshot

type Json = str | int | float | bool | list[Json] | dict[str, Json] | None
type Document = dict[str, Json | Literal]


class Literal(NamedTuple):
    """Verbatim text in a document, for numbers beyond Python's types."""

    text: str


_THREE_DECIMALS, _TWO_DECIMALS, _ONE_DECIMAL = 3, 2, 1
_DECIMALS = {
    "p": _THREE_DECIMALS,
    "q": _THREE_DECIMALS,
    "i": _THREE_DECIMALS,
    "u": _ONE_DECIMAL,
    "pf": _TWO_DECIMALS,
    "f": _ONE_DECIMAL,
}
_SUM_FIRST = ("L123", "L1", "L2", "L3")
_SUM_LAST = ("L1", "L2", "L3", "L123")
_EACH_PHASE = ("L1", "L2", "L3")
_SUM_ONLY = ("L123",)

_MOMENTARY = (
    ("p", _SUM_FIRST),
    ("q", _SUM_FIRST),
    ("i", _SUM_FIRST),
    ("u", _EACH_PHASE),
    ("pf", _EACH_PHASE),
    ("f", _SUM_ONLY),
)
_EXTREMES = (
    ("p", "max", _SUM_LAST),
    ("p", "min", _SUM_LAST),
    ("q", "max", _SUM_LAST),
    ("q", "min", _SUM_LAST),
    ("i", "max", _SUM_LAST),
    ("i", "min", _SUM_LAST),
    ("u", "min", _EACH_PHASE),
    ("u", "max", _EACH_PHASE),
    ("pf", "max", _EACH_PHASE),
    ("pf", "min", _EACH_PHASE),
    ("f", "min", _SUM_ONLY),
    ("f", "max", _SUM_ONLY),
)


def decimal(value: int, decimals: int) -> str:
    """Return an integer number of thousandths (3 decimals), tenths (1) … as the meter prints it."""
    scale = 10**decimals
    whole, fraction = divmod(abs(value), scale)
    return f"{'-' if value < 0 else ''}{whole}.{fraction:0{decimals}d}"


def meter_data(
    snapshot: Snapshot, extremes: Extremes | None, meter_time: int
) -> Document:
    """Return `/meterdata.json` (chapter "Read out Configuration | Values").

    `meter_time` is the epoch second of the meter's own clock. Without `extremes`
    the meter shows no minima and maxima.
    """
    registers = snapshot.registers
    document: Document = {
        "meterdatetime": meter_time,
        "wpulse_cnt_L123_e": decimal(registers.active_import, 3),
        "wpulse_cnt_L123_T1_e": decimal(registers.active_import_t1, 3),
        "wpulse_cnt_L123_T2_e": decimal(registers.active_import_t2, 3),
        "wpulse_cnt_ex_L123_e": decimal(registers.active_export, 3),
        "wpulse_cnt_ex_L123_T1_e": decimal(registers.active_export_t1, 3),
        "wpulse_cnt_ex_L123_T2_e": decimal(registers.active_export_t2, 3),
    }
    values = dict(zip(COLUMNS, snapshot.momentary.columns(), strict=True))
    for quantity, phases in _MOMENTARY:
        for phase in phases:
            text = decimal(values[f"{quantity}_{phase}"], _DECIMALS[quantity])
            document[f"{quantity}_{phase}_act_e"] = text
    document["showMinMax"] = extremes is not None
    if extremes is not None:
        document |= _extremes(extremes)
    return document


def _extremes(extremes: Extremes) -> Document:
    kinds = {
        "min": dict(zip(COLUMNS, extremes.minima, strict=True)),
        "max": dict(zip(COLUMNS, extremes.maxima, strict=True)),
    }
    values: Document = {}
    times: Document = {}
    for quantity, kind, phases in _EXTREMES:
        for phase in phases:
            extreme = kinds[kind][f"{quantity}_{phase}"]
            key = f"{quantity}_{kind}_{phase}_e"
            values[key] = decimal(extreme.value, _DECIMALS[quantity])
            times[f"ts_{key}"] = extreme.at
    return values | times


def rendered(document: Mapping[str, Json | Literal]) -> str:
    """Return a document as text, one key per line like the manual prints it."""
    lines = ",\n".join(
        f"  {json.dumps(key)}: {_value_text(value)}" for key, value in document.items()
    )
    return f"{{\n{lines}\n}}\n"


def page(serial_number: str, document: Document) -> str:
    """Return a small HTML page with the current values (chapter "Current Readings")."""
    rows = "\n".join(
        f"<tr><td>{escape(key)}</td><td>{escape(_value_text(value))}</td></tr>"
        for key, value in document.items()
    )
    title = f"EMU Professional II {escape(serial_number)}"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title></head>\n<body><h1>{title}</h1>\n"
        f"<table>\n{rows}\n</table></body></html>\n"
    )


def _value_text(value: Json | Literal) -> str:
    return value.text if isinstance(value, Literal) else json.dumps(value)
