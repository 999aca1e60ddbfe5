"""The figures side by side, as tables."""

from collections.abc import Callable, Sequence
import os
from statistics import median

from homeassistant.const import __version__

from .figures import Compared, Figures
from .parts import PARTS


def spread(values: Sequence[float]) -> str:
    """Return how noisy a measurement is."""
    return (
        f"{median(values):.2f} s of CPU"
        f" ({min(values):.2f} to {max(values):.2f}, {len(values)} times)"
    )


def show(compared: Sequence[Compared], replayed: Figures) -> None:
    """Print the table of runs, and the recorder's floor of the first."""
    print(f"\nHome Assistant {__version__}, {os.cpu_count()} CPUs, SQLite\n")
    print(f"| | goal | {' | '.join(f'{run.years:g} years' for run in compared)} |")
    print(f"| --- | --- |{' --- |' * len(compared)}")
    for text, goal, value in LINES:
        values = " | ".join(value(run) for run in compared)
        print(f"| {text} | {goal} | {values} |")
    figures = compared[0].figures
    print(f"\nThe recorder, {compared[0].years:g} years:\n")
    print("| | back-fill | floor: the same batches again | ratio |")
    print("| --- | --- | --- | --- |")
    for text, ours, floor in (
        ("rows", figures.rows, replayed.rows),
        ("CPU of the import tasks, s", figures.tasks, replayed.tasks),
        ("their time, s", figures.tasks_wall, replayed.tasks_wall),
        ("CPU of the recorder's thread, s", figures.recorder, replayed.recorder),
        ("from first to last, s", figures.whole, replayed.whole),
        ("longest task, s of CPU", figures.longest_task_cpu, replayed.longest_task_cpu),
        ("longest task, s", figures.longest_task, replayed.longest_task),
        ("longest wait in its queue, s", figures.longest_wait, replayed.longest_wait),
        ("event loop late, s", figures.longest_drift, replayed.longest_drift),
        ("full collections of garbage", figures.collections, replayed.collections),
        ("CPU of all collections, s", figures.garbage, replayed.garbage),
        ("peak growth of memory, MB", figures.growth, replayed.growth),
    ):
        print(f"| {text} | {ours:.4g} | {floor:.4g} | {ours / (floor or 1):.2f} |")
    for run in compared:
        late = sorted(run.figures.late.items(), key=lambda item: -item[1])
        for name, seconds in late[:8]:
            print(f"{run.years:g} years, late: {name} {seconds * 1000:.0f} ms of CPU")


LINES: list[tuple[str, str, Callable[[Compared], str]]] = [
    ("records", "", lambda run: f"{run.figures.records:,}"),
    ("rows written", "", lambda run: f"{run.figures.rows:,}"),
    ("parsing floor, s of CPU", "", lambda run: f"{run.floor:.2f}"),
    ("our own CPU, s", "", lambda run: f"{run.figures.own:.2f}"),
    ("× floor", "≤ 2", lambda run: f"{run.figures.own / run.floor:.2f}"),
    *(
        (
            f"… {part}, × floor",
            "",
            lambda run, part=part: f"{run.figures.parts.get(part, 0) / run.floor:.2f}",
        )
        for part in PARTS
    ),
    (
        "… HTTP, making rows, waiting for the recorder, × floor",
        "",
        lambda run: (
            f"{(run.figures.own - sum(run.figures.parts.values())) / run.floor:.2f}"
        ),
    ),
    (
        "live polls meanwhile (taken off), s of CPU",
        "",
        lambda run: f"{run.figures.idle * run.figures.whole:.2f}",
    ),
    ("recorder's CPU, s", "", lambda run: f"{run.figures.recorder:.1f}"),
    (
        "… ms per row",
        "",
        lambda run: f"{1000 * run.figures.recorder / (run.figures.rows or 1):.2f}",
    ),
    (
        "until energy has its newest 30 days, s",
        "≤ 30",
        lambda run: f"{run.figures.soon:.1f}",
    ),
    ("until all is there, s", "", lambda run: f"{run.figures.whole:.0f}"),
    (
        "recorder kept by one task, s of CPU",
        "",
        lambda run: f"{run.figures.longest_task_cpu:.2f}",
    ),
    (
        "recorder kept by one task, s",
        "≤ 0.3",
        lambda run: f"{run.figures.longest_task:.2f}",
    ),
    (
        "longest wait in its queue, s",
        "≤ 0.3",
        lambda run: f"{run.figures.longest_wait:.2f}",
    ),
    (
        "peak growth of memory, MB",
        "< 40, the same",
        lambda run: f"{run.figures.growth:.1f}",
    ),
    (
        "one callback of the event loop, ms of CPU",
        "≤ 10",
        lambda run: f"{1000 * run.figures.longest_callback_cpu:.1f}",
    ),
    (
        "… ms of time (waits for other threads as well)",
        "",
        lambda run: f"{1000 * run.figures.longest_callback:.1f}",
    ),
    (
        "event loop late, ms",
        "",
        lambda run: (
            f"{1000 * run.figures.longest_drift:.1f}"
            f" (idle: {1000 * run.figures.idle_drift:.1f})"
        ),
    ),
    (
        "garbage collections (in no other CPU here), longest ms; full ones; s of CPU",
        "",
        lambda run: (
            f"{1000 * run.figures.longest_collection:.1f}; {run.figures.collections};"
            f" {run.figures.garbage:.2f}"
        ),
    ),
    (
        "between two live polls, s",
        "≤ 10",
        lambda run: f"{run.figures.longest_gap:.1f} (idle: {run.figures.idle_gap:.1f})",
    ),
    ("second run: rows written", "0", lambda run: f"{run.figures.again:,}"),
    ("second run, s", "", lambda run: f"{run.figures.second:.0f}"),
    (
        "second run: our own CPU, × floor",
        "",
        lambda run: f"{run.figures.second_own / run.floor:.2f}",
    ),
    (
        "second run: recorder's CPU, s",
        "",
        lambda run: f"{run.figures.second_recorder:.2f}",
    ),
    (
        "second run: queries; requests to the logger",
        "",
        lambda run: f"{run.figures.second_queries}; {run.figures.second_requests}",
    ),
    (
        "daily comparison, s; our own CPU, s",
        "",
        lambda run: f"{run.figures.daily:.1f}; {run.figures.daily_own:.2f}",
    ),
    (
        "daily comparison: queries; requests to the logger",
        "",
        lambda run: f"{run.figures.daily_queries}; {run.figures.daily_requests}",
    ),
]
