"""Faults of the JSON documents."""

from dataclasses import dataclass
import json
from typing import override

from aiohttp import web

from ..documents import Document, Literal, rendered
from .fault import Exchange, Fault


class _Changed(Fault):
    """The right answer with another body; only documents are changed."""

    @override
    async def disturb(self, exchange: Exchange) -> web.StreamResponse:
        response = await exchange.right()
        if response.content_type == "application/json":
            response.text = self._changed(response.text or "")
        return response

    def _changed(self, text: str) -> str:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class TruncatedJson(_Changed):
    """The first half of the document as a complete HTTP answer."""

    @override
    def _changed(self, text: str) -> str:
        return text[: len(text) // 2]


class MissingKeys(_Changed):
    """The document without some of its keys."""

    def __init__(self, *keys: str) -> None:
        """Leave out `keys`."""
        self._keys = keys

    @override
    def _changed(self, text: str) -> str:
        document: Document = json.loads(text)
        return rendered({k: v for k, v in document.items() if k not in self._keys})


class ReplacedValues(_Changed):
    """The document with other values: any JSON value, or a `Literal` like 1e999."""

    def __init__(self, values: Document) -> None:
        """Replace by key; other keys are added."""
        self._values = values

    @override
    def _changed(self, text: str) -> str:
        document: Document = json.loads(text)
        return rendered(document | self._values)


def null_values(*keys: str) -> ReplacedValues:
    """Return a fault: null instead of the values of `keys`."""
    return ReplacedValues(dict.fromkeys(keys))


def dash_values(*keys: str) -> ReplacedValues:
    """Return a fault: "-" instead of the values of `keys`."""
    return ReplacedValues(dict.fromkeys(keys, "-"))


def literal_value(key: str, text: str) -> ReplacedValues:
    """Return a fault: a value written exactly as `text`."""
    return ReplacedValues({key: Literal(text)})
