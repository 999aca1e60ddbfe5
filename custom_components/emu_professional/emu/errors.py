"""Errors of the meter."""

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .logs import Page

SEPARATORS: Final = ",;\t"
"""Characters between the fields of a record; each meter uses one of them."""

_FIELDS: Final = 8
"""Separators in the first 80 characters of a record: it has 28 columns."""


class MeterError(Exception):
    """Base class of all errors of this package.

    Its text is one short English clause for a log line.
    """


class MeterUnreachable(MeterError):
    """No answer came: no route, connection refused or lost, or too slow."""


class MeterUnauthorized(MeterError):
    """The meter wants the password of its user "admin", or another one.

    `is_forbidden` is true for HTTP 403: a refusal without asking for a password.
    """

    def __init__(self, text: str, *, is_forbidden: bool = False) -> None:
        """Initialize with a clause for the log."""
        super().__init__(text)
        self.is_forbidden = is_forbidden


class MeterUnexpectedAnswer(MeterError):
    """An answer differs from the manual."""


class MeterUnreadable(MeterUnexpectedAnswer):
    """An answer of data logger or logbook has lines, but no record."""

    def __init__(self, path: str, page: Page[Any]) -> None:
        """Initialize with the path of the table and the page of rejected lines."""
        reason = page.rejected[0].reason
        super().__init__(f"no line of {path} is a record ({reason})")
        self.page = page
        self.is_table = any(line_of_table(line.text) for line in page.rejected)
        """Whether a line looks like a damaged record, not like another document."""


def line_of_table(line: str) -> bool:
    """Return whether a line, perhaps only its begin, looks like a damaged record.

    It begins with a time stamp, or has as many fields as no other document.
    """
    if line[:4].isdigit() and line[4:5] == "-" and line[10:11] == "T":
        return True
    return not is_markup(line) and max(map(line.count, SEPARATORS)) >= _FIELDS


def is_markup(line: str) -> bool:
    """Return whether a line is of an HTML or JSON document, and of no table."""
    return "<" in line or "{" in line


class MeterBusy(MeterError):
    """Too many of our own requests wait for the meter; this one was not sent."""


class MeterUnsupported(MeterError):
    """The device does not offer this page: another version or another device."""


class MeterWithoutLogger(MeterUnsupported):
    """The meter has no data logger, or nothing in it yet."""


class MeterWithoutLogbook(MeterUnsupported):
    """The meter has no logbook, or nothing in it yet."""


class MeterDifferent(MeterError):
    """A meter with another serial number answers at this address."""


class LoggerOfAnotherMeter(MeterError):
    """All records of the data logger have another serial number."""

    def __init__(self, serial_number: str) -> None:
        """Initialize with the serial number of the other meter."""
        super().__init__(f"meter {serial_number} made all records")
        self.serial_number = serial_number


class UpdaterRefused(MeterError):
    """The meter's updater answered a command with an error code."""

    def __init__(self, group: int, command: int, rc: int) -> None:
        """Initialize with group and number of the command, and the error code (1 and up)."""
        super().__init__(f"the updater refused command {group}.{command}: rc {rc}")
        self.group = group
        self.command = command
        self.rc = rc


class RejectReason(StrEnum):
    """Reason to reject a firmware file before a byte of it is sent."""

    TOO_LARGE = "too_large"
    NOT_AN_IMAGE = "not_an_image"
    OTHER_PRODUCT = "other_product"
    """The image is for another bootloader or another part of memory."""
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    """The numbers in the image contradict each other."""
    NO_HASH = "no_hash"
    WRONG_HASH = "wrong_hash"
    NOT_SIGNED = "not_signed"
    BAD_ZIP = "bad_zip"
    ENCRYPTED_ZIP = "encrypted_zip"
    UNSAFE_ZIP = "unsafe_zip"
    """The zip has files outside of its folder."""
    NO_IMAGE_IN_ZIP = "no_image_in_zip"
    SEVERAL_IMAGES = "several_images"


class FirmwareRefused(MeterError):
    """A firmware file must not be sent to a meter."""

    def __init__(self, reason: RejectReason) -> None:
        """Initialize with the reason."""
        super().__init__(f"the firmware file is refused: {reason.replace('_', ' ')}")
        self.reason = reason
