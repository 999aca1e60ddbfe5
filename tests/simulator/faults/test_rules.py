"""The fault of each request: its path, its count, its order."""

from simulator import faults
from simulator.web import MeterServer

from .asking import DATA, STATUS, status


async def test_fault_is_counted(server: MeterServer) -> None:
    """Fault is counted."""
    server.faults.set(faults.Status(503), path=DATA, times=2)
    assert [await status(server, DATA) for _ in range(3)] == [503, 503, 200]


async def test_fault_is_of_its_path(server: MeterServer) -> None:
    """Fault is of its path."""
    server.faults.set(faults.Status(503), path=DATA)
    assert await status(server, STATUS) == 200
    assert await status(server, f"{DATA}?query") == 503
    server.faults.set(faults.Status(500))
    assert [await status(server, path) for path in (DATA, STATUS, "/")] == [500] * 3


async def test_faults_are_cleared(server: MeterServer) -> None:
    """Faults are cleared."""
    server.faults.set(faults.Status(500))
    server.faults.set(faults.Status(503), path=DATA)
    server.faults.clear(path=DATA)
    assert [await status(server, path) for path in (DATA, STATUS)] == [500, 500]
    server.faults.clear()
    assert [await status(server, path) for path in (DATA, STATUS)] == [200, 200]


async def test_last_fault_goes_first(server: MeterServer) -> None:
    """Last fault goes first."""
    server.faults.set(faults.Status(500), times=1)
    server.faults.set(faults.Status(503), times=1)
    assert [await status(server, DATA) for _ in range(3)] == [503, 500, 200]


async def test_fault_does_not_lift_the_protection(server: MeterServer) -> None:
    """The password is needed in spite of a fault."""
    server.meter.password = "secret"
    server.faults.set(faults.Slow(0))
    assert await status(server, DATA) == 401
