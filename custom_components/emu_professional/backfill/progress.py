"""What the sensors of the back-fill show."""

from dataclasses import dataclass
from enum import StrEnum


class BackfillState(StrEnum):
    """What the back-fill does, or how the last run ended."""

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
