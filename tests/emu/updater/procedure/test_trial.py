"""Trials: bad images, refused and lost requests, and interrupted updates."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.emu.updater.outcome import (
    FirmwareUpdateFailed,
    Reason,
    Step,
)
from simulator.bootloader import Swap
from simulator.images import Trait, signed_image
from simulator.updater import Age, Moment, Op, Rc, UpdateRequest, UpdaterServer

from .owner import NEW, SUCCESS, Owner, assert_safe, is_new_to_stay


@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize(
    ("trait", "expected"),
    [
        (Trait.GOOD, SUCCESS),
        (Trait.NO_WEB_PAGE, Reason.NO_READINGS),
        (Trait.NEVER_BOOTS, Reason.NO_RETURN),
        (Trait.NO_UPDATER, Reason.NO_RETURN),
        (Trait.WRONG_SIGNATURE, Reason.NOT_STARTED),
    ],
)
async def test_image(
    updater: UpdaterServer,
    owner: Owner,
    age: Age,
    trait: Trait,
    expected: Reason | None,
) -> None:
    """With any bad image, the old one is there or comes back."""
    updater.config = replace(updater.config, age=age)
    reason = await owner.install(signed_image("1.0.17", size=6 * 1024, trait=trait))
    assert reason is expected
    await assert_safe(updater, reason)


async def test_image_that_never_boots_with_a_watchdog(
    updater: UpdaterServer, owner: Owner
) -> None:
    """The module restarts itself with its old firmware, and the owner reads so."""
    updater.config = replace(updater.config, watchdog_seconds=0.1)
    image = signed_image("1.0.17", size=6 * 1024, trait=Trait.NEVER_BOOTS)
    assert await owner.install(image) is Reason.NOT_STARTED
    await assert_safe(updater, Reason.NOT_STARTED)


async def test_test_refused(updater: UpdaterServer, owner: Owner) -> None:
    """An image that the meter refuses to try is not started."""
    owner.happens[Step.TEST] = lambda: updater.refusals.append(Rc.BAD_STATE)
    assert await owner.install() is Reason.TEST_REFUSED
    await assert_safe(updater, Reason.TEST_REFUSED)


@pytest.mark.parametrize("age", Age)
async def test_power_lost_with_the_answer_to_test(
    updater: UpdaterServer, owner: Owner, age: Age
) -> None:
    """A repeated test of the running image is refused: no verdict on the image."""
    updater.config = replace(updater.config, age=age)

    def is_tested(request: UpdateRequest, moment: Moment) -> bool:
        return moment is Moment.DONE and updater.bootloader.swap is Swap.TEST

    updater.cut_power_when = is_tested
    assert await owner.install() is SUCCESS
    await assert_safe(updater, SUCCESS)


@pytest.mark.parametrize("late", [False, True])
async def test_power_lost_before_the_confirm(
    updater: UpdaterServer, owner: Owner, late: bool
) -> None:
    """A confirm at the old image would let the new one stay without a trial."""

    def is_confirm(request: UpdateRequest, moment: Moment) -> bool:
        return bool(request.body.get("confirm")) and moment is Moment.ARRIVED

    updater.cut_power_when = is_confirm
    reason = Reason.WENT_BACK
    if late:
        reason = Reason.TEST_LOST
        boot = updater.bootloader.boot_steps

        def boot_steps() -> Iterator[None]:
            yield from boot()
            if updater.running == "1.0.16":
                updater.bootloader.mark_pending(permanent=True)

        updater.bootloader.boot_steps = boot_steps  # type: ignore[method-assign]
    assert await owner.install() is reason
    assert updater.running == "1.0.16"
    assert updater.bootloader.swap is (Swap.PERMANENT if late else Swap.NONE)


async def test_nobody_knows_whether_a_refused_test_was_done(
    updater: UpdaterServer, owner: Owner
) -> None:
    """Where the slots can't be looked at after it, the new image may run."""

    def die(request: UpdateRequest, moment: Moment) -> bool:
        if owner.steps[-1][0] is Step.TEST and request.op == Op.READ:
            updater.datagrams.answers.loss = 1
        return False

    updater.cut_power_when = die
    owner.happens[Step.TEST] = lambda: updater.refusals.append(Rc.BAD_STATE)
    assert await owner.install() is Reason.TEST_LOST


@pytest.mark.parametrize("starts", [False, True])
async def test_interrupted_update_continues(
    updater: UpdaterServer, owner: Owner, starts: bool
) -> None:
    """Nothing is uploaded again, whether the module has restarted or not."""
    updater.bootloader.write(0, NEW)
    updater.bootloader.mark_pending()
    if starts:
        updater.bootloader.power_cycle()
    await owner.update.finish(read_firmware(NEW).hash)
    assert updater.bootloader.swap is Swap.NONE
    assert is_new_to_stay(updater)
    assert not [r for r in updater.requests if (r.group, r.command) == (1, 1)]


async def test_ended_trial_is_not_repeated(
    updater: UpdaterServer, owner: Owner
) -> None:
    """An ended trial is not begun again unless the owner wants it."""
    with pytest.raises(FirmwareUpdateFailed) as caught:
        await owner.update.finish(read_firmware(NEW).hash)
    assert caught.value.reason is Reason.WENT_BACK


async def test_lost_reset_is_sent_again(updater: UpdaterServer, owner: Owner) -> None:
    """As long as the image is pending, the reset was lost."""
    owner.happens[Step.RESTART] = lambda: updater.datagrams.requests.lose(2)
    assert await owner.install() is SUCCESS


async def test_lost_answer_to_reset(updater: UpdaterServer, owner: Owner) -> None:
    """No reset is sent to an image on trial: it would end the trial."""
    owner.happens[Step.RESTART] = lambda: updater.datagrams.answers.lose(2)
    assert await owner.install() is SUCCESS
    assert len([r for r in updater.requests if (r.group, r.command) == (0, 5)]) == 1


async def test_module_that_never_restarts(updater: UpdaterServer, owner: Owner) -> None:
    """Resets are not sent for ever."""
    updater.config = replace(updater.config, old_answers=60)
    assert await owner.install() is Reason.NOT_RESTARTED
    await assert_safe(updater, Reason.NOT_RESTARTED)


@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize(
    ("erases", "expected"),
    [(True, Reason.SWAP_REFUSED), (False, Reason.STAYS_PENDING)],
)
async def test_boot_loader_refuses_the_swap(
    updater: UpdaterServer, owner: Owner, age: Age, erases: bool, expected: Reason
) -> None:
    """It is not mistaken for a missing restart, and the module is freed of the image.

    If the module allows that, the image is deleted and others can be installed. If
    not, its owner knows, and can have it deleted later.
    """
    updater.config = replace(updater.config, age=age, erases_pending=erases)
    updater.bootloader.refuses_swaps = True
    boots = updater.boots
    assert await owner.install() is expected
    assert updater.boots == boots + 3
    assert updater.running == "1.0.16"
    other = signed_image("1.0.18", size=6 * 1024)
    if not erases:
        assert updater.bootloader.swap is Swap.TEST
        assert await owner.install(other) is Reason.OTHER_PENDING
        with pytest.raises(FirmwareUpdateFailed) as caught:
            await owner.update.erase()
        assert caught.value.reason is Reason.STAYS_PENDING
        updater.config = replace(updater.config, erases_pending=True)
        await owner.update.erase()
    assert updater.bootloader.swap is Swap.NONE
    updater.bootloader.refuses_swaps = False
    assert await owner.install(other) is SUCCESS


@pytest.mark.parametrize("lost", [{1}, {2}, {1, 3}])
async def test_refused_swap_on_a_line_that_loses(
    updater: UpdaterServer, owner: Owner, lost: set[int]
) -> None:
    """A lost reset is no word about the boot loader, nor about the module's restarts."""
    updater.config = replace(updater.config, erases_pending=True)
    updater.bootloader.refuses_swaps = True
    resets, boots = 0, updater.boots
    carry = updater.datagrams.requests.send

    def lose_resets(data: bytes, deliver: Callable[[bytes], None]) -> None:
        nonlocal resets
        # Group 0, command 5
        if (data[4:6], data[7]) == (bytes(2), 5):
            resets += 1
            if resets in lost:
                return
        carry(data, deliver)

    updater.datagrams.requests.send = lose_resets  # type: ignore[method-assign]
    assert await owner.install() is Reason.SWAP_REFUSED
    assert updater.boots == boots + 3
    await assert_safe(updater, Reason.SWAP_REFUSED)


async def test_refused_swap_of_a_slow_module(
    updater: UpdaterServer, owner: Owner
) -> None:
    """A module that needs long for each restart comes back from all of them."""
    updater.config = replace(updater.config, erases_pending=True, boot_seconds=1)
    updater.bootloader.refuses_swaps = True
    assert await owner.install() is Reason.SWAP_REFUSED
    await assert_safe(updater, Reason.SWAP_REFUSED)


@pytest.mark.parametrize("rc", Rc)
async def test_erase_of_a_refused_image_fails(
    updater: UpdaterServer, owner: Owner, rc: Rc
) -> None:
    """With any error the owner reads that the image stays, and can try it again."""
    updater.config = replace(updater.config, erases_pending=True)
    updater.bootloader.refuses_swaps = True
    refused = True

    def refuse_erase(request: UpdateRequest, moment: Moment) -> bool:
        if refused and (request.group, request.command) == (1, 5):
            updater.refusals[:] = [rc] if moment is Moment.ARRIVED else []
        return False

    updater.cut_power_when = refuse_erase
    assert await owner.install() is Reason.STAYS_PENDING
    refused = False
    await owner.update.erase()
    assert updater.bootloader.swap is Swap.NONE


@pytest.mark.parametrize(
    ("lost", "expected"),
    [("requests", Reason.STAYS_PENDING), ("answers", Reason.STAYS_PENDING)],
)
async def test_refused_image_with_an_unknown_fate(
    updater: UpdaterServer, owner: Owner, lost: str, expected: Reason
) -> None:
    """Without an answer the owner does not read that the image is deleted."""
    updater.config = replace(updater.config, erases_pending=True)
    updater.bootloader.refuses_swaps = True

    def erase_begins(request: UpdateRequest, moment: Moment) -> bool:
        if (request.group, request.command) == (1, 5):
            getattr(updater.datagrams, lost).loss = 1
        return False

    updater.cut_power_when = erase_begins
    assert await owner.install() is expected
