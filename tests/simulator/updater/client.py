"""A client without repetitions, of `smp`'s messages."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
import hashlib
import socket
from typing import Any

import aiohttp
from smp import header as smp_header
from smp.error import ErrorV1
from smp.image_management import (
    ImageManagementErrorV1,
    ImageStatesReadRequest,
    ImageStatesReadResponse,
    ImageStatesWriteRequest,
    ImageStatesWriteResponse,
    ImageUploadWriteRequest,
    ImageUploadWriteResponse,
)
from smp.message import Request, Response
from smp.os_management import (
    EchoWriteRequest,
    OSManagementErrorV1,
    ResetWriteRequest,
    ResetWriteResponse,
)

from simulator.bootloader import read_image
from simulator.images import signed_image
from simulator.updater import UpdaterConfig, UpdaterServer
from simulator.web import MeterServer

NEW = signed_image("1.0.17", size=4000)


NEW_HASH = read_image(NEW).hash


OLD_HASH = read_image(signed_image("1.0.16")).hash


SILENCE = 0.1
"""Seconds after which nobody expects an answer any more."""


V1, V2 = smp_header.Version.V1, smp_header.Version.V2


QUICK = UpdaterConfig(boot_seconds=0.05, old_answers=0.05)


type Module = Callable[..., Any]


class Asking:
    """A client without repetitions, of `smp`'s messages."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        """Connect, so that refusals of the network arrive."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.connect((host, port))

    def send(self, data: bytes) -> None:
        """Send a datagram."""
        self.socket.send(data)

    async def receive(self, seconds: float = 5.0) -> bytes:
        """Return the next datagram."""
        async with asyncio.timeout(seconds):
            return await asyncio.get_running_loop().sock_recv(self.socket, 65_535)

    async def is_silent(self) -> bool:
        """Return whether nothing arrives for a while."""
        try:
            await self.receive(SILENCE)
        except TimeoutError:
            return True
        return False

    async def ask[R: Response](self, request: Request, response: type[R]) -> R:
        """Send a request and read the answer as one of a kind."""
        self.send(request.BYTES)
        answer = response.loads(await self.receive())
        assert answer.header.sequence == request.header.sequence
        assert answer.header.command_id == request.header.command_id
        assert answer.header.op == request.header.op + 1
        assert answer.header.length == len(answer.BYTES) - 8
        return answer

    async def states(self) -> list[tuple[str, str]]:
        """Return version and flags of each image listed."""
        answer = await self.ask(
            ImageStatesReadRequest(version=V1), ImageStatesReadResponse
        )
        return flags_of(answer)

    async def upload(
        self,
        image: bytes = NEW,
        *,
        offset: int = 0,
        end: int | None = None,
        patience: float = 5.0,
    ) -> int:
        """Upload without looking left or right; return the last offset answered."""
        while offset < (len(image) if end is None else end):
            self.send(chunk(image, offset).BYTES)
            answer = ImageUploadWriteResponse.loads(await self.receive(patience))
            assert answer.off is not None
            offset = answer.off
        return offset

    async def set_state(
        self, wanted: bytes | None, confirm: bool
    ) -> list[tuple[str, str]]:
        """Test or confirm; return the list afterwards."""
        request = ImageStatesWriteRequest(hash=wanted, confirm=confirm, version=V1)
        return flags_of(await self.ask(request, ImageStatesWriteResponse))

    async def reset(self) -> None:
        """Reset."""
        await self.ask(ResetWriteRequest(version=V1), ResetWriteResponse)

    async def refused(self, request: Request) -> int:
        """Return the error of version 1 in the answer to a request."""
        group = request.header.group_id
        kind: type[ErrorV1] = (
            ImageManagementErrorV1 if group == 1 else OSManagementErrorV1
        )
        return int((await self.ask(request, kind)).rc)


def flags_of(answer: ImageStatesReadResponse) -> list[tuple[str, str]]:
    """Return version and flags of each image listed."""
    names = ("pending", "confirmed", "active", "permanent")
    return [
        (image.version, " ".join(name for name in names if getattr(image, name)))
        for image in answer.images
    ]


def chunk(
    image: bytes = NEW, offset: int = 0, *, size: int = 512, sha: bool = True
) -> ImageUploadWriteRequest:
    """Return a request of an upload like the manual's tool sends it."""
    data = image[offset : offset + size]
    if offset:
        return ImageUploadWriteRequest(off=offset, data=data, image=0, version=V1)
    return ImageUploadWriteRequest(
        off=0,
        data=data,
        image=0,
        len=len(image),
        sha=hashlib.sha256(image).digest() if sha else None,
        version=V1,
    )


def to_set(wanted: bytes, *, confirm: bool = False) -> ImageStatesWriteRequest:
    """Return a request to test or to confirm an image."""
    return ImageStatesWriteRequest(hash=wanted, confirm=confirm, version=V1)


def echo(text: str = "hello", sequence: int | None = None) -> EchoWriteRequest:
    """Return a harmless request."""
    if sequence is None:
        return EchoWriteRequest(d=text, version=V1)
    return EchoWriteRequest(d=text, version=V1, sequence=sequence)


@asynccontextmanager
async def serving(
    web: MeterServer, config: UpdaterConfig = QUICK
) -> AsyncGenerator[tuple[UpdaterServer, Asking]]:
    """Serve updates."""
    async with UpdaterServer(web, config) as updater:
        client = Asking(updater.port)
        try:
            yield updater, client
        finally:
            client.socket.close()


async def software_version(web: MeterServer) -> str:
    """Return the version on the web page."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(web.url + "status.json") as response,
    ):
        return str((await response.json())["softwareversion"])
