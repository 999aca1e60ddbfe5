"""Starts Home Assistant, which counts what it holds when SIGUSR1 asks for it.

The answer is in the file `census.json` of its configuration folder: numbers by kind of
thing, memory in MiB.
"""

from asyncio import all_tasks
from collections import Counter
import gc
import json
from pathlib import Path
import runpy
import signal
import threading
from types import FrameType
from typing import Any

OURS = "custom_components.emu_professional"
START = Path(__file__).parents[2] / "processes" / "start_home_assistant.py"


def _answer(number: int, frame: FrameType | None) -> None:
    from homeassistant.core import async_get_hass

    hass = async_get_hass()
    gc.collect()
    loop: Any = hass.loop
    census = {
        "counts": {
            "tasks": len(all_tasks()),
            "timers": sum(not timer.cancelled() for timer in loop._scheduled),
            "threads": threading.active_count(),
        },
        "listeners": dict(hass.bus.async_listeners()),
        "objects": Counter(filter(None, map(_our_type, gc.get_objects()))),
    }
    # Home Assistant reports what reads or writes files in its event loop.
    threading.Thread(target=_write, args=(census, hass.config.config_dir)).start()


def _our_type(thing: object) -> str | None:
    module = getattr(type(thing), "__module__", None)
    if not isinstance(module, str) or not module.startswith(OURS):
        return None
    return f"{module.removeprefix(OURS)}.{type(thing).__qualname__}"


def _write(census: dict[str, dict[str, Any]], folder: str) -> None:
    links = map(_target, Path("/proc/self/fd").iterdir())
    open_files = Counter(link.startswith("socket:") for link in links)
    census["counts"] |= {"sockets": open_files[True], "files": open_files[False]}
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    census["memory"] = {"MiB": pages * 4096 // 2**20}
    new = Path(folder) / "census.new"
    new.write_text(json.dumps(census))
    new.rename(Path(folder) / "census.json")


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _answer)
    runpy.run_path(str(START), run_name="__main__")
