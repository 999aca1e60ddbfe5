"""The order of requests: live first, then actions, and background not for ever last."""

import asyncio
from contextlib import suppress

import pytest

from custom_components.emu_professional.emu.errors import MeterBusy
from custom_components.emu_professional.emu.request_queue import Priority, RequestQueue

LIVE, ACTION, BACKGROUND = Priority


async def order_of(queue: RequestQueue, *priorities: Priority) -> list[Priority]:
    """Return the order of the turns of requests waiting at the same time."""
    turns: list[Priority] = []

    async def ask(priority: Priority) -> None:
        async with queue.turn(priority):
            turns.append(priority)
            await asyncio.sleep(0)

    async with queue.turn(BACKGROUND):
        tasks = [asyncio.create_task(ask(priority)) for priority in priorities]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return turns


@pytest.mark.parametrize(
    ("asked", "turns"),
    [
        ([BACKGROUND, ACTION, LIVE], [LIVE, ACTION, BACKGROUND]),
        ([BACKGROUND, LIVE, LIVE, ACTION], [LIVE, LIVE, ACTION, BACKGROUND]),
        # Actions pass a background request three times, live ones always.
        (
            [BACKGROUND, *[ACTION] * 5, *[LIVE] * 5],
            [*[LIVE] * 5, *[ACTION] * 3, BACKGROUND, *[ACTION] * 2],
        ),
        ([ACTION] * 5, [ACTION] * 5),
    ],
)
async def test_order(asked: list[Priority], turns: list[Priority]) -> None:
    """Live requests come first; actions delay background requests a few turns only."""
    assert await order_of(RequestQueue(), *asked) == turns


async def test_number_of_waiting_requests_is_limited() -> None:
    """One too many is refused at once; other priorities have room of their own."""
    queue = RequestQueue(most_waiting=2)
    with pytest.raises(MeterBusy):
        await order_of(queue, *[ACTION] * 3)
    assert await order_of(queue, ACTION, ACTION, LIVE) == [LIVE, ACTION, ACTION]


@pytest.mark.parametrize("has_turn", [False, True])
async def test_request_that_is_given_up(has_turn: bool) -> None:
    """It leaves the queue, or passes on a turn of the same moment."""
    queue = RequestQueue()

    async def ask() -> None:
        async with queue.turn(LIVE):
            pytest.fail("given up")

    async with queue.turn(LIVE):
        given_up = asyncio.create_task(ask())
        await asyncio.sleep(0)
        assert queue.is_waiting(LIVE)
        if not has_turn:
            given_up.cancel()
    if has_turn:
        given_up.cancel()
    with suppress(asyncio.CancelledError):
        await given_up
    assert not queue.is_waiting(LIVE)
    assert await order_of(queue, BACKGROUND) == [BACKGROUND]


async def test_turn_ends_with_an_error() -> None:
    """A failed request frees the meter for the next one."""
    queue = RequestQueue()
    with pytest.raises(ValueError, match="failed"):
        async with queue.turn(LIVE):
            raise ValueError("failed")
    assert await order_of(queue, ACTION) == [ACTION]
