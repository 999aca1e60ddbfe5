"""Garbage instead of answers counts as lost."""

from contextlib import suppress
from dataclasses import replace
import math
from typing import Any

import cbor2
from hypothesis import given, strategies as st
import pytest

from custom_components.emu_professional.emu.errors import MeterUnexpectedAnswer
from custom_components.emu_professional.emu.updater import messages
from custom_components.emu_professional.emu.updater.session import UpdaterSession

from .scripted_server import IMAGE, SLOT_0, Flash, ScriptedServer, upload

WRONG_NUMBERS: list[Any] = [
    2**14_400 - 1,
    -(2**14_400),
    2**63,
    -1,
    1.0,
    math.nan,
    None,
    [],
    b"0",
]


GARBAGE = [
    b"",
    b"\xff",
    b"\xbf",
    b"\x80",
    b"\x00",
    b"\xf6",
    b"\x81" * 3000,
    b"\xa1" * 3000,
    b"\x9b" + b"\xff" * 8,
    b"\xbb" + b"\xff" * 8,
    b"\x5b" + b"\xff" * 8,
    b"\x5b\x00\x00\x00\x7f" + b"\xff" * 4,
    b"\x61\xff",
    b"\xc1\xfb\x7f\xf0" + bytes(6),
    b"\xd8\x1c\xa1\x61a\xd8\x1d\x00",
    cbor2.dumps({"images": cbor2.CBORTag(12345, [])}),
    cbor2.dumps({"images": None}),
    cbor2.dumps({"images": {}}),
    cbor2.dumps({"images": [1]}),
    cbor2.dumps({"images": [SLOT_0] * 60}),
    cbor2.dumps({"images": [SLOT_0] * 9}),
    cbor2.dumps({"images": [SLOT_0, SLOT_0]}),
    cbor2.dumps({"images": [SLOT_0, SLOT_0 | {"slot": 1}]}),
    b"\xa1\x00\x00",
    b"\xa1\x80\x00",
    b"\xa1\x62rc\xd8\x24\x61a",
    b"\xa1\x62rc\xd8\x23\x61(",
    b"\xa1\x62rc\xd8\x1e\x82\x1b\x7f" + b"\xff" * 7 + b"\x03",
    b"\xd9\xd9\xf7\xa0",
    *(cbor2.dumps({"images": [SLOT_0], "rc": rc}) for rc in WRONG_NUMBERS),
    cbor2.dumps({"images": [SLOT_0], "rc": True}),
    cbor2.dumps({"images": [SLOT_0], "rc": "0"}),
    cbor2.dumps({"images": [SLOT_0], "err": {"group": 1, "rc": 1}}),
    *(
        cbor2.dumps({"images": [SLOT_0 | changed]})
        for changed in (
            {"slot": True},
            {"slot": -1},
            {"slot": 2**70},
            {"slot": None},
            {"image": "0"},
            {"version": 1},
            {"version": b"1.0"},
            {"version": "9" * 33},
            {"hash": "text"},
            {"hash": bytes(65)},
            {"hash": bytes(31)},
            {"slot": 2**14_400},
            {"slot": math.nan},
            {"version": "9" * 3000},
            {"bootable": 1},
            {"active": None},
        )
    ),
]


@pytest.mark.parametrize("payload", GARBAGE, ids=lambda payload: payload[:20].hex())
async def test_garbage_counts_as_lost(
    session: UpdaterSession,
    server: ScriptedServer,
    payload: bytes,
) -> None:
    """The right answer after it is read."""
    server.respond = lambda request: [
        request.framed(payload),
        request.answer(images=[SLOT_0]),
    ]
    assert len(await session.slots()) == 1
    assert len(server.requests) == 1
    if len(payload) < 4000:
        session.timeouts = replace(session.timeouts, command=0.05)
        server.respond = lambda request: [request.framed(payload)]
        with pytest.raises(MeterUnexpectedAnswer):
            await session.slots()


@pytest.mark.parametrize(
    "fields", [{}, {"off": -1}, {"off": 10**6}, {"off": True}, {"off": 5.0}], ids=str
)
async def test_broken_offset_counts_as_lost(
    session: UpdaterSession,
    server: ScriptedServer,
    flash: Flash,
    fields: dict[str, Any],
) -> None:
    """An offset is a number within the image."""
    server.respond = lambda request: [
        request.answer(**fields),
        *flash.respond(request),
    ]
    await upload(session)
    assert flash.data == IMAGE
    assert len(server.requests) == 6


@given(
    st.one_of(
        st.binary(max_size=100),
        st.recursive(
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(),
                st.floats(),
                st.text(),
                st.binary(),
            ),
            lambda inner: st.one_of(
                st.lists(inner, max_size=3),
                st.dictionaries(
                    st.sampled_from(["rc", "off", "images", "slot", "hash", "err"]),
                    inner,
                    max_size=4,
                ),
            ),
        ).map(cbor2.dumps),
    )
)
def test_any_answer_is_read_or_broken(payload: bytes) -> None:
    """Nothing but BrokenAnswer leaves."""
    datagram = messages.frame(messages.Command(1, 1, 0), 0, payload)
    if len(datagram) <= 4096:
        assert messages.sequence_of_answer(messages.READ_STATE, datagram) == 0
    for read in (
        lambda fields: str(messages.error_number(fields)),
        messages.slots,
        messages.slots_if_any,
        messages.nothing,
        lambda fields: messages.offset(fields, 1000),
    ):
        with suppress(messages.BrokenAnswer):
            read(messages.decode(datagram))


@given(st.binary(max_size=50))
def test_any_datagram_is_an_answer_or_not(datagram: bytes) -> None:
    """Of a header nothing is believed."""
    messages.sequence_of_answer(messages.UPLOAD, datagram)
