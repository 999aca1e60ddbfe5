"""What a run is asked for, and what it reports."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import inf
from typing import Any, Final

from homeassistant.exceptions import HomeAssistantError
from homeassistant.util import dt as dt_util

from .costs import DECIMALS as COST_DECIMALS, wrong_costs
from .means import MeansPlan, StoredMeans
from .rows import Plan, Row, changed, changes
from .targets import Target

_DIGITS: Final = 3
"""Of an energy after the last digit of its register; floating point loses later ones."""


class Mode(StrEnum):
    """Which hours follow the logger."""

    FILL = "fill"
    REBUILD = "rebuild"


@dataclass(frozen=True, slots=True)
class Window:
    """Whole hours, in seconds since 1970-01-01 UTC; `until` is not included."""

    since: int
    until: int


EVERYTHING: Final = Window(0, 1 << 40)


@dataclass(frozen=True, slots=True)
class Request:
    """What a run is asked for: hours, quantities in their order, and how."""

    window: Window
    targets: Sequence[Target]
    mode: Mode = Mode.FILL
    dry_run: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of a statistic.

    Hours that were read, written where none was stored, corrected, and left as they
    were, even if their sum had to follow a shift; `periods` are five-minute rows that
    were written or corrected. `more` and `less` are the energies that count in
    addition, and no longer, in an hour, in the `unit` of the quantity.
    """

    unit: str
    has_sum: bool
    read: int = 0
    written: int = 0
    corrected: int = 0
    left: int = 0
    periods: int = 0
    more: float = 0
    less: float = 0

    @property
    def moved(self) -> float:
        """Energy that counts in another hour than before, or in one at all."""
        return max(self.more, self.less)

    def count_register(
        self,
        starts: Sequence[int],
        rows: Sequence[Row],
        plan: Plan,
        decimals: int,
        until: float = inf,
    ) -> None:
        """Count what a plan changes before a time in the logged hours and others."""
        more = changed(rows, plan, until)
        new = more.keys() - {row.start for row in rows}
        self.read += len(starts)
        self.written += len(new)
        self.corrected += len(more) - len(new)
        self.left += sum(start not in more for start in starts)
        per_unit = 10**decimals
        # A run rounds elsewhere than a dry run, and must not report something else.
        energies = [round(energy, _DIGITS) for energy in more.values()]
        self.more += sum(energy for energy in energies if energy > 0) / per_unit
        self.less -= sum(energy for energy in energies if energy < 0) / per_unit

    def count_means(
        self, starts: Sequence[int], stored: StoredMeans, plan: MeansPlan
    ) -> None:
        """Count what a plan changes in the logged hours."""
        new = sum(row.start not in stored.hours for row in plan.hours)
        self.read += len(starts)
        self.written += new
        self.corrected += len(plan.hours) - new
        self.left += len(starts) - len(plan.hours)
        self.periods += len(plan.periods)


@dataclass(slots=True)
class CostOutcome:
    """What became of a cost statistic.

    `hours` whose cost was written or corrected; `before` and `after` are what the
    hours with a price have cost together, in the `unit` of the currency.
    """

    unit: str
    hours: int = 0
    hours_without_price: int = 0
    before: float = 0
    after: float = 0

    def count(
        self,
        starts: Collection[int],
        costs: Mapping[int, float],
        rows: Sequence[Row],
        until: float = inf,
    ) -> None:
        """Count hours before a time; `costs` are what those with a price cost."""
        counted = changes({row.start: row for row in rows})
        now = {start: cost for start, cost in costs.items() if start < until}
        self.hours += len(wrong_costs(now, rows))
        self.hours_without_price += sum(at < until and at not in now for at in starts)
        per_unit = 10.0**COST_DECIMALS
        # A run rounds elsewhere than a dry run, and must not report something else.
        self.before += sum(round(counted.get(at, 0)) for at in now) / per_unit
        self.after += sum(round(cost) for cost in now.values()) / per_unit


@dataclass(slots=True)
class Report:
    """What a run read and did.

    `first` and `last` are the stamps of the records read, in seconds since
    1970-01-01 UTC; `logger_begins` is that of the oldest one, where the window
    began before it. `until` is up to when the logger was read. `failed` has the
    error of each statistic that could not be filled, by its id; `unpriced` are the
    energies whose cost is one of those. `costs` are the cost statistics.
    """

    records: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    status: int = 0
    first: int | None = None
    last: int | None = None
    logger_begins: int | None = None
    until: int | None = None
    statistics: dict[str, Outcome] = field(default_factory=dict)
    failed: dict[str, HomeAssistantError] = field(default_factory=dict)
    costs: dict[str, CostOutcome] = field(default_factory=dict)
    unpriced: set[str] = field(default_factory=set)

    def as_diagnostics(self, statistic_ids: Mapping[str, str]) -> dict[str, Any]:
        """Return the report for diagnostics; statistics are named by their key."""
        return {
            "records": self.records,
            "refused": dict(self.refused),
            "status": self.status,
            "first": shown_time(self.first),
            "last": shown_time(self.last),
            "logger_begins": shown_time(self.logger_begins),
            "until": shown_time(self.until),
            "costs": [asdict(outcome) for outcome in self.costs.values()],
            "statistics": {
                key: asdict(self.statistics[statistic_id])
                for key, statistic_id in statistic_ids.items()
                if statistic_id in self.statistics
            },
        }


def shown_time(at: int | None) -> str | None:
    """Return a time as text in UTC, as diagnostics show it."""
    return None if at is None else dt_util.utc_from_timestamp(at).isoformat()
