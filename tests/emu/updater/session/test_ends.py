"""Sessions after a cancellation, or an error of the caller."""

import asyncio

import pytest

from custom_components.emu_professional.emu.updater.session import UpdaterSession

from .scripted_server import IMAGE, SLOT_0, ScriptedServer, upload


async def test_cancelled_upload_is_cleaned_up(
    socket_enabled: None, server: ScriptedServer
) -> None:
    """The socket is closed, and no more is sent."""
    server.respond = lambda request: []
    before = asyncio.all_tasks()

    async def run() -> None:
        async with UpdaterSession(server.host, server.port) as session:
            opened.append(session._line.endpoint._transport)
            await upload(session)

    opened: list[asyncio.DatagramTransport | None] = []
    task = asyncio.create_task(run())
    await server.reached(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert opened[0]
    assert opened[0].get_extra_info("socket").fileno() == -1
    assert asyncio.all_tasks() == before


@pytest.mark.usefixtures("quick")
async def test_answer_to_a_cancelled_request_is_ignored(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """The session works afterwards."""
    server.respond = lambda request: []
    task = asyncio.create_task(session.slots())
    await server.reached(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    old = server.requests[0]
    server.respond = lambda request: [
        old.answer(images=[]),
        request.answer(images=[SLOT_0]),
    ]
    assert len(await session.slots()) == 1


async def test_progress_that_fails_ends_the_upload(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """Its error is the caller's own."""

    def progress(size: int) -> None:
        raise KeyError(size)

    with pytest.raises(KeyError):
        await session.upload(IMAGE, progress)
    assert len(server.requests) == 1
