"""Buttons of a meter."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.components.button.const import ButtonDeviceClass
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .config_entry import EmuConfigEntry
from .entity import BackfillEntity, ModuleEntity
from .firmware.meter_firmware import MeterFirmware

PARALLEL_UPDATES = 1

FILL_STATISTICS = ButtonEntityDescription(
    key="fill_statistics",
    translation_key="fill_statistics",
    entity_category=EntityCategory.DIAGNOSTIC,
)


@dataclass(frozen=True, kw_only=True)
class FirmwareButtonDescription(ButtonEntityDescription):
    """Describes a button of a meter's communication module."""

    press_fn: Callable[[MeterFirmware], Awaitable[None]]


async def _offer_erase(firmware: MeterFirmware) -> None:
    firmware.async_offer_erase()


RESTART = FirmwareButtonDescription(
    key="restart",
    translation_key="restart",
    device_class=ButtonDeviceClass.RESTART,
    entity_category=EntityCategory.CONFIG,
    press_fn=MeterFirmware.async_restart,
)
DELETE_FIRMWARE = FirmwareButtonDescription(
    key="delete_firmware",
    translation_key="delete_firmware",
    entity_category=EntityCategory.CONFIG,
    entity_registry_enabled_default=False,
    press_fn=_offer_erase,
)

BUTTONS = (FILL_STATISTICS, RESTART, DELETE_FIRMWARE)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EmuConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the buttons of a meter."""
    runtime = entry.runtime_data
    async_add_entities(
        [
            FillStatisticsButton(runtime, FILL_STATISTICS),
            FirmwareButton(runtime.meter, RESTART),
            FirmwareButton(runtime.meter, DELETE_FIRMWARE),
        ]
    )


class FillStatisticsButton(BackfillEntity, ButtonEntity):
    """Fills the statistics now."""

    @override
    async def async_press(self) -> None:
        """Start filling; the sensors show the progress."""
        self.coordinator.async_fill_now()


class FirmwareButton(ModuleEntity, ButtonEntity):
    """Restarts the meter's communication module, or deletes its second firmware."""

    entity_description: FirmwareButtonDescription

    @override
    async def async_press(self) -> None:
        """Run the action of the button."""
        await self.entity_description.press_fn(self.coordinator.firmware)
