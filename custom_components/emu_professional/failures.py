"""Translated errors: one way to make them, one table of texts for errors of the meter."""

from typing import Final, NamedTuple

from homeassistant.exceptions import HomeAssistantError, ServiceValidationError

from .const import DOMAIN
from .emu.errors import (
    LoggerOfAnotherMeter,
    MeterBusy,
    MeterDifferent,
    MeterError,
    MeterUnauthorized,
    MeterUnreachable,
    MeterUnsupported,
    MeterWithoutLogbook,
    MeterWithoutLogger,
    UpdaterRefused,
)


class Texts(NamedTuple):
    """Translation keys of an error."""

    exception: str
    """Key in "exceptions", for actions, buttons and the coordinator."""
    flow: str = "unexpected_answer"
    """Key in "config.error" and "config.abort", for dialogs."""


TEXTS: Final[dict[type[MeterError], Texts]] = {
    MeterError: Texts("unexpected_answer"),
    MeterUnreachable: Texts("unreachable", "cannot_connect"),
    MeterBusy: Texts("busy", "cannot_connect"),
    MeterUnauthorized: Texts("unauthorized", "invalid_auth"),
    MeterUnsupported: Texts("unsupported", "not_emu_meter"),
    MeterWithoutLogbook: Texts("no_logbook", "not_emu_meter"),
    MeterWithoutLogger: Texts("no_data_logger", "not_emu_meter"),
    MeterDifferent: Texts("different_meter"),
    LoggerOfAnotherMeter: Texts("foreign_logger"),
    UpdaterRefused: Texts("updater_refused"),
}
"""Texts by class; a subclass without a row has those of its nearest base class."""


def texts_of(kind: type[MeterError]) -> Texts:
    """Return the translation keys of a class of errors."""
    return next(TEXTS[base] for base in kind.__mro__ if base in TEXTS)


def _texts_of_error(err: MeterError) -> Texts:
    # A new password would not help: the meter has not asked for one.
    if isinstance(err, MeterUnauthorized) and err.is_forbidden:
        return TEXTS[MeterError]
    return texts_of(type(err))


def failure[ErrorT: HomeAssistantError](
    err: MeterError, error_class: type[ErrorT], url: str
) -> ErrorT:
    """Return an error of Home Assistant with the translated text of a meter's error."""
    return owners_error(
        error_class, _texts_of_error(err).exception, url=url, error=str(err)
    )


def owners_error[ErrorT: HomeAssistantError](
    error_class: type[ErrorT], key: str, **placeholders: str
) -> ErrorT:
    """Return an error with a text in the owner's language, by its key in "exceptions"."""
    return error_class(
        translation_domain=DOMAIN,
        translation_key=key,
        translation_placeholders={
            name: printable(text) for name, text in placeholders.items()
        },
    )


def invalid(key: str, **placeholders: str) -> ServiceValidationError:
    """Return the error of a request that can't be carried out as it is, or now."""
    return owners_error(ServiceValidationError, key, **placeholders)


def failed(key: str, **placeholders: str) -> HomeAssistantError:
    """Return the error of work that has failed."""
    return owners_error(HomeAssistantError, key, **placeholders)


def printable(text: str) -> str:
    """Return a text with lone surrogates escaped: they can't be encoded as UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def flow_error(err: MeterError) -> str:
    """Return the key of an error's text in dialogs."""
    return _texts_of_error(err).flow
