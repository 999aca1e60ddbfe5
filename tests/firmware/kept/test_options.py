"""The firmware in the options: upload, refusal, removal."""

from collections.abc import Callable
from datetime import UTC

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import CONF_AUTOMATIC
from custom_components.emu_professional.emu.errors import RejectReason
from custom_components.emu_professional.emu.updater.image import (
    LARGEST_FILE,
    Version,
    read_firmware,
)
from custom_components.emu_professional.firmware.kept import ImageSource, firmware_store
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from simulator.images import signed_image, unsigned_image
from tests.test_translations import ENGLISH, LANGUAGES, texts

from .options import Submit, restarted, show, zipped

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.mark.parametrize("wrap", [bytes, zipped])
async def test_upload(
    hass: HomeAssistant,
    idle: MockConfigEntry,
    submit: Submit,
    wrap: Callable[[bytes], bytes],
) -> None:
    """An uploaded file is kept for all meters, shown, and outlives a restart."""
    changes: list[None] = []
    store = firmware_store(hass)
    stop = store.async_add_listener(lambda: changes.append(None))
    content = signed_image("1.0.17")
    assert (await show(hass, idle))["step_id"] == "firmware"
    result = await submit({}, wrap(content))
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert idle.options == {}
    assert len(changes) == 1

    for kept in (store, await restarted(hass)):
        assert kept.image == read_firmware(content)
        assert kept.source == ImageSource.UPLOAD
        assert kept.when
        assert kept.when.tzinfo is UTC

    result = await show(hass, idle)
    assert result["step_id"] == "kept_firmware"
    assert result["description_placeholders"] == {
        "version": "1.0.17",
        "size": "20.0",
        "signature": "Ed25519",
        "hash": read_firmware(content).hash.hex(),
    }
    stop()
    await submit({}, wrap(signed_image("1.0.16")))
    assert store.image == read_firmware(signed_image("1.0.16"))
    assert len(changes) == 1


async def test_uploaded_file_does_not_stay(hass: HomeAssistant, submit: Submit) -> None:
    """The received file is deleted, taken or not."""
    await submit({}, signed_image())
    await submit({}, b"MZ")
    assert not hass.data["file_upload"].files
    assert not list(hass.data["file_upload"].temp_dir.iterdir())


async def test_remove(
    hass: HomeAssistant, idle: MockConfigEntry, submit: Submit
) -> None:
    """The owner can have the firmware removed; options stay as they are."""
    hass.config_entries.async_update_entry(idle, options={CONF_AUTOMATIC: False})
    await submit({}, signed_image())
    await submit({"remove_firmware": False})
    assert firmware_store(hass).image
    result = await submit({"remove_firmware": True})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    for store in (firmware_store(hass), await restarted(hass)):
        assert store.image is None
        assert store.source is None
        assert store.when is None
    assert idle.options == {CONF_AUTOMATIC: False}
    assert (await show(hass, idle))["step_id"] == "firmware"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"MZ" + bytes(100), RejectReason.NOT_AN_IMAGE),
        (unsigned_image("1.0.18"), RejectReason.NOT_SIGNED),
        (signed_image("1.0.18")[:-1], RejectReason.TRUNCATED),
        (zipped(b""), RejectReason.NO_IMAGE_IN_ZIP),
        (bytes(LARGEST_FILE + 1), RejectReason.TOO_LARGE),
    ],
    ids=lambda value: str(value) if isinstance(value, RejectReason) else "file",
)
async def test_wrong_file(
    hass: HomeAssistant, submit: Submit, content: bytes, reason: RejectReason
) -> None:
    """The reason is below the field, nothing changes, and another file is taken."""
    await submit({}, signed_image("1.0.17"))
    result = await submit({"check_for_firmware": True}, content)
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {"firmware_file": reason}
    store = firmware_store(hass)
    assert store.image
    assert store.image.version == Version(1, 0, 17)
    assert not store.is_checked_daily
    result = await hass.config_entries.options.async_configure(
        result["flow_id"], {"check_for_firmware": False}
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_lost_file(submit: Submit) -> None:
    """The form asks again for a file that Home Assistant has lost."""
    result = await submit({"firmware_file": "0193a2c1e5f60718293a4b5c6d7e8f90"})
    assert result["errors"] == {"firmware_file": "file_lost"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_refusal_has_words(language: str) -> None:
    """Each reason has a text of its own, and no text is left over."""
    translated = texts(language)
    reasons = [translated[f"options.error.{reason}"] for reason in RejectReason]
    assert len(reasons) == len(set(reasons))
    errors = {path for path in ENGLISH if path.startswith("options.error.")}
    assert errors == {f"options.error.{r}" for r in (*RejectReason, "file_lost")}
