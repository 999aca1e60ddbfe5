"""The IDs of a meter's statistics in the recorder."""

from collections.abc import Sequence

from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.translation import async_get_translations
from homeassistant.util import slugify

from ..config_entry import EmuConfigEntry
from ..const import DOMAIN
from .recorder import Statistic, async_is_recorded, has_recorder
from .targets import TARGETS, Target


class MeterStatistics:
    """The statistics of one meter.

    `targets` are the quantities of the data logger. Each has a statistic, unless its
    sensor is disabled or excluded from the recorder.
    """

    def __init__(self, hass: HomeAssistant, entry: EmuConfigEntry) -> None:
        """Initialize the statistics of a config entry's meter."""
        assert entry.unique_id
        self.targets: Sequence[Target] = tuple(TARGETS)
        self._hass = hass
        self._entry = entry
        self._serial_number = entry.unique_id
        self._names: dict[str, str] = {}

    @property
    def external(self) -> list[Target]:
        """The quantities without a sensor."""
        return [target for target in self.targets if target.is_external]

    def of(self, target: Target) -> Statistic | None:
        """Return the statistic of a quantity, or None if it has none now."""
        quantity = target.quantity
        name = None
        if target.is_external:
            statistic_id = f"{DOMAIN}:{slugify(self._serial_number)}_{target.key}"
            name = self._names.get(target.key, target.key)
        elif (entity_id := self._entity_id(target)) is not None:
            statistic_id = entity_id
        else:
            return None
        return Statistic(
            statistic_id, quantity.unit, quantity.decimals, target.is_register, name
        )

    def existing(self) -> dict[str, Statistic]:
        """Return the existing statistics, by the key of their quantity."""
        return {
            target.key: statistic
            for target in self.targets
            if (statistic := self.of(target)) is not None
        }

    def registers(self) -> dict[str, Statistic]:
        """Return the existing statistics of registers, by key."""
        return {
            target.key: statistic
            for target in self.targets
            if target.is_register and (statistic := self.of(target)) is not None
        }

    async def async_learn_names(self) -> None:
        """Look up the names of external statistics, in the language of the house."""
        language = self._hass.config.language
        texts = await async_get_translations(self._hass, language, "entity", {DOMAIN})
        device = dr.async_get(self._hass).async_get_device_by_identifier(
            (DOMAIN, self._serial_number), self._entry.entry_id
        )
        name = device and (device.name_by_user or device.name)
        for target in self.external:
            key = f"component.{DOMAIN}.entity.sensor.{target.key}.name"
            quantity = texts.get(key, target.key)
            self._names[target.key] = f"{name or self._entry.title} {quantity}"

    def _entity_id(self, target: Target) -> str | None:
        """Return the sensor of a quantity, or None if its statistic must not be filled."""
        registry = er.async_get(self._hass)
        unique_id = f"{self._serial_number}_{target.key}"
        entity_id = registry.async_get_entity_id("sensor", DOMAIN, unique_id)
        if entity_id is None or registry.entities[entity_id].disabled:
            return None
        # Without a recorder, nothing is excluded from it.
        if has_recorder(self._hass) and not async_is_recorded(self._hass, entity_id):
            return None
        return entity_id
