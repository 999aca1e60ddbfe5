"""What is settled, and what the rows say of it."""

from itertools import pairwise
import json
from typing import Any

from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.backfill.ledger import SEALED, Ledger, Seal
from custom_components.emu_professional.backfill.times import HOUR
from custom_components.emu_professional.outages import Outage, lost_time

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


def test_seals_of_a_window() -> None:
    """A run seals what it has seen, and nothing else."""
    ledger = Ledger()
    ledger.seal("energy_import", sealed(1, 2, 3))
    begin = (FIRST + 1) * SEALED
    ledger.seal("energy_import", sealed(9, 9, 9), begin, begin + HOUR)
    assert ledger.seals["energy_import"] == sealed(1, 9, 3)
    ledger.seal("energy_import", {}, begin, begin + HOUR)
    assert ledger.seals["energy_import"].keys() == {FIRST, FIRST + 2}


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
            # Settled by now; two that overlap.
            Outage(NOW - 20 * HOUR, NOW - 11 * HOUR),
            Outage(NOW - 5 * HOUR, NOW - 4 * HOUR),
            Outage(NOW - 5 * HOUR + 200, NOW - 3 * HOUR),
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


def test_many_outages() -> None:
    """A meter that is polled by an automation does not fill the file."""
    ledger = Ledger()
    times = range(NOW - 100 * HOUR, NOW, 600)
    ledger.note([Outage(at, at + 590) for at in times])
    ledger.prune({"energy_import"}, NOW)
    assert ledger.outages == [Outage(times[0], times[-1] + 590)]


def test_stored_and_recalled() -> None:
    """Nothing is lost in JSON; what 0.1.0 has stored can be read."""
    ledger = Ledger()
    ledger.settle(["energy_import"], NOW)
    ledger.note([Outage(NOW, NOW + 5)])
    ledger.seal("energy_import", sealed(1, 2.5))
    again = Ledger.from_dict(json.loads(json.dumps(ledger.as_dict())))
    assert again.as_dict() == ledger.as_dict()
    assert again.seals["energy_import"] == sealed(1, 2.5)
    old = Ledger.from_dict({"settled": {"energy_import": 5}, "silences": [[1, 2]]})
    assert (old.settled, old.outages) == ({"energy_import": 5}, [Outage(1, 2)])
    empty: dict[str, Any] = {"settled": {}, "silences": []}
    huge = 10**400
    others: list[dict[str, Any]] = [
        *({}, {"settled": 5, "silences": []}, {"settled": {}, "silences": [1]}),
        *(empty | {"seals": {"a": {"1": seal}}} for seal in ([huge, 1], [1, huge])),
        *(empty | {"settled": {"a": huge}}, empty | {"silences": [[0, -1]]}),
    ]
    for other in others:
        with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
            Ledger.from_dict(other)


def test_lost_hours() -> None:
    """Whole hours of outages that the logger no longer has."""
    outages = [Outage(NOW - 90 * HOUR, NOW - 80 * HOUR), Outage(NOW - 9, NOW)]
    assert lost_time(outages, NOW - 85 * HOUR) == (NOW - 90 * HOUR, NOW - 85 * HOUR)
    assert lost_time(outages, NOW - 70 * HOUR) == (NOW - 90 * HOUR, NOW - 80 * HOUR)
    assert lost_time(outages, NOW - 90 * HOUR + 5) is None
    assert lost_time([], NOW) is None


def test_long_outage() -> None:
    """Only one with a whole hour is worth a run at once."""
    at = NOW // HOUR * HOUR
    assert not Outage(at - 5, at + HOUR - 5).is_long
    assert not Outage(at + 5, at + 2 * HOUR - 5).is_long
    assert Outage(at - 5, at + HOUR + 5).is_long
