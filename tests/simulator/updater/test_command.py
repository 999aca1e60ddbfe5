"""`python -m simulator` with updaters."""

import asyncio
import re

import pytest

from simulator.updater import UpdaterServer
from simulator.web import MeterServer

from ..conftest import run
from .client import Asking

pytestmark = pytest.mark.usefixtures("socket_enabled")


async def test_command_serves_updates_of_every_meter(
    started: list[asyncio.subprocess.Process],
) -> None:
    """Command serves updates of every meter, and says where."""
    process = await run("--port", "0", "--serial", "22350007", "--serial", "21000000")
    started.append(process)
    assert process.stderr is not None
    for _ in range(2):
        line = (await process.stderr.readline()).decode()
        found = re.search(r"firmware 1\.0\.16, updates at UDP port (\d+)", line)
        assert found
        client = Asking(int(found[1]))
        assert await client.states() == [("1.0.16", "confirmed active")]
        client.socket.close()


async def test_command_says_when_the_updater_port_is_taken(
    web: MeterServer, started: list[asyncio.subprocess.Process]
) -> None:
    """Command says when the updater's port is taken."""
    async with UpdaterServer(web) as updater:
        process = await run("--port", "0", "--updater-port", str(updater.port))
        started.append(process)
        assert process.stderr is not None
        text = (await process.stderr.read()).decode()
        assert "in use" in text
        assert "Traceback" not in text
        assert await process.wait() == 1
