"""Joins what the meter logged of a measurement with what the recorder holds.

Pure: no I/O, no clock. Values are in the last digit of their quantity, times in
seconds since 1970-01-01 UTC.
"""

from collections.abc import Container, Iterable
from typing import Final, NamedTuple

_EQUAL: Final = 1e-6


class Mean(NamedTuple):
    """A row of a measurement's statistic."""

    start: int
    mean: float
    minimum: float
    maximum: float

    def is_like(self, other: Mean) -> bool:
        """Whether another row says the same."""
        return (
            abs(self.mean - other.mean) <= _EQUAL
            and abs(self.minimum - other.minimum) <= _EQUAL
            and abs(self.maximum - other.maximum) <= _EQUAL
        )


def wanting(
    logged: Iterable[Mean],
    held: Iterable[Mean],
    partial: Container[int],
    *,
    rebuild: bool = False,
) -> list[Mean]:
    """Return the rows to write.

    Those of hours that are missing, and of hours in `partial`, which Home Assistant
    has heard only a part of; its other rows stay, for it hears more than is logged.
    With `rebuild` every hour follows the logger.
    """
    rows = {row.start: row for row in held}
    return [
        mean
        for mean in logged
        if (row := rows.get(mean.start)) is None
        or ((rebuild or mean.start in partial) and not mean.is_like(row))
    ]
