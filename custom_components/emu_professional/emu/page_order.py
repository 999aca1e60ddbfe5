"""Puts the records of an answer in the order of their index.

Answers come in either direction, and that of a ring may begin in the middle of it. A
record whose index is damaged must not take the place of the one that it claims to be.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from .logs import LogbookRecord, Record


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
