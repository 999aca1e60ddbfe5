"""Home Assistant was off for hours, by its own clock and by the meter's."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from aiohttp import ClientSession
from playwright.async_api import Browser, Page, expect
import pytest

from processes.home_assistant import HomeAssistant, is_warning_of_us
from processes.owner import IMPORT_PRICES, Owner
from processes.running import own_port, until
from simulator.clock import RunningClock
from simulator.config import MeterConfig
from simulator.meter import Meter
from simulator.web import MeterServer

from .conftest import Shot, log_in
from .energies import HOUR, midnight, wh
from .pages import row, statistics_are_filled

PERIOD: Final = timedelta(minutes=5)
SERIAL_NUMBER: Final = "22350001"
# The same hours in each picture, whenever it is made
NOON: Final = midnight(datetime.now(UTC)).astimezone(UTC) - 12 * HOUR
# Back when the record of the full hour is there
OFF: Final = NOON - timedelta(hours=2, minutes=38)
BACK: Final = OFF + timedelta(hours=6, minutes=40)
INSTALLED: Final = OFF - timedelta(days=3)
GRAPHS: Final = "statistics-graphs"


@pytest.fixture
def clock() -> RunningClock:
    """Return the time in the house."""
    return RunningClock(OFF - timedelta(minutes=1))


@pytest.fixture
async def meter(clock: RunningClock) -> AsyncGenerator[MeterServer]:
    """Return a meter that goes by that time."""
    config = MeterConfig(serial_number=SERIAL_NUMBER, installed=INSTALLED)
    async with MeterServer(Meter(config, clock)) as server:
        yield server


@pytest.fixture
async def house(tmp_path: Path) -> AsyncGenerator[HomeAssistant]:
    """Return a Home Assistant that can be started at any time."""
    async with ClientSession() as session:
        program = "processes/start_at_another_time.py"
        yield HomeAssistant(session, tmp_path, own_port(8223), program=program)


def seconds_earlier(clock: RunningClock) -> str:
    """Return how many seconds a clock shows less than this machine's."""
    return str(datetime.now(UTC).timestamp() - clock.now())


@pytest.mark.pictured
async def test_off_for_hours(
    house: HomeAssistant,
    meter: MeterServer,
    clock: RunningClock,
    browser: Browser,
    shot: Shot,
) -> None:
    """After one button no chart has a hole; energy and cost of each hour are exact."""
    owner = house.owner
    async with house.run(SECONDS_EARLIER=seconds_earlier(clock)):
        entry_id = await owner.add_meter(meter.url)
        await statistics_are_filled(owner, SERIAL_NUMBER)
        await owner.set_up_energy_dashboard(SERIAL_NUMBER)
        await owner.fill_by_itself(entry_id, is_on=False)
        entity_ids = await owner.entities(SERIAL_NUMBER)
        await _add_graphs(owner, entity_ids["active_power"])
    clock.set(BACK)

    async def hours() -> list[int]:
        found = await owner.hours(entity_ids["energy_import"], INSTALLED, BACK)
        return [found.get(hour, 0) for hour in _hours()]

    async def is_exact() -> bool:
        return await hours() == [
            wh(meter.meter, "active_import", hour, hour + HOUR) for hour in _hours()
        ]

    async def costs_are_exact() -> bool:
        found = await _costs(owner)
        return found == pytest.approx(_priced(meter.meter), abs=1e-4)

    async def periods() -> dict[int, float]:
        return await _periods(owner, entity_ids["active_power"])

    async def has_power() -> bool:
        # The end of the last hour is not logged yet.
        begin, end = (int(at.timestamp()) // 300 * 300 for at in (OFF, BACK))
        logged = range(begin, end - 20 * 60, 300)
        means = await periods()
        return means.keys() >= {*logged} and len(set(means.values())) > 20

    async with house.run(SECONDS_EARLIER=seconds_earlier(clock)):
        now = datetime.fromtimestamp(clock.now(), UTC)
        page = await log_in(browser, house.url, now=now)
        assert not await is_exact()
        assert not await costs_are_exact()
        assert len(set((await periods()).values())) <= 2
        await _picture(page, shot, "before")
        await page.goto(await owner.device_path(SERIAL_NUMBER))
        await row(page, "Fill statistics now").get_by_role("button").click()
        await until(is_exact, seconds=90)
        await until(has_power, seconds=90)
        await until(costs_are_exact, seconds=90)
        await _picture(page, shot, "after")
        await page.context.close()
    assert not [entry for entry in house.log_entries() if is_warning_of_us(entry)]


def _hours() -> list[datetime]:
    """Return the whole hours that are logged."""
    first = INSTALLED.replace(minute=0) + HOUR
    return [first + n * HOUR for n in range((BACK - first) // HOUR)]


def _priced(meter: Meter) -> list[float]:
    """Return what each hour of the outage costs: energy of each tariff × its price."""
    return [
        sum(
            price
            * wh(meter, f"active_import_{tariff.lower()}", hour, hour + HOUR)
            / 1000
            for tariff, price in IMPORT_PRICES.items()
        )
        for hour in _missed()
    ]


def _missed() -> list[datetime]:
    """Return the whole hours in which Home Assistant was off."""
    return [hour for hour in _hours() if hour > OFF]


def _cost(tariff: str) -> str:
    """Return the entity id of Home Assistant's cost of a tariff."""
    prefix = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_energy_import"
    return f"{prefix}_{tariff.lower()}_cost"


async def _costs(owner: Owner) -> list[float]:
    """Return what each hour of the outage costs on the energy dashboard."""
    found = dict.fromkeys(_missed(), 0.0)
    for tariff in IMPORT_PRICES:
        for one in await owner.rows(_cost(tariff), OFF, BACK):
            hour = datetime.fromtimestamp(one["start"] / 1000, UTC)
            if hour in found:
                found[hour] += one["change"]
    return [*found.values()]


async def _periods(owner: Owner, statistic_id: str) -> dict[int, float]:
    """Return the means of five minutes of the outage, by their start."""
    answer = await owner.ask(
        "recorder/statistics_during_period",
        start_time=(OFF - PERIOD).isoformat(),
        end_time=BACK.isoformat(),
        statistic_ids=[statistic_id],
        period="5minute",
        types=["mean"],
    )
    rows = answer.get(statistic_id, [])
    return {row["start"] // 1000: row["mean"] for row in rows}


async def _add_graphs(owner: Owner, power: str) -> None:
    """Add a dashboard with the hours of a measurement, and with those of costs."""
    day = {"type": "statistics-graph", "period": "hour", "days_to_show": 1}
    measurement = {
        "title": "Statistics of a day",
        "entities": [{"entity": power, "name": "Active power"}],
        "stat_types": ["min", "mean", "max"],
    }
    costs = {
        "title": "Cost of each hour",
        "entities": [
            {"entity": _cost(tariff), "name": f"Cost {tariff}"}
            for tariff in IMPORT_PRICES
        ],
        "stat_types": ["change"],
        "chart_type": "bar",
    }
    await owner.ask(
        "lovelace/dashboards/create", url_path=GRAPHS, title="Graphs", mode="storage"
    )
    await owner.ask(
        "lovelace/config/save",
        url_path=GRAPHS,
        config={"views": [{"cards": [day | measurement, day | costs]}]},
    )


async def _picture(page: Page, shot: Shot, when: str) -> None:
    """Show bars, power, a statistics graph and costs."""
    for name, path, card, number in (
        ("hole", "/energy/electricity", "hui-energy-usage-graph-card", 0),
        ("power", "/energy/now", "hui-power-sources-graph-card", 0),
        ("graph", f"/{GRAPHS}", "hui-statistics-graph-card", 0),
        ("cost", f"/{GRAPHS}", "hui-statistics-graph-card", 1),
    ):
        await page.goto(path)
        chart = page.locator(card).nth(number)
        await expect(chart.locator("canvas").first).to_be_visible()
        await shot(f"{name}_{when}", chart, page=page)
