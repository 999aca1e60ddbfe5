"""The energy dashboard, and what is behind it."""

from datetime import UTC, datetime, timedelta
import math
import re

from playwright.async_api import Page
import pytest

from processes.owner import Owner
from processes.running import until
from simulator.meter import Meter

from .conftest import HISTORY, Install, Shot
from .energies import HOUR, midnight, wh
from .pages import button, statistics_are_filled

LATE = timedelta(minutes=5)
"""The last record of an hour comes a little after it."""
ROUNDED = 2 * 0.0051
"""kWh by which the sum of two rounded numbers may be off."""
ENERGY = re.compile(r"(-?[\d,.]+)\s*kWh")
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
    updater = await install(installed_at=datetime.now(UTC) - HISTORY - LATE)
    meter = updater.meter
    await owner.add_meter(updater.web.url)
    end = _logged(datetime.now(UTC))
    await statistics_are_filled(owner, meter.serial_number)
    entity_ids = await owner.entities(meter.serial_number)
    begin = _hour(datetime.fromtimestamp(meter.installed, UTC)) + HOUR
    hours = [begin + n * HOUR for n in range((end - begin) // HOUR)]
    assert len(hours) >= 71
    for key, register in REGISTERS.items():
        statistics = await owner.hours(entity_ids[key], begin, end)
        assert statistics == {
            hour: wh(meter, register, hour, hour + HOUR) for hour in hours
        }


@pytest.mark.pictured
async def test_energy_dashboard(
    owner: Owner, page: Page, install: Install, shot: Shot
) -> None:
    """Sums are exact: yesterday's, and today's of the hours that are over."""
    meter = await _on_the_dashboard(owner, install)
    added = datetime.now(UTC)
    today = midnight(added)

    async def shows(begin: datetime, ends: set[datetime]) -> bool:
        shown = await _kwh(page, "import"), await _kwh(page, "export")
        expected = [
            (
                wh(meter, "active_import", begin, end) / 1000,
                -wh(meter, "active_export", begin, end) / 1000,
            )
            for end in ends
        ]
        return any(shown == pytest.approx(pair, abs=ROUNDED) for pair in expected)

    async def shows_today() -> bool:
        return await shows(today, {_logged(added), _hour(datetime.now(UTC))})

    async def shows_yesterday() -> bool:
        return await shows(today - timedelta(days=1), {today})

    async def shows_more() -> bool:
        day = wh(meter, "active_import", today - timedelta(days=1), today) / 1000
        return await _kwh(page, "import") > 2 * day

    await page.goto("/energy/electricity")
    # In the first hour of a day none of its hours is over, and it begins with yesterday.
    if _hour(added) > today:
        await until(shows_today)
        await button(page, "Previous").click()
    await until(shows_yesterday)
    await _choose(page, "Last 30 days")
    await until(shows_more)
    await shot("energy")


async def _on_the_dashboard(owner: Owner, install: Install) -> Meter:
    """Return a meter whose history the energy dashboard has."""
    updater = await install()
    await owner.add_meter(updater.web.url)
    await statistics_are_filled(owner, updater.meter.serial_number)
    await owner.set_up_energy_dashboard(updater.meter.serial_number, priced=False)
    return updater.meter


async def _choose(page: Page, period: str) -> None:
    await page.get_by_role("button", name="Select time period").click()
    await page.get_by_text(period, exact=True).click()


async def _kwh(page: Page, direction: str) -> float:
    """Return the sum of both tariffs in the table of sums; NaN while it has none."""
    rows = page.get_by_role("row").filter(
        has_text=re.compile(rf"Grid T\d {direction}ed")
    )
    found = [ENERGY.search(text) for text in await rows.all_inner_texts()]
    energies = [float(text[1].replace(",", "")) for text in found if text]
    return sum(energies) if energies else math.nan


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _logged(at: datetime) -> datetime:
    """Return the end of the last hour that is logged to its end."""
    return _hour(at - LATE)
