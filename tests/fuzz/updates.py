"""The updater's datagrams, in memory and at real sockets, and firmware files."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
import struct
from typing import Any, Final, NamedTuple, override

from custom_components.emu_professional.emu.errors import (
    FirmwareRefused,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    UpdaterRefused,
)
from custom_components.emu_professional.emu.updater import messages
from custom_components.emu_professional.emu.updater.exchange import SessionTimeouts
from custom_components.emu_professional.emu.updater.image import (
    LARGEST_IMAGE,
    read_firmware,
)
from custom_components.emu_professional.emu.updater.messages import BrokenAnswer
from custom_components.emu_professional.emu.updater.session import UpdaterSession

from . import samples
from .mutations import damaged
from .target import Bounds, Target

_HEADER: Final = struct.Struct(">BBHHBB")
_DATAGRAM: Final = 60_000
"""Bytes of the largest datagram that a socket sends."""
_IMAGE: Final = bytes(1500)
_HASH: Final = bytes(range(32))
_TIMEOUTS: Final = SessionTimeouts(
    contact=0.1,
    refused=0.1,
    command=0.1,
    flash=0.1,
    upload=0.3,
    reset=0.05,
    erase=0.02,
    pause=0.01,
)


async def _read_message(payload: bytes) -> int:
    header = _HEADER.pack(1, 0, len(payload) & 0xFFFF, 1, 7, 0)
    datagram = header + payload
    if messages.sequence_of_answer(messages.READ_STATE, datagram) is None:
        return len(datagram)
    fields = messages.decode(datagram)
    for read in (messages.error_number, messages.slots_if_any, messages.slots):
        try:
            read(fields)
        except BrokenAnswer:
            continue
    assert 0 <= messages.offset(fields, len(_IMAGE)) <= len(_IMAGE)
    return len(datagram)


@asynccontextmanager
async def smp_messages() -> AsyncGenerator[Target[bytes]]:
    """Read possible answers of an updater, in memory."""

    def make(random: Random) -> bytes:
        return damaged(random, samples.smp())[:_DATAGRAM]

    yield Target(make, _read_message, (BrokenAnswer,), Bounds(0.5, 5, 2, 60))


class _Conversation(NamedTuple):
    random: Random
    what: int


class _Updater(asyncio.DatagramProtocol):
    """Answers every datagram with a possible answer."""

    def __init__(self) -> None:
        self.random = Random(0)
        self.requests = 0
        self._transport: asyncio.DatagramTransport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    @override
    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert self._transport
        self.requests += 1
        for _ in range(self.random.choice((0, 1, 1, 1, 2, 30))):
            self._transport.sendto(self._answer(data), addr)

    def _answer(self, data: bytes) -> bytes:
        operation, _, _, group, sequence, number = _HEADER.unpack_from(data)
        payload = damaged(self.random, samples.smp())[:_DATAGRAM]
        length = len(payload)
        header = _HEADER.pack(operation + 1, 0, length, group, sequence, number)
        if self.random.random() < 0.1:
            header = damaged(self.random, (header,))[:100]
        return header + payload


@asynccontextmanager
async def smp_session() -> AsyncGenerator[Target[_Conversation]]:
    """Give whole commands in an updater session, at real sockets."""
    async with AsyncExitStack() as stack:
        transport, updater = await asyncio.get_running_loop().create_datagram_endpoint(
            _Updater, local_addr=("127.0.0.1", 0)
        )
        stack.callback(transport.abort)
        port = transport.get_extra_info("sockname")[1]

        async def read(given: _Conversation) -> int:
            updater.random, updater.requests = given.random, 0
            try:
                async with UpdaterSession("127.0.0.1", port, _TIMEOUTS) as session:
                    await _command(session, given.what)
            finally:
                assert updater.requests <= 100, f"{updater.requests} requests"
            return 0

        yield Target(
            lambda random: _Conversation(Random(random.random()), random.randrange(5)),
            read,
            (MeterUnreachable, MeterUnexpectedAnswer, UpdaterRefused),
            Bounds(1, 0, 40, 0),
        )


async def _command(session: UpdaterSession, what: int) -> None:
    match what:
        case 0:
            await session.slots()
        case 1:
            await session.upload(_IMAGE, _progress)
        case 2:
            await session.erase()
        case 3:
            await session.test(_HASH)
        case _:
            await session.reset()


def _progress(accepted: int) -> None:
    assert 0 <= accepted <= len(_IMAGE)


@asynccontextmanager
async def firmware() -> AsyncGenerator[Target[bytes]]:
    """Read firmware files: images, and zip archives."""

    async def read(content: bytes) -> int:
        image = read_firmware(content)
        assert len(image.data) <= LARGEST_IMAGE
        return len(content)

    yield Target(
        lambda random: damaged(random, samples.firmware()),
        read,
        (FirmwareRefused,),
        Bounds(0.5, 0.2, 4, 3),
    )
