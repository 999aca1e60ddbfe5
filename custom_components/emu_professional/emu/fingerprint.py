"""What can be known of a device without a password: how it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
import re
from typing import Any, Final, Self

# Their values change from answer to answer, and some servers leave them out at times.
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
    """Return a value in which bytes that are no UTF-8 are written as in a program."""
    return value.encode(errors="surrogateescape").decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """HTTP status and lasting headers of an answer to a request without password.

    Of a challenge only scheme and realm are kept: the rest may be another one each
    time. Equal fingerprints are no proof, for everybody can ask and imitate.
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
        """Return what `as_json` was of. Raises KeyError, TypeError or ValueError."""
        headers = {str(name): str(value) for name, value in stored["headers"]}
        return cls(int(stored["status"]), tuple(sorted(headers.items())))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "status": self.status,
            "headers": [[name, value] for name, value in self.headers],
        }
