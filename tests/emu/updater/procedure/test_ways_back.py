"""The ways back: the end of a trial, and the erase of an image."""

from dataclasses import replace

import pytest

from custom_components.emu_professional.emu.errors import UpdaterRefused
from custom_components.emu_professional.emu.updater.outcome import (
    FirmwareUpdateFailed,
    Reason,
)
from simulator.updater import ImageCommand, Moment, Rc, UpdateRequest, UpdaterServer
from tests.conftest import put_on_trial

from .owner import NEW, Owner, assert_safe, fill_slot


async def test_lost_answer_to_erase(updater: UpdaterServer, owner: Owner) -> None:
    """The slots tell whether a pending image is deleted."""
    updater.config = replace(updater.config, erases_pending=True)
    updater.bootloader.write(0, NEW)
    updater.bootloader.mark_pending()

    def refuse_the_repeated(request: UpdateRequest, moment: Moment) -> bool:
        if request.command == ImageCommand.ERASE and moment is Moment.DONE:
            updater.refusals.append(Rc.BAD_STATE)
            updater.datagrams.answers.lose(1)
        return False

    updater.cut_power_when = refuse_the_repeated
    await owner.update.erase()
    assert len(updater.bootloader.slots) == 1


async def test_erase_refused(updater: UpdaterServer, owner: Owner) -> None:
    """The image is still there, and the owner does not read otherwise."""
    fill_slot(updater)

    def refuse_the_next(request: UpdateRequest, moment: Moment) -> bool:
        if moment is Moment.DONE:
            updater.refusals.append(Rc.BAD_STATE)
        return False

    updater.cut_power_when = refuse_the_next
    with pytest.raises(UpdaterRefused):
        await owner.update.erase()
    assert len(updater.bootloader.slots) == 2


async def test_revert(updater: UpdaterServer, owner: Owner) -> None:
    """A trial is ended by one restart; without a trial nothing is done."""
    put_on_trial(updater, NEW)
    await owner.update.revert()
    await assert_safe(updater, Reason.WENT_BACK)
    with pytest.raises(FirmwareUpdateFailed) as caught:
        await owner.update.revert()
    assert caught.value.reason is Reason.NOTHING_ON_TRIAL
    assert len([r for r in updater.requests if (r.group, r.command) == (0, 5)]) == 1


async def test_revert_without_an_answer(updater: UpdaterServer, owner: Owner) -> None:
    """The owner does not read that the old firmware runs."""
    put_on_trial(updater, NEW)
    updater.config = replace(updater.config, old_answers=60)
    with pytest.raises(FirmwareUpdateFailed) as caught:
        await owner.update.revert()
    assert caught.value.reason is Reason.NOT_REVERTED


async def test_erase(updater: UpdaterServer, owner: Owner) -> None:
    """The image in slot 1 is deleted."""
    fill_slot(updater)
    await owner.update.erase()
    assert len(updater.bootloader.slots) == 1


async def test_erase_ends_no_trial(updater: UpdaterServer, owner: Owner) -> None:
    """The way back is not deleted while it may be needed."""
    put_on_trial(updater, NEW)
    updater.config = replace(updater.config, erases_pending=True)
    with pytest.raises(FirmwareUpdateFailed) as caught:
        await owner.update.erase()
    assert caught.value.reason is Reason.OTHER_ON_TRIAL
    assert len(updater.bootloader.slots) == 2
