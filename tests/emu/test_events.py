"""However often the meter is asked: each event is reported once, and in order."""

from hypothesis import given, strategies as st

from custom_components.emu_professional.emu.events import (
    LASTING,
    LogPosition,
    MeterEvent,
    new_events,
)
from custom_components.emu_professional.emu.logs import (
    Change,
    ChangeKind,
    LogbookRecord,
    LoggerStatus,
    Record,
)

RATIO = Change(ChangeKind.CT_PRIMARY, 5, 500)


def logger_record(index: int, status: int) -> Record:
    """Return a record of the data logger."""
    return Record(900 * index, index, status, "1", ())


def logbook_record(index: int, logger_index: int, *changes: Change) -> LogbookRecord:
    """Return a record of the logbook."""
    at = 900 * logger_index - 1
    return LogbookRecord(at, index, "1", (), logger_index, (), changes)


STATUS = st.sampled_from([0, 0, 0, 1, 2, 32, 64, 64, 128, 64 | 32, 255])


@given(st.lists(STATUS, max_size=30), st.data())
def test_asked_at_any_moments(status: list[int], data: st.DataObject) -> None:
    """Looking more or less often changes none of the reported events."""
    records = [logger_record(index, bits) for index, bits in enumerate(status)]
    whole, _ = new_events(LogPosition(), (), records)
    position = LogPosition()
    parts: list[MeterEvent] = []
    while records:
        size = data.draw(st.integers(1, len(records)))
        events, position = new_events(position, (), records[:size])
        parts += events
        records = records[size:]
    assert parts == whole
    expected = 0
    before = 0
    for bits in status:
        expected += (bits & ~(before & LASTING)).bit_count()
        before = bits
    assert len(whole) == expected


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.data())
def test_logbook_and_status_bit_are_one(
    changed: list[bool], data: st.DataObject
) -> None:
    """A change is reported by its logbook record, whichever log is read first enough."""
    shift = data.draw(st.sampled_from([0, 1]))
    position = LogPosition()
    events: list[MeterEvent] = []
    number = 0
    for index, is_changed in enumerate(changed):
        status = LoggerStatus.CURRENT_TRANSFORMER_CHANGED if is_changed else 0
        logbook = []
        if is_changed:
            number += 1
            logbook = [logbook_record(number, index - shift, RATIO)]
        logger = [logger_record(index, status)]
        new, position = new_events(position, logbook, logger)
        events += new
    assert all(isinstance(event.record, LogbookRecord) for event in events)
    assert len(events) == sum(changed)
    assert len(position.changes) <= 2


def test_several_changes_of_one_record() -> None:
    """Each kind is reported once, also where both sides of a transformer changed."""
    record = logbook_record(
        1,
        7,
        Change(ChangeKind.TIME, 0, 60),
        RATIO,
        Change(ChangeKind.CT_SECONDARY, 5, 1),
    )
    events, _ = new_events(LogPosition(), [record], ())
    assert [event.name for event in events] == [
        "time_changed",
        "current_transformer_changed",
    ]


def test_order() -> None:
    """Logbook events of an interval come before those of its logger record."""
    logbook = [logbook_record(1, 3, RATIO), logbook_record(2, 8, RATIO)]
    logger = [logger_record(3, 32), logger_record(5, 32), logger_record(8, 0)]
    events, _ = new_events(LogPosition(), logbook, logger)
    assert [event.name for event in events] == [
        "current_transformer_changed",
        "power_failure",
        "power_failure",
        "current_transformer_changed",
    ]
