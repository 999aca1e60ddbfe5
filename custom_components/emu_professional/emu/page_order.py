"""The order of the records of a page, and the end of a page.

Answers come in either direction, and those of a ring buffer may begin in its middle. A
record with a damaged index must not replace the true record of that index.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from .errors import line_of_table
from .logs import LogbookRecord, Page, Record
from .pace import MOST_RECORDS


def in_order[R: Record | LogbookRecord](came: Sequence[R]) -> tuple[list[R], list[R]]:
    """Return records in order, each index once, and those with a damaged index."""
    steps = [after.index - before.index for before, after in pairwise(came)]
    # Nearly always all indices ascend, or the newest record comes first.
    if min(steps, default=1) > 0:
        return list(came), []
    if max(steps) < 0:
        return [*reversed(came)], []
    indices = {record.index for record in came}
    damaged: list[R] = []
    claims: defaultdict[int, list[int]] = defaultdict(list)
    for position, record in enumerate(came):
        if _in_place_of(came, position) not in indices:
            damaged.append(record)
        else:
            claims[record.index].append(position)
    records: list[R] = []
    for _, positions in sorted(claims.items()):
        right = _right(came, positions)
        records += [came[right]] if right is not None else []
        damaged += _others(came, positions, right)
    return records, damaged


def _in_place_of(came: Sequence[Record | LogbookRecord], position: int) -> int:
    """Return the only index between a record's neighbors, else its own."""
    index = came[position].index
    if not 0 < position < len(came) - 1:
        return index
    before, after = came[position - 1].index, came[position + 1].index
    return (before + after) // 2 if abs(after - before) == 2 else index


def _right[R: Record | LogbookRecord](
    came: Sequence[R], positions: Sequence[int]
) -> int | None:
    """Return the position of the true record among several with one index, if clear."""
    if all(came[position] == came[positions[0]] for position in positions):
        return positions[0]
    fitting = [position for position in positions if _has_neighbor(came, position)]
    return fitting[0] if len(fitting) == 1 else None


def _has_neighbor(came: Sequence[Record | LogbookRecord], position: int) -> bool:
    """Return whether the index before or after is next to a record's own."""
    around = came[max(position - 1, 0) : position + 2]
    return any(abs(other.index - came[position].index) == 1 for other in around)


def _others[R: Record | LogbookRecord](
    came: Sequence[R], positions: Sequence[int], right: int | None
) -> Iterator[R]:
    """Yield the records that differ from the true one."""
    for position in positions:
        if right is None or came[position] != came[right]:
            yield came[position]


def newest_of[R: Record | LogbookRecord](records: Sequence[R]) -> R | None:
    """Return the newest plausible record: its index must be near another one."""
    for before, record in zip(records[-2::-1], records[:0:-1], strict=True):
        if record.index - before.index <= MOST_RECORDS:
            return record
    return records[0] if records else None


def cut_at_last_record[R: Record | LogbookRecord](
    page: Page[R], first: int
) -> tuple[Page[R], int]:
    """Return a page without the lines to be requested again, and the next index.

    Reading continues after the last record received: rejected lines after it may be
    damaged records, or anything else such as an error page. The next index is `first`
    if nothing came.
    """
    if not page.records:
        # Each damaged line stands for one record, else reading would never proceed.
        damaged = sum(line_of_table(line.text) for line in page.rejected)
        return page, first + damaged
    following = max(page.records[-1].index + 1, first)
    # Rejected lines before the last record fill the gaps between the others.
    gaps = max(following - first - len(page.records), 0)
    return replace(page, rejected=page.rejected[:gaps]), following
