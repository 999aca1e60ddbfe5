"""Reading the meter over HTTP.

Chapter "Access via HTTP". The meter is a small embedded server: it gets one request
at a time, and each connection is closed after the answer, so that the owner's
browser finds it free.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import aiohttp
from yarl import URL

from .answers import (
    LOGBOOK_PATH,
    LOGGER_PATH,
    PageBytes,
    Wanted,
    check_status,
    collect,
    has_length,
    lost_because,
    parse_object,
    parse_page,
)
from .errors import MeterError, MeterUnexpectedAnswer, MeterUnreachable, MeterUnreadable
from .fingerprint import Fingerprint
from .logs import LogbookRecord, Page, Record
from .pace import MOST_RECORDS, Pace
from .readings import Readings, Status, parse_readings, parse_status
from .request_queue import Priority, RequestQueue
from .table_reader import LogbookReader, RecordReader, TableReader

TIME_LIMIT: Final = 4.0
"""Seconds for one document, a retry included: less than the poll interval."""

FIRST_BYTE_LIMIT: Final = 45.0
"""Seconds until the first byte of a page: real meters need 10 to 20."""

STALL_LIMIT: Final = 15.0
"""Longest pause in a page, in seconds."""

PAGE_LIMIT: Final = 600.0
"""Seconds for a whole page."""

LIVE_WAIT: Final = 20.0
"""Seconds after which a page ends early for a waiting live poll.

Nothing is lost: reading continues after the last record received.
"""

# aiohttp itself tries again when a connection drops before the answer begins.
_NOT_RETRIED_BY_AIOHTTP: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientPayloadError,
)
# Long enough for another client's request, which may occupy the only connection.
_PAUSE: Final = 0.25
_USER: Final = "admin"
# The limits above count. aiohttp's own one would end a page after 300 s.
_NO_LIMIT: Final = aiohttp.ClientTimeout()
_HEADERS: Final = {"Connection": "close", "Accept-Encoding": "identity"}
_STATUS_PATH: Final = "/status.json"


def url_of(host: str, port: int) -> URL:
    """Return the address of a meter's web page."""
    return URL.build(scheme="http", host=host, port=port)


class MeterClient:
    """Sends requests to one meter, one at a time.

    Live polls go first, then actions, then everything else. Every request raises
    MeterUnreachable, MeterUnauthorized, MeterUnsupported, MeterUnexpectedAnswer or
    MeterBusy and nothing else.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        host: str,
        port: int = 80,
        password: str | None = None,
    ) -> None:
        """Initialize with host (IP address or name), port and the admin's password."""
        self._session = session
        self._url = url_of(host, port)
        self._credentials = (
            {"Authorization": aiohttp.encode_basic_auth(_USER, password)}
            if password
            else {}
        )
        self._readings: Readings | None = None
        self.pace = Pace()
        """Learned durations of pages."""
        self._queue = RequestQueue()
        self.waited = 0.0
        """Seconds that all documents so far have waited for our own pages."""

    @property
    def url(self) -> str:
        """Address of the meter's web page."""
        return str(self._url)

    async def readings(self) -> Readings:
        """Return the momentary values and registers (meterdata.json)."""
        document = await self._document("/meterdata.json")
        self._readings = parse_readings(document, self._readings)
        return self._readings

    async def status(self) -> Status:
        """Return the configuration (status.json)."""
        return parse_status(await self._document(_STATUS_PATH))

    async def introduction(self) -> tuple[Fingerprint, Status | None]:
        """Return fingerprint and status of an answer to a request without password.

        The status is None if the meter is protected or the answer is no status.json.
        Raises MeterUnreachable or MeterUnexpectedAnswer if there is no HTTP answer.
        """
        chunks: list[bytes] = []
        async with self._queue.turn(Priority.LIVE):
            try:
                async with (
                    asyncio.timeout(TIME_LIMIT),
                    self._exchange(_STATUS_PATH, {}) as response,
                ):
                    fingerprint = Fingerprint.of(response.status, response.headers)
                    await collect(response.content, chunks)
            except TimeoutError as err:
                raise MeterUnreachable(_too_slow()) from err
        try:
            check_status(fingerprint.status, _STATUS_PATH)
            document = parse_object(_STATUS_PATH, b"".join(chunks))
            return fingerprint, parse_status(document)
        except MeterError:
            return fingerprint, None

    async def newest_records(
        self, count: int, priority: Priority = Priority.BACKGROUND
    ) -> Page:
        """Return the newest records of the data logger, 1 to 3000 of them.

        Chapter "Read-Out Data Logger". Raises MeterWithoutLogger for an empty or
        absent data logger.
        """
        return await self._page(LOGGER_PATH, Wanted(count), RecordReader(), priority)

    async def records(
        self, first: int, last: int, priority: Priority = Priority.BACKGROUND
    ) -> Page:
        """Return the records with these indices, both included, at most 3000.

        The page is empty if the logger no longer has them. Raises MeterWithoutLogger
        for an absent data logger.
        """
        return await self._page(
            LOGGER_PATH, _span(first, last), RecordReader(), priority
        )

    async def newest_logbook_records(
        self, count: int, priority: Priority = Priority.BACKGROUND
    ) -> Page[LogbookRecord]:
        """Return the newest records of the logbook, 1 to 2048 of them.

        Chapter "Read-Out Logbook"; its table says "/logbook/", its examples print the
        address of the data logger. The page is empty before the first record. Raises
        MeterWithoutLogbook for an empty or absent logbook.
        """
        return await self._page(LOGBOOK_PATH, Wanted(count), LogbookReader(), priority)

    async def logbook_records(
        self, first: int, last: int, priority: Priority = Priority.BACKGROUND
    ) -> Page[LogbookRecord]:
        """Return the logbook's records with these indices, both included.

        At most 2048; the page is empty if the logbook no longer has them. Raises
        MeterWithoutLogbook for an absent logbook.
        """
        return await self._page(
            LOGBOOK_PATH, _span(first, last), LogbookReader(), priority
        )

    async def _document(self, path: str) -> Mapping[str, Any]:
        return parse_object(path, await self._get(path))

    async def _get(self, path: str) -> bytes:
        asked = asyncio.get_running_loop().time()
        async with self._queue.turn(Priority.LIVE):
            self.waited += asyncio.get_running_loop().time() - asked
            try:
                async with asyncio.timeout(TIME_LIMIT):
                    return await self._get_with_retry(path)
            except TimeoutError as err:
                raise MeterUnreachable(_too_slow()) from err

    async def _get_with_retry(self, path: str) -> bytes:
        try:
            return await self._get_once(path)
        except MeterUnreachable as err:
            if not isinstance(err.__cause__, _NOT_RETRIED_BY_AIOHTTP):
                raise
        await asyncio.sleep(_PAUSE)
        return await self._get_once(path)

    async def _get_once(self, path: str) -> bytes:
        chunks: list[bytes] = []
        try:
            async with self._answer(path) as response:
                await collect(response.content, chunks)
        except MeterUnreachable as err:
            # Some servers leave out the last chunk or announce too many bytes: the
            # document may be complete all the same.
            if isinstance(err.__cause__, aiohttp.ClientPayloadError):
                with suppress(MeterUnexpectedAnswer):
                    parse_object(path, b"".join(chunks))
                    return b"".join(chunks)
            raise
        return b"".join(chunks)

    async def _page[R: Record | LogbookRecord](
        self,
        path: str,
        wanted: Wanted,
        reader: TableReader[R],
        priority: Priority,
    ) -> Page[R]:
        answer = PageBytes(min(wanted.most, MOST_RECORDS))
        lost: Exception | None = None
        async with self._queue.turn(priority):
            try:
                await self._receive(path, wanted.query, answer)
            except (TimeoutError, MeterUnreachable) as err:
                lost = err
        loop = asyncio.get_running_loop()
        # Parsing 3000 records takes too long for the event loop.
        page = await loop.run_in_executor(None, parse_page, reader, answer, wanted)
        # Records received before the connection was lost are not requested again.
        if lost and not page.records:
            raise MeterUnreachable(f"{path} does not answer") from lost
        if page.rejected and not page.records:
            raise MeterUnreadable(path, page)
        return page

    async def _receive(
        self, path: str, query: Mapping[str, str], answer: PageBytes
    ) -> None:
        """Receive the bytes of a page; end early for a waiting live poll."""
        time = asyncio.get_running_loop().time
        begin = time()
        async with (
            asyncio.timeout_at(begin + FIRST_BYTE_LIMIT) as limit,
            self._answer(path, query) as response,
        ):
            answer.has_length = has_length(response)
            async for chunk in response.content.iter_any():
                answer.add(chunk, time() - begin)
                limit.reschedule(min(time() + STALL_LIMIT, begin + PAGE_LIMIT))
                if (
                    time() - begin > LIVE_WAIT
                    and answer.has_records
                    and self._queue.is_waiting(Priority.LIVE)
                ):
                    return
            answer.is_whole = True
            answer.seconds = time() - begin

    @asynccontextmanager
    async def _answer(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        async with self._exchange(path, self._credentials, query) as response:
            check_status(response.status, path)
            yield response

    @asynccontextmanager
    async def _exchange(
        self,
        path: str,
        credentials: Mapping[str, str],
        query: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.get(
                self._url.with_path(path),
                params=query,
                headers={**_HEADERS, **credentials},
                timeout=_NO_LIMIT,
                # A redirect would hand the password to another host.
                allow_redirects=False,
            ) as response:
                yield response
        except aiohttp.ClientResponseError as err:
            raise MeterUnexpectedAnswer(f"{path} is no HTTP answer") from err
        # The resolver raises ValueError for an impossible host name.
        except (aiohttp.ClientError, OSError, ValueError) as err:
            raise MeterUnreachable(lost_because(err)) from err
        # aiohttp raises them for a closed session.
        except (AssertionError, RuntimeError) as err:
            if not self._session.closed:
                raise
            raise MeterUnreachable("the session is closed") from err


def _too_slow() -> str:
    return f"no answer within {TIME_LIMIT:.0f} s"


def _span(first: int, last: int) -> Wanted:
    indices = range(first, last + 1)
    return Wanted(len(indices), indices)
