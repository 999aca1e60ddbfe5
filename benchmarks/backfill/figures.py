"""The figures of one run."""

from dataclasses import dataclass, field


@dataclass
class Figures:
    """What was measured of one run; times in seconds, sizes in MB."""

    records: int = 0
    rows: int = 0
    again: int = 0
    """Rows that the second run wrote."""
    setup: float = 0
    soon: float = 0
    """Until the energy statistics had their newest 30 days."""
    whole: float = 0
    own: float = 0
    """CPU of all threads but the recorder's, without that of live polls."""
    parts: dict[str, float] = field(default_factory=dict)
    recorder: float = 0
    """CPU of the recorder's thread, without that of live polls."""
    tasks: float = 0
    """CPU of the tasks that it was given."""
    tasks_wall: float = 0
    idle: float = 0
    """CPU of live polls per second, all threads but the recorder's."""
    idle_recorder: float = 0
    second: float = 0
    second_own: float = 0
    second_recorder: float = 0
    second_queries: int = 0
    """Of all threads but the recorder's."""
    second_requests: int = 0
    """To the data logger."""
    daily: float = 0
    """The daily comparison, after the second run."""
    daily_own: float = 0
    daily_queries: int = 0
    daily_requests: int = 0
    longest_task: float = 0
    longest_task_cpu: float = 0
    longest_wait: float = 0
    """Of a task that was put into the recorder's queue every 50 ms."""
    longest_drift: float = 0
    """By how much a timer of the event loop was late."""
    idle_drift: float = 0
    longest_collection: float = 0
    """Of garbage, during which nothing else runs."""
    collections: int = 0
    """Of the oldest generation, with everything that Home Assistant holds."""
    garbage: float = 0
    """CPU of all collections, which no other figure has in it."""
    longest_callback: float = 0
    longest_callback_cpu: float = 0
    late: dict[str, float] = field(default_factory=dict)
    """Callbacks that took more than 5 ms of CPU, and how long at most."""
    longest_gap: float = 0
    """Between two live polls that succeeded."""
    idle_gap: float = 0
    growth: float = 0
    """Of the memory at its peak."""


@dataclass
class Compared:
    """A run and the floor of its parsing."""

    years: float
    floor: float
    figures: Figures
