"""Where the hours of the logger are cut into parts, and what a part knows."""

from collections.abc import Sequence

import pytest

from custom_components.emu_professional.backfill.hours import Hour
from custom_components.emu_professional.backfill.load_profile import Reading
from custom_components.emu_professional.backfill.parts import (
    LoggedHours,
    Part,
    cut_part,
)
from custom_components.emu_professional.backfill.targets import TARGETS
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.emu.logs import REGISTER_COUNT

START = 1_780_300_800
BY_KEY = {target.key: target for target in TARGETS}


def hour(number: int, known: int = HOUR) -> Hour:
    """Return an hour, counted from the start, with as many seconds until its record."""
    start = START + number * HOUR
    registers = tuple(100 * number + column for column in range(REGISTER_COUNT))
    lift = tuple(10 * column for column in range(REGISTER_COUNT))
    return Hour(start, start + known, registers, (), (), (), 0, lift)


def hours(logged: str) -> list[Hour]:
    """Return hours: `E` is logged to its end, `i` not to its end, a dot not at all."""
    known = {"E": HOUR, "i": HOUR - 900}
    return [hour(n, known[kind]) for n, kind in enumerate(logged) if kind in known]


def cut(
    logged: Sequence[Hour],
    planned: int,
    until: int,
    *,
    is_oldest: bool = False,
    clock_set_at: int | None = None,
) -> Part | None:
    """Cut a part; times are in hours from the start, but that of the clock."""
    return cut_part(
        LoggedHours(logged, None, clock_set_at),
        START + planned * HOUR,
        START + until * HOUR,
        is_oldest=is_oldest,
    )


def numbers(logged: Sequence[Hour]) -> list[int]:
    """Return hours as counted from the start."""
    return [(one.start - START) // HOUR for one in logged]


@pytest.mark.parametrize(
    ("logged", "planned", "until", "since"),
    [
        ("EEEEEE", 3, 6, 3),
        ("EEEEEE", 3, 5, 3),
        # The nearest end of an hour that was logged, of an earlier or a later one.
        ("EEiiEEE", 3, 7, 2),
        ("EEiiEEE", 4, 7, 5),
        ("EEiiEEE", 2, 7, 2),
        ("EEiEE", 3, 5, 2),
        ("E.....EE", 6, 9, 7),
        # The part has an hour at least.
        ("EEiiE", 4, 5, 2),
        ("EEiiEi", 4, 6, 5),
        # A day is near enough; else it is the last hour before, not logged to its end.
        ("E" + "i" * 25, 25, 26, 1),
        ("E" + "i" * 26, 26, 27, 26),
        ("i" * 24 + "EE", 1, 30, 25),
        ("i" * 25 + "EE", 1, 30, 1),
        ("iiii", 2, 4, 2),
        ("i..i", 2, 4, 1),
        ("...ii", 2, 5, None),
        ("", 2, 5, None),
    ],
)
def test_begin_of_a_part(
    logged: str, planned: int, until: int, since: int | None
) -> None:
    """It lies where the logger knows the registers, as near as possible."""
    part = cut(hours(logged), planned, until)
    if since is None:
        assert part is None
        return
    assert part
    assert part.since == START + since * HOUR
    assert part.until == START + until * HOUR
    known = numbers(hours(logged))
    assert part.previous == hours(logged)[known.index(since - 1)]
    assert numbers(part.hours) == [n for n in known if since <= n < until]
    assert numbers(part.later) == [n for n in known if n >= until]
    assert list(part.hours_with_known_begin) == list(part.hours)
    assert not part.is_oldest


def test_oldest_part() -> None:
    """It begins with the window, or with the first hour of the logger."""
    part = cut(hours("EiEE"), 2, 4, is_oldest=True)
    assert part
    assert (part.since, part.previous) == (START + 2 * HOUR, hour(1, HOUR - 900))
    assert part.is_oldest
    part = cut(hours("..EE"), 1, 4, is_oldest=True)
    assert part
    assert (part.since, part.previous) == (START + 2 * HOUR, None)
    assert numbers(part.hours) == [2, 3]
    # Nobody knows the register at the begin of the first hour.
    assert numbers(part.hours_with_known_begin) == [3]
    part = cut(hours("....E"), 1, 3, is_oldest=True)
    assert part
    assert (part.since, part.until) == (START + 3 * HOUR,) * 2
    assert (list(part.hours), numbers(part.later)) == ([], [4])


def test_clock_that_was_set_for_the_first_time() -> None:
    """The hours before have wrong stamps: the logger begins with the record after."""
    logged = hours("EEEEEE")
    for seconds, first in ((0, 1), (1, 2)):
        part = cut(logged, 1, 6, clock_set_at=START + 2 * HOUR + seconds)
        assert part
        assert part.is_oldest
        assert part.since == START + first * HOUR
        assert numbers(part.hours) == [*range(first, 6)]
    # If an hour of this clock lies before the part, there is an older part.
    for planned, is_oldest in ((2, False), (1, True)):
        part = cut(logged, planned, 6, clock_set_at=START + 2 * HOUR)
        assert part
        assert part.is_oldest is is_oldest
        assert numbers(part.hours)[0] == planned
    part = cut(logged, 3, 6, clock_set_at=START + 2 * HOUR, is_oldest=True)
    assert part
    assert part.is_oldest
    assert numbers(part.hours) == [3, 4, 5]


@pytest.mark.parametrize(
    ("logged", "is_oldest", "rebuild", "is_exact"),
    [
        ("EE", False, False, True),
        ("Ei", False, False, False),
        # It was logged to its end, but the hours after it are missing.
        ("E.", True, False, False),
        # In rebuild mode the older part is still to come, and follows the logger.
        ("Ei", False, True, True),
        ("Ei", True, True, False),
        ("EE", True, True, True),
    ],
)
def test_profile(logged: str, is_oldest: bool, rebuild: bool, is_exact: bool) -> None:
    """It has the registers of the part, of the hour before and of all later ones."""
    known = hours(logged + "iE")
    part = Part(
        START + 2 * HOUR,
        START + 3 * HOUR,
        known[-3],
        known[-2:-1],
        known[-1:],
        is_oldest,
    )
    profile = part.profile(BY_KEY["energy_import"], rebuild=rebuild)
    assert (profile.since, profile.until) == (part.since, part.until)
    before = 200 * (len(logged.rstrip(".")) - 1) + 1
    assert profile.initial == Reading(before, 10, is_exact)
    assert profile.last_known == known[-3].start
    assert profile.hours == {
        START + 2 * HOUR: Reading(401, 10, is_exact=False),
        START + 3 * HOUR: Reading(601, 10),
    }
    assert profile.rounding == 1.5
    profile = part.profile(BY_KEY["energy_import_t2"], rebuild=rebuild)
    assert profile.hours[START + 2 * HOUR] == Reading(201, 10, is_exact=False)
    assert profile.rounding == 0.5


def test_profile_of_a_logger_that_begins() -> None:
    """There is no register before its first hour."""
    known = hours("EE")
    part = Part(START, START + 2 * HOUR, None, known, [], is_oldest=True)
    profile = part.profile(BY_KEY["energy_import"], rebuild=True)
    assert (profile.initial, profile.last_known) == (None, None)
