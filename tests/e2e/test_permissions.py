"""Who may read a meter's logs, and what that costs everybody else."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final, override

from aiohttp import web
from playwright.async_api import Browser, Page, expect
import pytest

from processes.home_assistant import HomeAssistant
from processes.owner import DOMAIN, Owner
from processes.running import until
from simulator import faults

from .conftest import Install, log_in
from .pages import button, row, statistics_are_filled

GUEST: Final = "guest"
READING: Final = ("get_data_logger", "get_logbook")
FOR_ADMINISTRATORS: Final = (
    "backfill_statistics",
    "export_data_logger",
    "fill_costs",
    "firmware_slots",
)
ASK: Final = """async ([action, data]) => {
    const hass = document.querySelector("home-assistant").hass;
    try {
        const answer = await hass.callWS({
            type: "call_service", domain: "emu_professional", service: action,
            service_data: data, return_response: true,
        });
        return answer.response;
    } catch (err) {
        return err.message;
    }
}"""
"""What a card or any script of a page can do with the rights of its user."""


class SlowAndShort(faults.Fault):
    """A second for each page of the data logger, and no more than 20 records in it."""

    @override
    async def answer(
        self, request: web.Request, respond: faults.Respond
    ) -> web.StreamResponse:
        await asyncio.sleep(1)
        return await faults.SilentCut(20).answer(request, respond)


@pytest.fixture
async def guest(owner: Owner) -> AsyncGenerator[str]:
    """Return the id of a user without any rights."""
    answer = await owner.ask("config/auth/create", name="Guest", group_ids=[])
    user_id: str = answer["user"]["id"]
    await owner.ask(
        "config/auth_provider/homeassistant/create",
        user_id=user_id,
        username=GUEST,
        password=GUEST,
    )
    yield user_id
    await owner.ask("config/auth/delete", user_id=user_id)


@pytest.fixture
async def guests_page(
    browser: Browser, guest: str, home_assistant: HomeAssistant
) -> AsyncGenerator[Page]:
    """Return a page of the guest, who has logged in."""
    page = await log_in(browser, home_assistant.url, user=GUEST, password=GUEST)
    yield page
    await page.context.close()


async def test_guest(
    owner: Owner,
    guests_page: Page,
    guest: str,
    install: Install,
    expected_in_log: list[str],
) -> None:
    """Who sees no entity reads no log; who sees all of them does, but no firmware."""
    updater = await install()
    serial_number = updater.meter.serial_number
    entry_id = await owner.add_meter(updater.web.url)
    await statistics_are_filled(owner, serial_number)

    async def answers() -> dict[str, Any]:
        data: dict[str, dict[str, Any]] = {
            "get_data_logger": {"first_index": updater.meter.newest_index},
            "export_data_logger": {"path": "/config/www/meter.csv"},
        }
        return {
            action: await guests_page.evaluate(
                ASK, [action, {"config_entry_id": entry_id, **data.get(action, {})}]
            )
            for action in (*READING, *FOR_ADMINISTRATORS)
        }

    # Home Assistant writes down who asked for what.
    expected_in_log.append("Unauthorized")
    refused = dict.fromkeys((*READING, *FOR_ADMINISTRATORS), "Unauthorized")
    assert await answers() == refused
    await owner.ask("config/auth/update", user_id=guest, group_ids=["system-read-only"])
    told = await answers()
    assert told["get_data_logger"]["serial_number"] == serial_number
    assert told["get_data_logger"]["records"]
    assert told["get_logbook"]["records"] == []
    assert {told[action] for action in FOR_ADMINISTRATORS} == {"Unauthorized"}


async def test_slow_action(owner: Owner, page: Page, install: Install) -> None:
    """While somebody reads a slow logger, live values follow the meter."""
    updater = await install()
    serial_number = updater.meter.serial_number
    await owner.add_meter(updater.web.url)
    await statistics_are_filled(owner, serial_number)
    await page.goto(f"/config/tools/action?service={DOMAIN}.get_data_logger")
    checkbox = page.locator("ha-settings-row").filter(
        has=page.get_by_text("Meter", exact=True)
    )
    await checkbox.locator("ha-checkbox").click()
    await button(page, "Integration").click()
    await page.get_by_role("option", name=serial_number).click()
    live = await page.context.new_page()
    await live.goto(await owner.device_path(serial_number))
    power = row(live, "Active power")
    await expect(power).to_be_visible()
    updater.web.faults.set(SlowAndShort(), path="/data/")
    await button(page, "Perform action").click()
    seen: list[str] = []

    async def follows() -> bool:
        if (shown := await power.inner_text()) not in seen:
            seen.append(shown)
        return len(seen) == 3

    await until(follows, seconds=60)
    response = page.get_by_role("heading", name="Response")
    assert not await response.is_visible()
    updater.web.faults.clear()
    await expect(response).to_be_visible()
    await live.close()
