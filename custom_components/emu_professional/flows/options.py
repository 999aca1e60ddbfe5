"""The options of a meter, and the firmware file for all meters."""

from typing import Any, Final

import voluptuous as vol

from homeassistant.components.file_upload import process_uploaded_file
from homeassistant.config_entries import ConfigFlowResult, OptionsFlowWithReload
from homeassistant.core import HomeAssistant
from homeassistant.helpers.selector import (
    BooleanSelector,
    FileSelector,
    FileSelectorConfig,
)

from ..const import CONF_AUTOMATIC, CONF_COSTS, LOGGER
from ..emu.errors import FirmwareRefused
from ..emu.updater.image import Image
from ..firmware.kept import ImageSource, firmware_store, read_firmware_file

_CHECK_FOR_FIRMWARE: Final = "check_for_firmware"
_FIRMWARE_FILE: Final = "firmware_file"
_REMOVE_FIRMWARE: Final = "remove_firmware"


class EmuOptionsFlow(OptionsFlowWithReload):
    """Handles the options of a meter, and the firmware file for all meters."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the menu."""
        return self.async_show_menu(
            step_id="init", menu_options=["statistics", "firmware"]
        )

    async def async_step_statistics(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for automatic fills of statistics and of their costs."""
        if user_input is not None:
            return self._finish(user_input)
        options = self.config_entry.options
        return self.async_show_form(
            step_id="statistics",
            data_schema=vol.Schema(
                {
                    vol.Required(key, default=options.get(key, True)): BooleanSelector()
                    for key in (CONF_AUTOMATIC, CONF_COSTS)
                }
            ),
        )

    async def async_step_firmware(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show the stored firmware, and ask for a file."""
        store = firmware_store(self.hass)
        errors: dict[str, str] = {}
        check = store.is_checked_daily
        if user_input is not None:
            if (error := await self._async_take_firmware(user_input)) is None:
                return self._finish({})
            errors[_FIRMWARE_FILE] = error
            check = user_input[_CHECK_FOR_FIRMWARE]
        schema: dict[vol.Marker, Any] = {
            vol.Optional(_FIRMWARE_FILE): FileSelector(
                FileSelectorConfig(accept=".bin,.zip")
            ),
            vol.Required(_CHECK_FOR_FIRMWARE, default=check): BooleanSelector(),
        }
        if store.image:
            schema[vol.Required(_REMOVE_FIRMWARE, default=False)] = BooleanSelector()
        return self.async_show_form(
            # The two steps differ in their texts only.
            step_id="kept_firmware" if store.image else "firmware",
            data_schema=vol.Schema(schema),
            errors=errors,
            description_placeholders=_described(store.image) if store.image else None,
        )

    async def async_step_kept_firmware(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Handle the form with the description of the stored firmware."""
        return await self.async_step_firmware(user_input)

    async def _async_take_firmware(self, user_input: dict[str, Any]) -> str | None:
        """Store or remove the firmware as the form says; return an error key."""
        store = firmware_store(self.hass)
        if file_id := user_input.get(_FIRMWARE_FILE):
            try:
                image = await self.hass.async_add_executor_job(
                    _read_upload, self.hass, file_id
                )
            except FirmwareRefused as err:
                return err.reason
            except (OSError, ValueError) as err:
                LOGGER.debug("The uploaded file can't be read: %s", err)
                return "file_lost"
            await store.async_keep(image, ImageSource.UPLOAD)
        elif user_input.get(_REMOVE_FIRMWARE):
            await store.async_remove()
        await store.async_check_daily(wanted=user_input[_CHECK_FOR_FIRMWARE])
        return None

    def _finish(self, changes: dict[str, Any]) -> ConfigFlowResult:
        return self.async_create_entry(data={**self.config_entry.options, **changes})


def _read_upload(hass: HomeAssistant, file_id: str) -> Image:
    """Return the image in an uploaded file. Blocks."""
    with process_uploaded_file(hass, file_id) as path:
        return read_firmware_file(path)


def _described(image: Image) -> dict[str, str]:
    return {
        "version": str(image.version),
        "size": f"{image.size / 1024:.1f}",
        "signature": image.signature,
        "hash": image.hash.hex(),
    }
