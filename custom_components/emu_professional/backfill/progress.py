"""The state and progress of the back-fill, for its sensors."""

from dataclasses import dataclass
from enum import StrEnum


class BackfillState(StrEnum):
    """The state of the current or the last run."""

    IDLE = "idle"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    NOT_SUPPORTED = "not_supported"


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """The state, and the percent done of the current or the last run."""

    state: BackfillState
    percent: int | None = None
