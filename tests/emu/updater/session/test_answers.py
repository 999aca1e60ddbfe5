"""Answers of servers of two ages, and their refusals."""

from collections.abc import Iterable

import cbor2
import pytest

from custom_components.emu_professional.emu.errors import MeterError, UpdaterRefused
from custom_components.emu_professional.emu.updater.session import UpdaterSession
from custom_components.emu_professional.emu.updater.slots import Slot

from .scripted_server import (
    HASH,
    IMAGE,
    OTHER_HASH,
    SLOT_0,
    Flash,
    Request,
    ScriptedServer,
    upload,
)


@pytest.mark.parametrize(
    "payload",
    [
        # 2021: maps without length, every flag, no image number, rc
        (
            b"\xbf\x66images\x9f\xbf\x64slot\x00\x67version\x651.0.1\x64hash\x58\x20"
            + HASH
            + b""
            b"\x68bootable\xf5\x67pending\xf4\x69confirmed\xf5\x66active\xf5"
            b"\x69permanent\xf4\xff\xff\x6bsplitStatus\x00\x62rc\x00\xff"
        ),
        # Newer: what is not set is left out
        cbor2.dumps(
            {
                "images": [
                    {
                        "image": 0,
                        "slot": 0,
                        "version": "1.0.1",
                        "hash": HASH,
                        "bootable": True,
                        "confirmed": True,
                        "active": True,
                    },
                    {"image": 1, "slot": 0, "version": "9", "hash": OTHER_HASH},
                ]
            }
        ),
    ],
    ids=["2021", "newer"],
)
async def test_servers_of_both_ages_are_read(
    session: UpdaterSession, server: ScriptedServer, payload: bytes
) -> None:
    """A slot is the same from both."""
    server.respond = lambda request: [request.framed(payload)]
    slot = Slot(0, "1.0.1", HASH, True, False, True, True, False)
    assert await session.slots() == (slot,)


@pytest.mark.parametrize("fields", [{}, {"rc": 0}])
async def test_success_with_and_without_rc(
    session: UpdaterSession, server: ScriptedServer, fields: dict[str, int]
) -> None:
    """Both ages' success is success."""
    server.respond = lambda request: [request.answer(**fields)]
    await session.erase()
    assert await session.reset()


async def test_state_is_read_when_a_change_of_it_does_not_tell(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """A bare success is followed by a look."""
    server.respond = lambda request: [
        request.answer(**({} if request.fields else {"images": [SLOT_0]}))
    ]
    assert [slot.number for slot in await session.confirm(HASH)] == [0]
    assert len(server.requests) == 2


@pytest.mark.parametrize("rc", [1, 3, 4, 5, 6, 8])
async def test_refusal_of_an_upload(
    session: UpdaterSession, server: ScriptedServer, rc: int
) -> None:
    """Also one without an offset, as old servers give it, is an error."""
    server.respond = lambda request: [request.answer(rc=rc)]
    with pytest.raises(UpdaterRefused) as raised:
        await upload(session)
    assert (raised.value.group, raised.value.command, raised.value.rc) == (1, 1, rc)
    assert len(server.requests) == 1


@pytest.mark.parametrize("rc", [2, 10])
@pytest.mark.usefixtures("quick")
async def test_no_buffer_and_busy_may_pass(
    session: UpdaterSession, server: ScriptedServer, flash: Flash, rc: int
) -> None:
    """They are asked again, though not for ever."""
    busy = iter([rc, rc])

    def respond(request: Request) -> Iterable[bytes]:
        if (number := next(busy, 0)) != 0:
            return [request.answer(rc=number)]
        return flash.respond(request)

    server.respond = respond
    await upload(session)
    assert flash.data == IMAGE
    server.respond = lambda request: [request.answer(rc=rc)]
    server.requests.clear()
    with pytest.raises(UpdaterRefused) as raised:
        await upload(session)
    assert raised.value.rc == rc
    assert len(server.requests) == 4


async def test_text_for_people_is_printable(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """A version brings no control characters into the house."""
    slot = SLOT_0 | {"version": "1.\x1b[2J\n0"}
    server.respond = lambda request: [request.answer(images=[slot])]
    assert (await session.slots())[0].version == "1.[2J0"


def test_errors_are_of_the_family() -> None:
    """One base, one short clause."""
    error = UpdaterRefused(1, 5, 2)
    assert isinstance(error, MeterError)
    assert str(error) == "the updater refused command 1.5: rc 2"
