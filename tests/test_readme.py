"""The documents say what the code does, and lead somewhere."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
import json
from pathlib import Path
import re
from typing import Any, Final

import pytest

from custom_components.emu_professional import services
from custom_components.emu_professional.const import DOMAIN, POLL_INTERVAL
from custom_components.emu_professional.emu.logs import (
    LOGBOOK_REGISTERS,
    SETTINGS,
    ChangeKind,
)
from custom_components.emu_professional.emu.registers import (
    BY_JSON_KEY,
    Kind,
    Measurand,
    Quantity,
)
from custom_components.emu_professional.sensor import DEMAND_SENSORS, SENSORS
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util.yaml import load_yaml_dict, parse_yaml
from scripts.entity_table import ROOT, TABLES, with_table
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.meter import Meter

README: Final = ROOT / "README.md"
ACTIONS: Final = ROOT / "docs/actions.md"
AUTOMATIONS: Final = ROOT / "docs/automations.md"
MANY_METERS: Final = ROOT / "docs/many-meters.md"
DEVELOPMENT: Final = ROOT / "docs/development.md"
CHANGELOG: Final = ROOT / "CHANGELOG.md"
DOCUMENTS: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
INTEGRATION: Final = ROOT / "custom_components" / DOMAIN
BLUEPRINTS: Final = sorted((ROOT / "blueprints/automation" / DOMAIN).glob("*.yaml"))
FORMS: Final = ROOT / ".github/ISSUE_TEMPLATE"
LONGEST_README: Final = 250
ROWS_OF_A_STATISTIC: Final = 24 + 288
"""A day: hours, and five minutes."""
PROOFS: Final = (".ci/run", "scripts/newcomer", "scripts/prove", "scripts/test")
"""What runs all other commands."""

SERVICES: Final = load_yaml_dict(str(INTEGRATION / "services.yaml"))
TEXTS: Final = json.loads((INTEGRATION / "translations/en.json").read_text())
METER: Final = {"config_entry_id", "device_id"}

COMMAND: Final = re.compile(r"(\bscripts/\w+|python -m [\w.]+)(?: --[a-z0-9]+)?")
"""A program and its first option."""
LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
"""A link or a picture, and what it leads to."""
MENTION: Final = re.compile(
    r"\b((?:README|CHANGELOG|CONTRIBUTING|docs/[\w-]+)\.md)(?:#([\w-]+))?"
)
"""A document that is named elsewhere, and an anchor in it."""
FILE: Final = re.compile(r"[\w.-]+(?:/[\w.@-]+)+/?")
"""A file or a folder, with at least one folder before it."""
FOLDERS: Final = (
    *("custom_components", "blueprints", "dashboards", ".github", "scripts"),
    *("benchmarks", "processes", "simulator", "tests"),
)


def prose(document: Path) -> str:
    """Return the text of a document without its blocks of code."""
    return re.sub(
        r"^( *)```.*?^\1```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL
    )


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return names


def section(document: Path, heading: str) -> str:
    """Return what follows a heading, up to the next one of its level or above."""
    level = heading.split(" ", maxsplit=1)[0]
    text = document.read_text()
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, heading
    return re.split(rf"^#{{1,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables in a text."""
    for line in re.findall(r"^\| (.*?) ?\|$", text, re.MULTILINE):
        yield [cell.strip() for cell in line.split(" |")]


def test_readme_is_short() -> None:
    """What an owner wants to know first is on a few pages."""
    assert len(README.read_text().splitlines()) <= LONGEST_README


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link has a file, and every anchor a heading there."""
    for link in LINK.findall(prose(document)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_documents_that_are_named_elsewhere_exist() -> None:
    """Code, texts, blueprints and forms name documents and anchors that there are."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in {"", ".json", ".py", ".sh", ".yaml", ".yml"}:
                continue
            if not path.is_file() or path == Path(__file__):
                continue
            for name, anchor in MENTION.findall(path.read_text()):
                assert (ROOT / name).exists(), f"{path}: {name}"
                assert not anchor or anchor in anchors(ROOT / name), f"{path}: {anchor}"


def test_every_document_is_found() -> None:
    """From the README every document is a link or two away, and every picture shown."""
    seen, open_documents = set[Path](), [README]
    while open_documents:
        document = open_documents.pop()
        seen.add(document)
        links = [link.partition("#")[0] for link in LINK.findall(prose(document))]
        targets = {(document.parent / link).resolve() for link in links if link}
        open_documents += (targets & {*DOCUMENTS}) - seen
        seen |= {target for target in targets if target.suffix == ".png"}
    assert {*DOCUMENTS, *(ROOT / "docs/images").iterdir()} == seen


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document: Path) -> None:
    """A file in code style is one of the repository, or of the integration."""
    for text in re.findall(r"`([^`\n]+)`", prose(document)):
        if FILE.fullmatch(text) and text.endswith(("/", ".py")):
            places = (ROOT, INTEGRATION)
            assert any((place / text).exists() for place in places), text


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_those_of_the_code(name: str) -> None:
    """Entities and events are today's: `scripts.entity_table --write` renews them."""
    text = TABLES[name][0].read_text()
    assert text == with_table(text, name)


def test_all_actions_are_described() -> None:
    """There is a part for every action, and the list says who may call it."""
    text = ACTIONS.read_text()
    listed = {cells[0]: cells[2] for cells in rows(text.partition("\n## ")[0])}
    for action in services.ACTIONS:
        name = TEXTS["services"][action]["name"]
        anchor = name.lower().replace(" ", "-")
        callers = listed[f"[{name}](#{anchor})"]
        is_limited = services.ACTIONS[action].only_administrators
        assert (callers == "administrators") is is_limited, action
        assert f"\n`{DOMAIN}.{action}` " in section(ACTIONS, f"### {name}")


@pytest.mark.parametrize("action", SERVICES)
def test_fields_are_described(action: str) -> None:
    """The table of an action has each of its fields, with default and choices."""
    text = section(ACTIONS, f"### {TEXTS['services'][action]['name']}")
    fields: dict[str, Any] = SERVICES[action]["fields"]
    schema = {str(key) for key in services.ACTIONS[action].schema.schema}
    assert schema == fields.keys()
    described = {
        cells[0].strip("`"): cells for cells in rows(text) if cells[0].startswith("`")
    }
    for field in fields.keys() - METER:
        if field not in described:
            # Those of another action, which is linked.
            assert f"`{field}`" in text, field
            continue
        _, kind, default, _ = described[field]
        if fields[field].get("required"):
            assert default == "required", field
        if (expected := fields[field].get("default")) is not None:
            assert default == f"`{json.dumps(expected).strip('"')}`", field
        for option in fields[field]["selector"].get("select", {}).get("options", ()):
            assert f"`{option}`" in (text if field == "columns" else kind), option


def test_fields_of_every_action_are_described() -> None:
    """How to name a meter is said once for all actions."""
    text = section(ACTIONS, "## What all actions have in common")
    assert {f"`{field}`" for field in METER} <= {cells[0] for cells in rows(text)}


def test_attributes_of_events_are_described() -> None:
    """The table has whatever an event of the logbook can come with."""
    text = section(AUTOMATIONS, "### Attributes")
    named = set(re.findall(r"`(\w+)`", text))
    kinds = {f"{kind}_{when}" for kind in ChangeKind for when in ("before", "after")}
    units = {f"{pair.kind}_unit" for pair in SETTINGS}
    registers = {quantity.key for quantity in LOGBOOK_REGISTERS}
    assert kinds | units | registers | {"time", "index", "logger_index"} <= named


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_blueprints_are_described(path: Path) -> None:
    """Each blueprint has a part, and each of its inputs a row there."""
    headings = re.findall(r"^### (.+)$", AUTOMATIONS.read_text(), re.MULTILINE)
    heading = next(
        each
        for each in headings
        if each.lower().startswith(path.stem.replace("_", " "))
    )
    text = section(AUTOMATIONS, f"### {heading}")
    assert f"(../{path.relative_to(ROOT)})" in text
    blueprint = load_yaml_dict(str(path))["blueprint"]
    names = [each["name"] for each in blueprint["input"].values()]
    assert names == [cells[0] for cells in rows(text)][2:]


@pytest.mark.parametrize("part", ["config", "options"])
def test_fields_of_dialogs_are_described(part: str) -> None:
    """The README explains every field of set-up and options."""
    described = "\n".join(cells[0] for cells in rows(README.read_text()))
    for step in TEXTS[part]["step"].values():
        for name in step.get("data", {}).values():
            assert name in described or f"*{name}*" in README.read_text(), name


def test_repair_issues_are_described() -> None:
    """The README has every message under Repairs, in the words of its title."""
    messages = {cells[0] for cells in rows(section(README, "## Repairs"))}
    titles = {issue["title"] for issue in TEXTS["issues"].values()}
    assert {re.sub(r"\{\w+\}", "…", title) for title in titles} <= messages


def test_rows_of_a_day_are_counted() -> None:
    """The figures for the database are those of today's default entities."""
    changes = _changes_of_a_day()
    enabled = {each.key for each in SENSORS if each.entity_registry_enabled_default}
    of_default_entities: Counter[Measurand] = Counter()
    for quantity, count in changes.items():
        if quantity.key in enabled:
            of_default_entities[quantity.measurand] += count
    voltages = [
        count
        for quantity, count in changes.items()
        if (quantity.kind, quantity.measurand) == (Kind.MOMENTARY, Measurand.VOLTAGE)
    ]
    statistics = sum(
        each.entity_registry_enabled_default and each.state_class is not None
        for each in (*SENSORS, *DEMAND_SENSORS)
    )
    _, _, *table = rows(section(MANY_METERS, "## The database"))
    assert [_first_number(row[1]) for row in table] == pytest.approx(
        [
            of_default_entities[Measurand.ENERGY],
            of_default_entities[Measurand.ACTIVE_POWER],
            of_default_entities[Measurand.CURRENT],
            of_default_entities.total(),
            sum(voltages),
            statistics * ROWS_OF_A_STATISTIC,
        ],
        # A part of the day is not all of it: the registers differ by a twentieth.
        rel=0.07,
    )
    costs = {row[0]: row for row in rows(section(MANY_METERS, "## What they cost"))}
    # There the meters have their voltages as well.
    with_voltages = (statistics + len(voltages)) * ROWS_OF_A_STATISTIC
    for meters, cell in zip(
        costs["Meters"][1:], costs["rows of statistics per day"][1:], strict=True
    ):
        expected = int(meters) * with_voltages
        assert _first_number(cell) == pytest.approx(expected, rel=0.01)


def _first_number(cell: str) -> int:
    """Return the first whole number in a cell of a table."""
    match = re.search(r"\d[\d,]*\d", cell)
    assert match, cell
    return int(match[0].replace(",", ""))


def _changes_of_a_day() -> Counter[Quantity]:
    """Return how often each value changes in a day, counted 5 minutes of every 40."""
    window, pause = timedelta(minutes=5), timedelta(minutes=35)
    every = (window + pause) // window
    begin = datetime(2026, 6, 1, tzinfo=UTC)
    clock = ManualClock(begin)
    meter = Meter(MeterConfig(installed=begin - timedelta(days=1)), clock)
    changes: Counter[Quantity] = Counter()
    for _ in range(timedelta(days=1) // (window + pause)):
        before = meter.meter_data()
        for _ in range(window // POLL_INTERVAL):
            clock.advance(POLL_INTERVAL.total_seconds())
            now = meter.meter_data()
            for key, quantity in BY_JSON_KEY.items():
                changes[quantity] += every * (now[key] != before[key])
            before = now
        clock.advance(pause.total_seconds())
    return changes


def test_tree_has_every_module() -> None:
    """The architecture names each module of the integration, and no other file."""
    text = section(DEVELOPMENT, "### The tree")
    folders: dict[int, str] = {}
    files: set[str] = set()
    for line in text.partition("```\n")[2].partition("```")[0].splitlines():
        names = line.strip().split("  ")[0].split(", ")
        depth = (len(line) - len(line.lstrip())) // 2
        paths = [folders.get(depth - 1, "") + name for name in names]
        folders[depth] = paths[-1]
        files |= {path for path in paths if not path.endswith("/")}
        assert all((ROOT / path).exists() for path in paths), line
    modules = {*INTEGRATION.rglob("*.py")} - {*INTEGRATION.glob("*/**/__init__.py")}
    assert files == {path.relative_to(ROOT).as_posix() for path in modules}


async def test_examples_are_valid(hass: HomeAssistant) -> None:
    """Home Assistant takes the automations and scripts of the documents."""
    texts = [
        text
        for document in DOCUMENTS
        for text in re.findall(
            r"^```yaml\n(.*?)^```$", document.read_text(), re.MULTILINE | re.DOTALL
        )
    ]
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
    """A command of the documents is typed by what proves the code, and tried out."""
    named: set[str] = set()
    for document in DOCUMENTS:
        text = document.read_text()
        blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        texts = "\n".join([*blocks, *re.findall(r"`[^`\n]+`", text)])
        named |= {command[0] for command in COMMAND.finditer(texts)}
    typed = {*PROOFS}
    for script in PROOFS:
        lines = (ROOT / script).read_text().splitlines()
        code = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
        for command in COMMAND.finditer(code):
            typed |= {command[0], command[1]}
    assert named - typed == set()


def test_changelog_has_the_version() -> None:
    """Sections are in the form of Keep a Changelog, and the manifest's is there."""
    text = CHANGELOG.read_text()
    unreleased, *released = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert unreleased == "[Unreleased]"
    found = [
        re.fullmatch(r"\[([\d.]+)\] - (\d{4}-\d\d-\d\d)", each) for each in released
    ]
    versions = [tuple(map(int, match[1].split("."))) for match in found if match]
    dates = [match[2] for match in found if match]
    assert len(versions) == len(released)
    assert versions == sorted(versions, reverse=True)
    assert dates == sorted(dates, reverse=True)
    manifest = json.loads((INTEGRATION / "manifest.json").read_text())
    assert tuple(map(int, manifest["version"].split("."))) in versions
    for name in ("Unreleased", *(match[1] for match in found if match)):
        assert f"\n[{name}]: https://" in text
    groups = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {*re.findall(r"^### (.+)$", text, re.MULTILINE)} <= groups


def test_issue_forms_ask_for_what_is_needed() -> None:
    """GitHub takes the forms, and a report has what helps to find its cause."""
    ids = {}
    for path in (FORMS / "bug.yml", FORMS / "feature.yml"):
        form = load_yaml_dict(str(path))
        assert {"name", "description", "body"} <= form.keys()
        ids[path.stem] = [field["id"] for field in form["body"] if "id" in field]
        assert len(ids[path.stem]) == len({*ids[path.stem]})
    needed = {"version", "home_assistant", "firmware", "serial_number"}
    assert needed | {"diagnostics", "log"} <= {*ids["bug"]}
    assert "contact_links" in load_yaml_dict(str(FORMS / "config.yml"))
