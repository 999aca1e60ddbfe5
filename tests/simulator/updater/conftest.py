"""The web server of a meter, and both ages of updaters."""

from collections.abc import AsyncGenerator

import pytest

from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.meter import Meter
from simulator.updater import Age
from simulator.web import MeterServer


@pytest.fixture
async def web(
    socket_enabled: None, config: MeterConfig, clock: ManualClock
) -> AsyncGenerator[MeterServer]:
    """Return the web server of the meter."""
    async with MeterServer(Meter(config, clock)) as web:
        yield web


@pytest.fixture(params=Age, ids=lambda age: age.name)
def age(request: pytest.FixtureRequest) -> Age:
    """Return both ages, one after the other."""
    return Age(request.param)
