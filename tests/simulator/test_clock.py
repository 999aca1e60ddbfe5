"""Time can be stopped, set and sped up."""

from datetime import UTC, datetime, timedelta
import time

import pytest

from simulator.clock import ManualClock, RunningClock, epoch

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return real time: its only element is what the computer's clock shows."""
    real = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: real[0])
    return real


def test_manual_clock_moves_only_when_told() -> None:
    """Manual clock moves only when told."""
    clock = ManualClock(NOON)
    assert clock.now() == NOON.timestamp()
    clock.advance(1.5)
    clock.advance(timedelta(hours=1))
    assert clock.now() == NOON.timestamp() + 3601.5
    clock.set(NOON - timedelta(days=1))
    assert clock.now() == NOON.timestamp() - 86400


def test_running_clock_runs_at_its_speed(monotonic: list[float]) -> None:
    """Running clock runs at its speed."""
    clock = RunningClock(NOON, speed=60)
    monotonic[0] += 10
    assert clock.now() == NOON.timestamp() + 600
    clock.speed = 0
    monotonic[0] += 10
    assert clock.now() == NOON.timestamp() + 600
    clock.speed = 2
    monotonic[0] += 10
    assert clock.now() == NOON.timestamp() + 620
    clock.set(NOON)
    monotonic[0] += 1
    assert clock.now() == NOON.timestamp() + 2


def test_running_clock_starts_at_the_time_of_the_computer() -> None:
    """Running clock starts at the time of the computer."""
    before = time.time()
    assert before <= RunningClock().now() <= time.time()


@pytest.mark.parametrize("speed", [-1.0, float("inf"), float("nan")])
def test_impossible_speed_is_refused(speed: float) -> None:
    """Impossible speed is refused."""
    with pytest.raises(ValueError, match="Speed"):
        RunningClock(NOON, speed)


def test_epoch_cuts_off_towards_the_past() -> None:
    """Epoch cuts off towards the past."""
    assert epoch(NOON + timedelta(milliseconds=999)) == NOON.timestamp()
    assert epoch(1.9) == 1
    assert epoch(-0.1) == -1


def test_moment_without_time_zone_is_refused() -> None:
    """Moment without time zone is refused."""
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        epoch(naive)
    with pytest.raises(ValueError, match="time zone"):
        ManualClock(naive)
