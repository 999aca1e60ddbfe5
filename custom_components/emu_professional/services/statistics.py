"""The actions that fill statistics: energy and measurements, and costs."""

from typing import Final

import voluptuous as vol

from homeassistant.core import ServiceCall, ServiceResponse
from homeassistant.helpers import config_validation as cv
from homeassistant.util.json import JsonObjectType

from ..backfill.report import Mode, Outcome, Report
from ..emu.csv_export import status_names
from .fields import (
    ATTR_COSTS,
    ATTR_DRY_RUN,
    ATTR_MODE,
    ATTR_PRICE,
    METER,
    WINDOW,
    price,
    schema,
    whole_hours,
)
from .meters import async_while_loaded, entry_of
from .times import maybe_shown

BACKFILL_SCHEMA: Final = schema(
    {
        **METER,
        **WINDOW,
        vol.Optional(ATTR_MODE, default=Mode.FILL): vol.Coerce(Mode),
        vol.Optional(ATTR_DRY_RUN, default=False): cv.boolean,
    }
)
COSTS_SCHEMA: Final = schema(
    {
        **METER,
        **WINDOW,
        vol.Optional(ATTR_PRICE): price,
        vol.Optional(ATTR_COSTS, default=[]): cv.entity_ids,
        vol.Optional(ATTR_DRY_RUN, default=False): cv.boolean,
    }
)


async def async_backfill_statistics(call: ServiceCall) -> ServiceResponse:
    """Fill the statistics of whole hours; energy is in the unit of its quantity."""
    entry = entry_of(call)
    hours = whole_hours(call)
    mode, dry_run = call.data[ATTR_MODE], call.data[ATTR_DRY_RUN]
    backfill = entry.runtime_data.backfill
    report = await async_while_loaded(
        call.hass, entry, backfill.async_run(hours, mode, dry_run=dry_run)
    )
    return {
        "records_read": report.records,
        "records_refused": dict(report.rejected),
        "first_record": maybe_shown(report.first),
        "last_record": maybe_shown(report.last),
        "status": [*status_names(report.status)],
        "dry_run": dry_run,
        "mode": str(mode),
        "statistics": {
            statistic_id: _outcome(outcome)
            for statistic_id, outcome in report.statistics.items()
        }
        | _costs(report),
    }


async def async_fill_costs(call: ServiceCall) -> ServiceResponse:
    """Give the hours of a window their costs, in the currency of Home Assistant."""
    entry = entry_of(call)
    dry_run: bool = call.data[ATTR_DRY_RUN]
    backfill = entry.runtime_data.backfill
    work = backfill.async_fill_costs(
        whole_hours(call),
        call.data.get(ATTR_PRICE),
        call.data[ATTR_COSTS],
        dry_run=dry_run,
    )
    report = await async_while_loaded(call.hass, entry, work)
    return {"dry_run": dry_run, "statistics": _costs(report)}


def _outcome(outcome: Outcome) -> JsonObjectType:
    shown: JsonObjectType = {
        "hours_read": outcome.read,
        "hours_written": outcome.written,
        "hours_corrected": outcome.corrected,
        "hours_left": outcome.left,
        "unit": outcome.unit,
    }
    if outcome.has_sum:
        shown["energy_moved"] = round(outcome.moved, 3)
    else:
        shown["periods_written"] = outcome.periods
    return shown


def _costs(report: Report) -> JsonObjectType:
    return {
        statistic_id: {
            "hours": outcome.hours,
            "hours_without_price": outcome.hours_without_price,
            "cost_before": round(outcome.before, 4),
            "cost_after": round(outcome.after, 4),
            "unit": outcome.unit,
        }
        for statistic_id, outcome in report.costs.items()
    }
