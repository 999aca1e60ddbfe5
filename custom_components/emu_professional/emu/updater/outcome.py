"""The steps of an update, and the reasons for its failure."""

from enum import StrEnum
from typing import Final

from ..errors import MeterError


class Step(StrEnum):
    """The steps of an update, in their order."""

    CHECK = "check"
    UPLOAD = "upload"
    TEST = "test"
    RESTART = "restart"
    TRIAL = "trial"
    CONFIRM = "confirm"


class Reason(StrEnum):
    """Why an update failed; each tells the owner which firmware runs afterwards."""

    ONLINE_UPDATE_OFF = "online_update_off"
    FIRMWARE_TOO_OLD = "firmware_too_old"
    UPDATER_SILENT = "updater_silent"
    OTHER_PENDING = "other_pending"
    OTHER_ON_TRIAL = "other_on_trial"
    UPLOAD_LOST = "upload_lost"
    UPLOAD_REFUSED = "upload_refused"
    UPLOAD_DAMAGED = "upload_damaged"
    TEST_LOST = "test_lost"
    TEST_REFUSED = "test_refused"
    NOT_RESTARTED = "not_restarted"
    NO_RETURN = "no_return"
    NOT_STARTED = "not_started"
    SWAP_REFUSED = "swap_refused"
    STAYS_PENDING = "stays_pending"
    NO_READINGS = "no_readings"
    NO_READINGS_ON_TRIAL = "no_readings_on_trial"
    WENT_BACK = "went_back"
    NOT_CONFIRMED = "not_confirmed"
    NOT_REVERTED = "not_reverted"
    NOTHING_ON_TRIAL = "nothing_on_trial"

    @property
    def is_untouched(self) -> bool:
        """Whether the same firmware as before runs, now and after the next restart."""
        return self in _UNTOUCHED

    @property
    def is_unfit(self) -> bool:
        """Whether the meter has tried the new firmware in vain."""
        return self in _UNFIT

    @property
    def is_unfinished(self) -> bool:
        """Whether the new firmware may be on trial, now or after a restart."""
        return self in _UNFINISHED


_UNTOUCHED: Final = frozenset(
    {
        Reason.ONLINE_UPDATE_OFF,
        Reason.FIRMWARE_TOO_OLD,
        Reason.UPDATER_SILENT,
        Reason.OTHER_PENDING,
        Reason.OTHER_ON_TRIAL,
        Reason.UPLOAD_LOST,
        Reason.UPLOAD_REFUSED,
        Reason.UPLOAD_DAMAGED,
        Reason.TEST_REFUSED,
    }
)
_UNFIT: Final = frozenset(
    {
        Reason.NOT_STARTED,
        Reason.SWAP_REFUSED,
        Reason.STAYS_PENDING,
        Reason.NO_READINGS,
        Reason.NO_READINGS_ON_TRIAL,
    }
)
_UNFINISHED: Final = frozenset(
    {
        Reason.TEST_LOST,
        Reason.NOT_RESTARTED,
        Reason.STAYS_PENDING,
        Reason.NO_RETURN,
        Reason.NO_READINGS_ON_TRIAL,
        Reason.NOT_CONFIRMED,
        Reason.NOT_REVERTED,
    }
)


class FirmwareUpdateFailed(MeterError):
    """A failed update, with the reason."""

    def __init__(self, reason: Reason, detail: object = "") -> None:
        """Name the reason; `detail` is a short English clause for the log."""
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
