"""Base classes of all entities of a meter."""

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, override

from homeassistant.core import CALLBACK_TYPE, callback
from homeassistant.helpers.device_registry import CONNECTION_NETWORK_MAC, DeviceInfo
from homeassistant.helpers.entity import EntityDescription
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.update_coordinator import (
    CoordinatorEntity,
    DataUpdateCoordinator,
)

from .backfill.coordinator import BackfillCoordinator
from .config_entry import EmuConfigEntry
from .const import DOMAIN, MANUFACTURER, MODEL, NAME
from .coordinator import EmuCoordinator, MeterData
from .meter_log import LogbookCoordinator
from .runtime import EmuRuntime


@dataclass(frozen=True, kw_only=True)
class EmuEntityDescription(EntityDescription):
    """Describes an entity with one value of a meter."""

    value_fn: Callable[[MeterData], Any]
    """Returns the value, or None while the meter reports none."""
    reported_fn: Callable[[MeterData], Any] | None = None
    """Returns None while the meter does not report the base of the value.

    By default the value itself.
    """

    def is_reported(self, data: MeterData) -> bool:
        """Return whether the entity will have a value, now or later."""
        return (self.reported_fn or self.value_fn)(data) is not None


class Observable(Protocol):
    """An object with listeners, such as a coordinator."""

    def async_add_listener(self, listener: CALLBACK_TYPE, /) -> CALLBACK_TYPE:
        """Add a listener; return a function to remove it."""


class MeterEntity[CoordinatorT: DataUpdateCoordinator[Any]](
    CoordinatorEntity[CoordinatorT]
):
    """An entity of a meter: follows a coordinator, and perhaps other observables."""

    _attr_has_entity_name = True

    def __init__(
        self,
        coordinator: CoordinatorT,
        meter: EmuCoordinator,
        description: EntityDescription,
    ) -> None:
        """Name the entity by the meter's serial number and its key."""
        super().__init__(coordinator)
        self.entity_description = description
        self._attr_unique_id = f"{meter.serial_number}_{description.key}"
        self._attr_device_info = _device_info(meter)

    @property
    def _observables(self) -> Iterable[tuple[Observable, CALLBACK_TYPE]]:
        """The observables besides the coordinator, each with its listener."""
        return ()

    @override
    async def async_added_to_hass(self) -> None:
        """Follow the observables; subclasses extend `_observables` and `_added` instead."""
        await super().async_added_to_hass()
        for observable, listener in self._observables:
            self.async_on_remove(observable.async_add_listener(listener))
        self._added()

    @callback
    def _added(self) -> None:
        """Do nothing; for entities with work to do once they are added."""

    # Home Assistant 2026.11 removes and adds an entity again at each change of its
    # id, unless the class with `async_added_to_hass` has this method as well.
    @callback
    def async_entity_id_changed(self, old_entity_id: str) -> None:
        """Change the entity id in place: no observable depends on it."""


class EmuEntity(MeterEntity[EmuCoordinator]):
    """An entity with one value of a meter."""

    entity_description: EmuEntityDescription

    def __init__(
        self, coordinator: EmuCoordinator, description: EmuEntityDescription
    ) -> None:
        """Initialize the entity with the present value."""
        super().__init__(coordinator, coordinator, description)
        self._value_fn = description.value_fn
        self._value = self._value_fn(coordinator.data)
        self._was_available = self.available
        self._show(self._value)

    @abstractmethod
    def _show(self, value: Any) -> None:
        """Set the attributes of the state from a value."""

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state if it changed: most values stay the same at a poll."""
        value = self._value_fn(self.coordinator.data)
        available = self.coordinator.last_update_success
        if value == self._value and available is self._was_available:
            return
        self._value = value
        self._was_available = available
        self._show(value)
        self.async_write_ha_state()


class ModuleEntity(MeterEntity[EmuCoordinator]):
    """An entity of a meter's communication module, without a polled value."""

    def __init__(
        self, coordinator: EmuCoordinator, description: EntityDescription
    ) -> None:
        """Initialize the entity."""
        super().__init__(coordinator, coordinator, description)
        self._was_available = self.available

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state if the availability changed."""
        if self.available is not self._was_available:
            self._was_available = self.available
            self.async_write_ha_state()


class BackfillEntity(MeterEntity[BackfillCoordinator]):
    """An entity of a meter's back-fill."""

    def __init__(self, runtime: EmuRuntime, description: EntityDescription) -> None:
        """Initialize the entity."""
        super().__init__(runtime.backfill, runtime.meter, description)


class LogbookEntity(MeterEntity[LogbookCoordinator]):
    """An entity of a meter's logs."""

    def __init__(self, runtime: EmuRuntime, description: EntityDescription) -> None:
        """Initialize the entity."""
        super().__init__(runtime.logbook, runtime.meter, description)


def _device_info(meter: EmuCoordinator) -> DeviceInfo:
    serial_number = meter.serial_number
    status = meter.data.status
    return DeviceInfo(
        configuration_url=meter.client.url,
        connections={(CONNECTION_NETWORK_MAC, status.mac)} if status.mac else set(),
        identifiers={(DOMAIN, serial_number)},
        manufacturer=MANUFACTURER,
        model=MODEL,
        name=f"{NAME} {serial_number}",
        serial_number=serial_number,
        sw_version=status.software_version,
    )


def add_when_reported[DescriptionT: EmuEntityDescription](
    entry: EmuConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    entity_class: Callable[[EmuCoordinator, DescriptionT], EmuEntity],
    descriptions: Iterable[DescriptionT],
) -> None:
    """Add each entity once the meter reports its value."""
    coordinator = entry.runtime_data.meter
    # Some quantities depend on the meter's variant, others appear with a new firmware.
    missing = list(descriptions)

    @callback
    def add() -> None:
        data = coordinator.data
        reported = [
            description for description in missing if description.is_reported(data)
        ]
        if not reported:
            return
        for description in reported:
            missing.remove(description)
        async_add_entities(
            entity_class(coordinator, description) for description in reported
        )

    add()
    entry.async_on_unload(coordinator.async_add_listener(add))


def add_when_logged(entry: EmuConfigEntry, add: Callable[[], None]) -> None:
    """Add entities of the meter's logs once a log is found."""
    logbook = entry.runtime_data.logbook
    is_added = False

    @callback
    def add_once() -> None:
        nonlocal is_added
        data = logbook.data
        if not is_added and (data.logger is not None or data.logbook is not None):
            is_added = True
            add()

    entry.async_on_unload(logbook.async_add_listener(add_once))
