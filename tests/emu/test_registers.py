"""The table, compared with the manual."""

from collections import Counter
import json
from pathlib import Path

import pytest

from custom_components.emu_professional.emu.registers import (
    BY_JSON_KEY,
    BY_KEY,
    QUANTITIES,
    Kind,
)

# Chapter "CSV-File Structure of the data logger"; columns 1 to 4 are no quantities.
LOGGER_COLUMNS = {
    5: ("energy_import_t1", "Wh"),
    6: ("energy_import_t2", "Wh"),
    7: ("energy_export_t1", "Wh"),
    8: ("energy_export_t2", "Wh"),
    9: ("reactive_energy_import_t1", "varh"),
    10: ("reactive_energy_import_t2", "varh"),
    11: ("reactive_energy_export_t1", "varh"),
    12: ("reactive_energy_export_t2", "varh"),
    13: ("active_power", "W"),
    14: ("active_power_l1", "W"),
    15: ("active_power_l2", "W"),
    16: ("active_power_l3", "W"),
    17: ("current", "mA"),
    18: ("current_l1", "mA"),
    19: ("current_l2", "mA"),
    20: ("current_l3", "mA"),
    21: ("current_n", "mA"),
    22: ("voltage_l1", "0.1V"),
    23: ("voltage_l2", "0.1V"),
    24: ("voltage_l3", "0.1V"),
    25: ("power_factor_l1", "0.01"),
    26: ("power_factor_l2", "0.01"),
    27: ("power_factor_l3", "0.01"),
    28: ("frequency", "0.1 Hz"),
}
LAST_DIGIT = {
    "Wh": ("kWh", 3),
    "varh": ("kvarh", 3),
    "W": ("kW", 3),
    "mA": ("A", 3),
    "0.1V": ("V", 1),
    "0.01": ("", 2),
    "0.1 Hz": ("Hz", 1),
}


@pytest.fixture
def sample() -> dict[str, object]:
    """Return the manual's meterdata.json."""
    path = Path(__file__).parent.parent / "fixtures" / "meterdata.json"
    document: dict[str, object] = json.loads(path.read_text())
    return document


def test_every_key_of_the_manual_is_in_the_table(sample: dict[str, object]) -> None:
    """No value of the manual's sample is left out, none is made up."""
    assert set(BY_JSON_KEY) == set(sample) - {"meterdatetime", "showMinMax"}


def test_decimals_are_those_of_the_manual(sample: dict[str, object]) -> None:
    """The resolution of every value is the one in the manual's sample."""
    for json_key, quantity in BY_JSON_KEY.items():
        decimals = str(sample[json_key]).partition(".")[2]
        assert len(decimals) == quantity.decimals, json_key


def test_every_logger_column_is_in_the_table() -> None:
    """The data logger's columns carry the same last digit as the live values."""
    columns = {q.column: q for q in QUANTITIES if q.column}
    assert {number: q.key for number, q in columns.items()} == {
        number: key for number, (key, _) in LOGGER_COLUMNS.items()
    }
    for number, (_, resolution) in LOGGER_COLUMNS.items():
        quantity = columns[number]
        assert (quantity.unit, quantity.decimals) == LAST_DIGIT[resolution]


def test_keys_are_unique() -> None:
    """Keys name entities for good: none may stand for two quantities."""
    assert Counter(q.key for q in QUANTITIES).most_common(1)[0][1] == 1
    assert len(BY_KEY) == len(QUANTITIES)


def test_counts() -> None:
    """The manual names 6 registers, 19 momentary values and 38 extremes live."""
    kinds = Counter(q.kind for q in BY_JSON_KEY.values())
    assert kinds[Kind.REGISTER] == 6
    assert kinds[Kind.MOMENTARY] == 19
    assert kinds[Kind.MINIMUM] == kinds[Kind.MAXIMUM] == 19
    assert kinds[Kind.TIME_OF_MINIMUM] == kinds[Kind.TIME_OF_MAXIMUM] == 19
