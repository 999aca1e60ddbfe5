"""Prints the README's table of entities, or writes it there with --write.

.venv/bin/python -m scripts.entity_table [--write]
"""

from collections import defaultdict
from collections.abc import Sequence
import json
from pathlib import Path
import sys

from custom_components.emu_professional.binary_sensor import BINARY_SENSORS
from custom_components.emu_professional.button import BUTTONS
from custom_components.emu_professional.sensor import BACKFILL_SENSORS, SENSORS
from custom_components.emu_professional.update import FIRMWARE
from homeassistant.helpers.entity import EntityDescription

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BEGIN = "<!-- entities -->\n"
END = "<!-- /entities -->\n"

PLATFORMS: dict[str, Sequence[EntityDescription]] = {
    "sensor": (*SENSORS, *BACKFILL_SENSORS),
    "binary_sensor": BINARY_SENSORS,
    "button": BUTTONS,
    "update": (FIRMWARE,),
}


def table() -> str:
    """Return the table: entities of one name and kind share a row."""
    path = ROOT / "custom_components/emu_professional/translations/en.json"
    names = json.loads(path.read_text())["entity"]
    rows = ["| Entity | Unit | Enabled by default |", "| --- | --- | --- |"]
    for platform, descriptions in PLATFORMS.items():
        groups = defaultdict(list)
        for description in descriptions:
            groups[description.translation_key].append(description)
        rows += (_row(names[platform][key]["name"], groups[key]) for key in groups)
    return "\n".join(rows) + "\n"


def _row(name: str, alike: Sequence[EntityDescription]) -> str:
    for placeholder in alike[0].translation_placeholders or {}:
        values = [(d.translation_placeholders or {})[placeholder] for d in alike]
        name = name.replace(f"{{{placeholder}}}", ", ".join(values))
    unit = getattr(alike[0], "native_unit_of_measurement", None) or ""
    enabled = "yes" if alike[0].entity_registry_enabled_default else ""
    return f"| {name} | {unit} | {enabled} |"


def with_table(readme: str) -> str:
    """Return the README with the table of today."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(with_table(README.read_text()))
    else:
        print(table(), end="")
