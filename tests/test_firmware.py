"""The firmware that the owner gives: options, storage and the vendor's address."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
import logging
from typing import Any, Protocol
from uuid import uuid4
import zipfile

from aiohttp import FormData, web
from aiohttp.test_utils import TestServer
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.emu_professional.const import CONF_AUTOMATIC, DOMAIN
from custom_components.emu_professional.emu.errors import Refusal
from custom_components.emu_professional.emu.updater.image import (
    LARGEST_FILE,
    Version,
    read_firmware,
)
from custom_components.emu_professional.firmware import (
    kept as kept_module,
    vendor as vendor_module,
)
from custom_components.emu_professional.firmware.kept import (
    FirmwareStore,
    Source,
    firmware_store,
)
from homeassistant.components import file_upload
from homeassistant.config_entries import (
    SOURCE_IGNORE,
    ConfigEntryState,
    ConfigFlowResult,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.setup import async_setup_component
from simulator.clock import ManualClock
from simulator.images import signed_image, unsigned_image

from .conftest import SERIAL_NUMBER
from .test_translations import ENGLISH, LANGUAGES, texts

KEY = f"{DOMAIN}.firmware"

pytestmark = pytest.mark.usefixtures("impatient")


def zipped(content: bytes) -> bytes:
    """Return the vendor's zip with an image in it."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("updater/mcumgr.exe", b"MZ" + bytes(1000))
        archive.writestr("updater/firmware.bin", content)
    return buffer.getvalue()


class Submit(Protocol):
    """Fills in the firmware's form."""

    async def __call__(
        self, answers: dict[str, Any], content: bytes | None = None
    ) -> ConfigFlowResult:
        """Return what comes next."""


@pytest.fixture(autouse=True)
def uploads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests that run at the same time from deleting each other's files."""
    monkeypatch.setattr(file_upload, "TEMP_DIR_NAME", f"test-{uuid4().hex}")


@pytest.fixture
async def idle(hass: HomeAssistant, world_time: None) -> MockConfigEntry:
    """Return the entry of a meter that nobody polls: firmware is kept beside meters."""
    assert await async_setup_component(hass, DOMAIN, {})
    entry = MockConfigEntry(domain=DOMAIN, unique_id=SERIAL_NUMBER)
    entry.add_to_hass(hass)
    entry.mock_state(hass, ConfigEntryState.LOADED)
    return entry


@pytest.fixture
async def submit(
    hass: HomeAssistant, idle: MockConfigEntry, hass_client: ClientSessionGenerator
) -> Submit:
    """Return a function that fills in the firmware's form as a browser does."""
    client = await hass_client()

    async def submit(
        answers: dict[str, Any], content: bytes | None = None
    ) -> ConfigFlowResult:
        result = await show(hass, idle)
        if content is not None:
            form = FormData()
            form.add_field("file", BytesIO(content), filename="firmware.bin")
            response = await client.post("/api/file_upload", data=form)
            assert response.status == 200
            answers["firmware_file"] = (await response.json())["file_id"]
        return await hass.config_entries.options.async_configure(
            result["flow_id"], {"check_for_firmware": False, **answers}
        )

    return submit


async def show(hass: HomeAssistant, entry: MockConfigEntry) -> ConfigFlowResult:
    """Open the firmware's form."""
    result = await hass.config_entries.options.async_init(entry.entry_id)
    result = await hass.config_entries.options.async_configure(
        result["flow_id"], {"next_step_id": "firmware"}
    )
    assert result["type"] is FlowResultType.FORM
    assert result["step_id"] in {"firmware", "kept_firmware"}
    return result


async def restarted(hass: HomeAssistant) -> FirmwareStore:
    """Return the store as it is after a restart."""
    store = FirmwareStore(hass)
    await store.async_load()
    return store


@pytest.mark.parametrize("wrap", [bytes, zipped])
async def test_upload(
    hass: HomeAssistant,
    idle: MockConfigEntry,
    submit: Submit,
    wrap: Callable[[bytes], bytes],
) -> None:
    """An uploaded file is kept for all meters, shown, and outlives a restart."""
    told: list[None] = []
    store = firmware_store(hass)
    stop = store.async_add_listener(lambda: told.append(None))
    content = signed_image("1.0.17")
    assert (await show(hass, idle))["step_id"] == "firmware"
    result = await submit({}, wrap(content))
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert idle.options == {}
    assert len(told) == 1

    for kept in (store, await restarted(hass)):
        assert kept.image == read_firmware(content)
        assert kept.source == Source.UPLOAD
        assert kept.when
        assert kept.when.tzinfo is UTC

    result = await show(hass, idle)
    assert result["step_id"] == "kept_firmware"
    assert result["description_placeholders"] == {
        "version": "1.0.17",
        "size": "20.0",
        "signature": "Ed25519",
        "hash": read_firmware(content).hash.hex(),
    }
    stop()
    await submit({}, wrap(signed_image("1.0.16")))
    assert store.image == read_firmware(signed_image("1.0.16"))
    assert len(told) == 1


async def test_uploaded_file_does_not_stay(hass: HomeAssistant, submit: Submit) -> None:
    """What Home Assistant received is deleted, whether it was taken or not."""
    await submit({}, signed_image())
    await submit({}, b"MZ")
    assert not hass.data["file_upload"].files
    assert not list(hass.data["file_upload"].temp_dir.iterdir())


async def test_remove(
    hass: HomeAssistant, idle: MockConfigEntry, submit: Submit
) -> None:
    """The owner can have the firmware removed; options stay as they are."""
    hass.config_entries.async_update_entry(idle, options={CONF_AUTOMATIC: False})
    await submit({}, signed_image())
    await submit({"remove_firmware": False})
    assert firmware_store(hass).image
    result = await submit({"remove_firmware": True})
    assert result["type"] is FlowResultType.CREATE_ENTRY
    for store in (firmware_store(hass), await restarted(hass)):
        assert store.image is None
        assert store.source is None
        assert store.when is None
    assert idle.options == {CONF_AUTOMATIC: False}
    assert (await show(hass, idle))["step_id"] == "firmware"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"MZ" + bytes(100), Refusal.NOT_AN_IMAGE),
        (unsigned_image("1.0.18"), Refusal.NOT_SIGNED),
        (signed_image("1.0.18")[:-1], Refusal.TRUNCATED),
        (zipped(b""), Refusal.NO_IMAGE_IN_ZIP),
        (bytes(LARGEST_FILE + 1), Refusal.TOO_LARGE),
    ],
    ids=lambda value: str(value) if isinstance(value, Refusal) else "file",
)
async def test_wrong_file(
    hass: HomeAssistant, submit: Submit, content: bytes, reason: Refusal
) -> None:
    """The reason is below the field, nothing changes, and another file is taken."""
    await submit({}, signed_image("1.0.17"))
    result = await submit({"check_for_firmware": True}, content)
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {"firmware_file": reason}
    store = firmware_store(hass)
    assert store.image
    assert store.image.version == Version(1, 0, 17)
    assert not store.is_checked_daily
    result = await hass.config_entries.options.async_configure(
        result["flow_id"], {"check_for_firmware": False}
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_lost_file(submit: Submit) -> None:
    """A file that Home Assistant no longer has is asked for again."""
    result = await submit({"firmware_file": "0193a2c1e5f60718293a4b5c6d7e8f90"})
    assert result["errors"] == {"firmware_file": "file_lost"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_refusal_has_words(language: str) -> None:
    """Each reason has a text of its own, and no text is left over."""
    translated = texts(language)
    reasons = [translated[f"options.error.{reason}"] for reason in Refusal]
    assert len(reasons) == len(set(reasons))
    errors = {path for path in ENGLISH if path.startswith("options.error.")}
    assert errors == {f"options.error.{r}" for r in (*Refusal, "file_lost")}


def stored(content: bytes, **changes: Any) -> dict[str, Any]:
    """Return what is in the storage."""
    return {
        "image": base64.b64encode(content).decode(),
        "source": "upload",
        "when": "2026-06-01T10:00:00+00:00",
        "unfit_for": [],
        "is_checked_daily": True,
        "checked": None,
        "conditions": {},
        **changes,
    }


def test_stored_is_what_is_saved() -> None:
    """The other tests' storage is right, and is written as it was read."""
    document = stored(
        signed_image(), conditions={"If-None-Match": '"1"'}, unfit_for=["1", "2"]
    )
    assert kept_module._serialize(kept_module._parse(document)) == document
    del document["unfit_for"]
    assert kept_module._parse(document).unfit_for == set()


DAMAGED = signed_image()[:-1]


@pytest.mark.parametrize(
    "document",
    [
        stored(DAMAGED),
        stored(unsigned_image("1.0.17")),
        stored(signed_image(), image="no base64"),
        stored(signed_image(), image=5),
        stored(signed_image(), source="a friend"),
        stored(signed_image(), when="yesterday"),
        stored(signed_image(), conditions=[]),
        stored(signed_image(), unfit_for=5),
        {"image": None},
        ["something else"],
    ],
)
async def test_damaged_storage(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
    document: Any,
) -> None:
    """A damaged file is one line in the log, no firmware, and no obstacle."""
    hass_storage[KEY] = {"version": 1, "minor_version": 1, "key": KEY, "data": document}
    assert await hass.config_entries.async_setup(entry.entry_id)
    store = firmware_store(hass)
    assert store.image is None
    lines = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert sum("firmware that was kept can't be used" in line for line in lines) == 1
    await store.async_keep(read_firmware(signed_image()), Source.UPLOAD)
    assert (await restarted(hass)).image == store.image


async def test_last_meter(
    hass: HomeAssistant, hass_storage: dict[str, Any], loaded: MockConfigEntry
) -> None:
    """Firmware stays while there is a meter, and goes with the last one."""
    other = MockConfigEntry(domain=DOMAIN, unique_id="22350099")
    other.add_to_hass(hass)
    store = firmware_store(hass)
    await store.async_keep(read_firmware(signed_image()), Source.UPLOAD)
    await hass.config_entries.async_remove(other.entry_id)
    assert store.image
    assert KEY in hass_storage
    await hass.config_entries.async_remove(loaded.entry_id)
    assert store.image is None
    assert KEY not in hass_storage


class Vendor:
    """The vendor's web server."""

    def __init__(self) -> None:
        """Offer an image."""
        self.content = zipped(signed_image("1.0.17"))
        self.requests: list[dict[str, str]] = []
        self.answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None
        self.answer = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer as web servers do, or otherwise."""
        self.requests.append(dict(request.headers))
        if self.answer:
            return await self.answer(request)
        etag = f'"{hash(self.content)}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        modified = "Mon, 01 Jun 2026 10:00:00 GMT"
        return web.Response(
            body=self.content, headers={"ETag": etag, "Last-Modified": modified}
        )


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


type Hours = Callable[[int], Awaitable[None]]


@pytest.fixture
def hours(hass: HomeAssistant, clock: ManualClock) -> Hours:
    """Return a function that lets hours pass, one by one."""

    async def hours(count: int) -> None:
        for _ in range(count):
            clock.advance(3600)
            async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=3605))
            await hass.async_block_till_done(wait_background_tasks=True)

    return hours


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
    assert store.source == Source.DOWNLOAD
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
    """A header that can't be stored or sent on is left out, and the file is taken."""

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
    """A restart is no reason to ask again, nor is a check that failed."""
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
    """Without a meter that is set up nobody is asked; the meter is made up for."""
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
    """What the owner uploaded gives way only to something newer."""
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
    assert firmware_store(hass).source == Source.UPLOAD


async def test_owner_goes_back(
    hass: HomeAssistant, vendor: Vendor, submit: Submit, hours: Hours
) -> None:
    """An older file that the owner chose later stays until there is a newer one."""
    await submit({"check_for_firmware": True})
    await hass.async_block_till_done(wait_background_tasks=True)
    await submit({"check_for_firmware": True}, signed_image("1.0.13"))
    await hours(30)
    store = firmware_store(hass)
    assert store.image == read_firmware(signed_image("1.0.13"))
    await submit({"check_for_firmware": True, "remove_firmware": True})
    await hours(30)
    assert store.image == read_firmware(signed_image("1.0.17"))


@pytest.mark.parametrize("way", ["download", "upload"])
async def test_last_meter_while_firmware_comes(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    idle: MockConfigEntry,
    vendor: Vendor,
    way: str,
) -> None:
    """What comes after the last meter has gone is not kept for nobody."""
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
        await store.async_keep(read_firmware(signed_image()), Source.UPLOAD)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert store.image is None
    assert not store.is_checked_daily
    assert KEY not in hass_storage


async def not_found(request: web.Request) -> web.StreamResponse:
    """Answer that there is no such file."""
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
    """A check that fails is one line in the log; another day it succeeds."""
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
