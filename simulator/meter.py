"""One simulated meter: configuration, own clock, access protection, documents."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache

from . import documents, tables
from .clock import Clock, Instant, epoch
from .documents import Document
from .history import LAST, ClockSet, Event, History, LoggedSettings
from .load import household
from .logbook import Logbook, LogbookConfig, LogbookRecord, printed
from .logger import FIFTEEN_MINUTES, Logger, LoggerConfig, Module, Record
from .measuring import Metrology
from .tables import TableConfig
from .values import Extreme, Extremes, Registers, Snapshot, Span

USER = "admin"
PASSWORD_LENGTH = 20
FIRST_SERIAL_NUMBER_WITH_EXTREMES = 22_350_000
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


class Meter:
    """A meter of one household.

    All times of queries are true time. The meter's own clock may be wrong, and with it
    its stamps (`meterdatetime`, times of extremes). Tariffs are switched by a ripple
    control receiver, in true time.
    """

    def __init__(self, config: MeterConfig, clock: Clock) -> None:
        """Install a meter; `clock` is true time and may be shared by meters."""
        self.config = config
        self.clock = clock
        self._watchers: list[Callable[[], None]] = []
        self._settings = config.settings
        self.running_version: str | None = None
        """Version of the running firmware, set by the updater; None: as in the settings."""
        self.override: Document = {}
        """Replaced values of `/meterdata.json`, by key."""
        self.status_override: Document = {}
        """Replaced values of `/status.json`, by key."""
        self.password = config.password
        self.tables = config.tables
        """Format of the tables; may be replaced."""
        self._set_events(config.events)

    @property
    def serial_number(self) -> str:
        """Eight digits; of the module's present meter."""
        return self.module().serial_number

    @property
    def installed(self) -> int:
        """Epoch second of the begin of the registers."""
        return self.module().metrology.installed

    @property
    def events(self) -> tuple[Event, ...]:
        """The past and future events of the meter."""
        return self._events

    def happens(self, *events: Event) -> None:
        """Add events, also in the past or in the future."""
        self._set_events((*self._events, *events))

    @property
    def password(self) -> str | None:
        """Password of user "admin"; None is no access protection."""
        return self._password

    @password.setter
    def password(self, password: str | None) -> None:
        if password and len(password) > PASSWORD_LENGTH:
            raise ValueError(f"The password has more than {PASSWORD_LENGTH} characters")
        # By the manual, protection without a password switches itself off.
        self._password = password or None

    @property
    def settings(self) -> Settings:
        """The configuration; replace it to change it."""
        return self._settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._settings = settings
        for watcher in self._watchers:
            watcher()

    def watch_settings(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Call `watcher` after each change of the settings; return a function to end it."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    @property
    def software_version(self) -> str:
        """Version of the TCP module's firmware, as in `/status.json`."""
        return self.running_version or self.settings.software_version

    @property
    def shows_min_max(self) -> bool:
        """Whether `/meterdata.json` has minima and maxima."""
        return self._shows_min_max(self.serial_number)

    @property
    def mac_address(self) -> str:
        """MAC address of the Ethernet interface; it moves with the module."""
        if self.settings.mac_address is not None:
            return self.settings.mac_address
        tail = (int(self.config.serial_number) & 0xFFFFFF).to_bytes(3)
        return "10:2C:EF:" + tail.hex(":").upper()

    def set_clock_offset(self, seconds: int) -> None:
        """Set the meter's clock to true time plus `seconds` from now on."""
        self.happens(ClockSet(self.now(), seconds))

    def now(self) -> int:
        """Return true time, epoch seconds."""
        return epoch(self.clock.now())

    def meter_time(self, at: Instant | None = None) -> int:
        """Return the epoch second on the meter's clock at a true time (now)."""
        second = self.now() if at is None else epoch(at)
        return second + self._history.offset(second)

    def registers(self, at: Instant | None = None) -> Registers:
        """Return the energy registers at a true time (now), exact to the second."""
        second = self.now() if at is None else epoch(at)
        return self.module(second).metrology.registers(second)

    def snapshot(self, at: Instant | None = None) -> Snapshot:
        """Return the displayed values at a true time (now): those of the last step of 5 s."""
        second = self.now() if at is None else epoch(at)
        return self.module(second).metrology.snapshot(second)

    def extremes(self, at: Instant | None = None) -> Extremes:
        """Return minima and maxima of all snapshots from the installation to a true time (now)."""
        second = self.now() if at is None else epoch(at)
        return self.module(second).metrology.extremes(second)

    def module(self, at: Instant | None = None) -> Module:
        """Return the meter of the communication module at a true time (now)."""
        second = self.now() if at is None else epoch(at)
        number = bisect_right(self._modules[:-1], second, key=lambda one: one.until)
        return self._modules[number]

    def has_power(self, at: Instant | None = None) -> bool:
        """Return whether the meter had power at a true time (now).

        A meter without power does not answer requests. Its methods still work: the
        registers stand still, and the last snapshot stays.
        """
        return self._history.has_power(self.now() if at is None else epoch(at))

    @property
    def logger(self) -> Logger:
        """The data logger, with all records of past and future."""
        if self._logger is None:
            raise LookupError("The meter has no logger")
        return self._logger

    @property
    def newest_index(self) -> int:
        """Index of the newest record now; one less than the first while there is none."""
        return self.logger.newest_index(self.now())

    @property
    def oldest_index(self) -> int:
        """Index of the oldest existing record."""
        return self.logger.oldest_index(self.now())

    def records(
        self, first: int | None = None, last: int | None = None
    ) -> list[Record]:
        """Return the records between two indices (oldest, newest), as far as they exist."""
        oldest, newest = self.oldest_index, self.newest_index
        return self.logger.records(
            oldest if first is None else max(first, oldest),
            newest if last is None else min(last, newest),
        )

    def data(self, query: Mapping[str, str]) -> bytes | None:
        """Return `/data/` (chapter "Read-Out Data Logger"); None if it has no record.

        Raises `tables.NotANumber` if `garbage_status` of `tables` is set.
        """
        chosen = tables.selection(
            query, self.oldest_index, self.newest_index, self.tables
        )
        if chosen.last < chosen.first:
            return None
        block = self.logger.block(chosen.first, chosen.last)
        _, *others = block.columns()
        step = -1 if chosen.descending else 1
        columns = [column[::step] for column in (tables.stamps(block.stamps), *others)]
        return tables.rendered(self.tables.logger_columns, columns, self.tables)

    @property
    def logged_settings(self) -> LoggedSettings:
        """The present logged settings; events change them."""
        return self._history.logged_settings(self.now())

    @property
    def logbook(self) -> Logbook:
        """The logbook, with all records of past and future."""
        if self._logbook is None:
            raise LookupError("The meter has no logbook")
        return self._logbook

    @property
    def has_logbook(self) -> bool:
        """Whether the meter has a load profile and a logbook."""
        return self._logbook is not None

    def logbook_records(
        self, first: int | None = None, last: int | None = None
    ) -> list[LogbookRecord]:
        """Return the logbook's records between two indices (oldest, newest)."""
        now = self.now()
        oldest = self.logbook.oldest_index(now)
        newest = self.logbook.newest_index(now)
        return self.logbook.records(
            oldest if first is None else max(first, oldest),
            newest if last is None else min(last, newest),
            self.logger,
        )

    def logbook_data(self, query: Mapping[str, str]) -> bytes | None:
        """Return `/logbook/` (chapter "Read-Out Logbook"); None if it has no record.

        Raises `tables.NotANumber` if `garbage_status` of `tables` is set.
        """
        now, logbook = self.now(), self.logbook
        config = replace(
            self.tables, most=min(self.tables.most, tables.MOST_LOGBOOK_RECORDS)
        )
        chosen = tables.selection(
            query, logbook.oldest_index(now), logbook.newest_index(now), config
        )
        if chosen.last < chosen.first:
            return None
        records = logbook.records(chosen.first, chosen.last, self.logger)
        rows = [
            printed(record, logbook.config.unchanged)
            for record in (reversed(records) if chosen.descending else records)
        ]
        columns = list(zip(*rows, strict=True))
        return tables.rendered(tables.LOGBOOK_COLUMNS, columns, config)

    def meter_data(self, at: Instant | None = None) -> Document:
        """Return `/meterdata.json` at a true time (now), overrides included."""
        second = self.now() if at is None else epoch(at)
        shown = self._shows_min_max(self.module(second).serial_number)
        extremes = self._stamped(self.extremes(second)) if shown else None
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
            "meterserial": self.module(at).serial_number,
            "meterfactorynr": settings.factory_number,
            "meterdatetime": self.meter_time(at),
            "networkmac": self.mac_address,
            "softwareversion": self.software_version,
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

    def _shows_min_max(self, serial_number: str) -> bool:
        if self.config.show_min_max is not None:
            return self.config.show_min_max
        return int(serial_number) >= FIRST_SERIAL_NUMBER_WITH_EXTREMES

    def _set_events(self, events: tuple[Event, ...]) -> None:
        config = self.config
        minutes = config.logger.interval if config.logger else FIFTEEN_MINUTES
        self._history = History(
            events,
            clock_offset=config.clock_offset,
            interval=minutes,
            logged_settings=config.logged_settings,
        )
        self._events = events
        self._modules = list(self._made_modules())
        self._logbook = self._made_logbook()
        self._logger = self._made_logger()

    def _made_logbook(self) -> Logbook | None:
        config = self.config
        if config.logger is None or config.logbook is None:
            return None
        return Logbook(config.logbook, self._history, self._modules)

    def _made_logger(self) -> Logger | None:
        if self.config.logger is None:
            return None
        book = self._logbook
        full = self._history.logbook_full if book is None else book.full_since
        return Logger(self.config.logger, self._history, self._modules, full)

    def _made_modules(self) -> Iterator[Module]:
        config = self.config
        for move in self._history.moves:
            since = config.installed if move.installed is None else move.installed
            metrology = self._made_metrology(move.seed, since)
            yield Module(epoch(move.at), move.serial_number, metrology)
        metrology = self._made_metrology(config.seed, config.installed)
        yield Module(LAST, config.serial_number, metrology)

    def _made_metrology(self, seed: int, installed: Instant) -> Metrology:
        return _metrology(seed, epoch(installed), tuple(self._history.failures))


@lru_cache(maxsize=8)
def _metrology(seed: int, installed: int, failures: tuple[Span, ...]) -> Metrology:
    # Shared: it caches the energies of years.
    return Metrology(household(seed), installed, failures)
