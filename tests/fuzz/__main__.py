"""Sends random and damaged bytes to everything of the integration that reads bytes.

A case is a find if an error leaves a reader that is not documented, or if it takes
more time, memory or requests than its input justifies. Exit code 1: there are finds.
A case is repeated by the same seed and its number: --seed 7 --case 1234 http.
"""

import argparse
import asyncio
import sys
import time

from . import documents, home, tables, updates
from .target import Result, Targets, run

TARGETS: Targets = {
    "logger": tables.logger,
    "logbook": tables.logbook,
    "pages": tables.pages,
    "documents": documents.documents,
    "http": documents.http,
    "smp": updates.smp_messages,
    "session": updates.smp_session,
    "firmware": updates.firmware,
    "stores": home.stores,
    "calls": home.calls,
    "hosts": home.hosts,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=1, help="for each reader (default: 1)"
    )
    parser.add_argument("--seed", default=str(time.time_ns() % 10**6))
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument(
        "readers", nargs="*", metavar="reader", help=f"of {', '.join(TARGETS)}"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.readers) - set(TARGETS):
        parser.error(f"unknown: {', '.join(unknown)}")
    return arguments


async def _fuzz(name: str, arguments: argparse.Namespace) -> Result:
    end = time.monotonic() + arguments.minutes * 60
    async with TARGETS[name]() as target:
        if arguments.case is not None:
            first = arguments.case
            return await run(
                target, name, arguments.seed, first, lambda count: count > 0
            )
        return await run(
            target, name, arguments.seed, 0, lambda _: time.monotonic() >= end
        )


def main() -> int:
    """Run, print a table, and return the exit code."""
    arguments = _arguments()
    print(f"seed {arguments.seed}", flush=True)
    print(f"{'reader':12}{'cases':>9}{'refused':>9}{'s':>8}{'MB':>8}{'finds':>7}")
    found = 0
    for name in arguments.readers or TARGETS:
        result = asyncio.run(_fuzz(name, arguments))
        print(
            f"{name:12}{result.cases:9}{result.refused:9}{result.seconds:8.2f}"
            f"{result.megabytes:8.1f}{len(result.finds):7}",
            flush=True,
        )
        print(*result.finds, sep="\n", end="\n" if result.finds else "", flush=True)
        found += len(result.finds)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
