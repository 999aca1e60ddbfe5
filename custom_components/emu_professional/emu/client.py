"""Reading the meter over HTTP.

Chapter "Access via HTTP". The meter is a small embedded server: it gets one
request at a time, and no connection is kept when it has answered, so that its
owner's browser finds it free.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
import json
import os
from typing import Any, Final, NamedTuple

import aiohttp
from yarl import URL

from .errors import (
    MeterError,
    MeterForbidden,
    MeterUnauthorized,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    MeterUnreadable,
    MeterUnsupported,
    MeterWithoutLogbook,
    MeterWithoutLogger,
)
from .fingerprint import Fingerprint
from .logs import (
    CUT_OFF,
    DAMAGED_INDEX,
    NOT_ASKED_FOR,
    LogbookReader,
    LogbookRecord,
    Page,
    Record,
    RecordReader,
    Refusal,
    TableReader,
    Timing,
)
from .pace import Pace
from .page_order import in_order
from .readings import Readings, Status, parse_readings, parse_status
from .request_queue import Priority, RequestQueue

TIME_LIMIT: Final = 4.0
"""Seconds for one document, a retry included: less than the poll interval."""

FIRST_BYTE_LIMIT: Final = 45.0
"""Seconds until a page of data logger or logbook begins: real meters need 10 to 20."""

STALL_LIMIT: Final = 15.0
"""Seconds without a byte after which a page that has begun is given up."""

PAGE_LIMIT: Final = 600.0
"""Seconds for a page whose bytes keep coming."""

LIVE_WAIT: Final = 20.0
"""Seconds after which a page ends early if a live poll waits for it.

Nothing is lost: reading goes on after the last record that came.
"""

# A connection that drops before the answer begins is tried again by aiohttp.
_NOT_RETRIED_BY_AIOHTTP: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientPayloadError,
)
_LARGEST_DOCUMENT: Final = 64 * 1024
_MOST_RECORDS: Final = 3000
"""In one answer ("Read-Out Data Logger"); the logbook has fewer."""
_LINE_SIZE: Final = 512
"""Bytes of the longest line that can be a record."""
_SURROUNDINGS: Final = 4096
"""Bytes of a header line and of what else there may be."""
_BLANK_LINES: Final = 16
# Long enough for another client's request to end, if it held the only connection.
_PAUSE: Final = 0.25
_LOGGER_PATH: Final = "/data/"
_LOGBOOK_PATH: Final = "/logbook/"
_UNSUPPORTED: Final = {
    _LOGGER_PATH: MeterWithoutLogger,
    _LOGBOOK_PATH: MeterWithoutLogbook,
}
_USER: Final = "admin"
_HEADERS: Final = {"Connection": "close", "Accept-Encoding": "identity"}
_STATUS_PATH: Final = "/status.json"


def url_of(host: str, port: int) -> URL:
    """Return the address of a meter's web page."""
    return URL.build(scheme="http", host=host, port=port)


class MeterClient:
    """One meter.

    It gets one request at a time: live ones first, then actions, then everything
    else. Every request raises MeterUnreachable, MeterUnauthorized, MeterUnsupported,
    MeterUnexpectedAnswer or MeterBusy and nothing else.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        host: str,
        port: int = 80,
        password: str | None = None,
    ) -> None:
        """Name a meter by host (IP address or name), port and admin's password."""
        self._session = session
        self._url = url_of(host, port)
        self._credentials = (
            {"Authorization": aiohttp.encode_basic_auth(_USER, password)}
            if password
            else {}
        )
        self._readings: Readings | None = None
        self.pace = Pace()
        """What pages of data logger and logbook cost, as far as it was learned."""
        self._queue = RequestQueue()
        self.waited = 0.0
        """Seconds for which all documents so far have waited for our own requests."""

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
        """Return how status.json is answered without the password.

        And what it says: None where that can't be read. Raises MeterUnreachable or
        MeterUnexpectedAnswer if there is no HTTP answer.
        """
        chunks: list[bytes] = []
        async with self._queue.turn(Priority.LIVE):
            try:
                async with (
                    asyncio.timeout(TIME_LIMIT),
                    self._exchange(_STATUS_PATH, {}) as response,
                ):
                    fingerprint = Fingerprint.of(response.status, response.headers)
                    await _collect(response.content, chunks, _LARGEST_DOCUMENT)
            except TimeoutError as err:
                raise MeterUnreachable(_too_slow()) from err
        try:
            _check(fingerprint.status, _STATUS_PATH)
            return fingerprint, parse_status(_object(_STATUS_PATH, b"".join(chunks)))
        except MeterError:
            return fingerprint, None

    async def newest_records(
        self, count: int, priority: Priority = Priority.BACKGROUND
    ) -> Page:
        """Return the newest records of the data logger, 1 to 3000 of them.

        Chapter "Read-Out Data Logger". Raises MeterWithoutLogger if the meter
        has none, or no data logger.
        """
        return await self._page(_LOGGER_PATH, *_newest(count), RecordReader(), priority)

    async def records(
        self, first: int, last: int, priority: Priority = Priority.BACKGROUND
    ) -> Page:
        """Return the records with these indices, both included, at most 3000.

        The page is empty where the logger has none of them any more. Raises
        MeterWithoutLogger if the meter has no data logger.
        """
        return await self._page(
            _LOGGER_PATH, *_range(first, last), RecordReader(), priority
        )

    async def newest_logbook_records(
        self, count: int, priority: Priority = Priority.BACKGROUND
    ) -> Page[LogbookRecord]:
        """Return the newest records of the logbook, 1 to 2048 of them.

        Chapter "Read-Out Logbook", whose examples print the data logger's
        addresses. The page is empty where nothing was logged yet. Raises
        MeterWithoutLogbook if the meter has none, or no logbook.
        """
        return await self._page(
            _LOGBOOK_PATH, *_newest(count), LogbookReader(), priority
        )

    async def logbook_records(
        self, first: int, last: int, priority: Priority = Priority.BACKGROUND
    ) -> Page[LogbookRecord]:
        """Return the logbook's records with these indices, both included.

        At most 2048; the page is empty where the logbook has none of them any
        more. Raises MeterWithoutLogbook if the meter has no logbook.
        """
        return await self._page(
            _LOGBOOK_PATH, *_range(first, last), LogbookReader(), priority
        )

    async def _document(self, path: str) -> Mapping[str, Any]:
        return _object(path, await self._get(path))

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
                await _collect(response.content, chunks, _LARGEST_DOCUMENT)
        except MeterUnreachable as err:
            # A last chunk that is missing, or a length that is too great, takes
            # nothing away from a document that has come to its end.
            if isinstance(err.__cause__, aiohttp.ClientPayloadError):
                with suppress(MeterUnexpectedAnswer):
                    _object(path, b"".join(chunks))
                    return b"".join(chunks)
            raise
        return b"".join(chunks)

    async def _page[R: Record | LogbookRecord](
        self,
        path: str,
        query: Mapping[str, str],
        wanted: _Wanted,
        reader: TableReader[R],
        priority: Priority,
    ) -> Page[R]:
        answer = _Answer(min(wanted.most, _MOST_RECORDS))
        lost: Exception | None = None
        async with self._queue.turn(priority):
            try:
                await self._receive(path, query, answer)
            except (TimeoutError, MeterUnreachable) as err:
                lost = err
        loop = asyncio.get_running_loop()
        page = await loop.run_in_executor(None, _parse, reader, answer, wanted, lost)
        # What came before the connection was lost is not asked for again.
        if lost and not page.records:
            raise MeterUnreachable(f"{path} does not answer") from lost
        if page.refusals and not page.records:
            raise MeterUnreadable(path, page)
        return page

    async def _receive(
        self, path: str, query: Mapping[str, str], answer: _Answer
    ) -> None:
        """Collect an answer; it ends early if a live poll waits for too long."""
        time = asyncio.get_running_loop().time
        begin = time()
        async with (
            asyncio.timeout_at(begin + FIRST_BYTE_LIMIT) as limit,
            self._answer(path, query) as response,
        ):
            answer.has_length = _has_length(response)
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
            _check(response.status, path)
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
                # The password must not follow to another host.
                allow_redirects=False,
            ) as response:
                yield response
        except aiohttp.ClientResponseError as err:
            raise MeterUnexpectedAnswer(f"{path} is no HTTP answer") from err
        # A host name that can't exist is a ValueError of the resolver.
        except (aiohttp.ClientError, OSError, ValueError) as err:
            raise MeterUnreachable(_reason(err)) from err
        # What aiohttp has to say of a session that was closed meanwhile.
        except (AssertionError, RuntimeError) as err:
            if not self._session.closed:
                raise
            raise MeterUnreachable("the session is closed") from err


def _object(path: str, body: bytes) -> Mapping[str, Any]:
    """Return the JSON object in a body, read as leniently as a browser reads it.

    One odd byte in a decorative text must not make a whole meter unreadable: raw
    control characters, Latin-1, a byte order mark and zeros at the end are no error.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode("latin-1")
    try:
        document = json.loads(text.rstrip("\0 \t\r\n"), strict=False)
    except (ValueError, RecursionError) as err:
        raise MeterUnexpectedAnswer(f"{path} is no JSON") from err
    if not isinstance(document, dict):
        raise MeterUnexpectedAnswer(f"{path} is no JSON object")
    return document


def _too_slow() -> str:
    return f"no answer within {TIME_LIMIT:.0f} s"


def _newest(count: int) -> tuple[Mapping[str, str], _Wanted]:
    return {"last": str(count)}, _Wanted(count)


def _range(first: int, last: int) -> tuple[Mapping[str, str], _Wanted]:
    indices = range(first, last + 1)
    return {"from": str(first), "to": str(last)}, _Wanted(len(indices), indices)


def _check(status: int, path: str) -> None:
    if status == 200:
        return
    if status == 401:
        raise MeterUnauthorized("the password is missing or wrong")
    if status == 403:
        raise MeterForbidden(f"HTTP {status} for {path}")
    if status == 404 or 300 <= status < 400:
        error = _UNSUPPORTED.get(path, MeterUnsupported)
        raise error(f"there is no {path} (HTTP {status})")
    raise MeterUnexpectedAnswer(f"HTTP {status} for {path}")


class _Answer:
    """The bytes of a page, no more than what was asked for can have."""

    def __init__(self, most: int) -> None:
        """Expect that many records."""
        self.chunks: list[bytes] = []
        self.has_length = False
        self.is_whole = False
        self.first = 0.0
        """Seconds until the first byte."""
        self.seconds = 0.0
        """Seconds until the last one."""
        self._largest = most * _LINE_SIZE + _SURROUNDINGS
        # Each line may be followed by an empty one.
        self._most_lines = 2 * most + _BLANK_LINES
        self._size = 0
        self._lines = 0

    @property
    def has_records(self) -> bool:
        """Return whether a record came for sure: a header is one line."""
        return self._lines > 1

    def add(self, chunk: bytes, seconds: float) -> None:
        """Take more bytes. Raises MeterUnexpectedAnswer if that is too much."""
        self.chunks.append(chunk)
        self.first = self.first or seconds
        self.seconds = seconds
        self._size += len(chunk)
        self._lines += max(chunk.count(b"\n"), chunk.count(b"\r"))
        if self._size > self._largest or self._lines > self._most_lines:
            raise MeterUnexpectedAnswer("more than was asked for")


class _Wanted(NamedTuple):
    """What a page was asked for."""

    most: int
    """Records"""
    indices: range | None = None
    """None: the newest ones."""


async def _collect(
    content: aiohttp.StreamReader, chunks: list[bytes], largest: int
) -> None:
    size = 0
    async for chunk in content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > largest:
            raise MeterUnexpectedAnswer(f"more than {largest} bytes")


def _parse[R: Record | LogbookRecord](
    reader: TableReader[R],
    answer: _Answer,
    wanted: _Wanted,
    lost: Exception | None,
) -> Page[R]:
    records = [record for chunk in answer.chunks for record in reader.feed(chunk)]
    complete = answer.is_whole and answer.has_length
    records += reader.close(complete=complete)
    refusals = reader.refusals
    whole = answer.is_whole
    if refusals and refusals[-1].reason == CUT_OFF:
        # That line is asked for again.
        refusals.pop()
        whole = False
    if (indices := wanted.indices) is not None:
        strange = [record for record in records if record.index not in indices]
        records = [record for record in records if record.index in indices]
        # A meter that has none of them may give the nearest ones: that is none.
        if records:
            refusals += [Refusal(f"{r.index}", NOT_ASKED_FOR) for r in strange]
    records, damaged = in_order(records)
    refusals += [Refusal(f"{record.index}", DAMAGED_INDEX) for record in damaged]
    timing = Timing(answer.first or answer.seconds, answer.seconds)
    return Page(tuple(records), tuple(refusals), whole, answer.has_length, timing)


def _has_length(response: aiohttp.ClientResponse) -> bool:
    """Whether an answer that was cut short would have been noticed."""
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    return chunked or response.content_length is not None


def _reason(err: Exception) -> str:
    match err:
        case aiohttp.ClientConnectorDNSError():
            return "its name is unknown"
        case aiohttp.ClientConnectorError():
            return os.strerror(err.os_error.errno or 0).lower()
        case aiohttp.ClientPayloadError():
            return "the connection was lost in the middle of an answer"
        case aiohttp.ClientOSError() | aiohttp.ServerDisconnectedError():
            return "the connection was lost before an answer"
        case _:
            return str(err) or type(err).__name__
