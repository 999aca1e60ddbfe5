"""Makes what a release consists of: the zip file, and what has changed.

`python -m scripts.release VERSION FOLDER` writes both files into a folder, unless the
version is another one than the manifest's or has no section in the changelog.
"""

from collections.abc import Iterator
import json
from pathlib import Path
import re
import subprocess
import sys
from typing import Any, Final
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

ROOT: Final = Path(__file__).parent.parent
INTEGRATION: Final = ROOT / "custom_components" / "emu_professional"
CHANGELOG: Final = ROOT / "CHANGELOG.md"
HACS: Final[dict[str, Any]] = json.loads((ROOT / "hacs.json").read_text())

_OLDEST: Final = (1980, 1, 1, 0, 0, 0)
"""The time of every file, so that the same files make the same zip."""


class ReleaseError(Exception):
    """What is to be released contradicts itself."""


def version() -> str:
    """Return the version in the integration's manifest."""
    return str(json.loads((INTEGRATION / "manifest.json").read_text())["version"])


def files() -> Iterator[Path]:
    """Yield the files of the integration, as they are in git, in a fixed order."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=INTEGRATION,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    yield from (INTEGRATION / name for name in sorted(listed.split("\0")) if name)


def write_zip(path: Path) -> None:
    """Write the zip that HACS unpacks into `custom_components/emu_professional`."""
    with ZipFile(path, "w", ZIP_DEFLATED) as file:
        for each in files():
            name = each.relative_to(INTEGRATION).as_posix()
            info = ZipInfo(name, _OLDEST)
            info.compress_type = ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            file.writestr(info, each.read_bytes())


def changes(of_version: str) -> str:
    """Return the section of a version in the changelog, without its heading.

    Raises ReleaseError if there is none.
    """
    _, *sections = re.split(
        r"^## \[([^]]+)\].*$", CHANGELOG.read_text(), flags=re.MULTILINE
    )
    for name, section in zip(sections[::2], sections[1::2], strict=True):
        if name == of_version:
            # Links of the whole file stand at its end.
            return re.split(r"^\[[^]]+\]: ", section, flags=re.MULTILINE)[0].strip()
    raise ReleaseError(f"CHANGELOG.md has no section [{of_version}]")


def write_release(wanted: str, folder: Path) -> None:
    """Write the zip and `changes.md` into a folder. Raises ReleaseError."""
    if wanted != version():
        raise ReleaseError(f"manifest.json has version {version()}, not {wanted}")
    (folder / "changes.md").write_text(changes(wanted) + "\n")
    write_zip(folder / HACS["filename"])


if __name__ == "__main__":
    try:
        write_release(sys.argv[1].removeprefix("v"), Path(sys.argv[2]))
    except ReleaseError as err:
        sys.exit(str(err))
