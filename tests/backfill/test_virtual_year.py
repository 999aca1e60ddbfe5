"""A virtual year of a house, through the real recorder: every hour is right.

A meter with its logger, and a Home Assistant that is off, or does not observe the
meter, or fills its statistics, in any order. The test moves the clock:
what happens is compiled, caught up with and purged by the recorder's own tasks;
only of long stretches in which nothing changes the middle is left out.

`VIRTUAL_YEARS=500 scripts/test tests/backfill/test_virtual_year.py` searches long.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
import os
from typing import Any, Final
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, given, settings, strategies as st
import pytest

from custom_components.emu_professional.backfill import history_pages, prices
from custom_components.emu_professional.backfill.times import HOUR
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.statistics import statistics_during_period
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util

from .virtual_year.contract import EXACT, is_like
from .virtual_year.life import BY_KEY, Life
from .virtual_year.lives import A_YEAR, LIVES, LIVES_TO_REMEMBER, STEPS
from .virtual_year.priced import async_hourly_means
from .virtual_year.steps import DAY, Clock, Fill, Live, Off, PutBack, Step, Unreachable
from .virtual_year.world import BIRTH, KEEP, ZONE, World, time_of

YEARS: Final = int(os.environ.get("VIRTUAL_YEARS") or 0)


@pytest.fixture
def recorder_config() -> dict[str, Any]:
    """Let the recorder not commit every single state."""
    return {"commit_interval": 1}


@pytest.fixture
async def world(
    recorder_mock: Recorder, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[World]:
    """Return a Home Assistant in Switzerland, with a controlled clock."""
    assert await async_setup_component(hass, "sensor", {})
    await hass.config.async_set_time_zone(ZONE.key)
    world = World(hass)
    await world.done()
    monkeypatch.setattr(dt_util, "utcnow", lambda: time_of(world.now))
    monkeypatch.setattr(prices, "async_hourly_means", async_hourly_means)
    monkeypatch.setattr(history_pages, "_LONGEST_PAUSE", 0)
    monkeypatch.setattr(history_pages, "_PATIENCE", (0,) * 4)
    yield world
    await world.done()


async def live(world: World, life: Life, steps: Iterable[Step]) -> Life:
    """Live a life, and some hours more."""
    await life.begin()
    steps = (*steps, Clock(0), Live(2), Fill(), Live(14))
    life.keeps_copies = any(isinstance(step, PutBack) for step in steps)
    for step in steps:
        await life.take(step)
    return life


async def test_a_whole_year(world: World) -> None:
    """All that can happen, at least once, from autumn to summer."""
    life = Life(world, ["energy_export", "active_power"], depth=500, moved=True)
    await live(world, life, A_YEAR)
    assert life.now > BIRTH + 250 * DAY
    await life.end()


@pytest.mark.parametrize("fills_before", [False, True])
async def test_silent_for_twelve_days(world: World, fills_before: bool) -> None:
    """Core has purged the sensor's short-term rows, and would restart at 0."""
    life = await Life(world, ["energy_export", "active_power"], depth=1500).begin()
    for step in (Live(14), Fill(), Live(13), Unreachable(12 * DAY + HOUR)):
        await life.take(step)
    if fills_before:
        await life.take(Fill())
    life.observes_from = life.now + 1
    await life.live(14)
    assert (min(await life.changes("energy_import")) >= 0) is fills_before
    await life.take(Fill())
    await life.live(14)
    assert min(await life.changes("energy_import")) >= 0
    await life.end()


async def test_off_for_twelve_days(world: World) -> None:
    """Home Assistant repeats its last rows, and counts it all when it is back."""
    keys = ["energy_export", "active_power"]
    life = await Life(world, keys, depth=1500, units=1).begin()
    for step in (Live(14), Fill(), Live(13), Off(12 * DAY + HOUR), Live(14)):
        await life.take(step)
    assert max(await life.changes("energy_import")) > 100_000
    await life.take(Fill())
    assert max(await life.changes("energy_import")) < 20_000
    await life.live(14)
    await life.end()


@pytest.mark.parametrize("name", LIVES_TO_REMEMBER)
async def test_life_to_remember(world: World, name: str) -> None:
    """What was wrong once stays right."""
    made, steps = LIVES_TO_REMEMBER[name]
    life = Life(world, **made)
    await live(world, life, steps)
    await life.end()


async def test_hours_that_nobody_noted(world: World) -> None:
    """Where the energy of an hour was wrong, its means are taken for wrong as well."""
    life = await Life(world, ["energy_export", "active_power"]).begin()
    for step in (Live(14), Fill(), Live(13), Off(5 * HOUR), Live(14)):
        await life.take(step)
    ((since, until),) = life.outages
    noted = range(since // HOUR * HOUR, until, HOUR)
    life.outages.clear()
    life.automatic.forget_outages()
    await life.take(Fill())
    rows = (await life.stored())["active_power"].rows
    logged = life.log().hours
    for start in noted[1:-1]:
        assert is_like(rows[start].mean, logged[start]["active_power"])
    await life.end()


async def test_middle_that_is_left_out(world: World) -> None:
    """It is what the recorder itself makes of a long time off."""
    found = []
    for leaves_out in (False, True):
        life = await Life(world, ["active_power"]).begin()
        await life.live(4)
        with patch.object(Life, "LONG", 2 * HOUR if leaves_out else KEEP):
            await life.off(Off(15 * HOUR))
        await life.live(14)
        found.append([stored.rows for stored in (await life.stored()).values()])
        await life.end()
    assert found[0] == found[1]


async def test_bars_of_the_dashboard(world: World) -> None:
    """What is checked here is what Home Assistant shows."""
    life = await Life(world).begin()
    for step in (
        Live(14),
        Fill(),
        Unreachable(3 * HOUR),
        Live(14),
        Off(5 * HOUR),
        Live(20),
    ):
        await life.take(step)
    entity_id = life.statistic_of(BY_KEY["energy_import"]).statistic_id
    found = await world.run(
        lambda: statistics_during_period(
            world.hass,
            start_time=time_of(0),
            end_time=None,
            statistic_ids={entity_id},
            period="hour",
            units={"energy": "Wh"},
            types={"change"},
        )
    )
    shown = [row["change"] for row in found[entity_id]]
    assert shown == pytest.approx(await life.changes("energy_import"), abs=EXACT)
    await life.end()


@pytest.mark.timeout(0 if YEARS else 600)
async def test_a_virtual_year(world: World) -> None:
    """Whatever happens, and whenever statistics are filled: every hour is right."""

    @settings(
        # Always the same few lives, unless somebody asks for a search.
        max_examples=YEARS or 3,
        derandomize=not YEARS,
        phases=list(Phase) if YEARS else (Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(LIVES, st.lists(STEPS, min_size=2, max_size=9))
    def search(made: dict[str, Any], steps: list[Step]) -> None:
        async def try_it() -> None:
            life = Life(world, **made)
            try:
                await live(world, life, steps)
            except Exception:
                # Not when cancelled: then the recorder does not answer any more.
                await life.end()
                raise
            await life.end()

        asyncio.run_coroutine_threadsafe(try_it(), world.hass.loop).result()

    await asyncio.to_thread(search)
