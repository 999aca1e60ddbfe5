"""The updater speaks SMP over real UDP; `smp` and `smpclient` judge what it says."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
import hashlib
import random
import re
import socket
from typing import Any, override

import aiohttp
import cbor2
import pytest
from pytest_socket import socket_allow_hosts
from smp import header as smp_header
from smp.error import ErrorV1, ErrorV2
from smp.image_management import (
    IMG_MGMT_ERR,
    ImageEraseRequest,
    ImageEraseResponse,
    ImageManagementErrorV1,
    ImageManagementErrorV2,
    ImageStatesReadRequest,
    ImageStatesReadResponse,
    ImageStatesWriteRequest,
    ImageStatesWriteResponse,
    ImageUploadWriteRequest,
    ImageUploadWriteResponse,
)
from smp.message import Request, Response
from smp.os_management import (
    EchoWriteRequest,
    EchoWriteResponse,
    MCUMgrParametersReadRequest,
    MCUMgrParametersReadResponse,
    OSManagementErrorV1,
    ResetWriteRequest,
    ResetWriteResponse,
)
from smpclient import SMPClient
from smpclient.requests.image_management import (
    ImageErase,
    ImageStatesRead,
    ImageStatesWrite,
)
from smpclient.requests.os_management import ResetWrite
from smpclient.transport.udp import SMPUDPTransport

from simulator.bootloader import Bootloader, read_image
from simulator.clock import ManualClock
from simulator.datagrams import Datagrams, Line
from simulator.images import Trait, signed_image
from simulator.meter import Meter, MeterConfig
from simulator.updater import (
    Age,
    Closed,
    ImageCommand,
    Moment,
    Rc,
    UpdaterConfig,
    UpdateRequest,
    UpdaterServer,
)
from simulator.web import MeterServer

from .conftest import run

pytestmark = pytest.mark.usefixtures("socket_enabled")

NEW = signed_image("1.0.17", size=4000)
NEW_HASH = read_image(NEW).hash
OLD_HASH = read_image(signed_image("1.0.16")).hash
SIGNATURE_SIZE = 64
"""Bytes at the end of an image; the server does not look for them."""
SILENCE = 0.1
"""Seconds after which nobody expects an answer any more."""

V1, V2 = smp_header.Version.V1, smp_header.Version.V2

QUICK = UpdaterConfig(boot_seconds=0.05, old_answers=0.05)

type Module = Callable[..., Any]


class Asking:
    """A client without repetitions, of `smp`'s messages."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        """Connect, so that refusals are heard."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((host, port))

    def send(self, data: bytes) -> None:
        """Send a datagram."""
        self.socket.send(data)

    async def receive(self, seconds: float = 5.0) -> bytes:
        """Return the next datagram."""
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65_535)

    async def is_silent(self) -> bool:
        """Return whether nothing arrives for a while."""
        try:
            await self.receive(SILENCE)
        except TimeoutError:
            return True
        return False

    async def ask[R: Response](self, request: Request, response: type[R]) -> R:
        """Send a request and read the answer as that of a kind."""
        self.send(request.BYTES)
        answer = response.loads(await self.receive())
        assert answer.header.sequence == request.header.sequence
        assert answer.header.command_id == request.header.command_id
        assert answer.header.op == request.header.op + 1
        assert answer.header.length == len(answer.BYTES) - 8
        return answer

    async def states(self) -> list[tuple[str, str]]:
        """Return version and flags of each image listed."""
        answer = await self.ask(
            ImageStatesReadRequest(version=V1), ImageStatesReadResponse
        )
        return flags_of(answer)

    async def upload(
        self,
        image: bytes = NEW,
        *,
        offset: int = 0,
        end: int | None = None,
        patience: float = 5.0,
    ) -> int:
        """Upload without looking left or right; return the last offset answered."""
        while offset < (len(image) if end is None else end):
            self.send(chunk(image, offset).BYTES)
            answer = ImageUploadWriteResponse.loads(await self.receive(patience))
            assert answer.off is not None
            offset = answer.off
        return offset

    async def set_state(
        self, wanted: bytes | None, confirm: bool
    ) -> list[tuple[str, str]]:
        """Test or confirm; return what is listed then."""
        request = ImageStatesWriteRequest(hash=wanted, confirm=confirm, version=V1)
        return flags_of(await self.ask(request, ImageStatesWriteResponse))

    async def reset(self) -> None:
        """Reset."""
        await self.ask(ResetWriteRequest(version=V1), ResetWriteResponse)

    async def refused(self, request: Request) -> int:
        """Return the error of version 1 that a request is answered with."""
        group = request.header.group_id
        kind: type[ErrorV1] = (
            ImageManagementErrorV1 if group == 1 else OSManagementErrorV1
        )
        return int((await self.ask(request, kind)).rc)


def flags_of(answer: ImageStatesReadResponse) -> list[tuple[str, str]]:
    """Return version and flags of each image listed."""
    names = ("pending", "confirmed", "active", "permanent")
    return [
        (image.version, " ".join(name for name in names if getattr(image, name)))
        for image in answer.images
    ]


def chunk(
    image: bytes = NEW, offset: int = 0, *, size: int = 512, sha: bool = True
) -> ImageUploadWriteRequest:
    """Return a request of an upload like the manual's tool sends it."""
    data = image[offset : offset + size]
    if offset:
        return ImageUploadWriteRequest(off=offset, data=data, image=0, version=V1)
    return ImageUploadWriteRequest(
        off=0,
        data=data,
        image=0,
        len=len(image),
        sha=hashlib.sha256(image).digest() if sha else None,
        version=V1,
    )


def to_set(wanted: bytes, *, confirm: bool = False) -> ImageStatesWriteRequest:
    """Return a request to test or to confirm an image."""
    return ImageStatesWriteRequest(hash=wanted, confirm=confirm, version=V1)


def echo(text: str = "hello", sequence: int | None = None) -> EchoWriteRequest:
    """Return a request that changes nothing."""
    if sequence is None:
        return EchoWriteRequest(d=text, version=V1)
    return EchoWriteRequest(d=text, version=V1, sequence=sequence)


@pytest.fixture
async def web(
    socket_enabled: None, config: MeterConfig, clock: ManualClock
) -> AsyncGenerator[MeterServer]:
    """Return the web server of the meter."""
    async with MeterServer(Meter(config, clock)) as web:
        yield web


@pytest.fixture(params=Age, ids=lambda age: age.name)
def age(request: pytest.FixtureRequest) -> Age:
    """Return both ages, one after the other."""
    return Age(request.param)


@asynccontextmanager
async def serving(
    web: MeterServer, config: UpdaterConfig = QUICK
) -> AsyncGenerator[tuple[UpdaterServer, Asking]]:
    """Serve updates."""
    async with UpdaterServer(web, config) as updater:
        client = Asking(updater.port)
        try:
            yield updater, client
        finally:
            client.socket.close()


async def software_version(web: MeterServer) -> str:
    """Return the version that the web server shows."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(web.url + "status.json") as response,
    ):
        return str((await response.json())["softwareversion"])


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


# What the two ages say.


async def raw(client: Asking, request: Request) -> bytes:
    """Return the body of an answer."""
    client.send(request.BYTES)
    return (await client.receive())[8:]


async def test_legacy_answers(web: MeterServer) -> None:
    """Legacy: `rc: 0`, all flags, no image number, maps of indefinite length."""
    async with serving(web) as (_, client):
        listed = await raw(client, ImageStatesReadRequest(version=V2))
        assert listed[:1] == b"\xbf"
        assert listed[-1:] == b"\xff"
        assert cbor2.loads(listed) == {
            "images": [
                {
                    "slot": 0,
                    "version": "1.0.16",
                    "hash": OLD_HASH,
                    "bootable": True,
                    "pending": False,
                    "confirmed": True,
                    "active": True,
                    "permanent": False,
                }
            ],
            "splitStatus": 0,
        }
        assert await raw(client, chunk()) == bytes.fromhex(
            "bf 62 7263 00 63 6f6666 19 0200 ff"
        )
        erased = await raw(client, ImageEraseRequest(version=V1))
        assert erased == bytes.fromhex("bf 62 7263 00 ff")
        client.send(ImageUploadWriteRequest(off=0, data=b"", version=V2).BYTES)
        answer = await client.receive()
        assert smp_header.Header.loads(answer[:8]).version == V1
        assert cbor2.loads(answer[8:]) == {"rc": 3}


async def test_modern_answers(web: MeterServer) -> None:
    """Modern: no `rc: 0`, flags that are set, maps of definite length."""
    async with serving(web, replace(QUICK, age=Age.MODERN)) as (_, client):
        listed = await raw(client, ImageStatesReadRequest(version=V1))
        assert cbor2.loads(listed) == {
            "images": [
                {
                    "image": 0,
                    "slot": 0,
                    "version": "1.0.16",
                    "hash": OLD_HASH,
                    "bootable": True,
                    "confirmed": True,
                    "active": True,
                }
            ]
        }
        assert listed[:1] == b"\xa1"
        assert await raw(client, chunk()) == bytes.fromhex("a1 63 6f6666 19 0200")
        assert await raw(client, ImageEraseRequest(version=V1)) == b"\xa0"


async def test_modern_errors_of_version_2(web: MeterServer) -> None:
    """Errors of version 2 name their group and have numbers of their own."""
    async with serving(web, replace(QUICK, age=Age.MODERN)) as (_, client):
        for request, expected in (
            (
                ImageStatesWriteRequest(hash=OLD_HASH),
                IMG_MGMT_ERR.IMAGE_SETTING_TEST_TO_ACTIVE_DENIED,
            ),
            (ImageStatesWriteRequest(hash=bytes(32)), IMG_MGMT_ERR.INVALID_HASH),
            (
                ImageUploadWriteRequest(off=0, data=NEW[:512]),
                IMG_MGMT_ERR.INVALID_LENGTH,
            ),
            (
                ImageUploadWriteRequest(off=0, data=b"", len=9),
                IMG_MGMT_ERR.INVALID_IMAGE_HEADER,
            ),
            (
                ImageUploadWriteRequest(off=0, data=bytes(32), len=4000),
                IMG_MGMT_ERR.INVALID_IMAGE_HEADER_MAGIC,
            ),
            (
                ImageUploadWriteRequest(off=0, data=NEW[:512], len=2**20),
                IMG_MGMT_ERR.INVALID_IMAGE_TOO_LARGE,
            ),
            (ImageEraseRequest(slot=0), IMG_MGMT_ERR.INVALID_SLOT),
        ):
            answer: ErrorV2[IMG_MGMT_ERR] = await client.ask(
                request, ImageManagementErrorV2
            )
            assert answer.header.version == V2
            assert (answer.err.group, answer.err.rc) == (1, expected)


@pytest.mark.parametrize(
    ("request_", "legacy", "modern"),
    [
        (to_set(OLD_HASH), 1, 1),
        (to_set(bytes(32)), 3, 3),
        (ImageStatesWriteRequest(version=V1), 3, 3),
        (ImageUploadWriteRequest(off=0, data=NEW[:512], version=V1), 3, 3),
        (ImageUploadWriteRequest(off=0, data=bytes(99), len=99, version=V1), 3, 1),
        (ImageUploadWriteRequest(off=0, data=NEW[:512], len=2**20, version=V1), 1, 1),
        (
            ImageUploadWriteRequest(
                off=0, data=NEW[:512], len=4000, sha=bytes(33), version=V1
            ),
            3,
            3,
        ),
    ],
)
async def test_errors_of_version_1(
    web: MeterServer, age: Age, request_: Request, legacy: int, modern: int
) -> None:
    """Errors of version 1 have the numbers of their age."""
    async with serving(web, replace(QUICK, age=age)) as (_, client):
        expected = legacy if age is Age.LEGACY else modern
        assert await client.refused(request_) == expected


async def test_echo_and_parameters(web: MeterServer) -> None:
    """Echo; MCUmgr parameters are absent, present, or tell of a small buffer."""
    config = QUICK
    async with serving(web, config) as (updater, client):
        answer = await client.ask(echo("Zähler"), EchoWriteResponse)
        assert answer.r == "Zähler"
        request = MCUMgrParametersReadRequest(version=V1)
        assert await client.refused(request) == 8
        updater.config = replace(config, shows_parameters=True)
        shown = await client.ask(request, MCUMgrParametersReadResponse)
        assert (shown.buf_size, shown.buf_count) == (588, 2)
        updater.config = replace(config, age=Age.MODERN, datagram_size=256)
        shown = await client.ask(request, MCUMgrParametersReadResponse)
        assert (shown.buf_size, shown.buf_count) == (256, 2)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x02\0\0\0\0\0\0",
        bytes.fromhex("00 00 0000 0007 05 00"),
        bytes.fromhex("00 00 0000 0001 05 63"),
        bytes.fromhex("03 00 0000 0000 05 00"),
        bytes.fromhex("02 00 0009 0000 05 00 a1 61 64 61 78"),
        bytes.fromhex("02 00 0002 0000 05 00 61 78"),
        bytes.fromhex("02 00 0003 0000 05 00 c1 61 78"),
    ],
)
async def test_strange_datagrams(web: MeterServer, age: Age, datagram: bytes) -> None:
    """A datagram that is no request is answered with an error or not at all."""
    async with serving(web, replace(QUICK, age=age)) as (_, client):
        client.send(datagram)
        client.send(echo(sequence=77).BYTES)
        answer = await client.receive()
        while answer[6] != 77:
            assert cbor2.loads(answer[8:])["rc"] in {3, 8, 9}
            answer = await client.receive()


async def test_random_datagrams_do_no_harm(web: MeterServer, age: Age) -> None:
    """Whatever arrives, the server goes on."""
    chance = random.Random(4)
    templates = [chunk().BYTES, echo().BYTES, to_set(NEW_HASH).BYTES]
    async with serving(web, replace(QUICK, age=age)) as (_, client):
        for number in range(300):
            data = bytearray(chance.choice(templates))
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            client.send(bytes(data))
            client.send(echo(f"{number}", sequence=number % 256).BYTES)
            answer = b""
            while f"{number}".encode() not in answer:
                answer = await client.receive()


# Upload.


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
    """With the same `sha` an upload goes on, without or with another it starts anew."""
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


@pytest.mark.parametrize("byte", [1, 511, 512, 513, 2000, 3999, 4000])
async def test_power_loss_at_any_byte(web: MeterServer, byte: int) -> None:
    """What was written before the power loss stays, and nobody answers."""
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


async def test_first_chunk_is_slow(web: MeterServer) -> None:
    """A slot that is not blank is erased first, for some time; a blank one is not."""
    async with serving(web, replace(QUICK, erase_seconds=0.2)) as (_, client):
        loop = asyncio.get_running_loop()
        await client.upload()
        begin = loop.time()
        await client.ask(chunk(sha=False), ImageUploadWriteResponse)
        assert loop.time() - begin > 0.19


async def test_power_loss_while_erasing(web: MeterServer) -> None:
    """A slot that is half erased lists nothing."""
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


# Test, reset, confirm.


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
    """After the reset's answer the old image goes on; on trial a reset reverts."""
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


async def test_power_cut_reverts_what_is_not_confirmed(web: MeterServer) -> None:
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


# The module in the meter.


async def test_web_page_is_away_during_a_reset(
    web: MeterServer, session: aiohttp.ClientSession
) -> None:
    """During a reset the web server is away; the meter measures on."""
    config = replace(QUICK, boot_seconds=0.2, web_seconds=0.2)
    async with serving(web, config) as (updater, client):
        registers, newest = web.meter.registers(), web.meter.newest_index
        url = web.url + "meterdata.json"
        async with session.get(url) as response:
            before = await response.read()
        await client.reset()
        while not web.away:
            await asyncio.sleep(0.01)
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(url)
        assert web.open_connections == 0
        await updater.booted(2)
        assert web.away
        assert updater.listening
        while web.away:
            await asyncio.sleep(0.01)
        async with session.get(url) as response:
            assert await response.read() == before
        assert web.meter.registers() == registers
        assert web.meter.newest_index == newest


@pytest.mark.parametrize("closed", Closed)
async def test_updates_that_are_switched_off(web: MeterServer, closed: Closed) -> None:
    """Silence, or an ICMP refusal, until updates are switched on."""
    async with serving(web, replace(QUICK, closed=closed)) as (updater, client):
        assert updater.listening
        web.meter.settings = replace(web.meter.settings, online_update=False)
        client.send(echo().BYTES)
        if closed is Closed.REFUSED:
            with pytest.raises(ConnectionRefusedError):
                await client.receive()
        else:
            assert await client.is_silent()
        assert updater.requests == []
        web.meter.settings = replace(web.meter.settings, online_update=True)
        await client.ask(echo(), EchoWriteResponse)


async def test_port_is_refused_while_the_module_restarts(web: MeterServer) -> None:
    """The same while the module restarts."""
    config = replace(QUICK, closed=Closed.REFUSED)
    async with serving(web, config) as (updater, client):
        await updater.power_cut(0.1)
        client.send(echo().BYTES)
        with pytest.raises(ConnectionRefusedError):
            await client.receive()
        await updater.booted(2)
        await client.ask(echo(), EchoWriteResponse)


async def test_port_belongs_to_one_server(web: MeterServer) -> None:
    """A port cannot be had twice, and a server has its own again."""
    async with UpdaterServer(web, replace(QUICK, closed=Closed.REFUSED)) as updater:
        web.meter.settings = replace(web.meter.settings, online_update=False)
        with pytest.raises(OSError, match="in use"):
            await UpdaterServer(web, port=updater.port).start()
        port = updater.port
        await updater.stop()
        await updater.start()
        assert updater.port == port
        with pytest.raises(RuntimeError):
            await updater.start()
        await updater.stop()
        await updater.stop()
        await updater.start()


def has_ipv6() -> bool:
    """Return whether the machine has an IPv6 loopback address."""
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize("closed", Closed)
async def test_updater_at_an_ipv6_address(web: MeterServer, closed: Closed) -> None:
    """It serves IPv6 as well."""
    # The plugin's list knows IPv4 only.
    socket_allow_hosts(["127.0.0.1", "::1"])
    config = replace(QUICK, closed=closed)
    async with UpdaterServer(web, config, host="::1") as updater:
        client = Asking(updater.port, "::1")
        assert await client.upload() == len(NEW)
        await updater.power_cut()
        client.send(echo().BYTES)
        if closed is Closed.REFUSED:
            with pytest.raises(ConnectionRefusedError):
                await client.receive()
        await updater.booted(2)
        assert len(await client.states()) == 2
        client.socket.close()


async def test_flash_outlives_the_server(web: MeterServer) -> None:
    """Another server goes on with the flash, also in the middle of a swap."""
    async with serving(web, replace(QUICK, boot_seconds=1.0)) as (updater, client):
        await client.upload()
        await client.set_state(NEW_HASH, confirm=False)
        await updater.power_cut()
        while updater.bootloader.flash[0][: len(NEW)] != NEW:
            await asyncio.sleep(0.01)
        assert updater.bootloader.running is None
        flash = updater.bootloader
    async with UpdaterServer(web, QUICK, bootloader=flash) as updater:
        assert updater.running == "1.0.17"


async def test_bricked_module_stays_dark(web: MeterServer) -> None:
    """Without an image that boots there is nothing to talk to."""
    dead = Bootloader(b"\xff")
    async with UpdaterServer(web, QUICK, bootloader=dead) as updater:
        assert updater.running is None
        assert not updater.listening
        assert web.away


STEPS = ["upload", "test", "reset", "confirm", "erase"]


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("step", STEPS)
async def test_power_loss_at_every_step(
    web: MeterServer, step: str, moment: Moment
) -> None:
    """A step that loses its power is done or not, and something always boots."""
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
    """What cuts the power does it once, for as long as it shall."""

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


async def test_errors_that_pass(web: MeterServer, age: Age) -> None:
    """Errors on demand, each for one request that is not carried out."""
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        updater.refusals = [Rc.NO_MEMORY, Rc.BUSY]
        assert await client.refused(chunk()) == 2
        assert await client.refused(chunk()) == 10
        assert await client.upload() == len(NEW)


# The command.


async def test_command_serves_updates_of_every_meter(
    started: list[asyncio.subprocess.Process],
) -> None:
    """Command serves updates of every meter, and says where."""
    process = await run("--port", "0", "--serial", "22350007", "--serial", "21000000")
    started.append(process)
    assert process.stderr is not None
    for _ in range(2):
        line = (await process.stderr.readline()).decode()
        found = re.search(r"firmware 1\.0\.16, updates at UDP port (\d+)", line)
        assert found
        client = Asking(int(found[1]))
        assert await client.states() == [("1.0.16", "confirmed active")]
        client.socket.close()


async def test_command_says_when_the_updater_port_is_taken(
    web: MeterServer, started: list[asyncio.subprocess.Process]
) -> None:
    """Command says when the updater's port is taken."""
    async with UpdaterServer(web) as updater:
        process = await run("--port", "0", "--updater-port", str(updater.port))
        started.append(process)
        assert process.stderr is not None
        text = (await process.stderr.read()).decode()
        assert "in use" in text
        assert "Traceback" not in text
        assert await process.wait() == 1


# The network.


async def test_requests_are_recorded(web: MeterServer) -> None:
    """What arrived is recorded, with the version of its header."""
    async with serving(web) as (updater, client):
        client.send(EchoWriteRequest(d="x", version=V2, sequence=200).BYTES)
        await updater.received(1)
        assert updater.requests == [
            UpdateRequest(
                op=2,
                group=0,
                command=0,
                version=2,
                sequence=200,
                body={"d": "x"},
                size=13,
            )
        ]


async def test_answers_are_lost_by_number(web: MeterServer) -> None:
    """The n-th answers are lost, after the requests were carried out."""
    async with serving(web) as (updater, client):
        await client.ask(echo(), EchoWriteResponse)
        updater.datagrams.answers.lose(2, 3)
        for sequence in range(5):
            client.send(echo(sequence=sequence).BYTES)
            await updater.received(2 + sequence)
        assert [(await client.receive())[6] for _ in range(3)] == [0, 3, 4]
        assert await client.is_silent()
        assert updater.datagrams.answers.lost == 2


async def test_requests_are_lost_by_number(web: MeterServer) -> None:
    """The n-th requests are lost and have no effect."""
    async with serving(web) as (updater, client):
        updater.datagrams.requests.lose(1)
        client.send(chunk().BYTES)
        assert await client.is_silent()
        assert updater.requests == []
        assert await client.upload() == len(NEW)


async def test_silence(web: MeterServer) -> None:
    """Both ways are silent for a while."""
    async with serving(web) as (updater, client):
        updater.datagrams.silent_for(60)
        client.send(echo().BYTES)
        assert await client.is_silent()
        updater.datagrams.clear()
        await client.ask(echo(), EchoWriteResponse)


async def passed(line: Line, count: int) -> list[bytes]:
    """Return what comes out of a line, when everything has."""
    arrived: list[bytes] = []
    for number in range(count):
        line.send(number.to_bytes(2), arrived.append)
    while line._under_way:
        await asyncio.sleep(0.005)
    return arrived


def sent(count: int) -> list[bytes]:
    """Return what goes into a line."""
    return [number.to_bytes(2) for number in range(count)]


@pytest.mark.parametrize("fault", ["loss", "doubling", "corruption", "reordering"])
async def test_lines_repeat_themselves_by_their_seed(fault: str) -> None:
    """Faults have their chances and are the same with the same seed."""
    runs = []
    for seed in (5, 5, 6):
        line = Line(seed)
        setattr(line, fault, 0.3)
        runs.append(await passed(line, 200))
    assert runs[0] == runs[1] != runs[2]
    arrived, right = runs[0], sent(200)
    match fault:
        case "loss":
            assert 100 < len(arrived) < 180
            assert arrived == [one for one in right if one in arrived]
        case "doubling":
            assert 220 < len(arrived) < 300
            assert set(arrived) == set(right)
        case "corruption":
            assert len(arrived) == 200
            changed = sum(a != b for a, b in zip(arrived, right, strict=True))
            assert 20 < changed < 100
        case _:
            assert sorted(arrived) == right
            assert arrived != right


async def test_lines_delay() -> None:
    """Delay keeps the order, jitter does not."""
    loop = asyncio.get_running_loop()
    line = Line(1)
    line.delay = 0.05
    begin = loop.time()
    assert await passed(line, 50) == sent(50)
    assert loop.time() - begin >= 0.05
    line.jitter = 0.05
    arrived = await passed(line, 50)
    assert arrived != sent(50)
    assert sorted(arrived) == sent(50)


async def test_held_datagram_arrives_alone() -> None:
    """A datagram that is held back arrives even if no other follows."""
    line = Line(1)
    line.reordering = 1.0
    assert await passed(line, 1) == sent(1)


async def test_held_datagram_follows_the_next_one() -> None:
    """A datagram that is held back arrives right after the next one."""
    line = Line(1)
    line.hold = 60.0
    arrived: list[bytes] = []
    for reordering, data in ((1.0, b"first"), (0.0, b"second"), (0.0, b"third")):
        line.reordering = reordering
        line.send(data, arrived.append)
    assert arrived == [b"second", b"first", b"third"]
    assert not line._under_way


async def test_what_is_under_way_can_be_cut() -> None:
    """What is under way when a line is cut never arrives."""
    datagrams = Datagrams()
    arrived: list[bytes] = []
    datagrams.requests.delay = 0.01
    datagrams.requests.send(b"x", arrived.append)
    datagrams.cut()
    await asyncio.sleep(0.03)
    assert arrived == []
    assert datagrams.requests.lost == 1


async def test_bad_network_still_updates(web: MeterServer) -> None:
    """Faults of all kinds at once, and a client that is patient."""
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
