"""The time of an upload on lines of any length and loss, side by side in one run.

The simulated module is a process of its own; its line delays and loses datagrams. The
floor is a bare loop that sends a chunk and waits for the answer, on the same line
without loss. The contenders take turns, so that a machine that slows down does so for
all of them.

    .venv/bin/python -m benchmarks.update [--quick] [--rounds 1] [--size 200]
        [--trips 1 5 20] [--losses 0 5 10 20 30]
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
import logging
import socket
from statistics import median
import subprocess
import sys
import time
from typing import override

from smpclient import SMPClient
from smpclient.exceptions import SMPClientException
from smpclient.transport.udp import SMPUDPTransport

from custom_components.emu_professional.emu.errors import MeterError
from custom_components.emu_professional.emu.updater import messages
from custom_components.emu_professional.emu.updater.session import CHUNK, UpdaterSession
from simulator.bootloader import read_image
from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.images import signed_image
from simulator.meter import Meter
from simulator.updater import UpdaterConfig, UpdaterServer
from simulator.web import MeterServer

from .poll import NOON, ROOT, SERIAL_NUMBER

HOST = "127.0.0.1"
KIB = 1024
ANSWER_TIMEOUT = 5.0
"""Seconds that `smpclient` waits for each answer."""
DATAGRAM = 512
"""Bytes of a datagram for `smpclient`; it knows no size of chunks."""
UDP_HEADERS = 28


@dataclass(frozen=True)
class Line:
    """A line to the module: round trip in ms, loss in % each way."""

    trip: float
    loss: float
    seed: int = 1


async def serve() -> None:
    """Be the module: for each line on standard input, print the port of a fresh one."""
    config = MeterConfig(serial_number=SERIAL_NUMBER, installed=NOON - 86_400)
    async with MeterServer(Meter(config, ManualClock(NOON))) as web:
        while words := (await asyncio.to_thread(sys.stdin.readline)).split():
            trip, loss, seed = float(words[0]), float(words[1]), int(words[2])
            async with UpdaterServer(web, UpdaterConfig(seed=seed)) as module:
                lines = module.datagrams.requests, module.datagrams.answers
                for line in lines:
                    line.loss = loss / 100
                # All of it on one way, because the event loop counts in whole ms.
                lines[0].delay = trip / 1000
                print(module.port, flush=True)
                await asyncio.to_thread(sys.stdin.readline)
                uploaded = module.bootloader.image(1)
                print(uploaded.hash.hex() if uploaded else "-", flush=True)


class Module:
    """The module's process."""

    def __init__(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.update", "--serve"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def seconds(self, contender: Contender, line: Line, image: bytes) -> float | None:
        """Return how long an upload takes, None if it fails."""
        port = int(self._ask(f"{line.trip} {line.loss} {line.seed}"))
        begin = time.perf_counter()
        done = asyncio.run(contender(port, image))
        seconds = time.perf_counter() - begin
        uploaded = self._ask("end")
        return seconds if done and uploaded == read_image(image).hash.hex() else None

    def _ask(self, line: str) -> str:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


type Contender = Callable[[int, bytes], Awaitable[bool]]


async def ours(port: int, image: bytes) -> bool:
    """Upload with a session of ours."""
    async with UpdaterSession(HOST, port) as session:
        try:
            await session.upload(image, lambda size: None)
        except MeterError as err:
            print(f"  ({err})")
            return False
        return True


async def floor(port: int, image: bytes) -> bool:
    """Send each chunk and wait for any answer."""
    parts = list(_datagrams(image))
    with socket.socket(type=socket.SOCK_DGRAM) as bare:
        bare.connect((HOST, port))
        bare.settimeout(ANSWER_TIMEOUT)
        for part in parts:
            bare.send(part)
            bare.recv(4096)
    return True


def _datagrams(image: bytes) -> Iterable[bytes]:
    for offset in range(0, len(image), CHUNK):
        fields = {"image": 0, "off": offset, "data": image[offset : offset + CHUNK]}
        if offset == 0:
            fields |= {"len": len(image), "sha": sha256(image).digest()}
        payload = messages.encode(fields)
        yield messages.frame(messages.UPLOAD, offset // CHUNK % 256, payload)


class _Transport(SMPUDPTransport):
    """Its transport knows one port only."""

    port = 0

    @override
    async def connect(self, address: str, timeout_s: float, port: int = 0) -> None:
        await super().connect(address, timeout_s, self.port)


async def smpclient(port: int, image: bytes) -> bool:
    """Upload with `smpclient` as it is, its datagrams made short enough."""
    transport = _Transport(mtu=DATAGRAM + UDP_HEADERS)
    transport.port = port
    with suppress(SMPClientException, TimeoutError):
        async with SMPClient(transport, HOST, ANSWER_TIMEOUT) as client:
            async for _ in client.upload(image, first_timeout_s=ANSWER_TIMEOUT):
                pass
            return True
    return False


def compare(rounds: int, size: int, trips: list[float], losses: list[float]) -> None:
    """Print medians, and ratios to the floor of the same round trip."""
    image = signed_image("1.0.17", size=size * KIB)
    chunks = -(-len(image) // CHUNK)
    print(f"{size} KiB in {chunks} chunks, {rounds} rounds; seconds")
    print(
        "| round trip | loss | floor | ours | × floor | × chunks · trip | smpclient |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    module = Module()
    for trip in trips:
        for loss in losses:
            line = Line(trip, loss)
            floors, uploads, others = [], [], []
            for seed in range(1, rounds + 1):
                line = replace(line, seed=seed)
                floors.append(module.seconds(floor, replace(line, loss=0), image))
                uploads.append(module.seconds(ours, line, image))
                others.append(module.seconds(smpclient, line, image))
            least, ideal = _median(floors), chunks * trip / 1000
            took = _median(uploads)
            print(
                f"| {trip:g} ms | {loss:g} % | {_text(least)} | {_text(took)} "
                f"| {_text(took and least and took / least)} "
                f"| {_text(took and took / ideal)} | {_text(_median(others))} |",
                flush=True,
            )
    module.close()


def _median(values: list[float | None]) -> float | None:
    """Return the median, None if there is none because one gave up."""
    known = [value for value in values if value is not None]
    return median(known) if len(known) == len(values) else None


def _text(value: float | None) -> str:
    return "gives up" if value is None else f"{value:.2f}"


def main() -> None:
    """Run the role of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 KiB, two losses")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--size", type=int, default=200, help="KiB")
    parser.add_argument("--trips", type=float, nargs="+", default=[1, 5, 20])
    parser.add_argument("--losses", type=float, nargs="+", default=[0, 5, 10, 20, 30])
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    # It logs each of its troubles.
    logging.disable()
    if options.serve:
        asyncio.run(serve())
    elif options.quick:
        compare(1, 20, options.trips, [0, 20])
    else:
        compare(options.rounds, options.size, options.trips, options.losses)


if __name__ == "__main__":
    main()
