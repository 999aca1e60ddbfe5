"""A whole Home Assistant with this integration, in a folder of its own."""

from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import json
from pathlib import Path
import re

from aiohttp import ClientSession

from .owner import DOMAIN, Owner
from .running import ROOT, running, wait_for, while_running

CONFIGURATION = """\
# This file is written anew at every start.
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
HOST = "127.0.0.1"
ADDRESS = """
http:
  server_host: {host}
  server_port: {port}
"""

_OURS = re.compile(r"(WARNING|ERROR|CRITICAL) .*emu_professional", re.DOTALL)
_OF_EVERY_CUSTOM_INTEGRATION = "We found a custom integration"
# Home Assistant's limits of tenths of a second, which a busy machine passes
_OF_SPEED = re.compile(r"(Updating state for|Component) .* took [\d.]+ seconds")
_LOG_ENTRY = re.compile(r"^(?=\d{4}-\d\d-\d\d )", re.MULTILINE)


class HomeAssistant:
    """One Home Assistant, which may be started again and again."""

    def __init__(
        self,
        session: ClientSession,
        folder: Path,
        port: int,
        configuration: str = CONFIGURATION,
        program: str = "processes/start_home_assistant.py",
        *,
        quiet: bool = False,
    ) -> None:
        """Know its folder, which must exist, and its port on the loopback interface.

        The integration is this repository's, unless there are others in the folder.
        `program` starts it; it must not find this repository's own packages. A quiet
        one says what it has to say in its log alone.
        """
        self.folder = folder
        self.url = f"http://{HOST}:{port}"
        self.owner = Owner(session, self.url)
        self._session = session
        self._port = port
        self._configuration = configuration
        self._program = program
        self._quiet = quiet

    @property
    def log(self) -> Path:
        """The log since the last start."""
        return self.folder / "home-assistant.log"

    def log_entries(self, begin: int = 0) -> list[str]:
        """Return what the log has from a byte on, each entry with its lines."""
        return _LOG_ENTRY.split(self.log.read_bytes()[begin:].decode())

    @asynccontextmanager
    async def run(self, **environment: str) -> AsyncIterator[Process]:
        """Start it, and stop it when this ends; everything is up and its owner logged in.

        `environment` is for the program that starts it. Raises ProgramError if it does
        not start.
        """
        self._configure()
        # There it clears, at its end, a folder that has one name for all.
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        async with running(
            *("-P", self._program, f"--config={self.folder}"),
            quiet=self._quiet,
            TMPDIR=str(temporary),
            **environment,
        ) as process:
            await while_running(process, self._enter())
            yield process

    async def _enter(self) -> None:
        await wait_for(self._session, f"{self.url}/manifest.json")
        await self.owner.log_in()
        await self.owner.wait_until_running()
        if not self._keeps_address():
            await self.owner.keep_address()
            self._write(self._configuration)

    def _configure(self) -> None:
        blueprints = self.folder / "blueprints" / "automation"
        blueprints.mkdir(parents=True, exist_ok=True)
        integrations = self.folder / "custom_components"
        if integrations.is_symlink() or not integrations.exists():
            _link(integrations, ROOT / "custom_components")
        _link(blueprints / DOMAIN, ROOT / "blueprints" / "automation" / DOMAIN)
        (self.folder / "automations.yaml").touch()
        if self._keeps_address():
            self._write(self._configuration)
            return
        # It takes an address from the configuration only where it has none.
        self._address.unlink(missing_ok=True)
        address = ADDRESS.format(host=HOST, port=self._port)
        self._write(self._configuration + address)

    def _write(self, configuration: str) -> None:
        (self.folder / "configuration.yaml").write_text(configuration)

    @property
    def _address(self) -> Path:
        return self.folder / ".storage" / "http"

    def _keeps_address(self) -> bool:
        try:
            data = json.loads(self._address.read_text())["data"]
        except FileNotFoundError:
            return False
        stable = data["stable"] or {}
        return stable.get("server_host") == [HOST] and (
            stable.get("server_port") == self._port
        )


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


def is_warning_of_us(entry: str, *expected: str) -> bool:
    """Return whether an entry of the log is one of ours that nobody expects."""
    expected = (_OF_EVERY_CUSTOM_INTEGRATION, *expected)
    if _OF_SPEED.search(entry) or any(part in entry for part in expected):
        return False
    return bool(_OURS.search(entry))
