"""The energy dashboard, and what is behind it."""

from datetime import UTC, datetime, timedelta
import math
from zoneinfo import ZoneInfo

from playwright.async_api import Page
import pytest

from processes.owner import Owner
from simulator.meter import Meter

from .conftest import Install, Shot
from .pages import button, statistics_are_filled, until

HOUR = timedelta(hours=1)
LOCAL = ZoneInfo("Europe/Zurich")
REGISTERS = {
    "energy_import": "active_import",
    "energy_import_t1": "active_import_t1",
    "energy_import_t2": "active_import_t2",
    "energy_export": "active_export",
    "energy_export_t1": "active_export_t1",
    "energy_export_t2": "active_export_t2",
}


async def test_every_hour_of_the_history(owner: Owner, install: Install) -> None:
    """Each hour from before the meter was added counts what the register counted, to the Wh."""
    updater = await install()
    meter = updater.meter
    await owner.add_meter(updater.web.url)
    end = _hour(datetime.now(UTC))
    await statistics_are_filled(owner, meter.serial_number)
    entity_ids = await owner.entities(meter.serial_number)
    begin = _hour(datetime.fromtimestamp(meter.installed, UTC)) + HOUR
    hours = [begin + n * HOUR for n in range((end - begin) // HOUR)]
    assert len(hours) >= 71
    for key, register in REGISTERS.items():
        statistics = await owner.hours(entity_ids[key], begin, end)
        assert statistics == {
            hour: _wh(meter, register, hour, hour + HOUR) for hour in hours
        }


@pytest.mark.pictured
async def test_energy_dashboard(
    owner: Owner, page: Page, install: Install, shot: Shot
) -> None:
    """Sums are exact: yesterday's, and today's of the hours that are over."""
    updater = await install()
    meter = updater.meter
    await owner.add_meter(updater.web.url)
    added = datetime.now(UTC)
    await statistics_are_filled(owner, meter.serial_number)
    await owner.set_up_energy_dashboard(meter.serial_number)
    midnight = added.astimezone(LOCAL).replace(
        hour=0, minute=0, second=0, microsecond=0
    )

    async def shows(begin: datetime, ends: set[datetime]) -> bool:
        shown = await _kwh(page, "import"), await _kwh(page, "export")
        expected = [
            (
                _wh(meter, "active_import", begin, end) / 1000,
                -_wh(meter, "active_export", begin, end) / 1000,
            )
            for end in ends
        ]
        return any(shown == pytest.approx(pair, abs=0.0051) for pair in expected)

    async def shows_today() -> bool:
        return await shows(midnight, {_hour(added), _hour(datetime.now(UTC))})

    async def shows_yesterday() -> bool:
        return await shows(midnight - timedelta(days=1), {midnight})

    async def shows_more() -> bool:
        day = _wh(meter, "active_import", midnight - timedelta(days=1), midnight) / 1000
        return await _kwh(page, "import") > 2 * day

    await page.goto("/energy/electricity")
    # In the first hour of a day none of its hours is over.
    if _hour(added) > midnight:
        await until(shows_today)
    await button(page, "Previous").click()
    await until(shows_yesterday)
    await page.get_by_role("button", name="Select time period").click()
    await page.get_by_text("Last 30 days", exact=True).click()
    await until(shows_more)
    await shot("energy")


async def _kwh(page: Page, direction: str) -> float:
    """Return what the table of sums has; NaN while it has nothing."""
    row = page.get_by_role("row", name=f"Energy {direction}")
    texts = await row.get_by_role("cell").all_inner_texts()
    return float(texts[-1].split()[0].replace(",", "")) if texts else math.nan


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _wh(meter: Meter, register: str, begin: datetime, end: datetime) -> int:
    counted = [getattr(meter.registers(at), register) for at in (begin, end)]
    return int(counted[1] - counted[0])
