"""Puts the records of an answer in the order of their index.

Answers come in either direction, and that of a ring may begin in the middle of it. A
record whose index is damaged must not take the place of the one that it claims to be.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from .errors import line_of_table
from .logs import LogbookRecord, Page, Record
from .pace import MOST_RECORDS


def in_order[R: Record | LogbookRecord](came: Sequence[R]) -> tuple[list[R], list[R]]:
    """Return records in order, each index once, and those that can't have theirs."""
    steps = [after.index - before.index for before, after in pairwise(came)]
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
    """Return the index that belongs between those around a record, if that is clear."""
    index = came[position].index
    if not 0 < position < len(came) - 1:
        return index
    before, after = came[position - 1].index, came[position + 1].index
    return (before + after) // 2 if abs(after - before) == 2 else index


def _right[R: Record | LogbookRecord](
    came: Sequence[R], positions: Sequence[int]
) -> int | None:
    """Return which of some records with the same index really has it, if that is clear."""
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
    """Yield the records that are not the right one, nor the same as it."""
    for position in positions:
        if right is None or came[position] != came[right]:
            yield came[position]


def newest_of[R: Record | LogbookRecord](records: Sequence[R]) -> R | None:
    """Return the last of some newest records; one that stands alone may be damaged."""
    for before, record in zip(records[-2::-1], records[:0:-1], strict=True):
        if record.index - before.index <= MOST_RECORDS:
            return record
    return records[0] if records else None


def followed[R: Record | LogbookRecord](
    page: Page[R], first: int
) -> tuple[Page[R], int]:
    """Return a page without what is asked for again, and the index to ask from next.

    That is the one after the last record that came: lines that were refused after it
    may be damaged records or anything else, such as an error page. Where no record
    came, damaged lines use up an index each. The index is `first` if nothing came.
    """
    if not page.records:
        damaged = sum(line_of_table(refusal.line) for refusal in page.refusals)
        return page, first + damaged
    following = max(page.records[-1].index + 1, first)
    gaps = max(following - first - len(page.records), 0)
    return replace(page, refusals=page.refusals[:gaps]), following
