"""A simulated module, and its owner."""

from collections.abc import AsyncGenerator

import aiohttp
import pytest

from custom_components.emu_professional.emu import client
from simulator.updater import UpdaterConfig, UpdaterServer
from simulator.web import MeterServer

from .owner import OLD, Owner


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, quick_updater: None) -> None:
    """Let nobody wait long for a web page either."""
    monkeypatch.setattr(client, "TIME_LIMIT", 0.5)
    monkeypatch.setattr(client, "_PAUSE", 0)


@pytest.fixture
def updater_config() -> UpdaterConfig:
    """Return how the module updates."""
    return UpdaterConfig(image=OLD, old_answers=0.05, boot_seconds=0.15)


@pytest.fixture
async def updater(
    server: MeterServer, updater_config: UpdaterConfig
) -> AsyncGenerator[UpdaterServer]:
    """Serve the updates of the meter."""
    async with UpdaterServer(server, updater_config) as updater:
        yield updater


@pytest.fixture
async def owner(updater: UpdaterServer) -> AsyncGenerator[Owner]:
    """Return an owner of the meter."""
    async with aiohttp.ClientSession() as session:
        yield Owner(updater, session)
