"""A firmware is given to Home Assistant and brought into a meter."""

from dataclasses import replace
import re

from playwright.async_api import Page, expect
import pytest

from processes.owner import Owner
from simulator.images import signed_image

from .conftest import Install, Shot
from .pages import button, choose_firmware, close, open_options, row

NEW = "1.0.17"
HALF_DONE = re.compile(r"Installing \([3-6]\d%\)")


@pytest.mark.pictured
async def test_upload_and_install(
    owner: Owner, page: Page, install: Install, shot: Shot
) -> None:
    """A file uploaded in the options is offered as an update, and runs after it."""
    updater = await install()
    # As slow as a module is, so that one can see how far the upload is.
    updater.config = replace(updater.config, chunk_seconds=0.012)
    serial_number = updater.meter.serial_number
    await owner.add_meter(updater.web.url)
    device_page = await owner.device_path(serial_number)
    await page.goto(device_page)
    await expect(page.get_by_text("Firmware: 1.0.16")).to_be_visible()

    await open_options(page, serial_number, "Firmware")
    await choose_firmware(page, "firmware.bin", signed_image(NEW, size=200 * 1024))
    await shot("firmware", page.get_by_role("dialog").last)
    await button(page, "Submit").click()
    await close(page, "Finish")

    await page.goto("/config/updates")
    await page.get_by_role(
        "button", name=f"EMU Professional II {serial_number}"
    ).click()
    await expect(page.get_by_text("What will be done")).to_be_visible()
    await button(page, "Update").click()
    await expect(page.get_by_text(HALF_DONE)).to_be_visible()
    await shot("update", page.get_by_role("dialog").last)
    await expect(page.get_by_text("Up-to-date")).to_be_visible(timeout=60_000)

    await page.goto(device_page)
    await expect(page.get_by_text(f"Firmware: {NEW}")).to_be_visible()
    await expect(row(page, "Firmware")).to_contain_text("Up-to-date")
    running, before = updater.bootloader.slots
    assert (running.version, running.confirmed) == (NEW, True)
    assert before.version == "1.0.16"


async def test_upload_something_else(
    owner: Owner, page: Page, install: Install
) -> None:
    """What is no firmware is refused at once, and the dialog goes on with another file."""
    updater = await install()
    await owner.add_meter(updater.web.url)
    await open_options(page, updater.meter.serial_number, "Firmware")
    await choose_firmware(page, "holidays.bin", bytes(1024))
    await button(page, "Submit").click()
    await expect(page.get_by_text("This is not a firmware image.")).to_be_visible()
    await choose_firmware(page, "firmware.bin", signed_image(NEW))
    await button(page, "Submit").click()
    await close(page, "Finish")
