"""Losses of power, at any byte and at any step."""

import asyncio
from dataclasses import replace

import pytest
from smp.image_management import ImageEraseRequest
from smp.message import Request
from smp.os_management import ResetWriteRequest

from simulator.updater import ImageCommand, Moment, UpdateRequest
from simulator.web import MeterServer

from .client import NEW, NEW_HASH, QUICK, V1, chunk, echo, serving, to_set

pytestmark = pytest.mark.usefixtures("socket_enabled")


SIGNATURE_SIZE = 64
"""Bytes at the end of an image; the server does not look for them."""


@pytest.mark.parametrize("byte", [1, 511, 512, 513, 2000, 3999, 4000])
async def test_power_loss_at_any_byte(web: MeterServer, byte: int) -> None:
    """Bytes written before the power loss stay, and nobody answers."""
    async with serving(web) as (updater, client):
        updater.cut_power_at_byte = byte
        with pytest.raises(TimeoutError):
            await client.upload(patience=0.5)
        await updater.booted(2)
        flash = updater.bootloader.flash[1]
        assert flash[:byte] == NEW[:byte]
        assert set(flash[byte:]) == {0xFF}
        listed = byte >= len(NEW) - SIGNATURE_SIZE
        assert len(await client.states()) == (2 if listed else 1)
        assert await client.upload() == len(NEW)
        assert updater.bootloader.flash[1][: len(NEW)] == NEW


async def test_power_loss_while_erasing(web: MeterServer) -> None:
    """A half-erased slot lists nothing."""
    async with serving(web, replace(QUICK, erase_seconds=5.0)) as (updater, client):
        updater.bootloader.write(0, NEW)
        assert len(await client.states()) == 2
        client.send(ImageEraseRequest(version=V1).BYTES)
        await updater.received(2)
        while updater.bootloader.flash[1][-8192] != 0xFF:
            await asyncio.sleep(0)
        await updater.power_cut()
        await updater.booted(2)
        assert updater.bootloader.flash[1][: len(NEW)] == NEW
        assert len(await client.states()) == 2


STEPS = ["upload", "test", "reset", "confirm", "erase"]


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("step", STEPS)
async def test_power_loss_at_every_step(
    web: MeterServer, step: str, moment: Moment
) -> None:
    """A step without power is done or not, and something always boots."""
    async with serving(web) as (updater, client):
        done = STEPS.index(step)
        await client.upload(end=3584 if done == 0 else None)
        if done > 1:
            await client.set_state(NEW_HASH, confirm=False)
        if done > 2:
            await client.reset()
            await updater.booted(2)
        if done > 3:
            await client.set_state(NEW_HASH, confirm=True)
        requests: list[Request] = [
            chunk(offset=3584),
            to_set(NEW_HASH),
            ResetWriteRequest(version=V1),
            to_set(NEW_HASH, confirm=True),
            ImageEraseRequest(version=V1),
        ]
        updater.cut_power_when = lambda _, at: at is moment
        boots = updater.boots
        client.send(requests[done].BYTES)
        await updater.booted(boots + 1)
        old, new = ("1.0.16", "confirmed active"), ("1.0.17", "confirmed active")
        trial = [("1.0.17", "active"), ("1.0.16", "confirmed")]
        untouched = {
            "upload": [old],
            "test": [old, ("1.0.17", "")],
            "reset": trial,
            "confirm": [old, ("1.0.17", "")],
            "erase": [new, ("1.0.16", "")],
        }
        performed = {
            "upload": [old, ("1.0.17", "")],
            "test": trial,
            "reset": trial,
            "confirm": [new, ("1.0.16", "")],
            "erase": [new],
        }
        expected = untouched if moment is Moment.ARRIVED else performed
        assert await client.states() == expected[step]


async def test_power_is_cut_once_and_for_a_while(web: MeterServer) -> None:
    """The power is cut once, for the given time."""

    def when(request: UpdateRequest, moment: Moment) -> bool:
        return request.command == ImageCommand.UPLOAD and moment is Moment.DONE

    async with serving(web) as (updater, client):
        updater.cut_power_when = when
        updater.cut_power_for = 0.2
        begin = asyncio.get_running_loop().time()
        client.send(chunk().BYTES)
        await updater.booted(2)
        assert asyncio.get_running_loop().time() - begin > 0.2
        assert await client.upload() == len(NEW)


async def test_meter_without_power_is_silent(
    web: MeterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the meter has no power, its module has none."""
    async with serving(web) as (_, client):
        monkeypatch.setattr(web.meter, "has_power", lambda: False)
        client.send(echo().BYTES)
        assert await client.is_silent()
