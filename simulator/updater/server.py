"""The update server of one module on the loopback interface."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn, override

from ..bootloader import Bootloader
from ..datagrams import Datagrams
from ..images import version_of
from ..meter import Meter
from ..serving import Serving
from ..web import HOST, MeterServer
from . import smp
from .commands import Commands
from .config import Closed, Moment, UpdaterConfig
from .life import Life
from .module import Module, new_flash
from .port import Address, Port
from .smp import Age, Json, Rc, RefusedError, UpdateRequest
from .upload import Uploads


@dataclass(slots=True)
class _Queue:
    """Requests in a buffer."""

    waiting: asyncio.Queue[tuple[bytes, Address]] = field(default_factory=asyncio.Queue)
    occupied: int = 0


class UpdaterServer(Serving):
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

        `host` is an IPv4 or IPv6 address of this machine. `bootloader` is a module's
        flash as an earlier server has left it.
        """
        config = config or UpdaterConfig()
        flash = bootloader or new_flash(
            config.image, web.meter.settings.software_version
        )
        self._module = Module(web, flash, config)
        self.host = host
        self.port = port
        self.requests: list[UpdateRequest] = []
        """Every request since the server was made; clear it at will."""
        self.dropped = 0
        """Datagrams without a buffer, or too long for one."""
        self.datagrams = Datagrams(config.seed)
        """The network's faults."""
        self.refusals: list[Rc] = []
        """Errors for the next requests; nothing else is done for them."""
        self.cut_power_when: Callable[[UpdateRequest, Moment], bool] | None = None
        """Cuts the power once, as soon as it returns true; the request gets no answer."""
        self.cut_power_at_byte: int | None = None
        """Cuts the power once, after so many bytes of an upload are written."""
        self.cut_power_for = 0.0
        """Seconds without power in both cases."""
        self._queue = _Queue()
        self._port: Port | None = None
        self._unwatch: Callable[[], None] | None = None
        self._uploads = Uploads(self._module, self._cut_before, self._lose_power)
        self._life = Life(
            self._module,
            lambda: self._answer_requests(self._queue),
            self._open_or_close,
            self._forget,
        )
        self._commands = Commands(self._module, self._uploads, self._life.reset_soon)

    @property
    def web(self) -> MeterServer:
        """The web server of the same module."""
        return self._module.web

    @property
    def meter(self) -> Meter:
        """The meter around it."""
        return self.web.meter

    @property
    def bootloader(self) -> Bootloader:
        """The flash of the module."""
        return self._module.bootloader

    @property
    def config(self) -> UpdaterConfig:
        """How the module behaves; may be replaced at any time."""
        return self._module.config

    @config.setter
    def config(self, config: UpdaterConfig) -> None:
        self._module.config = config

    @property
    def boots(self) -> int:
        """Times that the module has booted or failed to, the start included."""
        return self._life.boots

    @property
    def running(self) -> str | None:
        """Version of the running image; None without any."""
        running = self.bootloader.running
        return None if running is None else version_of(running)

    @property
    def listening(self) -> bool:
        """Whether requests are answered now."""
        return (
            self._life.is_serving
            and self.meter.settings.online_update
            and self.meter.has_power()
        )

    @override
    async def start(self) -> None:
        """Serve, at once; after a `stop()` on the same port as before."""
        if self._port is not None:
            raise RuntimeError("The server is running")
        self._port = Port(self.host, self.port, self._through_the_network)
        self.port = self._port.number
        self._unwatch = self.meter.watch_settings(self._open_or_close)
        await self._life.start()

    @override
    async def stop(self) -> None:
        """Stop serving; the web server continues."""
        if self._port is None or self._unwatch is None:
            return
        self._unwatch()
        await self._life.stop()
        self.datagrams.cut()
        self._port.close()
        self._port = None
        self.meter.running_version = None
        self.web.away = False

    async def power_cut(self, seconds: float = 0.0) -> None:
        """Cut the power of the module for some seconds; return when it is cut."""
        self.cut_power(seconds)

    def cut_power(self, seconds: float = 0.0) -> None:
        """Cut the power of the module for some seconds."""
        self._life.restart(seconds)

    async def received(self, count: int) -> None:
        """Wait until `requests` has at least `count` entries, answered or not."""
        await self._module.reached(lambda: len(self.requests) >= count)

    async def booted(self, count: int) -> None:
        """Wait until `boots` is at least `count`."""
        await self._module.reached(lambda: self.boots >= count)

    def _forget(self) -> None:
        """Lose everything in the module's memory."""
        self._uploads.forget()
        self._queue = _Queue()

    def _open_or_close(self) -> None:
        """Receive datagrams or refuse them, as settings and configuration want it."""
        if self._port is None:
            return
        is_available = self._life.is_serving and self.meter.settings.online_update
        if self.config.closed is Closed.REFUSED and not is_available:
            self._port.refuse()
        else:
            self._port.open()

    def _through_the_network(self, data: bytes, address: Address) -> None:
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
                self._life.restart()
            return
        self._queue.occupied += 1
        self._queue.waiting.put_nowait((data, address))

    def _send(self, answer: bytes, address: Address) -> None:
        def deliver(data: bytes) -> None:
            if self._port is not None:
                self._port.send(data, address)

        self.datagrams.answers.send(answer, deliver)

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
        if (header := smp.read_header(data)) is None:
            return None
        try:
            request = smp.read_request(header, data, self.config.age)
            content = await self._handled(request)
        except RefusedError as err:
            content = smp.failure(err, header, self.config.age)
        return smp.answer(header, content, self.config.age)

    async def _handled(self, request: UpdateRequest) -> Json:
        self.requests.append(request)
        await self._module.progressed()
        await self._maybe_lose_power(request, Moment.ARRIVED)
        if self.refusals:
            raise RefusedError(self.refusals.pop(0))
        content = await self._commands.execute(request)
        await self._maybe_lose_power(request, Moment.DONE)
        return content

    async def _maybe_lose_power(self, request: UpdateRequest, moment: Moment) -> None:
        if self.cut_power_when is not None and self.cut_power_when(request, moment):
            self.cut_power_when = None
            await self._lose_power()

    def _cut_before(self, end: int) -> int | None:
        """Return the byte of the power cut, if an upload has reached it."""
        cut = self.cut_power_at_byte
        if cut is None or cut > end:
            return None
        self.cut_power_at_byte = None
        return cut

    async def _lose_power(self) -> NoReturn:
        await self._life.lose_power(self.cut_power_for)
