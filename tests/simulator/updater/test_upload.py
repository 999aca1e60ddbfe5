"""Uploads: offsets, lengths, slow flash, full slots and buffers."""

import asyncio
from dataclasses import replace

import pytest
from smp.image_management import (
    ImageEraseRequest,
    ImageUploadWriteRequest,
    ImageUploadWriteResponse,
)

from simulator.images import signed_image
from simulator.updater import Age
from simulator.web import MeterServer

from .client import NEW, NEW_HASH, QUICK, V1, chunk, echo, serving

pytestmark = pytest.mark.usefixtures("socket_enabled")


async def test_chunks_that_are_too_long(web: MeterServer, age: Age) -> None:
    """More than 512 bytes: refused by modern servers, garbage in legacy ones."""
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        await client.ask(chunk(), ImageUploadWriteResponse)
        request = chunk(offset=512, size=528)
        if age is Age.MODERN:
            assert await client.refused(request) == 3
            return
        assert (await client.ask(request, ImageUploadWriteResponse)).off == 1040
        await client.upload(offset=1040)
        assert updater.bootloader.flash[1][: len(NEW)] != NEW
        assert await client.set_state(NEW_HASH, confirm=False)
        await client.reset()
        await updater.booted(2)
        assert await client.states() == [("1.0.16", "confirmed active")]


async def test_datagrams_that_are_too_long(web: MeterServer, age: Age) -> None:
    """More than 588 bytes: no answer of modern servers, garbage in legacy ones."""
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        request = chunk(size=600)
        if age is Age.MODERN:
            client.send(request.BYTES)
            assert await client.is_silent()
            assert updater.dropped == 1
            return
        assert (await client.ask(request, ImageUploadWriteResponse)).off == 600
        assert updater.bootloader.flash[1][:600] == bytes(600)


async def test_offset_rules(web: MeterServer, age: Age) -> None:
    """A wrong offset is answered with the right one, and nothing is written."""
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        assert await client.upload(end=1024) == 1024
        for offset in (512, 1536, 3999):
            answer = await client.ask(chunk(offset=offset), ImageUploadWriteResponse)
            assert answer.off == 1024
        # Flash is written in words of 8 bytes, the rest must come again.
        answer = await client.ask(
            chunk(offset=1024, size=101), ImageUploadWriteResponse
        )
        assert answer.off == 1024 + 96
        assert await client.upload(offset=1120) == len(NEW)
        assert updater.bootloader.flash[1][: len(NEW)] == NEW
        assert await client.states() == [("1.0.16", "confirmed active"), ("1.0.17", "")]


async def test_upload_is_resumed_by_its_hash(web: MeterServer, age: Age) -> None:
    """With the same `sha` an upload continues, without or with another it starts over."""
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        await client.upload(end=1024)
        assert (await client.ask(chunk(), ImageUploadWriteResponse)).off == 1024
        without = chunk(sha=False)
        assert (await client.ask(without, ImageUploadWriteResponse)).off == 512
        assert set(updater.bootloader.flash[1][512:1024]) == {0xFF}
        assert (await client.ask(without, ImageUploadWriteResponse)).off == 512
        await client.upload(offset=512, end=1024)
        other = chunk(signed_image("1.0.18", size=4000))
        assert (await client.ask(other, ImageUploadWriteResponse)).off == 512


async def test_repeated_last_chunk(web: MeterServer, age: Age) -> None:
    """The last chunk, sent again, is answered offset 0 by modern servers."""
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        await client.upload(end=3584)
        last = chunk(offset=3584)
        for expected in (4000, 0 if age is Age.MODERN else 4000):
            answer = await client.ask(last, ImageUploadWriteResponse)
            assert answer.off == expected
        assert updater.bootloader.flash[1][: len(NEW)] == NEW
        assert (await client.states())[1] == ("1.0.17", "")


async def test_half_a_file_is_not_listed_and_power_forgets_it(
    web: MeterServer, age: Age
) -> None:
    """After a power cut an upload is back at 0; half a file is not listed."""
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        await client.upload(end=2048)
        assert await client.states() == [("1.0.16", "confirmed active")]
        await updater.power_cut()
        await updater.booted(2)
        answer = await client.ask(chunk(offset=2048), ImageUploadWriteResponse)
        assert answer.off == 0
        assert await client.upload() == len(NEW)
        assert len(await client.states()) == 2


async def test_first_chunk_is_slow(web: MeterServer) -> None:
    """A slot with data is erased first, for some time; a blank one is not."""
    async with serving(web, replace(QUICK, erase_seconds=0.2)) as (_, client):
        loop = asyncio.get_running_loop()
        await client.upload()
        begin = loop.time()
        await client.ask(chunk(sha=False), ImageUploadWriteResponse)
        assert loop.time() - begin > 0.19


async def test_requests_without_a_buffer_are_dropped(web: MeterServer) -> None:
    """Two requests are under way at most, the one being answered included."""
    async with serving(web, replace(QUICK, chunk_seconds=0.1)) as (updater, client):
        client.send(chunk().BYTES)
        for sequence in range(10, 15):
            client.send(echo(sequence=sequence).BYTES)
        assert ImageUploadWriteResponse.loads(await client.receive()).off == 512
        assert (await client.receive())[6] == 10
        assert await client.is_silent()
        assert updater.dropped == 4


async def test_overflow_may_crash_the_module(web: MeterServer) -> None:
    """Where filling the buffers crashes the module, its upload is lost."""
    config = replace(QUICK, chunk_seconds=0.1, overflow_crashes=True)
    async with serving(web, config) as (updater, client):
        for _ in range(3):
            client.send(chunk().BYTES)
        await updater.booted(2)
        answer = await client.ask(chunk(offset=512), ImageUploadWriteResponse)
        assert answer.off == 0


@pytest.mark.parametrize("rc", [None, 2, 5, 6])
async def test_full_slot_refuses_uploads(
    web: MeterServer, age: Age, rc: int | None
) -> None:
    """The manual's rule, if chosen: an image in slot 1 must be erased first."""
    config = replace(QUICK, age=age, full_slot_refuses=True, no_slot_rc=rc)
    async with serving(web, config) as (updater, client):
        await client.upload()
        number = 5 if age is Age.LEGACY else 6
        assert await client.refused(chunk()) == (number if rc is None else rc)
        client.send(ImageEraseRequest(version=V1).BYTES)
        await client.receive()
        assert await client.upload() == len(NEW)
        updater.config = replace(config, full_slot_refuses=False)
        assert await client.upload() == len(NEW)


async def test_only_upgrades_if_asked_for(web: MeterServer, age: Age) -> None:
    """With `upgrade` the image must be newer than the running one."""
    async with serving(web, replace(QUICK, age=age)) as (_, client):
        for version, accepted in (("1.0.16", False), ("1.0.9", False), ("1.1.0", True)):
            image = signed_image(version, size=4000)
            request = ImageUploadWriteRequest(
                off=0, data=image[:512], len=4000, upgrade=True, version=V1
            )
            if accepted:
                answer = await client.ask(request, ImageUploadWriteResponse)
                assert answer.off == 512
            else:
                assert await client.refused(request) == 6
