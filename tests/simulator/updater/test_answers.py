"""The answers of servers of both ages."""

from dataclasses import replace
import random

import cbor2
import pytest
from smp import header as smp_header
from smp.error import ErrorV2
from smp.image_management import (
    IMG_MGMT_ERR,
    ImageEraseRequest,
    ImageManagementErrorV2,
    ImageStatesReadRequest,
    ImageStatesWriteRequest,
    ImageUploadWriteRequest,
)
from smp.message import Request
from smp.os_management import (
    EchoWriteRequest,
    EchoWriteResponse,
    MCUMgrParametersReadRequest,
    MCUMgrParametersReadResponse,
)

from simulator.updater import Age, Rc, UpdateRequest
from simulator.web import MeterServer

from .client import (
    NEW,
    NEW_HASH,
    OLD_HASH,
    QUICK,
    V1,
    V2,
    Asking,
    chunk,
    echo,
    serving,
    to_set,
)

pytestmark = pytest.mark.usefixtures("socket_enabled")


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
    """Modern: no `rc: 0`, set flags only, maps of definite length."""
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
    """Datagrams without a request are answered with an error or not at all."""
    async with serving(web, replace(QUICK, age=age)) as (_, client):
        client.send(datagram)
        client.send(echo(sequence=77).BYTES)
        answer = await client.receive()
        while answer[6] != 77:
            assert cbor2.loads(answer[8:])["rc"] in {3, 8, 9}
            answer = await client.receive()


async def test_random_datagrams_do_no_harm(web: MeterServer, age: Age) -> None:
    """The server survives any datagram."""
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


async def test_errors_that_pass(web: MeterServer, age: Age) -> None:
    """Errors on demand, each instead of one request."""
    async with serving(web, replace(QUICK, age=age)) as (updater, client):
        updater.refusals = [Rc.NO_MEMORY, Rc.BUSY]
        assert await client.refused(chunk()) == 2
        assert await client.refused(chunk()) == 10
        assert await client.upload() == len(NEW)


async def test_requests_are_recorded(web: MeterServer) -> None:
    """Requests are recorded, with the version of their header."""
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
