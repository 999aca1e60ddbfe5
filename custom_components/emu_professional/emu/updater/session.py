"""Commands to the updater of a communication module, over UDP.

Chapter "Firmware-Update". The requests are those of the manual's tool, because the
meter is known to accept them: version 1 headers, 512 bytes of image at a time, one
request under way.
"""

import asyncio
from collections.abc import Callable
from hashlib import sha256
import importlib
from types import TracebackType
from typing import Final, Self

from ..errors import MeterUnexpectedAnswer, MeterUnreachable
from . import messages
from .datagrams import Endpoint
from .exchange import Exchange, Line, Request, SessionTimeouts
from .messages import Fields
from .slots import Slot

DEFAULT_PORT: Final = 1337

CHUNK: Final = 512
"""Bytes of image in a datagram; old servers write longer chunks as garbage."""

_MOST_STRAYS: Final = 20
"""Unexpected offsets without any progress between them."""


class UpdaterSession:
    """The updater of one meter, over a UDP socket that is open inside `async with`.

    Entering raises MeterUnreachable if the host has no address. Every method
    raises MeterUnreachable when no answer comes within its limit or the network
    reports that nobody is there, MeterUnexpectedAnswer when only broken answers
    come, UpdaterRefused when the server says no. One request is under way at a
    time; a late answer to an abandoned one is ignored.
    """

    def __init__(
        self,
        host: str,
        port: int = DEFAULT_PORT,
        timeouts: SessionTimeouts | None = None,
    ) -> None:
        """Name an updater by host (IPv4 or IPv6 address, or name) and UDP port."""
        self._host = host
        self._port = port
        self.timeouts = timeouts or SessionTimeouts()
        """For the next requests."""
        self._line = Line()
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Open the socket."""
        # Reading modules from disk does not belong on the event loop.
        await asyncio.to_thread(importlib.import_module, "cbor2")
        self._line.endpoint = await Endpoint.open(self._host, self._port)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the socket."""
        await self._line.endpoint.close()

    async def slots(self) -> tuple[Slot, ...]:
        """Return the slots with an image."""
        return await self._ask(Request(messages.READ_STATE, {}, messages.slots))

    async def upload(self, image: bytes, progress: Callable[[int], None]) -> None:
        """Write an image to slot 1; return when the server has all of its bytes.

        A half-done upload of the same image is resumed; a forgotten one is started over,
        perhaps because only the answer to the last chunk was lost. `progress` gets the
        number of bytes at the server; it may decrease.
        """
        try:
            async with asyncio.timeout(self.timeouts.upload):
                await self._upload(image, progress)
        except TimeoutError as err:
            raise MeterUnreachable("the upload took too long") from err

    async def erase(self) -> None:
        """Erase slot 1; takes seconds."""
        await self._ask(
            Request(
                messages.ERASE,
                {},
                messages.nothing,
                limit=self.timeouts.flash,
                repeat_after=self.timeouts.erase,
            )
        )

    async def test(self, hash: bytes) -> tuple[Slot, ...]:
        """Let the image with this hash run after the next reset, once.

        Return the slots afterwards.
        """
        return await self._set_state(hash, confirm=False)

    async def confirm(self, hash: bytes) -> tuple[Slot, ...]:
        """Let the image with this hash, now on trial, run after every reset.

        Return the slots afterwards. It is sent exactly once: the module may have
        restarted meanwhile, and a second one would meet the old image and let the
        new one stay without another trial. After MeterUnreachable, look at the slots
        first.
        """
        return await self._set_state(hash, confirm=True)

    async def reset(self) -> bool:
        """Restart the module; return whether the server answered.

        It is sent exactly once: a second one would meet an image on trial and revert
        the update. After False, look at the slots before another one.
        """
        request = Request(messages.RESET, {}, messages.nothing)
        # Not by `_ask`: a missing answer is no failure here.
        async with self._lock:
            exchange = Exchange(self._line, request, self.timeouts)
            try:
                await exchange.send_once(self.timeouts.reset)
            except OSError:
                # No answer in time, or nobody there: it may be restarting already.
                return False
            return True

    async def _set_state(self, hash: bytes, *, confirm: bool) -> tuple[Slot, ...]:
        slots = await self._ask(
            Request(
                messages.WRITE_STATE,
                {"hash": hash, "confirm": confirm},
                messages.slots_if_any,
                is_sent_once=confirm,
            )
        )
        # New servers may answer without the slots.
        return await self.slots() if slots is None else slots

    async def _upload(self, image: bytes, progress: Callable[[int], None]) -> None:
        digest = sha256(image).digest()
        # The server's offset rules, but must reach a new highest one now and then.
        accepted = highest = strays = 0
        while accepted < len(image):
            end = min(accepted + CHUNK, len(image))
            offset = await self._upload_chunk(image, digest, accepted)
            if offset != end:
                strays += 1
                # A jump forward makes sense only at the start of a resumed upload. After
                # the last chunk, 0 does not prove that the image is complete, nor does
                # the hash in the slot: the module may have lost power in that chunk.
                if offset > end and accepted > 0:
                    offset = 0
            if offset > highest:
                highest, strays = offset, 0
            if strays > _MOST_STRAYS:
                raise MeterUnexpectedAnswer("the upload does not get on")
            accepted = offset
            progress(accepted)

    async def _upload_chunk(self, image: bytes, digest: bytes, offset: int) -> int:
        """Send a chunk, and return the offset of the next one by the server's count."""
        fields: dict[str, object] = {
            "image": 0,
            "off": offset,
            "data": image[offset : offset + CHUNK],
        }
        repeat_after = None
        if offset == 0:
            fields |= {"len": len(image), "sha": digest}
            # The server erases slot 1 first.
            repeat_after = self.timeouts.erase

        def read(answer: Fields) -> int:
            return messages.offset(answer, len(image))

        return await self._ask(
            Request(messages.UPLOAD, fields, read, self.timeouts.flash, repeat_after)
        )

    async def _ask[T](self, request: Request[T]) -> T:
        async with self._lock:
            return await Exchange(self._line, request, self.timeouts).complete()
