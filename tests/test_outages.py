"""When the meter was not observed, and which hours of that are lost."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.outages import (
    Outage,
    Outages,
    lost_time,
    outage_between,
)

HOUR = 3600
NOW = 1_780_300_800


def test_outages_overlap() -> None:
    """Each second counts once."""
    outages = Outages([(50, 60), (0, 10), (5, 20), (20, 30), (58, 59)])
    assert outages.seconds_within(0, 100) == 40
    assert outages.seconds_within(8, 55) == 27
    assert outages.seconds_within(30, 50) == outages.seconds_within(60, 99) == 0
    # One that begins when another one ends is a part of it.
    begins = {-1: -1, 0: 0, 15: 0, 29: 0, 30: 30, 49: 49, 55: 50, 60: 60}
    assert {at: outages.begin(at) for at in begins} == begins


TIME = st.integers(0, 60)


@given(
    st.lists(st.tuples(TIME, TIME).filter(lambda time: time[0] < time[1])), TIME, TIME
)
def test_unobserved_seconds(
    times: list[tuple[int, int]], since: int, length: int
) -> None:
    """They are those of all outages; the outage around a time begins with the first."""
    outages = Outages(times)
    missed = {second for time in times for second in range(*time)}
    seconds = missed & {*range(since, since + length)}
    assert outages.seconds_within(since, since + length) == len(seconds)
    begin = since
    if since in missed:
        while begin - 1 in missed:
            begin -= 1
    assert outages.begin(since) == begin


@pytest.mark.parametrize(
    ("seconds", "is_outage"), [(0, False), (60, False), (60.5, True), (7_200, True)]
)
def test_time_between_two_observations(seconds: float, is_outage: bool) -> None:
    """More than a minute is an outage; a clock that was set back makes none."""
    last = datetime(2026, 6, 1, 8, tzinfo=UTC)
    at = int(last.timestamp())
    outage = outage_between(last, last + timedelta(seconds=seconds))
    assert outage == (Outage(at, int(at + seconds)) if is_outage else None)
    assert outage_between(None, last) is None
    assert outage_between(last, last - timedelta(hours=1)) is None


def test_lost_hours() -> None:
    """Whole hours of outages that the logger no longer has."""
    outages = [Outage(NOW - 90 * HOUR, NOW - 80 * HOUR), Outage(NOW - 9, NOW)]
    assert lost_time(outages, NOW - 85 * HOUR) == (NOW - 90 * HOUR, NOW - 85 * HOUR)
    assert lost_time(outages, NOW - 70 * HOUR) == (NOW - 90 * HOUR, NOW - 80 * HOUR)
    assert lost_time(outages, NOW - 90 * HOUR + 5) is None
    assert lost_time([], NOW) is None
    several = [*outages, Outage(NOW - 95 * HOUR, NOW - 88 * HOUR)]
    assert lost_time(several, NOW) == (NOW - 95 * HOUR, NOW - 80 * HOUR)
    for seconds, is_lost in ((HOUR, False), (HOUR + 1, True)):
        whole = [Outage(NOW - seconds, NOW + HOUR)]
        assert lost_time(whole, NOW) == (
            whole[0]._replace(until=NOW) if is_lost else None
        )
        short = [Outage(NOW - seconds, NOW)]
        assert lost_time(short, NOW + HOUR) == (short[0] if is_lost else None)


def test_long_outage() -> None:
    """Only one with a whole hour is worth a run at once."""
    at = NOW // HOUR * HOUR
    assert not Outage(at - 5, at + HOUR - 5).is_long
    assert not Outage(at + 5, at + 2 * HOUR - 5).is_long
    assert Outage(at - 5, at + HOUR + 5).is_long
