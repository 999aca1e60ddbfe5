"""A simulated meter without Home Assistant."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
import sys

import aiohttp
import pytest

from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.meter import Meter
from simulator.tables import TableConfig

MANUALS_FORM = TableConfig(separator=",", header=False, manuals_names=True)
"""In the manual's example."""


@pytest.fixture
def auto_enable_custom_integrations() -> None:
    """Keep Home Assistant out of these tests."""


@pytest.fixture
def config(config: MeterConfig) -> MeterConfig:
    """Return a meter that prints its tables as the manual shows them."""
    return replace(config, tables=MANUALS_FORM)


@pytest.fixture
def meter(config: MeterConfig, clock: ManualClock) -> Meter:
    """Return a meter that nobody serves."""
    return Meter(config, clock)


@pytest.fixture
async def session(socket_enabled: None) -> AsyncGenerator[aiohttp.ClientSession]:
    """Return a client that keeps its connections."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def started(
    socket_enabled: None, real_time: None
) -> AsyncGenerator[list[asyncio.subprocess.Process]]:
    """Return the processes that a test starts; none outlives it."""
    processes: list[asyncio.subprocess.Process] = []
    yield processes
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def run(*arguments: str) -> asyncio.subprocess.Process:
    """Start the command."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", *arguments),
        stderr=asyncio.subprocess.PIPE,
    )
