"""One simulated meter: its life, access protection, documents and tables."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from . import documents, tables
from .clock import Clock, Instant, epoch
from .config import MeterConfig, Settings
from .documents import Document
from .life import MeterLife
from .logbook import printed
from .values import Extreme, Extremes

USER = "admin"
PASSWORD_LENGTH = 20
FIRST_SERIAL_NUMBER_WITH_EXTREMES = 22_350_000


class Meter(MeterLife):
    """A meter of one household, with the content of its web server.

    Its stamps (`meterdatetime`, times of extremes) are those of its own clock, right or
    wrong.
    """

    def __init__(self, config: MeterConfig, clock: Clock) -> None:
        """Install a meter; `clock` is true time and may be shared by meters."""
        super().__init__(config, clock)
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
