"""A Home Assistant with its meters, and an owner who does one thing after the other."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
import json
from random import Random
import signal
import time
from typing import Any, Final

from aiohttp import ClientError

from processes.home_assistant import HomeAssistant
from processes.owner import DOMAIN, OwnerError
from simulator.images import Trait, signed_image, trait_of

from .exactness import Row, violations
from .meters import HISTORY, SimulatedMeter

PASSWORD: Final = "chaos-proof"
CALM: Final = 600
"""Seconds after which everything must be well again; a trial ends after minutes."""
TRAITS: Final = (*[Trait.GOOD] * 4, *Trait)
UNFIT: Final = (Trait.NO_UPDATER, Trait.NO_WEB_PAGE)
"""Such firmware runs, and only a restart ends its trial, or Home Assistant does."""

_EXPECTED: Final = (
    # What an action that was refused tells its caller
    "\nhomeassistant.exceptions.",
    # Home Assistant's words for a set-up that it gives up as it stops
    "\nasyncio.exceptions.CancelledError: Home Assistant is stopping",
)

type Census = dict[str, dict[str, int]]
"""Numbers by kind of thing, memory in MiB."""


class ChaosError(Exception):
    """What should have been true is not."""


class Site:
    """One Home Assistant, killed and started at will, and its meters."""

    def __init__(
        self,
        home_assistant: HomeAssistant,
        meters: list[SimulatedMeter],
        random: Random,
        patience: float,
    ) -> None:
        """Know them; nothing runs yet.

        `patience` is for how many seconds a meter may run a firmware that serves no
        updates or no web page until its owner restarts it on its display.
        """
        self.meters = meters
        self.starts = 0
        self._home_assistant = home_assistant
        self._owner = home_assistant.owner
        self._random = random
        self._patience = patience
        self._unfit_since: dict[str, float] = {}
        self._entries: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._firmware = 17
        self.done: Counter[str] = Counter()
        """How many of each thing the owner did, and how many of them failed."""

    @asynccontextmanager
    async def life(self) -> AsyncGenerator[asyncio.subprocess.Process]:
        """Run Home Assistant; its end may be sudden."""
        async with self._home_assistant.run() as process:
            self.starts += 1
            await self._add_missing_meters()
            yield process
        self._read_log()

    async def _add_missing_meters(self) -> None:
        entries = await self._owner.meters()
        self._entries = {
            meter.serial_number: entry["entry_id"]
            for meter in self.meters
            for entry in entries
            if meter.serial_number in entry["title"]
        }
        for meter in self.meters:
            if meter.serial_number not in self._entries:
                self._entries[meter.serial_number] = await self._owner.add_meter(
                    meter.address, PASSWORD
                )
                self._told[meter.serial_number] = meter.address

    def _read_log(self) -> None:
        for entry in self._home_assistant.log_entries():
            is_expected = any(error in entry for error in _EXPECTED)
            is_wrong = any(sign in entry for sign in ("Traceback", "Detected that"))
            if is_wrong and DOMAIN in entry and not is_expected:
                raise ChaosError(entry)

    async def be_busy(self) -> None:
        """Do what an owner does, one thing after the other, until cancelled."""
        doings: tuple[Callable[[SimulatedMeter], Awaitable[object]], ...] = (
            self._reload,
            self._fill,
            self._rebuild,
            self._read_logger,
            *[self._update] * 3,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_moves())
            while True:
                await asyncio.sleep(self._random.uniform(0.5, 4))
                doing = self._random.choice(doings)
                meter = self._random.choice(self.meters)
                tasks.create_task(self._try(doing, meter))

    async def _try(
        self,
        doing: Callable[[SimulatedMeter], Awaitable[object]],
        meter: SimulatedMeter,
    ) -> None:
        name = doing.__name__.strip("_")
        try:
            await doing(meter)
        except OwnerError, ClientError, TimeoutError:
            name += ", failed"
        self.done[name] += 1

    async def _reload(self, meter: SimulatedMeter) -> None:
        await self._owner.reload_meter(self._entries[meter.serial_number])

    async def _follow_moves(self) -> None:
        while True:
            await asyncio.sleep(1)
            await self._follow_moved()

    async def _follow_moved(self) -> None:
        for meter in self.meters:
            if self._told.get(meter.serial_number) != meter.address:
                await self._try(self._follow, meter)

    async def _follow(self, meter: SimulatedMeter) -> None:
        address = meter.address
        await self._owner.reconfigure_meter(self._entries[meter.serial_number], address)
        self._told[meter.serial_number] = address

    async def reload(self) -> None:
        """Reload every meter."""
        for meter in self.meters:
            await self._reload(meter)

    async def _fill(self, meter: SimulatedMeter, **data: Any) -> dict[str, Any]:
        return await self._act("backfill_statistics", meter, **data)

    async def _rebuild(self, meter: SimulatedMeter) -> None:
        await self._fill(meter, mode="rebuild")

    async def _read_logger(self, meter: SimulatedMeter) -> None:
        start = datetime.now(UTC) - timedelta(hours=8)
        await self._act("get_data_logger", meter, start=start.isoformat())

    async def _act(
        self, action: str, meter: SimulatedMeter, **data: Any
    ) -> dict[str, Any]:
        entry = self._entries[meter.serial_number]
        return await self._owner.act(
            f"{DOMAIN}.{action}", config_entry_id=entry, **data
        )

    async def _update(self, meter: SimulatedMeter) -> None:
        version = await self._give_firmware(meter, self._random.choice(TRAITS))
        await self._install(meter, version)

    async def update(self) -> None:
        """Give every meter a firmware that works; ChaosError if one does not run it."""
        version = await self._give_firmware(self.meters[0], Trait.GOOD)
        for meter in self.meters:
            await self._install(meter, version)
            if meter.updater.running != version or meter.firmware_fault():
                raise ChaosError(f"{meter.serial_number} does not stay with {version}")

    async def _give_firmware(self, meter: SimulatedMeter, trait: Trait) -> str:
        self._firmware += 1
        version = f"1.0.{self._firmware}"
        size = self._random.randrange(20, 80) * 1024
        image = signed_image(version, trait=trait, size=size)
        await self._owner.give_firmware(self._entries[meter.serial_number], image)
        return version

    async def _install(self, meter: SimulatedMeter, version: str) -> None:
        entity_id = self._entity_id(meter, "update", "firmware")
        await self._owner.install_firmware(entity_id, version)

    @staticmethod
    def _entity_id(meter: SimulatedMeter, platform: str, name: str) -> str:
        return f"{platform}.emu_professional_ii_{meter.serial_number}_{name}"

    async def come_to_rest(self) -> None:
        """Wait until every meter is well and nothing is going on."""
        # What a Home Assistant was told that was killed, it may not remember.
        self._told.clear()
        since = datetime.now(UTC)
        unrest = ["everything"]
        try:
            async with asyncio.timeout(CALM):
                while unrest:
                    await self._follow_moved()
                    await self._keep_or_revert()
                    await self._restart_unfit()
                    await asyncio.sleep(1)
                    unrest = await self._unrest(since)
        except TimeoutError:
            raise ChaosError(f"after {CALM} s: {unrest}") from None

    async def _unrest(self, since: datetime) -> list[str]:
        """Return what is not well; a meter is if it was read after a time."""
        states = {
            state["entity_id"]: state for state in await self._owner.get("/api/states")
        }
        unrest = [
            f"{meter.serial_number}: {fault}"
            for meter in self.meters
            if (fault := meter.firmware_fault())
        ]
        unrest += [
            f"{meter.serial_number} is not known to be at {meter.address}"
            for meter in self.meters
            if self._told.get(meter.serial_number) != meter.address
        ]
        for meter in self.meters:
            # There is one from the first look into the logbook on.
            if self._entity_id(meter, "binary_sensor", "logbook_full") not in states:
                unrest.append(f"{meter.serial_number}: logbook")
            shown = states[self._entity_id(meter, "sensor", "active_power")]
            power = shown["state"]
            if datetime.fromisoformat(shown["last_reported"]) < since:
                # A value from before stays while a few polls fail.
                power = "unavailable"
            fill = states[self._entity_id(meter, "sensor", "statistics_fill")]["state"]
            update = states[self._entity_id(meter, "update", "firmware")]
            if power in {"unavailable", "unknown"} or fill in {
                "running",
                "unavailable",
            }:
                unrest.append(f"{meter.serial_number}: power {power}, fill {fill}")
            if update["attributes"].get("in_progress") is not False:
                unrest.append(f"{meter.serial_number}: updates")
        return unrest

    async def _keep_or_revert(self) -> None:
        for issue_id in await self._owner.issues():
            if issue_id.startswith("firmware_on_trial"):
                choice = self._random.choice(("confirm_firmware", "revert_firmware"))
                with suppress(OwnerError):
                    await self._owner.fix(issue_id, next_step_id=choice)

    async def _restart_unfit(self) -> None:
        for meter in self.meters:
            running = meter.updater.bootloader.running
            if running is None or trait_of(running) not in UNFIT:
                self._unfit_since.pop(meter.serial_number, None)
                continue
            now = time.monotonic()
            since = self._unfit_since.setdefault(meter.serial_number, now)
            if now - since > self._patience:
                self.done["restart on the display"] += 1
                await meter.updater.power_cut()

    async def census(self, process: asyncio.subprocess.Process) -> Census:
        """Return what Home Assistant holds, see `census.py`."""
        answer = self._home_assistant.folder / "census.json"
        answer.unlink(missing_ok=True)
        process.send_signal(signal.SIGUSR1)
        while not answer.exists():
            if process.returncode is not None:
                raise ChaosError(f"Home Assistant has ended: {process.returncode}")
            await asyncio.sleep(0.1)
        return dict(json.loads(answer.read_text()))

    async def assert_exact(self) -> int:
        """Fill the statistics of every meter; return the number of hours, all exact."""
        hours = 0
        for meter in self.meters:
            await self._fill(meter)
            rows = await self._rows(meter)
            known = meter.known()
            # The hour that has just ended may not be compiled yet.
            newest = max(known)
            if not any(row.end == newest for row in rows):
                del known[newest]
            if wrong := list(violations(rows, known)):
                raise ChaosError(f"{meter.serial_number}: {'; '.join(wrong[:5])}")
            hours += len(rows)
            again = await self._fill(meter, dry_run=True)
            if any(
                statistic["hours_written"] or statistic["hours_corrected"]
                for statistic in again["statistics"].values()
            ):
                raise ChaosError(f"{meter.serial_number}: twice is not once: {again}")
        return hours

    async def _rows(self, meter: SimulatedMeter) -> list[Row]:
        now = datetime.now(UTC)
        statistic_id = self._entity_id(meter, "sensor", "energy_import")
        return [
            Row(int(row["start"]) // 1000, row["state"], row["change"])
            for row in await self._owner.rows(statistic_id, now - 2 * HISTORY, now)
        ]
