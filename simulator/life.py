"""A meter in time: its clock, registers, records and events."""

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache

from .clock import Clock, Instant, epoch
from .config import MeterConfig
from .history import LAST, ClockSet, Event, History, LoggedSettings
from .load import household
from .logbook import Logbook, LogbookRecord
from .logger import FIFTEEN_MINUTES, Logger, Module, Record
from .measuring import Metrology
from .values import Extremes, Registers, Snapshot, Span


class MeterLife:
    """The life of a meter, without its interfaces.

    All times of queries are true time. The meter's own clock may be wrong. Tariffs are
    switched by a ripple control receiver, in true time.
    """

    def __init__(self, config: MeterConfig, clock: Clock) -> None:
        """Install a meter; `clock` is true time and may be shared by meters."""
        self.config = config
        self.clock = clock
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
