"""A release is complete, and says what it is."""

from importlib.metadata import version as installed
import json
from pathlib import Path
import re
import tomllib
from zipfile import ZipFile

from awesomeversion import AwesomeVersion
import pytest

from scripts.release import (
    CHANGELOG,
    HACS,
    INTEGRATION,
    ROOT,
    ReleaseError,
    changes,
    version,
    write_release,
)


def test_version_is_the_same_everywhere() -> None:
    """The manifest, the project and the newest section of the changelog have one version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == version()
    sections = re.findall(r"^## \[(.+?)\]", CHANGELOG.read_text(), re.MULTILINE)
    assert sections[:2] == ["Unreleased", version()]
    released = [AwesomeVersion(section) for section in sections[1:]]
    assert released == sorted(released, reverse=True)


def test_oldest_home_assistant_is_tested() -> None:
    """HACS offers the integration to the release that these tests run on, and newer ones."""
    if not Path(ROOT, ".venv").samefile(Path(pytest.__file__).parents[4]):
        pytest.skip("these are the tests with a newer Home Assistant")
    assert HACS["homeassistant"] == installed("homeassistant")


def test_release(tmp_path: Path) -> None:
    """The zip has the integration's files at its top, where HACS unpacks them."""
    write_release(version(), tmp_path)
    with ZipFile(tmp_path / HACS["filename"]) as file:
        names = file.namelist()
        manifest = json.loads(file.read("manifest.json"))
    assert manifest["version"] == version()
    assert {"__init__.py", "emu/client.py", "translations/de.json"} <= {*names}
    assert all((INTEGRATION / name).is_file() for name in names)
    assert not [name for name in names if "__pycache__" in name]
    assert "### Added" in (tmp_path / "changes.md").read_text()
    assert "## [" not in (tmp_path / "changes.md").read_text()


def test_same_files_make_the_same_zip(tmp_path: Path) -> None:
    """Whoever makes a release again gets the same bytes."""
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_release(version(), folder)
        made.append((folder / HACS["filename"]).read_bytes())
    assert made[0] == made[1]


def test_tag_of_another_version(tmp_path: Path) -> None:
    """A tag that is not the manifest's version makes no release, nor does one unsaid."""
    with pytest.raises(ReleaseError, match=f"has version {version()}, not 9.9.9"):
        write_release("9.9.9", tmp_path)
    with pytest.raises(ReleaseError, match="no section"):
        changes("9.9.9")
    assert not [*tmp_path.iterdir()]
