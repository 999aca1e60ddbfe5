"""What the meter counted in a period, to the Wh."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from hypothesis import example, given, strategies as st
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.emu_professional.consumption import (
    Consumption,
    LoggedConsumption,
    Per,
    borders,
    count,
    reaches_back,
)
from custom_components.emu_professional.emu.logs import COLUMNS, REGISTER_COUNT, Record
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from simulator import faults
from simulator.config import MeterConfig
from simulator.history import ClockSet, CurrentRatioChange, PowerFailure
from simulator.meter import Meter
from simulator.web import MeterServer

from .conftest import COUNTED, NOON, SERIAL_NUMBER, Pass
from .services.actions import call, refusal

ZURICH: Final = ZoneInfo("Europe/Zurich")
GET: Final = "get_consumption"
INSTALLED: Final = datetime(2026, 2, 20, tzinfo=UTC)
MAY: Final = datetime(2026, 5, 1, tzinfo=ZURICH)
OVER_THE_BORDER: Final = PowerFailure(
    MAY - timedelta(minutes=40), MAY + timedelta(hours=2, minutes=20)
)
NAMES: Final = {
    key: f"{kind}_{direction}{tariff}"
    for kind, name in (("active", "energy"), ("reactive", "reactive_energy"))
    for direction in ("import", "export")
    for tariff in ("_t1", "_t2")
    for key in (f"{name}_{direction}{tariff}",)
}
"""The simulator's names of registers by ours."""

type Answer = dict[str, Any]


@pytest.fixture(autouse=True)
def impatient_pages(impatient_pages: None) -> None:
    """Let no test here wait between pages."""


@pytest.fixture(autouse=True)
async def zone(hass: HomeAssistant) -> None:
    """Let the owner live in Zurich."""
    await hass.config.async_set_time_zone("Europe/Zurich")


@pytest.fixture
def config() -> MeterConfig:
    """Return a meter that has logged a quarter, with a power failure in a month's end."""
    return MeterConfig(
        serial_number=SERIAL_NUMBER,
        installed=INSTALLED,
        logger=COUNTED,
        events=(
            OVER_THE_BORDER,
            PowerFailure(
                NOON - timedelta(days=20), NOON - timedelta(days=20, minutes=-4)
            ),
            CurrentRatioChange(NOON - timedelta(days=12), primary=100),
        ),
    )


class Oracle:
    """Knows the registers of the house, and when they were logged."""

    def __init__(self, meter: Meter) -> None:
        """Know what a meter has logged until now."""
        self.meter = meter
        self.stamps = [record.stamp for record in meter.records()]

    def logged(self, at: datetime) -> int:
        """Return when the registers were last logged at a time."""
        return self.stamps[bisect_right(self.stamps, at.timestamp()) - 1]

    def energies(self, *ats: int) -> Answer:
        """Return registers, or the difference of two of them, as an answer has them."""
        found: Answer = {}
        for key, name in NAMES.items():
            *begin, end = (getattr(self.meter.registers(at), name) for at in ats)
            found[key] = (end - sum(begin)) / 1000
        for total in {key[:-3] for key in found}:
            found[total] = round(found[f"{total}_t1"] + found[f"{total}_t2"], 3)
        return found

    def peak(self, begin: datetime, end: datetime) -> tuple[float | None, str | None]:
        """Return the highest demand of a period, and when it was."""
        known = set(self.stamps)
        at, highest = int(begin.timestamp()), (-1.0, "")
        while (at := at + 900) <= end.timestamp():
            if {at, at - 900} <= known:
                energy = self.meter.registers(at).active_import
                energy -= self.meter.registers(at - 900).active_import
                if energy * 0.004 > highest[0]:
                    highest = round(energy * 0.004, 3), local(at)
        return highest if highest[1] else (None, None)

    def check(self, period: Answer) -> None:
        """Check what an answer says of a period."""
        begin, end = (datetime.fromisoformat(period[key]) for key in ("start", "end"))
        at_begin, at_end = self.logged(begin), self.logged(end)
        assert period["source"] == "logger"
        assert period["start_logged"] == local(at_begin)
        assert period["start_is_exact"] is (at_begin == begin.timestamp())
        assert period["end_logged"] == local(at_end)
        assert period["end_is_exact"] is (at_end == end.timestamp())
        assert period["registers_at_start"] == self.energies(at_begin)
        assert period["registers_at_end"] == self.energies(at_end)
        energies = self.energies(at_begin, at_end)
        assert {key: period[key] for key in energies} == energies
        peak = self.peak(begin, end)
        assert (period["peak_demand"], period["peak_demand_time"]) == peak


def local(stamp: float) -> str:
    """Return a time as it is read in the house."""
    return datetime.fromtimestamp(stamp, ZURICH).isoformat()


async def test_quarter(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """Each month's energy is the difference of its registers, to the Wh."""
    oracle = Oracle(server.meter)
    data = {"start": "2026-03-01T00:00:00", "end": "2026-06-01T00:00:00"}
    answer = await call(hass, GET, loaded, **data, per="month")
    assert answer["serial_number"] == SERIAL_NUMBER
    assert answer["per"] == "month"
    assert answer["refused"] == {}
    assert "currency" not in answer
    months = answer["periods"]
    assert [month["start"][:10] for month in months] == [
        f"2026-0{month}-01" for month in (3, 4, 5)
    ]
    for month in months:
        oracle.check(month)
        assert "cost" not in month
    # The failure over the end of April is seen in the record after it.
    assert [month["power_failures"] for month in months] == [0, 0, 2]
    assert [month["changed_ratios"] for month in months] == [0, 0, 1]
    assert [month["hours_without_record"] for month in months] == [0, 0, 2]
    assert [month["end_is_exact"] for month in months] == [True, False, True]
    (whole,) = (await call(hass, GET, loaded, **data))["periods"]
    oracle.check(whole)
    assert whole["energy_import"] == round(sum(m["energy_import"] for m in months), 3)
    assert whole["peak_demand"] == max(month["peak_demand"] for month in months)
    assert whole["hours_without_record"] == 2


async def test_days_and_hours(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """Days are the owner's, also where summer time begins; the last period is cut off."""
    oracle = Oracle(server.meter)
    data = {"start": "2026-03-28T12:00:00", "end": "2026-03-30T06:10:00"}
    days = (await call(hass, GET, loaded, **data, per="day"))["periods"]
    assert [day["start"] for day in days] == [
        "2026-03-28T12:00:00+01:00",
        "2026-03-29T00:00:00+01:00",
        "2026-03-30T00:00:00+02:00",
    ]
    hours = (await call(hass, GET, loaded, **data, per="hour"))["periods"]
    assert len(hours) == 12 + 23 + 7
    for period in (*days, *hours):
        oracle.check(period)
    assert hours[-1]["end"] == "2026-03-30T06:10:00+02:00"
    assert hours[-1]["end_logged"] == "2026-03-30T06:00:00+02:00"


async def test_until_now_and_later(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """Without an end it is now; of a time to come nothing is known."""
    oracle = Oracle(server.meter)
    (today,) = (await call(hass, GET, loaded, start="2026-06-01T00:00:00"))["periods"]
    oracle.check(today)
    assert today["end"] == local(NOON.timestamp())
    data = {"start": "2026-06-01T00:00:00", "end": "2026-06-03T00:00:00"}
    days = (await call(hass, GET, loaded, **data, per="day"))["periods"]
    oracle.check(days[0])
    assert days[0]["end_is_exact"] is False
    assert days[0]["hours_without_record"] == 0
    start = days[1].pop("start")
    end = days[1].pop("end")
    assert (start[:10], end[:10]) == ("2026-06-02", "2026-06-03")
    empty = dict.fromkeys(oracle.energies(0))
    assert days[1] == {
        "source": None,
        **{f"{end}_logged": None for end in ("start", "end")},
        **{f"{end}_is_exact": False for end in ("start", "end")},
        **{f"registers_at_{end}": empty for end in ("start", "end")},
        **empty,
        **dict.fromkeys(("peak_demand", "peak_demand_time", "power_failures")),
        **dict.fromkeys(("changed_ratios", "hours_without_record")),
    }


async def test_before_the_logger_begins(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """Without statistics the first period begins with the first record."""
    data = {"start": "2026-01-01T00:00:00", "end": "2026-03-01T00:00:00"}
    january, february = (await call(hass, GET, loaded, **data, per="month"))["periods"]
    assert january["source"] is None
    assert february["source"] == "logger"
    assert february["start_is_exact"] is False
    first = server.meter.records()[0].stamp
    assert february["start_logged"] == local(first)
    end = int(datetime(2026, 3, 1, tzinfo=ZURICH).timestamp())
    energy = Oracle(server.meter).energies(first, end)["energy_import"]
    assert february["energy_import"] == energy


async def test_refused(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """What a response can't hold is an error, and so is a meter that does not answer."""
    entry = {"config_entry_id": loaded.entry_id}
    start = {"start": "2026-03-01T00:00:00"}
    message = await refusal(
        hass, GET, ServiceValidationError, **entry, **start, per="hour"
    )
    assert "2219 periods" in message
    assert "400 at most" in message
    for wrong in (
        {"start": "2026-07-01T00:00:00"},
        {**start, "end": "2026-03-01T00:00:00"},
    ):
        await refusal(hass, GET, ServiceValidationError, **entry, **wrong)
    server.faults.set(faults.Status(500), path="/data/")
    await refusal(hass, GET, HomeAssistantError, **entry, **start)
    server.faults.clear()
    server.meter = Meter(replace(server.meter.config, logger=None), server.meter.clock)
    await refusal(hass, GET, HomeAssistantError, **entry, **start)


async def test_clock_was_lost(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer, pass_time: Pass
) -> None:
    """While the meter's clock is not set, records from before that count."""
    oracle = Oracle(server.meter)
    server.meter.happens(ClockSet(NOON, 60 - int(NOON.timestamp())))
    await pass_time(30)
    data = {"start": "2026-05-01T00:00:00", "end": "2026-06-01T00:00:00"}
    answer = await call(hass, GET, loaded, **data)
    (may,) = answer["periods"]
    assert answer["refused"] == {}
    oracle.check(may)


async def test_damaged_lines(
    hass: HomeAssistant, loaded: MockConfigEntry, server: MeterServer
) -> None:
    """Lines that can't be read are counted; the register before them counts."""
    noon = int(datetime(2026, 5, 2, 12, tzinfo=ZURICH).timestamp())
    (index,) = (r.index for r in server.meter.records() if r.stamp == noon)
    server.faults.set(faults.BrokenLine(20, index), path="/data/")
    answer = await call(
        hass, GET, loaded, start="2026-05-02T04:00:00", end="2026-05-02T12:00:00"
    )
    (period,) = answer["periods"]
    assert answer["refused"] == {"20 columns instead of 28": 1}
    assert period["end_logged"] == local(noon - 900)
    energies = Oracle(server.meter).energies(noon - 8 * HOUR, noon - 900)
    assert {key: period[key] for key in energies} == energies


START: Final = 1_780_300_800
"""2026-06-01 08:00 UTC"""
HOUR: Final = 3600


def records(rows: Sequence[tuple[int, int]]) -> list[Record]:
    """Return records: minutes after the start, and what all registers show."""
    return [
        Record(
            START + 60 * minutes,
            index,
            0,
            SERIAL_NUMBER,
            (register,) * REGISTER_COUNT + (4000,) * (len(COLUMNS) - REGISTER_COUNT),
        )
        for index, (minutes, register) in enumerate(rows)
    ]


def periods(
    rows: Sequence[tuple[int, int]],
    minutes: Sequence[int] = (60, 120, 180),
    zone: tzinfo = UTC,
) -> list[Consumption]:
    """Return what records say of periods, by minutes after the start."""
    ends = [START + 60 * each for each in minutes]
    profile = LoggedConsumption(ends, SERIAL_NUMBER, START + 10 * HOUR, zone)
    profile.feed(records(rows))
    profile.close()
    return list(profile.periods(START + 10 * HOUR))


CASES: Final = {
    "a register restarts": (
        [
            *((60 + 15 * n, 100 + 10 * n) for n in range(4)),
            *((120 + 15 * n, 10 * n) for n in range(8)),
        ],
        [30, 40],
    ),
    "a damaged record at a border": (
        [(60 + 15 * n, 9999 if n == 4 else 100 + 10 * n) for n in range(10)],
        [30, 50],
    ),
    "the clock was set back over a border": (
        [
            *((60 + 15 * n, 100 + 10 * n) for n in range(6)),
            *((105 + 15 * n, 160 + 10 * n) for n in range(6)),
        ],
        [70, 40],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_odd_records(case: str) -> None:
    """What periods count adds up to what is known, whatever is in the way."""
    rows, energies = CASES[case]
    found = periods(rows)
    assert [p.energy("energy_import_t1") for p in found] == energies


def test_reach() -> None:
    """A logger reaches back to a time at which a register is known."""
    late = periods([(75, 10), (90, 20), (120, 30), (180, 50)])
    assert list(map(reaches_back, late)) == [False, True]
    assert [p.energy("energy_import_t1") for p in late] == [20, 20]
    assert not reaches_back(Consumption(0, 1))
    assert Consumption(0, 1).energy("energy_import_t1") is None


def test_borders() -> None:
    """Periods are cut off at both ends, and no more are made than are wanted."""
    begin = int(datetime(2026, 10, 24, 12, tzinfo=ZURICH).timestamp())
    end = begin + 49 * HOUR
    days = borders(begin, end, Per.DAY, ZURICH, 400)
    assert [(at - begin) // HOUR for at in days] == [0, 12, 37, 49]
    assert borders(begin, end, Per.PERIOD, ZURICH, 400) == [begin, end]
    assert borders(begin, end, Per.MONTH, ZURICH, 400) == [begin, end]
    assert len(borders(begin, end, Per.HOUR, ZURICH, 10)) == 12
    assert count(begin, end, Per.HOUR) == 49
    assert count(begin, end, Per.PERIOD) == 1


ZONES: Final = tuple(
    map(
        ZoneInfo,
        (
            "Europe/Zurich",
            "Asia/Kathmandu",
            "Asia/Kolkata",
            "Australia/Lord_Howe",
            "America/St_Johns",
        ),
    )
)


@given(
    st.sampled_from(ZONES),
    st.datetimes(datetime(2015, 1, 1), datetime(2040, 1, 1)),
    st.integers(1, 100 * HOUR),
)
# Half an hour of summer time ends, and begins.
@example(ZONES[3], datetime(2026, 4, 5), 24 * HOUR + HOUR // 2)
@example(ZONES[3], datetime(2026, 10, 4), 24 * HOUR - HOUR // 2)
@example(ZONES[0], datetime(2026, 10, 25), 25 * HOUR)
def test_hours_are_local(zone: ZoneInfo, start: datetime, seconds: int) -> None:
    """An hour begins where the owner's clock shows one, or where it is set."""
    begin = int(start.replace(tzinfo=zone).timestamp())
    end = begin + seconds
    found = borders(begin, end, Per.HOUR, zone, 400)
    assert (found[0], found[-1]) == (begin, end)

    def offset(at: int) -> timedelta | None:
        return datetime.fromtimestamp(at, zone).utcoffset()

    set_at = {at for at in found if offset(at - 1) != offset(at)}
    for at in found[1:-1]:
        assert at in set_at or datetime.fromtimestamp(at, zone).minute == 0
        assert datetime.fromtimestamp(at, zone).second == 0
    for period in pairwise(found):
        length = period[1] - period[0]
        assert 0 < length <= HOUR
        assert length == HOUR or {*period} & {begin, end, *set_at}
    days = borders(begin, end, Per.DAY, zone, 400)
    assert {*days} <= {*found}


DAYS: Final = {
    "summer time ends": (ZONES[0], (2026, 10, 25), [HOUR] * 25),
    "summer time begins": (ZONES[0], (2026, 3, 29), [HOUR] * 23),
    "three quarters of an hour": (ZONES[1], (2026, 6, 1), [HOUR] * 24),
    "half an hour": (ZONES[2], (2026, 6, 1), [HOUR] * 24),
    "half an hour more": (
        ZONES[3],
        (2026, 4, 5),
        [HOUR] * 2 + [HOUR // 2] + [HOUR] * 22,
    ),
    "half an hour less": (
        ZONES[3],
        (2026, 10, 4),
        [HOUR] * 2 + [HOUR // 2] + [HOUR] * 21,
    ),
}


@pytest.mark.parametrize("case", DAYS)
def test_hours_of_a_day(case: str) -> None:
    """A day has as many hours as its owner's clock shows."""
    zone, (year, month, day), lengths = DAYS[case]
    begin, end = (
        int(datetime(year, month, each, tzinfo=zone).timestamp())
        for each in (day, day + 1)
    )
    found = borders(begin, end, Per.HOUR, zone, 400)
    assert [after - before for before, after in pairwise(found)] == lengths


def test_hours_without_record_are_local() -> None:
    """An hour without a record is one of the owner's clock."""
    kathmandu = ZONES[1]
    # 13:45 to 18:15 there, without a record from 15:00 to 17:00.
    rows = [(15 * n, 100 + 10 * n) for n in range(18) if not 6 <= n <= 13]
    found = [
        [each.hours_without_record for each in periods(rows, ends, kathmandu)]
        for ends in ([15, 75, 135, 195, 255], [15, 255], [0, 270])
    ]
    assert found == [[0, 1, 1, 0], [2], [2]]
