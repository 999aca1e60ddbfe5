"""The recorder must be there before Home Assistant is, and has nothing to complain of."""

from collections.abc import AsyncGenerator, Generator, Iterable
from datetime import datetime
import logging
from math import isclose
from typing import Any

from freezegun.api import FrozenDateTimeFactory
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.backfill import automatic, statistic_ids
from custom_components.emu_professional.backfill.targets import TARGETS
from custom_components.emu_professional.const import CONF_AUTOMATIC
from custom_components.emu_professional.meter_log import LogbookCoordinator
from homeassistant.components.recorder.core import Recorder
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.web import MeterServer
from tests.conftest import COUNTED, SERIAL_NUMBER

from .house import FEW, INSTALLED, NOW, PERIOD, House

RECORDER = (
    "homeassistant.components.recorder",
    "homeassistant.components.sensor.recorder",
    "homeassistant.helpers.recorder",
)


@pytest.fixture(autouse=True)
def auto_enable_custom_integrations() -> None:
    """Load nothing: the recorder must be there before Home Assistant is."""


@pytest.fixture
def recorder_may_warn() -> None:
    """Let the recorder warn: a test that asks for this is about trouble."""


@pytest.fixture(autouse=True)
def clean_log(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> Generator[None]:
    """See that Home Assistant's statistics warn of nothing because of us."""
    yield
    if "recorder_may_warn" in request.fixturenames:
        return
    for when in ("setup", "call"):
        assert not recorder_warnings(caplog.get_records(when))


def recorder_warnings(records: Iterable[logging.LogRecord]) -> list[str]:
    """Return the warnings of Home Assistant's statistics among the lines of a log."""
    return [
        record.getMessage()
        for record in records
        if record.levelno >= logging.WARNING
        and record.name.startswith(RECORDER)
        and not _is_converted(record)
    ]


def _is_converted(record: logging.LogRecord) -> bool:
    """Whether a total fell by floating point only, when its unit was changed.

    The line has the state in the one unit, and the previous one in the other.
    """
    if "strictly increasing" not in record.msg or not isinstance(record.args, tuple):
        return False
    *_, state, previous, _, _ = record.args
    units = (1e-6, 1e-3, 1, 1e3, 1e6)
    now, before = float(str(state)), float(str(previous))
    return any(isclose(now * unit, before) for unit in units)


@pytest.fixture(autouse=True)
def impatient_pages(impatient_pages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time stand still."""
    monkeypatch.setattr(automatic, "_CATCH_UP_PAUSE", 0)


@pytest.fixture(autouse=True)
def nobody_follows_the_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the back-fill be the only one who asks the data logger."""

    async def stay_away(self: LogbookCoordinator) -> None:
        """Do not begin."""

    monkeypatch.setattr(LogbookCoordinator, "async_start", stay_away)


@pytest.fixture
def all_statistics() -> None:
    """Fill the statistics of all quantities."""


@pytest.fixture(autouse=True)
def few_statistics(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fill a few statistics of each kind where `all_statistics` is not used."""
    if "all_statistics" not in request.fixturenames:
        few = [target for target in TARGETS if target.key in FEW]
        monkeypatch.setattr(statistic_ids, "TARGETS", few)


@pytest.fixture
def recorder_config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Let the recorder leave out what no test reads: it commits each event."""
    exclude = {
        "event_types": [
            *("entity_registry_updated", "device_registry_updated"),
            *("service_registered", "component_loaded"),
        ],
    }
    if "all_statistics" not in request.fixturenames:
        exclude["entity_globs"] = [
            *("sensor.*_active_power_l?", "sensor.*_current_l?"),
            *("sensor.*_statistics_fill*", "sensor.*_demand*", "sensor.*_tariff"),
        ]
    return {"exclude": exclude}


@pytest.fixture
def clock() -> ManualClock:
    """Return the time of the simulated world."""
    return ManualClock(NOW)


@pytest.fixture
def installed() -> datetime:
    """Return since when the meter has logged."""
    return INSTALLED


@pytest.fixture
def config(installed: datetime) -> MeterConfig:
    """Return how the meter is made."""
    return MeterConfig(serial_number=SERIAL_NUMBER, installed=installed, logger=COUNTED)


@pytest.fixture
async def house(
    recorder_mock: Recorder,
    hass: HomeAssistant,
    enable_custom_integrations: None,
    freezer: FrozenDateTimeFactory,
    clock: ManualClock,
    server: MeterServer,
    entry: MockConfigEntry,
    installed: datetime,
) -> AsyncGenerator[House]:
    """Return a house whose recorder has just compiled its first statistics."""
    house = House(hass, freezer, clock, server, entry, installed)
    house.move_to(NOW)
    await house.compile(NOW - PERIOD)
    yield house
    if entry.state is ConfigEntryState.LOADED:
        await hass.config_entries.async_unload(entry.entry_id)


@pytest.fixture
async def manual(house: House) -> House:
    """Return a house in which nothing is filled by itself."""
    house.hass.config_entries.async_update_entry(
        house.entry, options={CONF_AUTOMATIC: False}
    )
    await house.load()
    await house.live(5)
    return house
