"""Versions as texts."""

import pytest

from custom_components.emu_professional.emu.updater.image import Version


def test_versions() -> None:
    """Versions are ordered by number, and written as the meter writes them."""
    texts = ["0.9.99", "1.0.9", "1.0.16", "1.0.16.4", "1.0.16.10", "1.1.0", "255.0.0"]
    versions = [Version.parse(text) for text in texts]
    assert versions == sorted(versions)
    assert [str(version) for version in versions] == texts
    for text in ("1.0.16.0", "1.0.16+0", "V1.0.16", "v1.0.16", " 1.0.16 ", "01.00.16"):
        assert Version.parse(text) == Version(1, 0, 16)
    assert Version.parse("V1.0.16+4") == Version(1, 0, 16, 4)


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "1.0.x", "W1.0.16", "1.0.16-rc1", "1.0.16\n", "１.0.16"]
)
def test_no_version(text: str) -> None:
    """Anything else is no version."""
    with pytest.raises(ValueError):
        Version.parse(text)
