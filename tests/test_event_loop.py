"""The event loop of the tests."""

import asyncio
import time

import pytest

from .event_loop import in_thread


async def test_waits_are_skipped() -> None:
    """An hour passes on the loop's own clock, without real time."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await asyncio.sleep(3600)
    assert 3600 <= loop.time() - begin < 3601


async def test_nothing_is_skipped_while_a_thread_works() -> None:
    """A limit for work in the executor is as long as it says."""
    async with asyncio.timeout(200):
        await asyncio.to_thread(time.sleep, 0.05)


async def test_time_stands_still_while_the_loop_works() -> None:
    """A busy machine is not late."""
    async with asyncio.timeout(0.01):
        time.sleep(0.05)  # noqa: ASYNC251
        await asyncio.sleep(0)


@pytest.mark.usefixtures("socket_enabled")
async def test_what_was_sent_arrives_before_time_is_skipped() -> None:
    """An answer over a socket comes in time, also in a very short one."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        for _ in range(20):
            async with asyncio.timeout(0.01):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"x\n")
                assert await reader.read() == b"x\n"
            writer.close()
            await writer.wait_closed()


async def test_timers_of_one_moment_keep_their_order() -> None:
    """Timers of one moment fire in the order of their creation."""
    gone_off: list[int] = []
    loop = asyncio.get_running_loop()
    for number in range(50):
        loop.call_later(1, gone_off.append, number)
    await asyncio.sleep(2)
    assert gone_off == list(range(50))


async def test_other_threads_are_refused() -> None:
    """Callbacks come from the loop's own thread, or by way of `call_soon_threadsafe`."""
    loop = asyncio.get_running_loop()
    for call in (
        lambda: loop.call_soon(print),
        lambda: loop.call_at(0, print),
    ):
        with pytest.raises(RuntimeError, match="thread"):
            await in_thread(call)  # type: ignore[arg-type]
