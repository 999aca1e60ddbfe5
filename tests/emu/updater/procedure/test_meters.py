"""Meters that must not be updated, or not now, and one that moves."""

import asyncio
from dataclasses import replace

import aiohttp
import pytest

from custom_components.emu_professional.emu.client import MeterClient
from custom_components.emu_professional.emu.errors import MeterDifferent
from custom_components.emu_professional.emu.updater.image import read_firmware
from custom_components.emu_professional.emu.updater.module import Access
from custom_components.emu_professional.emu.updater.outcome import (
    FirmwareUpdateFailed,
    Reason,
    Step,
)
from custom_components.emu_professional.emu.updater.procedure import Update
from simulator.images import signed_image
from simulator.updater import UpdaterConfig, UpdaterServer
from simulator.web import MeterServer
from tests.conftest import SERIAL_NUMBER, put_on_trial

from .owner import NEW, SUCCESS, TIMEOUTS, Owner, assert_safe, fill_slot


async def test_another_image_is_pending(updater: UpdaterServer, owner: Owner) -> None:
    """Somebody else's update is not disturbed."""
    fill_slot(updater)
    updater.bootloader.mark_pending()
    assert await owner.install() is Reason.OTHER_PENDING
    assert {(r.op, r.group, r.command) for r in updater.requests} == {(0, 1, 0)}


async def test_another_image_is_on_trial(updater: UpdaterServer, owner: Owner) -> None:
    """Somebody else's trial is neither confirmed nor ended."""
    put_on_trial(updater, signed_image("1.0.15", size=6 * 1024))
    assert await owner.install() is Reason.OTHER_ON_TRIAL
    for doing in (owner.update.restart(), owner.update.erase()):
        with pytest.raises(FirmwareUpdateFailed) as caught:
            await doing
        assert caught.value.reason is Reason.OTHER_ON_TRIAL
    assert {(r.op, r.group, r.command) for r in updater.requests} == {(0, 1, 0)}


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


async def test_address_changes(
    server: MeterServer, updater_config: UpdaterConfig, quick: None
) -> None:
    """A meter is found at its new address."""
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
