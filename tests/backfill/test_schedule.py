"""When statistics are compared with the data logger."""

from datetime import UTC, datetime, timedelta

import pytest

from custom_components.emu_professional.backfill.schedule import Schedule, hourly_at
from custom_components.emu_professional.outages import Outage

NOW = datetime(2026, 6, 1, 10, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("last", "is_over"),
    [
        (None, True),
        (NOW, False),
        (NOW - DAY + SECOND, False),
        (NOW - DAY, True),
        # The clock was ahead.
        (NOW + SECOND, True),
    ],
)
def test_once_a_day(last: datetime | None, is_over: bool) -> None:
    """All statistics and all seals are compared, each by its own last time."""
    assert Schedule(completed=last, verified=NOW).is_daily_due(NOW) is is_over
    assert Schedule(completed=NOW, verified=last).is_verification_due(NOW) is is_over
    assert Schedule(is_due=False, completed=last).is_all_due(NOW) is is_over
    assert Schedule(completed=last).is_all_due(NOW)


@pytest.mark.parametrize(
    ("compared", "is_worth"),
    [
        (None, True),
        (NOW, False),
        (NOW - timedelta(minutes=30) + SECOND, False),
        (NOW - timedelta(minutes=30), True),
        (NOW + SECOND, True),
    ],
)
def test_end_of_an_outage(compared: datetime | None, is_worth: bool) -> None:
    """A whole hour is worth a comparison at once, less of it one in half an hour."""
    schedule = Schedule(compared=compared)
    short, long = Outage(3_000, 4_000), Outage(3_000, 7_300)
    assert schedule.is_worth_comparing(short, NOW, is_polled=True) is is_worth
    assert not schedule.is_worth_comparing(short, NOW, is_polled=False)
    for is_polled in (False, True):
        assert schedule.is_worth_comparing(long, NOW, is_polled=is_polled)


def test_several_meters() -> None:
    """Each has its own moment, after the recorder has compiled the hour."""
    assert [hourly_at(turn) for turn in (0, 0.1, 0.25, 0.5, 0.999)] == [
        *((2, 0), (2, 24), (3, 0), (4, 0), (5, 59))
    ]
