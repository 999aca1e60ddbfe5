"""The module's update server: SMP over UDP (chapter "Firmware-Update").

It behaves like servers of two ages, of which the meter's is one. Its state outlives
a loss of power only where it is in the flash, see `bootloader`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, IntEnum
import socket
import struct
from types import TracebackType
from typing import Any, NoReturn, Self

import cbor2

from .bootloader import (
    HEADER_SIZE,
    MAGIC,
    SECTOR,
    Bootloader,
    Image,
    Slot,
    Swap,
    Version,
)
from .datagrams import Datagrams
from .images import (
    Trait,
    public_key,
    signed_image,
    trait_of,
    unsigned_image,
    version_of,
)
from .web import HOST, MeterServer

CHUNK = 512
"""Most data bytes of an upload request."""
DATAGRAM = 588
"""Most bytes of a datagram."""

_HEADER = struct.Struct(">BBHHBB")
_LARGEST_DATAGRAM = 65_535
_WRITE_ALIGNMENT = 8
_SHA_SIZE = 32

type Json = Mapping[str, Any]
type Address = tuple[Any, ...]


class Age(Enum):
    """When the server was written."""

    LEGACY = 2021
    """`rc: 0` on success, every flag of an image, maps of indefinite length, version-1
    headers only, errors as `rc` alone."""
    MODERN = 2026
    """No `rc: 0`, only flags that are set, answers in the version of the request,
    errors as `err: {group, rc}` in version 2."""


class Closed(Enum):
    """What becomes of datagrams while nobody serves."""

    SILENT = "silent"
    REFUSED = "refused"
    """ICMP says that the port is unreachable."""


class Op(IntEnum):
    """Operation of an SMP header."""

    READ = 0
    READ_RESPONSE = 1
    WRITE = 2
    WRITE_RESPONSE = 3


class Group(IntEnum):
    """Groups of commands that the server knows."""

    OS = 0
    IMAGE = 1


class OsCommand(IntEnum):
    """Commands of the OS group."""

    ECHO = 0
    RESET = 5
    PARAMETERS = 6


class ImageCommand(IntEnum):
    """Commands of the image group."""

    STATE = 0
    UPLOAD = 1
    ERASE = 5


class Rc(IntEnum):
    """Errors that any group may answer."""

    UNKNOWN = 1
    NO_MEMORY = 2
    INVALID = 3
    NO_ENTRY = 5
    BAD_STATE = 6
    NOT_SUPPORTED = 8
    CORRUPT = 9
    BUSY = 10


class ImageRc(IntEnum):
    """Errors of the image group in answers of version 2."""

    NO_FREE_SLOT = 9
    FLASH_WRITE_FAILED = 12
    INVALID_SLOT = 14
    INVALID_OFFSET = 20
    INVALID_LENGTH = 21
    INVALID_HEADER = 22
    INVALID_MAGIC = 23
    INVALID_HASH = 24
    RUNNING_IS_NEWER = 27
    ALREADY_PENDING = 28
    TOO_LARGE = 30
    DATA_OVERRUN = 31
    TEST_OF_ACTIVE = 33


_IMAGE_RC_IN_VERSION_1 = {
    ImageRc.NO_FREE_SLOT: Rc.BAD_STATE,
    ImageRc.RUNNING_IS_NEWER: Rc.BAD_STATE,
    ImageRc.ALREADY_PENDING: Rc.BAD_STATE,
    ImageRc.INVALID_SLOT: Rc.INVALID,
    ImageRc.INVALID_OFFSET: Rc.INVALID,
    ImageRc.INVALID_LENGTH: Rc.INVALID,
    ImageRc.INVALID_HEADER: Rc.INVALID,
    ImageRc.INVALID_HASH: Rc.INVALID,
}
"""Every other one is `Rc.UNKNOWN` there."""

_INVALID_FOR_LEGACY = frozenset({ImageRc.INVALID_MAGIC, ImageRc.DATA_OVERRUN})


class Moment(Enum):
    """When the power may be cut during a request."""

    ARRIVED = "arrived"
    """Nothing is done yet."""
    DONE = "done"
    """Everything is done, and nothing answered yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdaterConfig:
    """How a module updates; times are seconds of the event loop."""

    age: Age = Age.LEGACY
    image: bytes | None = None
    """What runs at first; None: a signed image of the settings' version."""
    closed: Closed = Closed.SILENT
    """What becomes of datagrams while updates are off or the module restarts."""
    shows_parameters: bool | None = None
    """Whether it answers "MCUmgr parameters"; None: modern ones do."""
    datagram_size: int = DATAGRAM
    """Bytes of a buffer. Modern servers drop longer datagrams, legacy ones write
    garbage to the flash."""
    buffers: int = 2
    """Requests under way at most; further ones are dropped."""
    overflow_crashes: bool = False
    """Whether the module restarts when a request finds no buffer."""
    full_slot_refuses: bool = False
    """The manual's rule: no upload while there is an image in slot 1."""
    no_slot_rc: int | None = None
    """Error of an upload without a free slot in version 1: 2, 5 or 6. None: 5 of
    legacy servers, 6 of modern ones."""
    erases_pending: bool = False
    """Whether an image that waits for the restart may be erased."""
    erase_seconds: float = 0.0
    """Time that it takes to erase a slot that is not blank."""
    chunk_seconds: float = 0.0
    """Time that it takes to write a chunk."""
    old_answers: float = 0.25
    """Time after the answer to a reset for which the old image goes on."""
    boot_seconds: float = 3.0
    """Time from the reset until the updater answers; a swap takes half of it."""
    web_seconds: float = 0.0
    """Time from then on until the web server answers."""
    watchdog_seconds: float | None = None
    """Time after which an image that never boots is reset; None: never."""
    seed: int = 1
    """Of the network's faults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """A request that the server has taken on."""

    op: int
    group: int
    command: int
    version: int
    """Of the header, 1 or 2."""
    sequence: int
    body: dict[str, Any]
    size: int
    """Bytes of the datagram."""


class _RefusedError(Exception):
    """The server answers with an error."""

    def __init__(self, reason: Rc | ImageRc, rc: int | None = None) -> None:
        """Refuse for a reason; `rc` replaces its number in version 1."""
        super().__init__(reason)
        self.reason = reason
        self.rc = rc


@dataclass(slots=True)
class _Upload:
    """What the server remembers of an upload, in RAM."""

    active: bool = False
    offset: int = 0
    size: int = 0
    sha: bytes = b""


@dataclass(slots=True)
class _Queue:
    """Requests that occupy a buffer."""

    waiting: asyncio.Queue[tuple[bytes, Address]] = field(default_factory=asyncio.Queue)
    occupied: int = 0


class UpdaterServer:
    """Updates the module of one meter on the loopback interface.

    While the meter has no power it is silent. From `start()` on, the version of the
    running image is that of `/status.json`.
    """

    def __init__(
        self,
        web: MeterServer,
        config: UpdaterConfig | None = None,
        *,
        host: str = HOST,
        port: int = 0,
        bootloader: Bootloader | None = None,
    ) -> None:
        """Prepare to serve on a port (0: any free one, kept over restarts).

        `host` is an IPv4 or IPv6 address of this machine.
        `bootloader` is a module's flash as an earlier server has left it.
        """
        self.web = web
        self.meter = web.meter
        self.config = config or UpdaterConfig()
        """Replace it to change how the module behaves."""
        self.host = host
        self.port = port
        self.bootloader = bootloader or _factory(
            self.config.image, self.meter.settings.software_version
        )
        self.requests: list[UpdateRequest] = []
        """Every request since the server was made; clear it at will."""
        self.dropped = 0
        """Datagrams that found no buffer or were too long for one."""
        self.boots = 0
        """Times that the module has booted or failed to, the start included."""
        self.datagrams = Datagrams(self.config.seed)
        """The network's faults."""
        self.refusals: list[Rc] = []
        """Errors that the next requests are answered with; nothing else is done."""
        self.cut_power_when: Callable[[UpdateRequest, Moment], bool] | None = None
        """Cuts the power once where it returns true; the request gets no answer."""
        self.cut_power_at_byte: int | None = None
        """Cuts the power once when so many bytes of an upload are written."""
        self.cut_power_for = 0.0
        """Seconds for which the two above cut the power."""
        self._serving = False
        self._upload = _Upload()
        self._queue = _Queue()
        self._progress = asyncio.Condition()
        self._lives: list[asyncio.Task[None]] = []
        self._reset: asyncio.TimerHandle | None = None
        self._port_holder: socket.socket | None = None
        self._socket: socket.socket | None = None
        self._unwatch: Callable[[], None] | None = None

    @property
    def running(self) -> str | None:
        """Version of the image that runs; None while none does."""
        running = self.bootloader.running
        return None if running is None else version_of(running)

    @property
    def listening(self) -> bool:
        """Whether requests are answered now."""
        return (
            self._serving
            and self.meter.settings.online_update
            and self.meter.has_power()
        )

    async def __aenter__(self) -> Self:
        """Start serving."""
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop serving."""
        await self.stop()

    async def start(self) -> None:
        """Serve, at once; after a `stop()` on the same port as before."""
        if self._port_holder is not None:
            raise RuntimeError("The server is running")
        self._port_holder = _held_port(self.host, self.port)
        self.port = self._port_holder.getsockname()[1]
        self._unwatch = self.meter.watch_settings(self._open_or_close)
        if self.bootloader.running is None:
            self.bootloader.power_cycle()
        boots = self.boots
        self._begin_life(self._run())
        await self.booted(boots + 1)

    async def stop(self) -> None:
        """Stop serving; the web server goes on."""
        if self._port_holder is None or self._unwatch is None:
            return
        self._unwatch()
        self._end_life()
        lives, self._lives = self._lives, []
        for life in lives:
            with suppress(asyncio.CancelledError):
                await life
        self.datagrams.cut()
        self._close()
        self._port_holder.close()
        self._port_holder = None
        self.meter.running_version = None
        self.web.away = False

    async def power_cut(self, seconds: float = 0.0) -> None:
        """Cut the power of the module for some seconds; return when it is cut."""
        self._restart(seconds)

    async def received(self, count: int) -> None:
        """Wait until `requests` has at least `count` entries, answered or not."""
        await self._reached(lambda: len(self.requests) >= count)

    async def booted(self, count: int) -> None:
        """Wait until `boots` is at least `count`."""
        await self._reached(lambda: self.boots >= count)

    async def _reached(self, condition: Callable[[], bool]) -> None:
        async with self._progress:
            await self._progress.wait_for(condition)

    async def _progressed(self) -> None:
        async with self._progress:
            self._progress.notify_all()

    # The module's life, from one loss of power to the next.

    def _begin_life(self, life: Coroutine[None, None, None]) -> None:
        self._lives.append(asyncio.get_running_loop().create_task(life))

    def _end_life(self) -> None:
        if self._reset is not None:
            self._reset.cancel()
            self._reset = None
        for life in self._lives:
            life.cancel()
        self._serving = False
        self._upload = _Upload()
        self._queue = _Queue()
        self._open_or_close()

    def _restart(self, seconds: float = 0.0) -> None:
        self._end_life()
        self.web.away = True
        self._begin_life(self._boot(seconds))

    async def _boot(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._run_bootloader()
        await self._run()

    async def _run(self) -> None:
        running = self.bootloader.running
        if running is not None and trait_of(running) is not Trait.NEVER_BOOTS:
            await self._serve(running)
            return
        self.web.away = True
        self.boots += 1
        await self._progressed()
        watchdog = self.config.watchdog_seconds
        if running is not None and watchdog is not None:
            await asyncio.sleep(watchdog)
            self._restart()

    async def _run_bootloader(self) -> None:
        loop = asyncio.get_running_loop()
        begin, length = loop.time(), self.config.boot_seconds
        sectors = self.bootloader.slot_size // SECTOR
        for number, _ in enumerate(self.bootloader.boot_steps()):
            due = begin + length / 2 * number / sectors
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
        await asyncio.sleep(begin + length - loop.time())

    async def _serve(self, running: bytes) -> None:
        self.meter.running_version = version_of(running)
        trait = trait_of(running)
        self._serving = trait is not Trait.NO_UPDATER
        self._open_or_close()
        if trait is Trait.NO_WEB_PAGE:
            # Also after a `stop()`, which leaves the web server to others.
            self.web.away = True
        elif not self.config.web_seconds:
            self.web.away = False
        self.boots += 1
        await self._progressed()
        async with asyncio.TaskGroup() as tasks:
            if trait is not Trait.NO_WEB_PAGE and self.web.away:
                tasks.create_task(self._bring_web_page())
            tasks.create_task(self._answer_requests(self._queue))

    async def _bring_web_page(self) -> None:
        await asyncio.sleep(self.config.web_seconds)
        self.web.away = False

    async def _lose_power(self) -> NoReturn:
        self._restart(self.cut_power_for)
        # Cancelled with the life that ended.
        await asyncio.get_running_loop().create_future()
        raise RuntimeError("A life without an end")

    # The socket. Answers leave through the one that holds the port, because they may
    # be under way when the module is gone.

    def _open_or_close(self) -> None:
        refuses = self.config.closed is Closed.REFUSED
        available = self._serving and self.meter.settings.online_update
        if refuses and not available:
            self._close()
        elif self._socket is None and self._port_holder is not None:
            self._socket = _receiving(self.host, self.port)
            asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def _close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _readable(self) -> None:
        if self._socket is None:
            return
        with suppress(BlockingIOError):
            data, address = self._socket.recvfrom(_LARGEST_DATAGRAM)
            self.datagrams.requests.send(
                data, lambda arrived: self._arrived(arrived, address)
            )

    def _arrived(self, data: bytes, address: Address) -> None:
        if not self.listening:
            return
        is_modern = self.config.age is Age.MODERN
        if is_modern and len(data) > self.config.datagram_size:
            self.dropped += 1
            return
        if self._queue.occupied >= self.config.buffers:
            self.dropped += 1
            if self.config.overflow_crashes:
                self._restart()
            return
        self._queue.occupied += 1
        self._queue.waiting.put_nowait((data, address))

    def _send(self, answer: bytes, address: Address) -> None:
        def deliver(data: bytes) -> None:
            if self._port_holder is not None:
                self._port_holder.sendto(data, address)

        self.datagrams.answers.send(answer, deliver)

    # Requests.

    async def _answer_requests(self, queue: _Queue) -> None:
        while True:
            data, address = await queue.waiting.get()
            if queue is not self._queue:
                # The power went before the request was looked at.
                return
            answer = await self._answer(data)
            queue.occupied -= 1
            if answer is not None:
                self._send(answer, address)

    async def _answer(self, data: bytes) -> bytes | None:
        if len(data) < _HEADER.size:
            return None
        first, _, length, group, sequence, command = _HEADER.unpack_from(data)
        op, version = first & 7, (first >> 3 & 3) + 1
        if self.config.age is Age.LEGACY:
            version = 1
        try:
            body = _decoded(data[_HEADER.size :], length, self.config.age)
            request = UpdateRequest(
                op=op,
                group=group,
                command=command,
                version=(first >> 3 & 3) + 1,
                sequence=sequence,
                body=body,
                size=len(data),
            )
            content = await self._handled(request)
        except _RefusedError as err:
            content = self._error(err, version)
        legacy = self.config.age is Age.LEGACY
        encoded = cbor2.dumps(content, indefinite_containers=legacy)
        header = _HEADER.pack(
            (op + 1) & 7 | (version - 1) << 3,
            *(0, len(encoded), group, sequence, command),
        )
        return header + encoded

    async def _handled(self, request: UpdateRequest) -> Json:
        self.requests.append(request)
        await self._progressed()
        await self._maybe_lose_power(request, Moment.ARRIVED)
        if self.refusals:
            raise _RefusedError(self.refusals.pop(0))
        handlers: dict[tuple[int, int, int], Callable[[Json], Awaitable[Json]]] = {
            (Op.READ, Group.OS, OsCommand.ECHO): self._echo,
            (Op.WRITE, Group.OS, OsCommand.ECHO): self._echo,
            (Op.WRITE, Group.OS, OsCommand.RESET): self._reset_soon,
            (Op.READ, Group.OS, OsCommand.PARAMETERS): self._parameters,
            (Op.READ, Group.IMAGE, ImageCommand.STATE): self._state,
            (Op.WRITE, Group.IMAGE, ImageCommand.STATE): self._set_state,
            (Op.WRITE, Group.IMAGE, ImageCommand.ERASE): self._erase,
        }
        key = (request.op, request.group, request.command)
        if key == (Op.WRITE, Group.IMAGE, ImageCommand.UPLOAD):
            content = await self._take_chunk(request)
        elif key in handlers:
            content = await handlers[key](request.body)
        else:
            raise _RefusedError(Rc.NOT_SUPPORTED)
        await self._maybe_lose_power(request, Moment.DONE)
        return content

    async def _maybe_lose_power(self, request: UpdateRequest, moment: Moment) -> None:
        if self.cut_power_when is not None and self.cut_power_when(request, moment):
            self.cut_power_when = None
            await self._lose_power()

    def _error(self, err: _RefusedError, version: int) -> Json:
        if isinstance(err.reason, Rc):
            return {"rc": int(err.reason)}
        if version == 2:
            return {"err": {"group": int(Group.IMAGE), "rc": int(err.reason)}}
        if err.rc is not None:
            return {"rc": int(err.rc)}
        if self.config.age is Age.LEGACY and err.reason in _INVALID_FOR_LEGACY:
            return {"rc": int(Rc.INVALID)}
        return {"rc": int(_IMAGE_RC_IN_VERSION_1.get(err.reason, Rc.UNKNOWN))}

    def _success(self, content: Json) -> Json:
        return {"rc": 0, **content} if self.config.age is Age.LEGACY else content

    # The OS group.

    async def _echo(self, body: Json) -> Json:
        text = body.get("d")
        if not isinstance(text, str):
            raise _RefusedError(Rc.INVALID)
        return {"r": text}

    async def _reset_soon(self, body: Json) -> Json:
        if self._reset is not None:
            self._reset.cancel()
        self._reset = asyncio.get_running_loop().call_later(
            self.config.old_answers, self._restart
        )
        return {}

    async def _parameters(self, body: Json) -> Json:
        shown = self.config.shows_parameters
        if not (self.config.age is Age.MODERN if shown is None else shown):
            raise _RefusedError(Rc.NOT_SUPPORTED)
        return {
            "buf_size": self.config.datagram_size,
            "buf_count": self.config.buffers,
        }

    # The image group.

    async def _state(self, body: Json) -> Json:
        return {"images": [self._listed(slot) for slot in self.bootloader.slots]} | (
            {"splitStatus": 0} if self.config.age is Age.LEGACY else {}
        )

    def _listed(self, slot: Slot) -> Json:
        flags = {
            name: getattr(slot, name)
            for name in ("bootable", "pending", "confirmed", "active", "permanent")
        }
        named = {"slot": slot.slot, "version": slot.version, "hash": slot.hash}
        if self.config.age is Age.LEGACY:
            return named | flags
        return {"image": 0} | named | {name: True for name in flags if flags[name]}

    async def _set_state(self, body: Json) -> Json:
        wanted, confirm = body.get("hash"), body.get("confirm", False)
        if not isinstance(confirm, bool) or not isinstance(wanted, bytes | None):
            raise _RefusedError(Rc.INVALID)
        slot = self._slot_to_set(wanted, confirm)
        swap = self.bootloader.swap
        if slot == 0 and not confirm:
            raise _RefusedError(ImageRc.TEST_OF_ACTIVE)
        if slot == 0 and swap in (Swap.TEST, Swap.PERMANENT):
            raise _RefusedError(ImageRc.ALREADY_PENDING)
        if slot == 1 and swap is Swap.REVERT:
            raise _RefusedError(ImageRc.ALREADY_PENDING)
        if slot == 0:
            self.bootloader.confirm()
        else:
            self.bootloader.mark_pending(permanent=confirm)
        return await self._state(body)

    def _slot_to_set(self, wanted: bytes | None, confirm: bool) -> int:
        if not wanted and confirm:
            return 0
        for slot in self.bootloader.slots:
            if wanted and slot.hash == wanted:
                return slot.slot
        raise _RefusedError(ImageRc.INVALID_HASH)

    async def _erase(self, body: Json) -> Json:
        if body.get("slot", 1) != 1:
            raise _RefusedError(ImageRc.INVALID_SLOT)
        if self.bootloader.image(1) and self._is_slot_1_in_use():
            raise _RefusedError(ImageRc.NO_FREE_SLOT, Rc.BAD_STATE)
        await self._erase_slowly()
        self._upload = _Upload()
        return self._success({})

    def _is_slot_1_in_use(self) -> bool:
        swap = self.bootloader.swap
        if self.config.erases_pending:
            return swap is Swap.REVERT
        return swap is not Swap.NONE

    async def _erase_slowly(self) -> None:
        loop = asyncio.get_running_loop()
        begin, length = loop.time(), self.config.erase_seconds
        sectors = self.bootloader.slot_size // SECTOR
        for number, _ in enumerate(self.bootloader.erase_steps(), start=1):
            due = begin + length * number / sectors
            if due > loop.time():
                await asyncio.sleep(due - loop.time())

    async def _take_chunk(self, request: UpdateRequest) -> Json:
        body = request.body
        offset, data = body.get("off"), body.get("data", b"")
        if not _is_count(offset):
            raise _RefusedError(ImageRc.INVALID_OFFSET)
        if not isinstance(data, bytes):
            raise _RefusedError(Rc.INVALID)
        if len(data) > CHUNK and self.config.age is Age.MODERN:
            raise _RefusedError(Rc.INVALID)
        if offset == 0:
            if self._resumes(body, data):
                return self._success({"off": self._upload.offset})
            await self._begin_upload(body, data)
        elif offset != self._upload.offset:
            return self._success({"off": self._upload.offset})
        if self.config.chunk_seconds:
            await asyncio.sleep(self.config.chunk_seconds)
        if len(data) > CHUNK or request.size > self.config.datagram_size:
            data = bytes(len(data))
        await self._write(data)
        return self._success({"off": self._end_of_chunk()})

    def _resumes(self, body: Json, data: bytes) -> bool:
        size, sha = body.get("len"), body.get("sha", b"")
        if len(data) < HEADER_SIZE:
            raise _RefusedError(ImageRc.INVALID_HEADER)
        if not _is_count(size):
            raise _RefusedError(ImageRc.INVALID_LENGTH)
        if int.from_bytes(data[:4], "little") != MAGIC:
            raise _RefusedError(ImageRc.INVALID_MAGIC)
        if not isinstance(sha, bytes) or len(sha) > _SHA_SIZE:
            raise _RefusedError(ImageRc.INVALID_HASH)
        return bool(sha) and sha == self._upload.sha

    async def _begin_upload(self, body: Json, data: bytes) -> None:
        loader = self.bootloader
        full = self.config.full_slot_refuses and loader.image(1) is not None
        if full or loader.swap is not Swap.NONE:
            raise _RefusedError(ImageRc.NO_FREE_SLOT, self._no_slot_rc())
        if body.get("upgrade") is True:
            self._refuse_downgrade(data)
        if body["len"] > loader.capacity:
            raise _RefusedError(ImageRc.TOO_LARGE)
        sha = body.get("sha", b"")
        self._upload = _Upload(active=True, size=body["len"], sha=sha)
        if not loader.is_blank(1):
            await self._erase_slowly()

    def _no_slot_rc(self) -> int:
        if self.config.no_slot_rc is not None:
            return self.config.no_slot_rc
        return Rc.NO_ENTRY if self.config.age is Age.LEGACY else Rc.BAD_STATE

    def _refuse_downgrade(self, data: bytes) -> None:
        running = self.bootloader.image(0)
        new = Version(*struct.unpack_from("<BBHI", data, 20))
        if isinstance(running, Image) and new[:3] <= running.version[:3]:
            raise _RefusedError(ImageRc.RUNNING_IS_NEWER)

    async def _write(self, data: bytes) -> None:
        upload = self._upload
        if not upload.active:
            raise _RefusedError(ImageRc.FLASH_WRITE_FAILED)
        end = upload.offset + len(data)
        if end > upload.size:
            raise _RefusedError(ImageRc.DATA_OVERRUN)
        if end < upload.size:
            data = data[: len(data) - len(data) % _WRITE_ALIGNMENT]
        cut = self.cut_power_at_byte
        if cut is not None and cut <= upload.offset + len(data):
            self.cut_power_at_byte = None
            self.bootloader.write(upload.offset, data[: cut - upload.offset])
            await self._lose_power()
        self.bootloader.write(upload.offset, data)
        upload.offset += len(data)

    def _end_of_chunk(self) -> int:
        upload = self._upload
        if upload.offset == upload.size:
            # A repeated last chunk is answered with the size by legacy servers, with
            # 0 by modern ones, which have forgotten the upload.
            legacy = self.config.age is Age.LEGACY
            self._upload = _Upload(offset=upload.size) if legacy else _Upload()
        return upload.offset


def _factory(image: bytes | None, version: str) -> Bootloader:
    try:
        key = public_key()
        return Bootloader(image or signed_image(version), key=key)
    except ImportError:
        return Bootloader(image or unsigned_image(version))


def _held_port(host: str, port: int) -> socket.socket:
    """Keep a port so that nobody else gets it, and receive nothing there."""
    held = socket.socket(_family(host), socket.SOCK_DGRAM)
    try:
        held.bind((host, port))
        # Connected to itself, it is not asked for datagrams of others: without a
        # second socket the kernel refuses them with ICMP.
        held.connect(held.getsockname())
        held.setblocking(False)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        held.close()
        raise
    return held


def _receiving(host: str, port: int) -> socket.socket:
    receiving = socket.socket(_family(host), socket.SOCK_DGRAM)
    receiving.setblocking(False)
    receiving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    receiving.bind((host, port))
    return receiving


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _decoded(data: bytes, length: int, age: Age) -> dict[str, Any]:
    if length > len(data):
        raise _RefusedError(Rc.CORRUPT if age is Age.MODERN else Rc.INVALID)
    try:
        body = cbor2.loads(data[:length]) if length else {}
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError) as err:
        raise _RefusedError(Rc.INVALID) from err
    if not isinstance(body, dict):
        raise _RefusedError(Rc.INVALID)
    return body


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
