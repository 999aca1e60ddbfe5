"""What is settled, and what the rows say of it."""

from itertools import pairwise
import json
from math import nan
from typing import Any, Final

from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.backfill.ledger import SEALED, Ledger, Seal
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.outages import Outage

NOW = 1_780_300_800
END = 1 << 40
FIRST = NOW // SEALED - 5


def sealed(*totals: float) -> dict[int, Seal]:
    """Return the seals of months, one after another."""
    return {FIRST + n: Seal(720, total) for n, total in enumerate(totals)}


@pytest.mark.parametrize(
    ("stored", "times"),
    [
        (sealed(1, 2, 3, 4, 5), []),
        # Changed, gone, at both ends, all.
        (sealed(1, 2, 9, 4, 5), [(2, 3)]),
        ({at: s for at, s in sealed(1, 2, 3, 4, 5).items() if at != FIRST}, [(0, 1)]),
        (sealed(9, 2, 9, 9, 5), [(0, 1), (2, 4)]),
        (sealed(1, 2, 3, 4, 9), [(4, 5)]),
        (sealed(1, 9, 9, 4, 5), [(1, 3)]),
        ({}, [(0, 5)]),
        # A row too few, a sum that was shifted, and what databases lose when they add.
        (sealed(1, 2, 3, 4, 5) | {FIRST + 1: Seal(719, 2)}, [(1, 2)]),
        (sealed(1, 2, 3, 4, 5) | {FIRST + 1: Seal(720, 2, 0, 1)}, [(1, 2)]),
        (sealed(1, 2 + 1e-9, 3, 4, 5), []),
        # Later months are not settled yet.
        (sealed(1, 2, 3, 4, 5, 6), []),
    ],
)
def test_broken_seals(stored: dict[int, Seal], times: list[tuple[int, int]]) -> None:
    """Months whose rows are not those that were settled are filled again."""
    ledger = Ledger()
    ledger.seal("energy_import", sealed(1, 2, 3, 4, 5))
    expected = [
        ((FIRST + first) * SEALED, (FIRST + last) * SEALED) for first, last in times
    ]
    assert list(ledger.broken("energy_import", stored)) == expected


@pytest.mark.parametrize(
    ("one", "other", "is_like"),
    [
        # Less than the last digit, or the rounding of a large total.
        (0, 0.01, True),
        (0, 0.02, False),
        (1e12, 1e12 + 0.9, True),
        (1e12, 1e12 + 1.1, False),
        (-1e12, -1e12 - 0.9, True),
        (-1e12, -1e12 - 1.1, False),
    ],
)
def test_totals_that_databases_round(one: float, other: float, is_like: bool) -> None:
    """They are the same; others are not, whichever of the two is higher."""
    assert Seal(720, one).is_like(Seal(720, other)) is is_like
    assert Seal(720, other).is_like(Seal(720, one)) is is_like
    assert not Seal(720, one).is_like(None)


def test_broken_seals_of_older_hours() -> None:
    """They are in the order of time, whichever month was sealed first."""
    ledger = Ledger()
    for first in (4, 2, 0):
        begin = (FIRST + first) * SEALED
        seals = {FIRST + first: Seal(720, 1)}
        ledger.seal("energy_import", seals, begin, begin + SEALED)
    assert list(ledger.broken("energy_import", {})) == [
        ((FIRST + first) * SEALED, (FIRST + first + 1) * SEALED) for first in (0, 2, 4)
    ]


def test_broken_since() -> None:
    """Months before a time are not compared."""
    ledger = Ledger()
    ledger.settle(["energy_import"], (FIRST + 5) * SEALED + HOUR)
    ledger.seal("energy_import", sealed(1, 2, 3, 4, 5))
    for seconds, first in ((0, 3), (1, 4)):
        since = (FIRST + 3) * SEALED + seconds
        times = [((FIRST + first) * SEALED, (FIRST + 5) * SEALED)]
        assert list(ledger.broken("energy_import", {}, since)) == times
        assert ledger.unsettled("energy_import", {}, END, since)[:-1] == times


def test_broken_until_what_is_open() -> None:
    """The last time lasts to the end; without a seal everything is open."""
    ledger = Ledger()
    assert ledger.unsettled("energy_import", {}, END) == [(0, END)]
    settled = (FIRST + 5) * SEALED - HOUR
    ledger.settle(["energy_import"], settled)
    assert ledger.unsettled("energy_import", {}, END) == [(settled, END)]
    ledger.seal("energy_import", sealed(1, 2, 3, 4, 5))
    broken = sealed(9, 2, 3, 4, 9)
    assert ledger.unsettled("energy_import", broken, END) == [
        (FIRST * SEALED, (FIRST + 1) * SEALED),
        ((FIRST + 4) * SEALED, END),
    ]
    # The last sealed month may end with the settled time, or be after it.
    ledger.settle(["energy_import"], (FIRST + 5) * SEALED)
    broken = sealed(1, 2, 3, 4, 9)
    assert ledger.unsettled("energy_import", broken, END) == [
        ((FIRST + 4) * SEALED, END)
    ]
    ledger.prune(["energy_import"], (FIRST + 2) * SEALED)
    assert ledger.unsettled("energy_import", broken, END) == [
        ((FIRST + 2) * SEALED, END)
    ]


def test_settled_once() -> None:
    """A run of older hours leaves the time until which a statistic follows."""
    ledger = Ledger()
    for until, settled in ((0, 0), (5, 5), (3, 5), (6, 6)):
        ledger.settle(["energy_import"], until)
        assert ledger.settled == {"energy_import": settled}


def test_seals_of_a_window() -> None:
    """A run seals what it has seen, and nothing else."""
    ledger = Ledger()
    ledger.seal("energy_import", sealed(1, 2, 3))
    begin = (FIRST + 1) * SEALED
    ledger.seal("energy_import", sealed(9, 9, 9), begin, begin + HOUR)
    assert ledger.seals["energy_import"] == sealed(1, 9, 3)
    ledger.seal("energy_import", {}, begin, begin + HOUR)
    assert ledger.seals["energy_import"].keys() == {FIRST, FIRST + 2}
    end = (FIRST + 2) * SEALED
    ledger.seal("energy_import", sealed(8, 8, 8), begin, end)
    assert ledger.seals["energy_import"] == sealed(1, 8, 3)
    ledger.seal("energy_import", sealed(7, 7, 7), begin - 1, end + 1)
    assert ledger.seals["energy_import"] == sealed(7, 7, 7)


def test_outages_that_can_not_be() -> None:
    """No time lies in the future, and none is kept for ever."""
    ledger = Ledger()
    ledger.settle(["energy_import"], NOW - 10 * HOUR)
    ledger.settle(["gone"], NOW - 900 * HOUR)
    ledger.settle(["ahead"], NOW + 900 * HOUR)
    ledger.note(
        [
            # The clock was at 1971, and years ahead.
            Outage(40_000_000, NOW - 9 * HOUR),
            Outage(NOW - HOUR, NOW + 10**9),
            Outage(NOW + HOUR, NOW + 2 * HOUR),
            # Settled by now; three that overlap.
            Outage(NOW - 20 * HOUR, NOW - 11 * HOUR),
            Outage(NOW - 5 * HOUR, NOW - 4 * HOUR),
            Outage(NOW - 5 * HOUR + 200, NOW - 3 * HOUR),
            Outage(NOW - 5 * HOUR + 300, NOW - 4 * HOUR),
        ]
    )
    ledger.prune({"energy_import", "ahead"}, NOW)
    assert ledger.outages == [
        Outage(NOW - 11 * HOUR, NOW - 9 * HOUR),
        Outage(NOW - 5 * HOUR, NOW - 3 * HOUR),
        Outage(NOW - HOUR, NOW),
    ]
    assert ledger.settled["ahead"] == NOW
    assert ledger.is_open({"energy_import", "ahead"})
    assert not ledger.is_open({"ahead"})
    ledger.settle(["energy_import", "ahead"], NOW)
    ledger.prune({"energy_import", "ahead"}, NOW)
    # Of the hour that was settled last, a further run must know as much.
    assert ledger.outages == [Outage(NOW - HOUR, NOW)]
    assert not ledger.is_open({"energy_import", "ahead"})
    ledger.settle(["energy_import"], NOW + HOUR)
    ledger.prune({"energy_import"}, NOW + HOUR)
    assert not ledger.outages


def test_statistics_that_nobody_has() -> None:
    """They keep no outage; one that was never settled keeps all of them."""
    outages = [Outage(NOW - 9 * HOUR, NOW - 8 * HOUR), Outage(NOW - 9000, NOW - HOUR)]
    ledger = Ledger()
    ledger.note(outages)
    assert not ledger.is_open(())
    assert ledger.is_open({"energy_import"})
    ledger.prune({"energy_import"}, NOW)
    assert ledger.outages == outages
    # One of them ends after the time until which another statistic is settled.
    ledger.settle(["energy_export"], NOW - 8 * HOUR)
    assert ledger.is_open({"energy_export"})
    ledger.prune((), NOW)
    assert not ledger.outages


def test_outages_with_one_poll_in_between() -> None:
    """Two short ones are no long one; two that overlap are one."""
    apart = [Outage(NOW - 900, NOW - 500), Outage(NOW - 500, NOW - 100)]
    ledger = Ledger()
    ledger.note(apart)
    ledger.prune({"energy_import"}, NOW)
    assert ledger.outages == apart
    ledger.note([Outage(NOW - 501, NOW - 100)])
    ledger.prune({"energy_import"}, NOW)
    assert ledger.outages == [Outage(NOW - 900, NOW - 100)]


@given(
    st.lists(
        st.tuples(st.integers(0, 99), st.integers(0, 99)).map(
            lambda one: Outage(NOW - one[0] * HOUR, NOW - one[0] * HOUR + one[1] * 60)
        )
    )
)
def test_pruning_loses_no_time(outages: list[Outage]) -> None:
    """What is not settled stays noted, in few outages, and pruning twice is once."""
    ledger = Ledger()
    ledger.settle(["energy_import"], NOW - 50 * HOUR)
    ledger.note(outages)
    ledger.prune({"energy_import"}, NOW)
    for since, until in outages:
        for at in range(max(since, NOW - 50 * HOUR), min(until, NOW), 60):
            assert any(one.since <= at < one.until for one in ledger.outages)
    for before, after in pairwise(ledger.outages):
        assert before.until <= after.since
    again = [*ledger.outages]
    ledger.prune({"energy_import"}, NOW)
    assert ledger.outages == again


@pytest.mark.parametrize(
    ("count", "pause", "are_merged"),
    [(600, 10, True), (100, 300, True), (100, 301, False), (99, 300, False)],
)
def test_many_outages(count: int, pause: int, are_merged: bool) -> None:
    """A meter that is polled by an automation does not fill the file."""
    ledger = Ledger()
    outages = [Outage(NOW + n * 900, NOW + n * 900 + 900 - pause) for n in range(count)]
    ledger.note(outages)
    ledger.prune({"energy_import"}, outages[-1].until)
    whole = [Outage(NOW, outages[-1].until)]
    assert ledger.outages == (whole if are_merged else outages)


def test_stored_and_recalled() -> None:
    """Nothing is lost in JSON; what 0.1.0 has stored can be read."""
    ledger = Ledger()
    ledger.settle(["energy_import"], NOW)
    ledger.note([Outage(NOW, NOW + 5)])
    ledger.seal("energy_import", sealed(1, 2.5))
    assert ledger.as_dict() == {
        "settled": {"energy_import": NOW},
        "silences": [[NOW, NOW + 5]],
        "seals": {
            "energy_import": {
                str(FIRST): [720, 1, 0, 0],
                str(FIRST + 1): [720, 2.5, 0, 0],
            }
        },
    }
    again = Ledger.from_dict(json.loads(json.dumps(ledger.as_dict())))
    assert again.as_dict() == ledger.as_dict()
    assert again.seals["energy_import"] == sealed(1, 2.5)
    old = Ledger.from_dict({"settled": {"energy_import": 5}, "silences": [[1, 2]]})
    assert (old.settled, old.outages) == ({"energy_import": 5}, [Outage(1, 2)])


LAST: Final = 1 << 40
EMPTY: Final[dict[str, Any]] = {"settled": {}, "silences": []}


def with_seal(*seal: Any) -> dict[str, Any]:
    """Return stored data with a seal."""
    return EMPTY | {"seals": {"a": {"1": seal}}}


@pytest.mark.parametrize(
    "stored",
    [
        *(EMPTY, EMPTY | {"settled": {"a": 0}}, EMPTY | {"settled": {"a": LAST}}),
        *(EMPTY | {"silences": [[0, LAST]]}, with_seal(0, 1), with_seal(720, -1e300)),
    ],
)
def test_stored_shape(stored: dict[str, Any]) -> None:
    """Every time of a clock, and every total of a database, can be recalled."""
    assert Ledger.from_dict(stored).settled == stored["settled"]


@pytest.mark.parametrize(
    "stored",
    [
        *({}, EMPTY | {"settled": 5}, EMPTY | {"silences": [1]}),
        *(with_seal(10**400, 1), with_seal(1, 10**400), with_seal(1, nan)),
        *(with_seal(-1, 1), with_seal(721, 1), with_seal(1, 1, 1, -1.1e300)),
        *(EMPTY | {"settled": {"a": at}} for at in (-1, LAST + 1, 10**400)),
        *(EMPTY | {"silences": [times]} for times in ([0, -1], [0, LAST + 1])),
    ],
)
def test_stored_in_another_shape(stored: dict[str, Any]) -> None:
    """No number can be read that stands for no time and no row."""
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        Ledger.from_dict(stored)
