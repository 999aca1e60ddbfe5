"""What an owner reads of an error of the meter."""

from homeassistant.exceptions import HomeAssistantError

from .const import DOMAIN
from .emu.errors import (
    LoggerOfAnotherMeter,
    MeterBusy,
    MeterDifferent,
    MeterError,
    MeterUnauthorized,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    MeterUnreadable,
    MeterUnsupported,
    MeterWithoutLogbook,
    MeterWithoutLogger,
    UpdaterRefused,
)

_KEYS: dict[type[MeterError], str] = {
    MeterUnreachable: "unreachable",
    MeterUnauthorized: "unauthorized",
    MeterUnexpectedAnswer: "unexpected_answer",
    MeterUnreadable: "unexpected_answer",
    MeterBusy: "busy",
    MeterUnsupported: "unsupported",
    MeterWithoutLogbook: "no_logbook",
    MeterWithoutLogger: "no_data_logger",
    MeterDifferent: "different_meter",
    LoggerOfAnotherMeter: "foreign_logger",
    UpdaterRefused: "updater_refused",
}


def failure[ErrorT: HomeAssistantError](
    err: MeterError, error_class: type[ErrorT], url: str
) -> ErrorT:
    """Return an error of Home Assistant that says it in the owner's language."""
    key = _KEYS[type(err)]
    if isinstance(err, MeterUnauthorized) and err.is_forbidden:
        key = "unexpected_answer"
    return error_class(
        translation_domain=DOMAIN,
        translation_key=key,
        translation_placeholders={"url": url, "error": str(err)},
    )
