"""The floor of the recorder: the rows of a run once more, in the same batches."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
import json
from pathlib import Path
import sqlite3
import time

from homeassistant.components.recorder.db_schema import Statistics
from homeassistant.components.recorder.models import (
    StatisticData,
    StatisticMeanType,
    StatisticMetaData,
)
from homeassistant.components.recorder.tasks import SynchronizeTask
from homeassistant.helpers.recorder import get_instance

from .figures import Figures
from .gauges import BATCHES, GARBAGE, Loop, Memory, Tasks, batches, cpu, resident
from .house import DATABASE, home


async def replay(folder: Path, rows_of: Path) -> None:
    """Be a recorder that imports what a run has written, in the same batches."""
    async with home(folder) as hass:
        instance = get_instance(hass)
        tasks = Tasks(folder / BATCHES)
        tasks.install()
        loop = Loop(hass)
        loop.install()
        memory = Memory()
        memory.start()
        baseline = resident()
        GARBAGE.reset()
        garbage = sum(GARBAGE.seconds.values())
        _, before = cpu(instance)
        begin = time.monotonic()
        with sqlite3.connect(rows_of / DATABASE) as database:
            for _, statistic_id, first, last in batches(rows_of):
                metadata, rows = ready_made(database, statistic_id, first, last)
                instance.async_import_statistics(metadata, rows, Statistics)
                done: asyncio.Future[None] = hass.loop.create_future()
                instance.queue_task(SynchronizeTask(done))
                await done
        _, after = cpu(instance)
        figures = Figures(
            rows=tasks.rows,
            whole=time.monotonic() - begin,
            recorder=after - before,
            tasks=tasks.cpu,
            tasks_wall=tasks.wall,
            longest_task=tasks.longest,
            longest_task_cpu=tasks.longest_cpu,
            collections=GARBAGE.full,
            garbage=sum(GARBAGE.seconds.values()) - garbage,
            longest_wait=loop.wait,
            longest_drift=loop.drift,
            longest_collection=GARBAGE.longest,
            growth=memory.peak - baseline,
        )
        tasks.close()
    print(json.dumps(asdict(figures)))


def ready_made(
    database: sqlite3.Connection, statistic_id: str, first: int, last: int
) -> tuple[StatisticMetaData, list[StatisticData]]:
    """Return the rows of a batch as they were written."""
    cursor = database.execute(
        "SELECT id, source, unit_of_measurement, unit_class, has_sum, name"
        " FROM statistics_meta WHERE statistic_id = ?",
        (statistic_id,),
    )
    (number, source, unit, unit_class, has_sum, name) = cursor.fetchone()
    metadata = StatisticMetaData(
        mean_type=StatisticMeanType.NONE if has_sum else StatisticMeanType.ARITHMETIC,
        has_sum=bool(has_sum),
        name=name,
        source=source,
        statistic_id=statistic_id,
        unit_class=unit_class,
        unit_of_measurement=unit,
    )
    cursor = database.execute(
        "SELECT start_ts, state, sum, mean, min, max FROM statistics"
        " WHERE metadata_id = ? AND start_ts BETWEEN ? AND ? ORDER BY start_ts DESC",
        (number, first, last),
    )
    names = ("state", "sum") if has_sum else ("mean", "min", "max")
    rows = []
    for start, *values in cursor:
        row = StatisticData(start=datetime.fromtimestamp(start, UTC))
        wanted = values[:2] if has_sum else values[2:]
        row.update(dict(zip(names, wanted, strict=True)))  # type: ignore[typeddict-item]
        rows.append(row)
    return metadata, rows
