"""Sensors of a meter."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import override

from homeassistant.components.sensor import (
    SensorDeviceClass,
    SensorEntity,
    SensorEntityDescription,
    SensorStateClass,
)
from homeassistant.const import (
    PERCENTAGE,
    EntityCategory,
    UnitOfElectricCurrent,
    UnitOfElectricPotential,
    UnitOfEnergy,
    UnitOfFrequency,
    UnitOfPower,
    UnitOfReactivePower,
    UnitOfTime,
)
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .backfill.progress import BackfillProgress, BackfillState
from .config_entry import EmuConfigEntry
from .coordinator import MeterData
from .demand_coordinator import DemandCoordinator, DemandData
from .emu.registers import BY_JSON_KEY, Kind, Measurand, Phase, Quantity, Tariff
from .entity import (
    BackfillEntity,
    EmuEntity,
    EmuEntityDescription,
    MeterEntity,
    Observable,
    add_when_reported,
)
from .intervals import Interval
from .runtime import EmuRuntime

# The coordinator does the polling.
PARALLEL_UPDATES = 0

_DEVICE_CLASSES = {
    Measurand.ENERGY: SensorDeviceClass.ENERGY,
    Measurand.ACTIVE_POWER: SensorDeviceClass.POWER,
    Measurand.REACTIVE_POWER: SensorDeviceClass.REACTIVE_POWER,
    Measurand.CURRENT: SensorDeviceClass.CURRENT,
    Measurand.VOLTAGE: SensorDeviceClass.VOLTAGE,
    Measurand.POWER_FACTOR: SensorDeviceClass.POWER_FACTOR,
    Measurand.FREQUENCY: SensorDeviceClass.FREQUENCY,
}

_UNITS = {
    "kWh": UnitOfEnergy.KILO_WATT_HOUR,
    "kW": UnitOfPower.KILO_WATT,
    "kvar": UnitOfReactivePower.KILO_VOLT_AMPERE_REACTIVE,
    "A": UnitOfElectricCurrent.AMPERE,
    "V": UnitOfElectricPotential.VOLT,
    "Hz": UnitOfFrequency.HERTZ,
    "": None,
}

_STATE_CLASSES = {
    Kind.REGISTER: SensorStateClass.TOTAL_INCREASING,
    Kind.MOMENTARY: SensorStateClass.MEASUREMENT,
}


def _enabled(quantity: Quantity) -> bool:
    """Return whether an entity is enabled by default.

    Only those used in the dashboards and automations of many owners: a voltage, for
    instance, changes at two polls of three and costs 11,500 rows of the recorder a
    day.
    """
    match quantity.kind, quantity.measurand:
        case (Kind.REGISTER, _) | (Kind.MOMENTARY, Measurand.ACTIVE_POWER):
            return True
        case Kind.MOMENTARY, Measurand.CURRENT:
            return quantity.phase is not Phase.L123
        case _:
            return False


def _translation_key(quantity: Quantity) -> str:
    parts = [quantity.measurand.value]
    if quantity.direction:
        parts.append(quantity.direction)
    if quantity.kind not in _STATE_CLASSES:
        parts.append(quantity.kind)
    if quantity.tariff:
        parts.append("tariff")
    if quantity.phase is not Phase.L123:
        parts.append("phase")
    return "_".join(parts)


def _placeholders(quantity: Quantity) -> dict[str, str]:
    placeholders = {}
    if quantity.tariff:
        placeholders["tariff"] = quantity.tariff.value
    if quantity.phase is not Phase.L123:
        placeholders["phase"] = quantity.phase.value
    return placeholders


@dataclass(frozen=True, kw_only=True)
class EmuSensorDescription(EmuEntityDescription, SensorEntityDescription):
    """Describes a sensor of a meter."""


def _describe(quantity: Quantity) -> EmuSensorDescription:
    is_time = quantity.kind.is_time
    return EmuSensorDescription(
        key=quantity.key,
        translation_key=_translation_key(quantity),
        translation_placeholders=_placeholders(quantity),
        device_class=(
            SensorDeviceClass.TIMESTAMP
            if is_time
            else _DEVICE_CLASSES[quantity.measurand]
        ),
        native_unit_of_measurement=_UNITS[quantity.unit],
        state_class=_STATE_CLASSES.get(quantity.kind),
        suggested_display_precision=None if is_time else quantity.decimals,
        entity_registry_enabled_default=_enabled(quantity),
        value_fn=lambda data: data.readings.values.get(quantity.key),
    )


def _tariff(data: MeterData) -> str | None:
    return data.tariff and data.tariff.lower()


def _clock_offset(data: MeterData) -> int | None:
    offset = data.clock_offset
    return None if offset is None else int(offset.total_seconds())


SENSORS = (
    *(_describe(quantity) for quantity in BY_JSON_KEY.values()),
    EmuSensorDescription(
        key="tariff",
        translation_key="tariff",
        device_class=SensorDeviceClass.ENUM,
        options=[tariff.lower() for tariff in Tariff],
        value_fn=_tariff,
        reported_fn=lambda data: data.readings.values.get("energy_import_t2"),
    ),
    EmuSensorDescription(
        key="clock",
        translation_key="clock",
        device_class=SensorDeviceClass.TIMESTAMP,
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value_fn=lambda data: data.readings.clock,
    ),
    EmuSensorDescription(
        key="clock_offset",
        translation_key="clock_offset",
        device_class=SensorDeviceClass.DURATION,
        entity_category=EntityCategory.DIAGNOSTIC,
        native_unit_of_measurement=UnitOfTime.SECONDS,
        state_class=SensorStateClass.MEASUREMENT,
        suggested_display_precision=0,
        value_fn=_clock_offset,
    ),
    EmuSensorDescription(
        key="ip_address",
        translation_key="ip_address",
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value_fn=lambda data: data.status.ip_address,
    ),
    EmuSensorDescription(
        key="modbus_port",
        translation_key="modbus_port",
        entity_category=EntityCategory.DIAGNOSTIC,
        entity_registry_enabled_default=False,
        value_fn=lambda data: data.status.modbus_port,
    ),
    EmuSensorDescription(
        key="ntp_server",
        translation_key="ntp_server",
        entity_category=EntityCategory.DIAGNOSTIC,
        value_fn=lambda data: data.status.ntp_server,
    ),
)


@dataclass(frozen=True, kw_only=True)
class DemandSensorDescription(SensorEntityDescription):
    """Describes a sensor of the demand, by default a power."""

    value_fn: Callable[[DemandCoordinator], float | datetime | None]
    follows_polls: bool = False
    """Whether the value changes at each poll, not only per interval."""
    device_class: SensorDeviceClass | None = SensorDeviceClass.POWER
    native_unit_of_measurement: str | None = UnitOfPower.KILO_WATT
    suggested_display_precision: int | None = 3


def _demand(interval: Interval | None) -> float | None:
    return interval and interval.demand


def _peak(
    key: str, peak: Callable[[DemandData], Interval | None]
) -> Iterator[DemandSensorDescription]:
    """Yield the sensors of a peak, and of the end of its interval."""

    def time(demand: DemandCoordinator) -> datetime | None:
        interval = peak(demand.data)
        return interval and datetime.fromtimestamp(interval.end, UTC)

    yield DemandSensorDescription(
        key=key,
        translation_key=key,
        value_fn=lambda demand: _demand(peak(demand.data)),
    )
    yield DemandSensorDescription(
        key=f"{key}_time",
        translation_key=f"{key}_time",
        device_class=SensorDeviceClass.TIMESTAMP,
        native_unit_of_measurement=None,
        suggested_display_precision=None,
        value_fn=time,
    )


DEMAND_SENSORS = (
    DemandSensorDescription(
        key="demand",
        translation_key="demand",
        state_class=SensorStateClass.MEASUREMENT,
        value_fn=lambda demand: _demand(demand.data.last),
    ),
    DemandSensorDescription(
        key="expected_demand",
        translation_key="expected_demand",
        entity_registry_enabled_default=False,
        value_fn=lambda demand: demand.expected,
        follows_polls=True,
    ),
    *_peak("peak_demand_this_month", lambda data: data.this_month),
    *_peak("peak_demand_last_month", lambda data: data.last_month),
)


@dataclass(frozen=True, kw_only=True)
class BackfillSensorDescription(SensorEntityDescription):
    """Describes a sensor of the back-fill."""

    value_fn: Callable[[BackfillProgress], str | int | None]


BACKFILL_SENSORS = (
    BackfillSensorDescription(
        key="backfill",
        translation_key="backfill",
        device_class=SensorDeviceClass.ENUM,
        entity_category=EntityCategory.DIAGNOSTIC,
        options=list(BackfillState),
        value_fn=lambda progress: progress.state,
    ),
    BackfillSensorDescription(
        key="backfill_progress",
        translation_key="backfill_progress",
        entity_category=EntityCategory.DIAGNOSTIC,
        native_unit_of_measurement=PERCENTAGE,
        suggested_display_precision=0,
        value_fn=lambda progress: progress.percent,
    ),
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EmuConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the sensors of a meter."""
    add_when_reported(entry, async_add_entities, EmuSensor, SENSORS)
    async_add_entities(
        DemandSensor(entry.runtime_data, description) for description in DEMAND_SENSORS
    )
    async_add_entities(
        BackfillSensor(entry.runtime_data, description)
        for description in BACKFILL_SENSORS
    )


class EmuSensor(EmuEntity, SensorEntity):
    """Shows a quantity or another value of the meter."""

    entity_description: EmuSensorDescription

    @override
    def _show(self, value: Decimal | datetime | str | int | None) -> None:
        self._attr_native_value = value


class DemandSensor(MeterEntity[DemandCoordinator], SensorEntity):
    """Shows a demand, or the end of its interval."""

    entity_description: DemandSensorDescription

    def __init__(
        self, runtime: EmuRuntime, description: DemandSensorDescription
    ) -> None:
        """Initialize the entity with the present value."""
        super().__init__(runtime.demand, runtime.meter, description)
        self._meter = runtime.meter
        self._attr_native_value = description.value_fn(self.coordinator)
        self._was_available = self.available

    @property
    @override
    def available(self) -> bool:
        """Return whether the meter answers."""
        return self._meter.last_update_success

    @property
    @override
    def _observables(self) -> Iterable[tuple[Observable, CALLBACK_TYPE]]:
        if self.entity_description.follows_polls:
            yield self._meter, self._handle_coordinator_update

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Write the state if it changed."""
        value = self.entity_description.value_fn(self.coordinator)
        available = self.available
        if value == self._attr_native_value and available is self._was_available:
            return
        self._attr_native_value = value
        self._was_available = available
        self.async_write_ha_state()


class BackfillSensor(BackfillEntity, SensorEntity):
    """Shows the progress of the back-fill."""

    entity_description: BackfillSensorDescription

    @property
    @override
    def native_value(self) -> str | int | None:
        """Return the state or the percentage."""
        return self.entity_description.value_fn(self.coordinator.data)
