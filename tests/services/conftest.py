"""A folder to write to, and nobody who waits."""

from pathlib import Path

import pytest

from custom_components.emu_professional.backfill import history_pages
from homeassistant.core import HomeAssistant


@pytest.fixture(autouse=True)
def impatient_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait between pages."""
    monkeypatch.setattr(history_pages, "_PATIENCE", (0, 0))
    monkeypatch.setattr(history_pages, "_LONGEST_PAUSE", 0)


@pytest.fixture
def folder(hass: HomeAssistant, tmp_path: Path) -> Path:
    """Return a folder that Home Assistant may write to."""
    folder = tmp_path / "media"
    folder.mkdir()
    hass.config.allowlist_external_dirs = {str(folder)}
    return folder
