"""Each blueprint is one, and does what it says."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
import shutil
from typing import Any, Final
from unittest.mock import patch

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
    async_mock_service,
    async_test_home_assistant,
)

from custom_components.emu_professional.backfill import history_pages
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu import new_records
from homeassistant.core import CoreState, HomeAssistant, ServiceCall, State, callback
from homeassistant.helpers import restore_state
from homeassistant.helpers.json import json_dumps
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from homeassistant.util.json import json_loads_object
from simulator import faults
from simulator.clock import ManualClock
from simulator.history import CurrentRatioChange, PowerFailure, VoltageRatioChange
from simulator.web import MeterServer
from tests.conftest import SERIAL_NUMBER, state_of

BLUEPRINTS: Final = Path(__file__).parent.parent / "blueprints" / "automation"
LOGBOOK: Final = f"event.emu_professional_ii_{SERIAL_NUMBER}_logbook"
POWER: Final = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_active_power"

type July = Callable[[timedelta], Coroutine[Any, Any, None]]


@pytest.fixture
def hass_config_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a folder of its own, because other tests may use blueprints meanwhile."""
    return str(tmp_path_factory.mktemp("config"))


@pytest.fixture(autouse=True)
def imported(hass: HomeAssistant, impatient: None) -> None:
    """Import the blueprints."""
    folder = Path(hass.config.path("blueprints", "automation"))
    shutil.copytree(BLUEPRINTS / "emu_professional", folder / "emu_professional")


async def use(hass: HomeAssistant, name: str, **inputs: Any) -> None:
    """Make an automation of a blueprint."""
    automation = {
        "alias": name,
        "use_blueprint": {"path": f"emu_professional/{name}.yaml", "input": inputs},
    }
    assert await async_setup_component(hass, "homeassistant", {})
    assert await async_setup_component(hass, "automation", {"automation": [automation]})
    # One that is not valid is unavailable.
    assert state_of(hass, f"automation.{name}").state == "on"


async def stop(hass: HomeAssistant, name: str) -> None:
    """Let an automation leave no timers behind."""
    await hass.services.async_call(
        "automation", "turn_off", {"entity_id": f"automation.{name}"}, blocking=True
    )
    await hass.async_block_till_done()


async def restore(hass: HomeAssistant, storage: dict[str, Any]) -> None:
    """Let a Home Assistant that starts find the states that were stored."""
    for stored in storage[restore_state.STORAGE_KEY]["data"]:
        # Each one has a registry of its own.
        stored.pop("entity_registry_id", None)
    await restore_state.async_get(hass).async_load()


def test_all_are_tested() -> None:
    """No blueprint is left out here."""
    names = {path.stem for path in BLUEPRINTS.glob("*/*.yaml")}
    assert names == {
        *("logbook_message", "peak_shaving"),
        *("monthly_export", "monthly_report"),
    }


async def test_logbook_message(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was logged is said, also of the time in which Home Assistant was off."""
    monkeypatch.setattr(new_records, "_PAUSE", 0)
    said = async_mock_service(hass, "persistent_notification", "create")

    async def look() -> list[str]:
        clock.advance(60)
        before = len(said)
        async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=310))
        await hass.async_block_till_done(wait_background_tasks=True)
        return [call.data["message"] for call in said[before:]]

    def changed(
        kind: type[CurrentRatioChange | VoltageRatioChange], primary: int
    ) -> None:
        at = datetime.fromtimestamp(clock.now(), UTC) + timedelta(seconds=10)
        server.meter.happens(kind(at, primary=primary))

    await look()
    await use(
        hass,
        "logbook_message",
        logbook=LOGBOOK,
        event_types=["current_transformer_changed", "time_changed"],
    )
    changed(CurrentRatioChange, 500)
    (message,) = await look()
    assert message.startswith("Current transformer ratio changed,")
    assert "- ct primary: 5 → 500 A" in message
    assert said[0].data["title"] == f"EMU Professional II {SERIAL_NUMBER}"
    await hass.config_entries.async_unload(loaded.entry_id)
    changed(CurrentRatioChange, 600)
    clock.advance(60)
    changed(VoltageRatioChange, 500)
    await hass.config_entries.async_setup(loaded.entry_id)
    (message,) = await look()
    assert message.startswith("Current transformer ratio changed,")
    assert "- ct primary: 500 → 600 A" in message


PEAK: Final = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_peak_demand_this_month"
LOAD: Final = "input_boolean.boiler"
SHED: Final = "input_boolean.boiler_is_shed"


class HomeWithBoiler:
    """A Home Assistant with a boiler and an automation that sheds it."""

    def __init__(
        self,
        hass: HomeAssistant,
        storage: dict[str, Any],
        freezer: Any,
        inputs: dict[str, Any],
    ) -> None:
        """Begin with a Home Assistant that runs, without the automation."""
        self.hass = hass
        self._storage = storage
        self.power = "10"
        self.peak = "unknown"
        self._freezer = freezer
        self._automation: dict[str, Any] = {
            "id": "shave",
            "alias": "Shave",
            "use_blueprint": {
                "path": "emu_professional/peak_shaving.yaml",
                "input": {
                    "power": POWER,
                    "limit": 15,
                    "resume": 12,
                    "load": LOAD,
                    "shed": SHED,
                    **inputs,
                },
            },
        }
        self._running = AsyncExitStack()

    async def set_up(self) -> None:
        """Set up what its owner has made."""
        self._show_power()
        for domain, configuration in (
            ("homeassistant", {}),
            ("input_boolean", {"boiler": {}, "boiler_is_shed": {}}),
            ("automation", [self._automation]),
        ):
            assert await async_setup_component(
                self.hass, domain, {domain: configuration}
            )
        await self.hass.async_block_till_done()
        assert state_of(self.hass, "automation.shave").state == "on"

    def _show_power(self) -> None:
        unit = {"unit_of_measurement": "kW", "device_class": "power"}
        self.hass.states.async_set(POWER, self.power, unit)
        self.hass.states.async_set(PEAK, self.peak, unit)

    async def passes(self, minutes: int, power: str | None = None) -> None:
        """Let minutes pass with a power that stays."""
        self.power = power or self.power
        self._show_power()
        for _ in range(minutes):
            self._freezer.tick(timedelta(minutes=1))
            async_fire_time_changed(self.hass)
            await self.hass.async_block_till_done()

    async def restart(self, power: str | None = None) -> None:
        """Be off for an hour, and start with the states that are restored."""
        await restore_state.async_get(self.hass).async_dump_states()
        await self.stop()
        self._freezer.tick(timedelta(hours=1))
        self.power = power or self.power
        self.hass = await self._running.enter_async_context(
            async_test_home_assistant(
                initial_state=CoreState.not_running,
                config_dir=self.hass.config.config_dir,
            )
        )
        await restore(self.hass, self._storage)
        await self.set_up()
        await self.hass.async_start()
        await self.hass.async_block_till_done()

    async def stop(self) -> None:
        """Stop Home Assistant."""
        # In a process that ends nothing else has to be stopped.
        await self.act("automation.turn_off", entity_id="automation.shave")
        await self.hass.async_stop(force=True)
        await self._running.aclose()

    async def reload(self, power: str | None = None) -> None:
        """Reload the automation, which its owner has changed."""
        self.power = power or self.power
        changed = {"description": self._automation.get("description", "") + "."}
        self._automation = {**self._automation, **changed}
        configuration = {"automation": [self._automation]}
        with patch(
            "homeassistant.config.load_yaml_config_file", return_value=configuration
        ):
            await self.act("automation.reload")

    async def act(self, action: str, **data: Any) -> None:
        """Perform an action."""
        domain, _, name = action.partition(".")
        await self.hass.services.async_call(domain, name, data, blocking=True)
        await self.hass.async_block_till_done()

    async def switch(self, entity_id: str, *, on: bool) -> None:
        """Switch something by hand."""
        await self.act(
            f"input_boolean.turn_{'on' if on else 'off'}", entity_id=entity_id
        )

    @property
    def switched(self) -> tuple[bool, bool]:
        """Whether the load is on, and whether it is shed."""
        return self._is_on(LOAD), self._is_on(SHED)

    def _is_on(self, entity_id: str) -> bool:
        return state_of(self.hass, entity_id).state == "on"


ON: Final = True, False
IS_SHED: Final = False, True
OFF: Final = False, False


@pytest.fixture
async def home(
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    freezer: Any,
    request: pytest.FixtureRequest,
) -> AsyncGenerator[HomeWithBoiler]:
    """Return a home whose boiler is on."""
    # What passes are whole minutes, which no second of today may shorten.
    freezer.move_to("2026-11-16T12:00:30Z")
    home = HomeWithBoiler(hass, hass_storage, freezer, getattr(request, "param", {}))
    await home.set_up()
    await home.switch(LOAD, on=True)
    yield home
    await home.stop()


@pytest.mark.parametrize("between", ["", "reload", "restart"])
async def test_peak_shaving(home: HomeWithBoiler, between: str) -> None:
    """The load is off while the power is above the limit, and on when there is room."""

    async def interrupt(power: str) -> None:
        if between:
            await getattr(home, between)(power=power)

    await home.passes(1, "15.1")
    await home.passes(3, "14.9")
    assert home.switched == ON
    await home.passes(1, "15.1")
    assert home.switched == ON
    await interrupt("15.1")
    await home.passes(3, "15.1")
    assert home.switched == IS_SHED
    await interrupt("15.1")
    await home.passes(11, "15.1")
    await home.passes(11, "12.1")
    await home.passes(11, "unavailable")
    assert home.switched == IS_SHED
    await home.passes(9, "11.9")
    assert home.switched == IS_SHED
    await interrupt("11.9")
    await home.passes(11, "11.9")
    assert home.switched == ON
    await interrupt("15.1")
    await home.passes(4, "15.1")
    await interrupt("11.9")
    await home.passes(12, "11.9")
    assert home.switched == ON


@pytest.mark.parametrize("between", ["reload", "restart"])
async def test_peak_shaving_leaves_alone_what_others_switch(
    home: HomeWithBoiler, between: str
) -> None:
    """Only what the automation has switched off is switched on again."""
    await home.switch(LOAD, on=False)
    for power in ("16", "10"):
        await home.passes(15, power)
        await getattr(home, between)()
        assert home.switched == OFF
    await home.switch(LOAD, on=True)
    await home.passes(3, "16")
    assert home.switched == IS_SHED
    await home.passes(1, "13")
    await getattr(home, between)()
    await home.switch(LOAD, on=True)
    await home.passes(2)
    assert home.switched == ON
    await home.switch(LOAD, on=False)
    await getattr(home, between)()
    await home.passes(15, "10")
    assert home.switched == OFF


async def test_peak_shaving_of_what_can_not_be_reached(home: HomeWithBoiler) -> None:
    """Power above the limit without a crossing, or a load that is away, is seen later."""
    await home.passes(5, "unavailable")
    await home.passes(3, "16")
    assert home.switched == IS_SHED
    await home.passes(12, "10")
    assert home.switched == ON
    home.hass.states.async_set(LOAD, "unavailable")
    await home.passes(10, "16")
    assert home.switched == OFF
    home.hass.states.async_set(LOAD, "on")
    await home.passes(1)
    assert home.switched == IS_SHED
    home.hass.states.async_set(LOAD, "unavailable")
    await home.passes(11, "10")
    assert home.switched == IS_SHED
    home.hass.states.async_set(LOAD, "off")
    await home.passes(2)
    assert home.switched == ON


@pytest.mark.parametrize("home", [{"peak": PEAK}], indirect=True)
async def test_peak_shaving_below_the_peak_of_the_month(home: HomeWithBoiler) -> None:
    """Only what would raise the month's peak is shed, and what is above the limit."""
    home.peak = "20"
    await home.passes(12, "19.9")
    assert home.switched == ON
    await home.passes(2, "20.1")
    assert home.switched == IS_SHED
    # 20 kW less the 3 kW between limit and "on again below".
    await home.passes(12, "17.1")
    assert home.switched == IS_SHED
    await home.passes(2, "unavailable")
    assert home.switched == IS_SHED
    await home.passes(2, "16.9")
    assert home.switched == ON
    await home.passes(3, "20.1")
    await home.passes(8, "16.9")
    assert home.switched == IS_SHED
    await home.passes(5)
    assert home.switched == ON
    # Another month begins, whose peak is not known or low yet.
    for peak in ("unknown", "1"):
        home.peak = peak
        await home.passes(5, "14.9")
        assert home.switched == ON
        await home.passes(3, "15.1")
        assert home.switched == IS_SHED
        await home.passes(11, "12.1")
        assert home.switched == IS_SHED
        await home.passes(11, "11.9")
        assert home.switched == ON


@pytest.fixture
async def july(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    clock: ManualClock,
    freezer: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> July:
    """Return what lets it be some time after the beginning of July.

    The meter's logger begins on 22 May, and Home Assistant may write to a folder.
    """
    # The event loop's time stands still.
    monkeypatch.setattr(new_records, "_PAUSE", 0)
    monkeypatch.setattr(history_pages, "_LONGEST_PAUSE", 0)
    monkeypatch.setattr(history_pages, "_PATIENCE", ())
    hass.config.allowlist_external_dirs = {str(tmp_path)}
    await hass.config.async_set_time_zone("Europe/Zurich")
    begin = datetime(2026, 6, 30, 22, tzinfo=UTC)
    # A poll while the clocks are moved would find the meter's a month late.
    await hass.async_block_till_done(wait_background_tasks=True)

    async def july(since: timedelta) -> None:
        clock.advance((begin + since).timestamp() - clock.now())
        freezer.move_to(begin + since)
        async_fire_time_changed(hass)
        await hass.async_block_till_done(wait_background_tasks=True)

    return july


def exported(path: Path) -> list[datetime | None]:
    """Return the first and the last stamp of a file."""
    lines = path.read_text().splitlines()
    return [
        dt_util.parse_datetime(line.split(",")[0]) for line in (lines[1], lines[-1])
    ]


async def test_monthly_export(
    hass: HomeAssistant, loaded: MockConfigEntry, july: July, tmp_path: Path
) -> None:
    """On the first of the month the file of the month before is written, once."""
    said = async_mock_service(hass, "persistent_notification", "create")
    await july(timedelta(hours=2, minutes=59, seconds=59))
    await use(
        hass, "monthly_export", meter=loaded.entry_id, folder=str(tmp_path), at="03:00"
    )
    await july(timedelta(hours=3, seconds=1))
    (call,) = said
    path = tmp_path / "meter-2026-06.csv"
    assert f"{len(path.read_text().splitlines()) - 1} records" in call.data["message"]
    assert exported(path)[1] == datetime(2026, 6, 30, 22, tzinfo=UTC)
    await july(timedelta(days=1, hours=3, seconds=1))
    assert len(said) == 1
    await stop(hass, "monthly_export")


@pytest.mark.parametrize(
    ("done", "files"),
    [
        pytest.param(None, {"06"}, id="never run"),
        pytest.param("2026-06-01T03:00:00+02:00", {"06"}, id="one month"),
        pytest.param("2026-05-01T03:00:00+02:00", {"05", "06"}, id="two months"),
        pytest.param("2026-07-01T03:00:00+02:00", set(), id="all done"),
    ],
)
async def test_monthly_export_at_the_next_start(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    july: July,
    tmp_path: Path,
    hass_storage: dict[str, Any],
    done: str | None,
    files: set[str],
) -> None:
    """Home Assistant was off at that minute: what is missing is written at its start."""
    said = async_mock_service(hass, "persistent_notification", "create")
    await july(timedelta(days=9))
    state = State("automation.monthly_export", "on", {"last_triggered": done})
    stored = restore_state.StoredState(state, None, dt_util.utcnow())
    hass_storage[restore_state.STORAGE_KEY] = {
        "version": restore_state.STORAGE_VERSION,
        "data": [json_loads_object(json_dumps(stored.as_dict()))],
    }
    await restore(hass, hass_storage)
    hass.set_state(CoreState.not_running)
    await use(hass, "monthly_export", meter=loaded.entry_id, folder=str(tmp_path))
    assert not said
    await hass.async_start()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"meter-2026-{month}.csv" for month in files
    }
    assert len(said) == len(files)
    for month in files:
        # A record at midnight ends the month before.
        ends = datetime(2026, int(month), 1), datetime(2026, int(month) + 1, 1)
        first, last = exported(tmp_path / f"meter-2026-{month}.csv")
        assert first
        assert last == ends[1].replace(tzinfo=dt_util.get_default_time_zone())
        assert first > ends[0].replace(tzinfo=dt_util.get_default_time_zone())
    await stop(hass, "monthly_export")


async def test_monthly_export_into_a_folder_that_does_not_exist(
    hass: HomeAssistant, loaded: MockConfigEntry, july: July, tmp_path: Path
) -> None:
    """The owner hears of it at once, and the file is there soon after the folder."""
    said: asyncio.Queue[str] = asyncio.Queue()

    @callback
    def say(call: ServiceCall) -> None:
        said.put_nowait(call.data["message"])

    hass.services.async_register("persistent_notification", "create", say)
    folder = tmp_path / "profiles"
    await july(timedelta(hours=2))
    await use(hass, "monthly_export", meter=loaded.entry_id, folder=str(folder))
    # Nothing that waits for an hour is waited for.
    passing = asyncio.create_task(july(timedelta(hours=3, seconds=1)))
    failure = await said.get()
    assert f"{folder}/meter-2026-06.csv" in failure
    assert "folder does not exist" in failure
    folder.mkdir()
    for _ in range(20):
        await asyncio.sleep(0)
    await july(timedelta(hours=4, seconds=2))
    assert "records until" in await said.get()
    await passing
    assert exported(folder / "meter-2026-06.csv")
    assert said.empty()
    await stop(hass, "monthly_export")


def figures(server: MeterServer, since: datetime, until: datetime) -> list[str]:
    """Return what a report must say of a time without trouble."""
    begin, end = (server.meter.registers(at) for at in (since, until))
    imported = (end.active_import - begin.active_import) / 1000
    exported = (end.active_export - begin.active_export) / 1000
    at_end = end.active_import / 1000, end.active_export / 1000
    return [
        f"- Import: {imported} kWh (T1 ",
        f"- Export: {exported} kWh (T1 ",
        f"import {at_end[0]} kWh, export {at_end[1]} kWh",
        "- Peak demand: ",
    ]


JUNE: Final = (
    datetime(2026, 5, 31, 22, tzinfo=UTC),
    datetime(2026, 6, 30, 22, tzinfo=UTC),
)


async def test_monthly_report(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    july: July,
    tmp_path: Path,
) -> None:
    """On the first of the month its figures are said, once; the file is there."""
    said = async_mock_service(hass, "persistent_notification", "create")
    await july(timedelta(hours=3, minutes=29, seconds=59))
    await use(hass, "monthly_report", meter=loaded.entry_id, folder=str(tmp_path))
    await july(timedelta(hours=3, minutes=30, seconds=1))
    (call,) = said
    message = call.data["message"]
    assert call.data["title"] == "Consumption of 2026-06"
    for figure in figures(server, *JUNE):
        assert figure in message
    assert f"- Load profile: {tmp_path}/meter-2026-06.csv" in message
    assert exported(tmp_path / "meter-2026-06.csv")[1] == JUNE[1]
    assert "Cost" not in message
    assert "logged" not in message
    assert "Power failures" not in message
    assert [line[:2] for line in message.splitlines()] == 5 * ["- "]
    await july(timedelta(days=1, hours=3, minutes=30, seconds=1))
    assert len(said) == 1
    await stop(hass, "monthly_report")


async def test_monthly_report_at_the_next_start(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    july: July,
    hass_storage: dict[str, Any],
) -> None:
    """Each month that was missed is said, with what is not as it should be in it."""
    said = async_mock_service(hass, "persistent_notification", "create")
    server.meter.happens(
        PowerFailure(JUNE[0] - timedelta(minutes=20), JUNE[0] + timedelta(hours=3))
    )
    await july(timedelta(days=9))
    state = State(
        "automation.monthly_report",
        "on",
        {"last_triggered": "2026-05-01T03:30:00+02:00"},
    )
    stored = restore_state.StoredState(state, None, dt_util.utcnow())
    hass_storage[restore_state.STORAGE_KEY] = {
        "version": restore_state.STORAGE_VERSION,
        "data": [json_loads_object(json_dumps(stored.as_dict()))],
    }
    await restore(hass, hass_storage)
    hass.set_state(CoreState.not_running)
    await use(hass, "monthly_report", meter=loaded.entry_id)
    await hass.async_start()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert [call.data["title"][-7:] for call in said] == ["2026-05", "2026-06"]
    may, june = (call.data["message"] for call in said)
    # The logger begins in May, and the failure was over the end of it.
    assert "- The first register is of 2026-05-22T" in may
    assert "kWh, logged 2026-05-31T23:30:00+02:00" in may
    assert "- The first register is of 2026-05-31T23:30:00+02:00." in june
    assert "Power failures: 1, changed transformer ratios: 0" in june
    assert "Load profile" not in june
    await stop(hass, "monthly_report")


async def test_monthly_report_of_a_meter_that_is_away(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    july: July,
    tmp_path: Path,
) -> None:
    """The owner is told at once, and of a file that can't be written in the report."""
    said: asyncio.Queue[str] = asyncio.Queue()

    @callback
    def say(call: ServiceCall) -> None:
        said.put_nowait(call.data["message"])

    hass.services.async_register("persistent_notification", "create", say)
    await july(timedelta(hours=2))
    folder = tmp_path / "profiles"
    await use(hass, "monthly_report", meter=loaded.entry_id, folder=str(folder))
    server.faults.set(faults.Status(500), path="/data/")
    # Nothing that waits for an hour is waited for.
    passing = asyncio.create_task(july(timedelta(hours=3, minutes=30, seconds=1)))
    assert "does not answer" in await said.get()
    server.faults.clear()
    for _ in range(20):
        await asyncio.sleep(0)
    await july(timedelta(hours=4, minutes=30, seconds=2))
    message = await said.get()
    assert figures(server, *JUNE)[0] in message
    assert f"could not be written to {folder}" in message
    await passing
    assert said.empty()
    await stop(hass, "monthly_report")


async def test_monthly_report_with_costs(
    hass: HomeAssistant, loaded: MockConfigEntry, july: July
) -> None:
    """Costs are said where the dashboard has any, and nothing that is unknown."""
    said = async_mock_service(hass, "persistent_notification", "create")
    energy: dict[str, Any] = {
        f"energy_{key}": 1.5 for key in ("import", "import_t1", "export", "export_t1")
    }
    energy |= {"energy_import_t2": 0, "energy_export_t2": 0}
    unknown = ("peak_demand", "power_failures", "changed_ratios")
    period = {
        "source": "statistics",
        "start_is_exact": True,
        "end_is_exact": True,
        "registers_at_end": energy,
        **energy,
        **dict.fromkeys((*unknown, "hours_without_record")),
        "cost": 121.387,
        "compensation": -0.5,
    }
    answer = {"periods": [period], "currency": "CHF"}
    async_mock_service(hass, DOMAIN, "get_consumption", response=answer)
    await july(timedelta(hours=3))
    await use(hass, "monthly_report", meter=loaded.entry_id)
    await july(timedelta(hours=3, minutes=30, seconds=1))
    (call,) = said
    assert call.data["message"].splitlines()[3:] == [
        "- Cost: 121.39 CHF",
        "- Compensation: -0.5 CHF",
    ]
    await stop(hass, "monthly_report")
