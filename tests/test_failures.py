"""Every error of the meter has texts, also one that nobody has thought of yet."""

from inspect import getmembers, isclass
import json
from pathlib import Path

import pytest

from custom_components.emu_professional import failures
from custom_components.emu_professional.emu import errors
from custom_components.emu_professional.emu.errors import MeterError, MeterUnauthorized
from homeassistant.exceptions import HomeAssistantError

INTEGRATION = Path(failures.__file__).parent
TEXTS = json.loads((INTEGRATION / "translations/en.json").read_text())
ERRORS = [
    member
    for _, member in getmembers(errors, isclass)
    if issubclass(member, MeterError)
]


def test_table_is_complete() -> None:
    """The table names no class that is not an error of the meter."""
    assert failures.TEXTS.keys() <= set(ERRORS)
    assert len(ERRORS) > len(failures.TEXTS)


@pytest.mark.parametrize("kind", ERRORS)
def test_subclass_has_the_texts_of_its_base(kind: type[MeterError]) -> None:
    """A new class without a row is shown like the class that it is made of."""
    members = {"__init__": lambda self, text: None, "is_forbidden": False}
    subclass = type("New", (kind,), members)
    err = subclass("a reason")
    texts = failures.texts_of(kind)
    assert failures.texts_of(subclass) == texts
    assert failures.flow_error(err) == texts.flow
    shown = failures.failure(err, HomeAssistantError, "http://meter")
    assert shown.translation_key == texts.exception
    assert texts.exception in TEXTS["exceptions"]
    assert texts.flow in TEXTS["config"]["error"]


@pytest.mark.parametrize(
    ("is_forbidden", "flow", "exception"),
    [
        (False, "invalid_auth", "unauthorized"),
        (True, "unexpected_answer", "unexpected_answer"),
    ],
)
def test_forbidden_is_no_wrong_password(
    is_forbidden: bool, flow: str, exception: str
) -> None:
    """A device that asks for no password is not said to refuse one."""
    err = MeterUnauthorized("a reason", is_forbidden=is_forbidden)
    assert failures.flow_error(err) == flow
    shown = failures.failure(err, HomeAssistantError, "http://meter")
    assert shown.translation_key == exception
