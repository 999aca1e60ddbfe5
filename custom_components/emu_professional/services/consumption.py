"""The action that returns consumption: registers, energy and costs of periods."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Final

import voluptuous as vol

from homeassistant.core import ServiceCall, ServiceResponse
from homeassistant.util import dt as dt_util
from homeassistant.util.json import JsonObjectType

from ..consumption import Consumption, Per, borders, count as count_periods
from ..consumption_reader import async_read
from ..emu.registers import Direction, Measurand, Tariff
from ..failures import invalid
from ..record_data import local_time
from .fields import ATTR_END, ATTR_PER, ATTR_START, METER, TIME, schema, window
from .meters import SENSORS, async_read_in_turn, async_readable_entry
from .times import maybe_shown

MOST_PERIODS: Final = 400
"""In a response: the days of a year, the hours of two weeks."""

CONSUMPTION_SCHEMA: Final = schema(
    {
        **METER,
        vol.Required(ATTR_START): TIME,
        vol.Optional(ATTR_END): TIME,
        vol.Optional(ATTR_PER, default=Per.PERIOD): vol.Coerce(Per),
    }
)

_ENERGIES: Final = (Measurand.ENERGY, Measurand.REACTIVE_ENERGY)
_COSTS: Final = {Direction.IMPORT: "cost", Direction.EXPORT: "compensation"}
_LATEST: Final = 1 << 32
"""The last second of the meter's clock."""


async def async_get_consumption(call: ServiceCall) -> ServiceResponse:
    """Return consumption, registers and costs of periods; energies in kWh and kvarh."""
    entry = await async_readable_entry(call, SENSORS)
    per: Per = call.data[ATTR_PER]
    ends = borders_of(call, per)
    read = partial(async_read, call.hass, entry, ends)
    report = await async_read_in_turn(call, entry, read)
    response: JsonObjectType = {
        "serial_number": entry.runtime_data.meter.serial_number,
        "per": str(per),
        "refused": dict(report.rejected),
        "periods": [
            _described(period)
            | {
                _COSTS[direction]: _rounded(costs[number])
                for direction, costs in report.costs.items()
            }
            for number, period in enumerate(report.periods)
        ],
    }
    if report.costs:
        response["currency"] = call.hass.config.currency
    return response


def borders_of(call: ServiceCall, per: Per) -> list[int]:
    """Return the borders of a call's periods; without an end, until now.

    Raises ServiceValidationError for more periods than a response can hold.
    """
    asked = window(call)
    now = int(dt_util.utcnow().timestamp())
    since = max(asked.since, 0)
    until = min(asked.until, _LATEST) if ATTR_END in call.data else now
    if until <= since:
        raise invalid("window_reversed")
    zone = dt_util.get_default_time_zone()
    ends = borders(since, until, per, zone, MOST_PERIODS)
    if len(ends) > MOST_PERIODS + 1:
        periods = count_periods(since, until, per)
        raise invalid("too_many_periods", count=str(periods), most=str(MOST_PERIODS))
    return ends


def _described(period: Consumption) -> JsonObjectType:
    """Return a period as part of the response; unknown values are None."""
    answer: JsonObjectType = {
        "start": local_time(period.begin),
        "end": local_time(period.end),
        "source": period.source and str(period.source),
    }
    for name, at, registers in (
        ("start", period.begin, period.at_begin),
        ("end", period.end, period.at_end),
    ):
        stamps = {known.at for known in registers.values()}
        answer[f"{name}_logged"] = maybe_shown(max(stamps, default=None))
        answer[f"{name}_is_exact"] = stamps == {at}
        values = {key: known.value for key, known in registers.items()}
        answer[f"registers_at_{name}"] = _energies(values.get)
    peak = period.peak
    return (
        answer
        | _energies(period.energy)
        | {
            "peak_demand": peak and peak.demand,
            "peak_demand_time": peak and local_time(peak.end),
            "power_failures": period.power_failures,
            "changed_ratios": period.changed_ratios,
            "hours_without_record": period.hours_without_record,
        }
    )


def _energies(energy: Callable[[str], float | None]) -> JsonObjectType:
    """Return energies in kWh and kvarh by register.

    `energy` returns one in last digits. A logger has no totals: they are the sums of
    their tariffs.
    """
    energies: JsonObjectType = {}
    for measurand, direction in product(_ENERGIES, Direction):
        total = f"{measurand}_{direction}"
        tariffs = [energy(f"{total}_{tariff.lower()}") for tariff in Tariff]
        known = [each for each in tariffs if each is not None]
        both = sum(known) if len(known) == len(tariffs) else None
        for key, value in zip(
            (total, *(f"{total}_{tariff.lower()}" for tariff in Tariff)),
            (both if (own := energy(total)) is None else own, *tariffs),
            strict=True,
        ):
            energies[key] = None if value is None else round(value / 1000, 3)
    return energies


def _rounded(cost: float | None) -> float | None:
    return None if cost is None else round(cost, 4)
