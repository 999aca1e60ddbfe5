"""What can happen in a house."""

from dataclasses import dataclass
from typing import Final

from custom_components.emu_professional.backfill.report import Mode
from custom_components.emu_professional.backfill.times import HOUR

PERIOD: Final = 300
DAY: Final = 24 * HOUR


@dataclass(frozen=True)
class Live:
    """Home Assistant runs and observes the meter."""

    periods: int


@dataclass(frozen=True)
class Off:
    """Home Assistant is off; then it runs, and observes the meter or not yet."""

    seconds: int
    early: int = 90
    """Seconds of the last period in which it still ran."""
    late: int = 200
    """Seconds of the period in which it starts."""
    observed: bool = True


@dataclass(frozen=True)
class Unreachable:
    """Home Assistant runs and does not observe the meter."""

    seconds: int
    early: int = 90
    late: int = 200
    why: str = "network"
    """Or "power": the meter has none; "module": it sits in another meter."""


@dataclass(frozen=True)
class Clock:
    """The meter's clock is set to so many seconds ahead."""

    offset: int


@dataclass(frozen=True)
class Interval:
    """The logger gets another interval."""

    minutes: int


@dataclass(frozen=True)
class Unit:
    """The owner chooses another unit for all sensors that may have one."""

    number: int


@dataclass(frozen=True)
class Restart:
    """The registers begin at 0 again, and some records are logged afterwards."""


@dataclass(frozen=True)
class Rename:
    """The owner gives the sensors other entity ids."""


@dataclass(frozen=True)
class Fill:
    """A back-fill of a window of hours before now, or of everything."""

    mode: Mode = Mode.FILL
    since: int | None = None
    """Hours before now."""
    hours: int | None = None
    """Of the window."""
    hitch: str | None = None
    """What comes in between: see `Hitch`."""
    after: int = 0
    """How many requests or writes go well before that."""
    days: int = 30
    """Of the first part that is read and written at a time; the others are twice that."""


@dataclass(frozen=True)
class Compare:
    """Home Assistant compares statistics with the logger by itself."""

    is_daily: bool = True
    """Once a day also what was settled is looked at; else only what is new."""


@dataclass(frozen=True)
class PutBack:
    """Home Assistant is stopped, and its database is an older one when it starts."""

    steps: int
    """So many steps ago it was like that; all of them: it is empty."""


@dataclass(frozen=True)
class Clear:
    """Somebody deletes the rows of some hours."""

    since: int
    """Hours before now."""
    hours: int
    with_periods: bool = False
    """The five-minute rows as well."""


type Step = (
    Live
    | Off
    | Unreachable
    | Clock
    | Interval
    | Unit
    | Restart
    | Rename
    | Fill
    | Compare
    | PutBack
    | Clear
)

TO_THE_CLOCK_CHANGE: Final = -1
"""Until some hours before summer time begins or ends."""
