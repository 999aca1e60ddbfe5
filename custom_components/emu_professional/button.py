"""Buttons of a meter."""

from typing import override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .entity import BackfillEntity
from .runtime import EmuConfigEntry

PARALLEL_UPDATES = 1

FILL_STATISTICS = ButtonEntityDescription(
    key="fill_statistics",
    translation_key="fill_statistics",
    entity_category=EntityCategory.DIAGNOSTIC,
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EmuConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the buttons of a meter."""
    async_add_entities([FillStatisticsButton(entry.runtime_data, FILL_STATISTICS)])


class FillStatisticsButton(BackfillEntity, ButtonEntity):
    """Fills the statistics now."""

    @override
    async def async_press(self) -> None:
        """Begin to fill; the sensors show how far it is."""
        self.coordinator.async_fill_now()
