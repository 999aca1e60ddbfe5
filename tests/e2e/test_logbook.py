"""What a meter has logged is told in Home Assistant."""

from playwright.async_api import Page, expect
import pytest

from processes.owner import Owner
from simulator.history import CurrentRatioChange

from .conftest import Install, Shot
from .pages import row


@pytest.mark.pictured
async def test_what_happened_is_told(
    owner: Owner, page: Page, install: Install, shot: Shot
) -> None:
    """Other transformers are set in the meter: the Logbook says so, and when."""
    meter = (updater := await install()).meter
    entry_id = await owner.add_meter(updater.web.url)
    await page.goto(await owner.device_path(meter.serial_number))
    logbook = row(page, "Logbook")
    await expect(logbook).to_contain_text("Unknown", timeout=60_000)
    meter.happens(CurrentRatioChange(meter.now(), primary=200))
    # A reload looks at once, and not only every five minutes.
    await owner.reload_meter(entry_id)
    told = page.get_by_text("Current transformer ratio changed")
    await expect(told.first).to_be_visible(timeout=60_000)
    await logbook.click()
    await expect(page.get_by_role("heading", name="Activity")).to_be_visible()
    await shot("logbook", page.get_by_role("dialog").last)
