"""Runs Home Assistant with this integration and a simulated meter."""

import argparse
import asyncio
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
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
from typing import Any, Self
import webbrowser

from aiohttp import ClientError, ClientSession

from homeassistant.const import RESTART_EXIT_CODE
from scripts.demo_owner import DOMAIN, PASSWORD, USER, DemoOwner, DemoOwnerError

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".homeassistant"

SERIAL_NUMBER = "22350001"
HISTORY = timedelta(days=60)
UPDATER_PORT = 1337
NEW_FIRMWARE = "1.0.17"
FIRMWARE_SIZE = 200 * 1024
PATIENCE = 600
"""Seconds; at its first start Home Assistant installs what it is missing."""

CONFIGURATION = """\
# scripts/develop writes this file anew at every start.
homeassistant:
  name: Home
  latitude: 47.1955
  longitude: 8.5242
  elevation: 440
  time_zone: Europe/Zurich
  unit_system: metric
  currency: CHF
  country: CH
  language: en

automation: !include automations.yaml
config:
energy:
frontend:
history:
logbook:
my:

logger:
  default: warning
  logs:
    custom_components.emu_professional: info
"""
ADDRESS = """
http:
  server_host: 127.0.0.1
  server_port: {port}
"""


class DevelopError(Exception):
    """What keeps Home Assistant or the meter from running."""


@dataclass
class Remembered:
    """What one start tells the next."""

    installed: str
    """The day from which the simulated meter counts; all its values follow from it."""
    meter_port: int
    port: int = 0
    """The port that Home Assistant has confirmed."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return what the last start kept."""
        with suppress(FileNotFoundError):
            return cls(**json.loads((folder / "develop.json").read_text()))
        installed = datetime.now(UTC) - HISTORY
        return cls(installed=f"{installed:%Y-%m-%d}", meter_port=_free_port(8180))

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
    except (DemoOwnerError, DevelopError) as err:
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
    port = arguments.port or _free_port(8123)
    if not _is_free(port):
        raise DevelopError(f"port {port} is taken")
    async with ClientSession() as session:
        development = Development(session, folder, port, arguments.host)
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
        self, session: ClientSession, folder: Path, port: int, real_meter: str | None
    ) -> None:
        """Go on where the last run has stopped."""
        self._session = session
        self._folder = folder
        self._port = port
        self._real_meter = real_meter
        self._remembered = Remembered.load(folder)
        self._remembered.save(folder)
        self._url = f"http://127.0.0.1:{port}"

    @property
    def _firmware(self) -> Path:
        return self._folder / f"firmware-{NEW_FIRMWARE}.bin"

    @property
    def _meter(self) -> str:
        return f"127.0.0.1:{self._remembered.meter_port}"

    async def run_with_simulated_meter(self) -> None:
        """Run both until one is stopped."""
        port = self._remembered.meter_port
        if not _is_free(port):
            raise DevelopError(
                f"port {port} of the simulated meter is taken; --fresh finds another"
            )
        await self._make_firmware()
        # A meter's updater has this port; with another one it can't be tried.
        updater_port = UPDATER_PORT if _is_free(UPDATER_PORT, socket.SOCK_DGRAM) else 0
        async with _running(
            *("-m", "simulator", f"--port={port}", f"--serial={SERIAL_NUMBER}"),
            f"--updater-port={updater_port}",
            f"--installed={self._remembered.installed}",
        ) as meter:
            await _while_running(
                meter, _wait_for(self._session, f"http://{self._meter}/status.json")
            )
            await self.run_home_assistant(meter)

    async def _make_firmware(self) -> None:
        if not self._firmware.exists():
            async with _running(
                *("-m", "simulator.images", NEW_FIRMWARE, str(self._firmware)),
                f"--size={FIRMWARE_SIZE}",
            ) as making:
                await making.wait()

    async def run_home_assistant(self, meter: Process | None = None) -> None:
        """Run Home Assistant until it is stopped, and again if it is restarted."""
        exit_code: int | None = RESTART_EXIT_CODE
        while exit_code == RESTART_EXIT_CODE:
            self._configure()
            async with _running(
                *("-P", "scripts/home_assistant.py"), f"--config={self._folder}"
            ) as home_assistant:
                await _while_running(home_assistant, self._furnish())
                self._welcome(meter)
                exit_code = await home_assistant.wait()
        raise DevelopError(f"Home Assistant has stopped with exit code {exit_code}")

    def _configure(self) -> None:
        blueprints = self._folder / "blueprints" / "automation"
        blueprints.mkdir(parents=True, exist_ok=True)
        _link(self._folder / "custom_components", ROOT / "custom_components")
        _link(blueprints / DOMAIN, ROOT / "blueprints" / "automation" / DOMAIN)
        (self._folder / "automations.yaml").touch()
        configuration = CONFIGURATION
        if self._port != self._remembered.port:
            # It takes an address from the configuration only where it has none.
            (self._folder / ".storage" / "http").unlink(missing_ok=True)
            configuration += ADDRESS.format(port=self._port)
        (self._folder / "configuration.yaml").write_text(configuration)

    async def _furnish(self) -> None:
        await _wait_for(self._session, f"{self._url}/manifest.json")
        owner = DemoOwner(self._session, self._url)
        await owner.log_in()
        await owner.wait_until_running()
        if self._port != self._remembered.port:
            await owner.keep_address()
            self._remembered.port = self._port
            self._remembered.save(self._folder)
            self._configure()
        if not self._real_meter:
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
  Log              {self._folder.relative_to(ROOT)}/home-assistant.log

  Ctrl-C stops everything.
""",
            flush=True,
        )


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink():
        link.symlink_to(target.relative_to(link.parent, walk_up=True))


async def _wait_for(session: ClientSession, url: str) -> None:
    while True:
        with suppress(ClientError):
            async with session.get(url) as response:
                if response.ok:
                    return
        await asyncio.sleep(0.2)


@asynccontextmanager
async def _running(*arguments: str) -> AsyncIterator[Process]:
    """Run a Python program that has nothing left running when this ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=ROOT,
        stdin=DEVNULL,
        # Ctrl-C must reach this program alone: the meter is to outlive Home Assistant.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError, TimeoutError):
            process.terminate()
            async with asyncio.timeout(30):
                await process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def _while_running(process: Process, doing: Coroutine[Any, Any, None]) -> None:
    """Do something for which a program must be running."""
    task = asyncio.create_task(doing)
    end = asyncio.create_task(process.wait())
    try:
        await asyncio.wait(
            (task, end), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        if end.done():
            raise DevelopError(f"a program ended with exit code {process.returncode}")
        if not task.done():
            raise DevelopError(f"not ready after {PATIENCE} s")
        await task
    finally:
        task.cancel()
        end.cancel()


def _free_port(first: int) -> int:
    """Return the first free port from this one on."""
    return next(port for port in range(first, 2**16) if _is_free(port))


def _is_free(port: int, kind: int = socket.SOCK_STREAM) -> bool:
    with socket.socket(type=kind) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _open_in_browser(url: str) -> None:
    # Without a screen Python would start a browser of the terminal.
    if sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        webbrowser.open(url)


if __name__ == "__main__":
    main()
