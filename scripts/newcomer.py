"""Installs the integration by hand, as the README says, and adds a meter.

Prints how long it takes from there to the first live value, and to the first hour of
history in the statistics.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
import shutil
import tempfile
import time

from aiohttp import ClientSession

from processes.home_assistant import HomeAssistant
from processes.owner import DOMAIN, Owner
from processes.running import ROOT, own_port
from simulator.clock import RunningClock
from simulator.meter import Meter, MeterConfig
from simulator.web import MeterServer

SERIAL_NUMBER = "22350001"
PASSWORD = "newcomer"
HISTORY = timedelta(days=60)
PREFIX = f"sensor.emu_professional_ii_{SERIAL_NUMBER}"
PATIENCE = 300
"""Seconds."""


async def _newcomer(folder: Path) -> None:
    integration = Path("custom_components") / DOMAIN
    shutil.copytree(ROOT / integration, folder / integration)
    config = MeterConfig(
        serial_number=SERIAL_NUMBER,
        password=PASSWORD,
        installed=datetime.now(UTC) - HISTORY,
    )
    meter = Meter(config, RunningClock())
    async with ClientSession() as session, MeterServer(meter) as server:
        home_assistant = HomeAssistant(session, folder, own_port(8423))
        async with home_assistant.run(), asyncio.timeout(PATIENCE):
            owner = home_assistant.owner
            begin = time.monotonic()
            await owner.add_meter(f"{server.host}:{server.port}", PASSWORD)
            float(await owner.state(f"{PREFIX}_active_power"))
            print(f"First live value after {time.monotonic() - begin:.1f} s")
            await _hour_of_history(owner)
            print(f"First hour of history after {time.monotonic() - begin:.1f} s")


async def _hour_of_history(owner: Owner) -> None:
    now = datetime.now(UTC)
    while not await owner.hours(f"{PREFIX}_energy_import", now - HISTORY, now):
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        asyncio.run(_newcomer(Path(temporary)))
