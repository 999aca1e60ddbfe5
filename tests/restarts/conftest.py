"""A meter, and a Home Assistant that is stopped, or killed, and started again."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
import re
from typing import Final

from aiohttp import ClientSession
import pytest

from processes.home_assistant import CONFIGURATION, HomeAssistant, is_warning_of_us
from processes.running import own_port, until
from simulator.clock import RunningClock
from simulator.config import MeterConfig
from simulator.meter import Meter
from simulator.web import MeterServer

SERIAL_NUMBER: Final = "22350001"
INSTALLED: Final = datetime(2026, 8, 30, 22, tzinfo=UTC)
BETWEEN: Final = timedelta(hours=1)
"""Time between two lives."""
NOON: Final = INSTALLED + timedelta(days=1, hours=12)
"""When a life may begin, with little history to read."""
SECOND: Final = 45
"""Of the minute, when a life begins: what is done each minute is soon done."""

_LOADS: Final = """
input_boolean:
  boiler_is_shed:
  heater_is_shed:

command_line:
"""
_LOAD: Final = """\
  - switch:
      name: {name}
      command_on: touch {file}
      command_off: rm -f {file}
      command_state: test -e {file}
      scan_interval: 1
"""
_OF_AUTOMATIONS: Final = re.compile(
    r"(WARNING|ERROR|CRITICAL) .*\[homeassistant\."
    r"(components\.(automation|blueprint|script)|helpers\.(condition|script|template|trigger))"
)


class Load:
    """A switch that stays as it is while Home Assistant is off: its file is there or not."""

    def __init__(self, folder: Path, name: str) -> None:
        """Be off."""
        self.name = name
        self._file = folder / name
        self.entity_id = f"switch.{name}"
        self.toggle = f"input_boolean.{name}_is_shed"
        self.configuration = _LOAD.format(name=name, file=self._file)

    @property
    def is_on(self) -> bool:
        """Whether it is on, whatever Home Assistant believes."""
        return self._file.exists()

    @is_on.setter
    def is_on(self, is_on: bool) -> None:
        if is_on:
            self._file.touch()
        else:
            self._file.unlink(missing_ok=True)


class RestartingHome:
    """A Home Assistant with a meter and two loads, which has one life after the other."""

    def __init__(
        self,
        session: ClientSession,
        folder: Path,
        server: MeterServer,
        clock: RunningClock,
        *,
        killed: bool,
    ) -> None:
        """Know them; `killed` is whether lives have a sudden end."""
        self.files = folder / "files"
        self.files.mkdir()
        self.boiler, self.heater = (Load(folder, name) for name in ("boiler", "heater"))
        loads = _LOADS + self.boiler.configuration + self.heater.configuration
        self._home_assistant = HomeAssistant(
            session,
            folder,
            own_port(8523),
            _with_folder(self.files) + loads,
            "processes/start_at_another_time.py",
        )
        self.owner = self._home_assistant.owner
        self.clock = clock
        self.server = server
        self._killed = killed

    @asynccontextmanager
    async def first_life(self, begin: datetime) -> AsyncIterator[None]:
        """Run Home Assistant from a moment on, to an orderly end.

        For what an owner sets up days before anything happens: some of it is on disk
        only after minutes, and would be lost with a sudden end.
        """
        killed, self._killed = self._killed, False
        async with self.life(begin):
            yield
        self._killed = killed

    @asynccontextmanager
    async def life(
        self, begin: datetime | None = None, *, expected: tuple[str, ...] = ()
    ) -> AsyncIterator[None]:
        """Run Home Assistant from a moment on, by default an hour after its last end.

        Its log must have nothing of us and of automations to worry its owner, but
        for what is `expected`.
        """
        self.clock.set((begin or self.now + BETWEEN).replace(second=SECOND))
        earlier = datetime.now(UTC) - self.now
        async with self._home_assistant.run(
            SECONDS_EARLIER=str(earlier.total_seconds())
        ) as process:
            yield
            if self._killed:
                process.kill()
                await process.wait()
        assert not [
            entry
            for entry in self._home_assistant.log_entries()
            if _is_wrong(entry, *expected)
        ]

    @property
    def now(self) -> datetime:
        """The time at home."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    async def add_meter(self) -> str:
        """Add the meter and return the id of its config entry."""
        return await self.owner.add_meter(self.server.url)

    def store(self, entry_id: str, name: str) -> Path:
        """Return a file of the meter's config entry."""
        return (
            self._home_assistant.folder
            / ".storage"
            / f"emu_professional.{entry_id}.{name}"
        )

    async def messages(self, number: int) -> list[str]:
        """Return the words of so many notifications, once they are there."""

        async def are_there() -> bool:
            return len(await self.owner.notifications()) >= number

        await until(are_there, seconds=120)
        return [one["message"] for one in await self.owner.notifications()]

    async def is_idle(self) -> bool:
        """Return whether no automation runs."""
        states = await self.owner.get("/api/states")
        return not any(
            state["attributes"]["current"]
            for state in states
            if state["entity_id"].startswith("automation.")
        )


def _with_folder(folder: Path) -> str:
    """Return the configuration of a Home Assistant that may write to a folder."""
    core = "homeassistant:\n"
    allowed = f"  allowlist_external_dirs: [{folder}]\n"
    return CONFIGURATION.replace(core, core + allowed)


def _is_wrong(entry: str, *expected: str) -> bool:
    if any(part in entry for part in expected):
        return False
    return is_warning_of_us(entry) or bool(_OF_AUTOMATIONS.search(entry))


@pytest.fixture(params=[False, True], ids=["stopped", "killed"])
def killed(request: pytest.FixtureRequest) -> bool:
    """Return whether Home Assistant ends suddenly."""
    return bool(request.param)


@pytest.fixture
async def home(tmp_path: Path, killed: bool) -> AsyncGenerator[RestartingHome]:
    """Return a home whose Home Assistant is off."""
    clock = RunningClock(INSTALLED)
    config = MeterConfig(serial_number=SERIAL_NUMBER, installed=INSTALLED)
    async with (
        MeterServer(Meter(config, clock)) as server,
        ClientSession() as session,
    ):
        yield RestartingHome(session, tmp_path, server, clock, killed=killed)
