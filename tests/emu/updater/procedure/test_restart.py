"""A restart that the owner wants, without any update."""

from dataclasses import replace

import pytest

from custom_components.emu_professional.emu.updater.outcome import (
    FirmwareUpdateFailed,
    Reason,
)
from simulator.updater import Group, Moment, OsCommand, UpdateRequest, UpdaterServer

from .owner import Owner


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_lost_restart(updater: UpdaterServer, owner: Owner, lost: int) -> None:
    """It is sent again; without any restart it is an error."""
    boots, left = updater.boots, lost

    def lose_resets(request: UpdateRequest, moment: Moment) -> bool:
        nonlocal left
        if left and moment is Moment.ARRIVED:
            left -= 1
            # Each look at the slots is followed by a reset.
            updater.datagrams.requests.lose(1)
        return False

    updater.cut_power_when = lose_resets
    if lost < 3:
        await owner.update.restart()
        await updater.booted(boots + 1)
    else:
        with pytest.raises(FirmwareUpdateFailed) as caught:
            await owner.update.restart()
        assert caught.value.reason is Reason.UPDATER_SILENT
    assert updater.boots == boots + (lost < 3)


async def test_lost_answer_to_restart(updater: UpdaterServer, owner: Owner) -> None:
    """The module is away, so it restarts; no other reset is sent."""
    updater.config = replace(updater.config, boot_seconds=3)

    def lose_answer(request: UpdateRequest, moment: Moment) -> bool:
        if (request.group, request.command) == (Group.OS, OsCommand.RESET):
            updater.datagrams.answers.lose(1)
        return False

    updater.cut_power_when = lose_answer
    await owner.update.restart()
    resets = [r for r in updater.requests if r.group == Group.OS]
    assert len(resets) == 1


async def test_restart(updater: UpdaterServer, owner: Owner) -> None:
    """The module restarts once."""
    boots = updater.boots
    await owner.update.restart()
    await updater.booted(boots + 1)
    assert updater.running == "1.0.16"
