"""Parsing of the meter's documents, and the plausibility filter."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
import json
from pathlib import Path
from typing import Any, override

from hypothesis import example, given, strategies as st
import pytest

from custom_components.emu_professional.emu.errors import (
    MeterError,
    MeterUnexpectedAnswer,
    MeterUnsupported,
)
from custom_components.emu_professional.emu.readings import (
    CLOCK_RESOLUTION,
    HOLD,
    RESTART,
    PlausibilityFilter,
    Readings,
    clock_offset,
    parse_readings,
    parse_status,
)
from custom_components.emu_professional.emu.registers import BY_JSON_KEY

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
REGISTER = "wpulse_cnt_L123_e"
FIXTURES = Path(__file__).parent.parent / "fixtures"


def fixture(name: str) -> dict[str, Any]:
    """Return a sample document of the manual."""
    document: dict[str, Any] = json.loads((FIXTURES / name).read_text())
    return document


def imported(value: str) -> Readings:
    """Return readings with one register."""
    return parse_readings({REGISTER: value})


def test_sample_of_the_manual() -> None:
    """Every value of the manual's sample arrives with its last digit."""
    document = fixture("meterdata.json")
    readings = parse_readings(document)
    assert not readings.rejected
    assert readings.clock == datetime(2023, 4, 18, 8, 59, 52, tzinfo=UTC)
    for json_key, quantity in BY_JSON_KEY.items():
        value = readings.values[quantity.key]
        if quantity.kind.is_time:
            assert isinstance(value, datetime)
            assert value.timestamp() == document[json_key]
        else:
            assert str(value) == document[json_key]


def test_status_sample_of_the_manual() -> None:
    """The manual's sample has its addresses blacked out and its clock not set."""
    status = parse_status(fixture("status.json"))
    assert status.serial_number == "22350000"
    assert status.mac is None
    assert status.clock is None
    assert status.software_version == "1.0.14"
    assert status.factory_number == 0
    assert (status.modbus, status.modbus_port) == (True, 502)
    assert (status.ntp, status.ntp_server) == (True, "pool.ntp.org")
    assert status.dhcp is False
    assert status.online_update is True


def test_status_tells_nothing_but_its_serial_number() -> None:
    """A shorter document of another firmware is still a status."""
    for serial_number in (22350000, "0022350000", " 22350000", "022350000 "):
        status = parse_status({"meterserial": serial_number})
        assert status.serial_number == "22350000"
    assert (status.modbus, status.modbus_port, status.ntp_server) == (None,) * 3


@pytest.mark.parametrize(
    ("document", "field", "value"),
    [
        ({"networkmac": "10-2c-ef-02-02-fa"}, "mac", "10:2C:EF:02:02:FA"),
        ({"networkmac": "10:2C:EF:**:**"}, "mac", None),
        ({"networkdhcpactive": True}, "dhcp", True),
        ({"mbport": "502"}, "modbus_port", None),
        ({"mbport": True}, "modbus_port", None),
        ({"mbactive": 1}, "modbus", None),
        ({"ntp1": "x" * 65}, "ntp_server", None),
        ({"ntp1": ""}, "ntp_server", None),
        ({"softwareversion": "1.0.16\ud800\n"}, "software_version", "1.0.16"),
        ({"softwareversion": "\x00"}, "software_version", None),
        ({"softwareversion": 1.0}, "software_version", None),
    ],
)
def test_status_field(document: dict[str, Any], field: str, value: object) -> None:
    """A field of another form than the manual's is unknown, not an error."""
    status = parse_status({"meterserial": "1"} | document)
    assert getattr(status, field) == value


class Deep(list[object]):
    """Lists in lists: to print them takes time with the square of their depth."""

    @override
    def __repr__(self) -> str:
        raise AssertionError("printed")


def test_lists_in_lists_are_not_printed() -> None:
    """An impossible value costs no more than its rejection."""
    readings = parse_readings({"p_L123_act_e": Deep(), "p_L1_act_e": "1.5"})
    assert list(readings.rejected) == ["active_power"]
    for serial_number in (Deep(), True, 1.5):
        with pytest.raises(MeterUnexpectedAnswer):
            parse_status({"meterserial": serial_number})


@pytest.mark.parametrize("number", [-1, 65_536, 10**30, 10**4000, 5.5, True, "502"])
def test_status_with_impossible_numbers(number: object) -> None:
    """An impossible port is None, also a very long number."""
    document = {"meterserial": "1", "mbport": number, "meterfactorynr": number}
    assert parse_status(document).modbus_port is None
    if number != 65_536:
        assert parse_status(document).factory_number is None


@pytest.mark.parametrize("serial_number", [None, "", "-"])
def test_status_of_another_device(serial_number: str | None) -> None:
    """JSON without a serial number is not from an EMU Professional II."""
    with pytest.raises(MeterUnsupported):
        parse_status({"meterserial": serial_number})


@pytest.mark.parametrize("serial_number", ["<b>1</b>", "1 2", "x" * 33, ["1"]])
def test_status_with_impossible_serial_number(serial_number: object) -> None:
    """A serial number is no markup."""
    with pytest.raises(MeterUnexpectedAnswer):
        parse_status({"meterserial": serial_number})


def test_readings_without_any() -> None:
    """JSON without a single reading is no answer."""
    with pytest.raises(MeterUnexpectedAnswer):
        parse_readings({"meterdatetime": 1681808392, "temperature": "21.0"})


@pytest.mark.parametrize("raw", [None, "", "-"])
def test_missing_value(raw: str | None) -> None:
    """A missing value is unknown, not rejected."""
    readings = imported(raw)  # type: ignore[arg-type]
    assert readings.values == {"energy_import": None}
    assert not readings.rejected


@pytest.mark.parametrize(
    "raw",
    [
        "NaN", "Infinity", "-1.000", "1e9", "1_000", "٣", "0x10", "1.2.3", "12,5",
        "99999999999", "<b>", float("nan"), float("inf"), True, [1], {"a": 1},
    ],
)  # fmt: skip
def test_value_that_is_no_number(raw: object) -> None:
    """Only plain decimal numbers are numbers."""
    readings = imported(raw)  # type: ignore[arg-type]
    assert readings.values == {"energy_import": None}
    assert list(readings.rejected) == ["energy_import"]


@pytest.mark.parametrize(
    ("json_key", "raw", "good"),
    [
        ("u_L1_act_e", "1000000.1", False),
        ("pf_L1_act_e", "1.01", False),
        ("pf_L1_act_e", "-1.00", True),
        ("f_L123_act_e", "100.1", False),
        ("p_L123_act_e", "-11.834", True),
        ("p_L123_act_e", 3, True),
        ("u_L1_act_e", " 230.9 ", True),
        ("ts_p_max_L1_e", 2**32, False),
        ("ts_p_max_L1_e", -1, False),
        ("ts_p_max_L1_e", 1.5, False),
        ("ts_p_max_L1_e", "1680457945", True),
    ],
)
def test_limits(json_key: str, raw: object, good: bool) -> None:
    """A value above the limit of its quantity is rejected."""
    assert bool(parse_readings({json_key: raw}).rejected) is not good


def test_time_that_never_was() -> None:
    """An extreme before its first value has the time 0, read as None."""
    assert parse_readings({"ts_p_max_L1_e": 0}).values == {
        "active_power_l1_maximum_time": None
    }


@pytest.mark.parametrize("clock", [0, None, "-", "soon", -5, [1]])
def test_clock_that_is_not_set(clock: object) -> None:
    """A meter without time has no clock."""
    assert parse_readings({REGISTER: "1.000", "meterdatetime": clock}).clock is None


@given(st.integers(0, 10**12 - 1))
def test_no_digit_is_lost(watt_hours: int) -> None:
    """A register of up to nine digits before the point keeps every Wh."""
    text = f"{watt_hours // 1000}.{watt_hours % 1000:03}"
    value = imported(text).values["energy_import"]
    assert str(value) == text
    assert isinstance(value, Decimal)
    assert value * 1000 == watt_hours


TEXT = st.text("0123456789.-+eE_ <>NaInf\u0663", max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = st.sampled_from([*BY_JSON_KEY, "meterdatetime"])


@given(st.dictionaries(KEYS, JSON, max_size=8))
def test_any_document_is_read_or_refused(document: dict[str, Any]) -> None:
    """Nothing but the error family ever comes out of a document."""
    try:
        readings = parse_readings(document)
    except MeterError:
        return
    assert readings.values.keys() <= {q.key for q in BY_JSON_KEY.values()}


@given(
    st.lists(
        st.dictionaries(KEYS, JSON, min_size=1, max_size=3), min_size=2, max_size=4
    )
)
@example([{"u_L1_act_e": 1}, {"u_L1_act_e": True}])
def test_reading_only_what_changed_gives_the_same(
    documents: list[dict[str, Any]],
) -> None:
    """Previous readings never show in the present ones."""
    previous = None
    for document in documents:
        document[REGISTER] = "1.000"
        assert parse_readings(document, previous) == parse_readings(document)
        previous = parse_readings(document, previous)


@given(st.dictionaries(st.sampled_from([*fixture("status.json")]), JSON))
def test_any_status_is_read_or_refused(document: dict[str, Any]) -> None:
    """Nothing but the error family ever comes out of a status document."""
    try:
        parse_status(document)
    except MeterError:
        return


def test_register_does_not_run_backwards() -> None:
    """A lower register is replaced for a while, then unknown, and recovers."""
    judge = PlausibilityFilter()
    judge.accept(imported("306.722"), NOON)

    held = judge.accept(imported("0.000"), NOON + timedelta(seconds=5))
    assert held.values["energy_import"] == Decimal("306.722")
    assert held.rejected == {"energy_import": "0.000 after 306.722"}

    later = NOON + timedelta(seconds=10) + HOLD
    gone = judge.accept(imported("0.000"), later)
    assert gone.values["energy_import"] is None

    back = judge.accept(imported("306.723"), later + timedelta(seconds=5))
    assert back.values["energy_import"] == Decimal("306.723")
    assert not back.rejected


def test_register_does_not_leap() -> None:
    """An impossible gain of a register is rejected."""
    judge = PlausibilityFilter()
    judge.accept(imported("306.722"), NOON)
    leap = judge.accept(imported("999999.000"), NOON + timedelta(seconds=5))
    assert leap.values["energy_import"] == Decimal("306.722")
    back = judge.accept(imported("306.730"), NOON + timedelta(seconds=10))
    assert back.values["energy_import"] == Decimal("306.730")


def test_register_may_grow_a_lot_in_a_long_time() -> None:
    """After an outage of a month a large gain is accepted."""
    judge = PlausibilityFilter({"energy_import": Decimal("306.722")}, NOON)
    readings = judge.accept(imported("90000.000"), NOON + timedelta(days=30))
    assert not readings.rejected


def test_register_that_insists_is_believed() -> None:
    """After an hour a lower register is accepted."""
    judge = PlausibilityFilter()
    judge.accept(imported("306.722"), NOON)
    for minutes in range(5, 65, 5):
        rejected = judge.accept(imported("5.000"), NOON + timedelta(minutes=minutes))
        assert rejected.rejected
        assert judge.doubts_registers
    later = NOON + timedelta(minutes=5) + RESTART
    assert judge.accept(imported("5.100"), later).values == {
        "energy_import": Decimal("5.100")
    }
    assert judge.registers == {"energy_import": Decimal("5.100")}
    assert not judge.doubts_registers


@pytest.mark.parametrize("step", [timedelta(hours=2), timedelta(days=-1)])
def test_clock_that_is_set_while_a_register_is_rejected(step: timedelta) -> None:
    """Neither is it believed at once, nor does its last value stay for a day."""
    judge = PlausibilityFilter()
    judge.accept(imported("306.722"), NOON)
    judge.accept(imported("0.000"), NOON + timedelta(seconds=5))
    at = NOON + step
    readings = judge.accept(imported("0.000"), at)
    assert readings.rejected
    for seconds in range(5, 3605, 5):
        if seconds < 2_900:
            assert readings.values["energy_import"] in (Decimal("306.722"), None)
        readings = judge.accept(imported("0.000"), at + timedelta(seconds=seconds))
        if seconds > 40:
            assert readings.values["energy_import"] != Decimal("306.722")
    assert readings.values["energy_import"] == Decimal("0.000")


@pytest.mark.parametrize(("text", "is_rejected"), [("-0.001", True), ("-", False)])
def test_register_that_stays_unreadable(text: str, is_rejected: bool) -> None:
    """After an hour it is doubted no longer, and still may not run backwards."""
    judge = PlausibilityFilter()
    judge.accept(imported("306.722"), NOON)
    for minutes in range(0, 65, 5):
        assert judge.doubts_registers == (minutes > 0)
        at = NOON + timedelta(minutes=minutes + 5)
        assert bool(judge.accept(imported(text), at).rejected) is is_rejected
    assert not judge.doubts_registers
    assert judge.registers == {"energy_import": Decimal("306.722")}


@pytest.mark.parametrize("before", ["-", "#", "-0.001"])
def test_zeros_after_a_time_without_a_value(before: str) -> None:
    """Only a value that itself has lasted for an hour is a restarted register."""
    judge = PlausibilityFilter()
    judge.accept(imported("306.722"), NOON)
    for minutes in range(5, 75, 5):
        judge.accept(imported(before), NOON + timedelta(minutes=minutes))
    for minutes in range(75, 130, 5):
        readings = judge.accept(imported("0.000"), NOON + timedelta(minutes=minutes))
        assert readings.values["energy_import"] is None
    readings = judge.accept(imported("306.900"), NOON + timedelta(minutes=130))
    assert readings.values["energy_import"] == Decimal("306.900")


def test_recalled_registers_guard_the_first_reading() -> None:
    """Zeros right after the starts of module and Home Assistant are rejected."""
    judge = PlausibilityFilter({"energy_import": Decimal("306.722")}, NOON)
    readings = judge.accept(imported("0.000"), NOON + timedelta(minutes=5))
    assert readings.values["energy_import"] is None
    assert readings.rejected


def test_momentary_value_is_held_only_for_a_while() -> None:
    """An unreadable power does not stay on show for long."""
    judge = PlausibilityFilter()
    judge.accept(parse_readings({"p_L123_act_e": "1.000"}), NOON)
    bad = parse_readings({"p_L123_act_e": "#", "u_L1_act_e": "230.0"})
    values = [
        judge.accept(bad, NOON + timedelta(seconds=s)).values["active_power"]
        for s in range(5, 50, 5)
    ]
    assert values[:7] == [Decimal("1.000")] * 7
    assert values[7:] == [None] * 2


@given(
    st.lists(
        st.tuples(
            st.integers(1, 7200), st.one_of(st.integers(0, 10**7), st.just(None))
        ),
        min_size=1,
        max_size=40,
    )
)
def test_shown_register_never_falls_within_an_hour(
    steps: list[tuple[int, int | None]],
) -> None:
    """With any readings, a fall is shown only after an hour."""
    judge = PlausibilityFilter()
    at = NOON
    shown: list[tuple[datetime, Decimal]] = []
    for seconds, watt_hours in steps:
        at += timedelta(seconds=seconds)
        raw = None if watt_hours is None else f"{watt_hours / 1000:.3f}"
        value = judge.accept(imported(raw), at).values["energy_import"]  # type: ignore[arg-type]
        if isinstance(value, Decimal):
            if shown and value < shown[-1][1]:
                assert at - shown[-1][0] >= RESTART - HOLD
            shown.append((at, value))


@given(st.floats(-1000, 1000), st.lists(st.floats(0, 5), min_size=1, max_size=50))
def test_clock_offset_does_not_flicker(ahead: float, ages: list[float]) -> None:
    """An accurate clock shows one offset, with readings of any age."""
    shown = None
    seen = set()
    for age in ages:
        clock = NOON + timedelta(seconds=int(ahead - age))
        shown = clock_offset(clock, NOON, shown)
        seen.add(shown)
    first = next(iter(seen))
    assert first is not None
    assert all(abs(offset - first) <= 2 * CLOCK_RESOLUTION for offset in seen if offset)
    assert len(seen) <= 2


@pytest.mark.parametrize("seconds", [-5, -1, 0, 1, 5])
def test_clock_offset_of_a_good_clock(seconds: int) -> None:
    """A difference within the age of the readings counts as none."""
    clock = NOON + timedelta(seconds=seconds)
    assert clock_offset(clock, NOON, None) == timedelta(0)


def test_clock_offset_follows_a_changed_clock() -> None:
    """A set clock shows its new offset at once."""
    shown = clock_offset(NOON + timedelta(seconds=60), NOON, timedelta(0))
    assert shown == timedelta(seconds=60)
    assert clock_offset(None, NOON, shown) is None
