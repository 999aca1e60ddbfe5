"""Texts and icons are complete."""

from collections.abc import Iterator
import json
from pathlib import Path
import re
from typing import Any

import hass_frontend
import pytest

from custom_components.emu_professional.backfill.progress import BackfillState
from custom_components.emu_professional.backfill.targets import TARGETS
from custom_components.emu_professional.binary_sensor import (
    BINARY_SENSORS,
    LOGGER_BINARY_SENSORS,
)
from custom_components.emu_professional.button import BUTTONS
from custom_components.emu_professional.emu.updater.outcome import Reason
from custom_components.emu_professional.event import LOGBOOK
from custom_components.emu_professional.failures import TEXTS
from custom_components.emu_professional.issues import ISSUES
from custom_components.emu_professional.sensor import (
    BACKFILL_SENSORS,
    DEMAND_SENSORS,
    SENSORS,
)
from custom_components.emu_professional.update import FIRMWARE
from homeassistant.helpers.entity import EntityDescription

INTEGRATION = Path(__file__).parent.parent / "custom_components" / "emu_professional"
DESCRIPTIONS: dict[str, tuple[EntityDescription, ...]] = {
    "sensor": (*SENSORS, *DEMAND_SENSORS, *BACKFILL_SENSORS),
    "binary_sensor": (*BINARY_SENSORS, *LOGGER_BINARY_SENSORS),
    "button": BUTTONS,
    "event": (LOGBOOK,),
    "update": (FIRMWARE,),
}
LANGUAGES = sorted(path.stem for path in (INTEGRATION / "translations").glob("*.json"))
PAGES = {
    "exceptions.unauthorized.message": (
        ("config", "ui.panel.config.dashboard.devices.main"),
    ),
    "exceptions.unit_not_convertible.message": (
        ("config", "ui.panel.config.dashboard.tools.main"),
        ("config", "ui.panel.config.tools.tabs.statistics.title"),
    ),
}
"""Texts that lead to a page of Home Assistant, and the frontend's names on the way."""
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def texts(language: str) -> dict[str, str]:
    """Return every text of a language by its path."""
    path = INTEGRATION / "translations" / f"{language}.json"
    return dict(_flat(json.loads(path.read_text()), ""))


def _flat(node: dict[str, Any] | str, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield path, node
        return
    for key, value in node.items():
        yield from _flat(value, f"{path}.{key}" if path else key)


ENGLISH = texts("en")


def test_languages() -> None:
    """Those of the meter's web page are there, and those of Switzerland."""
    of_the_meter = {"en", "de", "fi", "sv", "nb", "cs", "es", "pt", "pl"}
    assert set(LANGUAGES) == of_the_meter | {"fr", "it"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_complete(language: str) -> None:
    """Every language has every text, with the same placeholders."""
    translated = texts(language)
    assert translated.keys() == ENGLISH.keys()
    for path, text in translated.items():
        assert text.strip(), path
        assert sorted(PLACEHOLDER.findall(text)) == sorted(
            PLACEHOLDER.findall(ENGLISH[path])
        ), path


@pytest.mark.parametrize("language", LANGUAGES)
def test_names_differ(language: str) -> None:
    """No two entities of a meter have one name."""
    translated = texts(language)
    names = [
        translated[f"entity.{platform}.{description.translation_key}.name"].format(
            **(description.translation_placeholders or {})
        )
        for platform, descriptions in DESCRIPTIONS.items()
        for description in descriptions
    ]
    assert len(names) == len(set(names))


def test_no_text_is_left_over() -> None:
    """Every text of an entity belongs to one or to a statistic, and so do icons."""
    used = {
        f"entity.{platform}.{description.translation_key}"
        for platform, descriptions in DESCRIPTIONS.items()
        for description in descriptions
    }
    statistics = {f"entity.sensor.{t.key}" for t in TARGETS if t.is_external}
    named = {
        path.removesuffix(".name")
        for path in ENGLISH
        if path.startswith("entity.") and path.endswith(".name")
    }
    assert named == used | statistics
    icons = json.loads((INTEGRATION / "icons.json").read_text())
    for path, icon in _flat({"entity": icons["entity"]}, ""):
        assert ".".join(path.split(".")[:3]) in used
        assert re.fullmatch(r"mdi:[a-z0-9-]+", icon)


@pytest.mark.parametrize("language", LANGUAGES)
def test_states_have_words(language: str) -> None:
    """Each state of the back-fill has its own text."""
    translated = texts(language)
    states = [
        translated[f"entity.sensor.backfill.state.{state}"] for state in BackfillState
    ]
    assert len(states) == len(set(states))


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("path", PAGES)
def test_pages_have_the_names_of_home_assistant(language: str, path: str) -> None:
    """An owner who reads where to look finds that page by its name."""
    names = [
        _name_in_frontend(language, folder, key)
        for folder, key in (("", "panel.config"), *PAGES[path])
    ]
    assert " → ".join(names) in texts(language)[path]


def _name_in_frontend(language: str, folder: str, key: str) -> str:
    """Return a text of the installed frontend."""
    folders = Path(hass_frontend.where()) / "static/translations" / folder
    (path,) = (
        path
        for path in folders.glob(f"{language}-*.json")
        # Not those of Brazil, for instance
        if path.stem.count("-") == 1
    )
    return str(json.loads(path.read_text())[key])


def test_every_error_has_words() -> None:
    """Each error of the meter has its own text in the flow and in the log."""
    for row in TEXTS.values():
        assert f"config.error.{row.flow}" in ENGLISH
        if row.flow != "invalid_auth":
            assert f"config.abort.{row.flow}" in ENGLISH
    for reason in Reason:
        assert f"exceptions.update_{reason}.message" in ENGLISH
    for row in TEXTS.values():
        text = ENGLISH[f"exceptions.{row.exception}.message"]
        placeholders = PLACEHOLDER.findall(text)
        assert {"url"} <= set(placeholders) <= {"url", "error"}


def test_every_issue_has_words() -> None:
    """Each row of the table has its texts, and each choice of a dialog its own."""
    titles = {path.split(".")[1] for path in ENGLISH if path.startswith("issues.")}
    assert titles == ISSUES.keys()
    for key, issue in ISSUES.items():
        assert f"issues.{key}.title" in ENGLISH
        assert (f"issues.{key}.description" in ENGLISH) is not issue.is_fixable
        if issue.is_fixable and not issue.fixes.keys() - {"confirm"}:
            assert f"issues.{key}.fix_flow.step.confirm.title" in ENGLISH
        for fix in issue.fixes.keys() - {"confirm"}:
            choice = f"issues.{key}.fix_flow.step.init.menu_options.{fix}"
            assert choice in ENGLISH
