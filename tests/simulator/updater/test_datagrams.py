"""The faults of the network."""

import asyncio

import pytest
from smp.os_management import EchoWriteResponse

from simulator.datagrams import Datagrams, Line
from simulator.web import MeterServer

from .client import NEW, chunk, echo, serving

pytestmark = pytest.mark.usefixtures("socket_enabled")


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
    """Return the datagrams at the end of a line, once all have passed."""
    arrived: list[bytes] = []
    for number in range(count):
        line.send(number.to_bytes(2), arrived.append)
    while line._under_way:
        await asyncio.sleep(0.005)
    return arrived


def sent(count: int) -> list[bytes]:
    """Return datagrams for a line."""
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
    """A delayed datagram arrives even if no other follows."""
    line = Line(1)
    line.reordering = 1.0
    assert await passed(line, 1) == sent(1)


async def test_held_datagram_follows_the_next_one() -> None:
    """A delayed datagram arrives right after the next one."""
    line = Line(1)
    line.hold = 60.0
    arrived: list[bytes] = []
    for reordering, data in ((1.0, b"first"), (0.0, b"second"), (0.0, b"third")):
        line.reordering = reordering
        line.send(data, arrived.append)
    assert arrived == [b"second", b"first", b"third"]
    assert not line._under_way


async def test_datagrams_under_way_can_be_cut() -> None:
    """Datagrams under way at the cut of a line never arrive."""
    datagrams = Datagrams()
    arrived: list[bytes] = []
    datagrams.requests.delay = 0.01
    datagrams.requests.send(b"x", arrived.append)
    datagrams.cut()
    await asyncio.sleep(0.03)
    assert arrived == []
    assert datagrams.requests.lost == 1
