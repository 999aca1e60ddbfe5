"""Starts Home Assistant as if it were `SECONDS_EARLIER` seconds before now."""

from datetime import UTC, datetime, timedelta
import os
from pathlib import Path
import runpy

# Its classes are made of real dates alone, and must be there before.
import aiohasupervisor  # noqa: F401
from freezegun import freeze_time

earlier = timedelta(seconds=float(os.environ["SECONDS_EARLIER"]))
freeze_time(datetime.now(UTC) - earlier, tick=True, real_asyncio=True).start()
runpy.run_path(str(Path(__file__).with_name("start_home_assistant.py")))
