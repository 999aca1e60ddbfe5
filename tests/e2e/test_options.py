"""What can be set behind Configure."""

from playwright.async_api import Page, expect

from processes.owner import Owner

from .conftest import Install
from .pages import button, close, open_options


async def test_switch_off_automatic_fill(
    owner: Owner, page: Page, install: Install
) -> None:
    """It is on at first, and once switched off it is off when looked at again."""
    updater = await install()
    serial_number = updater.meter.serial_number
    await owner.add_meter(updater.web.url)
    switch = page.get_by_role("switch", name="Fill statistics automatically")
    await open_options(page, serial_number, "Statistics")
    await expect(switch).to_be_checked()
    await switch.press("Space")
    await button(page, "Submit").click()
    await expect(page.get_by_text("Options successfully saved.")).to_be_visible()
    await close(page, "Finish")
    await open_options(page, serial_number, "Statistics")
    await expect(switch).to_be_visible()
    await expect(switch).not_to_be_checked()
    (entry,) = await owner.meters()
    assert entry["state"] == "loaded"
