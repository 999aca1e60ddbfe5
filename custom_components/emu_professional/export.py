"""Writes records of the data logger into a file, where Home Assistant may write.

The file appears complete or not at all: records go into a hidden one beside it, which
takes its place at the end. A crash leaves the hidden one; the next export removes it.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from datetime import tzinfo
import os
from pathlib import Path
import re
import time
from typing import BinaryIO, Final

from homeassistant.core import HomeAssistant
from homeassistant.core_config import Config
from homeassistant.util import dt as dt_util
from homeassistant.util.ulid import ulid_now

from .backfill.times import HOUR
from .emu.csv_export import Columns, header, line
from .emu.logs import Record
from .storage import async_until_done

_PART: Final = re.compile(r"\.[0-9A-HJKMNP-TV-Z]{26}\.part")
"""Name of a file that is being written."""
_LEFTOVER: Final = 24 * HOUR
"""Seconds after the last byte until such a file counts as left by a crash."""


class PathRefused(Exception):
    """A path where no file may be written; `key` is the key of the owner's text."""

    def __init__(self, key: str, **placeholders: str) -> None:
        """Name the text and its placeholders."""
        super().__init__(key)
        self.key = key
        self.placeholders = placeholders


def real_path(config: Config, text: str) -> Path:
    """Return the absolute path of a file to be written, with all links resolved.

    The path that is checked must be the one that is written. Blocking. Raises
    PathRefused where no file may be, and OSError where none can be.
    """
    path = Path(config.path(text))
    try:
        # The path is shown in the response, which must be UTF-8.
        str(path).encode()
        path = path.resolve()
        is_allowed = config.is_allowed_path(str(path))
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise PathRefused("path_not_allowed", path=str(path))
    if not path.parent.is_dir():
        raise PathRefused("no_folder", folder=str(path.parent))
    if path.is_dir():
        raise PathRefused("path_is_folder", path=str(path))
    # A name that is too long is found here, before the meter is asked.
    with suppress(FileNotFoundError):
        path.stat()
    return path


async def async_write_csv(
    hass: HomeAssistant,
    pages: AsyncIterator[list[Record]],
    columns: Columns,
    path: Path,
) -> None:
    """Write the records beside the file, page by page, and replace it at the end.

    Raises OSError, and what `pages` raises.
    """
    # The hidden file's name is short: with the file's own in it, it could be too long.
    part = path.with_name(f".{ulid_now()}.part")
    zone = dt_util.get_default_time_zone()
    await _async_job(hass, _remove_leftovers, path.parent)
    file = await _async_job(hass, part.open, "xb")
    try:
        await _async_job(hass, file.write, header(columns).encode())
        async for records in pages:
            await _async_job(hass, _write, file, records, columns, zone)
        await _async_job(hass, _finish, file, path)
    finally:
        await _async_job(hass, _discard, file)


async def _async_job[*ArgumentsT, ResultT](
    hass: HomeAssistant, job: Callable[[*ArgumentsT], ResultT], *arguments: *ArgumentsT
) -> ResultT:
    """Return the result of a job in the executor; a cancelled caller waits for its end."""
    return await async_until_done(hass.async_add_executor_job(job, *arguments))


def _remove_leftovers(folder: Path) -> None:
    """Remove files of exports that ended with a crash or a power failure."""
    latest = time.time() - _LEFTOVER
    for path in folder.glob(".*.part"):
        with suppress(OSError):
            if _PART.fullmatch(path.name) and path.stat().st_mtime < latest:
                path.unlink()


def _write(
    file: BinaryIO, records: Iterable[Record], columns: Columns, zone: tzinfo
) -> None:
    file.write("".join(line(record, columns, zone) for record in records).encode())


def _finish(file: BinaryIO, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).replace(path)


def _discard(file: BinaryIO) -> None:
    """Close a file, and remove it unless it was renamed."""
    try:
        file.close()
    finally:
        Path(file.name).unlink(missing_ok=True)
