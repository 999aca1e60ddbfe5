"""Random updates: any image, any network, any loss of power."""

import asyncio
import os
from typing import Any, Final

import aiohttp
from hypothesis import Phase, given, settings, strategies as st
import pytest

from simulator.images import Trait, signed_image
from simulator.updater import (
    Age,
    Closed,
    Moment,
    UpdaterConfig,
    UpdateRequest,
    UpdaterServer,
)
from simulator.web import MeterServer
from tests.event_loop import in_thread

from .owner import OLD, SUCCESS, Owner, assert_safe, fill_slot

UPDATES: Final = int(os.environ.get("UPDATES") or 0)


CUTS: Final = st.one_of(
    st.none(),
    st.tuples(st.integers(0, 6 * 1024), st.just(None)),
    st.tuples(st.integers(1, 40), st.sampled_from(Moment)),
)
"""Power is lost at a byte of the upload, or at a request before or after it is done."""


TRAITS: Final = st.sampled_from(
    [*(Trait.GOOD,) * 5, *(trait for trait in Trait if trait is not Trait.WRONG_HASH)]
)
"""Without what is never sent."""


NETWORKS: Final = st.fixed_dictionaries(
    {
        "loss": st.sampled_from([0, 0, 0.1, 0.3]),
        "doubling": st.sampled_from([0, 0.3]),
        "reordering": st.sampled_from([0, 0.3]),
        "jitter": st.sampled_from([0, 0.02, 0.06]),
    }
)


MODULES: Final = st.fixed_dictionaries(
    {
        "age": st.sampled_from(Age),
        "full_slot_refuses": st.booleans(),
        "closed": st.sampled_from(Closed),
        "watchdog_seconds": st.sampled_from([None, 0.3]),
        "erase_seconds": st.sampled_from([0, 0.1]),
        "old_answers": st.sampled_from([0, 0.1]),
        "seed": st.integers(1, 1000),
    }
)


@pytest.mark.timeout(0 if UPDATES else 600)
async def test_whatever_happens(server: MeterServer) -> None:
    """No network, no loss of power and no image leaves the meter without firmware.

    The owner reads no false word, and the same update succeeds afterwards on a
    network without faults. `UPDATES=500` searches long.
    """
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=UPDATES or 12,
        phases=list(Phase) if UPDATES else (Phase.explicit, Phase.generate),
    )
    @given(MODULES, NETWORKS, NETWORKS, CUTS, TRAITS, st.booleans())
    def search(
        module: dict[str, Any],
        there: dict[str, float],
        back: dict[str, float],
        cut: tuple[int, Moment | None] | None,
        trait: Trait,
        has_other: bool,
    ) -> None:
        async def try_it() -> None:
            config = UpdaterConfig(image=OLD, boot_seconds=0.1, **module)
            async with (
                UpdaterServer(server, config) as updater,
                aiohttp.ClientSession() as session,
            ):
                if has_other:
                    fill_slot(updater)
                for line, faults in (
                    (updater.datagrams.requests, there),
                    (updater.datagrams.answers, back),
                ):
                    for name, value in faults.items():
                        setattr(line, name, value)
                _cut_power(updater, cut)
                image = signed_image("1.0.17", size=6 * 1024, trait=trait)
                owner = Owner(updater, session)
                reason = await owner.install(image)
                await assert_safe(updater, reason)
                await _assert_can_be_updated(updater, session)

        asyncio.run_coroutine_threadsafe(try_it(), loop).result()

    await in_thread(search)


def _cut_power(updater: UpdaterServer, cut: tuple[int, Moment | None] | None) -> None:
    if cut is None:
        return
    number, when = cut
    if when is None:
        updater.cut_power_at_byte = number
        return

    def is_now(request: UpdateRequest, moment: Moment) -> bool:
        return moment is when and len(updater.requests) == number

    updater.cut_power_when = is_now


async def _assert_can_be_updated(
    updater: UpdaterServer, session: aiohttp.ClientSession
) -> None:
    updater.datagrams.clear()
    updater.datagrams.cut()
    updater.cut_power_when = updater.cut_power_at_byte = None
    boots = updater.boots
    await updater.power_cut()
    await updater.booted(boots + 1)
    reason = await Owner(updater, session).install()
    assert reason is SUCCESS
    await assert_safe(updater, reason)
