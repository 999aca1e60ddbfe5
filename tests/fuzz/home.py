"""What comes from the disk and from callers: stores, service data, typed hosts."""

import base64
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC
import json
from pathlib import Path
from random import Random
import tempfile
from typing import Any, Final, NamedTuple

from pytest_homeassistant_custom_component.common import MockConfigEntry
import voluptuous as vol

from custom_components.emu_professional import (
    coordinator,
    demand,
    demand_coordinator,
    log_position,
    lost_hours,
    relocation,
)
from custom_components.emu_professional.backfill import ledger_keeper
from custom_components.emu_professional.backfill.ledger import Ledger, Seal
from custom_components.emu_professional.const import DOMAIN
from custom_components.emu_professional.demand import LoggedDemand
from custom_components.emu_professional.emu.errors import FirmwareRefused
from custom_components.emu_professional.emu.events import new_events
from custom_components.emu_professional.emu.fingerprint import Fingerprint
from custom_components.emu_professional.emu.readings import (
    PlausibilityFilter,
    Readings,
    parse_readings,
)
from custom_components.emu_professional.emu.table_reader import (
    LogbookReader,
    RecordReader,
)
from custom_components.emu_professional.export import PathRefused, real_path
from custom_components.emu_professional.firmware import kept
from custom_components.emu_professional.firmware.unfinished import update_store
from custom_components.emu_professional.flows import address
from custom_components.emu_professional.outages import lost_time
from custom_components.emu_professional.selected_records import MARGIN
from custom_components.emu_professional.services import ACTIONS, consumption
from custom_components.emu_professional.services.data_logger import selection
from custom_components.emu_professional.storage import OTHER_SHAPE
from homeassistant.core import Context, HomeAssistant, ServiceCall
from homeassistant.exceptions import ServiceValidationError

from . import samples
from .mutations import as_json, damaged, odd_document, odd_value
from .target import Bounds, Target

_NOW: Final = int(samples.NOW.timestamp())


class _Kept(NamedTuple):
    """How a store checks its file, one that is right, and what is done with it."""

    check: Callable[[Any], object]
    document: Any
    use: Callable[[Any], object]


def _readings() -> Readings:
    return parse_readings(json.loads(samples.readings()))


def _use_registers(stored: Any) -> None:
    registers, at = coordinator._parse_registers(stored)
    PlausibilityFilter(registers, at).accept(_readings(), samples.NOW)


def _use_ledger(stored: Any) -> None:
    ledger = Ledger.from_dict(stored)
    seal = {667: Seal(720, 1.5, 0, 0)}
    for key in list(ledger.seals)[:50]:
        ledger.unsettled(key, seal, _NOW)
        ledger.seal(key, seal)
    ledger.prune(list(ledger.settled), _NOW)
    lost_time(ledger.outages, _NOW)
    Ledger.from_dict(ledger.as_dict())


def _use_position(stored: Any) -> None:
    new_events(
        log_position.position_from_dict(stored),
        LogbookReader().feed(samples.logbook()[2]),
        RecordReader().feed(samples.logger()[2]),
    )


def _use_demand(stored: Any) -> None:
    logged = LoggedDemand.from_dict(stored["logged"], samples.SERIAL_NUMBER, UTC)
    logged.feed(RecordReader().feed(samples.logger()[2]), _NOW)
    demand.peaks_as_dict(demand.peaks_from_dict(stored["observed"], UTC))
    demand.LOGGED(logged.as_dict())


def _demand() -> dict[str, Any]:
    logged = LoggedDemand(samples.SERIAL_NUMBER, UTC)
    logged.feed(RecordReader().feed(samples.logger()[2]), _NOW)
    stored = logged.as_dict()
    last = [_NOW, 900, 12.5]
    return {"logged": stored, "observed": {"2026-06": last}, "last_observed": last}


def _use_lost_hours(stored: Any) -> None:
    for since, until in dict(stored["times"]).items():
        lost_hours._shown(since)
        lost_hours._shown(until)


def _firmware() -> dict[str, Any]:
    image = base64.b64encode(samples.firmware()[0]).decode()
    return {
        "image": image,
        "source": "upload",
        "when": samples.NOW.isoformat(),
        "unfit_for": [samples.SERIAL_NUMBER],
        "is_checked_daily": True,
        "checked": samples.NOW.isoformat(),
        "conditions": {"etag": "abc"},
    }


def _stores(hass: HomeAssistant) -> list[_Kept]:
    entry = MockConfigEntry(domain=DOMAIN, unique_id=samples.SERIAL_NUMBER)
    headers = [["server", "EMU"], ["www-authenticate", 'Basic realm="EMU"']]
    return [
        _Kept(
            coordinator.registers_store(hass, entry)._check,
            {
                "registers": {"active_energy_import_t1": "12.345"},
                "at": samples.NOW.isoformat(),
            },
            _use_registers,
        ),
        _Kept(
            ledger_keeper.backfill_store(hass, entry)._check,
            {
                "settled": {"active_power": _NOW - 90_000},
                "silences": [[_NOW - 9000, _NOW - 400], [_NOW - 300, _NOW]],
                "seals": {"active_power": {"667": [720, 5.5, 0, 0], "668": [3, 1]}},
            },
            _use_ledger,
        ),
        _Kept(
            log_position.logbook_store(hass, entry)._check,
            {
                "logbook": 3,
                "logger": 400,
                "lasting": 64,
                "changes": [[400, 1], [401, 2]],
                "empty_since": None,
            },
            _use_position,
        ),
        _Kept(
            demand_coordinator.demand_store(hass, entry)._check,
            _demand(),
            _use_demand,
        ),
        _Kept(
            lost_hours.lost_hours_store(hass, entry)._check,
            {"times": [[_NOW - 9000, _NOW]]},
            _use_lost_hours,
        ),
        _Kept(
            relocation.fingerprint_store(hass, entry)._check,
            {"status": 401, "headers": headers},
            lambda stored: Fingerprint.from_json(stored).as_json(),
        ),
        _Kept(
            update_store(hass, entry)._check,
            {"hash": "00" * 32, "version": "1.0.17"},
            lambda stored: bytes.fromhex(stored["hash"]),
        ),
        _Kept(kept._parse, _firmware(), kept._parse),
    ]


class _File(NamedTuple):
    number: int
    body: bytes


@asynccontextmanager
async def stores() -> AsyncGenerator[Target[_File]]:
    """Read files in .storage: what passes the check can be used."""
    with tempfile.TemporaryDirectory() as folder:
        hass = HomeAssistant(folder)
        kept = _stores(hass)

        def make(random: Random) -> _File:
            number = random.randrange(len(kept))
            document = kept[number].document
            for _ in range(random.randrange(1, 4)):
                document = odd_document(random, document)
            return _File(number, as_json(document))

        async def read(given: _File) -> int:
            store = kept[given.number]
            try:
                document = json.loads(given.body)
                store.check(document)
            except (*OTHER_SHAPE, FirmwareRefused, RecursionError):
                return len(given.body)
            store.use(document)
            return len(given.body)

        yield Target(make, read, (), Bounds(0.5, 20, 4, 100))
        await hass.async_stop(force=True)


_DATES: Final = (
    *("2026-06-01T10:00:00+02:00", "2026-06-01 10:00", "2026-06-01", "0001-01-01"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59"),
    *("2026-03-29T02:30:00", "2026-06-01T24:00:00", "2026-W01-1", "20260601", "now"),
)
_CALLS: Final[dict[str, dict[str, Any]]] = {
    "backfill_statistics": {"mode": "fill", "dry_run": True},
    "get_data_logger": {"first_index": 1, "last_index": 9, "columns": ["frequency"]},
    "get_logbook": {},
    "get_consumption": {"start": "2026-05-01", "per": "day"},
    "export_data_logger": {"path": "www/meter.csv", "columns": "frequency"},
}


class _Call(NamedTuple):
    service: str
    data: Any


def _call(random: Random) -> _Call:
    service = random.choice(list(_CALLS))
    data: dict[str, Any] = {"config_entry_id": "abc", **_CALLS[service]}
    for key in ("start", "end"):
        if random.random() < 0.5:
            data[key] = random.choice((*_DATES, odd_value(random)))
    if service == "export_data_logger" and random.random() < 0.5:
        path = damaged(random, (b"www/meter.csv", b"../secrets.yaml", b"/etc/passwd"))
        data["path"] = path[:5000].decode(errors="surrogateescape")
    for _ in range(random.choice((0, 0, 1, 2))):
        data = odd_document(random, data)
    return _Call(service, data)


@asynccontextmanager
async def calls() -> AsyncGenerator[Target[_Call]]:
    """Check data of service calls: times, indices and paths."""
    with tempfile.TemporaryDirectory() as folder:
        hass = HomeAssistant(folder)
        Path(folder, "www").mkdir()
        hass.config.allowlist_external_dirs = {str(Path(folder, "www").resolve())}

        async def read(given: _Call) -> int:
            schema = ACTIONS[given.service].schema
            data = schema(given.data)
            call = ServiceCall(hass, DOMAIN, given.service, data, Context())
            if given.service == "get_consumption":
                ends = consumption.borders_of(call, data["per"])
                assert ends == sorted(set(ends))
                assert len(ends) <= consumption.MOST_PERIODS + 1
                return 0
            wanted = selection(call)
            assert wanted.since < wanted.until
            assert abs(wanted.since) + wanted.until + MARGIN < 2**63
            if "path" in data:
                path = real_path(hass.config, data["path"])
                assert path.is_relative_to(Path(folder, "www").resolve())
            return 0

        # Errors of the disk are reported to the caller unchanged.
        errors = (vol.Invalid, ServiceValidationError, PathRefused, OSError)
        # Home Assistant's own error text for lists in thousands of lists takes 0.6 s.
        yield Target(_call, read, errors, Bounds(2, 0, 4, 0))
        await hass.async_stop(force=True)


_HOSTS: Final = (
    *(b"192.168.1.20", b"meter.lan:8081", b"http://meter.local/status.json", b"::1"),
    *(b"[fe80::1%eth0]:80", "zähler.example".encode(), b"user:password@meter.lan"),
)


@asynccontextmanager
async def hosts() -> AsyncGenerator[Target[bytes]]:
    """Read what an owner may type as a host."""

    async def read(given: bytes) -> int:
        host, port = address.parse_host(given.decode(errors="surrogateescape"))
        assert 0 < port < 65_536
        assert len(host) < 300
        host.encode()
        return len(given)

    def make(random: Random) -> bytes:
        return damaged(random, _HOSTS)[:10_000]

    # The first name of another alphabet has large tables loaded.
    for host in _HOSTS:
        await read(host)
    yield Target(make, read, (ValueError,), Bounds(0.5, 2, 2, 60))
