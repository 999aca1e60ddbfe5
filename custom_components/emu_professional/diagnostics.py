"""What an owner can attach to a report without giving anything away."""

from typing import Any

from homeassistant.components.diagnostics import async_redact_data
from homeassistant.const import CONF_HOST, CONF_MAC, CONF_PASSWORD
from homeassistant.core import HomeAssistant

from .runtime import EmuConfigEntry

_SECRET = {
    CONF_HOST,
    CONF_MAC,
    CONF_PASSWORD,
    "title",
    "unique_id",
    "meterserial",
    "networkmac",
    "networkip",
    "networknm",
    "networkgw",
    "networkdns1",
    "ntp1",
}


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: EmuConfigEntry
) -> dict[str, Any]:
    """Return the meter's two documents as they came, and what became of them."""
    coordinator = entry.runtime_data.meter
    data = coordinator.data
    return async_redact_data(
        {
            "entry": entry.as_dict(),
            "last_update_success": coordinator.last_update_success,
            "clock_offset": str(data.clock_offset),
            "rejected": dict(data.readings.rejected),
            "status": dict(data.status.document),
            "readings": dict(data.readings.document),
        },
        _SECRET,
    )
