"""What a simulated meter counts, in hours of the owner."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from simulator.meter import Meter

HOUR = timedelta(hours=1)
LOCAL = ZoneInfo("Europe/Zurich")


def midnight(at: datetime) -> datetime:
    """Return when a day began."""
    return at.astimezone(LOCAL).replace(hour=0, minute=0, second=0, microsecond=0)


def wh(meter: Meter, register: str, begin: datetime, end: datetime) -> int:
    """Return what a register counts in a time, in Wh."""
    counted = [getattr(meter.registers(at), register) for at in (begin, end)]
    return int(counted[1] - counted[0])
