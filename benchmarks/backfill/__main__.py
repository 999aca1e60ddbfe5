"""What filling years of statistics costs, beside its floors in the same run.

A simulated meter, a process of its own, is added to a real Home Assistant with a
recorder on an SQLite file, and all its statistics that exist by default are filled
from its logger; then once more, when nothing is left to do. Each run is a process of
its own as well: of one year and of all years, so that their memory can be compared.

The floors: one streaming pass of `csv.reader` with integers over the same bytes, and
a recorder that imports the rows of the first year's run in the same batches into a
new database. No part of Home Assistant's test harness is needed, so that it runs with
any Home Assistant:

    .venv/bin/python -m benchmarks.backfill [--years 5] [--quick]
    /tmp/ha2611/bin/python -m benchmarks.backfill
"""

import argparse
import asyncio
from collections.abc import Sequence
import json
from pathlib import Path
from statistics import median
import subprocess
import sys
import tempfile

from .figures import Compared, Figures
from .measure import run
from .replay import replay
from .simulated_meter import ROOT, parsing_floor, simulator, whole_logger
from .tables import show, spread


def child(folder: Path, *arguments: str) -> Figures:
    """Play another role in a process of its own, and return its figures."""
    folder.mkdir()
    output = subprocess.run(
        [sys.executable, "-m", "benchmarks.backfill", "--folder", folder, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    figures = output.splitlines()[-1]
    # So they are not lost if a later run fails.
    print(figures, file=sys.stderr)
    return Figures(**json.loads(figures))


def compare(years: Sequence[float], idle: float, rounds: int) -> None:
    """Measure runs over so many years and the floors, and print all side by side."""
    compared = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number, count in enumerate(years):
            with simulator(count) as port:
                body = whole_logger(port)
                floors = [parsing_floor(body) for _ in range(rounds)]
                figures = child(
                    folder / str(number), "--run", f"--port={port}", f"--idle={idle}"
                )
                floors += [parsing_floor(body) for _ in range(rounds)]
            print(f"parsing floor, {count:g} years: {spread(floors)}", flush=True)
            compared.append(Compared(count, median(floors), figures))
            if not number:
                replayed = child(folder / "replay", "--replay", f"{folder / '0'}")
    show(compared, replayed)


def main() -> None:
    """Run the role that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=float, default=5)
    parser.add_argument("--quick", action="store_true", help="0.1 and 0.3 years")
    parser.add_argument("--rounds", type=int, default=5, help="of the parsing floor")
    parser.add_argument("--idle", type=float, default=60, help="seconds (default: 60)")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        asyncio.run(run(options.folder, options.port, options.idle))
    elif options.replay:
        asyncio.run(replay(options.folder, options.replay))
    elif options.quick:
        compare((0.1, 0.3), min(options.idle, 15), options.rounds)
    else:
        compare(
            sorted({min(1.0, options.years), options.years}),
            options.idle,
            options.rounds,
        )


if __name__ == "__main__":
    main()
