"""Installs a release by hand, as the README says, and adds a meter; updates an old one.

Prints how long it takes from there to the first live value, and to the first hour of
history in the statistics. Then a Home Assistant with version 0.1.0, a meter and its
history gets the same release: nothing may be renamed or lost.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
import shutil
import subprocess
import tempfile
import time
from typing import Any
from zipfile import ZipFile

from aiohttp import ClientSession

from processes.home_assistant import HomeAssistant, is_warning_of_us
from processes.owner import DOMAIN, Owner
from processes.running import ROOT, own_port
from scripts.release import HACS, write_zip
from simulator.clock import RunningClock
from simulator.config import MeterConfig
from simulator.images import signed_image
from simulator.meter import Meter
from simulator.web import MeterServer

SERIAL_NUMBER = "22350001"
PASSWORD = "newcomer"
HISTORY = timedelta(days=60)
SHORT_HISTORY = timedelta(days=10)
PREFIX = f"sensor.emu_professional_ii_{SERIAL_NUMBER}"
PATIENCE = 300
"""Seconds."""

FIRMWARE = "1.0.99"

OLD = "320447c"
"""The last commit of version 0.1.0."""


def _install(release: Path, folder: Path) -> None:
    """Unpack a release where its owner would."""
    integration = folder / "custom_components" / DOMAIN
    shutil.rmtree(integration, ignore_errors=True)
    with ZipFile(release) as file:
        file.extractall(integration)


def _install_old(folder: Path) -> None:
    path = f"custom_components/{DOMAIN}"
    archive = folder / "old.zip"
    subprocess.run(
        ["git", "archive", f"--output={archive}", OLD, path],
        cwd=ROOT,
        check=True,
    )
    with ZipFile(archive) as file:
        file.extractall(folder)


def _has_old() -> bool:
    """Return whether version 0.1.0 is here: a shallow clone has no old commits."""
    command = ["git", "cat-file", "-e", f"{OLD}^{{commit}}"]
    return not subprocess.run(command, cwd=ROOT, check=False).returncode


@asynccontextmanager
async def _house(
    folder: Path, history: timedelta
) -> AsyncIterator[tuple[HomeAssistant, str]]:
    """Give a Home Assistant that does not run yet, and a meter's address."""
    config = MeterConfig(
        serial_number=SERIAL_NUMBER,
        password=PASSWORD,
        installed=datetime.now(UTC) - history,
    )
    meter = Meter(config, RunningClock())
    async with ClientSession() as session, MeterServer(meter) as server:
        home_assistant = HomeAssistant(session, folder, own_port(8423))
        yield home_assistant, f"{server.host}:{server.port}"


async def _newcomer(folder: Path, release: Path) -> None:
    _install(release, folder)
    async with _house(folder, HISTORY) as (home_assistant, host):
        async with home_assistant.run(), asyncio.timeout(PATIENCE):
            owner = home_assistant.owner
            begin = time.monotonic()
            await owner.add_meter(host, PASSWORD)
            float(await owner.state(f"{PREFIX}_active_power"))
            print(f"First live value after {time.monotonic() - begin:.1f} s")
            while not await _hours(owner):
                await asyncio.sleep(0.1)
            print(f"First hour of history after {time.monotonic() - begin:.1f} s")
        _check_log(home_assistant)


async def _update(folder: Path, release: Path) -> None:
    _install_old(folder)
    async with _house(folder, SHORT_HISTORY) as (home_assistant, host):
        owner = home_assistant.owner
        async with home_assistant.run(), asyncio.timeout(PATIENCE):
            entry_id = await owner.add_meter(host, PASSWORD)
            await owner.give_firmware(entry_id, signed_image(FIRMWARE))
            await _filled(owner)
            while not any(name.endswith(".logbook") for name in _stores(folder)):
                await asyncio.sleep(0.1)
            before = await owner.entities(SERIAL_NUMBER)
            disabled = await owner.disabled(SERIAL_NUMBER)
            hours = await _hours(owner)
        stores = _stores(folder)
        _install(release, folder)
        async with home_assistant.run(), asyncio.timeout(PATIENCE):
            await _filled(owner)
            float(await owner.state(f"{PREFIX}_active_power"))
            after = await owner.entities(SERIAL_NUMBER)
            assert [entry["entry_id"] for entry in await owner.meters()] == [entry_id]
            assert before.items() <= after.items()
            assert (
                await owner.disabled(SERIAL_NUMBER) & set(before.values()) == disabled
            )
            assert hours.items() <= (await _hours(owner)).items()
            issues = await owner.issues()
            assert not [each for each in issues if SERIAL_NUMBER in each], issues
        assert stores <= _stores(folder)
        _check_log(home_assistant)
    print(
        f"Updated from 0.1.0: {len(before)} of {len(after)} entities were there before,"
        f" {len(hours)} hours and {len(stores)} files kept"
    )


async def _filled(owner: Owner) -> None:
    """Wait until the statistics are filled."""
    while await owner.state(f"{PREFIX}_statistics_fill") != "complete":
        await asyncio.sleep(0.1)


async def _hours(owner: Owner) -> dict[datetime, int]:
    now = datetime.now(UTC)
    return await owner.hours(f"{PREFIX}_energy_import", now - HISTORY, now)


def _stores(folder: Path) -> set[str]:
    return {path.name for path in (folder / ".storage").glob(f"{DOMAIN}*")}


def _check_log(home_assistant: HomeAssistant) -> None:
    """Fail if the integration has warned of anything."""
    warnings = list(filter(is_warning_of_us, home_assistant.log_entries()))
    assert not warnings, "\n".join(warnings)


async def _try(*what: Any) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        release = Path(temporary) / HACS["filename"]
        write_zip(release)
        for number, each in enumerate(what):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            await each(folder, release)


if __name__ == "__main__":
    if _has_old():
        asyncio.run(_try(_newcomer, _update))
    else:
        asyncio.run(_try(_newcomer))
        print(f"No update was tried: {OLD} is missing in this shallow clone")
