"""The JSON documents have the manual's keys, order and formats."""

from datetime import UTC, datetime
import json
from pathlib import Path
import re
from typing import Any

from hypothesis import given, strategies as st
import pytest

from simulator.clock import ManualClock
from simulator.config import MeterConfig, Settings
from simulator.documents import Literal, decimal, rendered
from simulator.meter import Meter

FIXTURES = Path(__file__).parent.parent / "fixtures"
NOON = datetime(2026, 6, 1, 10, tzinfo=UTC)


def manual(name: str) -> dict[str, Any]:
    """Return a document of the manual."""
    document: dict[str, Any] = json.loads((FIXTURES / name).read_text("utf-8"))
    return document


def shape(value: object) -> str:
    """Return what a value looks like: its type and, of a string, its decimals."""
    if isinstance(value, str) and re.fullmatch(r"-?\d+\.\d+", value):
        return f"{len(value.partition('.')[2])} decimals"
    return type(value).__name__


def shapes(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return keys in their order, each with the shape of its value."""
    return [(key, shape(value)) for key, value in document.items()]


def test_meter_data_looks_like_the_manual(meter: Meter) -> None:
    """Meter data looks like the manual."""
    document = json.loads(rendered(meter.meter_data()))
    assert shapes(document) == shapes(manual("meterdata.json"))
    assert len(document) == 103
    assert document["showMinMax"] is True


def test_meter_data_without_extremes_ends_with_the_switch(clock: ManualClock) -> None:
    """Meter data without extremes ends with the switch."""
    meter = Meter(MeterConfig(show_min_max=False), clock)
    document = json.loads(rendered(meter.meter_data()))
    assert shapes(document) == shapes(manual("meterdata.json"))[: len(document)]
    assert list(document)[-1] == "showMinMax"
    assert document["showMinMax"] is False


def test_status_looks_like_the_manual(meter: Meter) -> None:
    """Status looks like the manual."""
    document = json.loads(rendered(meter.status()))
    expected = manual("status.json")
    assert shapes(document) == shapes(expected)
    assert document["meterserial"] == "22350001"
    assert document["networkmac"] == "10:2C:EF:55:08:B1"


def test_status_follows_the_settings(clock: ManualClock) -> None:
    """Status follows the settings."""
    settings = Settings(
        dhcp=True,
        ip_address="192.0.2.1",
        subnet_mask="192.0.2.2",
        gateway="192.0.2.3",
        dns_server="192.0.2.4",
        modbus=False,
        modbus_port=1502,
        ntp=False,
        ntp_server="192.0.2.5",
        factory_number=9,
        mac_address="10:2C:EF:02:02:FA",
        software_version="1.0.14",
        online_update=False,
    )
    meter = Meter(MeterConfig(serial_number="21320281", settings=settings), clock)
    assert list(meter.status().values()) == [
        *(True, "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"),
        *(False, 1502, False, "192.0.2.5", "21320281", 9, int(NOON.timestamp())),
        *("10:2C:EF:02:02:FA", "1.0.14", False),
    ]
    meter.settings = Settings()
    assert meter.status()["mbactive"] is True


def test_meter_data_says_what_the_queries_say(meter: Meter) -> None:
    """Meter data says what the queries say."""
    document = meter.meter_data()
    snapshot, extremes = meter.snapshot(), meter.extremes()
    registers, values = snapshot.registers, snapshot.momentary
    assert document["wpulse_cnt_L123_e"] == decimal(registers.active_import, 3)
    assert document["wpulse_cnt_L123_T1_e"] == decimal(registers.active_import_t1, 3)
    assert document["wpulse_cnt_L123_T2_e"] == decimal(registers.active_import_t2, 3)
    assert document["wpulse_cnt_ex_L123_e"] == decimal(registers.active_export, 3)
    assert document["wpulse_cnt_ex_L123_T1_e"] == decimal(registers.active_export_t1, 3)
    assert document["wpulse_cnt_ex_L123_T2_e"] == decimal(registers.active_export_t2, 3)
    assert document["p_L123_act_e"] == decimal(values.active_power_total, 3)
    assert document["p_L2_act_e"] == decimal(values.active_power.l2, 3)
    assert document["q_L123_act_e"] == decimal(values.reactive_power_total, 3)
    assert document["q_L3_act_e"] == decimal(values.reactive_power.l3, 3)
    assert document["i_L123_act_e"] == decimal(values.current_total, 3)
    assert document["i_L1_act_e"] == decimal(values.current.l1, 3)
    assert document["u_L2_act_e"] == decimal(values.voltage.l2, 1)
    assert document["pf_L3_act_e"] == decimal(values.power_factor.l3, 2)
    assert document["f_L123_act_e"] == decimal(values.frequency, 1)
    assert document["p_min_L123_e"] == decimal(extremes.minima[3].value, 3)
    assert document["ts_p_min_L123_e"] == extremes.minima[3].at
    assert document["pf_max_L1_e"] == decimal(extremes.maxima[15].value, 2)
    assert document["ts_pf_max_L1_e"] == extremes.maxima[15].at


@pytest.mark.parametrize(
    ("serial_number", "shown"),
    [("22349999", False), ("22350000", True), ("22350001", True), ("9", False)],
)
def test_only_newer_meters_show_extremes(
    clock: ManualClock, serial_number: str, shown: bool
) -> None:
    """Only newer meters show extremes."""
    meter = Meter(MeterConfig(serial_number=serial_number), clock)
    assert meter.meter_data()["showMinMax"] is shown
    opposite = Meter(
        MeterConfig(serial_number=serial_number, show_min_max=not shown), clock
    )
    assert opposite.meter_data()["showMinMax"] is not shown


def test_wrong_clock_stamps_wrongly_and_measures_rightly(clock: ManualClock) -> None:
    """Wrong clock stamps wrongly and measures rightly."""
    right = Meter(MeterConfig(), clock)
    wrong = Meter(MeterConfig(clock_offset=-90), clock)
    data, expected = wrong.meter_data(), right.meter_data()
    assert data["meterdatetime"] == int(NOON.timestamp()) - 90
    assert wrong.status()["meterdatetime"] == int(NOON.timestamp()) - 90
    for key, value in expected.items():
        if key.startswith("ts_"):
            assert isinstance(value, int)
            assert data[key] == value - 90
        elif key != "meterdatetime":
            assert data[key] == value


def test_clock_change_leaves_older_stamps_alone(clock: ManualClock) -> None:
    """Clock change leaves older stamps alone."""
    meter = Meter(MeterConfig(installed=clock.now() - 3600), clock)
    before = meter.meter_data()
    meter.set_clock_offset(120)
    after = meter.meter_data()
    assert after.pop("meterdatetime") == int(clock.now()) + 120
    del before["meterdatetime"]
    # The snapshot of this very second is stamped by the new clock.
    now = int(clock.now())
    assert {key for key in after if after[key] != before[key]} == {
        key for key, value in before.items() if value == now
    }
    assert meter.meter_time(now - 1) == now - 1
    assert meter.meter_time(now) == now + 120


def test_clock_changes_count_from_their_own_time(clock: ManualClock) -> None:
    """Clock changes count from their own time, in whatever order they were made."""
    meter = Meter(MeterConfig(), clock)
    now = meter.now()
    meter.set_clock_offset(10)
    clock.advance(-100)
    meter.set_clock_offset(20)
    offsets = [meter.meter_time(now + at) - now - at for at in (-101, -100, -1, 0)]
    assert offsets == [0, 20, 20, 10]


def test_documents_of_another_moment_can_be_had(clock: ManualClock) -> None:
    """Documents of another moment can be had."""
    meter = Meter(MeterConfig(), clock)
    now = meter.meter_data()
    clock.advance(86_400)
    assert meter.meter_data(NOON) == now
    assert meter.meter_data() != now
    assert meter.registers(NOON) == meter.snapshot(NOON).registers


def test_override_replaces_values_in_place(meter: Meter) -> None:
    """Override replaces values in place."""
    keys = list(meter.meter_data())
    meter.override["p_L123_act_e"] = "1.234"
    meter.override["u_L1_act_e"] = Literal("1e999")
    meter.status_override["meterserial"] = None
    assert list(meter.meter_data()) == keys
    assert meter.meter_data()["p_L123_act_e"] == "1.234"
    assert '"u_L1_act_e": 1e999,' in rendered(meter.meter_data())
    assert meter.status()["meterserial"] is None
    meter.override.clear()
    assert meter.meter_data()["p_L123_act_e"] != "1.234"


@pytest.mark.parametrize("password", ["x" * 21, "ä" * 21])
def test_long_password_is_refused(clock: ManualClock, password: str) -> None:
    """Long password is refused."""
    with pytest.raises(ValueError, match="20"):
        Meter(MeterConfig(password=password), clock)
    meter = Meter(MeterConfig(password=password[:20]), clock)
    with pytest.raises(ValueError, match="20"):
        meter.password = password
    assert meter.password == password[:20]


def test_protection_without_password_switches_itself_off(clock: ManualClock) -> None:
    """Protection without password switches itself off."""
    assert Meter(MeterConfig(password=""), clock).password is None


@given(value=st.integers(-(10**12), 10**12), decimals=st.integers(1, 3))
def test_decimal_keeps_every_digit(value: int, decimals: int) -> None:
    """Decimal keeps every digit."""
    text = decimal(value, decimals)
    assert re.fullmatch(rf"-?\d+\.\d{{{decimals}}}", text)
    assert int(text.replace(".", "")) == value


def test_decimal_of_the_manual() -> None:
    """Decimal of the manual."""
    assert decimal(306_722, 3) == "306.722"
    assert decimal(0, 3) == "0.000"
    assert decimal(-5, 2) == "-0.05"
    assert decimal(2309, 1) == "230.9"


def test_page_shows_the_values(meter: Meter) -> None:
    """Page shows the values."""
    page = meter.page()
    assert "22350001" in page
    assert str(meter.meter_data()["p_L123_act_e"]) in page
    meter.override["p_L123_act_e"] = "<script>"
    assert "<script>" not in meter.page()
