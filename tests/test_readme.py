"""The README says what the code does."""

import re

import pytest

from custom_components.emu_professional import services
from custom_components.emu_professional.const import DOMAIN
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import parse_yaml
from scripts.entity_table import README, ROOT, with_tables

ACTIONS = {
    services.SERVICE_BACKFILL: services._BACKFILL_SCHEMA,
    services.SERVICE_COSTS: services._COSTS_SCHEMA,
    services.SERVICE_GET: services._GET_SCHEMA,
    services.SERVICE_EXPORT: services._EXPORT_SCHEMA,
    services.SERVICE_CONSUMPTION: services._CONSUMPTION_SCHEMA,
    services.SERVICE_LOGBOOK: services._LOGBOOK_SCHEMA,
    services.SERVICE_SLOTS: services._SLOTS_SCHEMA,
}

COMMAND = re.compile(r"(\bscripts/\w+|python -m [\w.]+)(?: --[a-z0-9]+)?")
"""A program and its first option."""


def test_tables_are_those_of_the_code() -> None:
    """Entities and events are today's; `python -m scripts.entity_table --write` renews them."""
    readme = README.read_text()
    assert readme == with_tables(readme)


@pytest.mark.parametrize("action", ACTIONS)
def test_actions_are_those_of_the_code(action: str) -> None:
    """Every action has a part of its own, and every field is named there."""
    _, _, actions = README.read_text().partition("\n## Actions\n")
    begin = f"`{DOMAIN}.{action}`"
    assert actions.count(begin) == 1
    text, _, _ = actions.partition(begin)[2].partition("\n### ")
    fields = {str(key) for key in ACTIONS[action].schema}
    # How to name a meter is said once for all; the export takes the fields above.
    fields -= {"config_entry_id", "device_id"}
    if action == services.SERVICE_EXPORT:
        fields = {services.ATTR_PATH}
    assert fields <= set(re.findall(r"`(\w+)`", text))


async def test_examples_are_valid(hass: HomeAssistant) -> None:
    """Home Assistant takes what the README has of automations and scripts."""
    texts = re.findall(
        r"^```yaml\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL
    )
    examples = [parse_yaml(text) for text in texts]
    automations = [
        {"alias": f"Example {number}", "actions": []} | example
        for number, example in enumerate(examples)
        if isinstance(example, dict) and "triggers" in example
    ]
    scripts = {
        f"example_{number}": example
        for number, example in enumerate(examples)
        if isinstance(example, dict) and "sequence" in example
    }
    assert automations
    assert scripts
    assert await async_setup_component(hass, "automation", {"automation": automations})
    assert await async_setup_component(hass, "script", {"script": scripts})
    states = [state.state for state in hass.states.async_all()]
    assert sorted(states) == ["off"] * len(scripts) + ["on"] * len(automations)


def test_every_command_is_run() -> None:
    """What the README tells to type is typed by what proves the code, and tried out."""
    readme = README.read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    told = COMMAND.finditer("\n".join([*blocks, *re.findall(r"`[^`\n]+`", readme)]))
    typed: set[str] = set()
    for script in (".ci/run", "scripts/newcomer", "scripts/prove"):
        for command in COMMAND.finditer((ROOT / script).read_text()):
            typed |= {command[0], command[1]}
    assert {command[0] for command in told} - typed == set()
