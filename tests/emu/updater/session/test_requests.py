"""The requests of a session are those of the manual's tool."""

import asyncio
from hashlib import sha256
import itertools
import random
from typing import Any

from smp.header import OP, Version
from smp.image_management import (
    ImageEraseRequest,
    ImageStatesReadRequest,
    ImageStatesWriteRequest,
    ImageUploadWriteRequest,
)
from smp.os_management import ResetWriteRequest

from custom_components.emu_professional.emu.updater.session import UpdaterSession

from .scripted_server import HASH, SLOT_0, Flash, ScriptedServer, upload


async def test_upload_is_that_of_the_manuals_tool(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """Header, fields, chunks and datagrams are known to be accepted by the meter."""
    image = random.Random(2).randbytes(70_000)
    progress = await upload(session, image)
    assert progress == [*range(512, 70_000, 512), 70_000]
    assert flash.data == image
    read = [ImageUploadWriteRequest.loads(request.data) for request in server.requests]
    assert [message.off for message in read] == [0, *progress[:-1]]
    assert b"".join(message.data for message in read) == image
    assert {len(message.data) for message in read[:-1]} == {512}
    assert {message.image for message in read} == {0}
    assert {message.header.version for message in read} == {Version.V1}
    assert {message.header.flags for message in read} == {0}
    assert {message.header.op for message in read} == {OP.WRITE}
    assert (read[0].len, read[0].sha) == (70_000, sha256(image).digest())
    assert {(message.len, message.sha) for message in read[1:]} == {(None, None)}
    assert {message.upgrade for message in read} == {None}
    sizes = [len(request.data) for request in server.requests[:-1]]
    assert sizes == [588] + [543] * 127 + [545] * 8
    sequences = [message.sequence for message in read]
    assert all(a != b for a, b in itertools.pairwise(sequences))


async def test_other_commands_are_those_of_the_manuals_tool(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """List, test, confirm, erase and reset."""
    server.respond = lambda request: [request.answer(images=[SLOT_0])]
    await session.slots()
    await session.test(HASH)
    await session.confirm(HASH)
    await session.erase()
    assert await session.reset()
    expected: list[tuple[Any, dict[str, Any]]] = [
        (ImageStatesReadRequest, {}),
        (ImageStatesWriteRequest, {"hash": HASH, "confirm": False}),
        (ImageStatesWriteRequest, {"hash": HASH, "confirm": True}),
        (ImageEraseRequest, {}),
        (ResetWriteRequest, {}),
    ]
    for request, (kind, fields) in zip(server.requests, expected, strict=True):
        message = kind.loads(request.data)
        assert message.header.version is Version.V1
        assert message.header.op is kind._OP
        assert message.header.command_id == kind._COMMAND_ID
        assert message.header.length == len(request.data) - 8
        assert request.fields == fields
    assert len({request.header.sequence for request in server.requests}) == 5


async def test_one_request_is_under_way(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """A second one waits until the first is answered."""
    server.respond = lambda request: []
    tasks = [asyncio.create_task(session.slots()) for _ in range(3)]
    for number in range(1, 4):
        await server.reached(number)
        await server.has_read_everything()
        assert len(server.requests) == number
        request = server.requests[-1]
        server.send(request.answer(images=[]), request.source)
    assert await asyncio.gather(*tasks) == [()] * 3
