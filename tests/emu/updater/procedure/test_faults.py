"""The end of an update for each fault and each step at which it begins."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest

from custom_components.emu_professional.emu.updater.outcome import Reason, Step
from simulator.updater import Closed, UpdaterServer

from .owner import SUCCESS, UNREACHABLE, Owner, assert_safe


async def test_update(updater: UpdaterServer, owner: Owner) -> None:
    """An image is uploaded, tested, started, found to be good and confirmed."""
    assert await owner.install() is None
    await assert_safe(updater, None)
    steps = list(dict.fromkeys(step for step, _ in owner.steps))
    assert steps == list(Step)
    percents = [percent for step, percent in owner.steps if percent is not None]
    assert percents == sorted(percents)
    assert percents[-1] == 100


def _network_dies(updater: UpdaterServer) -> None:
    updater.datagrams.requests.loss = 1


def _answers_die(updater: UpdaterServer) -> None:
    updater.datagrams.answers.loss = 1


def _loses(updater: UpdaterServer) -> None:
    updater.datagrams.requests.loss = updater.datagrams.answers.loss = 0.3


def _doubles(updater: UpdaterServer) -> None:
    updater.datagrams.requests.doubling = updater.datagrams.answers.doubling = 0.5


def _delays(updater: UpdaterServer) -> None:
    for line in (updater.datagrams.requests, updater.datagrams.answers):
        line.delay, line.jitter = 0.02, 0.05


def _reorders(updater: UpdaterServer) -> None:
    for line in (updater.datagrams.requests, updater.datagrams.answers):
        line.reordering, line.doubling = 0.5, 0.3


def _corrupts(updater: UpdaterServer) -> None:
    updater.datagrams.answers.corruption = 0.3


def _falls_silent(updater: UpdaterServer) -> None:
    updater.datagrams.silent_for(0.3)


def _loses_one_answer(updater: UpdaterServer) -> None:
    updater.datagrams.answers.lose(1)


def _loses_power(updater: UpdaterServer) -> None:
    updater.cut_power()


def _power_stays_away(updater: UpdaterServer) -> None:
    updater.cut_power(60)


def _update_is_switched_off(updater: UpdaterServer) -> None:
    updater.meter.settings = replace(updater.meter.settings, online_update=False)


# At check, upload, test, restart, trial and confirm.
TABLE: Final = {
    _loses: (SUCCESS,) * 6,
    _doubles: (SUCCESS,) * 6,
    _delays: (SUCCESS,) * 6,
    _reorders: (SUCCESS,) * 6,
    _corrupts: (SUCCESS,) * 6,
    _falls_silent: (SUCCESS,) * 6,
    _loses_one_answer: (SUCCESS,) * 6,
    _loses_power: (
        UNREACHABLE,
        SUCCESS,
        SUCCESS,
        SUCCESS,
        Reason.WENT_BACK,
        Reason.WENT_BACK,
    ),
    _power_stays_away: (
        UNREACHABLE,
        Reason.UPLOAD_LOST,
        Reason.TEST_LOST,
        Reason.NO_RETURN,
        Reason.NO_READINGS_ON_TRIAL,
        Reason.NOT_CONFIRMED,
    ),
    _network_dies: (
        Reason.UPDATER_SILENT,
        Reason.UPLOAD_LOST,
        Reason.TEST_LOST,
        Reason.NO_RETURN,
        Reason.NOT_CONFIRMED,
        Reason.NOT_CONFIRMED,
    ),
    _answers_die: (
        Reason.UPDATER_SILENT,
        Reason.UPLOAD_LOST,
        Reason.TEST_LOST,
        Reason.NO_RETURN,
        Reason.NOT_CONFIRMED,
        Reason.NOT_CONFIRMED,
    ),
    _update_is_switched_off: (
        Reason.ONLINE_UPDATE_OFF,
        Reason.UPLOAD_LOST,
        Reason.TEST_LOST,
        Reason.NO_RETURN,
        Reason.NOT_CONFIRMED,
        Reason.NOT_CONFIRMED,
    ),
}


@pytest.mark.parametrize(
    ("fault", "step", "expected"),
    [
        pytest.param(fault, step, reason, id=f"{fault.__name__[1:]}-{step}")
        for fault, reasons in TABLE.items()
        for step, reason in zip(Step, reasons, strict=True)
    ],
)
async def test_fault_at_step(
    updater: UpdaterServer,
    owner: Owner,
    fault: Callable[[UpdaterServer], None],
    step: Step,
    expected: Reason | str | None,
) -> None:
    """With any fault from any step on, the meter is safe and its owner knows."""
    owner.happens[step] = lambda: fault(updater)
    outcome = await owner.install()
    assert outcome == expected
    await assert_safe(updater, outcome)


@pytest.mark.parametrize("step", Step)
async def test_corrupted_requests(
    updater: UpdaterServer, owner: Owner, step: Step
) -> None:
    """Requests with errors beyond UDP's checksum: the meter is safe all the same."""

    def corrupt() -> None:
        updater.datagrams.requests.corruption = 0.2

    owner.happens[step] = corrupt
    await assert_safe(updater, await owner.install())


@pytest.mark.parametrize("closed", Closed)
async def test_nobody_listens(
    updater: UpdaterServer, owner: Owner, closed: Closed
) -> None:
    """A meter is left alone if its updates are on, but its updater does not answer."""
    updater.config = replace(updater.config, closed=closed)
    updater.meter.settings = replace(updater.meter.settings, online_update=False)
    updater.meter.status_override["updateractive"] = True
    assert await owner.install() is Reason.UPDATER_SILENT
    await assert_safe(updater, Reason.UPDATER_SILENT)
