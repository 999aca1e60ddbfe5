"""Recognizing a device without a password, by the form of its answer."""

from collections.abc import Mapping
from dataclasses import dataclass
import re
from typing import Any, Final, Self

# Values that differ from answer to answer, or are left out at times.
_CHANGING: Final = frozenset(
    {
        "age",
        "content-length",
        "date",
        "etag",
        "expires",
        "last-modified",
        "set-cookie",
    }
)
_CHALLENGE: Final = "www-authenticate"
_SCHEME_AND_REALM: Final = re.compile(r'(\S+)(?:.*?(\brealm="[^"]*"))?', re.DOTALL)
_LONGEST: Final = 256
_MOST_HEADERS: Final = 32


def _storable(value: str) -> str:
    """Return a value with escaped bytes instead of invalid UTF-8."""
    return value.encode(errors="surrogateescape").decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """HTTP status and lasting headers of an answer to a request without password.

    Of a challenge only scheme and realm are kept: a nonce differs each time. Equal
    fingerprints are no proof, since any device can imitate the answer.
    """

    status: int
    headers: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str]) -> Self:
        """Return the fingerprint of an answer."""
        lasting = {
            name.lower(): _storable(value.strip()[:_LONGEST])
            for name, value in headers.items()
            if name.lower() not in _CHANGING
        }
        if challenge := lasting.get(_CHALLENGE):
            found = _SCHEME_AND_REALM.match(challenge)
            lasting[_CHALLENGE] = " ".join(
                filter(None, found.groups() if found else ())
            )
        return cls(status, tuple(sorted(lasting.items())[:_MOST_HEADERS]))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return a stored fingerprint. Raises KeyError, TypeError or ValueError."""
        headers = {str(name): str(value) for name, value in stored["headers"]}
        return cls(int(stored["status"]), tuple(sorted(headers.items())))

    def as_json(self) -> dict[str, Any]:
        """Return the fingerprint as JSON can hold it."""
        return {
            "status": self.status,
            "headers": [[name, value] for name, value in self.headers],
        }
