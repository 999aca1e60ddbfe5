"""The one door to Home Assistant's recorder.

Reads statistics as rows of `rows.py` and `means.py`, and writes them; reads prices. A
statistic keeps its unit; rows are in the last digit of their quantity. Times are
seconds since 1970-01-01 UTC. All calls need a started Home Assistant: until then the
recorder catches up with the time it was off, and fails on rows of others.
"""

from ..means import StoredMeans
from .compiled import (
    async_caught_up,
    async_compiled_until,
    async_is_recorded,
    async_periods_kept_since,
    has_recorder,
)
from .prices import async_began, async_hourly_means, async_states
from .read import (
    Stored,
    async_has_rows,
    async_stored,
    async_stored_means,
    async_stored_units,
)
from .seals import async_seals
from .totals import Total, async_totals
from .units import Statistic, UnitNotConvertible, last_digits_per
from .widen import async_last_rise, async_widened
from .write import async_apply_plan, async_write_means

__all__ = [
    "Statistic",
    "Stored",
    "StoredMeans",
    "Total",
    "UnitNotConvertible",
    "async_apply_plan",
    "async_began",
    "async_caught_up",
    "async_compiled_until",
    "async_has_rows",
    "async_hourly_means",
    "async_is_recorded",
    "async_last_rise",
    "async_periods_kept_since",
    "async_seals",
    "async_states",
    "async_stored",
    "async_stored_means",
    "async_stored_units",
    "async_totals",
    "async_widened",
    "async_write_means",
    "has_recorder",
    "last_digits_per",
]
