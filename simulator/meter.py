"""One simulated meter: configuration, own clock, access protection, documents."""

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime

from . import documents
from .clock import Clock, Instant, epoch
from .documents import Document
from .load import household
from .measuring import Extreme, Extremes, Metrology, Registers, Snapshot

USER = "admin"
PASSWORD_LENGTH = 20
FIRST_SERIAL_NUMBER_WITH_EXTREMES = 22_350_000
_EVER = -(2**63)
INSTALLED = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the configuration page shows (chapters "Configuration", `/status.json`)."""

    dhcp: bool = False
    ip_address: str = "10.255.255.7"
    subnet_mask: str = "255.255.255.0"
    gateway: str = "10.255.255.1"
    dns_server: str = "192.168.1.236"
    modbus: bool = True
    modbus_port: int = 502
    ntp: bool = True
    ntp_server: str = "pool.ntp.org"
    factory_number: int = 0
    mac_address: str | None = None
    """Default: the manufacturer's prefix 10:2C:EF and the end of the serial number."""
    software_version: str = "1.0.16"
    online_update: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterConfig:
    """How a meter is made."""

    serial_number: str = "22350001"
    password: str | None = None
    """Of user "admin", at most 20 characters; None or "" is no access protection."""
    seed: int = 1
    installed: Instant = INSTALLED
    """When the registers stood at 0; moved back to a multiple of 5 s."""
    clock_offset: int = 0
    """Seconds by which the meter's clock is ahead of true time."""
    show_min_max: bool | None = None
    """None: from serial number 22350000 on."""
    settings: Settings = field(default_factory=Settings)


class Meter:
    """A meter that measures one household.

    All times of queries are true time. The meter's own clock may be wrong; what
    the meter stamps with it (`meterdatetime`, times of extremes) is wrong as well.
    Tariffs are switched from outside by a ripple control receiver, in true time.
    """

    def __init__(self, config: MeterConfig, clock: Clock) -> None:
        """Install a meter; `clock` is true time and may be shared by meters."""
        self.config = config
        self.clock = clock
        self.settings = config.settings
        """Replace it to change the configuration."""
        self.override: Document = {}
        """Values that replace those of `/meterdata.json`, by key."""
        self.status_override: Document = {}
        """Values that replace those of `/status.json`, by key."""
        self.password = config.password
        self._metrology = Metrology(household(config.seed), epoch(config.installed))
        self._offsets: list[tuple[int, int]] = [(_EVER, config.clock_offset)]

    @property
    def serial_number(self) -> str:
        """Eight digits."""
        return self.config.serial_number

    @property
    def installed(self) -> int:
        """Epoch second since which the registers count."""
        return self._metrology.installed

    @property
    def password(self) -> str | None:
        """Password of user "admin"; None is no access protection."""
        return self._password

    @password.setter
    def password(self, password: str | None) -> None:
        if password and len(password) > PASSWORD_LENGTH:
            raise ValueError(f"The password has more than {PASSWORD_LENGTH} characters")
        # Protection without a password switches itself off, says the manual.
        self._password = password or None

    @property
    def shows_min_max(self) -> bool:
        """Whether `/meterdata.json` has minima and maxima."""
        if self.config.show_min_max is not None:
            return self.config.show_min_max
        return int(self.serial_number) >= FIRST_SERIAL_NUMBER_WITH_EXTREMES

    @property
    def mac_address(self) -> str:
        """MAC address of the Ethernet interface."""
        if self.settings.mac_address is not None:
            return self.settings.mac_address
        tail = (int(self.serial_number) & 0xFFFFFF).to_bytes(3)
        return "10:2C:EF:" + tail.hex(":").upper()

    def set_clock_offset(self, seconds: int) -> None:
        """Set the meter's clock to true time plus `seconds` from now on."""
        self._offsets.append((self.now(), seconds))
        self._offsets.sort(key=lambda change: change[0])

    def now(self) -> int:
        """Return true time, epoch seconds."""
        return epoch(self.clock.now())

    def meter_time(self, at: Instant | None = None) -> int:
        """Return the epoch second that the meter's clock showed at a true time (now)."""
        second = self.now() if at is None else epoch(at)
        newest = bisect_right(self._offsets, second, key=lambda change: change[0])
        return second + self._offsets[newest - 1][1]

    def registers(self, at: Instant | None = None) -> Registers:
        """Return the energy registers at a true time (now), exact to the second."""
        return self._metrology.registers(self.now() if at is None else epoch(at))

    def snapshot(self, at: Instant | None = None) -> Snapshot:
        """Return what the meter shows at a true time (now): the last full step of 5 s."""
        return self._metrology.snapshot(self.now() if at is None else epoch(at))

    def extremes(self, at: Instant | None = None) -> Extremes:
        """Return minima and maxima of all snapshots from the installation to a true time (now)."""
        return self._metrology.extremes(self.now() if at is None else epoch(at))

    def meter_data(self, at: Instant | None = None) -> Document:
        """Return `/meterdata.json` at a true time (now), overrides included."""
        second = self.now() if at is None else epoch(at)
        extremes = self._stamped(self.extremes(second)) if self.shows_min_max else None
        document = documents.meter_data(
            self.snapshot(second), extremes, self.meter_time(second)
        )
        return document | self.override

    def status(self, at: Instant | None = None) -> Document:
        """Return `/status.json` at a true time (now), overrides included."""
        settings = self.settings
        document: Document = {
            "networkdhcactive": settings.dhcp,
            "networkip": settings.ip_address,
            "networknm": settings.subnet_mask,
            "networkgw": settings.gateway,
            "networkdns1": settings.dns_server,
            "mbactive": settings.modbus,
            "mbport": settings.modbus_port,
            "ntpactive": settings.ntp,
            "ntp1": settings.ntp_server,
            "meterserial": self.serial_number,
            "meterfactorynr": settings.factory_number,
            "meterdatetime": self.meter_time(at),
            "networkmac": self.mac_address,
            "softwareversion": settings.software_version,
            "updateractive": settings.online_update,
        }
        return document | self.status_override

    def page(self) -> str:
        """Return the web page with the current values."""
        return documents.page(self.serial_number, self.meter_data())

    def _stamped(self, extremes: Extremes) -> Extremes:
        return Extremes(
            *(
                tuple(Extreme(value, self.meter_time(at)) for value, at in side)
                for side in extremes
            )
        )
