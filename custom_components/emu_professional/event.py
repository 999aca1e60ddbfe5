"""What a meter's logbook and data logger have to tell."""

from typing import Any, override

from homeassistant.components.event import EventEntity, EventEntityDescription
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .emu.events import MeterEvent
from .emu.logs import LogbookRecord, LoggerStatus
from .entity import LogbookEntity, add_when_logged
from .meter_log import LOGBOOK_KEY
from .record_data import described, shown
from .runtime import EmuConfigEntry

PARALLEL_UPDATES = 0

LOGBOOK = EventEntityDescription(
    key=LOGBOOK_KEY,
    translation_key="logbook",
    event_types=[(bit.name or "").lower() for bit in LoggerStatus],
)


async def async_setup_entry(
    hass: HomeAssistant,
    entry: EmuConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Set up the logbook of a meter, once it is known to have one."""
    add_when_logged(
        entry,
        lambda: async_add_entities([LogbookEvent(entry.runtime_data, LOGBOOK)]),
    )


class LogbookEvent(LogbookEntity, EventEntity):
    """Fires once for each thing that the meter has logged."""

    entity_description: EventEntityDescription

    @property
    @override
    def available(self) -> bool:
        """Return true: what happened is known, whether the meter answers or not."""
        return True

    @override
    async def async_added_to_hass(self) -> None:
        """Fire what happened before the entity was there."""
        await super().async_added_to_hass()
        # Until this has returned, all of them would be one change of the state.
        self.async_on_remove(self.hass.loop.call_soon(self._fire).cancel)

    @callback
    def async_entity_id_changed(self, old_entity_id: str) -> None:
        """Change the entity id in place, from 2026.11 on: nothing depends on it."""

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        self._fire()

    @callback
    def _fire(self) -> None:
        self.coordinator.report_events(self._report)

    @callback
    def _report(self, event: MeterEvent) -> None:
        self._trigger_event(event.name, _attributes(event))
        self.async_write_ha_state()


def _attributes(event: MeterEvent) -> dict[str, Any]:
    record = event.record
    if isinstance(record, LogbookRecord):
        return described(record)
    return {"time": shown(record.at), "logger_index": record.index}
