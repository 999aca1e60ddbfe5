"""Reading HTTP answers of the meter: status, JSON document, page of a table.

Chapter "Access via HTTP". No I/O of its own but the stream of an answer.
"""

from collections.abc import Mapping
import json
import os
from typing import Any, Final, NamedTuple

import aiohttp

from .errors import (
    MeterUnauthorized,
    MeterUnexpectedAnswer,
    MeterUnsupported,
    MeterWithoutLogbook,
    MeterWithoutLogger,
)
from .logs import (
    CUT_OFF,
    DAMAGED_INDEX,
    NOT_ASKED_FOR,
    LogbookRecord,
    Page,
    Record,
    RejectedLine,
    Timing,
)
from .page_order import in_order
from .table_reader import TableReader

LOGGER_PATH: Final = "/data/"
LOGBOOK_PATH: Final = "/logbook/"

_LARGEST_DOCUMENT: Final = 64 * 1024
"""Bytes."""
_LINE_SIZE: Final = 512
"""Bytes of the longest line of a record."""
_SURROUNDINGS: Final = 4096
"""Bytes of a header line and other lines around the records."""
_BLANK_LINES: Final = 16
_UNSUPPORTED: Final = {
    LOGGER_PATH: MeterWithoutLogger,
    LOGBOOK_PATH: MeterWithoutLogbook,
}


class Wanted(NamedTuple):
    """The records requested with a page."""

    most: int
    """Largest number of records."""
    indices: range | None = None
    """None: the newest ones."""

    @property
    def query(self) -> dict[str, str]:
        """Parameters of the request."""
        if self.indices is None:
            return {"last": str(self.most)}
        return {"from": str(self.indices.start), "to": str(self.indices.stop - 1)}


class PageBytes:
    """The received bytes of a page, limited to the size of the requested records."""

    def __init__(self, most: int) -> None:
        """Expect at most `most` records."""
        self.chunks: list[bytes] = []
        self.has_length = False
        """Whether a cut answer would be noticed."""
        self.is_whole = False
        self.first = 0.0
        """Seconds until the first byte."""
        self.seconds = 0.0
        """Seconds until the last one."""
        self._largest = most * _LINE_SIZE + _SURROUNDINGS
        # Some servers send an empty line after each line.
        self._most_lines = 2 * most + _BLANK_LINES
        self._size = 0
        self._lines = 0

    @property
    def has_records(self) -> bool:
        """Return whether a record has certainly come: a header is one line."""
        return self._lines > 1

    def add(self, chunk: bytes, seconds: float) -> None:
        """Add bytes. Raises MeterUnexpectedAnswer above the limit."""
        self.chunks.append(chunk)
        self.first = self.first or seconds
        self.seconds = seconds
        self._size += len(chunk)
        self._lines += max(chunk.count(b"\n"), chunk.count(b"\r"))
        if self._size > self._largest or self._lines > self._most_lines:
            raise MeterUnexpectedAnswer("more than was asked for")


def parse_page[R: Record | LogbookRecord](
    reader: TableReader[R],
    answer: PageBytes,
    wanted: Wanted,
) -> Page[R]:
    """Return the page in an answer; unrequested records count as rejected lines."""
    records = [record for chunk in answer.chunks for record in reader.feed(chunk)]
    complete = answer.is_whole and answer.has_length
    records += reader.close(complete=complete)
    rejected = reader.rejected
    whole = answer.is_whole
    if rejected and rejected[-1].reason == CUT_OFF:
        # The cut line is requested again.
        rejected.pop()
        whole = False
    if (indices := wanted.indices) is not None:
        strange = [record for record in records if record.index not in indices]
        records = [record for record in records if record.index in indices]
        # Some meters answer with the nearest records when they have none of these:
        # this counts as an empty page, not as a damaged one.
        if records:
            rejected += [RejectedLine(f"{r.index}", NOT_ASKED_FOR) for r in strange]
    records, damaged = in_order(records)
    rejected += [RejectedLine(f"{record.index}", DAMAGED_INDEX) for record in damaged]
    timing = Timing(answer.first or answer.seconds, answer.seconds)
    return Page(tuple(records), tuple(rejected), whole, answer.has_length, timing)


async def collect(content: aiohttp.StreamReader, chunks: list[bytes]) -> None:
    """Append the bytes of a document. Raises MeterUnexpectedAnswer above 64 KiB.

    If the connection is lost, `chunks` has the bytes received before.
    """
    size = 0
    async for chunk in content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > _LARGEST_DOCUMENT:
            raise MeterUnexpectedAnswer(f"more than {_LARGEST_DOCUMENT} bytes")


def parse_object(path: str, body: bytes) -> Mapping[str, Any]:
    """Return the JSON object in a body, read as leniently as a browser reads it.

    One odd byte in a decorative text must not make a whole meter unreadable: raw
    control characters, Latin-1, a byte order mark and zeros at the end are no error.
    Raises MeterUnexpectedAnswer.
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


def check_status(status: int, path: str) -> None:
    """Raise the MeterError of an HTTP status other than 200."""
    if status == 200:
        return
    if status == 401:
        raise MeterUnauthorized("the password is missing or wrong")
    if status == 403:
        raise MeterUnauthorized(f"HTTP {status} for {path}", is_forbidden=True)
    if status == 404 or 300 <= status < 400:
        error = _UNSUPPORTED.get(path, MeterUnsupported)
        raise error(f"there is no {path} (HTTP {status})")
    raise MeterUnexpectedAnswer(f"HTTP {status} for {path}")


def has_length(response: aiohttp.ClientResponse) -> bool:
    """Return whether a cut answer would be noticed."""
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    return chunked or response.content_length is not None


def lost_because(err: Exception) -> str:
    """Return the reason of a lost connection as a short clause."""
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
