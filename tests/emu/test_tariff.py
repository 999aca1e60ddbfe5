"""The active tariff."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import pytest

from custom_components.emu_professional.emu.registers import Tariff
from custom_components.emu_professional.emu.tariff import TariffWatch

NOON: Final = datetime(2026, 6, 1, 10, tzinfo=UTC)

type Poll = tuple[int, str | None, str | None]
"""Seconds since the poll before, the registers of import T1 and T2."""

CASES: Final[dict[str, tuple[list[Poll], list[str | None]]]] = {
    "before any movement": (
        [(5, "7", "3"), (5, "7", "3")],
        [None, None],
    ),
    "the one that moves": (
        [(5, "7", "3"), (5, "7.001", "3"), (5, "7.001", "3"), (5, "7.001", "3.001")],
        [None, "T1", "T1", "T2"],
    ),
    "both between two polls: it was switched": (
        [
            (5, "7", "3"),
            (5, "7.001", "3"),
            (5, "7.002", "3.001"),
            (5, "7.003", "3.002"),
        ],
        [None, "T1", "T2", "T1"],
    ),
    "both, and none known before": (
        [(5, "7", "3"), (5, "7.001", "3.001"), (5, "7.001", "3.002")],
        [None, None, "T2"],
    ),
    "both in an outage: it may have been switched back": (
        [(5, "7", "3"), (5, "7.001", "3"), (3600, "8", "4"), (5, "8.001", "4")],
        [None, "T1", None, "T1"],
    ),
    "one in an outage": (
        [(5, "7", "3"), (5, "7.001", "3"), (3600, "7.001", "4")],
        [None, "T1", "T2"],
    ),
    "a register restarts": (
        [(5, "7", "3"), (5, "7", "3.001"), (3600, "0", "3.001"), (5, "0.001", "3.001")],
        [None, "T2", "T2", "T1"],
    ),
    "a register is missing for a while": (
        [(5, "7", "3"), (5, "7.001", "3"), (5, None, None), (5, "7.002", "3")],
        [None, "T1", "T1", "T1"],
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("direction", ["import", "export"])
def test_tariff(case: str, direction: str) -> None:
    """The tariff is that of the last gain, of import or export."""
    polls, expected = CASES[case]
    watch, at = TariffWatch(), NOON
    shown: list[Tariff | None] = []
    for seconds, t1, t2 in polls:
        at += timedelta(seconds=seconds)
        values = {
            f"energy_{direction}_t1": None if t1 is None else Decimal(t1),
            f"energy_{direction}_t2": None if t2 is None else Decimal(t2),
        }
        shown.append(watch.accept(values, at))
    assert shown == expected
