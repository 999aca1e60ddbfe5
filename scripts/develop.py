"""Runs Home Assistant with this integration and a simulated meter."""

import argparse
import asyncio
from asyncio.subprocess import Process
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
import fcntl
import json
import os
from pathlib import Path
import shutil
import signal
import socket
import sys
from typing import Self
import webbrowser

from aiohttp import ClientSession

from homeassistant.const import RESTART_EXIT_CODE
from processes.home_assistant import HomeAssistant
from processes.owner import DOMAIN, PASSWORD, USER, OwnerError
from processes.running import (
    ROOT,
    ProgramError,
    free_port,
    is_free,
    running,
    wait_for,
    while_running,
)

FOLDER = ROOT / ".homeassistant"

SERIAL_NUMBER = "22350001"
HISTORY = timedelta(days=60)
UPDATER_PORT = 1337
NEW_FIRMWARE = "1.0.17"
FIRMWARE_SIZE = 200 * 1024


class DevelopError(Exception):
    """What keeps Home Assistant or the meter from running."""


@dataclass
class Remembered:
    """What one start tells the next."""

    installed: str
    """The day from which the simulated meter counts; all its values follow from it."""
    meter_port: int

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what the last start kept."""
        with suppress(FileNotFoundError):
            return cls(**json.loads((folder / "develop.json").read_text()))
        installed = datetime.now(UTC) - HISTORY
        return cls(installed=f"{installed:%Y-%m-%d}", meter_port=free_port(8180))

    def save(self, folder: Path) -> None:
        """Keep it for the next start."""
        (folder / "develop.json").write_text(json.dumps(asdict(self)))


def main() -> None:
    """Run until Ctrl-C."""
    arguments = _arguments()
    name = "real" if arguments.host else "demo"
    FOLDER.mkdir(exist_ok=True)
    try:
        with (FOLDER / f"{name}.lock").open("w") as lock:
            _be_the_only_one(lock.fileno())
            asyncio.run(_develop(arguments, FOLDER / name))
    except asyncio.CancelledError:
        print("Stopped.")
    except (DevelopError, OwnerError, ProgramError) as err:
        sys.exit(f"develop: {err}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/develop",
        description="Home Assistant with this integration and a simulated meter.",
    )
    parser.add_argument(
        "--host",
        help="a real meter instead: opens the page that adds it, in a Home Assistant "
        "of its own",
    )
    parser.add_argument(
        "--port", type=int, help="of Home Assistant (default: 8123 or the next free)"
    )
    parser.add_argument(
        "--logger-latency",
        default="0",
        metavar="SECONDS",
        help="that the simulated meter's data logger needs for every request, like "
        "that of some real ones (12 for instance; default: 0)",
    )
    parser.add_argument("--fresh", action="store_true", help="forget everything first")
    return parser.parse_args()


def _be_the_only_one(lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DevelopError("already running here") from None


async def _develop(arguments: argparse.Namespace, folder: Path) -> None:
    _stop_on_signals()
    if arguments.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    port = arguments.port or free_port(8123)
    if not is_free(port):
        raise DevelopError(f"port {port} is taken")
    async with ClientSession() as session:
        development = Development(session, folder, port, arguments)
        if arguments.host:
            await development.run_home_assistant()
        else:
            await development.run_with_simulated_meter()


def _stop_on_signals() -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)


class Development:
    """One run of this program."""

    def __init__(
        self,
        session: ClientSession,
        folder: Path,
        port: int,
        arguments: argparse.Namespace,
    ) -> None:
        """Go on where the last run has stopped."""
        self._session = session
        self._folder = folder
        self._real_meter: str | None = arguments.host
        self._logger_latency: str = arguments.logger_latency
        self._remembered = Remembered.load(folder)
        self._remembered.save(folder)
        self._home_assistant = HomeAssistant(session, folder, port)
        self._url = self._home_assistant.url

    @property
    def _firmware(self) -> Path:
        return self._folder / f"firmware-{NEW_FIRMWARE}.bin"

    @property
    def _meter(self) -> str:
        return f"127.0.0.1:{self._remembered.meter_port}"

    async def run_with_simulated_meter(self) -> None:
        """Run both until one is stopped."""
        port = self._remembered.meter_port
        if not is_free(port):
            raise DevelopError(
                f"port {port} of the simulated meter is taken; --fresh finds another"
            )
        await self._make_firmware()
        # A meter's updater has this port; with another one it can't be tried.
        updater_port = UPDATER_PORT if is_free(UPDATER_PORT, socket.SOCK_DGRAM) else 0
        async with running(
            *("-m", "simulator", f"--port={port}", f"--serial={SERIAL_NUMBER}"),
            f"--updater-port={updater_port}",
            f"--installed={self._remembered.installed}",
            f"--logger-latency={self._logger_latency}",
        ) as meter:
            await while_running(
                meter, wait_for(self._session, f"http://{self._meter}/status.json")
            )
            await self.run_home_assistant(meter)

    async def _make_firmware(self) -> None:
        if not self._firmware.exists():
            async with running(
                *("-m", "simulator.images", NEW_FIRMWARE, str(self._firmware)),
                f"--size={FIRMWARE_SIZE}",
            ) as making:
                await making.wait()

    async def run_home_assistant(self, meter: Process | None = None) -> None:
        """Run Home Assistant until it is stopped, and again if it is restarted."""
        exit_code: int | None = RESTART_EXIT_CODE
        while exit_code == RESTART_EXIT_CODE:
            async with self._home_assistant.run() as process:
                await while_running(process, self._furnish())
                self._welcome(meter)
                exit_code = await process.wait()
        raise DevelopError(f"Home Assistant has stopped with exit code {exit_code}")

    async def _furnish(self) -> None:
        owner = self._home_assistant.owner
        if not self._real_meter:
            if not await owner.meters():
                await owner.add_meter(self._meter)
            await owner.set_up_energy_dashboard(SERIAL_NUMBER)
            self._device_path = await owner.device_path(SERIAL_NUMBER)
        await owner.log_out()

    def _welcome(self, meter: Process | None) -> None:
        print(f"""
  Home Assistant   {self._url}
                   user {USER}, password {PASSWORD}""")
        if meter:
            print(f"""\
  The meter        {self._url}{self._device_path}
  Energy           {self._url}/energy
  Its simulator    http://{self._meter}
                   kill -STOP {meter.pid} makes it silent, kill -CONT {meter.pid} goes on
  A newer firmware {self._firmware.relative_to(ROOT)}""")
        else:
            page = f"{self._url}/config/integrations/dashboard/add?domain={DOMAIN}"
            print(f"""\
  Add the meter    {page}
                   host {self._real_meter}""")
            _open_in_browser(page)
        print(
            f"""\
  Log              {self._home_assistant.log.relative_to(ROOT)}

  Ctrl-C stops everything.
""",
            flush=True,
        )


def _open_in_browser(url: str) -> None:
    # Without a screen Python would start a browser of the terminal.
    if sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        webbrowser.open(url)


if __name__ == "__main__":
    main()
