"""Binary sensors of a meter: switches of its configuration."""

from dataclasses import dataclass
from typing import override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .entity import EmuEntity, EmuEntityDescription, add_when_reported
from .runtime import EmuConfigEntry

# The coordinator does the polling.
PARALLEL_UPDATES = 0


@dataclass(frozen=True, kw_only=True)
class EmuBinarySensorDescription(EmuEntityDescription, BinarySensorEntityDescription):
    """Describes a binary sensor of a meter."""


BINARY_SENSORS = (
    EmuBinarySensorDescription(
        key="dhcp",
        translation_key="dhcp",
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value_fn=lambda data: data.status.dhcp,
    ),
    EmuBinarySensorDescription(
        key="modbus",
        translation_key="modbus",
        entity_category=EntityCategory.DIAGNOSTIC,
        value_fn=lambda data: data.status.modbus,
    ),
    EmuBinarySensorDescription(
        key="ntp",
        translation_key="ntp",
        entity_category=EntityCategory.DIAGNOSTIC,
        value_fn=lambda data: data.status.ntp,
    ),
    EmuBinarySensorDescription(
        key="online_update",
        translation_key="online_update",
        entity_category=EntityCategory.DIAGNOSTIC,
        value_fn=lambda data: data.status.online_update,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EmuConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the binary sensors of a meter."""
    add_when_reported(entry, async_add_entities, EmuBinarySensor, BINARY_SENSORS)


class EmuBinarySensor(EmuEntity, BinarySensorEntity):
    """Shows a switch of the meter's configuration."""

    entity_description: EmuBinarySensorDescription

    @override
    def _show(self, value: bool | None) -> None:
        self._attr_is_on = value
