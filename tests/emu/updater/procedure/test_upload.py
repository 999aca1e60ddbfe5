"""Uploads: full slots, power cuts, damage, and images that are refused."""

from dataclasses import replace

import pytest

from custom_components.emu_professional.emu.updater.outcome import Reason, Step
from simulator.images import signed_image
from simulator.updater import Age, Moment, UpdateRequest, UpdaterServer

from .owner import NEW, OLD, SUCCESS, Owner, assert_safe, fill_slot


@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize("rc", [2, 5, 6])
async def test_full_slot_is_erased(
    updater: UpdaterServer, owner: Owner, age: Age, rc: int
) -> None:
    """The manual's meter takes a third image only after the second is deleted."""
    updater.config = replace(
        updater.config, age=age, full_slot_refuses=True, no_slot_rc=rc
    )
    fill_slot(updater)
    assert await owner.install() is SUCCESS
    assert len([r for r in updater.requests if (r.group, r.command) == (1, 5)]) == 1
    await assert_safe(updater, SUCCESS)


@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize("full_slot_refuses", [False, True])
async def test_power_lost_in_the_signature(
    updater: UpdaterServer, owner: Owner, age: Age, *, full_slot_refuses: bool
) -> None:
    """The slot shows the hash of an image without its end: it is sent again."""
    updater.config = replace(
        updater.config, age=age, full_slot_refuses=full_slot_refuses
    )
    updater.cut_power_at_byte = len(NEW) - 8
    assert await owner.install() is SUCCESS
    await assert_safe(updater, SUCCESS)


@pytest.mark.parametrize("full_slot_refuses", [False, True])
async def test_answer_to_the_last_chunk_lost(
    updater: UpdaterServer, owner: Owner, *, full_slot_refuses: bool
) -> None:
    """The module has forgotten a complete upload: it is sent again."""
    updater.config = replace(
        updater.config, age=Age.MODERN, full_slot_refuses=full_slot_refuses
    )

    def is_last(request: UpdateRequest, moment: Moment) -> bool:
        end = request.body.get("off", 0) + len(request.body.get("data", b""))
        if moment is Moment.DONE and end == len(NEW):
            updater.cut_power_when = None
            updater.datagrams.answers.lose(1)
        return False

    updater.cut_power_when = is_last
    assert await owner.install() is SUCCESS
    await assert_safe(updater, SUCCESS)


async def test_full_slot_is_no_hindrance(updater: UpdaterServer, owner: Owner) -> None:
    """Where a full slot takes an upload, nothing is erased by us."""
    fill_slot(updater)
    assert await owner.install() is SUCCESS
    assert not [r for r in updater.requests if (r.group, r.command) == (1, 5)]


async def test_damaged_upload(updater: UpdaterServer, owner: Owner) -> None:
    """An image that the meter lists with another hash is not tried."""

    def damage() -> None:
        updater.bootloader.write(0, bytes(4))

    owner.happens[Step.UPLOAD] = damage
    assert await owner.install() is Reason.UPLOAD_DAMAGED
    await assert_safe(updater, Reason.UPLOAD_DAMAGED)


async def test_too_large(updater: UpdaterServer, owner: Owner) -> None:
    """An image larger than the slot is refused by the meter."""
    reason = await owner.install(signed_image("1.0.17", size=400 * 1024))
    assert reason is Reason.UPLOAD_REFUSED
    await assert_safe(updater, reason)


async def test_image_that_runs_already(updater: UpdaterServer, owner: Owner) -> None:
    """There is nothing to do, and nothing is done."""
    assert await owner.install(OLD) is SUCCESS
    assert {(r.op, r.group, r.command) for r in updater.requests} == {(0, 1, 0)}
