"""Actions of the integration: one row each in `ACTIONS`, one module for each subject.

Handlers validate a call, call the part of the integration that does the work, and
translate its errors. Every time in a response is in Home Assistant's time zone, with
its offset from UTC.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import voluptuous as vol

from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.helpers.service import async_register_admin_service

from ..const import DOMAIN
from .consumption import CONSUMPTION_SCHEMA, async_get_consumption
from .data_logger import (
    EXPORT_SCHEMA,
    GET_SCHEMA,
    async_export_data_logger,
    async_get_data_logger,
)
from .firmware import SLOTS_SCHEMA, async_firmware_slots
from .logbook import LOGBOOK_SCHEMA, async_get_logbook
from .statistics import (
    BACKFILL_SCHEMA,
    COSTS_SCHEMA,
    async_backfill_statistics,
    async_fill_costs,
)


@dataclass(frozen=True, slots=True)
class Action:
    """An action: its fields, its handler, its response, and who may call it.

    The handler of an action that is not only for administrators checks the caller's
    rights itself. Automations and Home Assistant itself may call every action.
    """

    schema: vol.Schema
    handler: Callable[[ServiceCall], Coroutine[Any, Any, ServiceResponse]]
    response: SupportsResponse
    only_administrators: bool


_OPTIONAL: Final = SupportsResponse.OPTIONAL
_ONLY: Final = SupportsResponse.ONLY

ACTIONS: Final = {
    "backfill_statistics": Action(
        BACKFILL_SCHEMA, async_backfill_statistics, _OPTIONAL, only_administrators=True
    ),
    "fill_costs": Action(
        COSTS_SCHEMA, async_fill_costs, _OPTIONAL, only_administrators=True
    ),
    "export_data_logger": Action(
        EXPORT_SCHEMA, async_export_data_logger, _OPTIONAL, only_administrators=True
    ),
    "firmware_slots": Action(
        SLOTS_SCHEMA, async_firmware_slots, _ONLY, only_administrators=True
    ),
    "get_data_logger": Action(
        GET_SCHEMA, async_get_data_logger, _ONLY, only_administrators=False
    ),
    "get_consumption": Action(
        CONSUMPTION_SCHEMA, async_get_consumption, _ONLY, only_administrators=False
    ),
    "get_logbook": Action(
        LOGBOOK_SCHEMA, async_get_logbook, _ONLY, only_administrators=False
    ),
}
"""The actions by their names."""


@callback
def async_setup_services(hass: HomeAssistant) -> None:
    """Register the actions."""
    for name, action in ACTIONS.items():
        if action.only_administrators:
            async_register_admin_service(
                hass, DOMAIN, name, action.handler, action.schema, action.response
            )
        else:
            hass.services.async_register(
                DOMAIN, name, action.handler, action.schema, action.response
            )
