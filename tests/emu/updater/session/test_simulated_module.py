"""Sessions with the simulated module, also on bad networks."""

from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
import itertools

from hypothesis import HealthCheck, given, settings, strategies as st
import pytest

from custom_components.emu_professional.emu.errors import (
    MeterError,
    MeterUnreachable,
    UpdaterRefused,
)
from custom_components.emu_professional.emu.updater.session import UpdaterSession
from simulator.images import signed_image
from simulator.updater import Age, Closed, UpdaterConfig, UpdaterServer
from simulator.web import MeterServer

from .scripted_server import NEW_HASH, NEW_IMAGE, QUICK, upload


@pytest.fixture
async def module(web: MeterServer, age: Age) -> AsyncGenerator[UpdaterServer]:
    """Return the module of a simulated meter."""
    config = UpdaterConfig(age=age, boot_seconds=0.05, old_answers=0.02)
    async with UpdaterServer(web, config) as module:
        yield module


@pytest.mark.parametrize("age", Age)
@pytest.mark.usefixtures("quick")
async def test_whole_update(module: UpdaterServer) -> None:
    """Both ages of servers take an image, run it on trial, and keep it."""
    async with UpdaterSession(module.host, module.port, QUICK) as session:
        (old,) = await session.slots()
        assert old.active
        assert old.confirmed
        await upload(session, NEW_IMAGE)
        _, new = await session.slots()
        assert (new.number, new.version, new.hash) == (1, "1.0.17", NEW_HASH)
        assert new.bootable
        assert (await session.test(NEW_HASH))[1].pending
        with pytest.raises(UpdaterRefused):
            await session.erase()
        with pytest.raises(UpdaterRefused) as raised:
            await upload(session, NEW_IMAGE)
        assert raised.value.rc in (2, 5, 6)
        boots = module.boots
        assert await session.reset()
        await module.booted(boots + 1)
        running, previous = await session.slots()
        assert running.hash == NEW_HASH
        assert running.active
        assert not running.confirmed
        assert previous.hash == old.hash
        with pytest.raises(UpdaterRefused) as raised:
            await session.test(NEW_HASH)
        assert raised.value.rc == 1
        for _ in range(2):
            assert (await session.confirm(NEW_HASH))[0].confirmed
        await session.erase()
        assert [slot.number for slot in await session.slots()] == [0]
    assert {request.version for request in module.requests} == {1}
    assert max(request.size for request in module.requests) <= 588


@pytest.mark.parametrize("age", Age)
@pytest.mark.usefixtures("quick")
async def test_full_slot(module: UpdaterServer) -> None:
    """The server asks for an erase first; after it, it takes the image."""
    module.config = replace(module.config, full_slot_refuses=True)
    async with UpdaterSession(module.host, module.port, QUICK) as session:
        await upload(session, NEW_IMAGE)
        with pytest.raises(UpdaterRefused) as raised:
            await upload(session, NEW_IMAGE)
        assert raised.value.rc in (2, 5, 6)
        await session.erase()
        await upload(session, NEW_IMAGE)
    assert module.bootloader.flash[1].startswith(NEW_IMAGE)


@pytest.mark.parametrize("age", Age)
async def test_slow_erase_fills_no_buffers(module: UpdaterServer) -> None:
    """Neither at the first chunk nor in the middle: the module would crash."""
    module.config = replace(
        module.config, buffers=1, overflow_crashes=True, chunk_seconds=0.15
    )
    image = signed_image("1.0.17", size=2048)
    async with UpdaterSession(module.host, module.port) as session:
        await session.slots()
        for _ in range(2):
            await upload(session, image)
            module.config = replace(module.config, erase_seconds=0.7)
    assert module.dropped == 0
    assert module.boots == 1


@pytest.mark.parametrize("closed", Closed)
@pytest.mark.parametrize("age", [Age.LEGACY])
@pytest.mark.usefixtures("quick")
async def test_updates_switched_off(module: UpdaterServer, closed: Closed) -> None:
    """Silence or a refusal of the network: nobody is there."""
    module.config = replace(module.config, closed=closed)
    on = module.meter.settings
    module.meter.settings = replace(on, online_update=False)
    async with UpdaterSession(
        module.host, module.port, replace(QUICK, contact=0.3)
    ) as session:
        with pytest.raises(MeterUnreachable):
            await session.slots()
        module.meter.settings = on
        assert len(await session.slots()) == 1


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    age=st.sampled_from(Age),
    chances=st.tuples(*[st.floats(0, 0.3)] * 6),
    jitter=st.floats(0, 0.03),
    cut=st.none() | st.integers(1, len(NEW_IMAGE)),
)
@pytest.mark.usefixtures("quick")
async def test_any_network(
    web: MeterServer,
    seed: int,
    age: Age,
    chances: tuple[float, ...],
    jitter: float,
    cut: int | None,
) -> None:
    """Lost, doubled, late and reordered datagrams and a power cut: all bytes arrive."""
    config = UpdaterConfig(age=age, boot_seconds=0.02, seed=seed)
    async with (
        UpdaterServer(web, config) as module,
        UpdaterSession(module.host, module.port, QUICK) as session,
    ):
        module.cut_power_at_byte = cut
        lines = (module.datagrams.requests, module.datagrams.answers)
        for line, three in zip(lines, itertools.batched(chances, 3), strict=True):
            line.loss, line.doubling, line.reordering = three
            line.jitter = jitter
        progress = await upload(session, NEW_IMAGE)
        assert progress[-1] == len(NEW_IMAGE)
        assert module.bootloader.flash[1].startswith(NEW_IMAGE)
        assert (await session.slots())[1].hash == NEW_HASH


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), chance=st.floats(0, 0.5))
@pytest.mark.usefixtures("quick")
async def test_corrupt_network(web: MeterServer, seed: int, chance: float) -> None:
    """Changed bytes lead to the image, or to an error of ours."""
    config = UpdaterConfig(boot_seconds=0.02, seed=seed)
    async with (
        UpdaterServer(web, config) as module,
        UpdaterSession(module.host, module.port, QUICK) as session,
    ):
        module.datagrams.requests.corruption = chance
        module.datagrams.answers.corruption = chance
        with suppress(MeterError):
            await upload(session, NEW_IMAGE)
        with suppress(MeterError):
            await session.slots()
        with suppress(MeterError):
            await session.test(NEW_HASH)
