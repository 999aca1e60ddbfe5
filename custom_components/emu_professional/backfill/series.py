"""Makes the statistic of a register follow the data logger.

Pure: no I/O, no clock. Registers, states and sums are in the last digit of their
quantity (Wh, varh), times are seconds since 1970-01-01 UTC.

How it works
------------
A row of a register's statistic has a `state`, the register at the end of its hour,
and a `sum`. The energy of an hour is its change: its sum less the sum of the row
before. As long as Home Assistant does not restart the sum, `sum - state` is constant.
This constant, the offset, carries everything: a row is made of a register and an
offset, not of a total of energies.

    stored rows   before | since        window         until | after
    register(h)     1000 |  1010   1030   1030   1045   1060 | 1071   1080
    offset           -40 |   -40    -40    -40    -40    -40 |  -40    -40
    sum(h)           960 |   970    990    990   1005   1020 | 1031   1040
                     kept |        written where different    | one shift

1. The offset is the sum of the last row before the window less the register there.
   Without such a row the series begins at 0.                  `window_series._begin`
2. The register of an hour is the logged one, if it was logged at the end of the hour;
   else the state of the stored row, if it lies between the logged registers around it;
   else the register of the hour before.                       `window_series._hours`
3. Rows are written if they differ from the stored ones.             `plan_register`
4. The first row after the window with the register at the end of it, or a higher one,
   must continue the series. All sums from there on are shifted by one constant: so
   every hour keeps its energy. Rows in between have observed nothing new: they repeat
   the register at the end of the window.                   `continuation.continued`
5. Home Assistant makes its next row from the newest short-term row. This must have
   the offset as well; if there is none, it is written (`Plan.anchor`).
                                                            `continuation.anchor_row`

When a register restarts, its readings have a `lift`: its total loss by restarts until
then. `register + lift`, the level, never falls. Steps 1 to 5 use the
level; only the state of a row is the register itself:

    register   90   95  100 |   2    7        (100 was the last before the restart)
    lift        0    0    0 | 100  100
    level      90   95  100 | 102  107
"""

from collections.abc import Iterator, Sequence

from .continuation import anchor_row, continued, lost_anchor
from .load_profile import ROUNDING, LoadProfile
from .rows import EQUAL, Plan, Row, is_stored, poll_lag, shifted
from .times import HOUR
from .window_series import WindowSeries, window_series


def plan_register(
    profile: LoadProfile,
    stored: Sequence[Row],
    short_term: Row | None,
    *,
    rebuild: bool = False,
    is_live: bool = True,
) -> Plan:
    """Return the changes to make a register's statistic follow the logger.

    `stored` has the rows from the last one before the window on, in order.
    `short_term` is the newest short-term row; None if there is none, or if `stored`
    ends before it. In rebuild mode the logger's register counts even if the end of an
    hour was not logged. `is_live`: the sensor has a value now, and the next short-term
    row will have observed the meter.
    """
    rows = {row.start: row for row in stored}
    series = window_series(profile, rows, rebuild=rebuild)
    if series is None:
        return Plan(anchor=lost_anchor(stored, short_term))
    planned = [hour.row(series.offset) for hour in series.hours]
    continuation = continued(series, planned, short_term)
    shift_from, shift = continuation.shift_from, continuation.shift
    # A rebuild corrects rows that differ by less than a digit, too.
    tolerance = EQUAL if rebuild else ROUNDING
    state_tolerance = max(tolerance, profile.rounding)
    return Plan(
        rows=tuple(
            row
            for row in (*planned, *continuation.unchanged)
            if not is_stored(
                shifted(rows.get(row.start), shift_from, shift),
                row,
                state_tolerance,
                tolerance,
            )
        ),
        shift_from=shift_from,
        shift=shift,
        anchor=anchor_row(series, continuation, short_term, is_live=is_live),
        wrong=frozenset(_wrong_hours(series, planned)),
    )


def _wrong_hours(series: WindowSeries, planned: Sequence[Row]) -> Iterator[int]:
    """Yield the logged hours without a row, or with one further off than live rows.

    A live row ends with the last poll before the full hour. So it lacks some energy of
    its hour, and has some of the hour before. If the meter's clock is off, the logged
    hour lies a little before or after the live one.
    """
    rows, logged = series.rows, series.profile.hours
    total = stored_total = series.initial + series.offset
    previous_lag = poll_lag(0)
    powers = [*series.powers()]
    off = series.profile.clock_off / HOUR
    for number, (row, power) in enumerate(zip(planned, powers, strict=True)):
        strongest = max(powers[max(number - 1, 0) : number + 2])
        stored, lag = rows.get(row.start), poll_lag(power) + off * strongest
        if row.start in logged and (
            stored is None
            or stored.state is None
            or abs(stored.sum - stored_total - (row.sum - total))
            > 2 * (lag + previous_lag)
        ):
            yield row.start
        total, previous_lag = row.sum, lag
        if stored is not None:
            stored_total = stored.sum
