"""Lets a site live through random faults and says what became of it.

Real processes, a real database, simulated meters; for Linux, where each meter can
have an address of its own on the loopback interface. Exit code 1: something was not
true afterwards that should have been.
"""

import argparse
import asyncio
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
import sys
import tempfile
import time
import traceback

from aiohttp import ClientSession, ClientTimeout
from sqlalchemy import create_engine, make_url, text

from processes.home_assistant import CONFIGURATION, HomeAssistant
from processes.running import own_port

from .meters import BAD_LUCK_SO_FAR, SimulatedMeter, have_bad_luck, serving
from .site import PASSWORD, Census, ChaosError, Site

PROGRAM = "tests/chaos/census.py"
DATABASE = "\nrecorder:\n  db_url: {}\n"
ACTION = ClientTimeout(total=600)
"""An update may end after minutes, with a refusal."""
_SETTLING = 60
"""Seconds."""
_LAST_WORDS = 20
"""Entries of Home Assistant's log that may tell what went wrong."""
_RELOADS = 5
_SLACK = 5
"""What goes on at the moment; a leak grows with every reload of every meter."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=3, help="of faults (default: 3)"
    )
    parser.add_argument("--meters", type=int, default=5, help="(default: 5)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    parser.add_argument(
        "--patience",
        type=float,
        default=400,
        help="seconds until the owner restarts a meter that does not come back from an"
        " update (default: 400, Home Assistant gives up first)",
    )
    parser.add_argument(
        "database", nargs="?", help="address of a server (default: SQLite)"
    )
    return parser.parse_args()


async def _chaos(arguments: argparse.Namespace, folder: Path) -> None:
    random = Random(arguments.seed)
    meters = [SimulatedMeter(number, PASSWORD) for number in range(arguments.meters)]
    configuration = CONFIGURATION
    if arguments.database:
        configuration += DATABASE.format(_with_database(arguments.database))
    async with ClientSession(timeout=ACTION) as session, serving(meters):
        home_assistant = HomeAssistant(
            session, folder, own_port(8323), configuration, PROGRAM, quiet=True
        )
        site = Site(home_assistant, meters, random, arguments.patience)
        try:
            await _live_and_die(site, random, arguments.minutes * 60)
            await _live_on(site, random, arguments.minutes * 60 / 3)
        except Exception:
            print(*home_assistant.log_entries()[-_LAST_WORDS:], file=sys.stderr)
            raise


def _with_database(server: str) -> str:
    """Return the address of an empty database beside a server's own."""
    address = make_url(server)
    engine = create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("CREATE DATABASE chaos"))
    return address.set(database="chaos").render_as_string(hide_password=False)


async def _live_and_die(site: Site, random: Random, seconds: float) -> None:
    """Kill Home Assistant again and again, whatever it does."""
    async with site.life():
        await site.come_to_rest()
    end = time.monotonic() + seconds
    async with _bad_luck(site, random):
        while time.monotonic() < end:
            async with site.life() as process:
                await _for(random.uniform(5, 40), site.be_busy())
                if process.returncode is not None:
                    raise ChaosError("Home Assistant has ended by itself")
                if random.random() < 0.75:
                    process.kill()
                    await process.wait()


async def _live_on(site: Site, random: Random, seconds: float) -> None:
    """Let one life have the same bad luck, and see what it has come to."""
    async with site.life() as process:
        await site.come_to_rest()
        await site.assert_exact()
        before = await site.census(process)
        async with _bad_luck(site, random):
            await _for(seconds, site.be_busy())
        await site.come_to_rest()
        await site.update()
        for _ in range(_RELOADS):
            await site.reload()
        await site.come_to_rest()
        hours = await site.assert_exact()
        after = await _settled_census(site, process, before)
    _report(site, hours, before, after)
    if leaks := _leaks(before, after):
        raise ChaosError(f"leaked: {leaks}")


@asynccontextmanager
async def _bad_luck(site: Site, random: Random) -> AsyncGenerator[None]:
    tasks = [
        asyncio.create_task(have_bad_luck(meter, Random(random.random())))
        for meter in site.meters
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(end, asyncio.CancelledError):
                trace = "".join(traceback.format_exception(end))
                raise ChaosError(f"a simulated meter has died: {trace}") from end


async def _for(seconds: float, doing: Coroutine[None, None, None]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await doing


async def _settled_census(site: Site, process: Process, before: Census) -> Census:
    """Count again until there is no more than before; what lingers may take a while."""
    after = await site.census(process)
    for _ in range(_SETTLING):
        if not _leaks(before, after):
            break
        await asyncio.sleep(1)
        after = await site.census(process)
    return after


def _leaks(before: Census, after: Census) -> list[str]:
    """Find what there is too much more of."""
    return [
        f"{name}: {number}, {before[kind].get(name, 0)} before"
        for kind in ("counts", "listeners", "objects")
        for name, number in after[kind].items()
        if number > before[kind].get(name, 0) + _SLACK
    ]


def _report(site: Site, hours: int, before: Census, after: Census) -> None:
    print(f"""
Home Assistant started   {site.starts} times
Owner                    {_listed(site.done)}
Bad luck                 {_listed(BAD_LUCK_SO_FAR)}
Hours of energy          {hours}, all exact
Meters                   {len(site.meters)}, all with a confirmed image""")
    for name, number in before["counts"].items():
        print(f"{name:<24} {number} before, {after['counts'][name]} after")
    for kind in ("listeners", "objects", "memory"):
        totals = [sum(census[kind].values()) for census in (before, after)]
        print("{:<24} {} before, {} after".format(kind, *totals))


def _listed(times: Counter[str]) -> str:
    return ", ".join(f"{number} x {name}" for name, number in sorted(times.items()))


def main() -> None:
    """Run; the exit code says how it went."""
    arguments = _arguments()
    print(f"--seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(_chaos(arguments, Path(folder)))
        except ChaosError as err:
            sys.exit(f"chaos: {err}")


if __name__ == "__main__":
    main()
