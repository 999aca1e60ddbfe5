"""A meter is deleted from Home Assistant."""

from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.async_api import Page, expect

from processes.home_assistant import HomeAssistant
from processes.owner import DOMAIN, Owner
from processes.running import until

from .conftest import HISTORY, Install
from .pages import button, choose_in_menu, entry, statistics_are_filled


async def test_nothing_is_left_behind(
    home_assistant: HomeAssistant, owner: Owner, page: Page, install: Install
) -> None:
    """Only the statistics stay; another meter goes on undisturbed."""
    updater, other = await install(), await install()
    serial_number = updater.meter.serial_number
    entry_id = await owner.add_meter(updater.web.url)
    await owner.add_meter(other.web.url)
    await statistics_are_filled(owner, serial_number)
    total = (await owner.entities(serial_number))["energy_import"]
    now = datetime.now(UTC)
    # The newest hour may still be filled.
    begin, end = now - HISTORY, now - timedelta(hours=2)
    history = await owner.hours(total, begin, end)

    async def is_known_everywhere() -> bool:
        traces = await _traces(home_assistant, serial_number, entry_id)
        # A meter without any trouble has no issue.
        return all(found for name, found in traces.items() if name != "issues")

    await until(is_known_everywhere)
    await choose_in_menu(page, serial_number, "Delete")
    await button(page, "Delete").click()
    await expect(entry(page, serial_number)).to_have_count(0)

    traces = await _traces(home_assistant, serial_number, entry_id)
    assert not any(traces.values()), traces
    updater.web.requests.clear()
    other.web.requests.clear()
    # In the time for two polls of the one, the other would have been asked as well.
    await other.web.received(3)
    assert not updater.web.requests
    assert not updater.web.open_connections
    assert history
    assert history == await owner.hours(total, begin, end)


async def _traces(
    home_assistant: HomeAssistant, serial_number: str, entry_id: str
) -> dict[str, list[Any]]:
    """Return what Home Assistant has of a meter."""
    owner = home_assistant.owner
    return {
        "entries": [e for e in await owner.meters() if e["entry_id"] == entry_id],
        "devices": [
            device["id"]
            for device in await owner.ask("config/device_registry/list")
            if [DOMAIN, serial_number] in device["identifiers"]
        ],
        "entities": list(await owner.entities(serial_number)),
        "states": [
            state["entity_id"]
            for state in await owner.get("/api/states")
            if serial_number in state["entity_id"]
        ],
        "issues": [issue for issue in await owner.issues() if entry_id in issue],
        "files": [
            path.name
            for path in (home_assistant.folder / ".storage").iterdir()
            if entry_id in path.name
        ],
    }
