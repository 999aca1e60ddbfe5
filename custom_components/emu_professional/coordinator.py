"""Polls a meter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, override

from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_PORT
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed
from homeassistant.util import dt as dt_util

from .config_entry import EmuConfigEntry
from .const import DOMAIN, LOGGER, POLL_INTERVAL, STATUS_INTERVAL
from .elapsed import is_within
from .emu.client import MeterClient
from .emu.errors import MeterDifferent, MeterError, MeterUnauthorized
from .emu.readings import HOLD, PlausibilityFilter, Readings, Status, clock_offset
from .emu.registers import Tariff
from .emu.serial_number import is_same_meter
from .emu.tariff import TariffWatch
from .failures import failure, owners_error
from .firmware.meter_firmware import meter_firmware_of
from .outages import Outage, outage_between
from .password import password_watch_of
from .relocation import async_learn_fingerprint
from .stagger import seconds_since_turn, turn_of
from .storage import EntryStore, entry_store

_STORE_DELAY = 900
"""Seconds between two saves of the registers.

After a crash the outage seems up to this much longer. Its hours are compared with the
data logger once more, and rows that are not flat stay.
"""

_MOST_EARLY = 1.0
"""Seconds by which one poll comes early at most, until it is at the meter's turn."""

_CLOCK = "%Y-%m-%d %H:%M:%S"

_UPDATE_PAUSE = timedelta(seconds=15)
"""Between two polls during a firmware update; less than `HOLD`."""

_UPDATE_HOLD = timedelta(minutes=3)
"""How long the last readings remain valid while the communication module restarts."""


@dataclass(frozen=True, slots=True)
class MeterData:
    """The last readings and status of the meter."""

    readings: Readings
    status: Status
    clock_offset: timedelta | None
    """By which the meter's clock is ahead of Home Assistant's."""
    tariff: Tariff | None
    """The tariff of the register that rose last; None before any has risen."""


class EmuCoordinator(DataUpdateCoordinator[MeterData]):
    """Reads one meter every 5 s, and its configuration every few minutes.

    Several meters are polled at different moments of the 5 s (`turn`). A short
    interruption changes nothing: the last readings remain valid for `HOLD`. After it
    the serial number is read first, because another meter may have this address by
    then. `async_watch_outages` reports longer interruptions, also those of Home
    Assistant itself.
    """

    config_entry: EmuConfigEntry

    def __init__(self, hass: HomeAssistant, entry: EmuConfigEntry) -> None:
        """Initialize the coordinator of a config entry."""
        self._unreported: list[Outage] = []
        """Outages that ended before anyone watched them."""
        self._report_outage: Callable[[Outage], None] = self._unreported.append
        super().__init__(
            hass,
            LOGGER,
            config_entry=entry,
            name=entry.title,
            update_interval=POLL_INTERVAL,
            always_update=False,
        )
        self.client = MeterClient(
            async_get_clientsession(hass),
            entry.data[CONF_HOST],
            entry.data[CONF_PORT],
            entry.data.get(CONF_PASSWORD),
        )
        self.turn = turn_of(hass, entry)
        self.firmware = meter_firmware_of(hass, entry)
        entry.async_on_unload(
            self.firmware.activity.async_add_listener(self._firmware_activity_changed)
        )
        self._password_watch = password_watch_of(hass, entry)
        self._password_watch.async_set_up()
        self._filter = PlausibilityFilter()
        self._tariffs = TariffWatch()
        self._rejected: set[str] = set()
        self._answered: datetime | None = None
        self._observed: datetime | None = None
        # As after an interruption, the serial number is read first.
        self._interrupted = True
        self._status_read: datetime | None = None
        self._store = registers_store(hass, entry)
        self._store_pending = False

    @property
    def serial_number(self) -> str:
        """Serial number of the meter that this entry is for."""
        assert self.config_entry.unique_id
        return self.config_entry.unique_id

    @property
    def is_being_updated(self) -> bool:
        """Whether its communication module is being updated or restarted.

        Only the most necessary is asked of it meanwhile.
        """
        return self.firmware.activity.is_busy

    def clocks(self, offset: timedelta | None = None) -> dict[str, str]:
        """Return the times on the clocks of the meter and of Home Assistant, as text.

        In local time. The meter's clock is ahead by `offset`, or as its readings show.
        """
        now = dt_util.now()
        ahead = offset or self.data.clock_offset or timedelta()
        return {
            "meter_time": f"{now + ahead:{_CLOCK}}",
            "time": f"{now:{_CLOCK}}",
        }

    @override
    async def _async_setup(self) -> None:
        """Load the registers of the last run: none must run backwards."""
        if stored := await self._store.async_load():
            # The outage of Home Assistant itself begins with the last observation, and
            # so does the largest plausible gain.
            registers, self._observed = _parse_registers(stored)
            self._filter = PlausibilityFilter(registers, self._observed)

    @override
    async def async_shutdown(self) -> None:
        """Stop polling, and save the registers."""
        await super().async_shutdown()
        if self._answered:
            await self._store.async_save(self._registers_to_store())

    @callback
    @override
    def _schedule_refresh(self) -> None:
        """Poll again after the interval, or a little earlier to reach the turn.

        Only a little earlier each time: a slow meter needs its rest.
        """
        now = self.hass.loop.time()
        late = seconds_since_turn(self.turn, POLL_INTERVAL.total_seconds(), now)
        # Home Assistant counts an interval from the last whole second on.
        self.update_interval = POLL_INTERVAL + timedelta(
            seconds=now % 1 - min(late, _MOST_EARLY)
        )
        super()._schedule_refresh()

    @override
    async def _async_update_data(self) -> MeterData:
        hold = _UPDATE_HOLD if self.is_being_updated else HOLD
        # An old module does not survive many requests during an update.
        if self.is_being_updated and is_within(
            _UPDATE_PAUSE, self._answered, dt_util.utcnow()
        ):
            return self.data
        waited = self.client.waited
        try:
            data = await self._async_poll()
        except MeterError as err:
            self._interrupted = True
            # A poll that waited for a page of the logger is no sign of trouble.
            hold += timedelta(seconds=self.client.waited - waited)
            if isinstance(err, MeterUnauthorized):
                self._password_watch.async_refused(err)
            if is_within(hold, self._answered, dt_util.utcnow()):
                LOGGER.debug("%s: %s; the last readings remain", self.name, err)
                return self.data
            if self.is_being_updated:
                raise owners_error(UpdateFailed, "updating", meter=self.name) from err
            raise self.failure(err, UpdateFailed) from err
        self._password_watch.async_accepted()
        # Another firmware answers otherwise, and comes only with an interruption.
        if self._interrupted and self.config_entry.data.get(CONF_PASSWORD):
            await async_learn_fingerprint(self.hass, self.config_entry, self.client)
        self._answered = dt_util.utcnow()
        self._interrupted = False
        self._store_registers()
        # Only a poll with all registers is an observation (see `outages`): a rejected
        # register leaves a gap in its statistic that the data logger can fill. One that
        # stays unreadable must not hide the outages of all others.
        if not self._filter.doubts_registers:
            self._note_observation(self._answered)
        return data

    @callback
    def _firmware_activity_changed(self) -> None:
        """Read the firmware version at once after an update."""
        if not self.is_being_updated:
            self._status_read = None
            self.config_entry.async_create_background_task(
                self.hass, self.async_refresh(), f"{self.name} after update"
            )

    @callback
    def async_watch_outages(self, report: Callable[[Outage], None]) -> CALLBACK_TYPE:
        """Report each outage at its end, and earlier ones at once.

        The first poll after a start ends an outage, and comes before the back-fill is
        set up. Returns a function to stop the reports.
        """
        for outage in self._unreported:
            report(outage)
        self._unreported.clear()
        self._report_outage = report

        @callback
        def stop() -> None:
            self._report_outage = self._unreported.append

        return stop

    def _note_observation(self, now: datetime) -> None:
        """Note an observation of all registers, and report the outage before, if any."""
        if outage := outage_between(self._observed, now):
            self._report_outage(outage)
        self._observed = now

    async def _async_poll(self) -> MeterData:
        self._password_watch.check()
        status = await self._async_status()
        answer = await self.client.readings()
        now = dt_util.utcnow()
        readings = self._filter.accept(answer, now)
        self._warn_of_rejected(readings.rejected)
        shown = self.data.clock_offset if self.data else None
        return MeterData(
            readings,
            status,
            clock_offset(readings.clock, now, shown),
            self._tariffs.accept(readings.values, now),
        )

    async def _async_status(self) -> Status:
        """Return the configuration; it is read again if it may have changed.

        Raises MeterDifferent if another meter answers.
        """
        now = dt_util.utcnow()
        if not self._interrupted and is_within(STATUS_INTERVAL, self._status_read, now):
            return self.data.status
        status = await self.client.status()
        if not is_same_meter(status.serial_number, self.serial_number):
            raise MeterDifferent(f"meter {status.serial_number} answers instead")
        if status.online_update:
            self.firmware.async_updates_allowed()
        self.firmware.async_look_again()
        self._status_read = dt_util.utcnow()
        self._update_device(status)
        return status

    def _update_device(self, status: Status) -> None:
        registry = dr.async_get(self.hass)
        device = registry.async_get_device_by_identifier(
            (DOMAIN, self.serial_number), self.config_entry.entry_id
        )
        if device and device.sw_version != status.software_version:
            registry.async_update_device(device.id, sw_version=status.software_version)

    def _warn_of_rejected(self, rejected: Mapping[str, str]) -> None:
        for key in rejected.keys() - self._rejected:
            LOGGER.warning(
                "%s: %s can't be right (%s); the value before remains",
                self.name,
                key,
                rejected[key],
            )
        self._rejected = set(rejected)

    def failure[ErrorT: HomeAssistantError](
        self, err: MeterError, error_class: type[ErrorT]
    ) -> ErrorT:
        """Return the error of the meter in the owner's words."""
        return failure(err, error_class, self.client.url)

    def _store_registers(self) -> None:
        if not self._store_pending:
            self._store_pending = True
            self._store.async_delay_save(self._registers_to_store, _STORE_DELAY)

    def _observed_until(self) -> datetime:
        # An interrupted set-up reports no outage: the next one must do so.
        if self._unreported:
            return dt_util.utc_from_timestamp(self._unreported[0].since)
        assert self._answered
        return self._observed or self._answered

    def _registers_to_store(self) -> dict[str, Any]:
        assert self._answered
        self._store_pending = False
        registers = self._filter.registers
        return {
            "registers": {key: str(value) for key, value in registers.items()},
            # While a register is rejected there are answers, but no observations.
            "at": self._observed_until().isoformat(),
        }


def _parse_registers(stored: dict[str, Any]) -> tuple[dict[str, Decimal], datetime]:
    """Return stored registers in kWh, and the time of their reading in UTC.

    Raises various errors for data of another shape.
    """
    registers = {str(key): Decimal(text) for key, text in stored["registers"].items()}
    if not all(value.is_finite() for value in registers.values()):
        raise ValueError("a register is no number")
    at = datetime.fromisoformat(stored["at"])
    if at.tzinfo is None:
        raise ValueError("a time has no zone")
    return registers, dt_util.as_utc(at)


@callback
def registers_store(hass: HomeAssistant, entry: EmuConfigEntry) -> EntryStore:
    """Return the store of an entry's last registers, in kWh."""
    # Without a name: it was the only file of version 0.1.0.
    return entry_store(hass, entry, "", _parse_registers)
