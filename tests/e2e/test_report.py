"""The report of a month, from the blueprint to the notification."""

from datetime import UTC, datetime, timedelta

from playwright.async_api import Page, expect

from processes.owner import Owner
from simulator.meter import Meter

from .conftest import Install
from .energies import midnight, wh
from .pages import statistics_are_filled

REGISTERS = {"Import": "active_import", "Export": "active_export"}


async def test_monthly_report(owner: Owner, page: Page, install: Install) -> None:
    """The notification has last month's energy of both tariffs, to the Wh."""
    end = midnight(datetime.now(UTC)).replace(day=1)
    begin = (end - timedelta(days=1)).replace(day=1)
    updater = await install(installed_at=begin - timedelta(days=1))
    meter = updater.meter
    entry_id = await owner.add_meter(updater.web.url)
    await statistics_are_filled(owner, meter.serial_number)
    await owner.add_automation("month", "monthly_report", meter=entry_id)
    await owner.run_automation("month")
    await page.goto("/")
    await page.get_by_text("Notifications").click()
    report = page.locator("persistent-notification-item")
    await expect(report).to_contain_text(f"Consumption of {begin:%Y-%m}")
    for line in _energies(meter, begin, end):
        await expect(report).to_contain_text(line)
    await expect(report).to_contain_text("Peak demand: ")
    await owner.remove_automation("month")
    await owner.dismiss_notifications()


def _energies(meter: Meter, begin: datetime, end: datetime) -> list[str]:
    """Return the report's lines of a month's energy."""

    def kwh(register: str) -> float:
        return wh(meter, register, begin, end) / 1000

    return [
        f"{name}: {kwh(register)} kWh"
        f" (T1 {kwh(f'{register}_t1')}, T2 {kwh(f'{register}_t2')})"
        for name, register in REGISTERS.items()
    ]
