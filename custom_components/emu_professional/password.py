"""Asking the owner for the password, once the meter has refused it for a while.

Another device at the meter's address, or a busy module, may refuse for a minute: that
must neither end polling nor bother the owner of a meter without a password.
"""

from datetime import timedelta
from typing import Final

from homeassistant.config_entries import SOURCE_REAUTH
from homeassistant.core import HomeAssistant, callback
from homeassistant.util import dt as dt_util
from homeassistant.util.hass_dict import HassKey

from .config_entry import EmuConfigEntry
from .const import DOMAIN
from .elapsed import is_within
from .emu.errors import MeterUnauthorized

REAUTH_AFTER: Final = timedelta(minutes=10)
"""Shortest time of refusals before the owner is asked for the password."""

REAUTH_ATTEMPTS: Final = 5
"""Smallest number of refusals before that."""

PAUSES: Final = (
    (timedelta(), timedelta()),
    (timedelta(minutes=2), timedelta(seconds=30)),
    (REAUTH_AFTER, timedelta(minutes=1)),
)
"""Time since the first refusal, and the pause before the next attempt from then on."""

_GAP: Final = timedelta(minutes=5)
"""Refusals of one series are less than this apart."""

_WATCHES: Final[HassKey[dict[str, PasswordWatch]]] = HassKey(f"{DOMAIN}.passwords")


class PasswordWatch:
    """Counts the refusals of an entry's password, also over failed set-ups."""

    def __init__(self, hass: HomeAssistant, entry: EmuConfigEntry) -> None:
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
        # The longer the refusals last, the longer the pauses.
        pause = max(pause for since, pause in PAUSES if self._duration >= since)
        if is_within(pause, self._last, dt_util.utcnow()):
            raise self._error.with_traceback(None)

    @callback
    def async_set_up(self) -> None:
        """Allow the next attempt at once: password or address may have changed."""
        self._is_pausing = False

    @callback
    def async_refused(self, err: MeterUnauthorized) -> None:
        """Count a refusal; ask the owner for the password after a long series."""
        # `check` raises the last refusal again: that is no new one.
        if err is self._error:
            return
        now = dt_util.utcnow()
        if self._error is None or not is_within(_GAP, self._last, now):
            self._first, self._attempts = now, 0
        self._last, self._error = now, err
        self._attempts += 1
        self._is_pausing = True
        has_lasted = self._duration >= REAUTH_AFTER
        # A forbidding meter has not asked for a password.
        if has_lasted and self._attempts >= REAUTH_ATTEMPTS and not err.is_forbidden:
            self._entry.async_start_reauth(self._hass)

    @callback
    def async_accepted(self) -> None:
        """Withdraw the question, since the meter answers."""
        if self._error is None:
            return
        self._error = None
        for flow in [*self._entry.async_get_active_flows(self._hass, {SOURCE_REAUTH})]:
            self._hass.config_entries.flow.async_abort(flow["flow_id"])

    @property
    def _duration(self) -> timedelta:
        return self._last - self._first


@callback
def password_watch_of(hass: HomeAssistant, entry: EmuConfigEntry) -> PasswordWatch:
    """Return the counter of an entry's refusals."""
    watches = hass.data.setdefault(_WATCHES, {})
    if entry.entry_id not in watches:
        watches[entry.entry_id] = PasswordWatch(hass, entry)
    return watches[entry.entry_id]


@callback
def async_forget_password(hass: HomeAssistant, entry: EmuConfigEntry) -> None:
    """Forget the refusals of a removed entry."""
    hass.data.get(_WATCHES, {}).pop(entry.entry_id, None)
