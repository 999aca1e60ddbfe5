"""A folder to write to, and nobody who waits."""

from pathlib import Path

import pytest

from homeassistant.core import HomeAssistant


@pytest.fixture(autouse=True)
def impatient_pages(impatient_pages: None) -> None:
    """Let no test here wait between pages."""


@pytest.fixture
def folder(hass: HomeAssistant, tmp_path: Path) -> Path:
    """Return a folder that Home Assistant may write to."""
    folder = tmp_path / "media"
    folder.mkdir()
    hass.config.allowlist_external_dirs = {str(folder)}
    return folder
