"""The hours of a register in Home Assistant against the registers of its meter."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

HOUR = 3600


@dataclass(frozen=True, slots=True)
class Row:
    """An hour of a statistic; `state` and `change` in Wh."""

    start: int
    """Epoch second."""
    state: float
    change: float

    @property
    def end(self) -> int:
        """Epoch second."""
        return self.start + HOUR


def violations(rows: Sequence[Row], known: Mapping[int, int]) -> Iterator[str]:
    """Find hours that are not exact, in words.

    `known` is the register in Wh at each full hour that the logger has, epoch second.
    Between two of them that have others between, the meter had no power: only what
    both ends make together is known.
    """
    ends = {row.end: row for row in rows}
    for begin, end in pairwise(sorted(known)):
        if (row := ends.get(end)) is None:
            yield f"no hour ends at {end}"
            continue
        if round(row.state) != known[end]:
            yield f"{end}: {row.state} Wh, and {known[end]} in the meter"
        change = sum(row.change for row in rows if begin < row.end <= end)
        if round(change) != known[end] - known[begin]:
            yield f"{end}: +{change} Wh, and +{known[end] - known[begin]} in the meter"
    yield from (f"{row.end}: {row.change} Wh" for row in rows if row.change < 0)
