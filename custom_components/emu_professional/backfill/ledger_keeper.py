"""Keeps the ledger of one meter: in a file, and in step with the rows.

Times are seconds since 1970-01-01 UTC.
"""

from collections.abc import Collection, Mapping, Sequence

from homeassistant.core import HomeAssistant, callback
from homeassistant.util import dt as dt_util

from ..config_entry import EmuConfigEntry
from ..lost_hours import LostHours
from ..outages import Outage, lost_time
from ..storage import EntryStore, entry_store
from .ledger import SEALED, Ledger, Seal
from .recorder import Statistic, UnitNotConvertible, async_has_rows, async_seals
from .report import EVERYTHING, Report, Request, Window
from .statistic_ids import MeterStatistics
from .targets import Target
from .times import whole_hour

_STORE_DELAY = 60


class LedgerKeeper:
    """Keeps the ledger of one meter's statistics.

    The ledger spares reading the logger again. It proves nothing about the rows, so
    they are compared with their seals before it is trusted.
    """

    def __init__(
        self, hass: HomeAssistant, entry: EmuConfigEntry, statistics: MeterStatistics
    ) -> None:
        """Initialize an empty ledger."""
        self.ledger = Ledger()
        self.refused: set[str] = set()
        """The keys of the statistics with a unit that can't be converted.

        They never settle, until their owner does something about it.
        """
        self.lost_hours = LostHours(hass, entry)
        self._hass = hass
        self._statistics = statistics
        self._store = backfill_store(hass, entry)
        self._is_loaded = False

    @property
    def is_open(self) -> bool:
        """Whether hours of an outage are not settled in every statistic."""
        return self.ledger.is_open(self._active)

    @property
    def has_refused(self) -> bool:
        """Whether a statistic has a unit that can't be converted."""
        return not self.refused.isdisjoint(self._statistics.existing())

    @property
    def _active(self) -> Collection[str]:
        """The keys of the statistics that can settle."""
        return self._statistics.existing().keys() - self.refused

    async def async_start(self) -> None:
        """Load the ledger, and raise the issues without confirmation."""
        await self.lost_hours.async_start()
        if (stored := await self._store.async_load()) is not None:
            self.ledger = Ledger.from_dict(stored)
        else:
            # The hour in which a meter is added is observed only from now on.
            now = _now()
            self.ledger.note([Outage(whole_hour(now), now)])
        self._is_loaded = True

    async def async_stop(self) -> None:
        """Save the ledger, unless it was never loaded: it would erase the stored one."""
        if self._is_loaded:
            await self._store.async_save(self.ledger.as_dict())

    @callback
    def note(self, outage: Outage) -> None:
        """Keep an outage until its hours are settled."""
        self.ledger.note([outage])
        self._prune_and_save()

    def open_months(self, targets: Sequence[Target]) -> int:
        """Return the begin of the oldest month not settled to its end.

        Its seal changes with every settled hour, so it is always verified.
        """
        settled = self.ledger.settled
        times = [settled[t.key] for t in targets if t.key in settled]
        return min(times, default=0) // SEALED * SEALED

    async def async_unsettled(
        self, targets: Sequence[Target], verified_since: int
    ) -> list[Request]:
        """Return requests for all hours to compare with the logger, newest first.

        The rows of the months from `verified_since` on are compared with their seals.
        """
        unsettled: dict[Window, list[Target]] = {}
        stored = await self._async_seals(targets, verified_since, self.ledger.settled)
        for target in targets:
            if (statistic := self._statistics.of(target)) is None:
                continue
            if await self._async_is_another(target, statistic):
                self.ledger.settled.pop(target.key)
            elif verified_since == 0 and stored.get(target.key):
                # A ledger of version 0.1.0 has none: its rows are sealed as they are.
                self.ledger.seals.setdefault(target.key, stored[target.key])
            for begin, end in self.ledger.unsettled(
                target.key, stored.get(target.key, {}), EVERYTHING.until, verified_since
            ):
                unsettled.setdefault(Window(begin, end), []).append(target)
        newest_first = sorted(
            unsettled.items(), key=lambda item: item[0].until, reverse=True
        )
        return [Request(window, targets) for window, targets in newest_first]

    async def async_seal(
        self, targets: Sequence[Target], since: int, until: int = EVERYTHING.until
    ) -> None:
        """Seal the rows as they are now, in all months around a time."""
        settled = self.ledger.settled
        for key, seals in (await self._async_seals(targets, since, settled)).items():
            self.ledger.seal(key, seals, since, until)

    async def async_settle(
        self, request: Request, report: Report, *, seals_were_checked: bool
    ) -> None:
        """Settle the statistics of a run.

        `seals_were_checked`: the rows around the window were compared with their
        seals before, as no run at an owner's request does.
        Only then a month with just a part in the window gets a new seal.
        """
        if report.until is None:
            return
        window = request.window
        # Hours with a failed cost must be found again, so their energy is not settled.
        unsettled = report.failed.keys() | report.unpriced
        done: list[Target] = []
        for target in request.targets:
            if (statistic := self._statistics.of(target)) is None:
                continue
            error = report.failed.get(statistic.statistic_id)
            if isinstance(error, UnitNotConvertible):
                self.refused.add(target.key)
            elif error is None:
                self.refused.discard(target.key)
            if statistic.statistic_id not in unsettled:
                done.append(target)
        settled = self.ledger.settled
        until: dict[str, int] = {}
        # A window in the past leaves the hours after it as unsettled as before.
        if window.until == EVERYTHING.until:
            until = {
                target.key: max(before, report.until)
                for target in done
                if window.since <= (before := settled.get(target.key, 0))
            }
        months = (
            _months_around(window) if seals_were_checked else _months_within(window)
        )
        seals: Mapping[str, Mapping[int, Seal]] = {}
        if months.since < months.until:
            seals = await self._async_seals(done, months.since, settled | until)
        # Together: rows that are settled without a seal would be trusted for ever.
        self.ledger.settle(until, report.until)
        for key, sealed in seals.items():
            self.ledger.seal(key, sealed, months.since, months.until)
        self._report_lost_hours(window, report.logger_begins)
        self._prune_and_save()

    async def _async_is_another(self, target: Target, statistic: Statistic) -> bool:
        """Return whether a statistic was settled before there were seals, and replaced.

        Without seals, missing rows are the only sign.
        """
        settled = self.ledger.settled.get(target.key, 0)
        if not settled or target.key in self.ledger.seals:
            return False
        try:
            return not await async_has_rows(self._hass, statistic, settled)
        except UnitNotConvertible:
            # Its own run reports it, and stops no other.
            return False

    async def _async_seals(
        self, targets: Collection[Target], since: int, until: Mapping[str, int]
    ) -> dict[str, dict[int, Seal]]:
        """Return the seals of the settled rows as they are, by key and month.

        `until` is the time until which each statistic is settled, by key.

        Five years of 21 statistics cost 2 s of CPU in the database's thread: only the
        months from `since` on are read.
        """
        by_settled: dict[int, dict[str, Statistic]] = {}
        for target in targets:
            settled = until.get(target.key)
            statistic = self._statistics.of(target)
            if settled is not None and statistic is not None:
                by_settled.setdefault(settled, {})[target.key] = statistic
        found: dict[str, dict[int, Seal]] = {}
        for settled, statistics in by_settled.items():
            seals = await async_seals(
                self._hass, list(statistics.values()), settled, since
            )
            for key, statistic in statistics.items():
                found[key] = seals.get(statistic.statistic_id, {})
        return found

    def _report_lost_hours(self, window: Window, logger_begins: int | None) -> None:
        """Raise an issue if the logger no longer has the records of an outage."""
        self.lost_hours.remove(max(window.since, logger_begins or 0), window.until)
        if logger_begins is None:
            return
        if lost := lost_time(self.ledger.outages, logger_begins):
            self.lost_hours.add(lost.since, lost.until)

    def _prune_and_save(self) -> None:
        self.ledger.prune(self._active, _now())
        self._store.async_delay_save(self.ledger.as_dict, _STORE_DELAY)


@callback
def backfill_store(hass: HomeAssistant, entry: EmuConfigEntry) -> EntryStore:
    """Return the store of a meter's ledger."""
    return entry_store(hass, entry, "backfill", Ledger.from_dict)


def _months_around(window: Window) -> Window:
    """Return a window from the begin of its first month on."""
    return Window(window.since // SEALED * SEALED, window.until)


def _months_within(window: Window) -> Window:
    """Return the whole months within a window."""
    first = -(-window.since // SEALED) * SEALED
    return Window(first, window.until // SEALED * SEALED)


def _now() -> int:
    return int(dt_util.utcnow().timestamp())
