"""Faults between Home Assistant and the meter, as seen by the owner."""

import logging

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
)

from custom_components.emu_professional.outages import Outage
from homeassistant.config_entries import SOURCE_REAUTH
from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from simulator import faults
from simulator.clock import ManualClock
from simulator.web import MeterServer

from .conftest import SERIAL_NUMBER, Pass

PREFIX = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_"
POWER = f"{PREFIX}active_power"
REGISTER = f"{PREFIX}energy_import"
CURRENT = f"{PREFIX}current_l1"
NTP = f"binary_sensor.emu_professional_ii_{SERIAL_NUMBER}_time_synchronization"
ALL = {POWER, REGISTER, CURRENT, NTP}

pytestmark = pytest.mark.usefixtures("loaded", "impatient")


def states(hass: HomeAssistant) -> dict[str, str]:
    """Return the states of all entities with values of the meter."""
    return {
        state.entity_id: state.state
        for state in hass.states.async_all(("binary_sensor", "sensor"))
        if "statistics_fill" not in state.entity_id
    }


def unknown(hass: HomeAssistant) -> set[str]:
    """Return the entities with an unknown state."""
    return {name for name, state in states(hass).items() if state == STATE_UNKNOWN}


def ours(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Return our log messages since the last call."""
    lines = [
        (record.levelno, record.getMessage())
        for record in caplog.records
        if record.name.startswith("custom_components.emu_professional")
        and record.levelno >= logging.INFO
    ]
    caplog.clear()
    return lines


def name(fault: faults.Fault) -> str:
    """Return a short name of a fault."""
    return type(fault).__name__


UNREADABLE = [
    faults.Silent(),
    faults.Slow(60),
    faults.Drip(0.2),
    faults.ConnectionReset(),
    faults.CloseWithoutAnswer(),
    faults.CloseHalfway(),
    faults.Status(404),
    faults.Status(500),
    faults.Status(503),
    faults.Redirect("http://192.0.2.1/"),
    faults.garbage(),
    faults.empty_body(),
    faults.TruncatedJson(),
    faults.not_an_object(),
    faults.HugeBody(),
]


@pytest.mark.parametrize("fault", UNREADABLE, ids=name)
async def test_lasting_fault(
    hass: HomeAssistant,
    server: MeterServer,
    pass_time: Pass,
    caplog: pytest.LogCaptureFixture,
    fault: faults.Fault,
) -> None:
    """Short: nothing happens. Long: all unavailable, one line. Over: one line."""
    await pass_time(5)
    before = states(hass)
    assert STATE_UNAVAILABLE not in before.values()
    assert ours(caplog) == []

    server.faults.set(fault)
    await pass_time(25)
    assert states(hass) == before
    assert ours(caplog) == []

    await pass_time(35)
    assert set(states(hass).values()) == {STATE_UNAVAILABLE}
    ((level, line),) = ours(caplog)
    assert level == logging.ERROR
    assert f"http://{server.host}:{server.port}" in line

    server.faults.clear()
    await pass_time(5)
    after = states(hass)
    assert STATE_UNAVAILABLE not in after.values()
    assert after[POWER] == server.meter.meter_data()["p_L123_act_e"]
    ((level, line),) = ours(caplog)
    assert (level, "recovered" in line) == (logging.INFO, True)


@pytest.mark.parametrize("fault", [*UNREADABLE, faults.Status(401)], ids=name)
async def test_one_lost_poll(
    hass: HomeAssistant,
    server: MeterServer,
    pass_time: Pass,
    caplog: pytest.LogCaptureFixture,
    fault: faults.Fault,
) -> None:
    """A single lost poll leaves no trace."""
    changes = async_capture_events(hass, "state_changed")
    server.faults.set(fault)
    await pass_time(5)
    server.faults.clear()
    assert not changes
    await pass_time(5)
    assert changes
    assert all(event.data["new_state"].state != STATE_UNAVAILABLE for event in changes)
    assert ours(caplog) == []


async def test_stopped_for_eight_seconds(
    hass: HomeAssistant, server: MeterServer, pass_time: Pass
) -> None:
    """An outage of 8 s makes nothing unavailable."""
    await server.stop()
    await pass_time(8)
    assert STATE_UNAVAILABLE not in states(hass).values()
    await server.start()
    await pass_time(5)
    assert states(hass)[POWER] == server.meter.meter_data()["p_L123_act_e"]


async def test_stopped_for_a_minute(
    hass: HomeAssistant,
    server: MeterServer,
    pass_time: Pass,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An outage of 60 s makes everything unavailable until its end."""
    await server.stop()
    await pass_time(60)
    assert set(states(hass).values()) == {STATE_UNAVAILABLE}
    assert len(ours(caplog)) == 1
    await server.start()
    await pass_time(5)
    assert STATE_UNAVAILABLE not in states(hass).values()
    assert len(ours(caplog)) == 1


async def test_clock_of_home_assistant_set_back(
    hass: HomeAssistant,
    server: MeterServer,
    pass_time: Pass,
    clock: ManualClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its last readings, of an hour later, do not stay for that hour."""
    await pass_time(5)
    server.faults.set(faults.ConnectionReset())
    clock.advance(-3600)
    await pass_time(60)
    assert set(states(hass).values()) == {STATE_UNAVAILABLE}
    ((level, _),) = ours(caplog)
    assert level == logging.ERROR


async def test_register_that_stays_unreadable(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    pass_time: Pass,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The outages of all other registers are noted all the same."""
    outages: list[Outage] = []
    odd = faults.ReplacedValues({"wpulse_cnt_L123_e": "-0.001"})
    await pass_time(20)
    loaded.runtime_data.meter.async_watch_outages(outages.append)
    server.faults.set(odd, path="/meterdata.json")
    await pass_time(3700, interval=50)
    assert len(outages) == 1
    server.faults.set(faults.Status(503))
    await pass_time(600, interval=50)
    server.faults.clear()
    server.faults.set(odd, path="/meterdata.json")
    await pass_time(5)
    assert outages[1].until - outages[1].since == pytest.approx(600, abs=60)
    assert ours(caplog)


async def test_password_changed(
    hass: HomeAssistant,
    server: MeterServer,
    pass_time: Pass,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a change of the password the owner is asked for it, with one log line."""
    server.meter.password = "new"
    await pass_time(40)
    assert set(states(hass).values()) == {STATE_UNAVAILABLE}
    ((level, line),) = ours(caplog)
    assert level == logging.ERROR
    assert "password" in line
    assert not hass.config_entries.flow.async_progress()
    await pass_time(10 * 60)
    (flow,) = hass.config_entries.flow.async_progress()
    assert flow["context"]["source"] == SOURCE_REAUTH
    assert not ours(caplog)


async def test_second_connection_refused(
    hass: HomeAssistant, server: MeterServer, pass_time: Pass
) -> None:
    """A meter with a single connection is polled as well as any other."""
    server.connections = 1
    await pass_time(30)
    assert server.refused_connections == 0
    assert states(hass)[POWER] == server.meter.meter_data()["p_L123_act_e"]


async def test_wrong_content_type(
    hass: HomeAssistant, server: MeterServer, pass_time: Pass
) -> None:
    """The content type of an answer does not matter."""
    server.faults.set(faults.ContentType())
    await pass_time(5)
    assert states(hass)[POWER] == server.meter.meter_data()["p_L123_act_e"]


@pytest.mark.parametrize(
    "fault",
    [
        faults.MissingKeys("i_L1_act_e"),
        faults.null_values("i_L1_act_e"),
        faults.dash_values("i_L1_act_e"),
    ],
    ids=["missing", "null", "dash"],
)
async def test_missing_value(
    hass: HomeAssistant,
    server: MeterServer,
    pass_time: Pass,
    caplog: pytest.LogCaptureFixture,
    fault: faults.Fault,
) -> None:
    """A missing value makes one entity unknown, not the others."""
    before = unknown(hass)
    server.faults.set(fault)
    await pass_time(5)
    assert unknown(hass) - before == {CURRENT}
    server.faults.clear()
    await pass_time(5)
    assert states(hass)[CURRENT] == server.meter.meter_data()["i_L1_act_e"]
    assert ours(caplog) == []


@pytest.mark.parametrize(
    ("key", "value", "entity_id"),
    [
        ("wpulse_cnt_L123_e", "0.000", REGISTER),
        ("wpulse_cnt_L123_e", "99999999.999", REGISTER),
        ("wpulse_cnt_L123_e", "NaN", REGISTER),
        ("wpulse_cnt_L123_e", "-1.000", REGISTER),
        ("i_L1_act_e", "1e999", CURRENT),
        ("i_L1_act_e", "99999999.999", CURRENT),
        ("i_L1_act_e", [1, [2]], CURRENT),
        ("i_L1_act_e", "<script>alert(1)</script>", CURRENT),
        ("i_L1_act_e", faults.Literal("1e999"), CURRENT),
        ("i_L1_act_e", faults.Literal("NaN"), CURRENT),
    ],
)
async def test_value_that_cannot_be_right(
    hass: HomeAssistant,
    server: MeterServer,
    pass_time: Pass,
    caplog: pytest.LogCaptureFixture,
    key: str,
    value: faults.Json,
    entity_id: str,
) -> None:
    """Not written, one warning; the value before stays for a while."""
    await pass_time(5)
    before = states(hass)[entity_id]
    changes = async_capture_events(hass, "state_changed")
    server.faults.set(faults.ReplacedValues({key: value}))
    await pass_time(30)
    assert entity_id not in {event.data["entity_id"] for event in changes}
    assert states(hass)[entity_id] == before
    ((level, line),) = ours(caplog)
    assert level == logging.WARNING
    assert "can't be right" in line

    await pass_time(10)
    assert states(hass)[entity_id] == STATE_UNKNOWN
    assert states(hass)[POWER] == server.meter.meter_data()["p_L123_act_e"]

    server.faults.clear()
    await pass_time(5)
    assert states(hass)[entity_id] == server.meter.meter_data()[key]
    assert ours(caplog) == []


async def test_another_meter_takes_the_address(
    hass: HomeAssistant,
    server: MeterServer,
    pass_time: Pass,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After an interruption no value of another meter is shown."""
    await pass_time(5)
    before = states(hass)[REGISTER]
    server.faults.set(faults.ConnectionReset(), times=2)
    server.meter.status_override["meterserial"] = "22350099"
    server.meter.override["wpulse_cnt_L123_e"] = "777777.777"
    await pass_time(25)
    assert states(hass)[REGISTER] == before
    await pass_time(10)
    assert states(hass)[REGISTER] == STATE_UNAVAILABLE
    ((_, line),) = ours(caplog)
    assert "22350099" in line
