"""Real answers of the simulated meter, in every form that its tables can have."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
import io
import json
from typing import Final
import zipfile

import cbor2

from simulator.clock import ManualClock
from simulator.config import MeterConfig
from simulator.history import ClockChange, CurrentRatioChange, PowerFailure
from simulator.images import signed_image, unsigned_image
from simulator.meter import Meter
from simulator.tables import TableConfig

NOW: Final = datetime(2026, 6, 1, 10, tzinfo=UTC)
FORMS: Final = (
    TableConfig(),
    TableConfig(separator=",", header=False, line_end="\n", manuals_names=True),
    TableConfig(separator="\t", line_end="\r", byte_order_mark=True),
    TableConfig(final_line_end=False, chunked=True, last_ascending=True),
)
SERIAL_NUMBER: Final = "22350001"


def meter() -> Meter:
    """Return a meter that has logged 480 records and some events."""
    events = (
        PowerFailure(NOW - timedelta(hours=50), NOW - timedelta(hours=47)),
        ClockChange(NOW - timedelta(hours=30), -3700),
        CurrentRatioChange(NOW - timedelta(hours=20), 100),
        ClockChange(NOW - timedelta(hours=10), 7),
    )
    config = MeterConfig(
        serial_number=SERIAL_NUMBER, installed=NOW - timedelta(days=5), events=events
    )
    return Meter(config, ManualClock(NOW))


@cache
def logger() -> tuple[bytes, ...]:
    """Return pages of the data logger."""
    return tuple(_tables("data"))


@cache
def logbook() -> tuple[bytes, ...]:
    """Return pages of the logbook."""
    return tuple(_tables("logbook_data"))


def _tables(name: str) -> Iterator[bytes]:
    made = meter()
    for form in FORMS:
        made.tables = form
        for count in ("1", "3", "96", "3000"):
            page = getattr(made, name)({"last": count})
            assert page
            yield page


@cache
def status() -> bytes:
    """Return a status.json."""
    return json.dumps(meter().status()).encode()


@cache
def readings() -> bytes:
    """Return a meterdata.json."""
    return json.dumps(meter().meter_data()).encode()


@cache
def firmware() -> tuple[bytes, ...]:
    """Return firmware files: images, and zip archives with one."""
    images = (signed_image(size=4000), unsigned_image("1.0.17", size=2000))
    return (*images, *(_zip(image) for image in images))


def _zip(image: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("emu/readme.txt", "Firmware of a meter\n" * 50)
        archive.writestr("emu/firmware.bin", image)
    return file.getvalue()


_SLOT: Final = {
    "slot": 0,
    "version": "1.0.16",
    "hash": bytes(range(32)),
    "bootable": True,
    "pending": False,
    "confirmed": True,
    "active": True,
    "permanent": False,
}


@cache
def smp() -> tuple[bytes, ...]:
    """Return the CBOR of an updater's answers."""
    other = _SLOT | {"slot": 1, "active": False, "confirmed": False, "hash": bytes(32)}
    return tuple(
        cbor2.dumps(fields)
        for fields in (
            {"images": [_SLOT, other], "splitStatus": 0},
            {"rc": 0, "off": 512},
            {"rc": 0},
            {},
            {"rc": 6, "rsn": "no slot"},
            {"err": {"group": 1, "rc": 2}},
        )
    )
