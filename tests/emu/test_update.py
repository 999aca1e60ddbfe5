"""An update of a meter's firmware over real UDP, whatever happens at whichever step.

The table says, for each fault and each step at which it sets in, how the update ends
and so what the owner is told. In no cell is the meter left without an image that
boots and is there to stay, and in no cell is a word of it false.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
import os
from typing import Any, Final

import aiohttp
from hypothesis import Phase, given, settings, strategies as st
import pytest

from custom_components.emu_professional.emu import client
from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import (
    MeterDifferent,
    MeterUnreachable,
    UpdaterRefused,
)
from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.emu.updater.module import Access, UpdateTimeouts
from custom_components.emu_professional.emu.updater.outcome import (
    Reason,
    Step,
    UpdateFailed,
)
from custom_components.emu_professional.emu.updater.procedure import Update
from simulator.bootloader import Swap
from simulator.images import Trait, signed_image
from simulator.updater import (
    Age,
    Closed,
    Group,
    ImageCommand,
    Moment,
    Op,
    OsCommand,
    Rc,
    UpdaterConfig,
    UpdateRequest,
    UpdaterServer,
)
from simulator.web import MeterServer
from tests.conftest import QUICK_SESSION, SERIAL_NUMBER, put_on_trial
from tests.event_loop import in_thread

UPDATES: Final = int(os.environ.get("UPDATES") or 0)

OLD: Final = signed_image("1.0.16", size=6 * 1024)
NEW: Final = signed_image("1.0.17", size=6 * 1024)

TIMEOUTS: Final = UpdateTimeouts(
    restart=2.5,
    readings=1,
    confirm=1,
    grace=0.4,
    look=0.02,
    away=0.1,
    session=QUICK_SESSION,
)

OLD_RUNS: Final = frozenset(
    {
        Reason.ONLINE_UPDATE_OFF,
        Reason.FIRMWARE_TOO_OLD,
        Reason.UPDATER_SILENT,
        Reason.UPLOAD_LOST,
        Reason.UPLOAD_REFUSED,
        Reason.UPLOAD_DAMAGED,
        Reason.TEST_REFUSED,
        Reason.NOT_STARTED,
        Reason.NO_READINGS,
        Reason.WENT_BACK,
    }
)
"""Where the owner reads that the old firmware runs, and no other at the next restart."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, quick_updater: None) -> None:
    """Let nobody wait long for a web page either."""
    monkeypatch.setattr(client, "TIME_LIMIT", 0.5)
    monkeypatch.setattr(client, "_PAUSE", 0)


@pytest.fixture
def updater_config() -> UpdaterConfig:
    """Return how the module updates."""
    return UpdaterConfig(image=OLD, old_answers=0.05, boot_seconds=0.15)


@pytest.fixture
async def updater(
    server: MeterServer, updater_config: UpdaterConfig
) -> AsyncGenerator[UpdaterServer]:
    """Serve the updates of the meter."""
    async with UpdaterServer(server, updater_config) as updater:
        yield updater


class Owner:
    """Somebody who updates the meter, and something that happens meanwhile."""

    def __init__(self, updater: UpdaterServer, session: aiohttp.ClientSession) -> None:
        """Let nothing happen."""
        web = updater.web
        access = Access(
            MeterClient(session, web.host, web.port), updater.host, updater.port
        )
        self.update = Update(lambda: access, SERIAL_NUMBER, TIMEOUTS, self._begins)
        self.steps: list[tuple[Step, int | None]] = []
        self.happens: dict[Step, Callable[[], None]] = {}

    def _begins(self, step: Step, percent: int | None) -> None:
        self.steps.append((step, percent))
        # What happens during the upload happens in its middle.
        if (step is not Step.UPLOAD or (percent or 0) >= 50) and step in self.happens:
            self.happens.pop(step)()

    async def install(self, image: bytes = NEW) -> Reason | str | None:
        """Install an image, and return why that failed."""
        try:
            await self.update.install(read_firmware(image))
        except UpdateFailed as err:
            return err.reason
        except MeterUnreachable:
            return UNREACHABLE
        return None


@pytest.fixture
async def owner(updater: UpdaterServer) -> AsyncGenerator[Owner]:
    """Return somebody who updates the meter."""
    async with aiohttp.ClientSession() as session:
        yield Owner(updater, session)


async def assert_safe(updater: UpdaterServer, reason: Reason | str | None) -> None:
    """Check that the owner was told the truth, and that the meter is safe."""
    loader = updater.bootloader
    if reason is None:
        assert (updater.running, loader.swap) == ("1.0.17", Swap.NONE)
    if reason in OLD_RUNS:
        assert loader.image(0).version[:3] == (1, 0, 16)  # type: ignore[union-attr]
        assert loader.swap is Swap.NONE
    if reason is Reason.NOT_RESTARTED:
        assert (updater.running, loader.swap) == ("1.0.16", Swap.TEST)
    stays = "1.0.17" if is_new_to_stay(updater) else "1.0.16"
    # Two restarts, and the meter is where it stays, without anybody's doing.
    for _ in range(2):
        loader.power_cycle()
    assert updater.running == stays
    assert loader.swap is Swap.NONE


def is_new_to_stay(updater: UpdaterServer) -> bool:
    """Return whether the new image runs and is confirmed."""
    loader = updater.bootloader
    image = loader.image(0)
    return (
        image is not None and image.version.revision == 17 and loader.swap is Swap.NONE
    )


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


SUCCESS: Final = None
UNREACHABLE: Final = "unreachable"

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
    """Whatever sets in at whichever step, the meter is safe and its owner knows."""
    owner.happens[step] = lambda: fault(updater)
    outcome = await owner.install()
    assert outcome == expected
    await assert_safe(updater, outcome)


@pytest.mark.parametrize("step", Step)
async def test_corrupted_requests(
    updater: UpdaterServer, owner: Owner, step: Step
) -> None:
    """What UDP's own checksum would have to miss: the meter is safe all the same."""

    def corrupt() -> None:
        updater.datagrams.requests.corruption = 0.2

    owner.happens[step] = corrupt
    await assert_safe(updater, await owner.install())


@pytest.mark.parametrize("closed", Closed)
async def test_nobody_listens(
    updater: UpdaterServer, owner: Owner, closed: Closed
) -> None:
    """A meter that says updates are on, but has nobody who answers, is left alone."""
    updater.config = replace(updater.config, closed=closed)
    updater.meter.settings = replace(updater.meter.settings, online_update=False)
    updater.meter.status_override["updateractive"] = True
    assert await owner.install() is Reason.UPDATER_SILENT
    await assert_safe(updater, Reason.UPDATER_SILENT)


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
    """Whatever is wrong with an image, the old one is there or comes back."""
    updater.config = replace(updater.config, age=age)
    reason = await owner.install(signed_image("1.0.17", size=6 * 1024, trait=trait))
    assert reason is expected
    await assert_safe(updater, reason)


async def test_image_that_never_boots_with_a_watchdog(
    updater: UpdaterServer, owner: Owner
) -> None:
    """A module that restarts itself runs its old firmware, and the owner is told."""
    updater.config = replace(updater.config, watchdog_seconds=0.1)
    image = signed_image("1.0.17", size=6 * 1024, trait=Trait.NEVER_BOOTS)
    assert await owner.install(image) is Reason.NOT_STARTED
    await assert_safe(updater, Reason.NOT_STARTED)


@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize("rc", [2, 5, 6])
async def test_full_slot_is_erased(
    updater: UpdaterServer, owner: Owner, age: Age, rc: int
) -> None:
    """The manual's meter takes a third image only after the second is deleted."""
    updater.config = replace(
        updater.config, age=age, full_slot_refuses=True, no_slot_rc=rc
    )
    _fill_slot(updater)
    assert await owner.install() is SUCCESS
    assert len([r for r in updater.requests if (r.group, r.command) == (1, 5)]) == 1
    await assert_safe(updater, SUCCESS)


@pytest.mark.parametrize("age", Age)
@pytest.mark.parametrize("full_slot_refuses", [False, True])
async def test_power_lost_in_the_signature(
    updater: UpdaterServer, owner: Owner, age: Age, *, full_slot_refuses: bool
) -> None:
    """The slot shows the hash of an image whose end is missing: it is sent again."""
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
    """The module has forgotten an upload that is complete: it is sent again."""
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
    _fill_slot(updater)
    assert await owner.install() is SUCCESS
    assert not [r for r in updater.requests if (r.group, r.command) == (1, 5)]


def _fill_slot(updater: UpdaterServer) -> None:
    updater.bootloader.write(0, signed_image("1.0.15", size=6 * 1024))


async def test_test_refused(updater: UpdaterServer, owner: Owner) -> None:
    """What the meter does not want to try is not started."""
    owner.happens[Step.TEST] = lambda: updater.refusals.append(Rc.BAD_STATE)
    assert await owner.install() is Reason.TEST_REFUSED
    await assert_safe(updater, Reason.TEST_REFUSED)


@pytest.mark.parametrize("age", Age)
async def test_power_lost_with_the_answer_to_test(
    updater: UpdaterServer, owner: Owner, age: Age
) -> None:
    """A module refuses the repeated test of what it runs already: no verdict on it."""
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
    """A confirm that meets the old image would let the new one stay without a trial."""

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


async def test_erase_whose_answer_is_lost(updater: UpdaterServer, owner: Owner) -> None:
    """The slots tell whether an image that waits for the restart is deleted."""
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
    """What was asked for is not done, and not said to be."""
    _fill_slot(updater)

    def refuse_the_next(request: UpdateRequest, moment: Moment) -> bool:
        if moment is Moment.DONE:
            updater.refusals.append(Rc.BAD_STATE)
        return False

    updater.cut_power_when = refuse_the_next
    with pytest.raises(UpdaterRefused):
        await owner.update.erase()
    assert len(updater.bootloader.slots) == 2


async def test_damaged_on_its_way(updater: UpdaterServer, owner: Owner) -> None:
    """What the meter does not list as ours is not tried."""

    def damage() -> None:
        updater.bootloader.write(0, bytes(4))

    owner.happens[Step.UPLOAD] = damage
    assert await owner.install() is Reason.UPLOAD_DAMAGED
    await assert_safe(updater, Reason.UPLOAD_DAMAGED)


async def test_too_large(updater: UpdaterServer, owner: Owner) -> None:
    """An image that is larger than the slot is refused by the meter."""
    reason = await owner.install(signed_image("1.0.17", size=400 * 1024))
    assert reason is Reason.UPLOAD_REFUSED
    await assert_safe(updater, reason)


async def test_image_that_runs_already(updater: UpdaterServer, owner: Owner) -> None:
    """There is nothing to do, and nothing is done."""
    assert await owner.install(OLD) is SUCCESS
    assert {(r.op, r.group, r.command) for r in updater.requests} == {(0, 1, 0)}


async def test_another_image_is_pending(updater: UpdaterServer, owner: Owner) -> None:
    """Somebody else's update is not disturbed."""
    _fill_slot(updater)
    updater.bootloader.mark_pending()
    assert await owner.install() is Reason.OTHER_PENDING
    assert {(r.op, r.group, r.command) for r in updater.requests} == {(0, 1, 0)}


async def test_another_image_is_on_trial(updater: UpdaterServer, owner: Owner) -> None:
    """Somebody else's trial is neither confirmed nor ended."""
    put_on_trial(updater, signed_image("1.0.15", size=6 * 1024))
    assert await owner.install() is Reason.OTHER_ON_TRIAL
    for doing in (owner.update.restart(), owner.update.erase()):
        with pytest.raises(UpdateFailed) as caught:
            await doing
        assert caught.value.reason is Reason.OTHER_ON_TRIAL
    assert {(r.op, r.group, r.command) for r in updater.requests} == {(0, 1, 0)}


@pytest.mark.parametrize("starts", [False, True])
async def test_update_that_was_interrupted_goes_on(
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


async def test_update_that_went_back_does_not_go_on(
    updater: UpdaterServer, owner: Owner
) -> None:
    """A trial that is over is not begun again without being asked."""
    with pytest.raises(UpdateFailed) as caught:
        await owner.update.finish(read_firmware(NEW).hash)
    assert caught.value.reason is Reason.WENT_BACK


async def test_revert(updater: UpdaterServer, owner: Owner) -> None:
    """A trial is ended by one restart; without a trial nothing is done."""
    put_on_trial(updater, NEW)
    await owner.update.revert()
    await assert_safe(updater, Reason.WENT_BACK)
    with pytest.raises(UpdateFailed) as caught:
        await owner.update.revert()
    assert caught.value.reason is Reason.NOTHING_ON_TRIAL
    assert len([r for r in updater.requests if (r.group, r.command) == (0, 5)]) == 1


async def test_revert_without_an_answer(updater: UpdaterServer, owner: Owner) -> None:
    """The owner does not read that the meter went back."""
    put_on_trial(updater, NEW)
    updater.config = replace(updater.config, old_answers=60)
    with pytest.raises(UpdateFailed) as caught:
        await owner.update.revert()
    assert caught.value.reason is Reason.NOT_REVERTED


async def test_erase(updater: UpdaterServer, owner: Owner) -> None:
    """The image that does not run is deleted."""
    _fill_slot(updater)
    await owner.update.erase()
    assert len(updater.bootloader.slots) == 1


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_restart_that_is_lost(
    updater: UpdaterServer, owner: Owner, lost: int
) -> None:
    """It is sent again; a module that does not restart is an error."""
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
        with pytest.raises(UpdateFailed) as caught:
            await owner.update.restart()
        assert caught.value.reason is Reason.UPDATER_SILENT
    assert updater.boots == boots + (lost < 3)


async def test_restart_whose_answer_is_lost(
    updater: UpdaterServer, owner: Owner
) -> None:
    """A module that is away restarts; no other reset is sent."""
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


async def test_firmware_too_old(updater: UpdaterServer, owner: Owner) -> None:
    """Firmware before 1.0.6 has no updater."""
    updater.meter.status_override["softwareversion"] = "1.0.5"
    assert await owner.install() is Reason.FIRMWARE_TOO_OLD
    assert not updater.requests


async def test_another_meter(updater: UpdaterServer, owner: Owner) -> None:
    """Nothing is sent to a meter with another serial number."""
    updater.meter.status_override["meterserial"] = "1"
    with pytest.raises(MeterDifferent):
        await owner.install()
    assert not updater.requests


async def test_serial_number_in_another_form(
    updater: UpdaterServer, owner: Owner
) -> None:
    """Other firmware may print it in another form; the meter is the same."""
    updater.meter.status_override["meterserial"] = f"00{updater.meter.serial_number} "
    assert await owner.install() is SUCCESS


async def test_lost_reset_is_sent_again(updater: UpdaterServer, owner: Owner) -> None:
    """A module that still shows the image pending has not got it."""
    owner.happens[Step.RESTART] = lambda: updater.datagrams.requests.lose(2)
    assert await owner.install() is SUCCESS


async def test_lost_answer_to_reset(updater: UpdaterServer, owner: Owner) -> None:
    """The reset is not sent to an image on trial: that would end the trial."""
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
    """It is not mistaken for a module that does not restart, and is not left so.

    Where the module allows that, the image is deleted and others can be installed.
    Where it does not, its owner knows, and can have it deleted later.
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
        with pytest.raises(UpdateFailed) as caught:
            await owner.update.erase()
        assert caught.value.reason is Reason.STAYS_PENDING
        updater.config = replace(updater.config, erases_pending=True)
        await owner.update.erase()
    assert updater.bootloader.swap is Swap.NONE
    updater.bootloader.refuses_swaps = False
    assert await owner.install(other) is SUCCESS


@pytest.mark.parametrize(
    ("lost", "expected"),
    [("requests", Reason.STAYS_PENDING), ("answers", Reason.STAYS_PENDING)],
)
async def test_refused_image_whose_end_is_not_known(
    updater: UpdaterServer, owner: Owner, lost: str, expected: Reason
) -> None:
    """Where nobody says that the image is deleted, the owner does not read that it is."""
    updater.config = replace(updater.config, erases_pending=True)
    updater.bootloader.refuses_swaps = True

    def erase_begins(request: UpdateRequest, moment: Moment) -> bool:
        if (request.group, request.command) == (1, 5):
            getattr(updater.datagrams, lost).loss = 1
        return False

    updater.cut_power_when = erase_begins
    assert await owner.install() is expected


async def test_erase_ends_no_trial(updater: UpdaterServer, owner: Owner) -> None:
    """The way back is not deleted while it may be needed."""
    put_on_trial(updater, NEW)
    updater.config = replace(updater.config, erases_pending=True)
    with pytest.raises(UpdateFailed) as caught:
        await owner.update.erase()
    assert caught.value.reason is Reason.OTHER_ON_TRIAL
    assert len(updater.bootloader.slots) == 2


async def test_address_changes(
    server: MeterServer, updater_config: UpdaterConfig, quick: None
) -> None:
    """A meter that comes back at another address is found there."""
    async with (
        aiohttp.ClientSession() as session,
        UpdaterServer(server, updater_config) as before,
    ):
        web = before.web
        access = Access(MeterClient(session, web.host, web.port), web.host, before.port)
        moved = access

        def move() -> None:
            asyncio.get_running_loop().create_task(arrive())

        async def arrive() -> None:
            nonlocal moved
            await before.booted(2)
            await before.stop()
            before.port = 0
            await before.start()
            moved = replace(access, port=before.port)

        def begins(step: Step, percent: int | None) -> None:
            if step is Step.RESTART:
                move()

        update = Update(lambda: moved, SERIAL_NUMBER, TIMEOUTS, begins)
        await update.install(read_firmware(NEW))
        assert moved is not access
        await assert_safe(before, SUCCESS)


CUTS: Final = st.one_of(
    st.none(),
    st.tuples(st.integers(0, 6 * 1024), st.just(None)),
    st.tuples(st.integers(1, 40), st.sampled_from(Moment)),
)
"""Power is lost at a byte of the upload, or at a request before or after it is done."""

TRAITS: Final = st.sampled_from(
    [*(Trait.GOOD,) * 5, *(trait for trait in Trait if trait is not Trait.WRONG_HASH)]
)
"""Without what is never sent."""

NETWORKS: Final = st.fixed_dictionaries(
    {
        "loss": st.sampled_from([0, 0, 0.1, 0.3]),
        "doubling": st.sampled_from([0, 0.3]),
        "reordering": st.sampled_from([0, 0.3]),
        "jitter": st.sampled_from([0, 0.02, 0.06]),
    }
)

MODULES: Final = st.fixed_dictionaries(
    {
        "age": st.sampled_from(Age),
        "full_slot_refuses": st.booleans(),
        "closed": st.sampled_from(Closed),
        "watchdog_seconds": st.sampled_from([None, 0.3]),
        "erase_seconds": st.sampled_from([0, 0.1]),
        "old_answers": st.sampled_from([0, 0.1]),
        "seed": st.integers(1, 1000),
    }
)


@pytest.mark.timeout(0 if UPDATES else 600)
async def test_whatever_happens(server: MeterServer) -> None:
    """No network, no loss of power and no image leaves the meter without firmware.

    Nor is a word of what the owner reads false, and the same update succeeds
    afterwards on a network without faults. `UPDATES=500` searches long.
    """
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=UPDATES or 12,
        phases=list(Phase) if UPDATES else (Phase.explicit, Phase.generate),
    )
    @given(MODULES, NETWORKS, NETWORKS, CUTS, TRAITS, st.booleans())
    def search(
        module: dict[str, Any],
        there: dict[str, float],
        back: dict[str, float],
        cut: tuple[int, Moment | None] | None,
        trait: Trait,
        has_other: bool,
    ) -> None:
        async def try_it() -> None:
            config = UpdaterConfig(image=OLD, boot_seconds=0.1, **module)
            async with (
                UpdaterServer(server, config) as updater,
                aiohttp.ClientSession() as session,
            ):
                if has_other:
                    _fill_slot(updater)
                for line, faults in (
                    (updater.datagrams.requests, there),
                    (updater.datagrams.answers, back),
                ):
                    for name, value in faults.items():
                        setattr(line, name, value)
                _cut_power(updater, cut)
                image = signed_image("1.0.17", size=6 * 1024, trait=trait)
                owner = Owner(updater, session)
                reason = await owner.install(image)
                await assert_safe(updater, reason)
                await _assert_can_be_updated(updater, session)

        asyncio.run_coroutine_threadsafe(try_it(), loop).result()

    await in_thread(search)


def _cut_power(updater: UpdaterServer, cut: tuple[int, Moment | None] | None) -> None:
    if cut is None:
        return
    number, when = cut
    if when is None:
        updater.cut_power_at_byte = number
        return

    def is_now(request: UpdateRequest, moment: Moment) -> bool:
        return moment is when and len(updater.requests) == number

    updater.cut_power_when = is_now


async def _assert_can_be_updated(
    updater: UpdaterServer, session: aiohttp.ClientSession
) -> None:
    updater.datagrams.clear()
    updater.datagrams.cut()
    updater.cut_power_when = updater.cut_power_at_byte = None
    boots = updater.boots
    await updater.power_cut()
    await updater.booted(boots + 1)
    reason = await Owner(updater, session).install()
    assert reason is SUCCESS
    await assert_safe(updater, reason)
