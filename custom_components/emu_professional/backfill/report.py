"""The request and the report of a run."""

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
from .times import END_OF_TIME

_DIGITS: Final = 3
"""Digits of an energy beyond its last one; floating point rounds later ones."""


class Mode(StrEnum):
    """The hours to follow the logger: missed ones, or all."""

    FILL = "fill"
    REBUILD = "rebuild"


@dataclass(frozen=True, slots=True)
class Window:
    """Whole hours, in seconds since 1970-01-01 UTC; `until` is not included."""

    since: int
    until: int


EVERYTHING: Final = Window(0, END_OF_TIME)


@dataclass(frozen=True, slots=True)
class Request:
    """The hours to fill, the quantities in their order, and the mode."""

    window: Window
    targets: Sequence[Target]
    mode: Mode = Mode.FILL
    dry_run: bool = False


@dataclass(slots=True)
class Outcome:
    """The changes of a statistic.

    `read` hours were logged. New rows are `written`, other ones `corrected`; hours are
    `left` if nothing but their sum was shifted. `periods` are the five-minute rows
    written or corrected. `more` and `less` are the energies added to hours and taken
    from them, in the `unit` of the quantity.
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
        """The energy moved to another hour, or added to one."""
        return max(self.more, self.less)

    def count_register(
        self,
        starts: Sequence[int],
        rows: Sequence[Row],
        plan: Plan,
        decimals: int,
        until: float = inf,
    ) -> None:
        """Count the changes of a plan before a time; `starts` are the logged hours."""
        more = changed(rows, plan, until)
        new = more.keys() - {row.start for row in rows}
        self.read += len(starts)
        self.written += len(new)
        self.corrected += len(more) - len(new)
        self.left += sum(start not in more for start in starts)
        per_unit = 10**decimals
        # A run and a dry run sum in another order, and must report the same.
        energies = [round(energy, _DIGITS) for energy in more.values()]
        self.more += sum(energy for energy in energies if energy > 0) / per_unit
        self.less -= sum(energy for energy in energies if energy < 0) / per_unit

    def count_means(
        self, starts: Sequence[int], stored: StoredMeans, plan: MeansPlan
    ) -> None:
        """Count the changes of a plan; `starts` are the logged hours."""
        new = sum(row.start not in stored.hours for row in plan.hours)
        self.read += len(starts)
        self.written += new
        self.corrected += len(plan.hours) - new
        self.left += len(starts) - len(plan.hours)
        self.periods += len(plan.periods)


@dataclass(slots=True)
class CostOutcome:
    """The changes of a cost statistic.

    `hours` is the number of costs written or corrected. `before` and `after` are the
    totals of the hours with a price, in the currency of `unit`.
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
        """Count hours before a time; `costs` are those of the hours with a price."""
        counted = changes({row.start: row for row in rows})
        now = {start: cost for start, cost in costs.items() if start < until}
        self.hours += len(wrong_costs(now, rows))
        self.hours_without_price += sum(at < until and at not in now for at in starts)
        per_unit = 10.0**COST_DECIMALS
        # A run and a dry run sum in another order, and must report the same.
        self.before += sum(round(counted.get(at, 0)) for at in now) / per_unit
        self.after += sum(round(cost) for cost in now.values()) / per_unit


@dataclass(slots=True)
class Report:
    """The records read in a run, and the changes of statistics.

    Times are in seconds since 1970-01-01 UTC. `first` and `last` are the stamps of the
    records; `logger_begins` is the stamp of the oldest one, if the window begins before
    it. The logger was read until `until`. `statistics`, `costs` and the errors in
    `failed` are by ID. `unpriced` are the energy statistics with a failed cost.
    """

    records: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
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
            "refused": dict(self.rejected),
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
