"""Each blueprint is one, and does what it says."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
import shutil
from typing import Any, Final

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
    async_mock_service,
)

from custom_components.emu_professional import meter_log
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from simulator.clock import ManualClock
from simulator.history import CurrentRatioChange
from simulator.web import MeterServer
from tests.conftest import SERIAL_NUMBER, state_of

BLUEPRINTS: Final = Path(__file__).parent.parent / "blueprints" / "automation"
LOGBOOK: Final = f"event.emu_professional_ii_{SERIAL_NUMBER}_logbook"
POWER: Final = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_active_power"


@pytest.fixture(autouse=True)
def imported(hass: HomeAssistant, impatient: None) -> Iterator[None]:
    """Import the blueprints."""
    folder = Path(hass.config.path("blueprints", "automation"))
    shutil.copytree(
        BLUEPRINTS / "emu_professional", folder / "emu_professional", dirs_exist_ok=True
    )
    yield
    shutil.rmtree(folder / "emu_professional")


async def use(hass: HomeAssistant, name: str, **inputs: Any) -> None:
    """Make an automation of a blueprint."""
    automation = {
        "alias": name,
        "use_blueprint": {"path": f"emu_professional/{name}.yaml", "input": inputs},
    }
    assert await async_setup_component(hass, "automation", {"automation": [automation]})
    # One that is not valid is unavailable.
    assert state_of(hass, f"automation.{name}").state == "on"


def test_all_are_tested() -> None:
    """No blueprint is left out here."""
    names = {path.stem for path in BLUEPRINTS.glob("*/*.yaml")}
    assert names == {"logbook_message", "peak_shaving", "monthly_export"}


async def test_logbook_message(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A changed transformer ratio is said, with what it was and is."""
    monkeypatch.setattr(meter_log, "_PAUSE", 0)
    said = async_mock_service(hass, "persistent_notification", "create")

    async def look() -> None:
        async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=310))
        await hass.async_block_till_done(wait_background_tasks=True)

    await look()
    await use(hass, "logbook_message", logbook=LOGBOOK)
    at = datetime.fromtimestamp(clock.now(), UTC)
    server.meter.happens(CurrentRatioChange(at + timedelta(seconds=10), primary=500))
    clock.advance(60)
    await look()
    (call,) = said
    assert call.data["title"] == f"EMU Professional II {SERIAL_NUMBER}"
    assert "Current transformer changed" in call.data["message"]
    assert "- ct primary: 5 → 500 A" in call.data["message"]


async def test_peak_shaving(
    hass: HomeAssistant, freezer: Any, entity_registry: er.EntityRegistry
) -> None:
    """The load is off while the power is above the limit, and on when there is room."""
    off = async_mock_service(hass, "homeassistant", "turn_off")
    on = async_mock_service(hass, "homeassistant", "turn_on")

    async def stays(power: str, minutes: int, unit: str = "kW") -> None:
        hass.states.async_set(POWER, power, {"unit_of_measurement": unit})
        await hass.async_block_till_done()
        freezer.tick(timedelta(minutes=minutes))
        async_fire_time_changed(hass)
        await hass.async_block_till_done()

    await stays("10", 0)
    await use(
        hass,
        "peak_shaving",
        power=POWER,
        limit=15,
        room=3,
        load={"entity_id": "switch.boiler"},
    )
    await stays("15.1", 1)
    await stays("14.9", 3)
    assert (len(off), len(on)) == (0, 0)
    await stays("15.1", 3)
    assert (len(off), len(on)) == (1, 0)
    assert off[0].data["entity_id"] == ["switch.boiler"]
    await stays("12.5", 30)
    await stays("unavailable", 30)
    await stays("11900", 9, "W")
    assert (len(off), len(on)) == (1, 0)
    await stays("11800", 2, "W")
    assert (len(off), len(on)) == (1, 1)


async def test_monthly_export(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    clock: ManualClock,
    tmp_path: Path,
    freezer: Any,
) -> None:
    """On the first of the month the file of the month before is written."""
    hass.config.allowlist_external_dirs = {str(tmp_path)}
    said = async_mock_service(hass, "persistent_notification", "create")
    await hass.config.async_set_time_zone("Europe/Zurich")
    night = datetime(2026, 7, 1, 0, 59, 59, tzinfo=UTC)
    clock.advance(night.timestamp() - clock.now())
    freezer.move_to(night)
    await use(
        hass, "monthly_export", meter=loaded.entry_id, folder=str(tmp_path), at="03:00"
    )
    clock.advance(2)
    freezer.tick(2)
    async_fire_time_changed(hass)
    await hass.async_block_till_done(wait_background_tasks=True)
    (call,) = said
    lines = (tmp_path / "meter-2026-06.csv").read_text().splitlines()
    assert f"{len(lines) - 1} records" in call.data["message"]
    assert dt_util.parse_datetime(lines[-1].split(",")[0]) == datetime(
        2026, 6, 30, 22, tzinfo=UTC
    )
    await hass.services.async_call(
        "automation", "turn_off", {"entity_id": "automation.monthly_export"}
    )
    await hass.async_block_till_done()
