"""The kept firmware in a real file, where other tests have none."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.firmware.kept import (
    FirmwareStore,
    ImageSource,
    firmware_store,
)
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from simulator.images import signed_image


@pytest.fixture
def hass_storage() -> dict[str, Any]:
    """Let Home Assistant read and write files."""
    return {}


@pytest.fixture
def hass_config_dir(tmp_path: Path) -> str:
    """Let it do so in a folder of the test's own."""
    return str(tmp_path)


@pytest.fixture
def file(hass: HomeAssistant, tmp_path: Path) -> Path:
    """Return the file of the kept firmware, for a meter that is not set up."""
    MockConfigEntry(domain=DOMAIN).add_to_hass(hass)
    folder = tmp_path / ".storage"
    folder.mkdir()
    return folder / f"{DOMAIN}.firmware"


async def test_file(hass: HomeAssistant, file: Path) -> None:
    """An image outlives a restart, and goes with the last meter."""
    image = read_firmware(signed_image())
    await firmware_store(hass).async_keep(image, ImageSource.UPLOAD)
    assert [path.name for path in file.parent.glob(f"*{DOMAIN}*")] == [file.name]
    restarted = FirmwareStore(hass)
    await restarted.async_load()
    assert restarted.image == image
    await restarted.async_delete()
    assert not file.exists()


@pytest.mark.parametrize("is_cut", [True, False])
async def test_damaged_file(
    hass: HomeAssistant, file: Path, caplog: pytest.LogCaptureFixture, is_cut: bool
) -> None:
    """Home Assistant reports a file that is cut off, we report an edited one."""
    await firmware_store(hass).async_keep(
        read_firmware(signed_image()), ImageSource.UPLOAD
    )
    content = file.read_text()
    document = json.loads(content)
    document["data"]["image"] = document["data"]["image"][:4000]
    file.write_text(content[:4000] if is_cut else json.dumps(document))
    restarted = FirmwareStore(hass)
    await restarted.async_load()
    assert restarted.image is None
    ours = [r for r in caplog.records if r.name.startswith("custom_components")]
    assert [r.levelno for r in ours] == ([] if is_cut else [logging.WARNING])
    assert ("Unrecoverable error" in caplog.text) is is_cut


@pytest.mark.parametrize(
    "content",
    ["[]", "{}", "7", '{"version": 1}', '{"version": 2, "data": {}}', '{"data": []}'],
)
async def test_other_content(hass: HomeAssistant, file: Path, content: str) -> None:
    """With any content of the file, Home Assistant starts without firmware."""
    file.write_text(content)
    assert await async_setup_component(hass, DOMAIN, {})
    assert firmware_store(hass).image is None


async def test_unreadable_file(hass: HomeAssistant, file: Path) -> None:
    """An unreadable file is as good as none."""
    file.mkdir()
    assert await async_setup_component(hass, DOMAIN, {})
    assert firmware_store(hass).image is None
