"""Whole updates: with `smpclient`, by the manual, on a bad network."""

from dataclasses import replace
from typing import override

import pytest
from smp.image_management import (
    ImageEraseRequest,
    ImageEraseResponse,
    ImageManagementErrorV1,
    ImageStatesReadResponse,
    ImageUploadWriteResponse,
)
from smpclient import SMPClient
from smpclient.requests.image_management import (
    ImageErase,
    ImageStatesRead,
    ImageStatesWrite,
)
from smpclient.requests.os_management import ResetWrite
from smpclient.transport.udp import SMPUDPTransport

from simulator.bootloader import read_image
from simulator.images import signed_image
from simulator.updater import Age
from simulator.web import MeterServer

from .client import NEW, NEW_HASH, QUICK, V1, chunk, flags_of, serving, software_version

pytestmark = pytest.mark.usefixtures("socket_enabled")


class _Transport(SMPUDPTransport):
    """`smpclient` knows one port only."""

    def __init__(self, port: int) -> None:
        super().__init__(mtu=540)
        self._port = port

    @override
    async def connect(self, address: str, timeout_s: float, port: int = 1337) -> None:
        await super().connect(address, timeout_s, self._port)


async def test_smpclient_updates_the_module(web: MeterServer, age: Age) -> None:
    """An update with `smpclient`, from the list to the erasure of the old image."""
    image = signed_image("1.0.17", size=30_000)
    async with (
        serving(web, replace(QUICK, age=age)) as (updater, _),
        SMPClient(_Transport(updater.port), "127.0.0.1") as client,
    ):
        before = await client.request(ImageStatesRead())
        assert isinstance(before, ImageStatesReadResponse)
        assert flags_of(before) == [("1.0.16", "confirmed active")]
        offsets = [offset async for offset in client.upload(image)]
        assert offsets[-1] == len(image)
        assert max(request.size for request in updater.requests) == 512
        await client.request(ImageStatesWrite(hash=read_image(image).hash))
        await client.request(ResetWrite())
        await updater.booted(2)
        await client.request(
            ImageStatesWrite(hash=read_image(image).hash, confirm=True)
        )
        await client.request(ImageErase())
        after = await client.request(ImageStatesRead())
        assert isinstance(after, ImageStatesReadResponse)
        assert flags_of(after) == [("1.0.17", "confirmed active")]
        assert await software_version(web) == "1.0.17"
    assert await software_version(web) == "1.0.16"


async def test_update_as_the_manual_does_it(web: MeterServer, age: Age) -> None:
    """The manual's steps show the manual's flags."""
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        assert await client.upload() == len(NEW)
        sizes = [request.size for request in updater.requests]
        assert max(sizes[0:1]) <= 588
        assert max(sizes[1:]) <= 545
        assert await client.states() == [("1.0.16", "confirmed active"), ("1.0.17", "")]
        assert await client.set_state(NEW_HASH, confirm=False) == [
            ("1.0.16", "confirmed active"),
            ("1.0.17", "pending"),
        ]
        await client.reset()
        await updater.booted(2)
        assert await client.states() == [("1.0.17", "active"), ("1.0.16", "confirmed")]
        for _ in range(2):
            assert await client.set_state(NEW_HASH, confirm=True) == [
                ("1.0.17", "confirmed active"),
                ("1.0.16", ""),
            ]
        await client.ask(
            ImageEraseRequest(version=V1),
            ImageManagementErrorV1 if age is Age.LEGACY else ImageEraseResponse,
        )
        assert await client.states() == [("1.0.17", "confirmed active")]
        await updater.power_cut()
        await updater.booted(3)
        assert await client.states() == [("1.0.17", "confirmed active")]


async def test_bad_network_still_updates(web: MeterServer) -> None:
    """Faults of all kinds at once, and a patient client."""
    async with serving(web) as (updater, client):
        for line in (updater.datagrams.requests, updater.datagrams.answers):
            line.loss = line.doubling = line.reordering = 0.2
            line.hold = line.jitter = 0.002
        offset = 0
        while offset < len(NEW):
            client.send(chunk(offset=offset).BYTES)
            try:
                answer = await client.receive(0.02)
            except TimeoutError:
                continue
            offset = ImageUploadWriteResponse.loads(answer).off or 0
        assert updater.bootloader.flash[1][: len(NEW)] == NEW
