"""Faults of tables: lines of data logger and logbook."""

import asyncio
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
import random
from typing import override

from aiohttp import web

from .fault import TABLES, Exchange, Fault

type Indices = int | Container[int] | None
"""Records by their index; None is the one in the middle of an answer."""

EVERY_RECORD = range(2**63)


@dataclass(frozen=True, slots=True)
class CutLine(Fault):
    """The connection ends in the middle of the line of a record (the first of many)."""

    records: Indices = None
    with_reset: bool = False
    """By TCP RST; what was sent before may then be lost as well."""

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        right = await exchange.right()
        cut = _middle_of_line(right, self.records)
        if cut is None:
            return right
        body, response = await exchange.begun(right)
        await response.write(body[:cut])
        if self.with_reset:
            # What was written must leave before the connection does.
            await asyncio.sleep(0.01)
            exchange.reset()
        else:
            exchange.close()
        return await exchange.never()


@dataclass(frozen=True, slots=True)
class SilentCut(Fault):
    """An answer without a length ends in an orderly way, as if it was whole.

    Only its first lines come, besides a header; nothing says that there were more.
    """

    lines: int
    half_a_line: bool = False
    """Whether a part of the next line comes as well."""

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        right = await exchange.right()
        lines = _body(right).splitlines(keepends=True)
        end = next((number for number, _ in _indices(lines)), 0) + self.lines
        body = b"".join(lines[:end])
        if self.half_a_line:
            body += b"".join(lines[end : end + 1])[:40]
        # The library has no answer that ends with its connection.
        head = f"HTTP/1.1 {right.status} OK\r\nContent-Type: text/csv\r\n"
        transport = exchange.transport
        transport.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        transport.close()
        return await exchange.never()


class _ChangedTable(Fault):
    """The right table with other lines; answers without the records pass."""

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        response = await exchange.right()
        if exchange.request.path in TABLES and response.status == 200:
            response.body = self._changed(response)
        return response

    def _changed(self, response: web.Response) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class TruncatedTable(_ChangedTable):
    """A complete HTTP answer, cut off in the middle of the line of a record.

    `instead` comes instead of the rest, for instance an error page.
    """

    records: Indices = None
    instead: bytes = b""

    @override
    def _changed(self, response: web.Response) -> bytes:
        if (cut := _middle_of_line(response, self.records)) is None:
            return _body(response)
        return _body(response)[:cut] + self.instead


class _ChangedLines(_ChangedTable):
    """The right table with other lines of some records."""

    records: Indices

    @override
    def _changed(self, response: web.Response) -> bytes:
        lines = _body(response).splitlines(keepends=True)
        for number in _line_numbers(lines, self.records):
            text = lines[number].rstrip(b"\r\n")
            lines[number] = self._line(text) + lines[number][len(text) :]
        return b"".join(lines)

    def _line(self, line: bytes) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class BrokenLine(_ChangedLines):
    """Lines with more or fewer than 28 columns."""

    columns: int = 27
    records: Indices = None

    @override
    def _line(self, line: bytes) -> bytes:
        separator = _separator(line)
        fields = line.split(separator)
        more = [b"0"] * (self.columns - len(fields))
        return separator.join([*fields, *more][: self.columns])


@dataclass(frozen=True, slots=True)
class ReplacedField(_ChangedLines):
    """Lines with another text in a column, counted from 1 on like in the manual."""

    column: int
    text: str
    records: Indices = None

    @override
    def _line(self, line: bytes) -> bytes:
        separator = _separator(line)
        fields = line.split(separator)
        fields[self.column - 1] = self.text.encode()
        return separator.join(fields)


def foreign_serial_number(
    serial_number: str = "22359999", records: Indices = None
) -> ReplacedField:
    """Return a fault: records with the serial number of another meter."""
    return ReplacedField(4, serial_number, records)


def negative_register(
    column: int = 5, text: str = "-1", records: Indices = None
) -> ReplacedField:
    """Return a fault: a register (columns 5 to 12) below 0."""
    return ReplacedField(column, text, records)


@dataclass(frozen=True, slots=True)
class ShiftedStamp(_ChangedLines):
    """Lines with another stamp, by default ten years in the future."""

    seconds: int = 10 * 365 * 86_400
    records: Indices = None

    @override
    def _line(self, line: bytes) -> bytes:
        separator = _separator(line)
        stamp, _, rest = line.partition(separator)
        moment = datetime.fromisoformat(stamp.decode("utf-8-sig"))
        moment = moment.astimezone(UTC) + timedelta(seconds=self.seconds)
        mark = stamp[: stamp.find(b"2")]
        text = moment.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
        return mark + text + separator + rest


@dataclass(frozen=True, slots=True)
class GarbageBytes(_ChangedLines):
    """Bytes that are no text in the middle of lines, always the same ones."""

    size: int = 40
    records: Indices = None

    @override
    def _line(self, line: bytes) -> bytes:
        middle = len(line) // 2
        noise = b"\xff\xfe" + random.Random(self.size).randbytes(self.size - 2)
        return line[:middle] + noise + line[middle:]


@dataclass(frozen=True, slots=True)
class MissingLine(_ChangedTable):
    """The table without the lines of some records."""

    records: Indices = None

    @override
    def _changed(self, response: web.Response) -> bytes:
        lines = _body(response).splitlines(keepends=True)
        missing = set(_line_numbers(lines, self.records))
        return b"".join(
            line for number, line in enumerate(lines) if number not in missing
        )


def _body(response: web.Response) -> bytes:
    return response.body if isinstance(response.body, bytes) else b""


def _separator(line: bytes) -> bytes:
    return b";" if b";" in line else b","


def _line_numbers(lines: list[bytes], records: Indices) -> list[int]:
    indices = dict(_indices(lines))
    if records is None:
        return list(indices)[len(indices) // 2 :][:1]
    if isinstance(records, int):
        records = (records,)
    return [number for number, index in indices.items() if index in records]


def _indices(lines: list[bytes]) -> Iterator[tuple[int, int]]:
    for number, line in enumerate(lines):
        # Column 2 of the data logger, 3 of the logbook; a header line has names there.
        fields = line.split(_separator(line), 3)[1:3]
        index = next(filter(bytes.isdigit, fields), None)
        if index is not None:
            yield number, int(index)


def _middle_of_line(response: web.Response, records: Indices) -> int | None:
    lines = _body(response).splitlines(keepends=True)
    for number in _line_numbers(lines, records):
        return sum(map(len, lines[:number])) + len(lines[number]) // 2
    return None
