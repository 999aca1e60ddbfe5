"""A meter is added, found, and known again."""

from playwright.async_api import Page, expect

from processes.home_assistant import HomeAssistant
from processes.owner import DOMAIN, Owner

from .conftest import Install

PASSWORD = "Sesame, open!"


async def test_add_by_address_and_password(
    home_assistant: HomeAssistant, owner: Owner, page: Page, install: Install
) -> None:
    """The owner types the address, is asked for the password, and has the meter."""
    updater = await install(password=PASSWORD)
    await page.goto(
        f"{home_assistant.url}/config/integrations/dashboard/add?domain={DOMAIN}"
    )
    await page.get_by_role("button", name="OK").click()
    await page.get_by_label("Host").fill(updater.web.url)
    await page.get_by_role("button", name="Submit").click()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Submit").click()
    await expect(page.get_by_text("Success")).to_be_visible()
    (entry,) = await owner.meters()
    assert entry["title"].endswith(updater.web.meter.serial_number)
