"""The lifts of rows, some of which have not observed a restart."""

import pytest

from custom_components.emu_professional.backfill.lifts import Lifts
from custom_components.emu_professional.backfill.load_profile import (
    LoadProfile,
    Reading,
)
from custom_components.emu_professional.backfill.rows import Row
from custom_components.emu_professional.backfill.times import HOUR

from .recorder_model import PERIOD, START

FIRST, SECOND = START + 2 * HOUR, START + 4 * HOUR
"""The hours in which the register restarts."""
END = START + 6 * HOUR
HOURS = {
    START: Reading(100),
    START + HOUR: Reading(1_100),
    FIRST: Reading(30, 1_150),
    FIRST + HOUR: Reading(500, 1_150),
    SECOND: Reading(0, 1_700),
    SECOND + HOUR: Reading(80, 1_700),
}
TWICE = LoadProfile(START, END, Reading(90), HOURS)


@pytest.mark.parametrize(
    ("hour", "state", "lift"),
    [
        # Before any restart, also with more than is logged
        *((START - HOUR, 90, 0), (START, 100, 0), (START, 320, 0)),
        # With the restart, and from before it
        *((FIRST, 30, 1_150), (FIRST, 33, 1_150), (FIRST, 1_130, 0)),
        (FIRST + PERIOD, 1_130, 0),
        *((FIRST, 0, 1_150), (FIRST + HOUR, 510, 1_150), (FIRST + HOUR, 1_140, 0)),
        # From between both restarts
        *((SECOND, 540, 1_150), (SECOND, 3, 1_700), (SECOND + HOUR, 540, 1_150)),
        # In an hour that is not logged the register can be any.
        *((END, 90, 1_700), (END, 540, 1_700), (END + PERIOD, 540, 1_700)),
    ],
)
def test_state(hour: int, state: float, lift: float) -> None:
    """It is of the cycle that the register in its hour belongs to, or of the one before."""
    assert Lifts(TWICE, {}).of(hour, state) == lift


def test_state_that_is_repeated() -> None:
    """It was observed when it came first."""
    starts = (SECOND, END, END + HOUR)
    lifts = Lifts(TWICE, {start: Row(start, 540, 7) for start in starts})
    for start in (*starts, END + HOUR + PERIOD):
        assert lifts.of(start, 540) == 1_150
    assert lifts.of(END + HOUR + PERIOD, 541) == 1_700
    # Since before all that is logged
    logged = LoadProfile(FIRST, END, Reading(900), {FIRST: HOURS[FIRST]})
    lifts = Lifts(logged, {start: Row(start, 700, 7) for start in (START, END)})
    assert [lifts.of(START, 700), lifts.of(END, 700)] == [0, 0]
    assert lifts.of(END, 30) == 1_150


def test_register_that_never_restarted() -> None:
    """There is one lift."""
    hours = {START: Reading(1_000, 50), FIRST: Reading(1_100, 50)}
    lifts = Lifts(LoadProfile(START, END, Reading(900, 50), hours), {})
    assert {lifts.of(at, 5_000) for at in (START - HOUR, START, FIRST, END)} == {50}
    assert Lifts(LoadProfile(START, END, None, {}), {}).of(START, 5) == 0
