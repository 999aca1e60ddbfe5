"""Binary sensors of a meter: switches of its configuration, lasting problems."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import override

from homeassistant.components.binary_sensor import (
    BinarySensorEntity,
    BinarySensorEntityDescription,
)
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory
from homeassistant.core import CALLBACK_TYPE, HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .config_entry import EmuConfigEntry
from .emu.logs import LoggerStatus
from .entity import (
    EmuEntity,
    EmuEntityDescription,
    ModuleEntity,
    Observable,
    add_when_logged,
    add_when_reported,
)
from .runtime import EmuRuntime

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


@dataclass(frozen=True, kw_only=True)
class LoggerBinarySensorDescription(BinarySensorEntityDescription):
    """Describes a binary sensor of the data logger's status."""

    bit: LoggerStatus


LOGGER_BINARY_SENSORS = (
    LoggerBinarySensorDescription(
        key="no_time_synchronization",
        translation_key="no_time_synchronization",
        device_class=BinarySensorDeviceClass.PROBLEM,
        entity_category=EntityCategory.DIAGNOSTIC,
        bit=LoggerStatus.NO_TIME_SYNCHRONIZATION,
    ),
    LoggerBinarySensorDescription(
        key="logbook_full",
        translation_key="logbook_full",
        device_class=BinarySensorDeviceClass.PROBLEM,
        entity_category=EntityCategory.DIAGNOSTIC,
        bit=LoggerStatus.LOGBOOK_FULL,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EmuConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the binary sensors of a meter."""
    add_when_reported(entry, async_add_entities, EmuBinarySensor, BINARY_SENSORS)
    add_when_logged(
        entry,
        lambda: async_add_entities(
            LoggerBinarySensor(entry.runtime_data, description)
            for description in LOGGER_BINARY_SENSORS
        ),
    )


class EmuBinarySensor(EmuEntity, BinarySensorEntity):
    """Shows a switch of the meter's configuration."""

    entity_description: EmuBinarySensorDescription

    @override
    def _show(self, value: bool | None) -> None:
        self._attr_is_on = value


class LoggerBinarySensor(ModuleEntity, BinarySensorEntity):
    """Shows a state of the newest record of the data logger."""

    entity_description: LoggerBinarySensorDescription

    def __init__(
        self, runtime: EmuRuntime, description: LoggerBinarySensorDescription
    ) -> None:
        """Initialize the entity."""
        super().__init__(runtime.meter, description)
        self._logbook = runtime.logbook

    @property
    @override
    def _observables(self) -> Iterable[tuple[Observable, CALLBACK_TYPE]]:
        return ((self._logbook, self.async_write_ha_state),)

    @property
    @override
    def is_on(self) -> bool | None:
        """Return whether the state is reported as a problem."""
        status = self._logbook.data.status
        return None if status is None else self.entity_description.bit in status
