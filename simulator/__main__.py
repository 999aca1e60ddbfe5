"""Runs simulated meters: `python -m simulator --help`."""

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
import logging
from math import inf
import signal
import sys

from .clock import RunningClock
from .config import INSTALLED, MeterConfig
from .history import INTERVALS, PowerFailure
from .logger import FIFTEEN_MINUTES, LONGEST_DELAY, THREE_YEARS, LoggerConfig
from .meter import PASSWORD_LENGTH, Meter
from .tables import TableConfig
from .updater import UpdaterConfig, UpdaterServer
from .web import IMMEDIATE, Latency, MeterServer

UPDATER_PORT = 1337

MANUALS_PACE = UpdaterConfig(
    erase_seconds=2.0, chunk_seconds=0.014, boot_seconds=8.0, watchdog_seconds=30.0
)
"""200 KiB in 6 s, as the manual shows it; the other times are guesses."""

_LOGGER = logging.getLogger("simulator")


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _speed(text: str) -> float:
    try:
        return RunningClock(speed=float(text)).speed
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err


def _serial_number(text: str) -> str:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return text


def _password(text: str) -> str:
    if len(text) > PASSWORD_LENGTH:
        raise argparse.ArgumentTypeError(f"more than {PASSWORD_LENGTH} characters")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


def _latency(text: str) -> Latency:
    span, _, newest = text.partition("/")
    try:
        latency = Latency(float(span), float(newest or span))
    except ValueError as err:
        raise argparse.ArgumentTypeError(str(err)) from err
    if not (0 <= latency.span < inf and 0 <= latency.newest < inf):
        raise argparse.ArgumentTypeError(f"{text!r} is no time to wait")
    return latency


def _interval(text: str) -> int:
    if _count(text) not in INTERVALS:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to 60")
    return int(text)


def _power_failure(text: str) -> PowerFailure:
    begin, _, end = text.partition("/")
    failure = PowerFailure(_moment(begin), _moment(end))
    if _moment(begin) >= _moment(end):
        raise argparse.ArgumentTypeError(f"{text} ends before it begins")
    return failure


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="Simulated EMU Professional II TCP/IP meters on 127.0.0.1. "
        "Dates are ISO 8601, UTC unless they say otherwise.",
    )
    parser.add_argument(
        "--port", type=int, default=8180, help="of the first meter (default: 8180)"
    )
    parser.add_argument(
        "--updater-port",
        type=int,
        help="UDP port of the first meter's updater (default: 1337, or any free one "
        "with --port 0), further meters on the following ports; 0: any free one",
    )
    parser.add_argument(
        "--serial",
        type=_serial_number,
        action="append",
        help="serial number; repeat it for more meters on the following ports "
        "(default: 22350001)",
    )
    parser.add_argument(
        "--password", type=_password, help='of user "admin" (default: no protection)'
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="of the first meter's household"
    )
    parser.add_argument(
        "--installed",
        type=_moment,
        default=INSTALLED,
        help="when the registers stood at 0 (default: 2024-01-01)",
    )
    parser.add_argument("--clock", type=_moment, help="time to start at (default: now)")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, help="simulated seconds per second"
    )
    parser.add_argument(
        "--no-min-max", action="store_true", help="show no minima and maxima"
    )
    parser.add_argument(
        "--connections",
        type=_count,
        help="TCP connections at a time (default: any number)",
    )
    _add_logger(parser.add_argument_group("data logger"))
    return parser.parse_args(arguments)


def _add_logger(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--no-logger", action="store_true", help="meters without load profile"
    )
    group.add_argument(
        "--interval",
        type=_interval,
        default=FIFTEEN_MINUTES,
        help="minutes between two records, 1 to 60 (default: 15)",
    )
    group.add_argument(
        "--depth",
        type=_count,
        default=THREE_YEARS,
        help="records that it holds (default: 105120, three years at 15 minutes)",
    )
    group.add_argument(
        "--power-failure",
        type=_power_failure,
        action="append",
        default=[],
        metavar="BEGIN/END",
        help="time without power; repeat it for more",
    )
    group.add_argument(
        "--separator", choices=(",", ";"), default=";", help="of columns (default: ;)"
    )
    group.add_argument(
        "--no-header", action="store_true", help="name no columns in the first line"
    )
    group.add_argument(
        "--first-index",
        type=_number,
        help="of the first record ever (default: another one for each serial number)",
    )
    group.add_argument(
        "--logger-delay",
        type=_number,
        default=LONGEST_DELAY,
        metavar="SECONDS",
        help="from a record's stamp until it can be read, at most (default: 84)",
    )
    group.add_argument(
        "--logger-latency",
        type=_latency,
        default=IMMEDIATE,
        metavar="SECONDS[/SECONDS]",
        help="from a request to /data/ until the first byte of the answer; meanwhile "
        "the meter does nothing else; behind a slash that of the newest records, if "
        "it is longer (default: 0)",
    )


def _servers(arguments: argparse.Namespace) -> list[MeterServer]:
    clock = RunningClock(arguments.clock, arguments.speed)
    return [
        MeterServer(
            Meter(_config(arguments, number, serial_number), clock),
            port=arguments.port + number if arguments.port else 0,
            connections=arguments.connections,
            latency=arguments.logger_latency,
        )
        for number, serial_number in enumerate(arguments.serial or ["22350001"])
    ]


def _config(
    arguments: argparse.Namespace, number: int, serial_number: str
) -> MeterConfig:
    logger = LoggerConfig(
        interval=arguments.interval,
        depth=arguments.depth,
        first_index=arguments.first_index,
        delay=arguments.logger_delay,
    )
    return MeterConfig(
        serial_number=serial_number,
        password=arguments.password,
        seed=arguments.seed + number,
        installed=arguments.installed,
        show_min_max=False if arguments.no_min_max else None,
        events=tuple(arguments.power_failure),
        logger=None if arguments.no_logger else logger,
        tables=TableConfig(
            separator=arguments.separator, header=not arguments.no_header
        ),
    )


def _updaters(
    arguments: argparse.Namespace, servers: list[MeterServer]
) -> list[UpdaterServer]:
    port = arguments.updater_port
    if port is None:
        port = UPDATER_PORT if arguments.port else 0
    return [
        UpdaterServer(server, MANUALS_PACE, port=port + number if port else 0)
        for number, server in enumerate(servers)
    ]


async def _serve(updaters: list[UpdaterServer]) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as stack:
        for updater in updaters:
            server = updater.web
            # Looks at the years since the installation before anyone waits for it.
            server.meter.meter_data()
            await stack.enter_async_context(server)
            await stack.enter_async_context(updater)
            _LOGGER.info(
                "Meter %s (firmware %s, updates at UDP port %d) at %s",
                *(server.meter.serial_number, updater.running),
                *(updater.port, server.url),
            )
        await stopped.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = _arguments(arguments)
    updaters = _updaters(chosen, _servers(chosen))
    try:
        asyncio.run(_serve(updaters))
    except OSError as err:
        sys.exit(str(err))


if __name__ == "__main__":
    main()
