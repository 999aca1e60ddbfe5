"""What a poll costs: CPU of the Home Assistant process, side by side in one run.

Each contender is a process of its own with a real Home Assistant core and polls its
own simulated meter in another process, 5 s of the meter's time at each poll. They take
turns, so that a machine that slows down does so for all of them.

    .venv/bin/python -m benchmarks.poll [--rounds 15] [--polls 40] [--recorder]
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
import json
from pathlib import Path
from statistics import median
import subprocess
import sys
import tempfile
import time
from typing import Any, override

from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_test_home_assistant,
)

from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.emu.registers import BY_JSON_KEY, Kind
from homeassistant.const import CONF_HOST, CONF_PORT
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from homeassistant.helpers.recorder import DATA_INSTANCE, async_initialize_recorder
from homeassistant.setup import async_setup_component
from simulator.clock import Instant, ManualClock
from simulator.config import MeterConfig
from simulator.documents import Document
from simulator.meter import Meter
from simulator.web import MeterServer

ROOT = Path(__file__).parent.parent
SERIAL_NUMBER = "22350001"
NOON = 1_780_308_000
PERIOD = 5

type Poll = Callable[[], Awaitable[None]]

LIVE = [
    json_key
    for json_key, quantity in BY_JSON_KEY.items()
    if quantity.kind in (Kind.REGISTER, Kind.MOMENTARY)
]
"""The 25 values that an owner would pick: registers and momentary values."""


class HurriedMeter(Meter):
    """Lives 5 s from one poll to the next."""

    @override
    def meter_data(self, at: Instant | None = None) -> Document:
        assert isinstance(self.clock, ManualClock)
        self.clock.advance(PERIOD)
        return super().meter_data(at)


async def serve(meters: int) -> None:
    """Be meters: print the port of each, serve until standard input ends."""
    config = MeterConfig(serial_number=SERIAL_NUMBER, installed=NOON - 86_400)
    async with AsyncExitStack() as stack:
        for _ in range(meters):
            meter = HurriedMeter(config, ManualClock(NOON))
            server = await stack.enter_async_context(MeterServer(meter))
            print(server.port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def attributes(json_key: str) -> dict[str, Any]:
    """Return attributes as our sensors have them."""
    quantity = BY_JSON_KEY[json_key]
    return {
        "state_class": "measurement",
        "unit_of_measurement": quantity.unit,
        "device_class": quantity.measurand,
        "friendly_name": f"EMU Professional II {SERIAL_NUMBER} {quantity.key}",
    }


async def floor(hass: HomeAssistant, port: int, *, keep: bool = False) -> Poll:
    """GET, parse, and write the states that changed; nothing else.

    The connection is closed after each answer, as a meter that serves one client
    at a time needs it, unless it is to be kept.
    """
    session = async_get_clientsession(hass)
    headers = {} if keep else {"Connection": "close"}
    url = f"http://127.0.0.1:{port}/meterdata.json"
    texts: Mapping[str, Any] = {key: attributes(key) for key in LIVE}
    before: dict[str, Any] = {}

    async def poll() -> None:
        async with session.get(url, headers=headers) as response:
            document = json.loads(await response.read())
        for key in LIVE:
            value = document[key]
            if before.get(key) != value:
                before[key] = value
                hass.states.async_set(f"sensor.floor_{key}".lower(), value, texts[key])

    return poll


async def kept(hass: HomeAssistant, port: int) -> Poll:
    """Do the same over a connection that is kept, and kept from others."""
    return await floor(hass, port, keep=True)


async def rest(hass: HomeAssistant, port: int, keys: Sequence[str] = LIVE) -> Poll:
    """Do what an owner does today: one resource, template sensors of its values."""
    sensors = [
        {
            "name": BY_JSON_KEY[key].key,
            "unique_id": key,
            "value_template": f"{{{{ value_json.{key} }}}}",
            "unit_of_measurement": BY_JSON_KEY[key].unit or None,
            "state_class": "measurement",
        }
        for key in keys
    ]
    for sensor in sensors:
        if sensor["unit_of_measurement"] is None:
            del sensor["unit_of_measurement"]
    url = f"http://127.0.0.1:{port}/meterdata.json"
    config = {"rest": [{"resource": url, "scan_interval": 86_400, "sensor": sensors}]}
    assert await async_setup_component(hass, "rest", config)
    await hass.async_block_till_done()
    assert len(hass.states.async_all()) == len(keys)
    (coordinator,) = hass.data["rest"]["coordinator"]

    async def poll() -> None:
        await coordinator.async_refresh()

    return poll


async def rest_every(hass: HomeAssistant, port: int) -> Poll:
    """Do the same with every value of the meter."""
    return await rest(hass, port, list(BY_JSON_KEY))


async def ours(hass: HomeAssistant, port: int, *, every: bool = False) -> Poll:
    """Set the integration up with its default entities."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title=f"EMU Professional II {SERIAL_NUMBER}",
        unique_id=SERIAL_NUMBER,
        data={CONF_HOST: "127.0.0.1", CONF_PORT: port},
    )
    entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entry.entry_id)
    if every:
        registry = er.async_get(hass)
        for entity in er.async_entries_for_config_entry(registry, entry.entry_id):
            registry.async_update_entity(entity.entity_id, disabled_by=None)
        assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    coordinator = entry.runtime_data.meter

    async def poll() -> None:
        await coordinator.async_refresh()

    return poll


async def ours_every(hass: HomeAssistant, port: int) -> Poll:
    """Set the integration up with every entity enabled."""
    return await ours(hass, port, every=True)


CONTENDERS: dict[str, tuple[str, Callable[[HomeAssistant, int], Awaitable[Poll]]]] = {
    "floor": ("floor: GET, JSON, changed states", floor),
    "kept": ("the floor over a kept connection", kept),
    "default": ("this integration, default entities", ours),
    "every": ("this integration, every entity", ours_every),
    "rest": ("rest, 25 template sensors", rest),
    "rest_every": ("rest, 101 template sensors", rest_every),
}


async def contend(name: str, port: int, recorder: bool) -> None:
    """Be a contender: for each line with a number, poll so often, print ms each."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        (Path(folder) / "custom_components").symlink_to(ROOT / "custom_components")
        hass = await stack.enter_async_context(
            async_test_home_assistant(config_dir=folder)
        )
        hass.data.pop("custom_components", None)
        # Home Assistant's HTTP sessions resolve names through it.
        assert await async_setup_component(hass, "network", {})
        # Only the option flow needs it, and with it a web server at a port that may
        # be taken.
        hass.config.components.add("file_upload")
        if recorder:
            async_initialize_recorder(hass)
            config = {"recorder": {"db_url": f"sqlite:///{folder}/home.db"}}
            assert await async_setup_component(hass, "recorder", config)
        poll = await CONTENDERS[name][1](hass, port)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(await _milliseconds(hass, poll, int(line)), flush=True)
        await hass.async_stop(force=True)


async def _milliseconds(hass: HomeAssistant, poll: Poll, polls: int) -> float:
    begin = time.process_time()
    for _ in range(polls):
        await poll()
    if instance := hass.data.get(DATA_INSTANCE):
        await instance.async_block_till_done()
    return (time.process_time() - begin) / polls * 1000


def spawn(*arguments: str) -> subprocess.Popen[str]:
    """Start this program in another role."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.poll", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(process: subprocess.Popen[str], line: str = "") -> str:
    """Send a line, if any, and return the next one that comes back."""
    assert process.stdin
    assert process.stdout
    if line:
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
    answer = process.stdout.readline().strip()
    if not answer:
        sys.exit("A process ended early")
    return answer


def compare(names: Sequence[str], rounds: int, polls: int, recorder: bool) -> None:
    """Let the contenders take turns, and print medians and ratios."""
    meters = spawn("--serve", str(len(names)))
    options = ["--recorder"] if recorder else []
    contenders = {
        name: spawn("--contend", name, "--port", ask(meters), *options)
        for name in names
    }
    for contender in contenders.values():
        ask(contender)
        ask(contender, str(polls))
    costs: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, contender in contenders.items():
            costs[name].append(float(ask(contender, str(polls))))
    for process in (*contenders.values(), meters):
        process.communicate()
    print(f"{'with' if recorder else 'without'} recorder, {rounds} × {polls} polls")
    print("| contender | ms of CPU per poll | × floor | × rest, 25 |")
    print("| --- | --- | --- | --- |")
    for name, values in costs.items():
        floors = median(a / b for a, b in zip(values, costs["floor"], strict=True))
        rests = median(a / b for a, b in zip(values, costs["rest"], strict=True))
        print(
            f"| {CONTENDERS[name][0]} | {median(values):.2f} "
            f"| {floors:.2f} | {rests:.2f} |"
        )


def main() -> None:
    """Run the role that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--polls", type=int, default=40)
    parser.add_argument("--recorder", action="store_true")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=CONTENDERS,
        default=list(CONTENDERS),
        help="with floor and rest, of which the others are multiples",
    )
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--contend", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
    elif options.contend:
        asyncio.run(contend(options.contend, options.port, options.recorder))
    else:
        compare(options.contenders, options.rounds, options.polls, options.recorder)


if __name__ == "__main__":
    main()
