"""A simulated meter, and Home Assistant with the integration."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
import logging
import os
from random import Random
from socket import AF_INET, AI_NUMERICHOST, AddressFamily
from typing import Final, Protocol, override
from unittest.mock import PropertyMock, patch
from uuid import uuid4
from zlib import crc32

from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import HealthCheck, settings
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)
from pytest_socket import socket_allow_hosts
from sqlalchemy import NullPool, create_engine, make_url, text

from custom_components.emu_professional.backfill import history_pages
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.updater.datagrams import RetransmissionTimer
from custom_components.emu_professional.emu.updater.exchange import SessionTimeouts
from homeassistant import runner
from homeassistant.const import CONF_HOST, CONF_PORT
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import aiohttp_client, issue_registry as ir
from homeassistant.helpers.entity import Entity
from homeassistant.util import dt as dt_util
from simulator import faults
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.logger import LoggerConfig
from simulator.meter import Meter
from simulator.tables import LOGGER_COLUMNS
from simulator.updater import UpdaterServer
from simulator.web import MeterServer

from .event_loop import CheckedLoop, FrozenLoop, SkippingLoop

settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # What is taken in must not depend on luck; developers' machines go on searching.
    derandomize="CI" in os.environ,
    # scripts/prove tries many more.
    max_examples=int(os.environ.get("EXAMPLES", "25")),
)
settings.load_profile("any machine")

# The plugin has every SQL statement kept, for pages of them below a failed test.
logging.getLogger("sqlalchemy.engine").setLevel(logging.WARNING)

# These have a Home Assistant and an event loop of their own.
collect_ignore = ["e2e", "restarts"]

NOON = datetime(2026, 6, 1, 10, tzinfo=UTC)
SERIAL_NUMBER = "22350001"

COUNTED = LoggerConfig(first_index=1, delay=0)
"""A data logger whose records a test can count: from 1 on, each there at its stamp."""

EMPTY_LOGGER = faults.Body(";".join(LOGGER_COLUMNS).encode())
"""A busy meter's answer: whole, with a length, and without any record."""

BETWEEN_POLLS = timedelta(seconds=6)
"""Home Assistant spreads polls over the second that follows the interval."""

METERS = 8
"""How many there are where one is not enough."""

QUICK_SESSION: Final = SessionTimeouts(
    contact=0.6,
    refused=0.3,
    command=0.8,
    flash=1.0,
    reset=0.2,
    erase=0.2,
    pause=0.02,
)
"""How long a session with a simulated module waits; see also `quick_updater`."""

SQLITE = "sqlite:"

WEST, EAST = DATABASE_ZONES = ("America/New_York", "Europe/Zurich")
"""PostgreSQL hands times over in the zone of its session, not in UTC."""


class Pass(Protocol):
    """Lets seconds pass, with a poll at each interval."""

    async def __call__(self, seconds: float, *, interval: float = 5) -> None:
        """Let them pass."""


def issues(hass: HomeAssistant) -> set[str]:
    """Return the keys of the present issues."""
    registry = ir.async_get(hass)
    return {
        issue.translation_key or ""
        for (domain, _), issue in registry.issues.items()
        if domain == DOMAIN and issue.active
    }


def state_of(hass: HomeAssistant, entity_id: str) -> State:
    """Return the state of an entity that exists."""
    state = hass.states.get(entity_id)
    assert state
    return state


def put_on_trial(updater: UpdaterServer, image: bytes) -> None:
    """Let a module run an image that somebody has uploaded, tested and started."""
    updater.bootloader.write(0, image)
    updater.bootloader.mark_pending()
    updater.bootloader.power_cycle()


A_WHOLE_YEAR: Final = "backfill/test_virtual_year.py::test_a_whole_year"
A_QUARTER: Final = "backfill/test_costs_of_a_house.py::TestQuarter"
"""Take a minute or half of one, and are left to scripts/prove."""

TWELVE_DAYS: Final = "backfill/test_virtual_year.py::test_off_for_twelve_days"
"""Takes long: `scripts/test` leaves it to `-m release` and another database."""

AN_OUTAGE_WITH_COSTS: Final = "backfill/test_costs_of_a_house.py::test_outage[stopped]"

LIVES: Final = "backfill/test_virtual_year.py::test_life_to_remember"
"""Take seconds each: `-m release` has two of three, scripts/prove all."""

OTHER_LIVES: Final = "backfill/test_virtual_year.py::test_silent_for_twelve_days"
"""Takes as long, and is left to `-m release` as well."""

LONG_LIVES: Final = (
    "backfill/test_virtual_year.py::test_middle_that_is_left_out",
    *(
        f"{LIVES}[{name}]"
        for name in (
            "a dry run changes the cost of an hour after the window twice",
            "an hour without energy in an outage that was settled and put back",
            "an older database was put back, and rows were deleted",
            "an older database, and states without their attributes",
            "the registers begin at 0, live, off, and a moment before an outage",
            "totals are rounded, and records come late",
        )
    ),
)
"""Take longest, and are left to scripts/prove."""

ELSEWHERE: Final = (A_WHOLE_YEAR, A_QUARTER, TWELVE_DAYS, OTHER_LIVES, *LONG_LIVES)

RELEASE: Final = (
    *("test_init", "test_config_flow", "test_interruptions", "test_logbook"),
    *("test_sensor", "services/test_actions", "services/test_export"),
    *("firmware/update/", "firmware/kept/test_options"),
    *("test_blueprints", "test_diagnostics", "test_lifetimes"),
    *("test_permissions", "test_relocation", "test_storage"),
    "backfill/test_backfill.py::test_history_comes_with_the_meter",
    "backfill/test_backfill.py::test_home_assistant_off",
    *("backfill/test_services", "backfill/test_recorder"),
    *(AN_OUTAGE_WITH_COSTS, "backfill/test_prices"),
    *("test_demand_sensors", "backfill/test_consumption"),
    *(TWELVE_DAYS, OTHER_LIVES),
    "backfill/test_virtual_year.py::test_bars_of_the_dashboard",
)
"""Where another release of Home Assistant can make a difference (`-m release`)."""

DATABASE: Final = (
    "backfill/test_recorder",
    "backfill/test_backfill.py::test_home_assistant_off",
    AN_OUTAGE_WITH_COSTS,
    TWELVE_DAYS,
    "backfill/test_virtual_year.py::test_bars_of_the_dashboard",
    A_WHOLE_YEAR,
    "backfill/test_consumption",
)
"""Where another database can make a difference (`-m database`)."""

NOT_FAST: Final = frozenset({"hass", "recorder_db_url", "socket_enabled", "real_time"})
"""Fixtures of tests that `--fast` leaves out."""

SLOW: Final = (
    "simulator/test_measuring",
    "test_demand.py::test_quarter",
    "test_readme.py::test_rows_of_a_day_are_counted",
    "test_slow_logger",
)
"""Left out by `--fast` as well: days and years are lived through, which takes seconds."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let somebody choose among the tests, or their order."""
    parser.addoption(
        "--fast", action="store_true", help="without Home Assistant and sockets"
    )
    parser.addoption(
        "--loop-debug", action="store_true", help="with asyncio's own checks"
    )
    parser.addoption("--shuffle", type=int, metavar="SEED", help="in another order")


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Function]
) -> None:
    """Mark, choose and shuffle the tests.

    With a database server those are left out that store nothing there.
    """
    lives = 0
    for item in items:
        name = item.nodeid.removeprefix("tests/")
        is_life = name.startswith(LIVES) and name not in LONG_LIVES
        lives += is_life
        is_other_life = is_life and lives % 3 != 0
        if is_life or name.startswith(ELSEWHERE):
            item.add_marker(pytest.mark.elsewhere)
        if name.startswith(RELEASE) or is_other_life:
            item.add_marker(pytest.mark.release)
        if name.startswith(DATABASE):
            item.add_marker(pytest.mark.database)
    if config.getoption("--fast"):
        _keep(config, items, _is_fast)
    if not config.getoption("dburl").startswith(SQLITE):
        _keep(config, items, lambda item: "recorder_db_url" in item.fixturenames)
    if (seed := config.getoption("--shuffle")) is not None:
        Random(seed).shuffle(items)


def _is_fast(item: pytest.Function) -> bool:
    name = item.nodeid.removeprefix("tests/")
    return not (NOT_FAST & set(item.fixturenames) or name.startswith(SLOW))


def _keep(
    config: pytest.Config,
    items: list[pytest.Function],
    is_wanted: Callable[[pytest.Function], bool],
) -> None:
    left_out = [item for item in items if not is_wanted(item)]
    items[:] = [item for item in items if is_wanted(item)]
    config.hook.pytest_deselected(items=left_out)


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Skip waits, except where the recorder's thread works, or a test wants none.

    Where `freezer` moves all clocks, the event loop's must go with them.
    """
    if "freezer" in item.fixturenames:
        return {"frozen": FrozenLoop}
    if {"recorder_db_url", "real_time"} & set(item.fixturenames):
        return {"real": CheckedLoop}
    return {"skipping": SkippingLoop}


@pytest.fixture(autouse=True)
async def enable_event_loop_debug(request: pytest.FixtureRequest) -> None:
    """Leave most of asyncio's own checks to scripts/prove.

    A stack for each call that is to come takes two thirds of a test's time.
    """
    if request.config.getoption("--loop-debug"):
        asyncio.get_running_loop().set_debug(True)


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Keep the log from INFO on.

    The plugin has Home Assistant log each step of the recorder and each event, which
    takes a tenth of a test's time.
    """
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def real_time() -> None:
    """Skip no waits: another process or thread works that the event loop can't see."""


@pytest.fixture(autouse=True)
async def configure_event_loop() -> None:
    """Configure the loop as Home Assistant does its own, but leave it its clock."""
    loop = asyncio.get_running_loop()
    runner.configure_event_loop(loop)
    if isinstance(loop, SkippingLoop):
        loop.restore_time()


@pytest.fixture
def database_zone(request: pytest.FixtureRequest) -> str:
    """Return the zone of the database, which half of the tests have in the west."""
    half = crc32(request.node.nodeid.encode()) % 2
    return getattr(request, "param", DATABASE_ZONES[half])


@pytest.fixture
def recorder_db_url(
    request: pytest.FixtureRequest, database_zone: str
) -> Generator[str]:
    """Return the address of an empty database of the test's own.

    The plugin's fixture knows one database for all tests, also for those that run
    at the same time, and only a driver that needs a compiler.
    """
    address = request.config.getoption("dburl")
    if address.startswith(SQLITE):
        yield request.getfixturevalue("recorder_db_url")
        return
    # PyMySQL is Python, and so meets the plugin's ban on sockets.
    request.getfixturevalue("socket_enabled")
    socket_allow_hosts(["127.0.0.1"], allow_unix_socket=True)
    server = make_url(address)
    engine = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    name = f"test_{uuid4().hex}"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        if engine.dialect.name == "postgresql":
            connection.execute(
                text(f"ALTER DATABASE {name} SET timezone TO '{database_zone}'")
            )
    yield server.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name}"))


@pytest.fixture(autouse=True)
def auto_enable_custom_integrations(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant, where a test has one, load the integration from the checkout."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("enable_custom_integrations")


@pytest.fixture
def clock() -> ManualClock:
    """Return the time of the simulated world."""
    return ManualClock(NOON)


@pytest.fixture
def config() -> MeterConfig:
    """Return how the meter is made."""
    return MeterConfig(
        serial_number=SERIAL_NUMBER, installed=NOON - timedelta(days=10), logger=COUNTED
    )


@pytest.fixture
async def web(
    socket_enabled: None, config: MeterConfig, clock: ManualClock
) -> AsyncGenerator[MeterServer]:
    """Serve a meter on the loopback interface."""
    async with MeterServer(Meter(config, clock)) as web:
        yield web


@pytest.fixture
def server(web: MeterServer) -> MeterServer:
    """Return the server of the meter; where tests have other servers, it is `web`."""
    return web


@pytest.fixture
def names() -> Generator[dict[str, str]]:
    """Return the addresses by name that Home Assistant, but nobody else, can find."""
    names: dict[str, str] = {}
    with patch.object(
        aiohttp_client, "_async_make_resolver", return_value=Resolver(names)
    ):
        yield names


class Resolver(AbstractResolver):
    """Knows the addresses of some names."""

    def __init__(self, names: dict[str, str]) -> None:
        """Know these, which may change."""
        self._names = names

    @override
    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AF_INET
    ) -> list[ResolveResult]:
        if host not in self._names:
            raise OSError(f"{host} is unknown")
        return [
            ResolveResult(
                hostname=host,
                host=self._names[host],
                port=port,
                family=AF_INET,
                proto=0,
                flags=AI_NUMERICHOST,
            )
        ]

    @override
    async def close(self) -> None:
        """Have nothing to close."""

    async def real_close(self) -> None:
        """Have nothing to close."""


@pytest.fixture
def impatient() -> None:
    """Do nothing: nobody waits in a `SkippingLoop`."""


@pytest.fixture
def impatient_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait between pages of the data logger."""
    monkeypatch.setattr(history_pages, "_PATIENCE", (0, 0))
    monkeypatch.setattr(history_pages, "_LONGEST_PAUSE", 0)


@pytest.fixture
def quick_updater(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat a datagram sooner than a real network may need."""
    for name, seconds in {"UNKNOWN": 0.05, "BUSY": 0.1, "SHORTEST": 0.02}.items():
        monkeypatch.setattr(RetransmissionTimer, name, seconds)


@pytest.fixture
def all_enabled() -> Generator[None]:
    """Enable entities that are disabled by default."""
    with patch.object(
        Entity,
        "entity_registry_enabled_default",
        new_callable=PropertyMock(return_value=True),
    ):
        yield


@pytest.fixture
def entry(hass: HomeAssistant, server: MeterServer) -> MockConfigEntry:
    """Return the entry of the simulated meter, not set up."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title=f"EMU Professional II {SERIAL_NUMBER}",
        unique_id=SERIAL_NUMBER,
        data={CONF_HOST: server.host, CONF_PORT: server.port},
    )
    entry.add_to_hass(hass)
    return entry


@pytest.fixture
async def meters(
    hass: HomeAssistant, socket_enabled: None, clock: ManualClock
) -> AsyncGenerator[list[MeterServer]]:
    """Serve some meters and add their entries, not set up."""
    async with AsyncExitStack() as stack:
        servers = []
        for number in range(METERS):
            config = MeterConfig(
                serial_number=f"2235000{number}", installed=NOON - timedelta(days=1)
            )
            server = MeterServer(Meter(config, clock))
            servers.append(await stack.enter_async_context(server))
            MockConfigEntry(
                domain=DOMAIN,
                unique_id=config.serial_number,
                data={CONF_HOST: server.host, CONF_PORT: server.port},
            ).add_to_hass(hass)
        yield servers


@pytest.fixture
def world_time(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> None:
    """Let Home Assistant live in the time of the simulated world.

    The event loop's own clock goes on: time limits of real sockets must work.
    """
    monkeypatch.setattr(
        dt_util, "utcnow", lambda: datetime.fromtimestamp(clock.now(), UTC)
    )


@pytest.fixture
async def loaded(
    hass: HomeAssistant, world_time: None, entry: MockConfigEntry
) -> MockConfigEntry:
    """Return the entry of the simulated meter, set up."""
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


@pytest.fixture
def pass_time(hass: HomeAssistant, world_time: None, clock: ManualClock) -> Pass:
    """Return a function that lets seconds pass, with a poll every 5 s.

    Where only something else of that time matters, with fewer ones: polls take time.
    """

    async def pass_time(seconds: float, *, interval: float = 5) -> None:
        end = clock.now() + seconds
        while clock.now() < end:
            clock.advance(min(interval, end - clock.now()))
            async_fire_time_changed(hass, datetime.now(UTC) + BETWEEN_POLLS)
            await hass.async_block_till_done(wait_background_tasks=True)

    return pass_time
