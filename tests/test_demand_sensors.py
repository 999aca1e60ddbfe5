"""From a record of the data logger to the shown demand."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
import re
from threading import current_thread, main_thread
from typing import Final
from unittest.mock import patch
from zoneinfo import ZoneInfo

import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.demand import LoggedDemand
from custom_components.emu_professional.emu.logs import Record
from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from simulator import faults
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.history import ClockSet, IntervalChange, PowerFailure
from simulator.meter import Meter
from simulator.web import MeterServer

from .conftest import COUNTED, NOON, SERIAL_NUMBER, Pass, state_of

PREFIX: Final = f"sensor.emu_professional_ii_{SERIAL_NUMBER}_"
ZURICH: Final = ZoneInfo("Europe/Zurich")
QUARTER: Final = timedelta(minutes=15)
INSTALLED: Final = NOON - timedelta(days=50)
DAY: Final = 24 * 3600

type Look = Callable[..., Awaitable[None]]

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def config() -> MeterConfig:
    """Return a meter with records of more than a month."""
    return MeterConfig(serial_number=SERIAL_NUMBER, installed=INSTALLED, logger=COUNTED)


@pytest.fixture(autouse=True)
async def zone(hass: HomeAssistant, all_enabled: None) -> None:
    """Let the owner live in Zurich."""
    await hass.config.async_set_time_zone("Europe/Zurich")


@pytest.fixture
def look(hass: HomeAssistant, clock: ManualClock) -> Look:
    """Return a function to advance time and look at the logs."""

    async def look(**passed: float) -> None:
        clock.advance(timedelta(**passed).total_seconds())
        for _ in range(2):
            async_fire_time_changed(hass, datetime.now(UTC) + timedelta(seconds=400))
            await hass.async_block_till_done(wait_background_tasks=True)

    return look


def shown(hass: HomeAssistant, key: str) -> str:
    """Return the state of a sensor."""
    return state_of(hass, PREFIX + key).state


def energy(meter: Meter, end: datetime, length: timedelta = QUARTER) -> int:
    """Return the import of an interval by its end, in Wh."""
    begin = meter.registers(end - length).active_import
    return meter.registers(end).active_import - begin


def demand(meter: Meter, end: datetime, length: timedelta = QUARTER) -> float:
    """Return the demand of an interval by its end, in kW."""
    return energy(meter, end, length) / 1000 / (length / timedelta(hours=1))


def peak(meter: Meter, month: int, until: datetime) -> tuple[float, datetime]:
    """Return the highest demand of a month until a time, and when it was."""
    highest: tuple[float, datetime] | None = None
    end = INSTALLED + 2 * QUARTER
    while end <= until:
        if (end - QUARTER).astimezone(ZURICH).month == month:
            found = demand(meter, end), end
            if highest is None or found[0] > highest[0]:
                highest = found
        end += QUARTER
    assert highest
    return highest


def check_peaks(hass: HomeAssistant, meter: Meter, until: datetime) -> None:
    """Check the shown peaks of this month and last month."""
    this_month = until.astimezone(ZURICH).month
    for key, month in (("this_month", this_month), ("last_month", this_month - 1)):
        power, at = peak(meter, month, until)
        assert float(shown(hass, f"peak_demand_{key}")) == power
        assert shown(hass, f"peak_demand_{key}_time") == at.isoformat()


def records_read(server: MeterServer) -> list[tuple[int, int]]:
    """Return the requested ranges of indices since the last call."""
    spans = [re.search(r"/data/\?from=(\d+)&to=(\d+)", r.path) for r in server.requests]
    server.requests.clear()
    return [(int(span[1]), int(span[2])) for span in spans if span]


@pytest.mark.usefixtures("loaded")
async def test_logger(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    look: Look,
    pass_time: Pass,
) -> None:
    """Both months are looked at once; then each new record is read once, also later."""
    meter = server.meter
    assert shown(hass, "demand") == STATE_UNKNOWN
    await look()
    assert float(shown(hass, "demand")) == demand(meter, NOON)
    check_peaks(hass, meter, NOON)
    records_read(server)

    for number in range(1, 4):
        await look(minutes=15)
        until = NOON + number * QUARTER
        assert float(shown(hass, "demand")) == demand(meter, until)
        check_peaks(hass, meter, until)
    newest = meter.newest_index
    assert records_read(server) == [(newest - n, newest - n) for n in (2, 1, 0)]

    # While Home Assistant is off, the logger continues, over the end of the month.
    assert await hass.config_entries.async_unload(entry.entry_id)
    await look(days=30, minutes=1)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert shown(hass, "demand") == STATE_UNKNOWN
    until = NOON + timedelta(days=30) + 3 * QUARTER
    await look()
    assert float(shown(hass, "demand")) == demand(meter, until)
    check_peaks(hass, meter, until)
    asked = [
        index for span in records_read(server) for index in range(span[0], span[1] + 1)
    ]
    assert sorted(set(asked)) == [*range(newest + 1, meter.newest_index + 1)]
    assert len(asked) == len(set(asked))

    # The stored demand is shown at once, without a request.
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert float(shown(hass, "demand")) == demand(meter, until)
    check_peaks(hass, meter, until)
    await look()
    assert records_read(server) == []
    classes = state_of(hass, f"{PREFIX}demand").attributes
    assert classes["device_class"] == "power"
    assert classes["state_class"] == "measurement"
    assert classes["unit_of_measurement"] == "kW"


@pytest.mark.usefixtures("loaded")
async def test_next_record_is_read_when_it_is_there(
    entry: MockConfigEntry, clock: ManualClock, look: Look
) -> None:
    """A look comes every five minutes, and 84 s after the next record's stamp."""
    logbook = entry.runtime_data.logbook
    await look()
    assert logbook.update_interval == timedelta(minutes=5)
    await look(minutes=12)
    # Both looks are at 10:12.
    assert logbook.update_interval == timedelta(minutes=4, seconds=24)
    await look(minutes=4, seconds=24)
    assert logbook.update_interval == timedelta(minutes=5)


@pytest.mark.usefixtures("world_time")
async def test_expected_demand(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    look: Look,
    pass_time: Pass,
) -> None:
    """It is known once the register at the begin is, and comes true at the end."""
    clock.advance(60)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    meter = server.meter
    assert shown(hass, "expected_demand") == STATE_UNKNOWN
    await look()
    await pass_time(240)
    power = float(str(meter.meter_data()["p_L123_act_e"]))
    so_far = energy(meter, NOON + timedelta(minutes=5), timedelta(minutes=5)) / 1000
    assert float(shown(hass, "expected_demand")) == pytest.approx(
        4 * (so_far + max(power, 0) / 6), abs=0.02
    )
    await pass_time(595)
    assert float(shown(hass, "expected_demand")) == pytest.approx(
        demand(meter, NOON + QUARTER), abs=0.05
    )
    # The next interval begins before its record is there.
    await pass_time(10)
    assert shown(hass, "expected_demand") != STATE_UNKNOWN
    server.faults.set(faults.ReplacedValues({"wpulse_cnt_L123_e": "0.001"}))
    await pass_time(5)
    assert shown(hass, "expected_demand") == STATE_UNKNOWN


@pytest.mark.parametrize(
    "config",
    [MeterConfig(serial_number=SERIAL_NUMBER, installed=INSTALLED, logger=None)],
)
async def test_without_logger(
    hass: HomeAssistant,
    loaded: MockConfigEntry,
    server: MeterServer,
    look: Look,
    pass_time: Pass,
) -> None:
    """Live readings count for fully observed intervals."""
    meter = server.meter
    await look()
    await pass_time(895)
    assert shown(hass, "demand") == STATE_UNKNOWN
    await pass_time(10)
    # Home Assistant started at the begin of the interval.
    highest = demand(meter, NOON + QUARTER)
    assert float(shown(hass, "demand")) == highest
    assert shown(hass, "peak_demand_this_month_time") == (NOON + QUARTER).isoformat()
    await server.stop()
    await pass_time(120)
    assert shown(hass, "demand") == STATE_UNAVAILABLE
    await server.start()
    await pass_time(780)
    assert float(shown(hass, "demand")) == highest
    await hass.config_entries.async_reload(loaded.entry_id)
    await hass.async_block_till_done()
    assert float(shown(hass, "peak_demand_this_month")) == highest
    assert float(shown(hass, "demand")) == highest
    # Nobody could read them again.
    await hass.config.async_set_time_zone("Europe/Athens")
    await look()
    assert float(shown(hass, "peak_demand_this_month")) == highest
    assert float(shown(hass, "demand")) == highest


@pytest.mark.usefixtures("loaded")
async def test_end_of_month(
    hass: HomeAssistant,
    server: MeterServer,
    clock: ManualClock,
    look: Look,
    pass_time: Pass,
) -> None:
    """At midnight this month's peak becomes last month's, to the second."""
    midnight = datetime(2026, 7, 1, tzinfo=ZURICH).astimezone(UTC)
    clock.advance((midnight - NOON).total_seconds() - 30)
    await look()
    before = shown(hass, "peak_demand_this_month")
    assert float(before) == peak(server.meter, 6, midnight - QUARTER)[0]
    await pass_time(25)
    assert shown(hass, "peak_demand_this_month") == before
    await pass_time(10)
    assert shown(hass, "peak_demand_this_month") == STATE_UNKNOWN
    assert shown(hass, "peak_demand_last_month") == before
    await look(minutes=1)
    expected, at = peak(server.meter, 6, midnight)
    assert float(shown(hass, "peak_demand_last_month")) == expected
    assert shown(hass, "peak_demand_last_month_time") == at.isoformat()
    await look(minutes=15)
    assert float(shown(hass, "peak_demand_this_month")) == demand(
        server.meter, midnight + QUARTER
    )


@pytest.mark.usefixtures("loaded")
async def test_outage_of_the_house_and_other_interval(
    hass: HomeAssistant, server: MeterServer, look: Look
) -> None:
    """An old interval is not shown; another length of the interval is learned."""
    meter = server.meter
    await look()
    failure = PowerFailure(NOON + timedelta(minutes=16), NOON + timedelta(minutes=50))
    later = NOON + timedelta(hours=1)
    meter.happens(failure, IntervalChange(later, 5))
    await look(minutes=49)
    assert shown(hass, "demand") == STATE_UNAVAILABLE
    await look(minutes=11)
    assert shown(hass, "demand") == STATE_UNKNOWN
    five = timedelta(minutes=5)
    await look(minutes=5)
    await look(minutes=5)
    assert float(shown(hass, "demand")) == demand(meter, later + 2 * five, five)
    # From now on the clock is an hour fast, and so are its stamps.
    meter.happens(ClockSet(later + 2 * five, 3600))
    await look(minutes=10)
    end = later + 4 * five
    assert float(shown(hass, "demand")) == demand(meter, end, five)


@pytest.mark.parametrize(
    "offset",
    [
        pytest.param(60 - int(NOON.timestamp()), id="not set: it counts from 1970"),
        pytest.param(-5 * 365 * DAY, id="years behind"),
        pytest.param(3 * 365 * DAY, id="years ahead"),
    ],
)
@pytest.mark.parametrize("has_looked", [False, True])
@pytest.mark.usefixtures("loaded")
async def test_clock_far_off(
    hass: HomeAssistant, server: MeterServer, look: Look, offset: int, has_looked: bool
) -> None:
    """While the meter's clock is far off, nothing is skipped: it is read afterwards."""
    meter = server.meter
    failed = NOON
    if has_looked:
        await look()
        # The logger continues while Home Assistant can't reach the meter.
        server.away = True
        await look(days=40)
        failed += timedelta(days=40)
        server.away = False
    meter.happens(ClockSet(failed, offset), ClockSet(failed + 3 * QUARTER, 0))
    for _ in range(8):
        await look(minutes=5)
    # The clock is right again, and the newest record still has a wrong stamp.
    await look(minutes=6)
    await look(minutes=30)
    check_peaks(hass, meter, failed)
    # After the clock was set, the first complete interval ends at a quarter past.
    end = failed + 5 * QUARTER
    assert float(shown(hass, "demand")) == demand(meter, end)


@pytest.mark.usefixtures("loaded")
async def test_clock_set_back(
    hass: HomeAssistant, server: MeterServer, look: Look
) -> None:
    """Records from before that are later than the meter's clock, and not skipped."""
    server.meter.happens(ClockSet(NOON, -2 * 3600))
    await look()
    assert float(shown(hass, "demand")) == demand(server.meter, NOON)


async def test_many_new_records(
    loaded: MockConfigEntry, look: Look, clock: ManualClock
) -> None:
    """They take a tenth of a second: too long for the event loop."""
    await look()
    many: list[bool] = []
    feed = LoggedDemand.feed

    def fed(self: LoggedDemand, records: Iterable[Record], latest: int) -> None:
        records = list(records)
        if len(records) > 200:
            many.append(current_thread() is main_thread())
        feed(self, records, latest)

    clock.advance(20 * DAY)
    with patch.object(LoggedDemand, "feed", fed):
        await look()
        await look()
    assert many
    assert not any(many)
    assert loaded.runtime_data.demand.diagnostics()["peaks"]


@pytest.mark.usefixtures("loaded")
async def test_logger_that_fails_or_begins_again(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    server: MeterServer,
    clock: ManualClock,
    look: Look,
) -> None:
    """Records of failed requests are read later; peaks outlive the logger."""
    server.faults.set(faults.Status(500), path="/data/")
    await look()
    assert shown(hass, "peak_demand_this_month") == STATE_UNKNOWN
    server.faults.clear()
    await look(minutes=5)
    until = NOON
    check_peaks(hass, server.meter, until)
    before = shown(hass, "peak_demand_last_month")
    # Where the last lines can't be read, nothing begins again.
    newest = server.meter.newest_index
    broken = range(newest - 1, newest + 1)
    server.faults.set(faults.BrokenLine(20, broken), path="/data/")
    records_read(server)
    await look()
    assert records_read(server) == []
    server.faults.clear()
    check_peaks(hass, server.meter, until)
    # Another logger, with indices from 1 on.
    config = server.meter.config
    server.meter.__init__(  # type: ignore[misc]
        replace(config, installed=NOON), clock
    )
    await look(minutes=41)
    assert shown(hass, "peak_demand_last_month") == before
    assert float(shown(hass, "demand")) == demand(server.meter, NOON + 3 * QUARTER)
    # Where months begin at other times, they are looked at again.
    await hass.config.async_set_time_zone("Asia/Tokyo")
    await look(minutes=1)
    assert shown(hass, "peak_demand_last_month") == STATE_UNKNOWN
    assert shown(hass, "peak_demand_this_month") != STATE_UNKNOWN
    assert entry.domain == DOMAIN
