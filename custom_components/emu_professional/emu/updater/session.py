"""Updating the TCP/IP module's firmware over UDP (chapter "Firmware-Update").

What is sent is what the manual's tool sends, because that is what the meter is known
to accept: version 1 headers, 512 bytes of image at a time, one request under way.
"""

import asyncio
from collections.abc import Callable, Iterator
from hashlib import sha256
import importlib
import itertools
from types import TracebackType
from typing import Final, Self

from ..errors import MeterUnexpectedAnswer, MeterUnreachable, UpdaterRefused
from . import messages
from .datagrams import Endpoint, RetransmissionTimer, reason
from .messages import BrokenAnswer, Command, Fields, Slot

__all__ = ["DEFAULT_PORT", "Slot", "UpdaterSession"]

DEFAULT_PORT: Final = 1337

CHUNK: Final = 512
"""Bytes of image in a datagram; old servers write more than that as garbage."""

CONTACT_LIMIT: Final = 15.0
"""Seconds for an answer of a server that has not answered yet in this session."""
REFUSED_LIMIT: Final = 5.0
"""The same, where the network reports that nobody is there."""
STEP_LIMIT: Final = 30.0
"""Seconds for the answer to one command."""
FLASH_LIMIT: Final = 120.0
"""The same for a part of the image or an erase: the module may restart meanwhile."""
UPLOAD_LIMIT: Final = 1800.0
"""Seconds for a whole upload."""
RESET_LIMIT: Final = 5.0
"""Seconds for the answer to a reset."""
ERASE_WAIT: Final = 5.0
"""Seconds without an answer before a command that erases flash memory is repeated.

The server is busy with it for seconds; repetitions would fill its two buffers, and
servers before mid-2021 do not survive that.
"""

# Before the next try where nobody is there or the server is busy.
_PAUSE: Final = 0.5
# No buffer, busy.
_PASSING: Final = frozenset({2, 10})
_MOST_PASSING: Final = 3
_MOST_STRAYS: Final = 20


class UpdaterSession:
    """The updater of one meter, over a UDP socket that is open inside `async with`.

    Entering raises MeterUnreachable where the host has no address. Every method
    raises MeterUnreachable when no answer comes within its limit or the network
    reports that nobody is there, MeterUnexpectedAnswer when only broken answers
    come, UpdaterRefused when the server says no. One request is under way at a
    time; of an abandoned one a late answer is ignored.
    """

    def __init__(self, host: str, port: int = DEFAULT_PORT) -> None:
        """Name an updater by host (IPv4 or IPv6 address, or name) and UDP port."""
        self._host = host
        self._port = port
        self._endpoint = Endpoint()
        self._timer = RetransmissionTimer()
        self._sequences = itertools.cycle(range(256))
        self._turn = asyncio.Lock()
        self._heard = False

    async def __aenter__(self) -> Self:
        """Open the socket."""
        # Reading modules from disk does not belong on the event loop.
        await asyncio.to_thread(importlib.import_module, "cbor2")
        self._endpoint = await Endpoint.open(self._host, self._port)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the socket."""
        await self._endpoint.close()

    async def slots(self) -> tuple[Slot, ...]:
        """Return the slots that hold an image."""
        return await self._ask(messages.READ_STATE, {}, messages.slots)

    async def upload(self, image: bytes, progress: Callable[[int], None]) -> None:
        """Write an image to slot 1; return when the server has all of its bytes.

        A half-done upload of the same image is resumed; an upload that the server
        has forgotten is started over, which may be the case when only the answer to
        the last chunk was lost. `progress` gets the bytes that the server has, which may
        go back. Raises UpdaterRefused with `no_room` where slot 1 must be erased first.
        """
        try:
            async with asyncio.timeout(UPLOAD_LIMIT):
                await self._upload(image, progress)
        except TimeoutError as err:
            raise MeterUnreachable("the upload took too long") from err

    async def erase(self) -> None:
        """Erase slot 1; takes seconds."""
        await self._ask(messages.ERASE, {}, messages.nothing, FLASH_LIMIT, ERASE_WAIT)

    async def test(self, hash: bytes) -> tuple[Slot, ...]:
        """Let the image with this hash run after the next reset, once.

        Return the slots after that.
        """
        return await self._set_state(hash, confirm=False)

    async def confirm(self, hash: bytes) -> tuple[Slot, ...]:
        """Let the image with this hash, which runs on trial, run after every reset.

        Return the slots after that. It is sent exactly once: a second one that meets
        the old image, because the module has restarted meanwhile, would let the new one
        stay without another trial. After MeterUnreachable, look at the slots first.
        """
        return await self._set_state(hash, confirm=True)

    async def reset(self) -> bool:
        """Restart the module; return whether the server answered.

        It is sent exactly once: a second one that meets an image on trial reverts
        the update. After False, look at the slots before another one.
        """
        async with self._turn:
            exchange = self._exchange(messages.RESET, {}, messages.nothing)
            exchange.send()
            try:
                await exchange.answer(RESET_LIMIT)
            except OSError:
                return False
            return True

    async def _set_state(self, hash: bytes, *, confirm: bool) -> tuple[Slot, ...]:
        fields = {"hash": hash, "confirm": confirm}
        slots = await self._ask(
            messages.WRITE_STATE, fields, messages.slots_if_any, once=confirm
        )
        return await self.slots() if slots is None else slots

    async def _upload(self, image: bytes, progress: Callable[[int], None]) -> None:
        digest = sha256(image).digest()
        accepted = highest = strays = 0
        while accepted < len(image):
            end = min(accepted + CHUNK, len(image))
            offset = await self._upload_chunk(image, digest, accepted)
            if offset != end:
                strays += 1
                # A jump forward makes sense only where an upload is resumed. After the
                # last chunk, 0 does not prove that the image is complete, nor does the
                # hash in the slot: the module may have lost power in that chunk.
                if offset > end and accepted > 0:
                    offset = 0
            if offset > highest:
                highest, strays = offset, 0
            if strays > _MOST_STRAYS:
                raise MeterUnexpectedAnswer("the upload does not get on")
            accepted = offset
            progress(accepted)

    async def _upload_chunk(self, image: bytes, digest: bytes, offset: int) -> int:
        fields = {"image": 0, "off": offset, "data": image[offset : offset + CHUNK]}
        wait = None
        if offset == 0:
            fields |= {"len": len(image), "sha": digest}
            wait = ERASE_WAIT

        def read(answer: Fields) -> int:
            return messages.offset(answer, len(image))

        return await self._ask(messages.UPLOAD, fields, read, FLASH_LIMIT, wait)

    async def _ask[T](
        self,
        command: Command,
        fields: Fields,
        read: Callable[[Fields], T],
        limit: float | None = None,
        wait: float | None = None,
        *,
        once: bool = False,
    ) -> T:
        """Send a request until it is answered, and return what `read` finds there.

        `limit` is for all of it, `wait` before each repetition, both in seconds;
        None stands for a quick command's limit, and for what the line needs. With
        `once` it is not repeated.
        """
        if limit is None:
            limit = STEP_LIMIT if self._heard else CONTACT_LIMIT
        async with self._turn:
            now = asyncio.get_running_loop().time
            begin = now()
            exchange = self._exchange(command, fields, read)
            while (left := begin + limit - now()) > 0:
                exchange.send()
                seconds = wait or self._timer.wait(exchange.repetitions)
                try:
                    answer = await exchange.answer(min(left, seconds))
                except TimeoutError:
                    if once:
                        break
                    continue
                except UpdaterRefused as err:
                    self._heard = True
                    if not exchange.may_pass(err.rc):
                        raise
                except OSError:
                    if not self._heard:
                        limit = min(limit, REFUSED_LIMIT)
                else:
                    self._heard = True
                    self._timer.answered(
                        exchange.lost, None if wait else exchange.round_trip
                    )
                    return answer
                if once:
                    break
                await asyncio.sleep(_PAUSE)
            raise exchange.trouble

    def _exchange[T](
        self, command: Command, fields: Fields, read: Callable[[Fields], T]
    ) -> _Exchange[T]:
        self._endpoint.forget()
        return _Exchange(self._endpoint, self._sequences, command, fields, read)


class _Exchange[T]:
    """One request, its repetitions, and what comes back."""

    def __init__(
        self,
        endpoint: Endpoint,
        sequences: Iterator[int],
        command: Command,
        fields: Fields,
        read: Callable[[Fields], T],
    ) -> None:
        self._endpoint = endpoint
        self._sequences = sequences
        self._command = command
        self._payload = messages.encode(fields)
        self._read = read
        self._now = asyncio.get_running_loop().time
        self._sent: dict[int, float] = {}
        self._passed = 0
        self.trouble: MeterUnreachable | MeterUnexpectedAnswer = MeterUnreachable(
            "the updater does not answer"
        )
        """Why there is no answer, as far as that is known."""
        self.lost = False
        """Whether the answer told that an earlier datagram was lost."""
        self.round_trip = 0.0
        """Seconds from the datagram that was answered to its answer."""

    @property
    def repetitions(self) -> int:
        """How often the request was repeated."""
        return len(self._sent) - 1

    def send(self) -> None:
        """Send the request, each time under a new sequence number."""
        sequence = next(self._sequences)
        self._sent[sequence] = self._now()
        self._endpoint.send(messages.frame(self._command, sequence, self._payload))

    async def answer(self, seconds: float) -> T:
        """Return what the first answer to any of the datagrams says.

        Raises UpdaterRefused; TimeoutError when none came in time, another
        OSError as soon as the network reports that nobody is there.
        """
        end = self._now() + seconds
        while True:
            sequence, datagram = await self._receive(end)
            try:
                answer = self._read(self._success(messages.decode(datagram)))
            except BrokenAnswer:
                self.trouble = MeterUnexpectedAnswer("the updater's answers are broken")
                continue
            self.lost = sequence != next(iter(self._sent))
            self.round_trip = self._now() - self._sent[sequence]
            return answer

    def may_pass(self, rc: int) -> bool:
        """Return whether to try again in spite of an error, and count it."""
        self._passed += 1
        return rc in _PASSING and self._passed <= _MOST_PASSING

    async def _receive(self, end: float) -> tuple[int, bytes]:
        while True:
            try:
                datagram = await self._endpoint.receive(end - self._now())
            except TimeoutError:
                raise
            except OSError as err:
                self.trouble = MeterUnreachable(reason(err))
                raise
            sequence = messages.sequence_of_answer(self._command, datagram)
            if sequence in self._sent:
                return sequence, datagram

    def _success(self, fields: Fields) -> Fields:
        if rc := messages.error_number(fields):
            raise UpdaterRefused(self._command.group, self._command.number, rc)
        return fields
