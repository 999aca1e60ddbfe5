"""The energy dashboard, and what is behind it."""

from datetime import UTC, datetime, timedelta
import math
import re
from zoneinfo import ZoneInfo

from playwright.async_api import Page, expect
import pytest

from processes.owner import Owner
from simulator.meter import Meter

from .conftest import PICTURED_SINCE, Install, Shot
from .pages import button, row, statistics_are_filled, until

HOUR = timedelta(hours=1)
ROUNDED = 2 * 0.0051
"""kWh by which the sum of two rounded numbers may be off."""
ENERGY = re.compile(r"(-?[\d,.]+)\s*kWh")
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
    meter = await _on_the_dashboard(owner, install)
    added = datetime.now(UTC)
    midnight = _midnight(added)

    async def shows(begin: datetime, ends: set[datetime]) -> bool:
        shown = await _kwh(page, "import"), await _kwh(page, "export")
        expected = [
            (
                _wh(meter, "active_import", begin, end) / 1000,
                -_wh(meter, "active_export", begin, end) / 1000,
            )
            for end in ends
        ]
        return any(shown == pytest.approx(pair, abs=ROUNDED) for pair in expected)

    async def shows_today() -> bool:
        return await shows(midnight, {_hour(added), _hour(datetime.now(UTC))})

    async def shows_yesterday() -> bool:
        return await shows(midnight - timedelta(days=1), {midnight})

    async def shows_more() -> bool:
        day = _wh(meter, "active_import", midnight - timedelta(days=1), midnight) / 1000
        return await _kwh(page, "import") > 2 * day

    await page.goto("/energy/electricity")
    # In the first hour of a day none of its hours is over, and it begins with yesterday.
    if _hour(added) > midnight:
        await until(shows_today)
        await button(page, "Previous").click()
    await until(shows_yesterday)
    await _choose(page, "Last 30 days")
    await until(shows_more)
    await shot("energy")


@pytest.mark.pictured
async def test_fill_a_hole(
    owner: Owner, page: Page, install: Install, shot: Shot
) -> None:
    """Home Assistant was off yesterday: one button, and every hour is right."""
    meter = await _on_the_dashboard(owner, install)
    entity_ids = await owner.entities(meter.serial_number)
    begin = (_midnight(datetime.now(UTC)) - timedelta(days=1)).astimezone(UTC)
    hours = [begin + n * HOUR for n in range(23)]
    counted = {
        key: {hour: _wh(meter, REGISTERS[key], hour, hour + HOUR) for hour in hours}
        for key in REGISTERS
        if key.endswith(("t1", "t2"))
    }

    async def statistics() -> dict[str, dict[datetime, int]]:
        end = hours[-1] + HOUR
        return {key: await owner.hours(entity_ids[key], begin, end) for key in counted}

    async def has_hole() -> bool:
        return all(len(shown) == 17 for shown in (await statistics()).values())

    async def is_exact() -> bool:
        return await statistics() == counted

    async def picture(name: str) -> None:
        await page.goto("/energy/electricity")
        await _choose(page, "Yesterday")
        chart = page.locator("hui-energy-usage-graph-card")
        await expect(chart).to_be_visible()
        await shot(name, chart)

    off = begin + timedelta(hours=9, minutes=20)
    for key in counted:
        missed = _wh(meter, REGISTERS[key], off, _hour(off) + HOUR) / 1000
        await _make_hole(owner, entity_ids[key], off, missed)
    await until(has_hole)
    await picture("hole_before")
    await page.goto(await owner.device_path(meter.serial_number))
    await row(page, "Fill statistics now").get_by_role("button").click()
    await until(is_exact)
    await picture("hole_after")


async def _on_the_dashboard(owner: Owner, install: Install) -> Meter:
    """Return a meter whose history the energy dashboard has."""
    updater = await install()
    await owner.add_meter(updater.web.url)
    await statistics_are_filled(owner, updater.meter.serial_number)
    await owner.set_up_energy_dashboard(updater.meter.serial_number, priced=False)
    return updater.meter


async def _make_hole(
    owner: Owner, statistic_id: str, off: datetime, missed: float
) -> None:
    """Leave what Home Assistant writes if it is off for 6 h 40, and counts it all then.

    `missed` are the kWh after `off` in the hour of it.
    """
    rows = (
        await owner.ask(
            "recorder/statistics_during_period",
            start_time=(PICTURED_SINCE - HOUR).isoformat(),
            statistic_ids=[statistic_id],
            period="hour",
            types=["state", "sum"],
            units={"energy": "kWh"},
        )
    )[statistic_id]
    left = []
    for held in rows:
        start = datetime.fromtimestamp(held["start"] / 1000, UTC)
        not_heard = missed if start < off < start + HOUR else 0
        if not off < start < off + 6 * HOUR:
            left.append(
                {
                    "start": start.isoformat(),
                    "state": held["state"] - not_heard,
                    "sum": held["sum"] - not_heard,
                }
            )
    # Rows can be replaced over this interface, but not deleted.
    await owner.ask("recorder/clear_statistics", statistic_ids=[statistic_id])
    await owner.ask(
        "recorder/import_statistics",
        metadata={
            "statistic_id": statistic_id,
            "source": "recorder",
            "name": None,
            "unit_class": "energy",
            "unit_of_measurement": "kWh",
            "mean_type": 0,
            "has_sum": True,
        },
        stats=left,
    )


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


def _midnight(at: datetime) -> datetime:
    return at.astimezone(LOCAL).replace(hour=0, minute=0, second=0, microsecond=0)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _wh(meter: Meter, register: str, begin: datetime, end: datetime) -> int:
    counted = [getattr(meter.registers(at), register) for at in (begin, end)]
    return int(counted[1] - counted[0])
