"""What Home Assistant tells under Repairs, and what the owner can do there."""

from playwright.async_api import Locator, Page, expect
import pytest

from processes.owner import Owner
from simulator.images import signed_image

from .conftest import Install, Shot
from .pages import button, close, row

REPAIRS = "/config/repairs"


async def test_delete_the_previous_firmware(
    owner: Owner, page: Page, install: Install
) -> None:
    """The button asks, the dialog under Repairs does it, and the message is gone."""
    updater = await install()
    slot = signed_image("1.0.15")
    updater.bootloader.flash[1][: len(slot)] = slot
    serial_number = updater.meter.serial_number
    entry_id = await owner.add_meter(updater.web.url)
    await owner.enable((await owner.entities(serial_number))["delete_firmware"])
    await owner.reload_meter(entry_id)

    await page.goto(await owner.device_path(serial_number))
    delete = row(page, "Delete previous firmware")
    await delete.get_by_role("button", name="Press").click()
    await page.goto(REPAIRS)
    message = _listed(
        page, f"EMU Professional II {serial_number}: delete the previous firmware?"
    )
    await message.click()
    await expect(page.get_by_text("there is no way back")).to_be_visible()
    assert len(updater.bootloader.slots) == 2
    await button(page, "Submit").click()
    await expect(page.get_by_text("The issue is repaired!")).to_be_visible()
    await close(page, "Finish")
    await expect(message).to_be_hidden()
    (running,) = updater.bootloader.slots
    assert (running.version, running.active) == ("1.0.16", True)


@pytest.mark.pictured
async def test_set_the_clock(
    owner: Owner, page: Page, install: Install, shot: Shot
) -> None:
    """A meter whose clock is wrong is told of, until the clock is right again."""
    updater = await install()
    serial_number = updater.meter.serial_number
    updater.meter.set_clock_offset(-120)
    await owner.add_meter(updater.web.url)
    await page.goto(REPAIRS)
    message = _listed(page, f"EMU Professional II {serial_number}")
    await message.click()
    await expect(page.get_by_text("enter a time server")).to_be_visible()
    await shot(
        "repair",
        page.locator("ha-card").filter(has=message),
        page.get_by_role("dialog").last,
    )
    updater.meter.set_clock_offset(0)
    await expect(message).to_be_hidden()


def _listed(page: Page, title: str) -> Locator:
    return page.locator("ha-config-repairs").get_by_text(title)
