"""Events of a meter's logbook and data logger."""

from typing import Any, override

from homeassistant.components.event import EventEntity, EventEntityDescription
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .config_entry import EmuConfigEntry
from .emu.events import MeterEvent
from .emu.logs import LogbookRecord, LoggerStatus
from .entity import LogbookEntity, add_when_logged
from .meter_log import LOGBOOK_KEY
from .record_data import local_time, logbook_record_data

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
    """Set up the event entity of a meter once a log is found."""
    add_when_logged(
        entry,
        lambda: async_add_entities([LogbookEvent(entry.runtime_data, LOGBOOK)]),
    )


class LogbookEvent(LogbookEntity, EventEntity):
    """Fires once for each logged event."""

    entity_description: EventEntityDescription

    @property
    @override
    def available(self) -> bool:
        """Return true: past events are known also while the meter does not answer."""
        return True

    @callback
    @override
    def _added(self) -> None:
        """Fire the queued events."""
        # Home Assistant writes the first state after this method: until then all
        # events would become one change of the state.
        self.async_on_remove(self.hass.loop.call_soon(self._fire).cancel)

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
        return logbook_record_data(record)
    return {"time": local_time(record.at), "logger_index": record.index}
