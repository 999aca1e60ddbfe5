"""Actions are performed in the tools of Home Assistant, and their responses are shown."""

import re

from playwright.async_api import Locator, Page, expect

from processes.owner import DOMAIN, Owner
from simulator.meter import Meter

from .conftest import Install
from .pages import button, statistics_are_filled


async def _choose(page: Page, action: str, meter: Meter) -> None:
    """Choose an action, with a link as a my.home-assistant.io button does, and a meter."""
    await page.goto(f"/config/tools/action?service={DOMAIN}.{action}")
    await _field(page, "Meter").locator("ha-checkbox").click()
    await button(page, "Integration").click()
    await page.get_by_role("option", name=meter.serial_number).click()


def _field(page: Page, name: str) -> Locator:
    fields = page.locator("ha-settings-row")
    return fields.filter(has=page.get_by_text(name, exact=True))


async def _perform(page: Page) -> Locator:
    """Perform the action and return its response."""
    await button(page, "Perform action").click()
    await expect(page.get_by_role("heading", name="Response")).to_be_visible()
    return page.locator(".cm-content").last


async def test_read_firmware_slots(owner: Owner, page: Page, install: Install) -> None:
    """The only slot in use has the firmware that runs."""
    updater = await install()
    await owner.add_meter(updater.web.url)
    await _choose(page, "firmware_slots", updater.meter)
    response = await _perform(page)
    (slot,) = updater.bootloader.slots
    for text in ("version: 1.0.16", "- confirmed", f"hash: {slot.hash.hex()}"):
        await expect(response).to_contain_text(text)


async def test_read_data_logger(owner: Owner, page: Page, install: Install) -> None:
    """The records are those of the meter, from the oldest on."""
    updater = await install()
    await owner.add_meter(updater.web.url)
    await _choose(page, "get_data_logger", updater.meter)
    response = await _perform(page)
    oldest = updater.meter.records()[0]
    for text in (
        f"serial_number: '{updater.meter.serial_number}'",
        f"index: {oldest.index}",
        f"energy_import_t1: {oldest.registers.active_import_t1 / 1000:g}",
    ):
        await expect(response).to_contain_text(text)


async def test_fill_statistics_on_trial(
    owner: Owner, page: Page, install: Install
) -> None:
    """A dry run reads the whole logger, and after the first fill finds nothing to write."""
    updater = await install()
    meter = updater.meter
    await owner.add_meter(updater.web.url)
    await statistics_are_filled(owner, meter.serial_number)
    await _choose(page, "backfill_statistics", meter)
    dry_run = _field(page, "Dry run")
    await dry_run.locator("ha-checkbox").click()
    await dry_run.locator("ha-switch").click()
    before = len(meter.records())
    response = await _perform(page)
    # The quarter of an hour may have ended meanwhile.
    read = f"records_read: ({before}|{len(meter.records())})(?!\\d)"
    await expect(response).to_contain_text(re.compile(read))
    await expect(response).to_contain_text("hours_written: 0")
