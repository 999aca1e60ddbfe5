"""A reset is sent exactly once."""

import pytest

from custom_components.emu_professional.emu.errors import UpdaterRefused
from custom_components.emu_professional.emu.updater.session import UpdaterSession

from .scripted_server import ScriptedServer


async def test_reset_is_answered(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """It says so."""
    server.respond = lambda request: [request.answer(rc=0)] * 2
    assert await session.reset()
    assert len(server.requests) == 1


@pytest.mark.usefixtures("quick")
async def test_reset_is_sent_exactly_once(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """Also when no answer comes: a second one would revert the update."""
    server.respond = lambda request: []
    assert not await session.reset()
    server.respond = lambda request: [request.answer(images=[])]
    await session.slots()
    assert [request.command for request in server.requests] == [(0, 5), (1, 0)]


async def test_reset_is_refused(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """A busy server is not asked twice."""
    server.respond = lambda request: [request.answer(rc=10)]
    with pytest.raises(UpdaterRefused):
        await session.reset()
    assert len(server.requests) == 1
