"""Actions that are called, and what the data logger should answer."""

import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta
import json
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.logs import COLUMNS
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.history import Event
from simulator.meter import Meter
from simulator.web import MeterServer
from tests.conftest import COUNTED, NOON, SERIAL_NUMBER

# The tests' Home Assistant lives there.
ZONE = ZoneInfo("US/Pacific")
GET = "get_data_logger"
EXPORT = "export_data_logger"
KEYS = [quantity.key for quantity in COLUMNS]
type Answer = dict[str, Any]


def logger(
    server: MeterServer,
    clock: ManualClock,
    *events: Event,
    days: float = 10,
    **config: Any,
) -> Meter:
    """Let the meter have another logger."""
    server.meter = Meter(
        MeterConfig(
            serial_number=SERIAL_NUMBER,
            installed=NOON - timedelta(days=days),
            events=events,
            logger=replace(COUNTED, **config),
        ),
        clock,
    )
    return server.meter


async def call(
    hass: HomeAssistant, action: str, entry: MockConfigEntry, **data: Any
) -> Answer:
    """Call an action for a meter and return its response."""
    response = await hass.services.async_call(
        DOMAIN,
        action,
        {"config_entry_id": entry.entry_id, **data},
        blocking=True,
        return_response=True,
    )
    assert response is not None
    answer: Answer = json.loads(json.dumps(response))
    assert answer == response
    return answer


async def refusal(
    hass: HomeAssistant, action: str, error: type[HomeAssistantError], **data: Any
) -> str:
    """Call an action that must fail, and return what the owner reads."""
    with pytest.raises(error) as caught:
        await hass.services.async_call(
            DOMAIN, action, data, blocking=True, return_response=True
        )
    assert caught.value.translation_key
    return str(caught.value)


def local(stamp: int) -> str:
    """Return a time as it is read in the house."""
    return datetime.fromtimestamp(stamp, UTC).astimezone(ZONE).isoformat()


def at(server: MeterServer, index: int) -> datetime:
    """Return the stamp of a record."""
    (record,) = server.meter.records(index, index)
    return datetime.fromtimestamp(record.stamp, UTC)


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def rows(path: Path) -> list[dict[str, str]]:
    """Return what a spreadsheet reads in a file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
