"""A simulated meter without Home Assistant."""

from collections.abc import AsyncGenerator

import aiohttp
import pytest

from simulator.clock import ManualClock
from simulator.meter import Meter, MeterConfig


@pytest.fixture
def auto_enable_custom_integrations() -> None:
    """Keep Home Assistant out of these tests."""


@pytest.fixture
def meter(config: MeterConfig, clock: ManualClock) -> Meter:
    """Return a meter that nobody serves."""
    return Meter(config, clock)


@pytest.fixture
async def session(socket_enabled: None) -> AsyncGenerator[aiohttp.ClientSession]:
    """Return a client that keeps its connections."""
    async with aiohttp.ClientSession() as session:
        yield session
