"""Many meters are not polled at the same time."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from custom_components.emu_professional.const import DOMAIN, POLL_INTERVAL
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from simulator.web import MeterServer

from .conftest import METERS

INTERVAL = POLL_INTERVAL.total_seconds()
STEP = 0.1
OFFSET = 0.5
"""Seconds, at random, that Home Assistant adds to every interval."""

type Skip = Callable[[float], None]


@pytest.fixture
def skip(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> Skip:
    """Return a function that puts the event loop's clock forward, which stands still."""
    now = hass.loop.time()

    def skip(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(hass.loop, "time", lambda: now)
    return skip


async def pass_slowly(hass: HomeAssistant, skip: Skip, seconds: float) -> None:
    """Let time pass, and everything happen that is due meanwhile."""
    for _ in range(round(seconds / STEP)):
        skip(STEP)
        await hass.async_block_till_done(wait_background_tasks=True)


def requests(meter: MeterServer, path: str) -> list[float]:
    """Return when a meter was asked for something, in seconds."""
    return [one.started for one in meter.requests if one.path.startswith(path)]


async def test_polls_are_spread(
    hass: HomeAssistant, world_time: None, meters: list[MeterServer], skip: Skip
) -> None:
    """Meters that are set up at the same moment are polled one after another."""
    assert await async_setup_component(hass, DOMAIN, {})
    await pass_slowly(hass, skip, 14 * INTERVAL)
    polls = [requests(meter, "/meterdata.json") for meter in meters]
    longest_wait = max(
        after - before for one in polls for before, after in pairwise(one)
    )
    assert longest_wait < INTERVAL + OFFSET + 2 * STEP
    newest = sorted(one[-1] for one in polls)
    newest.append(newest[0] + INTERVAL)
    longest_pause = max(after - before for before, after in pairwise(newest))
    assert longest_pause < 2 * INTERVAL / METERS + OFFSET


async def test_looks_into_logbooks_are_spread(
    hass: HomeAssistant, world_time: None, meters: list[MeterServer], skip: Skip
) -> None:
    """Not all logbooks are looked into at the same moment after the start."""
    assert await async_setup_component(hass, DOMAIN, {})
    await pass_slowly(hass, skip, 75)
    looks = sorted(requests(meter, "/logbook/")[0] for meter in meters)
    assert min(after - before for before, after in pairwise(looks)) > 60 / METERS / 2
