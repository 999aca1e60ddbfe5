"""From a record in the meter's logs to the automation for its event."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, override
from unittest.mock import patch

import aiohttp
from aiohttp import web
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu import new_records
from custom_components.emu_professional.emu.client import MeterClient
from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.helpers.entity import Entity
from homeassistant.setup import async_setup_component
from simulator import faults
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.history import (
    ClockChange,
    ClockSet,
    CurrentRatioChange,
    Event as MeterEvent,
    ImpulseLengthChange,
    ImpulseRatioChange,
    LogbookFull,
    NoSynchronization,
    PowerFailure,
    VoltageRatioChange,
)
from simulator.web import MeterServer
from tests.conftest import EMPTY_LOGGER, SERIAL_NUMBER, Pass, issues, state_of

LOGBOOK: Final = f"event.emu_professional_ii_{SERIAL_NUMBER}_logbook"
NOT_SYNCHRONIZED: Final = (
    f"binary_sensor.emu_professional_ii_{SERIAL_NUMBER}_time_not_synchronized"
)
FULL: Final = f"binary_sensor.emu_professional_ii_{SERIAL_NUMBER}_logbook_full"

type Look = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:
    """Remove the pause between pages."""
    monkeypatch.setattr(new_records, "_PAUSE", 0)
    monkeypatch.setattr(new_records, "_PATIENCE", (0, 0))


@pytest.fixture
def heard(hass: HomeAssistant) -> list[dict[str, Any]]:
    """Return the events received by an automation."""
    events: list[dict[str, Any]] = []

    @callback
    def note(event: Event[dict[str, Any]]) -> None:
        events.append(event.data["said"])

    hass.bus.async_listen("heard", note)
    return events


@pytest.fixture
def look(hass: HomeAssistant, clock: ManualClock, heard: list[dict[str, Any]]) -> Look:
    """Return a function to advance time; it returns the events received since."""

    async def look(minutes: int = 0) -> list[dict[str, Any]]:
        clock.advance(60 * minutes)
        before = len(heard)
        async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=310))
        await hass.async_block_till_done(wait_background_tasks=True)
        return heard[before:]

    return look


async def listen(hass: HomeAssistant) -> None:
    """Set up an automation to collect the events of the logbook."""
    automation = {
        "triggers": [{"trigger": "state", "entity_id": LOGBOOK}],
        "conditions": [
            {
                "condition": "template",
                "value_template": "{{ trigger.from_state is not none"
                " and trigger.from_state.state != 'unavailable' }}",
            }
        ],
        "actions": [
            {
                "event": "heard",
                "event_data": {"said": "{{ dict(trigger.to_state.attributes) }}"},
            }
        ],
        "mode": "queued",
        "max": 100,
    }
    assert await async_setup_component(hass, "automation", {"automation": [automation]})


@pytest.fixture
async def followed(
    hass: HomeAssistant, loaded: MockConfigEntry, look: Look
) -> MockConfigEntry:
    """Return the entry of a meter with an automation for its logs."""
    assert await look() == []
    await listen(hass)
    assert await look() == []
    return loaded


BITS: Final[dict[str, Callable[[datetime], MeterEvent]]] = {
    "power_failure": lambda at: PowerFailure(at, at + timedelta(minutes=3)),
    "no_time_synchronization": lambda at: NoSynchronization(
        at, at + timedelta(hours=2)
    ),
    "logbook_full": LogbookFull,
}

CHANGES: Final = (
    (ClockChange, {"seconds": 150}, "time_changed", {"time": None}),
    (
        CurrentRatioChange,
        {"primary": 500, "secondary": 1},
        "current_transformer_changed",
        {"ct_primary": (5, 500, "A"), "ct_secondary": (5, 1, "A")},
    ),
    (
        VoltageRatioChange,
        {"primary": 200, "secondary": 110},
        "voltage_transformer_changed",
        {"vt_primary": (100, 200, "V"), "vt_secondary": (100, 110, "V")},
    ),
    (
        ImpulseLengthChange,
        {"milliseconds": 2},
        "impulse_length_changed",
        {"s0_pulse_width": (40, 2, "ms")},
    ),
    (
        ImpulseRatioChange,
        {"impulses": 1000},
        "impulse_ratio_changed",
        {"s0_pulse_value": (10, 1000, "P/kWh")},
    ),
)


def now(clock: ManualClock) -> datetime:
    """Return the time of the simulated world."""
    return datetime.fromtimestamp(clock.now(), UTC)


@pytest.mark.usefixtures("followed")
@pytest.mark.parametrize("bit", BITS)
async def test_status_bit(
    look: Look, server: MeterServer, clock: ManualClock, bit: str
) -> None:
    """A status bit of the data logger is reported with its first record."""
    server.meter.happens(BITS[bit](now(clock)))
    (event,) = await look(minutes=46)
    assert event["event_type"] == bit
    assert event["logger_index"] == server.meter.newest_index - 2
    assert event["time"]
    assert await look(minutes=30) == []


@pytest.mark.usefixtures("followed")
@pytest.mark.parametrize(("change", "values", "kind", "pairs"), CHANGES)
async def test_change(
    look: Look,
    server: MeterServer,
    clock: ManualClock,
    change: Callable[..., MeterEvent],
    values: dict[str, int],
    kind: str,
    pairs: dict[str, tuple[int, int, str] | None],
) -> None:
    """A changed setting is heard once, with what it was and is: its bit adds nothing."""
    server.meter.happens(change(now(clock) + timedelta(minutes=2), **values))
    (event,) = await look(minutes=4)
    assert event["event_type"] == kind
    for name, pair in pairs.items():
        if pair is None:
            before, after = event[f"{name}_before"], event[f"{name}_after"]
            passed = datetime.fromisoformat(after) - datetime.fromisoformat(before)
            assert passed.total_seconds() == values["seconds"]
            continue
        keys = (f"{name}_before", f"{name}_after", f"{name}_unit")
        assert tuple(event[key] for key in keys) == pair
    others = {key for key in event if key.endswith("_after")}
    assert others == {f"{name}_after" for name in pairs}
    registers = server.meter.registers(now(clock) - timedelta(minutes=2))
    assert event["energy_import_t1"] == registers.active_import_t1 / 1000
    assert await look(minutes=30) == []


@pytest.mark.usefixtures("followed")
@pytest.mark.parametrize(
    ("change", "values", "kind"),
    [
        (
            CurrentRatioChange,
            {"primary": 5, "secondary": 5},
            "current_transformer_changed",
        ),
        (
            VoltageRatioChange,
            {"primary": 100, "secondary": 100},
            "voltage_transformer_changed",
        ),
        (ImpulseLengthChange, {"milliseconds": 40}, "impulse_length_changed"),
        (ImpulseRatioChange, {"impulses": 10}, "impulse_ratio_changed"),
    ],
)
async def test_changed_to_the_same(
    look: Look,
    server: MeterServer,
    clock: ManualClock,
    change: Callable[..., MeterEvent],
    values: dict[str, int],
    kind: str,
) -> None:
    """For a logbook record without a change, the status bit is reported."""
    server.meter.happens(change(now(clock) + timedelta(minutes=2), **values))
    (event,) = await look(minutes=16)
    assert event["event_type"] == kind
    assert event["logger_index"] == server.meter.newest_index
    assert await look(minutes=30) == []


@pytest.mark.parametrize(("change", "values", "kind", "_pairs"), CHANGES)
async def test_meter_without_logbook(
    hass: HomeAssistant,
    world_time: None,
    server: MeterServer,
    entry: MockConfigEntry,
    clock: ManualClock,
    look: Look,
    change: Callable[..., MeterEvent],
    values: dict[str, int],
    kind: str,
    _pairs: object,
) -> None:
    """A change known only to the data logger is reported by its status bit."""
    server.faults.set(faults.Status(404), path="/logbook/")
    assert await hass.config_entries.async_setup(entry.entry_id)
    await look()
    await listen(hass)
    server.meter.happens(change(now(clock) + timedelta(minutes=2), **values))
    (event,) = await look(minutes=16)
    assert event["event_type"] == kind
    assert await look(minutes=30) == []


async def test_records_of_another_meter(
    hass: HomeAssistant,
    followed: MockConfigEntry,
    look: Look,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """They are read once, and the meter's own ones after them are reported."""
    every = range(20_000)
    server.faults.set(faults.foreign_serial_number(records=every), path="/data/")
    server.faults.set(faults.foreign_serial_number(records=every), path="/logbook/")
    server.meter.happens(
        CurrentRatioChange(now(clock) + timedelta(hours=1), primary=100)
    )
    assert await look(minutes=24 * 60) == []
    before = len(server.requests)
    assert await look() == []
    assert not [r for r in server.requests[before:] if "from" in r.path]
    server.faults.clear()
    server.meter.happens(
        CurrentRatioChange(now(clock) + timedelta(hours=1), primary=101)
    )
    (event,) = await look(minutes=120)
    assert event["ct_primary_after"] == 101


async def test_off_for_a_day(
    hass: HomeAssistant,
    followed: MockConfigEntry,
    look: Look,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """Events during a downtime are reported after the start, in order and once."""
    assert await hass.config_entries.async_unload(followed.entry_id)
    for number in range(5):
        at = now(clock) + timedelta(hours=4 * number + 1)
        server.meter.happens(CurrentRatioChange(at, primary=100 + number))
    clock.advance(24 * 3600)
    assert await hass.config_entries.async_setup(followed.entry_id)
    events = await look()
    assert [event["ct_primary_after"] for event in events] == [100, 101, 102, 103, 104]
    assert await look(minutes=5) == []
    assert await hass.config_entries.async_reload(followed.entry_id)
    assert await look() == []


async def test_history_before_is_not_news(
    hass: HomeAssistant,
    world_time: None,
    entry: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    heard: list[dict[str, Any]],
    look: Look,
) -> None:
    """Events from before a meter was added are not reported."""
    for days in range(1, 6):
        at = now(clock) - timedelta(days=days)
        server.meter.happens(CurrentRatioChange(at, primary=100 + days))
    await listen(hass)
    assert await hass.config_entries.async_setup(entry.entry_id)
    assert await look() == []
    assert state_of(hass, LOGBOOK).state == "unknown"
    assert await look(minutes=20) == []


@pytest.mark.usefixtures("followed")
async def test_first_record_of_an_empty_logbook(
    look: Look, server: MeterServer, clock: ManualClock
) -> None:
    """The first record of all is news, if the logbook was seen to be empty before."""
    server.meter.happens(ImpulseRatioChange(now(clock) + timedelta(seconds=10)))
    (event,) = await look(minutes=1)
    assert event["event_type"] == "impulse_ratio_changed"


async def test_slow_meter_is_asked_when_something_can_be_new(
    loaded: MockConfigEntry, server: MeterServer, clock: ManualClock, look: Look
) -> None:
    """A meter with 12 s per record is asked for due records only."""
    await look()
    client = loaded.runtime_data.meter.client
    for is_slow, least, most in ((False, 6, 6), (True, 1, 2)):
        for _ in range(3):
            client.pace.learn(1, 12.0 * is_slow, 12.0 * is_slow)
        looks = []
        for _ in range(6):
            server.requests.clear()
            await look(5)
            paths = [request.path.split("?")[0] for request in server.requests]
            looks.append("/data/" in paths or "/logbook/" in paths)
        assert least <= sum(looks) <= most


@pytest.mark.usefixtures("followed")
async def test_slow_meter_without_its_clock(
    entry: MockConfigEntry, server: MeterServer, clock: ManualClock, look: Look
) -> None:
    """By a clock that counts from 1970 no record would be due: it is asked all the same."""
    for _ in range(3):
        entry.runtime_data.meter.client.pace.learn(1, 12.0, 12.0)
    lost = now(clock) + timedelta(seconds=10)
    server.meter.happens(ClockSet(lost, 60 - int(lost.timestamp())))
    events = [*await look(minutes=1), *await look(minutes=20)]
    assert [event["event_type"] for event in events] == ["time_changed"]


@pytest.mark.usefixtures("followed")
async def test_lost_in_the_middle(
    look: Look, server: MeterServer, clock: ManualClock
) -> None:
    """Events of failed requests are reported later, and none twice."""
    server.meter.happens(ImpulseRatioChange(now(clock) + timedelta(seconds=10)))
    server.faults.set(faults.ConnectionReset(), path="/logbook/")
    assert await look(minutes=1) == []
    server.faults.clear()
    assert len(await look()) == 1
    assert await look() == []


async def test_meter_without_logs(
    hass: HomeAssistant,
    world_time: None,
    config: MeterConfig,
    server: MeterServer,
    entry: MockConfigEntry,
    look: Look,
) -> None:
    """A meter without logs has no entities for them."""
    for path in ("/logbook/", "/data/"):
        server.faults.set(faults.Status(404), path=path)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await look()
    for entity_id in (LOGBOOK, NOT_SYNCHRONIZED, FULL):
        assert hass.states.get(entity_id) is None
    server.faults.clear()
    await look()
    assert state_of(hass, LOGBOOK)


UNREADABLE: Final = [
    faults.Status(500),
    faults.Status(403),
    faults.garbage(),
    faults.Body(b"2026-05-31T10:00:00Z;17;0;22350001" + b";1" * 24 + b"\n"),
]
"""What may come instead of a logbook, or of a data logger."""


@pytest.mark.parametrize("fault", UNREADABLE, ids=repr)
async def test_logbook_that_can_never_be_read(
    hass: HomeAssistant,
    world_time: None,
    server: MeterServer,
    entry: MockConfigEntry,
    look: Look,
    clock: ManualClock,
    fault: faults.Fault,
) -> None:
    """The data logger is followed all the same, with its events."""
    server.faults.set(fault, path="/logbook/")
    assert await hass.config_entries.async_setup(entry.entry_id)
    await look()
    await listen(hass)
    assert state_of(hass, NOT_SYNCHRONIZED).state == "off"
    server.meter.happens(PowerFailure(now(clock), now(clock) + timedelta(minutes=3)))
    (event,) = await look(minutes=16)
    assert event["event_type"] == "power_failure"


@pytest.mark.usefixtures("followed")
@pytest.mark.parametrize("fault", UNREADABLE, ids=repr)
async def test_logbook_that_begins_to_fail(
    hass: HomeAssistant,
    look: Look,
    server: MeterServer,
    clock: ManualClock,
    fault: faults.Fault,
) -> None:
    """For an hour its records may still come; then the data logger alone counts."""
    at = now(clock)
    server.meter.happens(NoSynchronization(at, at + timedelta(minutes=40)))
    await look(minutes=16)
    server.faults.set(fault, path="/logbook/")
    server.meter.happens(CurrentRatioChange(now(clock) + timedelta(minutes=1)))
    assert [await look(minutes=5) for _ in range(12)] == [[]] * 12
    assert state_of(hass, NOT_SYNCHRONIZED).state == "on"
    events = [*await look(minutes=5), *await look(minutes=16)]
    assert [event["event_type"] for event in events] == ["current_transformer_changed"]
    assert state_of(hass, NOT_SYNCHRONIZED).state == "off"
    assert issues(hass) == set()
    server.faults.clear()
    server.meter.happens(CurrentRatioChange(now(clock) + timedelta(minutes=1)))
    events = await look(minutes=20)
    assert "current_transformer_changed" in [event["event_type"] for event in events]


@pytest.mark.usefixtures("followed")
@pytest.mark.parametrize("fault", UNREADABLE, ids=repr)
async def test_data_logger_that_fails(
    look: Look, server: MeterServer, clock: ManualClock, fault: faults.Fault
) -> None:
    """Records of the logbook are reported at once, and their bits not once more."""
    server.faults.set(fault, path="/data/")
    server.meter.happens(CurrentRatioChange(now(clock) + timedelta(minutes=1)))
    (event,) = await look(minutes=20)
    assert event["event_type"] == "current_transformer_changed"
    server.faults.clear()
    assert await look(minutes=20) == []


@pytest.mark.usefixtures("followed")
async def test_lasting_problems(
    hass: HomeAssistant, look: Look, server: MeterServer, clock: ManualClock
) -> None:
    """They last as long as records say so, as do the issues about them."""
    assert state_of(hass, NOT_SYNCHRONIZED).state == "off"
    at = now(clock)
    server.meter.happens(NoSynchronization(at, at + timedelta(minutes=40)))
    server.meter.happens(LogbookFull(at))
    await look(minutes=16)
    assert state_of(hass, NOT_SYNCHRONIZED).state == "on"
    assert state_of(hass, FULL).state == "on"
    assert issues(hass) == {"not_synchronized", "logbook_full"}
    await look(minutes=60)
    assert state_of(hass, NOT_SYNCHRONIZED).state == "off"
    assert state_of(hass, FULL).state == "on"
    assert issues(hass) == {"logbook_full"}


@pytest.mark.parametrize("of_area", [False, True])
async def test_trigger_of_device_or_area(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    look: Look,
    server: MeterServer,
    clock: ManualClock,
    device_registry: dr.DeviceRegistry,
    *,
    of_area: bool,
) -> None:
    """`event.received` of the meter, or of its area, fires for a logged event."""
    (device,) = dr.async_entries_for_config_entry(device_registry, loaded.entry_id)
    device_registry.async_update_device(device.id, area_id="cellar")
    automation = {
        "triggers": {
            "trigger": "event.received",
            "target": {"area_id": "cellar"} if of_area else {"device_id": device.id},
            "options": {"event_type": "logbook_full"},
        },
        "actions": {"event": "heard", "event_data": {"said": {}}},
    }
    await look()
    assert await async_setup_component(hass, "automation", {"automation": [automation]})
    server.meter.happens(LogbookFull(now(clock)))
    assert len(await look(minutes=16)) == 1


async def test_renamed_entities(
    hass: HomeAssistant,
    followed: MockConfigEntry,
    look: Look,
    server: MeterServer,
    clock: ManualClock,
    entity_registry: er.EntityRegistry,
) -> None:
    """Entities continue under another entity id; from 2026.11 on none is added again."""
    entities = er.async_entries_for_config_entry(entity_registry, followed.entry_id)
    added_again = []

    async def remove(entity: Entity, **kwargs: Any) -> None:
        added_again.append(entity.entity_id)
        await original(entity, **kwargs)

    original = Entity.async_remove
    with patch.object(Entity, "async_remove", remove):
        for entity in entities:
            renamed = f"{entity.entity_id}_renamed"
            entity_registry.async_update_entity(entity.entity_id, new_entity_id=renamed)
        await hass.async_block_till_done()
    assert not (added_again and hasattr(Entity, "async_entity_id_changed"))
    server.meter.happens(LogbookFull(now(clock)))
    await look(minutes=16)
    assert state_of(hass, f"{FULL}_renamed").state == "on"
    event = state_of(hass, f"{LOGBOOK}_renamed")
    assert event.attributes["event_type"] == "logbook_full"
    assert hass.states.get(LOGBOOK) is None


@pytest.mark.usefixtures("followed")
@pytest.mark.parametrize("path", ["/data/", "/logbook/"])
@pytest.mark.parametrize("text", ["0", "1", "999999"])
async def test_damaged_index_of_the_newest_record(
    look: Look, server: MeterServer, clock: ManualClock, path: str, text: str
) -> None:
    """The log has not restarted: nothing is reported twice, and nothing is lost."""
    meter = server.meter
    for primary in (100, 200, 300):
        meter.happens(CurrentRatioChange(now(clock), primary=primary))
        assert len(await look(minutes=16)) == 1
    meter.happens(CurrentRatioChange(now(clock), primary=400))
    clock.advance(16 * 60)
    newest, column = meter.newest_index, 2
    if path == "/logbook/":
        newest, column = meter.logbook.newest_index(int(clock.now())), 3
    server.requests.clear()
    server.faults.set(faults.ReplacedField(column, text, newest), path=path)
    reported = await look()
    assert len(server.requests) < 20
    server.faults.clear()
    reported += await look(minutes=16)
    assert [each["event_type"] for each in reported] == ["current_transformer_changed"]


async def test_known_after_a_restart(
    hass: HomeAssistant,
    followed: MockConfigEntry,
    look: Look,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """The last known state of the logs stays until the next look."""
    server.meter.happens(LogbookFull(now(clock)))
    await look(minutes=16)
    told = state_of(hass, LOGBOOK).state
    server.requests.clear()
    await hass.config_entries.async_reload(followed.entry_id)
    assert state_of(hass, LOGBOOK).state == told
    assert state_of(hass, NOT_SYNCHRONIZED).state == "off"
    assert state_of(hass, FULL).state == "on"
    assert issues(hass) == {"logbook_full"}
    assert not [
        r for r in server.requests if r.path.startswith(("/logbook/", "/data/"))
    ]


@pytest.mark.parametrize("times", [1, 3])
async def test_new_records_of_a_busy_meter(server: MeterServer, times: int) -> None:
    """An empty answer does not mean that the log has lost them."""
    async with aiohttp.ClientSession() as session:
        client = MeterClient(session, server.host, server.port)
        newest = await new_records.newest_record(client.newest_records, 20)
        assert newest
        first = newest.index - 250
        server.faults.set(EMPTY_LOGGER, path="/data/", times=times)
        records = await new_records.records_after(client.records, first, newest, 3000)
    assert [r.index for r in records] == list(range(first + 1, newest.index + 1))


async def test_clock_is_off(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """More than a minute is an issue, until the clock is right again."""
    server.meter.set_clock_offset(50)
    await pass_time(20)
    assert not issues(hass)
    server.meter.set_clock_offset(-90)
    await pass_time(20)
    assert issues(hass) == {"clock_off"}
    server.meter.set_clock_offset(0)
    await pass_time(20)
    assert not issues(hass)


async def test_disabled_meter_has_no_issues(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """They are withdrawn, however its entry was unloaded, and return with it."""
    entries = hass.config_entries
    server.meter.set_clock_offset(-90)
    await pass_time(20)
    for is_away in (False, True):
        assert issues(hass) == {"clock_off"}
        if is_away:
            server.faults.set(faults.CloseWithoutAnswer())
            await entries.async_reload(loaded.entry_id)
            assert loaded.state is ConfigEntryState.SETUP_RETRY
            assert issues(hass) == {"clock_off"}
        await entries.async_set_disabled_by(loaded.entry_id, ConfigEntryDisabler.USER)
        assert not issues(hass)
        server.faults.clear()
        await entries.async_set_disabled_by(loaded.entry_id, None)
        await hass.async_block_till_done()


async def test_old_firmware(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """A firmware too old for network updates raises an issue."""
    for version, expected in (
        ("1.0.5", {"firmware_old"}),
        ("1.0.6", set()),
        ("unknown", set()),
    ):
        server.meter.settings = replace(server.meter.settings, software_version=version)
        await pass_time(16 * 60, interval=60)
        assert issues(hass) == expected


async def test_issues_of_a_removed_meter(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """A missing password is no issue; with the meter its issues go."""
    assert not issues(hass)
    server.meter.settings = replace(server.meter.settings, software_version="1.0.5")
    await pass_time(16 * 60, interval=60)
    assert issues(hass) == {"firmware_old"}
    await hass.config_entries.async_remove(loaded.entry_id)
    assert not issues(hass)


@pytest.mark.usefixtures("followed")
async def test_get_logbook(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """The action returns the records of a window."""
    times = [now(clock) + timedelta(minutes=5 * number) for number in range(1, 4)]
    for number, at in enumerate(times):
        server.meter.happens(CurrentRatioChange(at, primary=100 + number))
    clock.advance(3600)

    async def ask(**data: Any) -> list[int]:
        answer = await hass.services.async_call(
            DOMAIN,
            "get_logbook",
            {"config_entry_id": loaded.entry_id, **data},
            blocking=True,
            return_response=True,
        )
        assert answer
        assert answer["serial_number"] == SERIAL_NUMBER
        records: Any = answer["records"]
        return [record["ct_primary_after"] for record in records]

    assert await ask() == [100, 101, 102]
    assert await ask(start=times[0], end=times[1]) == [101]


class EmptyAfterTheFirst(faults.Fault):
    """Only `last=1` is answered rightly, everything else with nothing."""

    @override
    async def answer(
        self, request: web.Request, respond: faults.Respond
    ) -> web.StreamResponse:
        """Answer a request."""
        if request.query.get("last") == "1":
            return await respond()
        return await faults.empty_body().answer(request, respond)


@pytest.mark.usefixtures("followed")
async def test_first_look_at_an_empty_page(
    look: Look,
    server: MeterServer,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An empty page instead of the new record is requested again later."""
    server.meter.happens(ImpulseRatioChange(now(clock) + timedelta(seconds=10)))
    server.faults.set(EmptyAfterTheFirst(), path="/logbook/")
    assert await look(minutes=1) == []
    server.faults.clear()
    assert len(await look()) == 1
    assert await look() == []
    assert not [r for r in caplog.records if r.levelname in ("ERROR", "WARNING")]


@pytest.mark.usefixtures("followed")
async def test_logbook_that_is_gone_for_a_moment(
    look: Look, server: MeterServer, clock: ManualClock
) -> None:
    """A change is not reported twice, for its bit and for its record; only what lasts counts."""
    at = now(clock) + timedelta(minutes=2)
    server.meter.happens(CurrentRatioChange(at, primary=100))
    assert len(await look(minutes=20)) == 1
    assert await look(minutes=60) == []
    server.meter.happens(CurrentRatioChange(now(clock), primary=200))
    server.faults.set(faults.Status(404), path="/logbook/")
    assert await look(minutes=20) == []
    server.faults.clear()
    (event,) = await look()
    assert event["ct_primary_after"] == 200
    assert await look(minutes=20) == []
    server.faults.set(faults.Status(404), path="/logbook/")
    server.meter.happens(CurrentRatioChange(now(clock), primary=300))
    looks = [await look(minutes=5) for _ in range(15)]
    assert sum(map(len, looks)) == 1


@pytest.mark.usefixtures("followed")
async def test_get_logbook_without_gaps(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
) -> None:
    """Missing records are counted, with any faults of the pages."""
    for number in range(1, 121):
        at = now(clock) + timedelta(seconds=number)
        server.meter.happens(CurrentRatioChange(at, primary=100 + number))
    clock.advance(3600)
    everything = list(range(101, 221))
    first = server.meter.logbook_records()[0].index
    for fault, times, missing, refused in (
        (None, 0, (), {}),
        (faults.CutLine(records=first + 40), 1, (), {}),
        (faults.BrokenLine(20, first + 6), 1, (), {}),
        (
            faults.BrokenLine(20, first + 6),
            None,
            (107,),
            {"20 columns instead of 21": 1},
        ),
        (
            faults.BrokenLine(20, first + 119),
            None,
            (220,),
            {"20 columns instead of 21": 1},
        ),
        (faults.MissingLine(first + 6), None, (107,), {"missing": 1}),
        (faults.empty_body(), 1, (), {}),
        (
            faults.foreign_serial_number(records=[first + 6]),
            None,
            (107,),
            {"another serial number": 1},
        ),
    ):
        if fault:
            server.faults.set(fault, path="/logbook/", times=times)
        answer = await get_logbook(hass, loaded)
        server.faults.clear()
        primaries = [record["ct_primary_after"] for record in answer["records"]]
        assert primaries == [each for each in everything if each not in missing], fault
        assert answer["refused"] == refused, fault
    server.faults.set(EmptyAfterTheFirst(), path="/logbook/")
    answer = await get_logbook(hass, loaded)
    assert [record["ct_primary_after"] for record in answer["records"]] == [220]
    # An answer without a logbook line is an error, not an empty logbook.
    server.faults.set(faults.garbage(), path="/logbook/")
    with pytest.raises(HomeAssistantError, match="can't be read"):
        await get_logbook(hass, loaded)
    # Reading continues after an early end of an answer without length.
    server.faults.clear()
    server.faults.set(faults.SilentCut(59), path="/logbook/")
    answer = await get_logbook(hass, loaded)
    primaries = [record["ct_primary_after"] for record in answer["records"]]
    assert primaries == everything
    assert answer["refused"] == {}


async def get_logbook(hass: HomeAssistant, entry: MockConfigEntry) -> dict[str, Any]:
    """Return the whole logbook as the action answers."""
    answer = await hass.services.async_call(
        DOMAIN,
        "get_logbook",
        {"config_entry_id": entry.entry_id},
        blocking=True,
        return_response=True,
    )
    assert answer
    return answer
