"""Ways through Home Assistant's pages that stories have in common."""

from playwright.async_api import FilePayload, Locator, Page, expect

from processes.owner import DOMAIN, Owner
from processes.running import until

ADD = f"/config/integrations/dashboard/add?domain={DOMAIN}"
INTEGRATIONS = "/config/integrations/dashboard"
INTEGRATION = f"/config/integrations/integration/{DOMAIN}"


async def statistics_are_filled(owner: Owner, serial_number: str) -> None:
    """Wait until the history of a meter is there."""
    sensor = (await owner.entities(serial_number))["backfill"]

    async def is_complete() -> bool:
        return await owner.state(sensor) == "complete"

    await until(is_complete)


def dialog(page: Page) -> Locator:
    """Return the dialog that is open."""
    return page.locator("ha-dialog").last


def button(page: Page, name: str) -> Locator:
    """Return the foremost button with this name."""
    return page.get_by_role("button", name=name, exact=True).last


async def type_password(page: Page, password: str) -> None:
    """Answer a dialog that asks for a password."""
    await page.locator("input[type=password]").fill(password)
    await button(page, "Submit").click()


async def close(page: Page, name: str) -> None:
    """End a dialog by one of its buttons."""
    await button(page, name).click()
    await expect(button(page, name)).to_be_hidden()


def entry(page: Page, serial_number: str) -> Locator:
    """Return a meter's entry on the page of the integration."""
    return page.locator("ha-config-entry-row").filter(has_text=serial_number)


async def choose_in_menu(page: Page, serial_number: str, item: str) -> None:
    """Choose something in the menu of a meter's entry."""
    await page.goto(INTEGRATION)
    row = entry(page, serial_number)
    await row.get_by_role("button", name="Menu").first.click()
    await row.get_by_role("menuitem", name=item).click()


async def open_options(page: Page, serial_number: str, part: str) -> None:
    """Open one of the options of a meter."""
    await page.goto(INTEGRATION)
    await entry(page, serial_number).get_by_role("button", name="Configure").click()
    await dialog(page).get_by_text(part, exact=True).click()


async def choose_firmware(page: Page, name: str, image: bytes) -> None:
    """Choose a file in the dialog that is open."""
    async with page.expect_file_chooser() as choosing:
        await page.locator("ha-file-upload").click()
    file = FilePayload(name=name, mimeType="application/octet-stream", buffer=image)
    await (await choosing.value).set_files(file)
    await expect(page.get_by_text(name)).to_be_visible()


def row(page: Page, name: str) -> Locator:
    """Return the row of an entity on the page of a device."""
    rows = page.locator("hui-generic-entity-row")
    return rows.filter(has=page.get_by_text(name, exact=True))


async def rows(page: Page) -> dict[str, str]:
    """Return what the rows of entities on the page of a device show, by their names."""
    shown = await page.locator("hui-generic-entity-row").evaluate_all(
        """rows => rows.map(row => [
            row.shadowRoot.querySelector(".info")?.innerText, row.innerText
        ])"""
    )
    return {name: text.replace("\N{NO-BREAK SPACE}", " ") for name, text in shown}
