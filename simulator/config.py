"""Configuration of a simulated meter."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from .clock import Instant
from .history import Event, LoggedSettings
from .logbook import LogbookConfig
from .logger import LoggerConfig
from .tables import TableConfig

INSTALLED = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Content of the configuration page (chapters "Configuration", `/status.json`)."""

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
    """Configuration of a simulated meter."""

    serial_number: str = "22350001"
    password: str | None = None
    """Of user "admin", at most 20 characters; None or "" is no access protection."""
    seed: int = 1
    installed: Instant = INSTALLED
    """Begin of the registers at 0; moved back to a multiple of 5 s."""
    clock_offset: int = 0
    """The meter's clock minus true time, in seconds."""
    show_min_max: bool | None = None
    """None: from serial number 22350000 on."""
    settings: Settings = field(default_factory=Settings)
    events: tuple[Event, ...] = ()
    """Its events, in any order."""
    logger: LoggerConfig | None = field(default_factory=LoggerConfig)
    """None: a meter without load profile, and so without logbook."""
    logbook: LogbookConfig | None = field(default_factory=LogbookConfig)
    """None: a meter without logbook, whether it has a load profile or not."""
    logged_settings: LoggedSettings = field(default_factory=LoggedSettings)
    """The initial logged settings; events change them."""
    tables: TableConfig = field(default_factory=TableConfig)
