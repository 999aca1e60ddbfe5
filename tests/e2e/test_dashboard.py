"""The dashboard to start from, as an owner puts it in."""

from collections.abc import AsyncGenerator
import re
from typing import Final

from playwright.async_api import Page, ViewportSize, expect
import pytest

from homeassistant.util.yaml import parse_yaml
from processes.owner import Owner
from processes.running import until
from scripts.entity_table import ROOT

from .conftest import VIEWPORT, Install, Shot
from .pages import statistics_are_filled

FILE: Final = ROOT / "dashboards" / "emu_professional.yaml"
SERIAL_NUMBER: Final = "22350001"
"""The one that an owner replaces."""
PATH: Final = "emu-meter"
ERRORS: Final = "hui-error-card, hui-warning, hui-error-badge, hui-error-heading-badge"
UNKNOWN: Final = re.compile("not found|not available|unavailable", re.IGNORECASE)
LARGE: Final[ViewportSize] = {"width": 1280, "height": 860}


@pytest.fixture
async def dashboard(owner: Owner) -> AsyncGenerator[None]:
    """Let there be a new dashboard, which is gone after the story."""
    created = await owner.ask(
        "lovelace/dashboards/create", url_path=PATH, title="Meter", mode="storage"
    )
    yield
    await owner.ask("lovelace/dashboards/delete", dashboard_id=created["id"])


@pytest.mark.pictured
@pytest.mark.usefixtures("dashboard")
async def test_dashboard(
    owner: Owner, page: Page, install: Install, shot: Shot
) -> None:
    """No card shows an error, whether an entity is enabled or not."""
    updater = await install()
    serial_number = updater.meter.serial_number
    entry_id = await owner.add_meter(updater.web.url)
    await statistics_are_filled(owner, serial_number)
    text = FILE.read_text().replace(SERIAL_NUMBER, serial_number)
    config = parse_yaml(text)
    assert isinstance(config, dict)
    await owner.ask("lovelace/config/save", url_path=PATH, config=config)
    before = [await _cards(page, view["path"]) for view in config["views"]]

    shown = set(re.findall(r"[a-z_]+\.emu_professional_ii_\w+", text))
    disabled = shown & await owner.disabled(serial_number)
    for entity_id in disabled:
        await owner.enable(entity_id)
    try:
        await owner.reload_meter(entry_id)
        voltage = f"sensor.emu_professional_ii_{serial_number}_voltage_l1"

        async def is_known() -> bool:
            return await owner.state(voltage) not in {"unavailable", "unknown"}

        await until(is_known)
        after = [await _cards(page, view["path"]) for view in config["views"]]
        assert sum(after) > sum(before)
        await page.set_viewport_size(LARGE)
        await _cards(page, config["views"][0]["path"])
        await shot("dashboard")
        await page.set_viewport_size(VIEWPORT)
    finally:
        # Home Assistant remembers it where another story adds the same meter.
        for entity_id in disabled:
            await owner.disable(entity_id)


async def _cards(page: Page, path: str) -> int:
    """Return how many cards a view shows, none of which has an error."""
    await page.goto(f"/{PATH}/{path}")
    await expect(page.locator("hui-card").first).to_be_visible()
    await page.wait_for_load_state("networkidle")
    assert await page.locator(ERRORS).count() == 0
    assert not UNKNOWN.search(await page.locator("hui-view").inner_text())
    return await page.locator("hui-card:visible").count()
