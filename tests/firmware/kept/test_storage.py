"""The stored firmware: its form, damage, and its end with the last meter."""

import base64
import logging
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.firmware import kept as kept_module
from custom_components.emu_professional.firmware.kept import ImageSource, firmware_store
from homeassistant.core import HomeAssistant
from simulator.images import signed_image, unsigned_image

from .options import KEY, restarted

pytestmark = pytest.mark.usefixtures("impatient")


def stored(content: bytes, **changes: Any) -> dict[str, Any]:
    """Return the content of the storage."""
    return {
        "image": base64.b64encode(content).decode(),
        "source": "upload",
        "when": "2026-06-01T10:00:00+00:00",
        "unfit_for": [],
        "is_checked_daily": True,
        "checked": None,
        "conditions": {},
        "skipped": None,
        **changes,
    }


def test_stored_is_what_is_saved() -> None:
    """The other tests' storage is right, and is written as it was read."""
    document = stored(
        signed_image(),
        conditions={"If-None-Match": '"1"'},
        unfit_for=["1", "2"],
        skipped="1.0.9",
    )
    assert kept_module._serialize(kept_module._parse(document)) == document
    del document["unfit_for"]
    assert kept_module._parse(document).unfit_for == set()


@pytest.mark.parametrize(
    ("source", "is_known"), [("download", True), ("upload", False)]
)
def test_conditions_of_an_older_release(source: str, is_known: bool) -> None:
    """Beside an upload it is unknown which image they came with: the file comes again."""
    conditions = {"If-None-Match": '"1"'}
    document = stored(signed_image(), conditions=conditions, source=source)
    del document["skipped"]
    state = kept_module._parse(document)
    assert state.next_conditions == (conditions if is_known else {})


DAMAGED = signed_image()[:-1]


@pytest.mark.parametrize(
    "document",
    [
        stored(DAMAGED),
        stored(unsigned_image("1.0.17")),
        stored(signed_image(), image="no base64"),
        stored(signed_image(), image=5),
        stored(signed_image(), source="a friend"),
        stored(signed_image(), when="yesterday"),
        stored(signed_image(), conditions=[]),
        stored(signed_image(), unfit_for=5),
        stored(signed_image(), skipped=5),
        {"image": None},
        ["something else"],
    ],
)
async def test_damaged_storage(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
    document: Any,
) -> None:
    """A damaged file is one line in the log, no firmware, and no obstacle."""
    hass_storage[KEY] = {"version": 1, "minor_version": 1, "key": KEY, "data": document}
    assert await hass.config_entries.async_setup(entry.entry_id)
    store = firmware_store(hass)
    assert store.image is None
    lines = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert sum("firmware that was kept can't be used" in line for line in lines) == 1
    await store.async_keep(read_firmware(signed_image()), ImageSource.UPLOAD)
    assert (await restarted(hass)).image == store.image


async def test_last_meter(
    hass: HomeAssistant, hass_storage: dict[str, Any], loaded: MockConfigEntry
) -> None:
    """Firmware stays while there is a meter, and goes with the last one."""
    other = MockConfigEntry(domain=DOMAIN, unique_id="22350099")
    other.add_to_hass(hass)
    store = firmware_store(hass)
    await store.async_keep(read_firmware(signed_image()), ImageSource.UPLOAD)
    await hass.config_entries.async_remove(other.entry_id)
    assert store.image
    assert KEY in hass_storage
    await hass.config_entries.async_remove(loaded.entry_id)
    assert store.image is None
    assert KEY not in hass_storage
