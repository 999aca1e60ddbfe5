"""Firmware images for the simulated module: `python -m simulator.images --help`.

Signed images are made by imgtool, MCUboot's own tool, imported only for them.
"""

import argparse
from collections.abc import Sequence
from contextlib import redirect_stdout
from enum import Enum
from functools import lru_cache
import hashlib
import io
from pathlib import Path
import random
import struct

from .bootloader import MAGIC, BadImageError, Version, read_image

TEST_KEY = hashlib.sha256(b"signs what the simulated module accepts").digest()
"""Private Ed25519 key, 32 bytes, of the simulated manufacturer."""
FOREIGN_KEY = hashlib.sha256(b"signs what it does not accept").digest()

_HEADER_SIZE = 512
_SIGNED_OVERHEAD = _HEADER_SIZE + 144
_UNSIGNED_OVERHEAD = _HEADER_SIZE + 40
_LABEL = b"Simulated firmware, trait "


class Trait(Enum):
    """Fault of an image."""

    GOOD = "good"
    NO_WEB_PAGE = "no-web-page"
    """It boots and serves updates, but no web page."""
    NEVER_BOOTS = "never-boots"
    """The boot loader starts it, and nothing happens."""
    NO_UPDATER = "no-updater"
    """It boots and serves the web page, but no updates."""
    WRONG_SIGNATURE = "wrong-signature"
    """It is signed with another key."""
    WRONG_HASH = "wrong-hash"
    """A byte was changed after signing."""


def trait_of(image: bytes) -> Trait:
    """Return the fault of an image; a foreign image is good."""
    try:
        payload = read_image(image).payload
    except BadImageError:
        return Trait.NEVER_BOOTS
    if not payload.startswith(_LABEL):
        return Trait.GOOD
    name = payload[len(_LABEL) :].partition(b"\n")[0]
    return Trait(name.decode())


def version_of(image: bytes) -> str:
    """Return the version of an image as the meter prints it.

    Raises `BadImageError` if it is none.
    """
    return str(read_image(image).version)


@lru_cache(maxsize=64)
def signed_image(
    version: str = "1.0.17",
    *,
    size: int = 20 * 1024,
    trait: Trait = Trait.GOOD,
    key: bytes = TEST_KEY,
) -> bytes:
    """Return a signed image; the same arguments give the same bytes.

    `version` is "1.2.3", or "1.2.3.4" (imgtool's "1.2.3+4") with a build number; `size`
    is the size of the whole file in bytes. Raises `ImportError` without imgtool,
    `ValueError` if `size` has no room for header, label and TLVs.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from imgtool.image import Image  # type: ignore[import-untyped]
    from imgtool.keys import Ed25519  # type: ignore[import-untyped]
    from imgtool.version import decode_version  # type: ignore[import-untyped]

    if trait is Trait.WRONG_SIGNATURE:
        key = FOREIGN_KEY
    image = Image(
        version=decode_version(_imgtool_version(version)),
        header_size=_HEADER_SIZE,
        pad_header=True,
    )
    image.load_compressed(_payload(version, trait, size - _SIGNED_OVERHEAD), b"")
    with redirect_stdout(io.StringIO()):
        image.create(Ed25519(Ed25519PrivateKey.from_private_bytes(key)), "hash", None)
    data = bytearray(image.payload)
    if trait is Trait.WRONG_HASH:
        data[_HEADER_SIZE + len(_LABEL) + 20] ^= 0xFF
    return bytes(data)


def unsigned_image(version: str, *, size: int = 20 * 1024) -> bytes:
    """Return an image with a hash and without a signature, made without imgtool."""
    payload = _payload(version, Trait.GOOD, size - _UNSIGNED_OVERHEAD)
    header = struct.pack(
        "<IIHHIIBBHII",
        MAGIC,
        0,
        _HEADER_SIZE,
        0,
        len(payload),
        0,
        *_version(version),
        0,
    )
    hashed = header.ljust(_HEADER_SIZE, b"\0") + payload
    digest = hashlib.sha256(hashed).digest()
    return hashed + struct.pack("<HHHH", 0x6907, 40, 0x10, 32) + digest


def public_key(key: bytes = TEST_KEY) -> bytes:
    """Return the raw public key of a private one. Raises `ImportError` without cryptography."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(key)
    return private.public_key().public_bytes_raw()


def _payload(version: str, trait: Trait, size: int) -> bytes:
    label = _LABEL + f"{trait.value}\n{version}\n".encode()
    if size < len(label) + 1:
        raise ValueError("No room for header, label and TLVs")
    return label + random.Random(version).randbytes(size - len(label))


def _version(text: str) -> Version:
    numbers, _, build = text.partition("+")
    major, minor, revision, *rest = map(int, numbers.split("."))
    return Version(major, minor, revision, int(build or (rest or [0])[0]))


def _imgtool_version(text: str) -> str:
    *numbers, build = _version(text)
    return ".".join(map(str, numbers)) + (f"+{build}" if build else "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a good image for the simulated module, or one with a fault."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator.images",
        description="Writes a signed firmware image for the simulated meter.",
    )
    parser.add_argument("version", help="1.0.17, or 1.0.17.4 with a build number")
    parser.add_argument("file", type=Path)
    parser.add_argument("--size", type=int, default=200 * 1024, help="bytes")
    parser.add_argument(
        "--trait", choices=[trait.value for trait in Trait], default=Trait.GOOD.value
    )
    chosen = parser.parse_args(arguments)
    image = signed_image(chosen.version, size=chosen.size, trait=Trait(chosen.trait))
    chosen.file.write_bytes(image)


if __name__ == "__main__":
    main()
