"""A session, and a server at its other end."""

from collections.abc import AsyncGenerator

import pytest

from custom_components.emu_professional.emu.updater.datagrams import RetransmissionTimer
from custom_components.emu_professional.emu.updater.session import UpdaterSession

from .scripted_server import QUICK, Flash, ScriptedServer


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten all waits of a session, see `QUICK`."""
    monkeypatch.setattr(RetransmissionTimer, "UNKNOWN", 0.05)
    monkeypatch.setattr(RetransmissionTimer, "BUSY", 0.05)
    monkeypatch.setattr(RetransmissionTimer, "SHORTEST", 0.02)
    monkeypatch.setattr(RetransmissionTimer, "LONGEST", 0.1)


@pytest.fixture
def flash() -> Flash:
    """Return an empty slot 1."""
    return Flash()


@pytest.fixture
async def server(socket_enabled: None, flash: Flash) -> AsyncGenerator[ScriptedServer]:
    """Return a server like real ones, until a test changes it."""
    async with ScriptedServer(flash.respond) as server:
        yield server


@pytest.fixture
async def session(
    server: ScriptedServer, request: pytest.FixtureRequest
) -> AsyncGenerator[UpdaterSession]:
    """Return an open session."""
    timeouts = QUICK if "quick" in request.fixturenames else None
    async with UpdaterSession(server.host, server.port, timeouts) as session:
        yield session
