"""Servers, and their right answers."""

from collections.abc import AsyncGenerator

import pytest

from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.documents import rendered
from simulator.meter import Meter
from simulator.web import MeterServer


@pytest.fixture
def right(server: MeterServer) -> bytes:
    """Return the body of an undisturbed answer."""
    return rendered(server.meter.meter_data()).encode()


@pytest.fixture
async def stoppable(
    socket_enabled: None, clock: ManualClock
) -> AsyncGenerator[MeterServer]:
    """Return a server for a test to stop."""
    server = MeterServer(Meter(MeterConfig(), clock))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def table(server: MeterServer) -> bytes:
    """Return a table of seven records, 954 to 960."""
    body = server.meter.data({"last": "7"})
    assert body is not None
    return body
