"""Starts Home Assistant as if it were earlier: `BEHIND` seconds before now."""

from datetime import UTC, datetime, timedelta
import os
from pathlib import Path
import runpy

# Its classes are made of real dates alone, and must be there before.
import aiohasupervisor  # noqa: F401
from freezegun import freeze_time

started = datetime.now(UTC) - timedelta(seconds=float(os.environ["BEHIND"]))
freeze_time(started, tick=True, real_asyncio=True).start()
runpy.run_path(str(Path(__file__).with_name("start_home_assistant.py")))
