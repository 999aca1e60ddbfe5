"""The only table of the quantities in the manual.

Chapters "Read out Configuration | Values" (live values, JSON) and "Read-Out Data
Logger" (CSV). A live value is a decimal number, the same value in the logger a whole
number in units of its last digit: "306.722" kWh is 306722 Wh, "230.9" V is 2309.
`decimals` is the number of decimals of the live value.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Measurand(StrEnum):
    """Physical quantity."""

    ENERGY = "energy"
    REACTIVE_ENERGY = "reactive_energy"
    ACTIVE_POWER = "active_power"
    REACTIVE_POWER = "reactive_power"
    CURRENT = "current"
    VOLTAGE = "voltage"
    POWER_FACTOR = "power_factor"
    FREQUENCY = "frequency"


class Kind(StrEnum):
    """Relation of a value to time."""

    REGISTER = "register"
    MOMENTARY = "momentary"
    MINIMUM = "minimum"
    MAXIMUM = "maximum"
    TIME_OF_MINIMUM = "minimum_time"
    TIME_OF_MAXIMUM = "maximum_time"

    @property
    def is_time(self) -> bool:
        """Whether the value is a time, not a number."""
        return self in (Kind.TIME_OF_MINIMUM, Kind.TIME_OF_MAXIMUM)


class Phase(StrEnum):
    """Conductor; L123 is the sum of all three phases, or common to them."""

    L123 = "L123"
    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    N = "N"


class Tariff(StrEnum):
    """Tariff of a register."""

    T1 = "T1"
    T2 = "T2"


class Direction(StrEnum):
    """Direction of energy, seen from the owner of the meter."""

    IMPORT = "import"
    EXPORT = "export"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """One quantity of the meter.

    `key` is its stable name; `unit` the unit of live values ("" for none); `limit` the
    largest possible magnitude in this unit, with any current and voltage transformers;
    `json_key` its name in meterdata.json; `column` its column in the data logger,
    counted from 1.
    """

    key: str
    kind: Kind
    measurand: Measurand
    unit: str
    decimals: int
    limit: int
    phase: Phase = Phase.L123
    tariff: Tariff | None = None
    direction: Direction | None = None
    json_key: str | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class _Momentary:
    """A measurand with a momentary value and its extremes."""

    measurand: Measurand
    letter: str
    unit: str
    decimals: int
    limit: int
    columns: Mapping[Phase, int | None]


_MOMENTARY: Final = (
    _Momentary(
        Measurand.ACTIVE_POWER,
        "p",
        "kW",
        3,
        1_000_000,
        {Phase.L123: 13, Phase.L1: 14, Phase.L2: 15, Phase.L3: 16},
    ),
    _Momentary(
        Measurand.REACTIVE_POWER,
        "q",
        "kvar",
        3,
        1_000_000,
        {Phase.L123: None, Phase.L1: None, Phase.L2: None, Phase.L3: None},
    ),
    _Momentary(
        Measurand.CURRENT,
        "i",
        "A",
        3,
        1_000_000,
        {Phase.L123: 17, Phase.L1: 18, Phase.L2: 19, Phase.L3: 20},
    ),
    _Momentary(
        Measurand.VOLTAGE,
        "u",
        "V",
        1,
        1_000_000,
        {Phase.L1: 22, Phase.L2: 23, Phase.L3: 24},
    ),
    _Momentary(
        Measurand.POWER_FACTOR,
        "pf",
        "",
        2,
        1,
        {Phase.L1: 25, Phase.L2: 26, Phase.L3: 27},
    ),
    _Momentary(Measurand.FREQUENCY, "f", "Hz", 1, 100, {Phase.L123: 28}),
)

_EXTREMES: Final = (
    (Kind.MINIMUM, Kind.TIME_OF_MINIMUM, "min"),
    (Kind.MAXIMUM, Kind.TIME_OF_MAXIMUM, "max"),
)


def _energy_registers() -> Iterator[Quantity]:
    columns = {
        (Direction.IMPORT, Tariff.T1): 5,
        (Direction.IMPORT, Tariff.T2): 6,
        (Direction.EXPORT, Tariff.T1): 7,
        (Direction.EXPORT, Tariff.T2): 8,
    }
    infix = {Direction.IMPORT: "", Direction.EXPORT: "ex_"}
    for direction in Direction:
        for tariff in (None, *Tariff):
            suffix = f"_{tariff}" if tariff else ""
            yield Quantity(
                key=f"energy_{direction}{suffix.lower()}",
                kind=Kind.REGISTER,
                measurand=Measurand.ENERGY,
                unit="kWh",
                decimals=3,
                limit=1_000_000_000,
                tariff=tariff,
                direction=direction,
                json_key=f"wpulse_cnt_{infix[direction]}L123{suffix}_e",
                column=columns[direction, tariff] if tariff else None,
            )


def _reactive_energy_registers() -> Iterator[Quantity]:
    columns = iter((9, 10, 11, 12))
    for direction in Direction:
        for tariff in Tariff:
            yield Quantity(
                key=f"reactive_energy_{direction}_{tariff.lower()}",
                kind=Kind.REGISTER,
                measurand=Measurand.REACTIVE_ENERGY,
                unit="kvarh",
                decimals=3,
                limit=1_000_000_000,
                tariff=tariff,
                direction=direction,
                column=next(columns),
            )


def _momentary_and_extremes(row: _Momentary) -> Iterator[Quantity]:
    for phase, column in row.columns.items():
        momentary = Quantity(
            key=row.measurand + ("" if phase is Phase.L123 else f"_{phase.lower()}"),
            kind=Kind.MOMENTARY,
            measurand=row.measurand,
            unit=row.unit,
            decimals=row.decimals,
            limit=row.limit,
            phase=phase,
            json_key=f"{row.letter}_{phase}_act_e",
            column=column,
        )
        yield momentary
        for kind, time, name in _EXTREMES:
            json_key = f"{row.letter}_{name}_{phase}_e"
            yield replace(
                momentary,
                key=f"{momentary.key}_{kind}",
                kind=kind,
                json_key=json_key,
                column=None,
            )
            yield replace(
                momentary,
                key=f"{momentary.key}_{time}",
                kind=time,
                unit="",
                decimals=0,
                json_key=f"ts_{json_key}",
                column=None,
            )


def _quantities() -> Iterator[Quantity]:
    yield from _energy_registers()
    yield from _reactive_energy_registers()
    for row in _MOMENTARY:
        yield from _momentary_and_extremes(row)
    yield Quantity(
        key="current_n",
        kind=Kind.MOMENTARY,
        measurand=Measurand.CURRENT,
        unit="A",
        decimals=3,
        limit=1_000_000,
        phase=Phase.N,
        column=21,
    )


QUANTITIES: Final = tuple(_quantities())
"""Every quantity, registers first."""

BY_KEY: Final[Mapping[str, Quantity]] = MappingProxyType(
    {quantity.key: quantity for quantity in QUANTITIES}
)

BY_JSON_KEY: Final[Mapping[str, Quantity]] = MappingProxyType(
    {quantity.json_key: quantity for quantity in QUANTITIES if quantity.json_key}
)
