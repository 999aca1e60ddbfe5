"""Fields of actions: names, checks, and windows of time.

A time without a time zone is meant in Home Assistant's.
"""

from contextlib import suppress
from datetime import MINYEAR, UTC, datetime
from math import isfinite
from types import NoneType
from typing import Any, Final

import voluptuous as vol

from homeassistant.const import ATTR_CONFIG_ENTRY_ID, ATTR_DEVICE_ID
from homeassistant.core import ServiceCall
from homeassistant.helpers import config_validation as cv
from homeassistant.util import dt as dt_util

from ..backfill.report import EVERYTHING, Window
from ..backfill.times import BEGIN_OF_TIME, HOUR
from ..failures import invalid

ATTR_COLUMNS: Final = "columns"
ATTR_COSTS: Final = "costs"
ATTR_DRY_RUN: Final = "dry_run"
ATTR_END: Final = "end"
ATTR_FIRST_INDEX: Final = "first_index"
ATTR_LAST_INDEX: Final = "last_index"
ATTR_MODE: Final = "mode"
ATTR_PATH: Final = "path"
ATTR_PER: Final = "per"
ATTR_PRICE: Final = "price"
ATTR_START: Final = "start"

type Fields = dict[vol.Marker, Any]

_SINGLE: Final = (str, int, float, datetime, NoneType)
"""Types of values that are no lists of others."""

_HIGHEST_PRICE: Final = 1e9
"""Of a kWh, in any currency."""


def schema(fields: Fields) -> vol.Schema:
    """Return the schema of an action's fields: values, and lists of values."""
    return vol.Schema({key: vol.All(_flat, check) for key, check in fields.items()})


def _flat(value: object) -> object:
    """Return a value or a list of values. Raises ValueError for anything nested.

    Home Assistant's checks print a refused value, and the text of a list in thousands
    of lists takes a minute of CPU.
    """
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, _SINGLE) for part in parts):
        raise ValueError("nested")
    return value


def _whole_number(value: object) -> int:
    """Return an index. Raises ValueError, where `int` alone may raise OverflowError."""
    if isinstance(value, int | str) or (isinstance(value, float) and isfinite(value)):
        return int(value)
    raise ValueError(value)


def price(value: object) -> float:
    """Return a price. Raises ValueError, where `float` alone may raise OverflowError."""
    if isinstance(value, int | float | str):
        with suppress(OverflowError):
            if abs(price := float(value)) <= _HIGHEST_PRICE:
                return price
    raise ValueError(value)


def _storable(value: object) -> object:
    """Return a value. Raises ValueError for a text that can't be encoded as UTF-8.

    YAML can name a lone surrogate, and Home Assistant's library for reading times
    crashes on one: it must be found first.
    """
    if isinstance(value, str):
        value.encode()
    return value


TIME: Final = vol.All(_storable, cv.datetime)
INDEX: Final = vol.All(
    vol.Coerce(_whole_number), vol.Range(min=0), vol.Clamp(max=EVERYTHING.until)
)
METER: Final[Fields] = {
    vol.Optional(ATTR_CONFIG_ENTRY_ID): str,
    vol.Optional(ATTR_DEVICE_ID): str,
}
WINDOW: Final[Fields] = {
    vol.Optional(ATTR_START): TIME,
    vol.Optional(ATTR_END): TIME,
}


def window(call: ServiceCall) -> Window:
    """Return the window of a call in seconds since 1970-01-01 UTC; without fields, all.

    Raises ServiceValidationError for a window that ends before it begins.
    """
    since = _seconds(call.data.get(ATTR_START), BEGIN_OF_TIME)
    until = _seconds(call.data.get(ATTR_END), EVERYTHING.until)
    if until <= since:
        raise invalid("window_reversed")
    return Window(since, until)


def whole_hours(call: ServiceCall) -> Window:
    """Return the window of a call, widened to whole hours; errors as of `window`."""
    asked = window(call)
    return Window(asked.since // HOUR * HOUR, -(-asked.until // HOUR) * HOUR)


def _seconds(at: datetime | None, default: int) -> int:
    """Return a time in seconds since 1970-01-01 UTC, within what a window can be."""
    if at is None:
        return default
    try:
        return int(dt_util.as_utc(at).timestamp())
    except OverflowError:
        # In UTC it is before the first day that Python knows, or after the last one.
        edge = datetime.min if at.year == MINYEAR else datetime.max
        return int(edge.replace(tzinfo=UTC).timestamp())
