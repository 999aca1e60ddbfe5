"""Lost, late and foreign datagrams and power cuts, and their effect on an upload."""

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
import itertools
import socket
from typing import Any

import cbor2
import pytest
from smp.header import OP, CommandId, GroupId, Version

from custom_components.emu_professional.emu.errors import (
    MeterUnexpectedAnswer,
    MeterUnreachable,
)
from custom_components.emu_professional.emu.updater.session import UpdaterSession

from .scripted_server import (
    IMAGE,
    SLOT_0,
    UPLOAD,
    Flash,
    Request,
    ScriptedServer,
    losing,
    upload,
)


@pytest.mark.usefixtures("quick")
async def test_lost_answer(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """The same chunk is sent again, under a new number."""
    server.respond = losing(flash.respond, 1, 3, 4)
    await upload(session)
    assert flash.data == IMAGE
    offsets = [request.fields["off"] for request in server.requests]
    assert offsets == sorted(offsets)
    assert set(offsets) == set(range(0, len(IMAGE), 512))
    assert len(offsets) >= 9
    again = [
        (a.header.sequence, b.header.sequence)
        for a, b in itertools.pairwise(server.requests)
        if a.fields == b.fields
    ]
    assert len(again) >= 3
    assert all(a != b for a, b in again)


@pytest.mark.usefixtures("quick")
async def test_late_answer_to_an_earlier_datagram_of_the_same_request(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """It answers the request, as an answer to any repetition does."""
    late: list[bytes] = []

    def respond(request: Request) -> list[bytes]:
        late.append(request.answer(images=[SLOT_0]))
        return [late[0]] if len(late) == 3 else []

    server.respond = respond
    assert len(await session.slots()) == 1


async def test_late_and_doubled_answers(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """Answers to earlier requests, and second ones, change nothing."""
    old: list[bytes] = []

    def respond(request: Request) -> list[bytes]:
        answers = list(flash.respond(request)) * 2
        late = list(old)
        old.extend(answers)
        return late + answers

    server.respond = respond
    progress = await upload(session)
    assert progress == [*range(512, len(IMAGE), 512), len(IMAGE)]
    assert flash.data == IMAGE
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"op": OP.WRITE},
        {"op": OP.READ_RSP},
        {"version": Version.V2},
        {"group_id": GroupId.OS_MANAGEMENT},
        {"command_id": CommandId.ImageManagement.ERASE},
        {"sequence": 200},
        {"length": 0},
        {"length": 300},
    ],
    ids=str,
)
async def test_answer_to_something_else(
    session: UpdaterSession,
    server: ScriptedServer,
    flash: Flash,
    changed: dict[str, Any],
) -> None:
    """Operation, version, group, command, sequence and length must all be right."""

    def respond(request: Request) -> list[bytes]:
        wrong = request.framed(cbor2.dumps({"off": len(IMAGE)}), **changed)
        return [wrong, *flash.respond(request)]

    server.respond = respond
    await upload(session)
    assert flash.data == IMAGE
    assert len(server.requests) == 6


async def test_foreign_sender(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """Datagrams from another address are ignored."""
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))

        def respond(request: Request) -> Iterable[bytes]:
            other.sendto(request.answer(off=len(IMAGE)), request.source)
            return flash.respond(request)

        server.respond = respond
        await upload(session)
    assert flash.data == IMAGE


async def test_half_done_upload_is_resumed(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """The server names the offset to continue from."""
    flash.data, flash.size = bytearray(IMAGE[:1500]), len(IMAGE)
    flash.sha = sha256(IMAGE).digest()
    assert await upload(session) == [1500, 2012, 2524, len(IMAGE)]
    assert flash.data == IMAGE
    offsets = [request.fields["off"] for request in server.requests]
    assert offsets == [0, 1500, 2012, 2524]


async def test_power_cut_in_the_middle_starts_the_upload_over(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """With length and hash, as at first."""

    def respond(request: Request) -> Iterable[bytes]:
        if len(server.requests) == 4:
            flash.forget()
        return flash.respond(request)

    server.respond = respond
    progress = await upload(session)
    assert flash.data == IMAGE
    assert progress[:5] == [512, 1024, 1536, 0, 512]
    first, again = server.requests[0], server.requests[4]
    assert again.fields == first.fields


@pytest.mark.usefixtures("quick")
async def test_repeated_last_chunk_is_answered_0(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """After a power cut in the last chunk the answer is the same: all is sent again."""
    server.respond = losing(flash.respond, 6)
    progress = await upload(session)
    assert progress[-1] == len(IMAGE)
    assert flash.complete
    assert [request.fields["off"] for request in server.of(UPLOAD)].count(0) == 2


async def test_power_cut_at_the_last_chunk(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """The server has forgotten the upload: it is sent again."""

    def respond(request: Request) -> Iterable[bytes]:
        if len(server.requests) == 6:
            flash.forget()
        return flash.respond(request)

    server.respond = respond
    await upload(session)
    assert flash.data == IMAGE
    assert [request.fields["off"] for request in server.of(UPLOAD)].count(0) == 2


async def test_jump_forward_in_the_middle_is_not_believed(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """If the server claims bytes never sent, the upload starts over."""

    def respond(request: Request) -> Iterable[bytes]:
        if len(server.requests) == 3:
            return [request.answer(off=len(IMAGE))]
        return flash.respond(request)

    server.respond = respond
    await upload(session)
    assert flash.data == IMAGE


@pytest.mark.parametrize("offset", [0, 512])
async def test_upload_without_progress(
    session: UpdaterSession, server: ScriptedServer, offset: int
) -> None:
    """A server with always the same answer is given up."""
    server.respond = lambda request: [request.answer(off=offset)]
    with pytest.raises(MeterUnexpectedAnswer, match="get on"):
        await upload(session)
    assert len(server.requests) < 100


async def test_upload_has_a_limit(
    session: UpdaterSession,
    server: ScriptedServer,
    flash: Flash,
) -> None:
    """All steps together."""
    session.timeouts = replace(session.timeouts, upload=0.1)
    server.respond = lambda request: (
        flash.respond(request) if len(server.requests) < 3 else []
    )
    with pytest.raises(MeterUnreachable, match="too long"):
        await upload(session)
