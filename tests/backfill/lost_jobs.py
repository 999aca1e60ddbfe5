"""Jobs that the recorder loses, as when the server of its database restarts."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import count
from typing import Any, Final
from unittest.mock import patch

from homeassistant.components.recorder import statistics
from homeassistant.components.recorder.core import Recorder
from homeassistant.components.recorder.db_schema import Statistics, StatisticsShortTerm
from homeassistant.components.recorder.tasks import AdjustStatisticsTask

LOST: Final = "not_written|did not write the statistics"


def losing_batch(
    statistic_id: str, lost: int, table: Any = Statistics
) -> AbstractContextManager[object]:
    """Lose one batch of a statistic."""
    imports = Recorder.async_import_statistics
    batches = count()

    def import_statistics(instance: Any, metadata: Any, rows: Any, into: Any) -> None:
        is_of_it = metadata["statistic_id"] == statistic_id and into is table
        if not is_of_it or next(batches) != lost:
            imports(instance, metadata, rows, into)

    return patch.object(Recorder, "async_import_statistics", import_statistics)


def losing_shift(*tables: Any) -> AbstractContextManager[object]:
    """Lose the first shift in some tables."""
    adjust: Callable[..., None] = statistics._adjust_sum_statistics
    lost = list(tables)

    def adjust_sums(session: Any, table: Any, *arguments: Any) -> None:
        if table in lost:
            lost.remove(table)
        else:
            adjust(session, table, *arguments)

    return patch.object(statistics, "_adjust_sum_statistics", adjust_sums)


def repeating_shift() -> AbstractContextManager[object]:
    """Let the recorder put the first shift into its queue again, as after a deadlock."""
    run = AdjustStatisticsTask.run
    tries = count()

    def run_later(task: AdjustStatisticsTask, instance: Recorder) -> None:
        if next(tries):
            run(task, instance)
        else:
            instance.queue_task(task)

    return patch.object(AdjustStatisticsTask, "run", run_later)


def deleting_short_term_rows() -> AbstractContextManager[object]:
    """Delete all short-term rows after each shift."""
    adjust: Callable[..., None] = statistics._adjust_sum_statistics

    def adjust_sums(session: Any, *arguments: Any) -> None:
        adjust(session, *arguments)
        session.query(StatisticsShortTerm).delete()

    return patch.object(statistics, "_adjust_sum_statistics", adjust_sums)
