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

    # Before the upload
    ONLINE_UPDATE_OFF = "online_update_off"
    """Its status says so."""
    FIRMWARE_TOO_OLD = "firmware_too_old"
    """Older than `OLDEST` (`procedure`)."""
    UPDATER_SILENT = "updater_silent"
    """No answer from the updater, and nothing changed."""
    OTHER_PENDING = "other_pending"
    """Another image will run after the next restart."""
    OTHER_ON_TRIAL = "other_on_trial"
    """Another image runs on trial."""

    # Upload
    UPLOAD_LOST = "upload_lost"
    """The answers ended."""
    UPLOAD_REFUSED = "upload_refused"
    """The updater refuses the image, even after an erase of slot 1."""
    UPLOAD_DAMAGED = "upload_damaged"
    """Slot 1 does not show the hash of the image."""

    # Test
    TEST_LOST = "test_lost"
    """The old image runs; whether the new one is pending could not be seen."""
    TEST_REFUSED = "test_refused"
    """Neither pending nor running."""

    # Restart
    NOT_RESTARTED = "not_restarted"
    """The module answers, but does not restart; the image remains pending."""
    NO_RETURN = "no_return"
    """The module was asked to restart, and has not come back in time."""
    NOT_STARTED = "not_started"
    """The old image runs and nothing is pending: refused, or swapped back already."""
    SWAP_REFUSED = "swap_refused"
    """It restarts without a swap; the pending image could be erased."""
    STAYS_PENDING = "stays_pending"
    """The same, but it could not be erased."""

    # Trial
    NO_READINGS = "no_readings"
    """The new image served no readings, and the old one runs again."""
    NO_READINGS_ON_TRIAL = "no_readings_on_trial"
    """The new image serves no readings, and nobody saw it go: it may still run."""

    # Confirm
    WENT_BACK = "went_back"
    """The module restarted before the confirm, for instance after a power failure."""
    NOT_CONFIRMED = "not_confirmed"
    """No list of slots shows the image as confirmed."""

    # The owner's ways back
    NOT_REVERTED = "not_reverted"
    """No list of slots shows the old image as running again."""
    NOTHING_ON_TRIAL = "nothing_on_trial"
    """Nothing to finish or to revert."""

    @property
    def is_untouched(self) -> bool:
        """Whether the same firmware as before runs, now and after the next restart."""
        return self in _UNTOUCHED

    @property
    def is_unfit(self) -> bool:
        """Whether the meter has refused the new firmware, or tried it in vain."""
        return self in _UNFIT

    @property
    def is_unfinished(self) -> bool:
        """Whether the new firmware may be on trial, now or after a restart."""
        return self in _UNFINISHED


# The three sets decide over the note of an update (`UnfinishedUpdate.async_settle`) and
# over a second offer of its image. A reason in none of them: WENT_BACK and
# NOTHING_ON_TRIAL, for the slots have shown that the update is over, without a verdict
# on the image.
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
# The first two have cost a whole upload, which an automation would repeat each day. The
# next three are also in the set below: the meter has judged the image, but has not got
# rid of it. One without return may hang until somebody interrupts the power.
_UNFIT: Final = frozenset(
    {
        Reason.UPLOAD_DAMAGED,
        Reason.TEST_REFUSED,
        Reason.STAYS_PENDING,
        Reason.NO_RETURN,
        Reason.NO_READINGS_ON_TRIAL,
        Reason.NOT_STARTED,
        Reason.SWAP_REFUSED,
        Reason.NO_READINGS,
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
