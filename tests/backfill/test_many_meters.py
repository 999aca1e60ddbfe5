"""The statistics of many meters are not all filled at the same time."""

import asyncio

import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)

from custom_components.emu_professional.backfill import automatic
from custom_components.emu_professional.backfill.run import Backfill
from custom_components.emu_professional.const import DOMAIN
from homeassistant.components.recorder.core import Recorder
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from simulator.web import MeterServer
from tests.conftest import METERS

AT_A_TIME = 4


async def test_a_few_at_a_time(
    recorder_mock: Recorder,
    hass: HomeAssistant,
    enable_custom_integrations: None,
    world_time: None,
    meters: list[MeterServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a start a meter is filled as soon as one of those before it is ready."""
    begun = 0
    ready = asyncio.Semaphore(0)

    async def fill(*_: object) -> None:
        nonlocal begun
        begun += 1
        await ready.acquire()

    async def is_caught_up(*_: object) -> bool:
        return True

    monkeypatch.setattr(Backfill, "async_run", fill)
    monkeypatch.setattr(automatic, "async_caught_up", is_caught_up)
    assert await async_setup_component(hass, DOMAIN, {})
    for expected in range(AT_A_TIME, METERS + 1):
        while begun < expected:
            await asyncio.sleep(0)
        await async_wait_recording_done(hass)
        assert begun == expected
        ready.release()
