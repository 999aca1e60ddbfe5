"""A simulated meter in a process of its own, and the floor of parsing its logger."""

from collections.abc import Generator
from contextlib import contextmanager, suppress
import csv
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
import io
from pathlib import Path
import socket
import subprocess
import sys
import time
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SERIAL_NUMBER: Final = "22350001"
RECORDS_PER_YEAR: Final = 35_064


@contextmanager
def simulator(years: float) -> Generator[int]:
    """Run a meter with a logger that is full; yields its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    installed = datetime.now(UTC) - timedelta(days=365.25 * years + 40)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "simulator", f"--port={port}"),
            *(f"--serial={SERIAL_NUMBER}", f"--installed={installed:%Y-%m-%d}"),
            *(f"--depth={round(years * RECORDS_PER_YEAR)}", "--updater-port=0"),
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    try:
        while process.poll() is None:
            with suppress(ConnectionRefusedError):
                get(port, "/data/?last=1")
                break
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def get(port: int, path: str) -> bytes:
    """Return a document of the meter."""
    connection = HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    return connection.getresponse().read()


def whole_logger(port: int) -> bytes:
    """Return everything in a meter's logger."""
    pages: list[bytes] = []
    last = int(records(port, "last=1").split(b";", 2)[1])
    while page := records(port, f"from={max(last - 2999, 0)}&to={last}"):
        pages.append(page)
        last -= page.count(b"\n")
        if last < 0 or page.count(b"\n") < 3000:
            break
    return b"".join(pages)


def records(port: int, query: str) -> bytes:
    """Return an answer of the logger without its header line."""
    return get(port, f"/data/?{query}").partition(b"\n")[2]


def parsing_floor(body: bytes) -> float:
    """Return the CPU of one streaming pass over the records, with integers."""
    begin = time.process_time()
    text = io.TextIOWrapper(io.BytesIO(body), "ascii", newline="")
    for _stamp, index, status, _serial_number, *values in csv.reader(
        text, delimiter=";"
    ):
        int(index), int(status), tuple(map(int, values))
    return time.process_time() - begin
