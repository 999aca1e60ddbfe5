"""A running Home Assistant, a browser in front of it, and meters."""

from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import count
import os
from pathlib import Path
import sys
from urllib.parse import quote

from aiohttp import ClientSession
from playwright.async_api import (
    Browser,
    FloatRect,
    Locator,
    Page,
    ViewportSize,
    async_playwright,
    expect,
)
import pytest

from processes.home_assistant import CONFIGURATION, HomeAssistant, is_warning_of_us
from processes.owner import PASSWORD, USER, Owner
from processes.running import own_addresses, own_port
from simulator.clock import RunningClock
from simulator.config import MeterConfig
from simulator.meter import USER as METER_USER, Meter
from simulator.updater import UpdaterConfig, UpdaterServer
from simulator.web import HOST, MeterServer

METER_PASSWORD = "Sesame, open!"
NEW_METER_PASSWORD = "Barley? No: Sesame"
UPDATER_PORT = 1337

VIEWPORT: ViewportSize = {"width": 1280, "height": 900}
PATIENCE = 60_000
"""Milliseconds that a page may take to show what is expected, on a busy machine."""
HISTORY = timedelta(days=3)
PICTURED = "22350001"
"""Serial number of the meter in the README's pictures."""
PICTURED_SINCE = datetime.now(UTC) - timedelta(days=60)
"""One moment for all of them: their statistics stay in between."""
MARGIN = 15
"""Pixels around what a picture is of."""
NOT_FILLED = "statistics were not filled"
"""Expected with each meter that is away: it may be just then that they are due."""

# Chromium of its own accord asks for addresses outside, and as root for no sandbox.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

type Install = Callable[..., Awaitable[UpdaterServer]]
type Shot = Callable[..., Awaitable[None]]

_serial_numbers = count(22360001)
_addresses = own_addresses()


def _own_address() -> str:
    """Return an address for one meter: the updater's port is the same for all."""
    # Elsewhere the loopback interface has a single address, and stories one meter.
    return next(_addresses) if sys.platform == "linux" else HOST


def _forms(password: str) -> list[bytes]:
    """Return how a password can be written."""
    basic = b64encode(f"{METER_USER}:{password}".encode())
    return [password.encode(), quote(password).encode(), basic.rstrip(b"=")]


SECRETS = [*_forms(METER_PASSWORD), *_forms(NEW_METER_PASSWORD)]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the pictures of the README be made."""
    parser.addoption("--screenshots", type=Path, help="folder for the pictures")


@pytest.fixture(scope="session")
async def home_assistant(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[HomeAssistant]:
    """Return a Home Assistant of which the owner has just made an account."""
    folder = tmp_path_factory.mktemp("home_assistant")
    configuration = f"{CONFIGURATION}\ndhcp:\n"
    async with ClientSession() as session:
        home_assistant = HomeAssistant(session, folder, own_port(8223), configuration)
        async with home_assistant.run():
            yield home_assistant


@pytest.fixture
def expected_in_log() -> list[str]:
    """Return what the log may say of us; a story adds to it."""
    return []


@pytest.fixture(autouse=True)
def log(home_assistant: HomeAssistant, expected_in_log: list[str]) -> Iterator[None]:
    """Let a story fail if the log has a warning or an error of us."""
    before = home_assistant.log.stat().st_size
    yield
    assert not [
        entry
        for entry in home_assistant.log_entries(before)
        if is_warning_of_us(entry, *expected_in_log)
    ]


@pytest.fixture
def installed() -> list[UpdaterServer]:
    """Return the meters of a story."""
    return []


@pytest.fixture
async def install(
    installed: list[UpdaterServer], request: pytest.FixtureRequest
) -> AsyncGenerator[Install]:
    """Return what installs a meter days ago and lets it serve, each with its number."""
    pictured = (
        request.config.getoption("--screenshots") is not None
        and request.node.get_closest_marker("pictured") is not None
    )
    async with AsyncExitStack() as stack:

        async def install(
            *,
            password: str | None = None,
            host: str = "",
            port: int = 0,
            installed_at: datetime | None = None,
        ) -> UpdaterServer:
            usual = PICTURED_SINCE if pictured else datetime.now(UTC) - HISTORY
            config = MeterConfig(
                serial_number=PICTURED if pictured else str(next(_serial_numbers)),
                password=password,
                installed=installed_at or usual,
            )
            web = MeterServer(Meter(config, RunningClock()), port=port)
            web.host = host or _own_address()
            await stack.enter_async_context(web)
            updater = UpdaterServer(
                web, UpdaterConfig(), host=web.host, port=UPDATER_PORT
            )
            await stack.enter_async_context(updater)
            installed.append(updater)
            return updater

        yield install


@pytest.fixture
async def owner(
    home_assistant: HomeAssistant, install: Install
) -> AsyncGenerator[Owner]:
    """Return the owner; what a story has set up is gone after it, and only then its meters."""
    owner = home_assistant.owner
    yield owner
    for entry in await owner.meters():
        await owner.remove_meter(entry["entry_id"])
    await owner.ignore_discovered_meters()
    await owner.clear_energy_dashboard()


@pytest.fixture(autouse=True)
async def secrets(
    home_assistant: HomeAssistant, owner: Owner, installed: list[UpdaterServer]
) -> AsyncGenerator[None]:
    """Let a story fail if a meter's password is anywhere but in its config entry."""
    before = home_assistant.log.stat().st_size
    yield
    written = {
        path: path.read_bytes()
        for path in home_assistant.folder.rglob("*")
        if path.is_file() and path.name != "core.config_entries"
    }
    # One story that fails is enough.
    written[home_assistant.log] = written[home_assistant.log][before:]
    told = {
        entry["title"]: (await owner.diagnostics(entry["entry_id"])).encode()
        for entry in await owner.meters()
        if entry["state"] == "loaded"
    }
    asked = {
        request.path: request.path.encode()
        for updater in installed
        for request in updater.web.requests
    }
    everywhere = {**written, **told, **asked}.items()
    assert not [place for place, text in everywhere if any(s in text for s in SECRETS)]


@pytest.fixture(scope="session")
async def browser() -> AsyncGenerator[Browser]:
    """Return a browser."""
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=os.environ["CHROMIUM"], args=FLAGS
        )
        yield browser
        await browser.close()


async def log_in(
    browser: Browser,
    url: str,
    *,
    user: str = USER,
    password: str = PASSWORD,
    now: datetime | None = None,
) -> Page:
    """Return a page of a Home Assistant in which the owner, or another user, logged in.

    The browser's clock is at `now`, if it is not that of this machine.
    """
    context = await browser.new_context(
        base_url=url,
        viewport=VIEWPORT,
        locale="en-GB",
        timezone_id="Europe/Zurich",
        # Charts and dialogs are there at once.
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE)
    if now:
        await context.clock.install(time=now)
    page = await context.new_page()
    await page.goto("/")
    await page.locator("input[name=username]").fill(user)
    await page.locator("input[name=password]").fill(password)
    await page.keyboard.press("Enter")
    await expect(page.locator("ha-sidebar")).to_be_visible()
    return page


@pytest.fixture(scope="session")
async def logged_in(home_assistant: HomeAssistant, browser: Browser) -> Page:
    """Return the page in which the owner has logged in."""
    return await log_in(browser, home_assistant.url)


@pytest.fixture
async def page(
    logged_in: Page, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncGenerator[Page]:
    """Return the browser's page; if a story fails, its last picture is kept."""
    failed = request.session.testsfailed
    yield logged_in
    if request.session.testsfailed > failed:
        await logged_in.screenshot(path=tmp_path / "failed.png")
    await logged_in.goto("about:blank")


@pytest.fixture
def shot(request: pytest.FixtureRequest, page: Page) -> Shot:
    """Return what makes a picture of the README, where one is wanted."""
    folder = request.config.getoption("--screenshots")

    async def shot(name: str, *parts: Locator, page: Page = page) -> None:
        """Show these parts of the page, or as much as there is room for."""
        if folder:
            await page.mouse.move(0, 0)
            await page.wait_for_load_state("networkidle")
            await page.screenshot(
                path=folder / f"{name}.png",
                clip=await _around(parts) if parts else None,
                animations="disabled",
            )

    return shot


async def _around(parts: Iterable[Locator]) -> FloatRect:
    """Return where parts of a page are."""
    boxes = [box for part in parts if (box := await part.bounding_box())]
    left = min(box["x"] for box in boxes) - MARGIN
    top = min(box["y"] for box in boxes) - MARGIN
    right = max(box["x"] + box["width"] for box in boxes) + MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + MARGIN
    return FloatRect(x=left, y=top, width=right - left, height=bottom - top)
