"""What a meter has logged is told in Home Assistant."""

from playwright.async_api import Page, expect

from processes.owner import Owner
from simulator.history import CurrentRatioChange

from .conftest import Install
from .pages import choose_in_menu, row


async def test_what_happened_is_told(
    owner: Owner, page: Page, install: Install
) -> None:
    """Other transformers are set in the meter: the Logbook says so, and when."""
    meter = (updater := await install()).meter
    await owner.add_meter(updater.web.url)
    device_page = await owner.device_path(meter.serial_number)
    await page.goto(device_page)
    logbook = row(page, "Logbook")
    await expect(logbook).to_contain_text("Unknown", timeout=60_000)
    meter.happens(CurrentRatioChange(meter.now(), primary=200))
    # A reload looks at once, and not only every five minutes.
    await choose_in_menu(page, meter.serial_number, "Reload")
    await page.goto(device_page)
    await expect(logbook).not_to_contain_text("Unknown", timeout=60_000)
    await logbook.click()
    told = page.get_by_text("Current transformer ratio changed")
    await expect(told.first).to_be_visible()
