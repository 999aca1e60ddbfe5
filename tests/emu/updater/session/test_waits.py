"""The time before a datagram is repeated, and before a server is given up."""

import asyncio
from dataclasses import replace

from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.emu.errors import MeterUnreachable
from custom_components.emu_professional.emu.updater.datagrams import RetransmissionTimer
from custom_components.emu_professional.emu.updater.session import UpdaterSession

from .scripted_server import HASH, IMAGE, Flash, Request, ScriptedServer, losing, upload


async def test_slow_first_chunk_is_not_repeated(
    session: UpdaterSession,
    server: ScriptedServer,
    flash: Flash,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The erase takes longer than any round trip; the buffers stay free."""
    for name in ("UNKNOWN", "BUSY", "SHORTEST", "LONGEST"):
        monkeypatch.setattr(RetransmissionTimer, name, 0.01)
    loop = asyncio.get_running_loop()
    late: list[asyncio.TimerHandle] = []

    def respond(request: Request) -> list[bytes]:
        (answer,) = flash.respond(request)
        if request.fields.get("off"):
            return [answer]
        late.append(loop.call_later(0.3, server.send, answer, request.source))
        return []

    server.respond = respond
    await upload(session)
    assert len(late) == 1
    await session.erase()
    assert len(late) == 2


@pytest.mark.usefixtures("quick")
async def test_lost_first_chunk_is_repeated(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """Patience has an end."""
    server.respond = losing(flash.respond, 1, 2)
    await upload(session)
    assert flash.data == IMAGE


def test_timer_takes_silence_for_work_until_datagrams_get_lost() -> None:
    """A peer with two buffers gets no third datagram while it erases a page."""
    timer = RetransmissionTimer()
    assert timer.wait(0) == timer.UNKNOWN
    for _ in range(100):
        timer.answered(False, 0.014)
    assert timer.wait(0) == timer.BUSY
    for _ in range(timer.LOSSES):
        timer.answered(True, 0.014)
    assert timer.wait(0) == timer.SHORTEST


@given(
    trips=st.lists(st.floats(0, 100), max_size=50),
    losses=st.integers(0, 10),
    repetition=st.integers(0, 100_000),
)
def test_timer_has_bounds(trips: list[float], losses: int, repetition: int) -> None:
    """After any measurements, each wait is longer than the one before, to a limit."""
    timer = RetransmissionTimer()
    for seconds in trips:
        timer.answered(losses > 0, seconds)
        losses -= 1
    waits = [timer.wait(repetition), timer.wait(repetition + 1)]
    assert timer.SHORTEST <= waits[0] <= waits[1] <= timer.LONGEST


def test_timer_follows_the_line() -> None:
    """A slow line gets more time than a fast one, and then less again."""
    timer = RetransmissionTimer()
    for seconds in [0.2, 0.4] * 20:
        timer.answered(True, seconds)
    assert 0.4 < timer.wait(0) < 1
    timer.answered(True, None)
    for _ in range(60):
        timer.answered(False, 0.01)
    assert timer.wait(0) == timer.SHORTEST


@pytest.mark.usefixtures("quick")
async def test_nobody_answers(session: UpdaterSession, server: ScriptedServer) -> None:
    """Silence has a limit for each command."""
    session.timeouts = replace(session.timeouts, contact=0.2, command=0.2, flash=0.2)
    server.respond = lambda request: []
    for action in (
        session.slots(),
        session.erase(),
        session.test(HASH),
        session.confirm(HASH),
        upload(session),
    ):
        with pytest.raises(MeterUnreachable, match="does not answer"):
            await action
