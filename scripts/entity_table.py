"""Prints the documents' tables of entities and events, or writes them with --write.

.venv/bin/python -m scripts.entity_table [--write]
"""

from collections import defaultdict
from collections.abc import Sequence
import json
from pathlib import Path
import sys

from custom_components.emu_professional.binary_sensor import (
    BINARY_SENSORS,
    LOGGER_BINARY_SENSORS,
)
from custom_components.emu_professional.button import BUTTONS
from custom_components.emu_professional.event import LOGBOOK
from custom_components.emu_professional.sensor import (
    BACKFILL_SENSORS,
    DEMAND_SENSORS,
    SENSORS,
)
from custom_components.emu_professional.update import FIRMWARE
from homeassistant.helpers.entity import EntityDescription

ROOT = Path(__file__).parent.parent
TEXTS = ROOT / "custom_components/emu_professional/translations/en.json"

PLATFORMS: dict[str, Sequence[EntityDescription]] = {
    "sensor": (*SENSORS, *DEMAND_SENSORS, *BACKFILL_SENSORS),
    "binary_sensor": (*BINARY_SENSORS, *LOGGER_BINARY_SENSORS),
    "button": BUTTONS,
    "event": (LOGBOOK,),
    "update": (FIRMWARE,),
}


def entities() -> str:
    """Return the table of entities: those of one name and kind share a row."""
    names = json.loads(TEXTS.read_text())["entity"]
    rows = ["| Entity | Unit | Enabled by default |", "| --- | --- | --- |"]
    for platform, descriptions in PLATFORMS.items():
        groups = defaultdict(list)
        for description in descriptions:
            groups[description.translation_key].append(description)
        rows += (_row(names[platform][key]["name"], groups[key]) for key in groups)
    return "\n".join(rows) + "\n"


def events() -> str:
    """Return the table of the logbook's events."""
    texts = json.loads(TEXTS.read_text())["entity"]["event"]["logbook"]
    names = texts["state_attributes"]["event_type"]["state"]
    rows = ["| Event type | Meaning |", "| --- | --- |"]
    rows += (f"| `{key}` | {names[key]} |" for key in LOGBOOK.event_types or ())
    return "\n".join(rows) + "\n"


def _row(name: str, alike: Sequence[EntityDescription]) -> str:
    for placeholder in alike[0].translation_placeholders or {}:
        values = [(d.translation_placeholders or {})[placeholder] for d in alike]
        name = name.replace(f"{{{placeholder}}}", ", ".join(values))
    unit = getattr(alike[0], "native_unit_of_measurement", None) or ""
    enabled = "yes" if alike[0].entity_registry_enabled_default else ""
    return f"| {name} | {unit} | {enabled} |"


TABLES = {
    "entities": (ROOT / "docs/entities.md", entities),
    "events": (ROOT / "docs/automations.md", events),
}
"""The tables by their name, with the document that has them."""


def with_table(text: str, name: str) -> str:
    """Return the text of a document with the present table of a name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    _, table = TABLES[name]
    return f"{before}{begin}{table()}{end}{after}"


if __name__ == "__main__":
    for name, (document, table) in TABLES.items():
        if "--write" in sys.argv:
            document.write_text(with_table(document.read_text(), name))
        else:
            print(table())
