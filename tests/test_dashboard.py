"""The dashboard to start from shows entities that there are."""

from collections.abc import Iterator
import re
from typing import Any, Final

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.util.yaml import parse_yaml
from scripts.entity_table import ROOT

from .conftest import SERIAL_NUMBER

DASHBOARD: Final = (ROOT / "dashboards" / "emu_professional.yaml").read_text()
CARDS: Final = {
    *("heading", "tile", "history-graph", "statistics-graph", "logbook"),
}
"""Home Assistant's own."""
OF_THE_ENERGY_DASHBOARD: Final = {
    f"sensor.emu_professional_ii_{SERIAL_NUMBER}_energy_import_cost",
    f"sensor.emu_professional_ii_{SERIAL_NUMBER}_energy_export_compensation",
}


def cards() -> Iterator[dict[str, Any]]:
    """Yield every card of every view."""
    dashboard = parse_yaml(DASHBOARD)
    assert isinstance(dashboard, dict)
    for view in dashboard["views"]:
        for section in view["sections"]:
            yield from section["cards"]


def entities(card: dict[str, Any]) -> set[str]:
    """Return the entities that a card shows."""
    shown = {entity["entity"] for entity in card.get("entities", [])}
    shown |= {card["entity"]} if "entity" in card else set()
    return shown | {*card.get("target", {}).values()}


@pytest.mark.usefixtures("impatient")
async def test_dashboard(
    hass: HomeAssistant, entity_registry: er.EntityRegistry, loaded: MockConfigEntry
) -> None:
    """Each card is Home Assistant's, and hidden where its entity may not be there."""
    await loaded.runtime_data.logbook.async_refresh()
    await hass.async_block_till_done()
    registered = er.async_entries_for_config_entry(entity_registry, loaded.entry_id)
    enabled = {e.entity_id for e in registered if not e.disabled}
    known = {e.entity_id for e in registered} | OF_THE_ENERGY_DASHBOARD
    always = {e for e in enabled if not e.startswith("event.")}
    seen: set[str] = set()
    for card in cards():
        assert card["type"] in CARDS
        seen |= (shown := entities(card))
        assert shown <= known
        hidden_without = {
            condition["entity"]
            for condition in card.get("visibility", [])
            if (condition["condition"], condition["state_not"])
            == ("state", "unavailable")
        }
        assert shown - always <= hidden_without, card
    assert len(seen) > 30
    numbers = set(re.findall(r"\d{8}", DASHBOARD))
    assert numbers == {SERIAL_NUMBER}
