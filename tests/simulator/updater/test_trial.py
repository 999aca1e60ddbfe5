"""Test, reset and confirm, and images with something wrong."""

import asyncio
from dataclasses import replace

import aiohttp
import pytest
from smp.image_management import ImageEraseRequest

from simulator.bootloader import Bootloader, read_image
from simulator.images import Trait, signed_image
from simulator.updater import Age, UpdaterServer
from simulator.web import MeterServer

from .client import (
    NEW_HASH,
    OLD_HASH,
    QUICK,
    V1,
    chunk,
    echo,
    serving,
    software_version,
    to_set,
)

pytestmark = pytest.mark.usefixtures("socket_enabled")


async def test_pending_and_trial_refuse_upload_and_erase(
    web: MeterServer, age: Age
) -> None:
    """Pending or on trial: upload rc 5 or 6, erase rc 6."""
    number = 5 if age is Age.LEGACY else 6
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        await client.upload()
        await client.set_state(NEW_HASH, confirm=False)
        for boots in (2, 3):
            assert await client.refused(chunk()) == number
            assert await client.refused(ImageEraseRequest(version=V1)) == 6
            if boots == 2:
                assert await client.refused(to_set(OLD_HASH, confirm=True)) == 6
                await client.reset()
                await updater.booted(2)
                assert await client.refused(to_set(OLD_HASH)) == 6
        assert await client.states() == [("1.0.17", "active"), ("1.0.16", "confirmed")]


async def test_old_image_answers_for_a_moment_and_a_second_reset_reverts(
    web: MeterServer,
) -> None:
    """After the reset's answer the old image still answers; on trial a reset reverts."""
    async with serving(web, replace(QUICK, old_answers=0.1)) as (updater, client):
        await client.upload()
        await client.set_state(NEW_HASH, confirm=False)
        await client.reset()
        # A repeated reset in that moment is the same one, put off.
        updater.config = replace(QUICK, old_answers=0.3)
        await client.reset()
        begin = asyncio.get_running_loop().time()
        assert (await client.states())[1] == ("1.0.17", "pending")
        assert not web.away
        await updater.booted(2)
        assert asyncio.get_running_loop().time() - begin > 0.25
        assert updater.running == "1.0.17"
        await client.reset()
        await updater.booted(3)
        assert updater.running == "1.0.16"
        assert await client.states() == [("1.0.16", "confirmed active"), ("1.0.17", "")]


async def test_power_cut_reverts_a_trial(web: MeterServer) -> None:
    """Not confirmed is gone at the next power cut."""
    async with serving(web) as (updater, client):
        await client.upload()
        await client.set_state(NEW_HASH, confirm=False)
        for boots, version in ((2, "1.0.17"), (3, "1.0.16"), (4, "1.0.16")):
            await updater.power_cut()
            await updater.booted(boots)
            assert updater.running == version


@pytest.mark.parametrize("confirm", [False, True])
async def test_image_that_never_boots(web: MeterServer, confirm: bool) -> None:
    """After a power cut the old image is back if it was tested, not if confirmed."""
    image = signed_image("1.0.17", size=4000, trait=Trait.NEVER_BOOTS)
    async with serving(web) as (updater, client):
        await client.upload(image)
        await client.set_state(read_image(image).hash, confirm=confirm)
        await client.reset()
        await updater.booted(2)
        client.send(echo().BYTES)
        assert await client.is_silent()
        assert web.away
        await updater.power_cut()
        await updater.booted(3)
        assert web.away is confirm
        assert updater.running == ("1.0.17" if confirm else "1.0.16")


async def test_watchdog_brings_the_old_image_back(web: MeterServer) -> None:
    """A watchdog resets an image that never boots."""
    image = signed_image("1.0.17", size=4000, trait=Trait.NEVER_BOOTS)
    async with serving(web, replace(QUICK, watchdog_seconds=0.02)) as (updater, client):
        await client.upload(image)
        await client.set_state(read_image(image).hash, confirm=False)
        await client.reset()
        await updater.booted(3)
        assert await client.states() == [("1.0.16", "confirmed active"), ("1.0.17", "")]


async def test_image_without_a_web_page(web: MeterServer) -> None:
    """It serves updates and no web page, and can be reverted."""
    image = signed_image("1.0.17", size=4000, trait=Trait.NO_WEB_PAGE)
    async with serving(web) as (updater, client):
        await client.upload(image)
        await client.set_state(read_image(image).hash, confirm=False)
        await client.reset()
        await updater.booted(2)
        assert await client.states() == [("1.0.17", "active"), ("1.0.16", "confirmed")]
        with pytest.raises(aiohttp.ClientConnectionError):
            await software_version(web)
        await updater.stop()
        await updater.start()
        with pytest.raises(aiohttp.ClientConnectionError):
            await software_version(web)
        await client.reset()
        await updater.booted(4)
        assert await software_version(web) == "1.0.16"


async def test_image_without_an_updater(web: MeterServer) -> None:
    """It serves its web page and no updates."""
    image = signed_image("1.0.17", size=4000, trait=Trait.NO_UPDATER)
    async with serving(web) as (updater, client):
        await client.upload(image)
        await client.set_state(read_image(image).hash, confirm=False)
        await client.reset()
        await updater.booted(2)
        assert not updater.listening
        client.send(echo().BYTES)
        assert await client.is_silent()
        assert await software_version(web) == "1.0.17"


@pytest.mark.parametrize("trait", [Trait.WRONG_SIGNATURE, Trait.WRONG_HASH])
async def test_bad_image_is_taken_and_refused_at_boot(
    web: MeterServer, age: Age, trait: Trait
) -> None:
    """The server checks nothing; the boot loader keeps the old image."""
    image = signed_image("1.0.17", size=4000, trait=trait)
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        await client.upload(image)
        listed = await client.set_state(read_image(image).hash, confirm=False)
        assert listed[1] == ("1.0.17", "pending")
        await client.reset()
        await updater.booted(2)
        assert await client.states() == [("1.0.16", "confirmed active")]
        assert await software_version(web) == "1.0.16"


async def test_versions_with_a_build_number(web: MeterServer) -> None:
    """Image list and status page print a build number if there is one."""
    image = signed_image("1.2.3.4", size=4000)
    async with serving(web, replace(QUICK, image=image)) as (_, client):
        assert await client.states() == [("1.2.3.4", "confirmed active")]
        assert await software_version(web) == "1.2.3.4"


async def test_bricked_module_stays_dark(web: MeterServer) -> None:
    """Without a bootable image nobody answers."""
    dead = Bootloader(b"\xff")
    async with UpdaterServer(web, QUICK, bootloader=dead) as updater:
        assert updater.running is None
        assert not updater.listening
        assert web.away
