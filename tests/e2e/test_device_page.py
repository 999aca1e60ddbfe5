"""The page of a meter in Home Assistant."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from playwright.async_api import Page, ViewportSize, expect
import pytest

from processes.owner import Owner
from processes.running import until
from simulator.meter import Meter

from .conftest import VIEWPORT, Install, Shot
from .pages import row, rows, statistics_are_filled

TALL: ViewportSize = {"width": 1280, "height": 2330}
ZURICH = ZoneInfo("Europe/Zurich")
LIVE = {
    "Energy import": ("wpulse_cnt_L123_e", "kWh"),
    "Energy import T1": ("wpulse_cnt_L123_T1_e", "kWh"),
    "Energy import T2": ("wpulse_cnt_L123_T2_e", "kWh"),
    "Energy export": ("wpulse_cnt_ex_L123_e", "kWh"),
    "Energy export T1": ("wpulse_cnt_ex_L123_T1_e", "kWh"),
    "Energy export T2": ("wpulse_cnt_ex_L123_T2_e", "kWh"),
    "Active power": ("p_L123_act_e", "kW"),
    "Active power L1": ("p_L1_act_e", "kW"),
    "Active power L2": ("p_L2_act_e", "kW"),
    "Active power L3": ("p_L3_act_e", "kW"),
    "Current L1": ("i_L1_act_e", "A"),
    "Current L2": ("i_L2_act_e", "A"),
    "Current L3": ("i_L3_act_e", "A"),
}
SETTINGS = {
    "Firmware": "Up-to-date",
    "Logbook full": "OK",
    "Modbus server": "On",
    "NTP server": "pool.ntp.org",
    "Online updates allowed": "On",
    "Statistics fill": "Complete",
    "Statistics fill progress": "100%",
    "Time not synchronized": "OK",
    "Time synchronization": "On",
}
PRESS = {"Fill statistics now", "Restart TCP/IP module"}
NEVER_HAPPENED = {"Logbook": "Unknown"}


@pytest.mark.pictured
async def test_live_values(
    owner: Owner, page: Page, install: Install, shot: Shot
) -> None:
    """Every value is the meter's, and follows it; nothing else is unknown."""
    updater = await install()
    serial_number = updater.meter.serial_number
    await owner.add_meter(updater.web.url)
    added = updater.meter.now()
    await statistics_are_filled(owner, serial_number)
    await page.goto(await owner.device_path(serial_number))
    seen: list[dict[str, str]] = []

    async def follows() -> bool:
        shown = {
            name: text for name, text in (await rows(page)).items() if name in LIVE
        }
        if shown in _shown_lately(updater.meter) and shown not in seen:
            seen.append(shown)
        return len(seen) == 3

    await until(follows)

    # Readings go before logs: what the logbook says may come later.
    await expect(row(page, "Logbook")).to_be_visible(timeout=60_000)
    await expect(row(page, "Time not synchronized")).to_be_visible()

    async def demand_is_right() -> bool:
        shown = await rows(page)
        expected = _demand(updater.meter)
        return {name: shown.get(name) for name in expected} == expected

    await until(demand_is_right, seconds=120)
    others = {n: t for n, t in (await rows(page)).items() if n not in LIVE}
    assert others.pop("Tariff") in _tariffs(updater.meter, added)
    for name, shown in _demand(updater.meter).items():
        others.pop(name)
        time = others.pop(f"{name} time", shown)
        assert (time == "Unknown") is (shown == "Unknown")
    assert others.pop("Clock offset") in {"0 s", "-1 s", "1 s"}
    assert others == SETTINGS | dict.fromkeys(PRESS, "Press") | NEVER_HAPPENED
    await page.set_viewport_size(TALL)
    await shot("device")
    await page.set_viewport_size(VIEWPORT)


def _tariffs(meter: Meter, since: float) -> set[str]:
    """Return what a page may show: a tariff is known once one of its registers counts."""

    def energies(at: float) -> tuple[int, int]:
        found = meter.registers(at)
        return found.active_import, found.active_export

    known = {"T1", "T2"} if energies(meter.now()) != energies(since) else set()
    # A poll, and what a page shows, are up to 10 s late.
    if energies(meter.now() - 10) == energies(since):
        known.add("Unknown")
    return known


def _shown_lately(meter: Meter) -> list[dict[str, str]]:
    """Return what a page may show: polls are up to 5 s old, and so is what they read."""
    now = meter.now()
    documents = [meter.meter_data(now - age) for age in (0, 5, 10)]
    return [
        {
            name: f"{_grouped(document[key])} {unit}"
            for name, (key, unit) in LIVE.items()
        }
        for document in documents
    ]


def _grouped(number: Any) -> str:
    """Return a number as British pages show it, with all its digits."""
    return f"{Decimal(number):,}"


def _demand(meter: Meter) -> dict[str, str]:
    """Return what a page must show of the demand, from the house's registers."""
    stamps = [record.stamp for record in meter.records()]
    registers = [meter.registers(at).active_import for at in stamps]
    now = datetime.fromtimestamp(meter.now(), ZURICH)
    last_month = now.replace(day=1) - timedelta(days=1)
    peaks: dict[str, float] = {}
    demand = 0.0
    for begin, before, register in zip(stamps, registers, registers[1:], strict=False):
        demand = (register - before) / 250
        month = f"{datetime.fromtimestamp(begin, ZURICH):%Y-%m}"
        peaks[month] = max(peaks.get(month, 0), demand)
    names = {
        "Demand": demand,
        "Peak demand this month": peaks.get(f"{now:%Y-%m}"),
        "Peak demand last month": peaks.get(f"{last_month:%Y-%m}"),
    }
    return {
        name: "Unknown" if power is None else f"{power:,.3f} kW"
        for name, power in names.items()
    }
