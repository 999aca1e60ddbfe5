"""A server with answers by the test, or by the rules of real ones."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
import itertools
import random
import socket
from typing import Any, Final, Self, cast, override

import cbor2
from smp import header as smp_header
from smp.header import OP, CommandId, GroupId, Version

from custom_components.emu_professional.emu.updater.exchange import SessionTimeouts
from custom_components.emu_professional.emu.updater.session import UpdaterSession
from simulator.bootloader import read_image
from simulator.images import signed_image

IMAGE = random.Random(1).randbytes(5 * 512 + 100)


HASH = bytes(range(32))


OTHER_HASH = bytes(32)


SLOT_0 = {
    "slot": 0,
    "version": "1.0.16",
    "hash": OTHER_HASH,
    "bootable": True,
    "pending": False,
    "confirmed": True,
    "active": True,
    "permanent": False,
}


NEW_IMAGE = signed_image("1.0.17", size=6000)


NEW_HASH = read_image(NEW_IMAGE).hash


type Address = tuple[Any, ...]


@dataclass(frozen=True)
class Request:
    """A datagram at the server."""

    data: bytes
    source: Address

    @property
    def header(self) -> smp_header.Header:
        """Its header, read by others' code."""
        return smp_header.Header.loads(self.data[:8])

    @property
    def fields(self) -> dict[str, Any]:
        """Its map."""
        return cast("dict[str, Any]", cbor2.loads(self.data[8:]))

    @property
    def command(self) -> tuple[int, int]:
        """Its group and number."""
        return int(self.header.group_id), int(self.header.command_id)

    def framed(self, payload: bytes, **changed: Any) -> bytes:
        """Return an answer with this payload, its header changed."""
        parts: dict[str, Any] = {
            "op": OP(self.header.op + 1),
            "version": Version.V1,
            "flags": smp_header.Flag(0),
            "length": len(payload),
            "group_id": self.header.group_id,
            "sequence": self.header.sequence,
            "command_id": self.header.command_id,
        }
        return bytes(smp_header.Header(**(parts | changed))) + payload

    def answer(self, **fields: Any) -> bytes:
        """Return an answer with these fields."""
        return self.framed(cbor2.dumps(fields))


UPLOAD = (GroupId.IMAGE_MANAGEMENT, CommandId.ImageManagement.UPLOAD)


type Respond = Callable[[Request], Iterable[bytes]]


class ScriptedServer(asyncio.DatagramProtocol):
    """Answers each datagram as a function of the test's says."""

    def __init__(self, respond: Respond, host: str = "127.0.0.1") -> None:
        """Prepare to answer."""
        self.respond = respond
        self.host = host
        self.port = 0
        self.requests: list[Request] = []
        self.arrived = asyncio.Event()
        self.marked = asyncio.Event()
        self.transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        """Listen; for a second time on the same port."""
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self.host, self.port)
        )
        self.port = self.transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *args: object) -> None:
        """Listen no longer."""
        assert self.transport
        self.transport.close()
        # Until its socket is closed, datagrams are lost instead of refused.
        while self.transport.get_extra_info("socket").fileno() != -1:
            await asyncio.sleep(0)

    @override
    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Answer a datagram."""
        if data == b"mark":
            self.marked.set()
            return
        self.requests.append(Request(data, addr))
        self.arrived.set()
        for answer in self.respond(self.requests[-1]):
            self.send(answer, addr)

    def send(self, data: bytes, addr: Address) -> None:
        """Send a datagram."""
        assert self.transport
        self.transport.sendto(data, addr)

    async def reached(self, count: int) -> None:
        """Wait until so many requests have come."""
        while len(self.requests) < count:
            self.arrived.clear()
            await self.arrived.wait()

    async def has_read_everything(self) -> None:
        """Wait until all datagrams from before have been read."""
        self.marked.clear()
        with socket.socket(type=socket.SOCK_DGRAM) as other:
            other.sendto(b"mark", (self.host, self.port))
            await self.marked.wait()

    def of(self, command: tuple[int, int]) -> list[Request]:
        """Return the requests of one command."""
        return [request for request in self.requests if request.command == command]


@dataclass
class Flash:
    """Slot 1, and the server's memory of the upload under way."""

    data: bytearray = field(default_factory=bytearray)
    size: int = 0
    sha: bytes = b""
    complete: bool = False

    def respond(self, request: Request) -> Iterator[bytes]:
        """Answer an upload by the rules of real servers, and a list."""
        if request.command != UPLOAD:
            slot = SLOT_0 | {"slot": 1, "hash": HASH, "active": False}
            yield request.answer(images=[SLOT_0] + [slot] * self.complete)
            return
        off, data = request.fields["off"], request.fields["data"]
        if off == 0 and (not self.sha or request.fields["sha"] != self.sha):
            self.data, self.complete = bytearray(), False
            self.size, self.sha = request.fields["len"], request.fields["sha"]
        if off == len(self.data) and self.sha:
            self.data += data
        accepted = len(self.data) if self.sha else 0
        if self.sha and accepted == self.size:
            self.complete, self.sha = True, b""
        yield request.answer(rc=0, off=accepted)

    def forget(self) -> None:
        """Lose the memory, as in a power cut."""
        self.sha = b""
        self.data = bytearray()


QUICK: Final = SessionTimeouts(
    contact=3.0,
    refused=0.2,
    command=3.0,
    flash=5.0,
    reset=0.2,
    erase=0.1,
    pause=0.02,
)
"""How long a session waits in tests with the fixture `quick`."""


def losing(respond: Respond, *numbers: int) -> Respond:
    """Lose the answers to the n-th datagrams, from 1 on."""
    count = itertools.count(1)

    def lossy(request: Request) -> list[bytes]:
        answers = list(respond(request))
        return [] if next(count) in numbers else answers

    return lossy


async def upload(session: UpdaterSession, image: bytes = IMAGE) -> list[int]:
    """Upload an image and return the progress."""
    progress: list[int] = []
    await session.upload(image, progress.append)
    return progress
