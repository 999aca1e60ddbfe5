"""The meter's web server over real HTTP (chapter "Access via HTTP")."""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast, override

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from .documents import Document, rendered
from .faults import CHALLENGE, DATA, LOGBOOK, ConnectionReset, Faults, reset
from .meter import USER, Meter
from .serving import Serving
from .tables import LOGBOOK_COLUMNS, NotANumber, TableConfig, rendered as rendered_table

HOST = "127.0.0.1"


@dataclass(slots=True)
class RequestRecord:
    """A received request."""

    method: str
    path: str
    """With query."""
    connection: int
    """Number of the TCP connection, from 1 on."""
    started: float
    """Seconds of the event loop's monotonic clock."""
    finished: float | None = None
    """None while it is under way."""
    status: int | None = None
    """None while it is under way and when no answer was given."""


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from a request to the data logger until the first byte of its answer.

    However little is asked for. Owners of real meters had to wait for more than 10 s
    for a single record.
    """

    span: float = 0.0
    """Of `from` and `to`."""
    newest: float = 0.0
    """Of all other requests: `last`, or nothing at all."""

    def of(self, query: Mapping[str, str]) -> float:
        """Return the seconds of a request."""
        is_span = "last" not in query and not query.keys().isdisjoint({"from", "to"})
        return self.span if is_span else self.newest


IMMEDIATE = Latency()


class MeterServer(Serving):
    """Serves one meter on the loopback interface.

    With a `latency` it works for one request at a time, and others wait. While the meter has no power or its module is away, its connections are reset.
    """

    def __init__(
        self,
        meter: Meter,
        *,
        port: int = 0,
        connections: int | None = None,
        latency: Latency = IMMEDIATE,
    ) -> None:
        """Prepare to serve on a port (0: any free one, kept over restarts).

        `connections` limits the TCP connections open at a time; further ones are
        reset at once. It may be changed while serving.
        """
        self.meter = meter
        self.host = HOST
        self.port = port
        self.connections = connections
        self.latency = latency
        """Of the data logger; replace it to change it."""
        self.faults = Faults()
        self.requests: list[RequestRecord] = []
        """Every request since the server was made; clear it at will."""
        self.most_connections = 0
        """Most TCP connections seen at a time, refused ones included."""
        self.refused_connections = 0
        self._away = False
        self._working = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._numbers: dict[asyncio.BaseTransport, int] = {}
        self._last_number = 0
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Address of the web page, ending with a slash."""
        return f"http://{self.host}:{self.port}/"

    @property
    def open_connections(self) -> int:
        """Number of TCP connections open now."""
        return len(self._numbers)

    @override
    async def start(self) -> None:
        """Serve; after a `stop()` on the same port as before."""
        if self._server is not None:
            raise RuntimeError("The server is running")
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=0.0,
        )
        await runner.setup()
        http = _http_server(runner)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(self, http()),
            self.host,
            self.port,
            start_serving=False,
        )
        await self._server.start_serving()
        self._runner = runner
        self.port = self._server.sockets[0].getsockname()[1]

    @override
    async def stop(self) -> None:
        """Cut every connection and refuse new ones; nothing of a request is left."""
        server, runner = self._server, self._runner
        if server is None or runner is None:
            return
        self._server = self._runner = None
        server.close()
        for transport in list(self._numbers):
            reset(transport)
        while self._numbers or _http_server(runner).connections:
            await asyncio.sleep(0)
        await runner.cleanup()

    async def received(self, count: int) -> None:
        """Wait until `requests` has at least `count` entries, answered or not."""
        while len(self.requests) < count:
            self._arrived.clear()
            await self._arrived.wait()

    @property
    def away(self) -> bool:
        """Whether the module does not serve, because it restarts for instance.

        Setting it resets the open connections.
        """
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        if away:
            for transport in list(self._numbers):
                reset(transport)

    def opened(self, transport: asyncio.BaseTransport) -> bool:
        """Count a new connection in; return whether it may stay."""
        parallel = len(self._numbers) + 1
        self.most_connections = max(self.most_connections, parallel)
        limited = self.connections is not None and parallel > self.connections
        if (
            self._server is None
            or limited
            or self._away
            or not self.meter.has_power()
            or (parallel > 1 and self.faults.refuses_second_connection())
        ):
            self.refused_connections += 1
            return False
        self._last_number += 1
        self._numbers[transport] = self._last_number
        return True

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """Count a connection out."""
        del self._numbers[transport]

    def _application(self) -> web.Application:
        application = web.Application(
            middlewares=[
                self._powered,
                self._logged,
                self._disturbed,
                self._protected,
                self._delayed,
            ]
        )
        application.router.add_get("/", self._page)
        application.router.add_get("/meterdata.json", self._meter_data)
        application.router.add_get("/status.json", self._status)
        application.router.add_get(DATA, self._data)
        application.router.add_get(LOGBOOK, self._logbook)
        return application

    @web.middleware
    async def _powered(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        async def respond() -> web.Response:
            return cast("web.Response", await handler(request))

        if self.meter.has_power():
            return await respond()
        return await ConnectionReset().answer(request, respond)

    @web.middleware
    async def _logged(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        loop = asyncio.get_running_loop()
        number = self._numbers[_transport(request)]
        entry = RequestRecord(request.method, request.path_qs, number, loop.time())
        self.requests.append(entry)
        self._arrived.set()
        try:
            response = await handler(request)
            entry.status = response.status
        except web.HTTPException as err:
            entry.status = err.status
            raise
        finally:
            entry.finished = loop.time()
        return response

    @web.middleware
    async def _disturbed(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        async def respond() -> web.Response:
            return cast("web.Response", await handler(request))

        fault = self.faults.take(request.path)
        return await (fault.answer(request, respond) if fault else respond())

    @web.middleware
    async def _delayed(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if self.latency == IMMEDIATE:
            return await handler(request)
        async with self._working:
            if request.path == DATA:
                await asyncio.sleep(self.latency.of(request.query))
            return await handler(request)

    @web.middleware
    async def _protected(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        if not _is_welcome(request, self.meter.password):
            raise web.HTTPUnauthorized(headers={hdrs.WWW_AUTHENTICATE: CHALLENGE})
        return await handler(request)

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=self.meter.page(), content_type="text/html")

    async def _meter_data(self, request: web.Request) -> web.Response:
        return _json(self.meter.meter_data())

    async def _status(self, request: web.Request) -> web.Response:
        return _json(self.meter.status())

    async def _data(self, request: web.Request) -> web.Response:
        meter = self.meter
        if meter.config.logger is None:
            return web.Response(status=meter.tables.missing_status)
        return _table(meter.data, request, meter.tables.logger_columns, meter.tables)

    async def _logbook(self, request: web.Request) -> web.Response:
        meter = self.meter
        if not meter.has_logbook:
            return web.Response(status=meter.tables.missing_status)
        return _table(meter.logbook_data, request, LOGBOOK_COLUMNS, meter.tables)


class _Connection(asyncio.Protocol):
    """Counts a TCP connection, and passes its data to aiohttp."""

    def __init__(self, server: MeterServer, http: asyncio.Protocol) -> None:
        self._server = server
        self._http = http
        self._transport: asyncio.BaseTransport | None = None

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self._server.opened(transport):
            reset(transport)
            return
        self._transport = transport
        self._http.connection_made(transport)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._server.closed(self._transport)
        self._http.connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._http.data_received(data)

    @override
    def eof_received(self) -> bool | None:
        return self._http.eof_received()

    @override
    def pause_writing(self) -> None:
        self._http.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._http.resume_writing()


def _is_welcome(request: web.Request, password: str | None) -> bool:
    if password is None:
        return True
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    expected = b64encode(f"{USER}:{password}".encode()).decode()
    return scheme.lower() == "basic" and token.strip() == expected


def _json(document: Document) -> web.Response:
    return web.Response(text=rendered(document), content_type="application/json")


def _table(
    answer: Callable[[Mapping[str, str]], bytes | None],
    request: web.Request,
    names: Sequence[str],
    config: TableConfig,
) -> web.Response:
    try:
        table = answer(request.query)
    except NotANumber as err:
        return web.Response(status=config.garbage_status or 400, text=str(err))
    status = config.empty_status if table is None else 200
    if table is None and status == 200:
        table = rendered_table(names, [[] for _ in names], config)
    response = web.Response(
        status=status, body=table or b"", content_type=config.content_type
    )
    if config.chunked:
        response.enable_chunked_encoding()
    return response


def _transport(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError
    return request.transport


def _http_server(runner: web.AppRunner) -> web.Server:
    if runner.server is None:
        raise RuntimeError("The runner is not set up")
    return runner.server
