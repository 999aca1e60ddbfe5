"""What is due on the first of the month, with Home Assistant off at that moment."""

from datetime import datetime
from pathlib import Path
import re
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from processes.running import until

from .conftest import RestartingHome

ZURICH: Final = ZoneInfo("Europe/Zurich")
BEFORE: Final = datetime(2026, 9, 30, 12, tzinfo=ZURICH)
FIRST: Final = datetime(2026, 10, 1, 3, tzinfo=ZURICH)
DECEMBER: Final = datetime(2026, 12, 5, 12, tzinfo=ZURICH)
BLUEPRINTS: Final = ("monthly_export", "monthly_report")
FILE: Final = re.compile(r"/\S+\.csv")
NOT_READY: Final = "not ready yet"
FAILED: Final = "There is no folder"


async def add(
    home: RestartingHome, blueprint: str, name: str, entry_id: str, *, at: str
) -> Path:
    """Make an automation, and return the folder for its files."""
    folder = home.files / name
    await home.owner.add_automation(
        name,
        blueprint,
        meter=entry_id,
        folder=str(folder),
        at=at,
    )
    return folder


async def files(home: RestartingHome, number: int) -> list[str]:
    """Return the files that are named in so many notifications, once all is done."""
    messages = await home.messages(number)
    await until(home.is_idle)
    assert len(await home.owner.notifications()) == number
    return sorted(path for message in messages for path in FILE.findall(message))


def file(folder: Path, month: int) -> str:
    """Return the file of a month."""
    return str(folder / f"meter-2026-{month:02}.csv")


def last_stamp(path: str) -> datetime:
    """Return the stamp of the newest record in a file."""
    return datetime.fromisoformat(Path(path).read_text().splitlines()[-1].split(",")[0])


@pytest.mark.parametrize("blueprint", BLUEPRINTS)
async def test_off_at_the_moment(home: RestartingHome, blueprint: str) -> None:
    """Each month comes once: on its first, or at the next start after it."""

    async def is_busy() -> bool:
        return not await home.is_idle()

    for name in ("early", "late"):
        (home.files / name).mkdir()
    async with home.first_life(BEFORE):
        entry_id = await home.add_meter()
        early = await add(home, blueprint, "early", entry_id, at="03:01:15")
        late = await add(home, blueprint, "late", entry_id, at="03:30:00")
    async with home.life(FIRST):
        assert await files(home, 1) == [file(early, 9)]
    Path(file(early, 9)).unlink()
    # After a power cut the meter, or its network, may be up later than Home Assistant.
    home.server.away = True
    async with home.life(expected=(NOT_READY,)):
        await until(is_busy)
        home.server.away = False
        assert await files(home, 1) == [file(late, 9)]
    async with home.life(DECEMBER):
        due = [file(folder, month) for folder in (early, late) for month in (10, 11)]
        assert await files(home, 4) == due
    for path, month in zip(due, (11, 12, 11, 12), strict=True):
        assert last_stamp(path) == datetime(2026, month, 1, tzinfo=ZURICH)
    assert not Path(file(early, 9)).exists()


@pytest.mark.parametrize("killed", [False], ids=[""], indirect=True)
async def test_folder_is_missing(home: RestartingHome) -> None:
    """The owner hears of it, makes the folder and runs the automation by hand."""
    async with home.first_life(BEFORE):
        entry_id = await home.add_meter()
        folder = await add(home, "monthly_export", "export", entry_id, at="03:01:15")
    async with home.life(FIRST, expected=(FAILED,)):
        (message,) = await home.messages(1)
        assert file(folder, 9) in message
        assert "folder does not exist" in message
    folder.mkdir()
    async with home.life():
        await home.owner.run_automation("export")
        assert await files(home, 1) == [file(folder, 9)]
