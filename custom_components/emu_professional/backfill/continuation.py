"""The continuation of a series after its window.

Pure: no I/O, no clock. Steps 4 and 5 of `series.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .load_profile import ROUNDING
from .rows import EQUAL, Row, is_stored, poll_lag, shifted
from .times import HOUR, PERIOD, whole_hour
from .window_series import WindowSeries

_RESTART: Final = 0.9
"""For Home Assistant a lower share of the state before is the begin of a new cycle."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """The continuation of a series.

    `unchanged` are the rows after the window without any new energy, as they must be.
    `first` is the first row with the register at the end of the window, or a later one.
    All sums from `shift_from` on need the `shift` (None: no sum does).
    """

    unchanged: tuple[Row, ...]
    first: Row | None
    shift_from: int | None
    shift: float


def continued(
    series: WindowSeries, planned: Sequence[Row], short_term: Row | None
) -> Continuation:
    """Return the continuation of a series.

    `planned` are the rows of the window. `short_term` is the newest short-term row, or
    None if it is unknown.
    """
    after = _After(series)
    unchanged, first = after.split_rows()
    shift_from, shift = None, 0.0
    if first is not None:
        shift_from = first.start
        shift = after.continued_sum(first) - first.sum
    elif (
        short_term is not None
        and short_term.state is not None
        # An older one is too old to move all rows after it: the anchor is enough.
        and short_term.start >= series.last.start
    ):
        shift_from = whole_hour(short_term.start)
        anchor = after.anchor_at(short_term, is_live=True)
        shift = anchor.sum - short_term.sum
        if shift_from == series.last.start and abs(shift) <= after.most_lacking:
            # So little moves no row of its hour: the anchor is enough.
            shift_from = None
    if shift_from is None or abs(shift) <= EQUAL:
        return Continuation(unchanged, first, None, 0)
    # Rows before it with the same shift are moved as well, instead of written.
    for row in reversed((*planned, *unchanged)):
        if row.start >= shift_from:
            # After a shift from a short-term row these are moved already.
            continue
        stored = series.rows.get(row.start)
        if stored is None or abs(row.sum - stored.sum - shift) > EQUAL:
            break
        shift_from = row.start
    return Continuation(unchanged, first, shift_from, shift)


def anchor_row(
    series: WindowSeries,
    continuation: Continuation,
    short_term: Row | None,
    *,
    is_live: bool,
) -> Row | None:
    """Return the newest short-term row as it must be, or None if it is right.

    `is_live`: the sensor has a value now.
    """
    newest = max((*series.rows, series.last.start))
    if short_term is None or short_term.start < newest:
        return _new_anchor(series, continuation, newest)
    if short_term.state is None:
        return None
    after = _After(series)
    shift_from, shift = continuation.shift_from, continuation.shift
    if continuation.first is None:
        anchor = after.anchor_at(short_term, is_live=is_live)
        now = shifted(short_term, shift_from, shift)
        return None if is_stored(now, anchor, EQUAL, EQUAL) else anchor
    # It is shifted like the newest row. A total may differ from that by its rounding.
    anchor = after.anchor_after(series.rows[newest], short_term, is_live=is_live)
    if is_stored(short_term, anchor, EQUAL, series.profile.rounding):
        return None
    return shifted(anchor, shift_from, shift)


def lost_anchor(stored: Sequence[Row], short_term: Row | None) -> Row | None:
    """Return the short-term row to continue from if nothing was logged or stored.

    Home Assistant deletes short-term rows after some days. It would begin again at 0
    then. None if there is no stored row, or if the newest short-term row is not older.
    """
    if not stored or (short_term is not None and short_term.start >= stored[-1].start):
        return None
    newest = stored[-1]
    return newest._replace(start=newest.start + HOUR - PERIOD)


def _new_anchor(series: WindowSeries, continuation: Continuation, newest: int) -> Row:
    """Return a short-term row for the last five minutes of the newest row.

    Its state must not be above the value of the sensor then, or Home Assistant warns of
    a decreasing total.
    """
    start = newest + HOUR - PERIOD
    stored = series.rows.get(newest)
    row = shifted(stored, continuation.shift_from, continuation.shift)
    end = _After(series).end
    if newest > series.last.start:
        assert row is not None
        known = end if continuation.first is None else row
        return known._replace(start=start)
    state = end.state
    assert state is not None
    lift = series.last.lift
    if row is not None and row.state is not None:
        observed = row.state + lift
        if _lowest_level(series) <= observed < series.last.level:
            state = row.state
    return Row(start, state, state + lift + series.offset)


def _lowest_level(series: WindowSeries) -> float:
    """Return the lowest possible level of a row before the window."""
    state = None
    for row in series.rows.values():
        if row.start >= series.profile.since:
            break
        state = row.state
    return min(series.initial, _RESTART * series.initial if state is None else state)


class _After:
    """Compares rows with the end of a series."""

    def __init__(self, series: WindowSeries) -> None:
        self._series = series
        self._last = series.last
        self._lifts = series.lifts
        self._rounding = series.profile.rounding
        self._lowest = _lowest_level(series)
        self.end = self._last.row(series.offset)

    @property
    def most_lacking(self) -> float:
        """The most energy missing from the live row of the last hour."""
        *_, power = self._series.powers()
        return 2 * poll_lag(power)

    def split_rows(self) -> tuple[tuple[Row, ...], Row | None]:
        """Return the rows between the window and its continuation, and the first of that.

        The former have not observed the end of the window, and must repeat it.
        """
        unchanged: list[Row] = []
        for start, row in self._series.rows.items():
            if start < self._series.profile.until:
                continue
            if (
                row.state is None
                or self._has_observed(start, row.state)
                or self._has_restarted(row)
            ):
                return tuple(unchanged), row
            unchanged.append(self.end._replace(start=start))
        return tuple(unchanged), None

    def continued_sum(self, row: Row) -> float:
        """Return the sum of the first row after the window.

        It keeps its change if this is the energy since the window, apart from the lag
        of live rows. Else its change becomes this energy.
        """
        if row.state is None or self._has_restarted(row):
            return self._sum_after_restart(row)
        kept = self._kept_sum(row)
        if kept is None:
            # The first row of all counts its own sum.
            kept = self.end.sum + row.sum
        total = self._sum_at(row.start, row.state)
        if kept < self.end.sum - EQUAL:
            return total
        power = (total - self.end.sum) * HOUR / (row.start - self._last.known)
        return kept if abs(kept - total) <= poll_lag(power) else total

    def anchor_at(self, short_term: Row, *, is_live: bool) -> Row:
        """Return a short-term row, without a row before it, with the sum of the series."""
        start, state = short_term.start, short_term.state
        assert state is not None
        last = self._last
        if start < last.start + HOUR:
            if state + last.lift > last.level + self._rounding:
                # Home Assistant would count the register again from 0.
                return self.end._replace(start=start)
        elif not self._has_observed(start, state):
            if self._has_restarted(short_term):
                return Row(start, state, self._sum_after_restart(short_term))
            is_older_cycle = self._lifts.of(start, state) < last.lift
            if is_older_cycle or not is_live:
                # Home Assistant would count the register again from 0. Or its hour is
                # compiled from this row: its energy must not be negative.
                return self.end._replace(start=start)
        return Row(start, state, self._sum_at(start, state))

    def anchor_after(self, row: Row, short_term: Row, *, is_live: bool) -> Row:
        """Return a short-term row with the sum that continues a row after the window."""
        start, state = short_term.start, short_term.state
        if state is None or row.state is None or self._shows_restart(row, short_term):
            return short_term
        level = self._lifts.level
        energy = level(start, state) - level(row.start, row.state)
        if energy < -ROUNDING and not is_live:
            return row._replace(start=start)
        return Row(start, state, row.sum + energy)

    def _sum_at(self, start: int, state: float) -> float:
        """Return the sum for a state in the series."""
        level = self._lifts.level(start, state)
        if abs(level - self._last.level) <= self._rounding:
            # A total differs by its rounding, which is no energy.
            level = self._last.level
        return level + self._series.offset

    def _has_observed(self, start: int, state: float) -> bool:
        """Return whether a state is not lower than the end of the window."""
        return self._lifts.level(start, state) >= self._last.level - ROUNDING

    def _has_restarted(self, row: Row) -> bool:
        """Return whether the register restarted before a row with a state.

        Its state is lower than any from before the window, or Home Assistant has seen
        the restart. A row that has not observed the meter may be older than the row
        before, but then its sum is, too.
        """
        assert row.state is not None
        level = self._lifts.level(row.start, row.state)
        previous = self._lifts.row_before(row.start)
        return level < self._lowest - self._rounding or (
            previous is not None and self._shows_restart(previous, row)
        )

    def _shows_restart(self, before: Row, row: Row) -> bool:
        """Return whether Home Assistant has seen a restart between two rows.

        The state fell, and the sum did not fall with it. The logger does not know of it.
        """
        return (
            before.state is not None
            and row.state is not None
            and row.state < _RESTART * before.state
            and row.sum - before.sum > (row.state - before.state) / 2
            and self._lifts.of(row.start, row.state)
            == self._lifts.of(before.start, before.state)
        )

    def _sum_after_restart(self, row: Row) -> float:
        """Return the sum for a row to keep its change, but not to fall."""
        kept = self._kept_sum(row)
        return self.end.sum if kept is None else max(kept, self.end.sum)

    def _kept_sum(self, row: Row) -> float | None:
        """Return the sum for a row after the window to keep its change."""
        previous = self._lifts.row_before(row.start)
        return None if previous is None else self.end.sum + row.sum - previous.sum
