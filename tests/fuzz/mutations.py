"""Makes damaged bytes and odd values of real ones; the same random numbers, the same."""

from collections.abc import Callable, Sequence
import json
from random import Random
import re
from typing import Any, Final

LARGEST: Final = 1 << 22
"""Bytes of the largest input: the page of short lines that once cost 250 MB."""
_USUAL: Final = 1 << 16

_TOKENS: Final = (
    *(b"\0", b"\n", b"\r", b"\r\n", b";", b",", b"\t", b" ", b'"', b"\\", b"%", b"-"),
    *(b"\xff", b"\xef\xbb\xbf", b"\xc3", b"\xed\xa0\x80", "４".encode(), "٣".encode()),
    *(b"<html>", b"{", b"[", b"}", b"]", b"null", b"NaN", b"1e999", b"-0", b"0x1"),
    *(b"9999-12-31T23:59:59Z", b"0000-00-00T00:00:00Z", b"1970-01-01T00:00:00Z"),
    *(b"2022-09-28T24:00:00Z", b"0001-01-01T00:00:00Z", b"2106-02-07T06:28:16Z"),
    *(b"4294967295", b"4294967296", b"9" * 10, b"9" * 12, b"9" * 13, b"1" * 5000),
    *(b"\x1b\x7f\xff\xff\xff\xff\xff\xff\xff\xff", b"\xbf\xff", b"\x9f", b"\xc2\x5f"),
    *(b"\x00" * 64, b"\xff" * 64, b"A" * 1025),
)
_NUMBER: Final = re.compile(rb"\d+")

type _Mutation = Callable[[Random, bytes, bytes], bytes]


def damaged(random: Random, samples: Sequence[bytes]) -> bytes:
    """Return a sample with some damage, random bytes, or very much of very little."""
    kind = random.random()
    if kind < 0.05:
        return random.randbytes(random.choice((0, 1, 7, 100, 1000, 10_000)))
    if kind < 0.08:
        piece = random.choice(_TOKENS) + random.choice((b"", b"\n", b"\r", b";", b"1"))
        size = random.choice((1000, _USUAL, LARGEST))
        return (piece * (size // len(piece) + 1))[:size]
    data = random.choice(samples)
    for _ in range(random.choice((0, 1, 1, 1, 2, 3, 8))):
        data = random.choice(_MUTATIONS)(random, data, random.choice(samples))
    return data[:LARGEST]


def pieces(random: Random, data: bytes) -> list[bytes]:
    """Return data in the pieces in which it may arrive."""
    size = random.choice((1, 3, 100, 1460, 65_536, 1 << 23))
    size = max(size, len(data) // 2000)
    return [data[begin : begin + size] for begin in range(0, len(data), size)]


def _span(random: Random, data: bytes) -> tuple[int, int]:
    begin = random.randrange(len(data) + 1)
    length = random.choice((1, 2, 8, 50, 500, 5000))
    return begin, min(begin + length, len(data))


def _flip(random: Random, data: bytes, _: bytes) -> bytes:
    mutant = bytearray(data or b"\0")
    mutant[random.randrange(len(mutant))] ^= 1 << random.randrange(8)
    return bytes(mutant)


def _replace(random: Random, data: bytes, _: bytes) -> bytes:
    begin, end = _span(random, data)
    token = random.choice(_TOKENS)
    return data[:begin] + token + data[random.choice((begin, begin + 1, end)) :]


def _delete(random: Random, data: bytes, _: bytes) -> bytes:
    begin, end = _span(random, data)
    return data[:begin] + data[end:]


def _cut(random: Random, data: bytes, _: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _repeat(random: Random, data: bytes, _: bytes) -> bytes:
    begin, end = _span(random, data)
    piece = data[begin:end]
    most = (LARGEST if random.random() < 0.02 else _USUAL) // (len(piece) or 1)
    times = min(random.choice((2, 3, 20, 1000, 1 << 20)), most)
    return data[:end] + piece * times + data[end:]


def _splice(random: Random, data: bytes, other: bytes) -> bytes:
    begin, end = _span(random, other)
    at = random.randrange(len(data) + 1)
    return data[:at] + other[random.choice((0, begin)) : end] + data[at:]


def _renumber(random: Random, data: bytes, _: bytes) -> bytes:
    """Put another number in the place of one."""
    found = list(_NUMBER.finditer(data[:_USUAL]))
    if not found:
        return data
    match = random.choice(found)
    number = random.choice(
        (b"0", b"-1", b"00", b"", b"1.5", b"4294967295", b"9999999999", b"9" * 40)
    )
    return data[: match.start()] + number + data[match.end() :]


def _reorder(random: Random, data: bytes, _: bytes) -> bytes:
    lines = data.split(b"\n")
    random.shuffle(lines)
    return b"\n".join(lines)


def _translate(random: Random, data: bytes, _: bytes) -> bytes:
    old, new = (random.choice((b";", b",", b"\t", b"\n", b"\r\n", b"0")) for _ in "12")
    return data.replace(old, new)


_MUTATIONS: Final[tuple[_Mutation, ...]] = (
    _flip,
    _flip,
    _replace,
    _replace,
    _delete,
    _cut,
    _repeat,
    _splice,
    _renumber,
    _renumber,
    _reorder,
    _translate,
)


def nested(depth: int) -> Any:
    """Return a list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def odd_value(random: Random) -> Any:
    """Return a value of JSON that nobody expects."""
    return random.choice(
        (
            *(None, True, False, 0, 1, -1, 0.5, 1e308, float("inf"), float("nan")),
            *(2**31, 2**32, 2**32 - 1, 2**63, 10**12, 10**30, -(10**30), 10**4000),
            *("", " ", "-", "0", "-0", "1e9", "NaN", "sNaN", "Infinity", "1E+999999"),
            *("\0", "\ud800", "4" * 10, "9" * 5000, "x" * 60_000, "../../x", "٣"),
            *("9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+14:00", "2022-09-28"),
            *([], {}, [None], [[1, 2]], {"a": None}, [2**70, -1], nested(10)),
            nested(random.choice((50, 900, 5000, 25_000))),
        )
    )


def odd_document(random: Random, document: Any) -> Any:
    """Return a document of JSON with some values replaced, somewhere in it."""
    if random.random() < 0.03:
        return odd_value(random)
    if isinstance(document, dict) and document:
        document = dict(document)
        key = random.choice(list(document))
        match random.randrange(8):
            case 0:
                del document[key]
            case 1:
                document[str(odd_value(random))[:100]] = document.pop(key)
            case 2:
                document[str(random.random())] = odd_value(random)
            case _:
                document[key] = odd_document(random, document[key])
        return document
    if isinstance(document, list) and document:
        document = list(document)
        at = random.randrange(len(document))
        match random.randrange(6):
            case 0:
                del document[at]
            case 1:
                document.insert(at, odd_value(random))
            case 2:
                document *= random.choice((2, 100))
            case _:
                document[at] = odd_document(random, document[at])
        return document
    return odd_value(random)


def as_json(document: Any) -> bytes:
    """Return a document as bytes, however deep or odd it is."""
    try:
        return json.dumps(document).encode()
    except RecursionError, ValueError:
        return b"[" * 30_000 + b"]" * 30_000
