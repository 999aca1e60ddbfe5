"""The repair issues of a meter: one row of `ISSUES` each, raised and deleted here.

A new issue is one row, its texts in the translations, and either a `find` function
or a caller of `async_raise`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntryChange,
    ConfigEntryState,
)
from homeassistant.const import CONF_HOST, CONF_PORT
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from .const import DOMAIN
from .emu.client import url_of
from .emu.logs import LoggerStatus
from .emu.updater.procedure import OLDEST, is_too_old

if TYPE_CHECKING:
    # Only for the types: both modules raise issues themselves, and import this one.
    from .config_entry import EmuConfigEntry
    from .firmware.meter_firmware import MeterFirmware

CLOCK_LIMIT: Final = timedelta(minutes=1)

type Placeholders = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Issue:
    """One kind of issue.

    `find` returns the placeholders of its text, or None without an issue. A row
    without `find` has a caller of `async_raise`.
    """

    key: str
    severity: ir.IssueSeverity = ir.IssueSeverity.WARNING
    find: Callable[[EmuConfigEntry], Placeholders | None] | None = None
    needs_confirmation: bool = False
    """Whether it stays until the owner has confirmed it."""
    fixes: Mapping[str, Callable[[MeterFirmware], Awaitable[None]]] = field(
        default_factory=dict
    )
    """Choices of the owner, each a change of the firmware, by the step of its dialog."""

    @property
    def is_fixable(self) -> bool:
        """Whether it has a dialog; other issues link to the meter's web page."""
        return self.needs_confirmation or bool(self.fixes)


def _clock_off(entry: EmuConfigEntry) -> Placeholders | None:
    meter = entry.runtime_data.meter
    offset = meter.data.clock_offset
    if offset is None or abs(offset) <= CLOCK_LIMIT:
        return None
    return meter.clocks()


def _not_synchronized(entry: EmuConfigEntry) -> Placeholders | None:
    return _has_bit(entry, LoggerStatus.NO_TIME_SYNCHRONIZATION)


def _logbook_full(entry: EmuConfigEntry) -> Placeholders | None:
    return _has_bit(entry, LoggerStatus.LOGBOOK_FULL)


def _has_bit(entry: EmuConfigEntry, bit: LoggerStatus) -> Placeholders | None:
    status = entry.runtime_data.logbook.data.status
    return {} if status and bit in status else None


def _firmware_old(entry: EmuConfigEntry) -> Placeholders | None:
    version = entry.runtime_data.meter.data.status.software_version
    if not is_too_old(version):
        return None
    return {"version": str(version), "oldest": str(OLDEST)}


def _foreign_logger(entry: EmuConfigEntry) -> Placeholders | None:
    other = entry.runtime_data.backfill.foreign_serial_number
    return None if other is None else {"serial_number": other}


ISSUES: Final = {
    issue.key: issue
    for issue in (
        Issue("clock_off", find=_clock_off),
        Issue("not_synchronized", find=_not_synchronized),
        Issue("logbook_full", find=_logbook_full),
        Issue("firmware_old", find=_firmware_old),
        Issue("foreign_logger", find=_foreign_logger),
        Issue("lost_hours", needs_confirmation=True),
        Issue("online_update_off"),
        Issue(
            "delete_firmware",
            fixes={"confirm": lambda firmware: firmware.async_erase()},
        ),
        Issue(
            "firmware_on_trial",
            ir.IssueSeverity.ERROR,
            fixes={
                "confirm_firmware": lambda firmware: firmware.async_finish(),
                "revert_firmware": lambda firmware: firmware.async_revert(),
            },
        ),
        Issue(
            "firmware_pending",
            ir.IssueSeverity.ERROR,
            fixes={
                "finish_firmware": lambda firmware: firmware.async_finish(),
                "delete_firmware": lambda firmware: firmware.async_erase(),
            },
        ),
    )
}
"""Every issue by its key, the translation key of its texts."""

_FOUND: Final = tuple((issue, issue.find) for issue in ISSUES.values() if issue.find)


@callback
def async_start(hass: HomeAssistant) -> None:
    """Withdraw the issues of disabled meters, as long as Home Assistant runs."""

    @callback
    def changed(change: ConfigEntryChange, entry: EmuConfigEntry) -> None:
        is_unloaded = entry.state is ConfigEntryState.NOT_LOADED
        if entry.domain == DOMAIN and entry.disabled_by and is_unloaded:
            _withdraw(hass, entry)

    async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, changed)


@callback
def async_watch(hass: HomeAssistant, entry: EmuConfigEntry) -> None:
    """Check the meter's data for issues at each update, until it is unloaded."""
    was_fine: dict[str, bool] = {}

    @callback
    def check_all() -> None:
        for issue, find in _FOUND:
            placeholders = find(entry)
            is_fine = placeholders is None
            # Readings come every 5 s: only a change is worth the registry's time. So
            # the text keeps the placeholders of its first moment; that of the clock
            # says "showed".
            if was_fine.get(issue.key) is is_fine:
                continue
            was_fine[issue.key] = is_fine
            if placeholders is None:
                async_delete(hass, entry, issue.key)
            else:
                async_raise(hass, entry, issue.key, placeholders)

    runtime = entry.runtime_data
    # Not `runtime.demand`: no issue depends on its data.
    for coordinator in (runtime.meter, runtime.logbook, runtime.backfill):
        entry.async_on_unload(coordinator.async_add_listener(check_all))
    check_all()


@callback
def async_raise(
    hass: HomeAssistant,
    entry: EmuConfigEntry,
    key: str,
    placeholders: Placeholders | None = None,
    number: int | None = None,
) -> None:
    """Raise an issue of a meter; `number` distinguishes several of one kind."""
    issue = ISSUES[key]
    url = str(url_of(entry.data[CONF_HOST], entry.data[CONF_PORT]))
    ir.async_create_issue(
        hass,
        DOMAIN,
        _id(entry, key, number),
        is_fixable=issue.is_fixable,
        learn_more_url=None if issue.is_fixable else url,
        severity=issue.severity,
        translation_key=key,
        translation_placeholders={"meter": entry.title, **(placeholders or {})},
    )


@callback
def async_delete(
    hass: HomeAssistant, entry: EmuConfigEntry, key: str, number: int | None = None
) -> None:
    """Delete an issue of a meter, if there is one."""
    ir.async_delete_issue(hass, DOMAIN, _id(entry, key, number))


def exists(hass: HomeAssistant, entry: EmuConfigEntry, key: str) -> bool:
    """Return whether there is an issue of a meter."""
    return ir.async_get(hass).async_get_issue(DOMAIN, _id(entry, key, None)) is not None


@callback
def async_forget(hass: HomeAssistant, entry: EmuConfigEntry) -> None:
    """Delete all issues of a removed meter."""
    for key in ISSUES:
        _delete_all(hass, entry, key)


@callback
def _withdraw(hass: HomeAssistant, entry: EmuConfigEntry) -> None:
    """Delete the issues that are raised again when the meter is enabled.

    The issues about its firmware stay: a trial continues while the meter is disabled.
    """
    for issue in ISSUES.values():
        if issue.find or issue.needs_confirmation:
            _delete_all(hass, entry, issue.key)


@callback
def _delete_all(hass: HomeAssistant, entry: EmuConfigEntry, key: str) -> None:
    async_delete(hass, entry, key)
    for number in async_numbered(hass, entry, key):
        async_delete(hass, entry, key, number)


@callback
def async_numbered(
    hass: HomeAssistant, entry: EmuConfigEntry, key: str
) -> dict[int, ir.IssueEntry]:
    """Return the present issues of one kind by their number."""
    return {
        number: issue
        for (domain, issue_id), issue in ir.async_get(hass).issues.items()
        if domain == DOMAIN and (number := _number(entry, key, issue_id)) is not None
    }


@callback
def async_on_deleted(
    hass: HomeAssistant, entry: EmuConfigEntry, key: str, deleted: Callable[[int], None]
) -> None:
    """Report the numbers of deleted issues of a kind, until the entry is unloaded.

    Home Assistant deletes an issue when its owner confirms it.
    """

    @callback
    def changed(event: Event[ir.EventIssueRegistryUpdatedData]) -> None:
        number = _number(entry, key, event.data["issue_id"])
        if event.data["action"] == "remove" and number is not None:
            deleted(number)

    entry.async_on_unload(
        hass.bus.async_listen(ir.EVENT_REPAIRS_ISSUE_REGISTRY_UPDATED, changed)
    )


def issue_of(issue_id: str) -> tuple[Issue | None, str]:
    """Return the row of an issue's id, if there is one, and its entry id."""
    for key, issue in ISSUES.items():
        if issue_id.startswith(f"{key}_"):
            # A number may follow; no entry id has an underscore in it.
            entry_id, _, _ = issue_id.removeprefix(f"{key}_").partition("_")
            return issue, entry_id
    return None, ""


def _id(entry: EmuConfigEntry, key: str, number: int | None) -> str:
    base = f"{key}_{entry.entry_id}"
    return base if number is None else f"{base}_{number}"


def _number(entry: EmuConfigEntry, key: str, issue_id: str) -> int | None:
    """Return the number in an issue's id; None for another kind or another meter."""
    prefix = f"{key}_{entry.entry_id}_"
    if not issue_id.startswith(prefix):
        return None
    return int(issue_id.removeprefix(prefix))
