"""The address of a meter as its owner types it. Pure."""

import re
from typing import Final

from yarl import URL

_LONGEST_NAME: Final = 253
_NAME: Final = re.compile(r"[\w-]+(\.[\w-]+)*\.?")


def parse_host(text: str) -> tuple[str, int]:
    """Return host and port of a typed or pasted address.

    An IP address or a name, with or without a port, or the whole URL of the meter's
    web page. Raises ValueError for anything else.
    """
    *_, text = text.strip().rpartition("://")
    # An IPv6 address; a browser wants it in brackets, an owner may not know.
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    try:
        url = URL(f"http://{text}")
    except IndexError as err:
        # yarl raises it for some truncated addresses.
        raise ValueError(text) from err
    if not url.host or not url.port or len(url.host) > _LONGEST_NAME:
        raise ValueError(text)
    if ":" not in url.host and not _NAME.fullmatch(url.host):
        raise ValueError(text)
    return url.host, url.port


def shown_address(host: str, port: int) -> str:
    """Return host and port as an owner would write them."""
    return str(URL.build(scheme="http", host=host, port=port)).removeprefix("http://")
