"""The meter's two JSON documents, and a plausibility filter for their values.

Chapter "Read out Configuration | Values". All times are UTC.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
import math
import re
import reprlib
from typing import Any, Final

from .errors import MeterUnexpectedAnswer, MeterUnsupported
from .registers import BY_JSON_KEY, Kind, Quantity
from .serial_number import normalized

type Value = Decimal | datetime | None
"""A number in the quantity's unit, a time in UTC, or nothing."""

HOLD: Final = timedelta(seconds=30)
"""Longest time that the last good value replaces an implausible one."""

RESTART: Final = timedelta(hours=1)
"""Time after which a lower or far higher register value counts as a restart."""

_LONGEST_STEP: Final = timedelta(minutes=10)
"""Longest time between two readings that counts for `HOLD` and `RESTART`."""

CLOCK_RESOLUTION: Final = timedelta(seconds=5)
"""The meter updates its readings and their time every 5 s ("Current Readings")."""

_REGISTERS: Final = tuple(
    quantity.key for quantity in BY_JSON_KEY.values() if quantity.kind is Kind.REGISTER
)
_MOST_POWER_KW: Final = 1_000_000
_NUMBER: Final = re.compile(r"-?\d{1,10}(\.\d{1,6})?", re.ASCII)
_SERIAL_NUMBER: Final = re.compile(r"\w[\w.-]{0,31}", re.ASCII)
_MAC: Final = re.compile(r"([0-9A-F]{2}[:-]){5}[0-9A-F]{2}", re.ASCII | re.IGNORECASE)
_LATEST_TIME: Final = 2**32
_LARGEST_NUMBER: Final = 2**32 - 1
_HIGHEST_PORT: Final = 2**16 - 1
_LONGEST_TEXT: Final = 64
_NOTHING: Final = (None, "", "-")


@dataclass(frozen=True, slots=True)
class Readings:
    """Content of meterdata.json.

    `clock` is the meter's own time, None while it has none. `values` has each reported
    quantity by its key, None for a quantity without a value. `rejected` has the raw
    text of implausible values by their key. `document` is the raw answer.
    """

    clock: datetime | None
    values: Mapping[str, Value]
    rejected: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


_UNREAD: Final = object()
_NOTHING_READ: Final = Readings(clock=None, values={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Content of status.json; None for a missing value.

    `serial_number` is normalized; `mac` has the form "10:2C:EF:00:00:00"; `clock` is
    the meter's own time; `document` is the raw answer.
    """

    serial_number: str
    mac: str | None
    software_version: str | None
    factory_number: int | None
    clock: datetime | None
    dhcp: bool | None
    ip_address: str | None
    netmask: str | None
    gateway: str | None
    dns_server: str | None
    modbus: bool | None
    modbus_port: int | None
    ntp: bool | None
    ntp_server: str | None
    online_update: bool | None
    document: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


def parse_readings(
    document: Mapping[str, Any], previous: Readings | None = None
) -> Readings:
    """Return the readings in a meterdata.json document.

    Only values that differ from `previous` are parsed: three of four stay the same at
    a poll. Raises MeterUnexpectedAnswer for a document without any known quantity.
    """
    # Missing keys are quantities no longer reported, for instance by other firmware.
    if previous is None or previous.document.keys() != document.keys():
        previous = _NOTHING_READ
    values = dict(previous.values)
    rejected = dict(previous.rejected)
    for json_key, raw in document.items():
        if _same(raw, previous.document.get(json_key, _UNREAD)):
            continue
        if (quantity := BY_JSON_KEY.get(json_key)) is None:
            continue
        rejected.pop(quantity.key, None)
        try:
            values[quantity.key] = _value(quantity, raw)
        except ValueError:
            values[quantity.key] = None
            rejected[quantity.key] = reprlib.repr(raw)[:_LONGEST_TEXT]
    if not values:
        raise MeterUnexpectedAnswer("meterdata.json holds no reading")
    return Readings(
        clock=_clock(document.get("meterdatetime")),
        values=values,
        rejected=rejected,
        document=document,
    )


def parse_status(document: Mapping[str, Any]) -> Status:
    """Return the configuration in a status.json document.

    Raises MeterUnsupported without a serial number, MeterUnexpectedAnswer with an
    impossible one.
    """
    if (serial_number := document.get("meterserial")) in _NOTHING:
        raise MeterUnsupported("status.json names no serial number")
    if type(serial_number) not in (str, int) or not _SERIAL_NUMBER.fullmatch(
        str(serial_number).strip()
    ):
        raise MeterUnexpectedAnswer("the serial number in status.json is none")
    mac = _text(document, "networkmac")
    return Status(
        serial_number=normalized(str(serial_number)),
        mac=mac.upper().replace("-", ":") if mac and _MAC.fullmatch(mac) else None,
        software_version=_text(document, "softwareversion"),
        factory_number=_whole(document, "meterfactorynr", _LARGEST_NUMBER),
        clock=_clock(document.get("meterdatetime")),
        # The manual prints the first spelling, probably a misprint of the second.
        dhcp=_flag(document, "networkdhcactive", "networkdhcpactive"),
        ip_address=_text(document, "networkip"),
        netmask=_text(document, "networknm"),
        gateway=_text(document, "networkgw"),
        dns_server=_text(document, "networkdns1"),
        modbus=_flag(document, "mbactive"),
        modbus_port=_whole(document, "mbport", _HIGHEST_PORT),
        ntp=_flag(document, "ntpactive"),
        ntp_server=_text(document, "ntp1"),
        online_update=_flag(document, "updateractive"),
        document=document,
    )


class PlausibilityFilter:
    """Replaces implausible values in the readings of one meter.

    A rejected value is replaced by the last good one for `HOLD`, then by None. A
    register must not fall, nor gain more than the largest possible power: one such
    reading published to Home Assistant would add the whole register to its sum. After
    `RESTART` the new value is accepted.
    """

    def __init__(
        self, registers: Mapping[str, Decimal] | None = None, at: datetime | None = None
    ) -> None:
        """Begin with the last good registers in kWh, and their time."""
        self._good: dict[str, tuple[Decimal, datetime]] = {}
        self._lacking: dict[str, timedelta] = {}
        """For how long a key has had no plausible value, whatever the reason."""
        self._doubted: dict[str, timedelta] = {}
        """For how long a register has had an implausible value."""
        self._accepted: datetime | None = None
        self._values: Mapping[str, Value] = {}
        if registers and at:
            self._good = {key: (value, at) for key, value in registers.items()}

    @property
    def doubts_registers(self) -> bool:
        """Whether a register that was good has been lacking for less than `RESTART`."""
        return any(
            key in self._good and time < RESTART for key, time in self._lacking.items()
        )

    @property
    def registers(self) -> dict[str, Decimal]:
        """The last good value of every register, in kWh."""
        return {key: value for key, (value, _) in self._good.items()}

    def accept(self, readings: Readings, at: datetime) -> Readings:
        """Return the readings of a time with implausible values replaced."""
        passed = self._passed(at)
        doubted = {key: time + passed for key, time in self._doubted.items()}
        lacking = {key: time + passed for key, time in self._lacking.items()}
        impossible = dict(self._impossible(readings, at, doubted))
        rejected = {**readings.rejected, **impossible}
        # A register without a value leaves a gap in its statistic as well.
        absent = [key for key in self._good if readings.values.get(key) is None]
        self._doubted = {key: doubted.get(key, timedelta()) for key in impossible}
        self._lacking = {
            key: lacking.get(key, timedelta()) for key in (*rejected, *absent)
        }
        if rejected:
            values = dict(readings.values)
            for key in rejected:
                is_short = self._lacking[key] <= HOLD
                values[key] = self._values.get(key) if is_short else None
            readings = replace(readings, values=values, rejected=rejected)
        self._remember(readings, at)
        return readings

    def _passed(self, at: datetime) -> timedelta:
        """Return the time since the last readings, for which doubts have lasted.

        The clock may be set in between: one step must not make a doubt too short or
        too long by hours.
        """
        before, self._accepted = self._accepted or at, at
        return min(max(at - before, timedelta()), _LONGEST_STEP)

    def _impossible(
        self, readings: Readings, at: datetime, doubted: Mapping[str, timedelta]
    ) -> Iterator[tuple[str, str]]:
        for key, (last, seen) in self._good.items():
            value = readings.values.get(key)
            if not isinstance(value, Decimal):
                continue
            # A second at least: two readings may come at the same time.
            hours = Decimal(max(math.ceil((at - seen).total_seconds()), 1)) / 3600
            if last <= value <= last + _MOST_POWER_KW * hours:
                continue
            if doubted.get(key, timedelta()) < RESTART:
                yield key, f"{value} after {last}"

    def _remember(self, readings: Readings, at: datetime) -> None:
        self._values = readings.values
        for key in _REGISTERS:
            value = readings.values.get(key)
            if isinstance(value, Decimal) and key not in readings.rejected:
                self._good[key] = (value, at)


def clock_offset(
    clock: datetime | None, now: datetime, shown: timedelta | None
) -> timedelta | None:
    """Return the meter's time minus ours, in whole seconds.

    `shown` is the offset shown now. It stays within `CLOCK_RESOLUTION`.
    """
    if clock is None:
        return None
    # The meter's time is as old as its readings, up to that resolution: without this
    # the offset would change at each poll.
    shown = shown or timedelta(0)
    offset = timedelta(seconds=round((clock - now).total_seconds()))
    return shown if abs(offset - shown) <= CLOCK_RESOLUTION else offset


def _value(quantity: Quantity, raw: object) -> Value:
    if raw in _NOTHING:
        return None
    if quantity.kind.is_time:
        return _time(raw)
    number = _number(raw)
    if abs(number) > quantity.limit:
        raise ValueError(raw)
    if quantity.kind is Kind.REGISTER and number < 0:
        raise ValueError(raw)
    return number


def _same(raw: object, previous: object) -> bool:
    # Python takes JSON's true and 1 for equal.
    return raw == previous and type(raw) is type(previous)


def _number(raw: object) -> Decimal:
    # str() of deeply nested lists takes quadratic time.
    if not isinstance(raw, str | int | float):
        raise ValueError(raw)  # noqa: TRY004
    text = str(raw).strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(raw)
    return Decimal(text)


def _time(raw: object) -> datetime | None:
    seconds = _number(raw)
    if not 0 <= seconds < _LATEST_TIME or seconds % 1:
        raise ValueError(raw)
    # Zero is the time of a clock never set.
    return datetime.fromtimestamp(int(seconds), UTC) if seconds else None


def _clock(raw: object) -> datetime | None:
    try:
        return None if raw in _NOTHING else _time(raw)
    except ValueError:
        return None


def _flag(document: Mapping[str, Any], *keys: str) -> bool | None:
    found = (document[key] for key in keys if isinstance(document.get(key), bool))
    return next(found, None)


def _text(document: Mapping[str, Any], key: str) -> str | None:
    text = document.get(key)
    if not isinstance(text, str) or not 0 < len(text) <= _LONGEST_TEXT:
        return None
    # Half a surrogate pair, possible in JSON, could be neither stored nor sent.
    return "".join(filter(str.isprintable, text)) or None


def _whole(document: Mapping[str, Any], key: str, most: int) -> int | None:
    number = document.get(key)
    return number if type(number) is int and 0 <= number <= most else None
