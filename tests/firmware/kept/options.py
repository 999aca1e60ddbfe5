"""The step "Firmware" of the options, and a restart of the store."""

from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any, Protocol
import zipfile

from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.firmware.kept import FirmwareStore
from homeassistant.config_entries import ConfigFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

KEY = f"{DOMAIN}.firmware"


def zipped(content: bytes) -> bytes:
    """Return the vendor's zip with an image in it."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("updater/mcumgr.exe", b"MZ" + bytes(1000))
        archive.writestr("updater/firmware.bin", content)
    return buffer.getvalue()


class Submit(Protocol):
    """Fills in the firmware's form."""

    async def __call__(
        self, answers: dict[str, Any], content: bytes | None = None
    ) -> ConfigFlowResult:
        """Return the next step."""


async def show(hass: HomeAssistant, entry: MockConfigEntry) -> ConfigFlowResult:
    """Open the firmware's form."""
    result = await hass.config_entries.options.async_init(entry.entry_id)
    result = await hass.config_entries.options.async_configure(
        result["flow_id"], {"next_step_id": "firmware"}
    )
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] in {"firmware", "kept_firmware"}
    return result


async def restarted(hass: HomeAssistant) -> FirmwareStore:
    """Return the store as it is after a restart."""
    store = FirmwareStore(hass)
    await store.async_load()
    return store


type Hours = Callable[[int], Awaitable[None]]
