"""Reading the data logger: strict about a record, tolerant about its surroundings."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.emu.locate import locate
from custom_components.emu_professional.emu.logs import COLUMNS, LoggerStatus, Record
from custom_components.emu_professional.emu.table_reader import RecordReader

START = 1_664_361_000
"""2022-09-28T10:30:00Z, the manual's example."""

MANUAL = "2022-09-28T10:30:00Z,2,2,22350000,0,0,0,0,0,0,0,0,4252,2010,992,1250,15680,8682,4300,2698,0,2326,2320,2304,99,99,99,500"


def line(record: Record, separator: str = ",") -> str:
    """Return a record as the meter writes it."""
    stamp = datetime.fromtimestamp(record.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = (stamp, record.index, record.status, record.serial_number, *record.values)
    return separator.join(map(str, fields))


def read(data: bytes, *, complete: bool = True) -> tuple[list[Record], list[str]]:
    """Return records, and reject reasons, of a whole answer."""
    reader = RecordReader()
    records = reader.feed(data) + reader.close(complete=complete)
    return records, [line.reason for line in reader.rejected]


RECORDS = st.builds(
    Record,
    at=st.integers(0, 2**32),
    index=st.integers(0, 10**9),
    status=st.integers(0, 255),
    serial_number=st.text("123456789", min_size=1, max_size=10),
    values=st.tuples(
        *(st.integers(0, 10**11) for _ in range(8)),
        *(st.integers(-(10**9), 10**9) for _ in range(16)),
    ),
)


def test_example_of_the_manual() -> None:
    """The manual's example values arrive in their columns."""
    (record,), refused = read(MANUAL.encode())
    assert not refused
    assert (record.at, record.index, record.serial_number) == (START, 2, "22350000")
    assert LoggerStatus(record.status) == LoggerStatus.CURRENT_TRANSFORMER_CHANGED
    values = {q.key: v for q, v in zip(COLUMNS, record.values, strict=True)}
    assert values["active_power"] == 4252
    assert values["current_n"] == 0
    assert values["voltage_l1"] == 2326
    assert values["power_factor_l3"] == 99
    assert values["frequency"] == 500


@given(
    st.lists(RECORDS, max_size=5),
    st.sampled_from(",;\t"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(1, 200),
)
def test_every_form_of_the_file(
    records: list[Record],
    separator: str,
    end: str,
    header: bool,
    mark: bool,
    trailing: bool,
    piece: int,
) -> None:
    """Separator, header, line ends and the size of pieces make no difference."""
    lines = [line(record, separator) for record in records]
    if header:
        lines.insert(0, separator.join(["Time stamp", *(q.key for q in COLUMNS)]))
    text = end.join(lines) + (end if trailing else "")
    data = (b"\xef\xbb\xbf" if mark else b"") + text.encode()
    reader = RecordReader()
    found = []
    for begin in range(0, len(data), piece):
        found += reader.feed(data[begin : begin + piece])
    found += reader.close(complete=True)
    assert found == records
    assert not reader.rejected


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (",500", "", "27 columns instead of 28"),
        (",500", ",500,1", "29 columns instead of 28"),
        ("4252", "4_252", "a field is no number"),
        ("4252", "+4252", "a field is no number"),
        ("4252", "４２５２", "a field is no number"),
        ("4252", "", "a field is no number"),
        ("4252", "42.52", "a field is no number"),
        ("4252", "9" * 13, "a field is no number"),
        ("22350000", "<b>1</b>", "a field is no number"),
        ("2022-09-28", "2022-02-30", "time stamp"),
        ("10:30:00Z", "25:30:00Z", "time stamp"),
        ("10:30:00Z", "10:30:00+01:00", "a field is no number"),
        ("22350000,0,0", "22350000,0,-1", "negative register"),
    ],
)
def test_line_that_is_no_record(old: str, new: str, reason: str) -> None:
    """A damaged line is counted and reported, the ones around it are read."""
    damaged = MANUAL.replace(old, new, 1)
    records, refused = read(f"{MANUAL}\n{damaged}\n{MANUAL}\n".encode())
    assert len(records) == 2
    assert refused == [reason]


def test_damaged_first_line_is_no_header() -> None:
    """Only a line without a time at its begin can be a header."""
    assert read(f"{MANUAL[:-4]}\n{MANUAL}\n".encode())[1] == [
        "27 columns instead of 28"
    ]
    assert read(b"Zeit;Index" + 26 * b";x" + b"\n\n") == ([], [])
    for no_header in (b"<html><p>%s</html>", b'{"a": [%s]}', b"%.0s busy", b"a,b%.0s"):
        assert len(read(no_header % (30 * b"1,"))[1]) == 1


def test_line_that_was_cut_off() -> None:
    """Half a number is a number as well: a cut line is never read."""
    for length in range(len(MANUAL)):
        records, refused = read(f"{MANUAL}\n{MANUAL[:length]}".encode(), complete=False)
        assert len(records) == 1
        assert refused == (["cut off"] if length else [])


def test_line_without_end() -> None:
    """Megabytes without a line end are refused in pieces, and not kept."""
    reader = RecordReader()
    for _ in range(1000):
        reader.feed(b"9" * 1000)
        assert len(reader._rest) <= 2048
    assert reader.rejected


@given(st.binary(max_size=300))
def test_garbage(data: bytes) -> None:
    """Any bytes give records and rejected lines, never an error."""
    records, _ = read(MANUAL.encode() + b"\n" + data + b"\n" + MANUAL.encode() + b"\n")
    assert records[0].index == records[-1].index == 2


@st.composite
def loggers(draw: st.DrawFn) -> list[Record]:
    """Return a ring of records with outages."""
    interval = draw(st.sampled_from([60, 300, 900, 3600]))
    first = draw(st.integers(0, 10**6))
    gaps = draw(st.lists(st.integers(0, 500), min_size=1, max_size=60))
    at = START
    records: list[Record] = []
    for gap in gaps:
        at += interval * (1 + (gap if gap > 450 else 0))
        records.append(Record(at, first + len(records), 0, "1", ()))
    return records


@given(loggers(), st.data())
def test_locate(records: list[Record], data: st.DataObject) -> None:
    """The first record after a time is found, outages or not."""
    at = data.draw(st.integers(records[0].at - 10**6, records[-1].at - 1))
    interval = data.draw(st.sampled_from([60, 900]))
    expected = next(record.index for record in records if record.at > at)
    assert _located(records, at, interval)[0] == expected


def test_locate_is_quick() -> None:
    """In three years without an outage two looks are enough, elsewhere a few."""
    records = [Record(START + 900 * i, 75_000 + i, 0, "1", ()) for i in range(105_120)]
    for position in range(1, len(records), 9_999):
        index, looks = _located(records, records[position].at - 1, 900)
        assert index == records[position].index
        assert looks <= 3
    assert _located(records, 0, 900)[1] <= 20
    assert all(a.at < b.at for a, b in pairwise(records))


@given(loggers(), st.lists(st.tuples(*[st.integers(0, 60)] * 3)), st.data())
def test_locate_past_a_clock_without_time(
    records: list[Record], stretches: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """After a power failure stamps may begin in 1970: no right record is passed."""
    # A clock may begin later as well: what is far before an earlier record is wrong.
    offsets = (0, 946_684_800)
    first = records[0].index
    right = {record.index for record in records}
    for begin, length, offset in stretches:
        for number in range(begin, min(begin + length, len(records) - 1)):
            at = offsets[offset % 2 * (begin > 0)] + 900 * (number - begin)
            records[number] = replace(records[number], at=at)
            right.discard(first + number)
    at = data.draw(st.integers(START - 10**6, records[-1].at - 1))
    expected = next(r.index for r in records if r.at > at and r.index in right)
    index, looks = _located(records, at, data.draw(st.sampled_from([60, 900])))
    assert index <= expected
    assert looks <= 40
    if len(stretches) < 2:
        assert right.isdisjoint(range(index, expected))


@pytest.mark.parametrize("begin", [0, 1_451_606_400])
def test_locate_before_a_clock_that_began_anew(begin: int) -> None:
    """A stamp long before that of an earlier record is wrong, in whatever year."""
    records = [Record(START + 900 * i, i, 0, "1", ()) for i in range(4_000)]
    for number in range(3_000, 3_500):
        at = begin + 900 * (number - 2_999)
        records[number] = replace(records[number], at=at)
    for position in range(0, 3_000, 7):
        index, looks = _located(records, records[position].at - 1, 600)
        assert index == position
        assert looks <= 30


def _located(records: list[Record], at: int, interval: int) -> tuple[int, int]:
    by_index = {record.index: record for record in records}
    search = locate(at, records[-1], interval)
    looks = 0
    try:
        index = next(search)
        while True:
            looks += 1
            index = search.send(by_index.get(index))
    except StopIteration as found:
        return found.value, looks


@pytest.mark.parametrize("form", ["0022350000", " 22350000", "22350000 ", "022350000"])
def test_serial_number_in_every_form(form: str) -> None:
    """Blanks and leading zeros make no other meter; other digits do."""
    (record,), refused = read(MANUAL.replace("22350000", form).encode())
    assert not refused
    assert record.serial_number == "22350000"
    (other,), _ = read(MANUAL.replace("22350000", "2235000").encode())
    assert other.serial_number == "2235000"
    (zero,), _ = read(MANUAL.replace("22350000", "000").encode())
    assert zero.serial_number == "0"
