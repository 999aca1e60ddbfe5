"""The update entity of a meter's firmware. Chapter "Firmware-Update"."""

from collections.abc import Iterable
from typing import Any, override

from homeassistant.components.update import (
    UpdateDeviceClass,
    UpdateEntity,
    UpdateEntityDescription,
    UpdateEntityFeature,
)
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.translation import async_get_translations

from .config_entry import EmuConfigEntry
from .const import DOMAIN, MODEL
from .coordinator import EmuCoordinator
from .emu.readings import Status
from .emu.updater.image import Image
from .emu.updater.outcome import Step
from .entity import ModuleEntity, Observable
from .failures import invalid
from .firmware.kept import firmware_store
from .firmware.offer import is_newer, normalized

PARALLEL_UPDATES = 0

FIRMWARE = UpdateEntityDescription(
    key="firmware",
    translation_key="firmware",
    device_class=UpdateDeviceClass.FIRMWARE,
)

# The update page shows one percentage for all steps: an upload takes longest.
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
    """Set up the update entity of a meter."""
    async_add_entities([EmuUpdate(entry.runtime_data.meter)])


class EmuUpdate(ModuleEntity, UpdateEntity):
    """Offers the kept firmware to a meter, and installs it."""

    _attr_supported_features = (
        UpdateEntityFeature.INSTALL
        | UpdateEntityFeature.PROGRESS
        | UpdateEntityFeature.RELEASE_NOTES
        | UpdateEntityFeature.SPECIFIC_VERSION
    )
    _attr_title = MODEL

    def __init__(self, coordinator: EmuCoordinator) -> None:
        """Initialize the entity."""
        self._firmware = coordinator.firmware
        self._status = coordinator.data.status
        self._looked_for: tuple[Status, Image] | None = None
        self._is_mute = False
        super().__init__(coordinator, FIRMWARE)
        self._store = firmware_store(coordinator.hass)
        self._show()

    @property
    @override
    def available(self) -> bool:
        """Return whether the meter answers, or is restarting."""
        return super().available or self.coordinator.is_being_updated

    @property
    @override
    def _observables(self) -> Iterable[tuple[Observable, CALLBACK_TYPE]]:
        return (
            (self._firmware.activity, self._changed),
            (self._store, self._changed),
        )

    @callback
    @override
    def _added(self) -> None:
        self._look_if_needed()

    @override
    async def async_install(
        self, version: str | None, backup: bool, **kwargs: Any
    ) -> None:
        """Install the kept firmware, an older one only by its version."""
        image = self._store.image
        if image is None or version not in (None, str(image.version)):
            raise invalid("no_such_firmware", version=version or "")
        await self._firmware.async_install(image)

    @override
    async def async_release_notes(self) -> str | None:
        """Return an account of the coming update, with the image's hash and size."""
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

    @override
    def version_is_newer(self, latest_version: str, installed_version: str) -> bool:
        """Return True: another version is shown as the latest only if it is newer."""
        return True

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        before, self._status = self._status, self.coordinator.data.status
        if self._status.software_version != before.software_version:
            self._firmware.async_forget_running()
            self._changed()
        elif self._status is not before:
            self._look_if_needed()
        super()._handle_coordinator_update()

    @callback
    def _changed(self) -> None:
        self._look_if_needed()
        self._show()
        self.async_write_ha_state()

    def _look_if_needed(self) -> None:
        """Look at the running firmware, once for each status, before an image is offered.

        The status can still show the version before, or write it in another way. The
        hash of the running firmware decides.
        """
        image, status = self._store.image, self._status
        is_silent = self.coordinator.is_being_updated or status.online_update is False
        if image is None or is_silent or not is_newer(image, status.software_version):
            return
        # By identity: two statuses in a row are equal if the meter shows no time in them.
        looked_for = self._looked_for
        if looked_for and looked_for[0] is status and looked_for[1] is image:
            return
        self._looked_for = (status, image)
        self.coordinator.config_entry.async_create_background_task(
            self.hass, self._async_look(), f"{self.coordinator.name} running firmware"
        )

    async def _async_look(self) -> None:
        self._is_mute = not await self._firmware.async_look()
        self._show()
        self.async_write_ha_state()

    def _show(self) -> None:
        running = self._firmware.running
        version = running.version if running else self._status.software_version
        self._attr_installed_version = self._attr_latest_version = normalized(version)
        image = self._store.image
        if image and version is not None and self._is_offered(image, version):
            self._attr_latest_version = str(image.version)
        activity = self._firmware.activity
        self._attr_in_progress = activity.step is not None
        self._attr_update_percentage = _percentage(activity.step, activity.percent)

    def _is_offered(self, image: Image, version: str) -> bool:
        """Return whether an image is newer than the running one, by its hash if known."""
        if self._store.is_unfit_for(self.coordinator.serial_number):
            return False
        if not is_newer(image, version):
            return False
        if running := self._firmware.running:
            return running.hash != image.hash
        # If the updater can't be asked, the owner reads the reason at the attempt.
        return self._is_mute or self._status.online_update is False


def _percentage(step: Step | None, percent: int | None) -> int | None:
    """Return how much of an update is done; None while that can't be said."""
    if step is Step.UPLOAD and percent is not None:
        return percent * _UPLOAD_ENDS // 100
    return _PERCENT.get(step) if step else None
