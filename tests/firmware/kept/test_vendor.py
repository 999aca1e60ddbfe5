"""The daily check of the vendor's address."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
import logging
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.firmware import vendor as vendor_module
from custom_components.emu_professional.firmware.kept import ImageSource, firmware_store
from homeassistant.config_entries import SOURCE_IGNORE, ConfigEntryState
from homeassistant.core import HomeAssistant
from simulator.images import signed_image

from .options import KEY, Hours, Submit, restarted, zipped
from .vendor_server import Vendor

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
async def vendor(
    socket_enabled: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Vendor]:
    """Serve the vendor's file on the loopback interface."""
    vendor = Vendor()
    app = web.Application()
    app.router.add_get("/updater.zip", vendor.handle)
    app.router.add_get("/moved.zip", vendor.handle)
    async with TestServer(app) as server:
        url = f"http://127.0.0.1:{server.port}/updater.zip"
        monkeypatch.setattr(vendor_module, "VENDOR_URL", url)
        yield vendor


async def test_off_by_default(
    idle: MockConfigEntry, vendor: Vendor, hours: Hours
) -> None:
    """Nobody is asked before the owner says so."""
    await hours(50)
    assert not vendor.requests


async def test_once_a_day(
    hass: HomeAssistant, vendor: Vendor, submit: Submit, hours: Hours
) -> None:
    """The vendor is asked at once, then once a day, and sends the file once."""
    await submit({"check_for_firmware": True})
    await hass.async_block_till_done(wait_background_tasks=True)
    store = firmware_store(hass)
    assert store.image == read_firmware(signed_image("1.0.17"))
    assert store.source == ImageSource.DOWNLOAD
    for _ in range(3):
        await submit({"check_for_firmware": False})
        await submit({"check_for_firmware": True})
    await hours(22)
    assert len(vendor.requests) == 1
    assert "If-None-Match" not in vendor.requests[0]
    await hours(50)
    assert len(vendor.requests) == 4
    for request in vendor.requests[1:]:
        assert request["If-None-Match"]
        assert request["If-Modified-Since"] == "Mon, 01 Jun 2026 10:00:00 GMT"
    assert (await restarted(hass)).image == store.image
    await submit({"check_for_firmware": False})
    await hours(50)
    assert len(vendor.requests) == 4


async def test_odd_headers_of_the_vendor(
    hass: HomeAssistant,
    vendor: Vendor,
    submit: Submit,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A header unfit for storage is left out, and the file is taken."""

    async def answer(_: object, writer: asyncio.StreamWriter) -> None:
        head = b'HTTP/1.1 200 OK\r\nETag: "\xff"\r\nLast-Modified: \xe4\r\n'
        length = b"Content-Length: %d\r\n\r\n" % len(vendor.content)
        writer.write(head + length + vendor.content)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setattr(vendor_module, "VENDOR_URL", f"http://127.0.0.1:{port}/")
        await submit({"check_for_firmware": True})
        await hass.async_block_till_done(wait_background_tasks=True)
    assert (await restarted(hass)).image == read_firmware(signed_image("1.0.17"))


async def test_once_a_day_over_restarts(
    hass: HomeAssistant, vendor: Vendor, submit: Submit
) -> None:
    """A restart is no reason to ask again, nor is a failed check."""
    vendor.content = b"not found"
    await submit({"check_for_firmware": True})
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(vendor.requests) == 1
    store = await restarted(hass)
    assert store.is_checked_daily
    store._check_if_due()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(vendor.requests) == 1


async def test_no_meter(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    vendor: Vendor,
    hours: Hours,
) -> None:
    """Without a loaded meter there is no check; it is made up for later."""
    await hass.config_entries.async_unload(loaded.entry_id)
    await firmware_store(hass).async_check_daily(wanted=True)
    await hours(30)
    assert not vendor.requests
    await hass.config_entries.async_setup(loaded.entry_id)
    await hours(1)
    assert len(vendor.requests) == 1


@pytest.mark.parametrize(
    ("kept", "offered", "then"),
    [
        ("1.0.17", "1.0.18", "1.0.18"),
        ("1.0.17", "1.0.17+1", "1.0.17.1"),
        ("1.0.17", "1.0.16", "1.0.17"),
        ("1.0.9", "1.0.10", "1.0.10"),
    ],
)
async def test_only_newer_is_taken(
    hass: HomeAssistant,
    vendor: Vendor,
    submit: Submit,
    kept: str,
    offered: str,
    then: str,
) -> None:
    """The owner's upload gives way only to a newer image."""
    await submit({}, signed_image(kept))
    vendor.content = zipped(signed_image(offered))
    await submit({"check_for_firmware": True})
    await hass.async_block_till_done(wait_background_tasks=True)
    image = firmware_store(hass).image
    assert image
    assert str(image.version) == then
    assert (await restarted(hass)).image == image


async def test_same_version_is_not_taken(
    hass: HomeAssistant, vendor: Vendor, submit: Submit
) -> None:
    """The owner's own image of the same version stays."""
    own = signed_image("1.0.17", size=3000)
    await submit({"check_for_firmware": True}, own)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(vendor.requests) == 1
    assert firmware_store(hass).image == read_firmware(own)
    assert firmware_store(hass).source == ImageSource.UPLOAD


async def test_owner_goes_back(
    hass: HomeAssistant, vendor: Vendor, submit: Submit, hours: Hours
) -> None:
    """An older file chosen by the owner later stays until there is a newer one."""
    await submit({"check_for_firmware": True})
    await hass.async_block_till_done(wait_background_tasks=True)
    store = firmware_store(hass)
    # The same file again, for instance for a meter that refused it.
    for _ in range(2):
        await submit({"check_for_firmware": True}, signed_image("1.0.13"))
        await hours(30)
        assert store.image == read_firmware(signed_image("1.0.13"))
    await submit({"check_for_firmware": True, "remove_firmware": True})
    await hours(30)
    assert store.image == read_firmware(signed_image("1.0.17"))


async def test_upload_by_mistake(
    hass: HomeAssistant, vendor: Vendor, submit: Submit, hours: Hours
) -> None:
    """The vendor's image, once older than the owner's, comes when it is newer."""
    await submit({"check_for_firmware": True}, signed_image("2.0.0"))
    await hass.async_block_till_done(wait_background_tasks=True)
    await hours(50)
    store = firmware_store(hass)
    assert store.image == read_firmware(signed_image("2.0.0"))
    # Until then the file need not come again.
    asked = [bool(each.get("If-None-Match")) for each in vendor.requests]
    assert asked == [False, True, True]
    await submit({"check_for_firmware": True}, signed_image("1.0.16"))
    await hours(24)
    assert store.image == read_firmware(signed_image("1.0.17"))
    assert store.source == ImageSource.DOWNLOAD


async def test_check_ends_at_a_write(
    hass: HomeAssistant,
    vendor: Vendor,
    submit: Submit,
    hours: Hours,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check that ends at its first write does not hide the vendor's image."""
    store = firmware_store(hass)
    save = store._store.async_save
    ended: list[bool] = []

    async def interrupted(data: dict[str, Any]) -> None:
        await save(data)
        # A real file takes its time, so that the check waits for it.
        await asyncio.sleep(0)
        if data["conditions"] and store._check and not ended:
            ended.append(store._check.cancel())

    monkeypatch.setattr(store._store, "async_save", interrupted)
    await submit({"check_for_firmware": True})
    await hass.async_block_till_done(wait_background_tasks=True)
    assert ended == [True]
    await hours(30)
    assert store.image == read_firmware(signed_image("1.0.17"))
    assert (await restarted(hass)).image == store.image


@pytest.mark.parametrize("way", ["download", "upload"])
async def test_last_meter_while_firmware_comes(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    idle: MockConfigEntry,
    vendor: Vendor,
    way: str,
) -> None:
    """An image that arrives after the last meter's removal is not kept."""
    asked, gone = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        asked.set()
        await gone.wait()
        return web.Response(body=vendor.content)

    vendor.answer = slow
    store = firmware_store(hass)
    await store.async_check_daily(wanted=True)
    await asked.wait()
    idle.mock_state(hass, ConfigEntryState.NOT_LOADED)
    # One that the owner ignores is no meter.
    MockConfigEntry(
        domain=DOMAIN, unique_id="22350099", source=SOURCE_IGNORE
    ).add_to_hass(hass)
    await hass.config_entries.async_remove(idle.entry_id)
    gone.set()
    if way == "upload":
        await store.async_keep(read_firmware(signed_image()), ImageSource.UPLOAD)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert store.image is None
    assert not store.is_checked_daily
    assert KEY not in hass_storage


async def not_found(request: web.Request) -> web.StreamResponse:
    """Answer: no such file."""
    raise web.HTTPNotFound


async def lost(request: web.Request) -> web.StreamResponse:
    """Begin with a file, and hang up."""
    response = web.StreamResponse(headers={"Content-Length": "10000"})
    await response.prepare(request)
    await response.write(signed_image()[:600])
    assert request.transport
    request.transport.close()
    return response


async def silent(request: web.Request) -> web.StreamResponse:
    """Begin to answer, and never end."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"PK")
    await asyncio.Event().wait()
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    """Send without an end."""
    response = web.StreamResponse()
    await response.prepare(request)
    # Whoever has had enough hangs up; what that is called depends on the moment.
    with suppress(Exception):
        while True:
            await response.write(bytes(1024 * 1024))
    return response


async def circle(request: web.Request) -> web.StreamResponse:
    """Send to the same place again."""
    raise web.HTTPFound("/moved.zip")


async def elsewhere(request: web.Request) -> web.StreamResponse:
    """Send to a file on the disk."""
    raise web.HTTPFound("file:///etc/passwd")


async def page(request: web.Request) -> web.StreamResponse:
    """Show a page."""
    return web.Response(text="<html>", content_type="text/html")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (not_found, "404"),
        (lost, "ClientPayloadError"),
        (silent, "TimeoutError"),
        (endless, "too large"),
        (circle, "TooManyRedirects"),
        (elsewhere, "NonHttpUrlRedirectClientError"),
        (page, "not an image"),
    ],
)
async def test_failures(
    hass: HomeAssistant,
    vendor: Vendor,
    submit: Submit,
    hours: Hours,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
    words: str,
) -> None:
    """A failed check is one line in the log; another day it succeeds."""
    monkeypatch.setattr(vendor_module, "TIME_LIMIT", 0.5 if answer is silent else 30)
    caplog.set_level(logging.DEBUG, "custom_components.emu_professional")
    vendor.answer = answer
    await submit({"check_for_firmware": True})
    await hass.async_block_till_done(wait_background_tasks=True)
    assert vendor.requests
    assert firmware_store(hass).image is None
    lines = [
        record
        for record in caplog.records
        if record.name == "custom_components.emu_professional"
        and vendor_module.VENDOR_URL in record.getMessage()
    ]
    assert len(lines) == 1
    assert words in lines[0].getMessage()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
    vendor.answer = None
    await hours(24)
    assert firmware_store(hass).image == read_firmware(signed_image("1.0.17"))
