"""Lives: one with all that can happen, those to remember, and any other."""

from collections.abc import Mapping
from typing import Any, Final

from hypothesis import strategies as st

from custom_components.emu_professional.backfill.report import Mode
from custom_components.emu_professional.backfill.times import HOUR

from .log import MEASUREMENTS
from .steps import (
    DAY,
    PERIOD,
    TO_THE_CLOCK_CHANGE,
    Clear,
    Clock,
    Compare,
    Fill,
    Interval,
    Live,
    Off,
    PutBack,
    Rename,
    Restart,
    Step,
    Unit,
    Unreachable,
)

EXTERNAL: Final = "reactive_energy_import_t1"

A_YEAR: Final[tuple[Step, ...]] = (
    # History before the first live hour, then the first ones.
    *(Fill(), Live(14), Fill(Mode.REBUILD), Live(13), Fill(hitch="late")),
    # Off over a full hour, and over the end of summer time.
    *(Live(1), Off(3 * HOUR + 4 * PERIOD), Live(13), Fill(), Live(13)),
    *(Off(TO_THE_CLOCK_CHANGE), Live(5), Off(12 * HOUR), Live(13)),
    *(Fill(hitch="line", after=5, days=2), Live(25)),
    # Another unit and other names; unreachable, also so long that the sum restarts.
    *(Unit(1), Live(13), Rename(), Unreachable(5 * HOUR), Live(9)),
    *(Fill(since=9, hours=3), Live(13), Fill(hitch="stop", after=2), Live(1)),
    *(Unreachable(12 * DAY), Live(14), Fill(hitch="stop", after=1, days=2), Live(13)),
    *(Unreachable(11 * DAY), Fill(), Live(14), Fill(Mode.REBUILD)),
    # No power, another interval, clock set back and forth.
    *(Unreachable(9 * HOUR, why="power"), Live(14), Unit(2), Fill(), Live(13)),
    *(Interval(7), Live(25), Off(2 * HOUR), Live(37), Fill(), Rename()),
    *(Live(13), Fill(Mode.REBUILD), Interval(60), Live(25), Fill(), Interval(15)),
    *(Clock(-240), Live(25), Clock(200), Live(14), Fill(), Clock(0), Live(13)),
    *(Clock(4000), Live(13), Clock(0), Live(37), Fill(), Live(13)),
    # Off until summer time begins; most of it is forgotten by the logger.
    *(
        Off(TO_THE_CLOCK_CHANGE, observed=False),
        Live(25),
        Unreachable(9 * HOUR),
        Live(13),
    ),
    *(Fill(hitch="live", after=3), Live(13)),
    # The module visits another meter, and comes back.
    *(Unreachable(30 * HOUR, why="module"), Live(13), Fill(), Live(14)),
    *(Off(30 * DAY), Live(1), Fill(Mode.REBUILD, since=100, hours=50), Fill()),
    *(Off(60 * DAY), Live(25), Fill(hitch="live", after=5), Live(13), Fill()),
)


LIVES_TO_REMEMBER: Final[Mapping[str, tuple[dict[str, Any], tuple[Step, ...]]]] = {
    "first record after days without power, and another interval than usual": (
        {"keys": ("energy_export", "active_power"), "days": 0, "interval": 7},
        (
            Unreachable(5 * DAY, early=240, late=280, why="power"),
            *(PutBack(steps=6), Compare(is_daily=True)),
        ),
    ),
    "weeks without a record, and short-term rows deleted meanwhile": (
        {
            "keys": ("energy_export", "active_power"),
            "interval": 60,
            "days": 2,
            "depth": 1500,
        },
        (
            *(Compare(is_daily=False), Unreachable(-1, 0, 25, "module")),
            Compare(is_daily=False),
        ),
    ),
    "rows repeat a value where nothing is logged": (
        {
            "keys": ("energy_export_t1", "active_power"),
            "moved": True,
            "depth": 400,
            "interval": 5,
            "days": 5,
        },
        (
            *(Live(5), Rename(), PutBack(2)),
            *(Clock(-4000), PutBack(3), Clock(0), Live(7)),
        ),
    ),
    "power returns within an hour that is logged at its end alone": (
        {
            "keys": ("energy_import_t1", "active_power"),
            "days": 2,
            "interval": 60,
            "depth": 400,
            "has_clock": False,
        },
        (Unreachable(40 * DAY, 0, 25, "power"), *(Live(1),) * 3, Fill(days=1)),
    ),
    "the clock was set back a little, and intervals changed": (
        {
            "keys": ["energy_export", "active_power"],
            "interval": 60,
            "days": 2,
            "moved": True,
            "units": 1,
        },
        (Rename(), Clock(-240), Interval(45), Rename()),
    ),
    "back while another tariff counts": (
        {"keys": ["energy_import_t1"], "days": 0},
        (Live(3), Off(9 * HOUR, 0, 25), Live(1), Off(26 * HOUR, 0, 25)),
    ),
    "off so long that the logger has forgotten": (
        {"depth": 400},
        (Live(7), Fill(), Off(12 * DAY), Live(13)),
    ),
    "unreachable so long that the logger has forgotten": (
        {"depth": 400},
        (Live(7), Fill(), Unreachable(12 * DAY), Live(13)),
    ),
    "off while no record ends with the hour": (
        {},
        (Live(7), Interval(7), Off(5 * DAY)),
    ),
    "no sensor, and the end of the newest hour is not logged yet": (
        {"keys": [EXTERNAL], "interval": 45},
        (Live(3),),
    ),
    "first observed while no record ends with the hour": (
        {"interval": 7, "depth": 400},
        (Live(3),),
    ),
    "more than one part": (
        {"depth": 1300},
        (Live(7), Fill(), Unreachable(12 * DAY), Live(14), Fill(days=2)),
    ),
    "interrupted while no recent row continues live": (
        {"keys": ["energy_import_t1"], "depth": 400, "days": 5},
        (
            Fill(days=1),
            Off(40 * DAY, 0, 25, observed=False),
            Fill(Mode.REBUILD, hitch="stop", after=4, days=1),
        ),
    ),
    "parts that begin within a record": (
        {"keys": ["energy_import_t1"], "depth": 600, "interval": 45},
        (Off(12 * DAY), Off(5 * DAY, observed=False), Live(9), Fill(days=2)),
    ),
    "no power so long that a part is after the shift of a newer one": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 5},
        (
            *(Live(1), Live(1), Live(1), Rename(), Live(1)),
            *(Unreachable(40 * DAY, 0, 25, "power"), Live(25)),
        ),
    ),
    "a row after the window counts from a poll before the end of the window": (
        {"keys": ["energy_export"], "depth": 400, "days": 0},
        (Live(17), Unreachable(HOUR, 0, 25, "power")),
    ),
    "in another meter, back unheard, and a part begins meanwhile": (
        {"days": 0},
        (
            *(Live(9), Unreachable(5 * DAY, 0, 25, "module")),
            *(Off(6 * PERIOD, 0, 25, observed=False), Fill(days=1)),
        ),
    ),
    "in another meter for longer than a part, and back unheard": (
        {"days": 2},
        (
            *(Live(25), Unreachable(5 * DAY, 0, 25, "module")),
            *(Off(9 * HOUR, 0, 25, observed=False), Fill(days=1)),
        ),
    ),
    "all that is older than a part was in another meter": (
        {"days": 0, "depth": 400},
        (
            *(Live(13), Unreachable(5 * DAY, 0, 25, "module")),
            *(Off(9 * HOUR, 0, 25, observed=False), Fill(days=1)),
        ),
    ),
    "the clock was behind at the end of the window, where nothing was logged": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 0},
        (Clock(-4000), Live(25), Interval(1)),
    ),
    "the clock was ahead, and a live row knows better where the window begins": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 0},
        (Clock(4000), Live(25), Interval(1)),
    ),
    "in another meter for so long that the sum restarts": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 0},
        (Live(1), Unreachable(40 * DAY, 0, 25, "module"), Live(25)),
    ),
    "in another meter for so long, and only the end of an hour is logged since": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 0},
        (Live(1), Live(25), Unreachable(40 * DAY, 0, 25, "module")),
    ),
    "the hour that is compiled next has not observed the meter since it was back": (
        {"depth": 400, "days": 0},
        (
            *(
                Live(1),
                Off(12 * DAY, 0, 25, observed=False),
                Unreachable(PERIOD, 0, 25),
            ),
            Fill(Mode.REBUILD, since=30, hitch="late", days=1),
        ),
    ),
    "the end of the newest hour was logged twice: the clock was set back to it": (
        {"keys": ["energy_import_t1", "active_power"], "depth": 400, "days": 0},
        (Live(1), Live(1), Live(7), Live(7), Clock(-240), Live(1)),
    ),
    "an hour is compiled between two writes, and has not observed the meter either": (
        {"depth": 400, "days": 0},
        (
            *(
                Live(1),
                Off(12 * DAY, 0, 25, observed=False),
                Unreachable(PERIOD, 0, 25),
            ),
            Fill(since=30, hitch="live", days=1),
        ),
    ),
    "a row after the window follows one that has not observed the meter": (
        {"depth": 400, "days": 0},
        (
            *(
                Live(1),
                Off(12 * DAY, 0, 25, observed=False),
                Unreachable(PERIOD, 0, 25),
            ),
            *(Live(1), Fill(Mode.REBUILD, since=5, hours=3)),
        ),
    ),
    "no power since a record that the last poll was a little short of": (
        {"keys": ["energy_export", "active_power"], "depth": 400, "days": 0},
        (
            *(Off(6 * PERIOD, 0, 25), Unreachable(TO_THE_CLOCK_CHANGE, 0, 25, "power")),
            Live(13),
        ),
    ),
    "no power for longer than a part, since a little after the last poll": (
        {"keys": ["energy_export", "active_power"], "depth": 400, "days": 0},
        (Off(6 * PERIOD, 0, 25), Unreachable(40 * DAY, 0, 25, "power"), Live(13)),
    ),
    "a narrow window within a power failure, then everything": (
        {
            "keys": ["energy_export_t1", "active_power"],
            "depth": 1500,
            "days": 0,
            "moved": True,
        },
        (
            *(Off(6 * PERIOD, 0, 25), Unreachable(TO_THE_CLOCK_CHANGE, 0, 25, "power")),
            *(Live(1), Live(13), Rename()),
            Fill(Mode.REBUILD, since=2, hours=3, hitch="stop", after=4, days=1),
        ),
    ),
    "a rebuild in parts, and no record ends with the hour between them": (
        {"keys": ["energy_export"], "interval": 7, "days": 0},
        (Live(25), Off(DAY), Live(2), Fill(Mode.REBUILD, days=1)),
    ),
    "no power soon after the clock was set back from hours that did not come again": (
        {"keys": ["energy_export"], "days": 0},
        (
            *(Live(25), Clock(4000), Live(2), Clock(0), Live(2)),
            *(Unreachable(9 * HOUR, 0, 25, "power"), Fill(days=1), Live(13)),
            Fill(Mode.REBUILD),
        ),
    ),
    "no power soon after the clock was set back, before which little was logged": (
        {
            "keys": ["energy_import_t1", "active_power"],
            "interval": 7,
            "depth": 400,
            "days": 0,
        },
        (
            *(Live(1), Live(1), Clock(4000), Live(1), Clock(0)),
            Unreachable(3 * HOUR + 4 * PERIOD, 90, 25, "power"),
        ),
    ),
    "the clock was behind, and the end of the window was logged twice": (
        {
            "keys": ["energy_import_t1", "active_power"],
            "interval": 45,
            "depth": 400,
            "days": 0,
        },
        (
            *(Off(3 * HOUR + 4 * PERIOD, 0, 25, observed=False), Live(25), Live(25)),
            *(Live(13), Live(1), Live(1), Clock(-4000), Live(25)),
        ),
    ),
    "the clock was ahead, and a row between two parts knows more than is logged": (
        {"keys": ["energy_export"], "interval": 7, "days": 0},
        (
            *(Live(25), Clock(4000), Live(25), Live(25), Clock(0), Live(2)),
            *(Off(20 * HOUR), Live(2), Fill(days=1), Fill(Mode.REBUILD, days=1)),
        ),
    ),
    "rows between two parts have counted what was logged before the clock was set": (
        {"keys": ["energy_export"], "interval": 45, "days": 0},
        (
            *(Live(25), Clock(4000), Live(25), Live(25), Clock(0), Live(2)),
            *(Off(20 * HOUR), Live(2), Fill(days=1)),
        ),
    ),
    "a live row in a hole between two parts": (
        {"interval": 60, "days": 0},
        (
            *(Live(25), Clock(-4000), Live(25), Live(25), Clock(0), Live(13)),
            *(Off(22 * HOUR), Live(2), Fill(days=1)),
        ),
    ),
    "a live row in a hole between two parts knows more than is logged": (
        {"keys": ["energy_export"], "interval": 60, "days": 0},
        (
            *(Live(25), Clock(4000), Live(25), Live(25), Clock(0), Live(13)),
            *(Off(19 * HOUR), Live(2), Fill(days=1)),
        ),
    ),
    "a live row in a hole after the first hour of a part": (
        {"interval": 45, "days": 0},
        (
            *(Live(25), Clock(4000), Live(25), Live(25), Clock(0), Live(13)),
            *(Off(18 * HOUR), Live(2), Fill(days=1)),
        ),
    ),
    "a live row at the end of the window, whose hour the clock was set back from": (
        {"interval": 7, "depth": 100, "days": 2},
        (Live(7), Live(25), Live(25), Clock(-4000), Live(7)),
    ),
    "the clock was set back, and an interval before that was longer": (
        {"keys": ["active_power"], "interval": 60, "days": 2},
        (Clock(-4000), Interval(1), Live(1)),
    ),
    "the clock was set back, and an interval was shorter in hours that are gone": (
        {"keys": ["active_power"], "depth": 400, "days": 0},
        (
            *(Clock(4000), Live(1), Off(TO_THE_CLOCK_CHANGE, 0, 25, observed=False)),
            *(Interval(1), Live(1)),
        ),
    ),
    "off since the first hour, in which little was observed and one record logged": (
        {"keys": ["energy_import_t1"], "days": 0},
        (
            *(Live(1), Off(PERIOD, 0, 25, observed=False)),
            *(Off(3 * HOUR + 4 * PERIOD, 0, 25, observed=False), Fill()),
        ),
    ),
    "narrow windows within the time off": (
        {"keys": ["energy_import_t1"], "days": 2},
        (
            *(Live(25), Off(26 * HOUR), Live(25), Fill(since=15, hours=3), Live(13)),
            *(Fill(since=25, hours=3), Fill(since=12, hours=3), Live(13)),
        ),
    ),
    "narrow windows within an outage": (
        {"keys": ["energy_import_t1"], "days": 2},
        (
            *(
                Live(25),
                Unreachable(26 * HOUR),
                Live(3),
                Fill(since=5, hours=3),
                Live(13),
            ),
            *(Fill(since=25, hours=3), Fill(since=12, hours=3), Live(13)),
        ),
    ),
    "a window that begins within an outage, whose end is not compiled yet": (
        {"keys": ["energy_import_t1"], "days": 2},
        (Live(25), Unreachable(26 * HOUR), Live(2), Fill(since=5), Live(13), Live(13)),
    ),
    "off so long that no row is left from before, and the logger begins meanwhile": (
        {"depth": 1500, "days": 0},
        (Live(1), Off(40 * DAY, 0, 25, observed=False), Live(1), Clock(-240), Live(1)),
    ),
    "a part that begins within the time off, whose end is not compiled yet": (
        {"keys": ["energy_import_t1"], "days": 2},
        (Live(25), Off(40 * HOUR), Live(1), Fill(days=1), Live(13)),
    ),
    "a narrow window within the time off, and no record ends with the hour": (
        {"keys": ["energy_import_t1"], "interval": 7, "depth": 400, "days": 0},
        (
            *(Live(1), Off(12 * DAY, 0, 25, observed=False), Live(3)),
            Fill(since=30, hours=3, days=1),
        ),
    ),
    "the clock was behind since the first hour": (
        {"keys": ["energy_import_t1"], "depth": 400, "days": 0},
        (Clock(-4000), Live(25)),
    ),
    "the clock was behind for hours since the first one": (
        {"keys": ["energy_export"], "depth": 400, "days": 0},
        (Clock(-4000), Live(1), Live(25), Live(25), Unit(2), Live(7)),
    ),
    "the logger begins while off, and is not read from its begin again": (
        {"interval": 5, "days": 2},
        (
            *(Live(7), Off(TO_THE_CLOCK_CHANGE, observed=False)),
            Fill(since=2, hitch="stop", after=2, days=1),
        ),
    ),
    "an older database was put back, and rows were deleted": (
        {"keys": ["energy_export", "active_power"]},
        (
            *(Live(14), Compare(), Off(5 * HOUR), Live(5), Compare(False)),
            *(PutBack(3), Compare(False), Clear(5, 3), Compare()),
            *(PutBack(20), Live(2), Compare(), Clear(2, 3, with_periods=True)),
            *(Live(13), Compare()),
        ),
    ),
    "the registers begin at 0, live, off, and a moment before an outage": (
        {"keys": ["energy_export", "active_power"], "days": 2},
        (
            *(Live(14), Fill(), Restart(), Live(14), Compare(False), Off(5 * HOUR)),
            *(Restart(), Off(9 * HOUR), Live(13), Fill(since=12, hours=3), Live(13)),
            *(Restart(), Unreachable(12 * DAY), Live(14), Fill(Mode.REBUILD), Live(13)),
        ),
    ),
    "the registers begin at 0 in the second of a record": (
        {"keys": ["active_power"], "depth": 400},
        (Live(3), Off(5 * DAY), Restart(), Live(13)),
    ),
    "no register has risen since a window that was rebuilt": (
        {"keys": ["active_power"], "depth": 400},
        (
            *(Off(300, 0), Live(2), Unreachable(26 * HOUR, 0, 25)),
            Fill(Mode.REBUILD, since=30, hours=3),
        ),
    ),
    "the first logged hour counts weeks, and the next one is flat": (
        {"keys": ["active_power"], "depth": 400, "days": 0},
        (
            *(
                Live(1),
                Rename(),
                PutBack(1),
                Interval(5),
                Unit(1),
                Off(-1, 90, 25, False),
            ),
            *(Unit(1), Compare(), PutBack(1)),
        ),
    ),
    "the first hour of all is logged in part, and its outage is settled": (
        {"keys": ["active_power"], "depth": 1500, "days": 0, "moved": True},
        (
            *(Live(13), PutBack(1), Unreachable(1800, 0, 280, "power")),
            *(Unreachable(1800, 0, 280, "power"), Off(5 * DAY, 240, 280, False)),
        ),
    ),
    "a rounded total after a row of weeks, in two parts": (
        {"keys": ["active_power"], "depth": 400, "days": 5, "rounds": True},
        (
            *(Fill(days=1), Live(1), Off(300, 0, 25, False)),
            *(Unreachable(40 * DAY, 0, 280, "power"), Off(300, 0, 280)),
            Fill(hours=24, days=2),
        ),
    ),
    "the registers begin at 0, and an older database is put back": (
        {"keys": ["active_power"], "depth": 400, "days": 5, "rounds": True},
        (
            *(Fill(days=1), Live(1), Interval(20), Restart()),
            *(Fill(hitch="late", after=2), PutBack(1), Live(13)),
        ),
    ),
    "the registers begin at 0 in the hour after the window": (
        {"keys": ["energy_export", "active_power"], "depth": 400, "days": 5},
        (
            *(Restart(), Clock(-4000), Live(1), Fill(Mode.REBUILD, since=30, hours=3)),
            *(Compare(False), Live(2)),
        ),
    ),
    "a rounded total, and the registers begin at 0 after an exchange": (
        {"keys": ["active_power"], "depth": 400, "days": 0, "rounds": True},
        (
            *(
                Unreachable(40 * DAY, 0, 25),
                Live(3),
                Unreachable(300, 240, 200, "module"),
            ),
            *(Compare(False), Live(2), Restart(), Clock(-40), Compare(False)),
        ),
    ),
    "a window in an outage, and a statistic without any row": (
        {
            "keys": ["reactive_energy_import_t1", "active_power"],
            "depth": 900,
            "days": 5,
            "moved": True,
        },
        (
            *(Compare(False), PutBack(2), Interval(60), Clear(30, 3, True)),
            *(Unreachable(26 * HOUR, 0, 90, "power"), Fill(since=300, hours=1, days=2)),
        ),
    ),
    "the first hour has a wrong cost, and the right energy": (
        {"keys": ["active_power"], "depth": 400, "fixed_price": 0.31},
        (Compare(), Live(13), Compare()),
    ),
    "each request takes 12 s, and only the status has the clock": (
        {"keys": ["active_power"], "depth": 1500, "latency": 12, "has_clock": False},
        (
            *(Live(14), Fill(), Off(30 * HOUR), Live(13), Fill(hitch="cut", days=1)),
            *(Clock(4000), Live(13), Fill(), Clock(0), Live(25)),
        ),
    ),
    "answers are empty, cut, lost or a 404 in the middle of a run": (
        {"keys": ["active_power"], "depth": 400},
        (
            *(Live(14), Fill(hitch="empty"), Fill(hitch="cut")),
            *(Fill(Mode.REBUILD, hitch="empty", after=3), Off(3 * HOUR)),
            *(Fill(hitch="cut", after=4), Off(3 * HOUR), Fill(hitch="gone", after=3)),
            *(Off(3 * HOUR), Fill(hitch="reset", after=2)),
        ),
    ),
    "a rounded total is above the register that is logged next, weeks later": (
        {"interval": 7, "days": 0, "depth": 400, "rounds": True},
        (
            *(Live(2), Unreachable(40 * DAY, 240, 25, "power")),
            *(Unreachable(40 * DAY, 240, 25, "power"), Fill(Mode.REBUILD)),
        ),
    ),
    "five minutes of an hour are logged by nobody, and its outage is settled": (
        {"keys": ["active_power"], "days": 2, "depth": 400, "interval": 7},
        (
            *(Live(1), Unreachable(TO_THE_CLOCK_CHANGE, 0, 25, "power"), Clock(-4000)),
            *(
                Live(25),
                Unreachable(HOUR, 0, 90, "power"),
                Unreachable(9 * HOUR, 0, 280),
            ),
        ),
    ),
    "totals are rounded, and records come late": (
        {"keys": ["energy_export", "active_power"], "rounds": True, "delay": 84},
        (
            *(Live(14), Compare(), Live(25), Compare(False), Off(5 * HOUR), Live(7)),
            *(Compare(False), Live(13), Fill(Mode.REBUILD), Unreachable(3 * HOUR)),
            *(Live(13), Compare(False)),
        ),
    ),
    "no row shows when the register rose, for those before are lost": (
        {"depth": 400, "interval": 7, "days": 2},
        (
            *(Off(TO_THE_CLOCK_CHANGE, 240, 25, observed=False), PutBack(3), Live(1)),
            *(Off(TO_THE_CLOCK_CHANGE, 240, 25, observed=False), PutBack(2)),
        ),
    ),
    "a window before the first hour, which ends with the begin of an outage": (
        {"keys": ["energy_export"], "depth": 400},
        (Live(1), Off(9 * HOUR, 0, 25), Live(1), Fill(since=300, hours=24)),
    ),
    "a window before the first hour, in which no sensor has counted anything": (
        {"interval": 60},
        (Live(2), Off(9 * HOUR, 0, 280), Fill(since=300, hours=24)),
    ),
    "the sum begins anew in the hour before the first record after weeks": (
        {
            "keys": ["active_power"],
            "depth": 400,
            "days": 5,
            "rounds": True,
            "delay": 84,
        },
        (Compare(False), Live(2), Unreachable(12 * DAY, 0, 280, "power")),
    ),
    "an hour without energy in an outage that was settled and put back": (
        {"keys": ["active_power"], "days": 0, "depth": 400},
        (
            *(Live(1), Off(12 * DAY, 1), Interval(60), Compare(), PutBack(2)),
            Live(13),
        ),
    ),
    "a window in an outage, the first half of which was settled in a lost database": (
        {
            "keys": ["active_power"],
            "interval": 7,
            "days": 0,
            "depth": 400,
            "rounds": True,
        },
        (
            *(Off(40 * DAY, 0, 25, observed=False), Interval(30)),
            *(Unreachable(1800, 240), Fill(), Off(5 * DAY, 240, observed=False)),
            *(PutBack(2), Fill(Mode.REBUILD, since=30, hours=24, days=1)),
        ),
    ),
    "the registers begin at 0 after an outage, and the logger has not seen it yet": (
        {"keys": ["active_power"], "depth": 1500, "days": 5, "has_clock": False},
        (
            *(Interval(1), Live(1), Unreachable(HOUR, 0, 280, "power"), Restart()),
            Interval(45),
        ),
    ),
    "an answer is lost, and the pages after it are smaller": (
        {"keys": ["active_power"], "depth": 400, "has_clock": False},
        (Live(1), Fill(since=300, hours=24, hitch="reset", days=1)),
    ),
    "a window before the first hour is interrupted between two statistics": (
        {"keys": ["energy_import_t1"], "days": 5, "moved": True, "jumps": True},
        (
            *(Off(9 * HOUR, 240), Clear(30, 3), Restart(), Restart()),
            Fill(since=300, hours=24, hitch="stop", after=5, days=1),
        ),
    ),
    "a clock set back by less than an interval, before which all is right": (
        {"keys": ["active_power"], "depth": 400, "days": 2, "interval": 5},
        (Live(1), Clock(-240), Interval(1), Live(1)),
    ),
    "a window in a settled outage that was put back, and another outage before it": (
        {"depth": 400, "days": 0},
        (
            *(Live(13), Unreachable(26 * HOUR, 0, 25), Live(1), Off(9 * HOUR, 0, 25)),
            *(Compare(), PutBack(1), Fill(since=5, hours=1)),
        ),
    ),
    "an older database, and states without their attributes": (
        {"keys": ["active_power"], "depth": 400, "moved": True, "jumps": True},
        (
            *(Live(1), Fill(days=1), Live(2), Off(12 * DAY, 0, 25), Live(1)),
            *(Unreachable(26 * HOUR, 1, 25), Unreachable(5 * DAY, 0)),
            *(Off(12 * DAY, 1, 280, observed=False), PutBack(3)),
        ),
    ),
    "the first row of all is that of a newer part, with hardly any energy": (
        {"depth": 400, "days": 5},
        (Live(1), Off(12_000, 0, 25, observed=False), *[Live(1)] * 3, Fill(days=2)),
    ),
    "a dry run changes the cost of an hour after the window twice": (
        {"keys": ["energy_import_t1"], "depth": 1500, "interval": 60, "units": 2}
        | {"days": 0, "rounds": True, "delay": 84, "has_clock": False},
        (
            *(Off(40 * DAY, 240, observed=False), Unreachable(300, 1, why="power")),
            *(PutBack(6), Interval(15), Fill(since=2, days=2)),
        ),
    ),
    "another unit, and a total that stands still": (
        {"keys": ["energy_import_t1"], "depth": 400, "days": 5},
        (Live(7), Unit(2), *[Live(1)] * 3, Live(7), Live(1), Unit(0)),
    ),
    "a clock set back over what was filled": (
        {
            "keys": ["energy_export", "voltage_l1"],
            "interval": 7,
            "days": 2,
            "depth": 1500,
            "units": 2,
            "rounds": True,
            "delay": 84,
            "fixed_price": -0.05,
        },
        (
            *(Compare(True), PutBack(4), Fill(hours=1, hitch="line", after=7)),
            *(Clock(-4000), Compare(True), Off(HOUR, 240, 25, True), Interval(1)),
        ),
    ),
    "a restart in the window is observed after it": (
        {
            "keys": ("energy_export", "voltage_l1"),
            "interval": 5,
            "depth": 900,
            "units": 1,
            "rounds": True,
            "delay": 84,
            "latency": 12,
            "days": 2,
            "fixed_price": -0.05,
        },
        (
            *(PutBack(4), Restart(), PutBack(1), Live(25), Live(7)),
            Fill(Mode.REBUILD, since=30, hours=1, hitch="reset", after=1, days=2),
        ),
    ),
}

REGISTERS: Final = (
    "energy_import_t1",
    "energy_import_t2",
    "energy_export",
    "energy_export_t1",
    "reactive_energy_import_t1",
)

SPANS = st.sampled_from(
    [
        *(PERIOD, 6 * PERIOD, HOUR, 3 * HOUR + 4 * PERIOD, 9 * HOUR),
        *(26 * HOUR, 5 * DAY, 12 * DAY, 40 * DAY, TO_THE_CLOCK_CHANGE),
    ]
)
SECONDS = st.sampled_from([0, 1, 90, 240])
LATE = st.sampled_from([25, 90, 200, 280])
STEPS = st.one_of(
    st.builds(Live, st.sampled_from([1, 2, 7, 13, 25])),
    st.builds(Off, SPANS, SECONDS, LATE, st.booleans()),
    st.builds(
        Unreachable,
        SPANS,
        SECONDS,
        LATE,
        st.sampled_from(["network", "power", "module"]),
    ),
    st.one_of(
        st.builds(Clock, st.sampled_from([0, 40, -40, 240, -240, 4000, -4000])),
        st.builds(Interval, st.sampled_from([1, 5, 7, 15, 20, 30, 45, 60])),
        st.builds(Unit, st.integers(0, 2)),
        st.just(Rename()),
        st.just(Restart()),
    ),
    st.one_of(
        st.builds(PutBack, st.integers(1, 6)),
        st.builds(
            Clear,
            st.sampled_from([1, 2, 5, 12, 30, 300]),
            st.sampled_from([1, 3, 24]),
            st.booleans(),
        ),
    ),
    st.builds(Compare, st.booleans()),
    st.builds(
        Fill,
        mode=st.sampled_from(Mode),
        since=st.sampled_from([None, None, 2, 5, 30, 300]),
        hours=st.sampled_from([None, None, 1, 3, 24]),
        hitch=st.sampled_from(
            [
                *(None, "line", "stop", "live", "late"),
                *("reset", "cut", "empty", "gone"),
            ]
        ),
        after=st.integers(0, 9),
        days=st.sampled_from([1, 2, 30]),
    ),
)
LIVES = st.fixed_dictionaries(
    {
        "keys": st.tuples(st.sampled_from(REGISTERS), st.sampled_from(MEASUREMENTS)),
        "interval": st.sampled_from([15, 15, 7, 5, 60]),
        "depth": st.sampled_from([400, 900, 1500]),
        "days": st.sampled_from([0, 2, 5]),
        "moved": st.booleans(),
        "units": st.integers(0, 2),
        "rounds": st.booleans(),
        "delay": st.sampled_from([0, 84]),
        "latency": st.sampled_from([0, 0, 12]),
        "has_clock": st.booleans(),
        "jumps": st.booleans(),
        "fixed_price": st.sampled_from([None, 0.31, -0.05]),
    }
)
