"""The firmware of a meter's communication module. Chapter "Firmware-Update"."""

from typing import Any, override

from homeassistant.components.update import (
    UpdateDeviceClass,
    UpdateEntity,
    UpdateEntityDescription,
    UpdateEntityFeature,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.translation import async_get_translations

from .const import DOMAIN, MODEL
from .coordinator import EmuCoordinator
from .emu.firmware import Image, Version
from .emu.update import Step
from .entity import ModuleEntity
from .firmware import firmware_store
from .runtime import EmuConfigEntry

PARALLEL_UPDATES = 0

FIRMWARE = UpdateEntityDescription(
    key="firmware",
    translation_key="firmware",
    device_class=UpdateDeviceClass.FIRMWARE,
)

# The update page shows how far an update is by one figure: an upload takes longest.
_UPLOAD_ENDS = 80
_PERCENT = {
    Step.TEST: _UPLOAD_ENDS,
    Step.RESTART: _UPLOAD_ENDS + 5,
    Step.TRIAL: _UPLOAD_ENDS + 10,
    Step.CONFIRM: _UPLOAD_ENDS + 15,
}


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EmuConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the firmware of a meter."""
    async_add_entities([EmuUpdate(entry.runtime_data.meter)])


class EmuUpdate(ModuleEntity, UpdateEntity):
    """Installs the firmware that the owner has given to Home Assistant."""

    _attr_supported_features = (
        UpdateEntityFeature.INSTALL
        | UpdateEntityFeature.PROGRESS
        | UpdateEntityFeature.RELEASE_NOTES
        | UpdateEntityFeature.SPECIFIC_VERSION
    )
    _attr_title = MODEL

    def __init__(self, coordinator: EmuCoordinator) -> None:
        """Initialize the entity."""
        self._installation = coordinator.installation
        super().__init__(coordinator, FIRMWARE)
        self._store = firmware_store(coordinator.hass)
        self._show()

    @property
    @override
    def available(self) -> bool:
        """Return whether the meter answers, or is restarting."""
        return super().available or self._installation.is_busy

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the firmware that is given, and an update that goes on."""
        await super().async_added_to_hass()
        for source in (self._installation, self._store):
            self.async_on_remove(source.async_add_listener(self._changed))

    @override
    async def async_install(
        self, version: str | None, backup: bool, **kwargs: Any
    ) -> None:
        """Install the firmware that was given, an older one only by its version."""
        image = self._store.image
        if image is None or version not in (None, str(image.version)):
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="no_such_firmware",
                translation_placeholders={"version": version or ""},
            )
        await self._installation.async_install(image)

    @override
    async def async_release_notes(self) -> str | None:
        """Return what will be done, and with which image."""
        if (image := self._store.image) is None:
            return None
        texts = await async_get_translations(
            self.hass, self.hass.config.language, "common", {DOMAIN}
        )
        return texts[f"component.{DOMAIN}.common.release_notes"].format(
            version=image.version,
            hash=image.hash.hex(),
            size=f"{image.size / 1024:.1f}",
            signature=image.signature,
        )

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        version = self.coordinator.data.status.software_version
        if version != self._attr_installed_version:
            self._changed()
        super()._handle_coordinator_update()

    @callback
    def _changed(self) -> None:
        self._show()
        self.async_write_ha_state()

    def _show(self) -> None:
        installed = self.coordinator.data.status.software_version
        self._attr_installed_version = installed
        self._attr_latest_version = _latest(installed, self._store.image)
        step = self._installation.step
        self._attr_in_progress = step is not None
        self._attr_update_percentage = _percentage(step, self._installation.percent)


def _latest(installed: str | None, image: Image | None) -> str | None:
    """Return the version that is given, if it is newer."""
    if image is None or installed is None:
        return installed
    try:
        is_newer = image.version > Version.parse(installed)
    except ValueError:
        is_newer = True
    return str(image.version) if is_newer else installed


def _percentage(step: Step | None, percent: int | None) -> int | None:
    """Return how much of an update is done; None while that can't be said."""
    if step is Step.UPLOAD and percent is not None:
        return percent * _UPLOAD_ENDS // 100
    return _PERCENT.get(step) if step else None
