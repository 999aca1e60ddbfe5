"""When a meter that refuses its password is worth a question to its owner.

Another device at the meter's address, or a busy module, refuses for a minute: that
must not end polling, nor ask for a password that may never have been set.
"""

from datetime import timedelta
from typing import Final

from homeassistant.config_entries import SOURCE_REAUTH, ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .emu.errors import MeterForbidden, MeterUnauthorized

REAUTH_AFTER: Final = timedelta(minutes=10)
"""How long the password must have been refused before the owner is asked for it."""

REAUTH_ATTEMPTS: Final = 5
"""And how often at least."""

PAUSES: Final = (
    (timedelta(), timedelta()),
    (timedelta(minutes=2), timedelta(seconds=30)),
    (REAUTH_AFTER, timedelta(minutes=1)),
)
"""How long the password has been refused, and the time to the next attempt then."""

_GAP: Final = timedelta(minutes=5)
"""Refusals that lie further apart have nothing to do with each other."""

_WATCHES: Final[HassKey[dict[str, PasswordWatch]]] = HassKey(f"{DOMAIN}.passwords")


class PasswordWatch:
    """Refusals of one entry's password; they outlive failed attempts to set it up."""

    def __init__(self, hass: HomeAssistant, entry: ConfigEntry) -> None:
        """Begin without a refusal."""
        self._hass = hass
        self._entry = entry
        self._first = self._last = dt_util.utcnow()
        self._attempts = 0
        self._is_pausing = False
        self._error: MeterUnauthorized | None = None

    def check(self) -> None:
        """Raise the last refusal again while it is too early for another attempt."""
        if self._error is None or not self._is_pausing:
            return
        pause = max(pause for since, pause in PAUSES if self._duration >= since)
        if timedelta() <= dt_util.utcnow() - self._last < pause:
            raise self._error.with_traceback(None)

    @callback
    def async_set_up(self) -> None:
        """Let the next attempt be made at once: password or address may be others."""
        self._is_pausing = False

    @callback
    def async_refused(self, err: MeterUnauthorized) -> None:
        """Count a refusal, and ask the owner if that has lasted."""
        if err is self._error:
            return
        now = dt_util.utcnow()
        if self._error is None or not timedelta() <= now - self._last <= _GAP:
            self._first, self._attempts = now, 0
        self._last, self._error = now, err
        self._attempts += 1
        self._is_pausing = True
        has_lasted = self._duration >= REAUTH_AFTER
        is_forbidden = isinstance(err, MeterForbidden)
        if has_lasted and self._attempts >= REAUTH_ATTEMPTS and not is_forbidden:
            self._entry.async_start_reauth(self._hass)

    @callback
    def async_accepted(self) -> None:
        """Take the question back: the meter answers."""
        if self._error is None:
            return
        self._error = None
        for flow in [*self._entry.async_get_active_flows(self._hass, {SOURCE_REAUTH})]:
            self._hass.config_entries.flow.async_abort(flow["flow_id"])

    @property
    def _duration(self) -> timedelta:
        return self._last - self._first


@callback
def password_watch_of(hass: HomeAssistant, entry: ConfigEntry) -> PasswordWatch:
    """Return the watch over an entry's password."""
    watches = hass.data.setdefault(_WATCHES, {})
    if entry.entry_id not in watches:
        watches[entry.entry_id] = PasswordWatch(hass, entry)
    return watches[entry.entry_id]


@callback
def async_forget_password(hass: HomeAssistant, entry: ConfigEntry) -> None:
    """Forget the watch over a removed entry's password."""
    hass.data.get(_WATCHES, {}).pop(entry.entry_id, None)
