"""The download of a firmware from the vendor's address."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp

from homeassistant.core import HomeAssistant
from homeassistant.helpers.aiohttp_client import async_get_clientsession

from ..const import LOGGER
from ..emu.errors import FirmwareRefused, RejectReason
from ..emu.updater.image import LARGEST_FILE, Image, read_firmware

VENDOR_URL: Final = (
    "https://www.emuag.ch/files/software/EMU_Professional_II_TCP_Updater.zip"
)
"""The manual's address, chapter "Firmware-Update"."""

TIME_LIMIT: Final = 120.0
"""Seconds for a download."""

_CHUNK: Final = 64 * 1024
# Request header: header of the answer with its value
_CONDITIONS: Final = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}


@dataclass(frozen=True, slots=True)
class Download:
    """An image from the vendor's address."""

    image: Image
    conditions: Mapping[str, str]
    """Request headers for the next download: answered only if the file has changed."""


async def async_download(
    hass: HomeAssistant, conditions: Mapping[str, str]
) -> Download | None:
    """Return the vendor's image; None if it has not changed, or on any failure.

    A failure is logged, and may be over on another day.
    """
    try:
        return await _async_download(hass, conditions)
    except (aiohttp.ClientError, TimeoutError) as err:
        # A house may have no internet: no warning each day.
        LOGGER.debug("No answer from %s: %r", VENDOR_URL, err)
    except FirmwareRefused as err:
        LOGGER.warning("What %s offers can't be used: %s", VENDOR_URL, err)
    return None


async def _async_download(
    hass: HomeAssistant, conditions: Mapping[str, str]
) -> Download | None:
    session = async_get_clientsession(hass)
    # A zip is packed already, and its bytes are counted as they come.
    headers = {"Accept-Encoding": "identity", **conditions}
    async with (
        asyncio.timeout(TIME_LIMIT),
        session.get(VENDOR_URL, headers=headers) as response,
    ):
        if response.status == HTTPStatus.NOT_MODIFIED:
            return None
        response.raise_for_status()
        content = await _bounded(response.content)
    image = await hass.async_add_executor_job(read_firmware, content)
    return Download(
        image,
        {
            condition: response.headers[header]
            for condition, header in _CONDITIONS.items()
            # Another alphabet's bytes could be neither stored nor sent on.
            if response.headers.get(header, "ä").isascii()
        },
    )


async def _bounded(stream: aiohttp.StreamReader) -> bytes:
    """Return a body. Raises FirmwareRefused before one without an end fills the memory."""
    content = bytearray()
    async for chunk in stream.iter_chunked(_CHUNK):
        content += chunk
        if len(content) > LARGEST_FILE:
            raise FirmwareRefused(RejectReason.TOO_LARGE)
    return bytes(content)
