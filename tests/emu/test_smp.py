"""The update session at real sockets; others' code reads what it sends."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
import itertools
import math
import random
import socket
from typing import Any, Final, Self, cast, override

import cbor2
from hypothesis import HealthCheck, given, settings, strategies as st
import pytest
from pytest_homeassistant_custom_component import plugins
from pytest_socket import socket_allow_hosts
from smp import header as smp_header
from smp.header import OP, CommandId, GroupId, Version
from smp.image_management import (
    ImageEraseRequest,
    ImageStatesReadRequest,
    ImageStatesWriteRequest,
    ImageUploadWriteRequest,
)
from smp.os_management import ResetWriteRequest

from custom_components.emu_professional.emu.errors import (
    MeterError,
    MeterUnexpectedAnswer,
    MeterUnreachable,
    UpdaterRefused,
)
from custom_components.emu_professional.emu.updater import datagrams, messages
from custom_components.emu_professional.emu.updater.datagrams import RetransmissionTimer
from custom_components.emu_professional.emu.updater.exchange import SessionTimeouts
from custom_components.emu_professional.emu.updater.session import UpdaterSession
from custom_components.emu_professional.emu.updater.slots import Slot
from simulator.bootloader import read_image
from simulator.clock import ManualClock
from simulator.images import signed_image
from simulator.meter import Meter, MeterConfig
from simulator.updater import Age, Closed, UpdaterConfig, UpdaterServer
from simulator.web import MeterServer

IMAGE = random.Random(1).randbytes(5 * 512 + 100)
HASH = bytes(range(32))
OTHER_HASH = bytes(32)
SLOT_0 = {
    "slot": 0,
    "version": "1.0.16",
    "hash": OTHER_HASH,
    "bootable": True,
    "pending": False,
    "confirmed": True,
    "active": True,
    "permanent": False,
}
NEW_IMAGE = signed_image("1.0.17", size=6000)
NEW_HASH = read_image(NEW_IMAGE).hash

type Address = tuple[Any, ...]


@dataclass(frozen=True)
class Request:
    """A datagram that has reached the server."""

    data: bytes
    source: Address

    @property
    def header(self) -> smp_header.Header:
        """Its header, read by others' code."""
        return smp_header.Header.loads(self.data[:8])

    @property
    def fields(self) -> dict[str, Any]:
        """Its map."""
        return cast("dict[str, Any]", cbor2.loads(self.data[8:]))

    @property
    def command(self) -> tuple[int, int]:
        """Its group and number."""
        return int(self.header.group_id), int(self.header.command_id)

    def framed(self, payload: bytes, **changed: Any) -> bytes:
        """Return an answer with this payload, its header changed."""
        parts: dict[str, Any] = {
            "op": OP(self.header.op + 1),
            "version": Version.V1,
            "flags": smp_header.Flag(0),
            "length": len(payload),
            "group_id": self.header.group_id,
            "sequence": self.header.sequence,
            "command_id": self.header.command_id,
        }
        return bytes(smp_header.Header(**(parts | changed))) + payload

    def answer(self, **fields: Any) -> bytes:
        """Return an answer with these fields."""
        return self.framed(cbor2.dumps(fields))


UPLOAD = (GroupId.IMAGE_MANAGEMENT, CommandId.ImageManagement.UPLOAD)
STATE = (GroupId.IMAGE_MANAGEMENT, CommandId.ImageManagement.STATE)

type Respond = Callable[[Request], Iterable[bytes]]


class ScriptedServer(asyncio.DatagramProtocol):
    """Answers each datagram as a function of the test's says."""

    def __init__(self, respond: Respond, host: str = "127.0.0.1") -> None:
        """Prepare to answer."""
        self.respond = respond
        self.host = host
        self.port = 0
        self.requests: list[Request] = []
        self.arrived = asyncio.Event()
        self.marked = asyncio.Event()
        self.transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        """Listen; for a second time on the same port."""
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self.host, self.port)
        )
        self.port = self.transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *args: object) -> None:
        """Listen no longer."""
        assert self.transport
        self.transport.close()
        # Until its socket is closed, datagrams are lost instead of refused.
        while self.transport.get_extra_info("socket").fileno() != -1:
            await asyncio.sleep(0)

    @override
    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Answer a datagram."""
        if data == b"mark":
            self.marked.set()
            return
        self.requests.append(Request(data, addr))
        self.arrived.set()
        for answer in self.respond(self.requests[-1]):
            self.send(answer, addr)

    def send(self, data: bytes, addr: Address) -> None:
        """Send a datagram."""
        assert self.transport
        self.transport.sendto(data, addr)

    async def reached(self, count: int) -> None:
        """Wait until so many requests have come."""
        while len(self.requests) < count:
            self.arrived.clear()
            await self.arrived.wait()

    async def has_read_everything(self) -> None:
        """Wait until what was sent before has been read."""
        self.marked.clear()
        with socket.socket(type=socket.SOCK_DGRAM) as other:
            other.sendto(b"mark", (self.host, self.port))
            await self.marked.wait()

    def of(self, command: tuple[int, int]) -> list[Request]:
        """Return the requests of one command."""
        return [request for request in self.requests if request.command == command]


@dataclass
class Flash:
    """Slot 1, and what a server knows of the upload that is under way."""

    data: bytearray = field(default_factory=bytearray)
    size: int = 0
    sha: bytes = b""
    complete: bool = False

    def respond(self, request: Request) -> Iterator[bytes]:
        """Answer an upload by the rules of real servers, and a list."""
        if request.command != UPLOAD:
            slot = SLOT_0 | {"slot": 1, "hash": HASH, "active": False}
            yield request.answer(images=[SLOT_0] + [slot] * self.complete)
            return
        off, data = request.fields["off"], request.fields["data"]
        if off == 0 and (not self.sha or request.fields["sha"] != self.sha):
            self.data, self.complete = bytearray(), False
            self.size, self.sha = request.fields["len"], request.fields["sha"]
        if off == len(self.data) and self.sha:
            self.data += data
        accepted = len(self.data) if self.sha else 0
        if self.sha and accepted == self.size:
            self.complete, self.sha = True, b""
        yield request.answer(rc=0, off=accepted)

    def forget(self) -> None:
        """Lose what only the memory knows, as in a power cut."""
        self.sha = b""
        self.data = bytearray()


QUICK: Final = SessionTimeouts(
    contact=3.0,
    refused=0.2,
    command=3.0,
    flash=5.0,
    reset=0.2,
    erase=0.1,
    pause=0.02,
)
"""How long a session waits in tests with the fixture `quick`."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten everything that a session waits for, see `QUICK`."""
    monkeypatch.setattr(RetransmissionTimer, "UNKNOWN", 0.05)
    monkeypatch.setattr(RetransmissionTimer, "BUSY", 0.05)
    monkeypatch.setattr(RetransmissionTimer, "SHORTEST", 0.02)
    monkeypatch.setattr(RetransmissionTimer, "LONGEST", 0.1)


@pytest.fixture
def flash() -> Flash:
    """Return an empty slot 1."""
    return Flash()


@pytest.fixture
async def server(socket_enabled: None, flash: Flash) -> AsyncGenerator[ScriptedServer]:
    """Return a server that does as real ones until a test changes it."""
    async with ScriptedServer(flash.respond) as server:
        yield server


@pytest.fixture
async def session(
    server: ScriptedServer, request: pytest.FixtureRequest
) -> AsyncGenerator[UpdaterSession]:
    """Return an open session."""
    timeouts = QUICK if "quick" in request.fixturenames else None
    async with UpdaterSession(server.host, server.port, timeouts) as session:
        yield session


def losing(respond: Respond, *numbers: int) -> Respond:
    """Lose the answers to the n-th datagrams, from 1 on."""
    count = itertools.count(1)

    def lossy(request: Request) -> list[bytes]:
        answers = list(respond(request))
        return [] if next(count) in numbers else answers

    return lossy


async def upload(session: UpdaterSession, image: bytes = IMAGE) -> list[int]:
    """Upload an image and return the progress."""
    progress: list[int] = []
    await session.upload(image, progress.append)
    return progress


@pytest.fixture
async def web(
    socket_enabled: None, config: MeterConfig, clock: ManualClock
) -> AsyncGenerator[MeterServer]:
    """Serve the web page of a simulated meter."""
    async with MeterServer(Meter(config, clock)) as web:
        yield web


# What is sent


async def test_upload_is_what_the_manuals_tool_sends(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """Header, fields, chunks and datagrams are those that the meter is known to take."""
    image = random.Random(2).randbytes(70_000)
    progress = await upload(session, image)
    assert progress == [*range(512, 70_000, 512), 70_000]
    assert flash.data == image
    read = [ImageUploadWriteRequest.loads(request.data) for request in server.requests]
    assert [message.off for message in read] == [0, *progress[:-1]]
    assert b"".join(message.data for message in read) == image
    assert {len(message.data) for message in read[:-1]} == {512}
    assert {message.image for message in read} == {0}
    assert {message.header.version for message in read} == {Version.V1}
    assert {message.header.flags for message in read} == {0}
    assert {message.header.op for message in read} == {OP.WRITE}
    assert (read[0].len, read[0].sha) == (70_000, sha256(image).digest())
    assert {(message.len, message.sha) for message in read[1:]} == {(None, None)}
    assert {message.upgrade for message in read} == {None}
    sizes = [len(request.data) for request in server.requests[:-1]]
    assert sizes == [588] + [543] * 127 + [545] * 8
    sequences = [message.sequence for message in read]
    assert all(a != b for a, b in itertools.pairwise(sequences))


async def test_other_commands_are_what_the_manuals_tool_sends(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """List, test, confirm, erase and reset."""
    server.respond = lambda request: [request.answer(images=[SLOT_0])]
    await session.slots()
    await session.test(HASH)
    await session.confirm(HASH)
    await session.erase()
    assert await session.reset()
    expected: list[tuple[Any, dict[str, Any]]] = [
        (ImageStatesReadRequest, {}),
        (ImageStatesWriteRequest, {"hash": HASH, "confirm": False}),
        (ImageStatesWriteRequest, {"hash": HASH, "confirm": True}),
        (ImageEraseRequest, {}),
        (ResetWriteRequest, {}),
    ]
    for request, (kind, fields) in zip(server.requests, expected, strict=True):
        message = kind.loads(request.data)
        assert message.header.version is Version.V1
        assert message.header.op is kind._OP
        assert message.header.command_id == kind._COMMAND_ID
        assert message.header.length == len(request.data) - 8
        assert request.fields == fields
    assert len({request.header.sequence for request in server.requests}) == 5


async def test_one_request_is_under_way(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """A second one waits until the first is answered."""
    server.respond = lambda request: []
    tasks = [asyncio.create_task(session.slots()) for _ in range(3)]
    for number in range(1, 4):
        await server.reached(number)
        await server.has_read_everything()
        assert len(server.requests) == number
        request = server.requests[-1]
        server.send(request.answer(images=[]), request.source)
    assert await asyncio.gather(*tasks) == [()] * 3


# What comes back


@pytest.mark.parametrize(
    "payload",
    [
        # 2021: maps without length, every flag, no image number, rc
        (
            b"\xbf\x66images\x9f\xbf\x64slot\x00\x67version\x651.0.1\x64hash\x58\x20"
            + HASH
            + b""
            b"\x68bootable\xf5\x67pending\xf4\x69confirmed\xf5\x66active\xf5"
            b"\x69permanent\xf4\xff\xff\x6bsplitStatus\x00\x62rc\x00\xff"
        ),
        # Newer: what is not set is left out
        cbor2.dumps(
            {
                "images": [
                    {
                        "image": 0,
                        "slot": 0,
                        "version": "1.0.1",
                        "hash": HASH,
                        "bootable": True,
                        "confirmed": True,
                        "active": True,
                    },
                    {"image": 1, "slot": 0, "version": "9", "hash": OTHER_HASH},
                ]
            }
        ),
    ],
    ids=["2021", "newer"],
)
async def test_servers_of_both_ages_are_read(
    session: UpdaterSession, server: ScriptedServer, payload: bytes
) -> None:
    """A slot is the same from both."""
    server.respond = lambda request: [request.framed(payload)]
    slot = Slot(0, "1.0.1", HASH, True, False, True, True, False)
    assert await session.slots() == (slot,)


@pytest.mark.parametrize("fields", [{}, {"rc": 0}])
async def test_success_with_and_without_rc(
    session: UpdaterSession, server: ScriptedServer, fields: dict[str, int]
) -> None:
    """Both ages' success is success."""
    server.respond = lambda request: [request.answer(**fields)]
    await session.erase()
    assert await session.reset()


async def test_state_is_read_when_a_change_of_it_does_not_tell(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """A bare success is followed by a look."""
    server.respond = lambda request: [
        request.answer(**({} if request.fields else {"images": [SLOT_0]}))
    ]
    assert [slot.number for slot in await session.confirm(HASH)] == [0]
    assert len(server.requests) == 2


@pytest.mark.parametrize("rc", [1, 3, 4, 5, 6, 8])
async def test_refusal_of_an_upload(
    session: UpdaterSession, server: ScriptedServer, rc: int
) -> None:
    """Also one without an offset, as old servers give it, is an error."""
    server.respond = lambda request: [request.answer(rc=rc)]
    with pytest.raises(UpdaterRefused) as raised:
        await upload(session)
    assert (raised.value.group, raised.value.command, raised.value.rc) == (1, 1, rc)
    assert raised.value.no_room is (rc in (5, 6))
    assert len(server.requests) == 1


@pytest.mark.parametrize("rc", [2, 10])
@pytest.mark.usefixtures("quick")
async def test_no_buffer_and_busy_may_pass(
    session: UpdaterSession, server: ScriptedServer, flash: Flash, rc: int
) -> None:
    """They are asked again, though not for ever."""
    busy = iter([rc, rc])

    def respond(request: Request) -> Iterable[bytes]:
        if (number := next(busy, 0)) != 0:
            return [request.answer(rc=number)]
        return flash.respond(request)

    server.respond = respond
    await upload(session)
    assert flash.data == IMAGE
    server.respond = lambda request: [request.answer(rc=rc)]
    server.requests.clear()
    with pytest.raises(UpdaterRefused) as raised:
        await upload(session)
    assert raised.value.rc == rc
    assert len(server.requests) == 4


# Loss, and what it leads to


@pytest.mark.usefixtures("quick")
async def test_lost_answer(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """The same chunk is sent again, under a new number."""
    server.respond = losing(flash.respond, 1, 3, 4)
    await upload(session)
    assert flash.data == IMAGE
    offsets = [request.fields["off"] for request in server.requests]
    assert offsets == sorted(offsets)
    assert set(offsets) == set(range(0, len(IMAGE), 512))
    assert len(offsets) >= 9
    again = [
        (a.header.sequence, b.header.sequence)
        for a, b in itertools.pairwise(server.requests)
        if a.fields == b.fields
    ]
    assert len(again) >= 3
    assert all(a != b for a, b in again)


@pytest.mark.usefixtures("quick")
async def test_late_answer_to_an_earlier_datagram_of_the_same_request(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """It answers the request; nothing depends on which repetition was heard."""
    late: list[bytes] = []

    def respond(request: Request) -> list[bytes]:
        late.append(request.answer(images=[SLOT_0]))
        return [late[0]] if len(late) == 3 else []

    server.respond = respond
    assert len(await session.slots()) == 1


async def test_late_and_doubled_answers(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """Answers to earlier requests, and second ones, change nothing."""
    old: list[bytes] = []

    def respond(request: Request) -> list[bytes]:
        answers = list(flash.respond(request)) * 2
        late = list(old)
        old.extend(answers)
        return late + answers

    server.respond = respond
    progress = await upload(session)
    assert progress == [*range(512, len(IMAGE), 512), len(IMAGE)]
    assert flash.data == IMAGE
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"op": OP.WRITE},
        {"op": OP.READ_RSP},
        {"version": Version.V2},
        {"group_id": GroupId.OS_MANAGEMENT},
        {"command_id": CommandId.ImageManagement.ERASE},
        {"sequence": 200},
        {"length": 0},
        {"length": 300},
    ],
    ids=str,
)
async def test_answer_to_something_else(
    session: UpdaterSession,
    server: ScriptedServer,
    flash: Flash,
    changed: dict[str, Any],
) -> None:
    """Operation, version, group, command, sequence and length must all be right."""

    def respond(request: Request) -> list[bytes]:
        wrong = request.framed(cbor2.dumps({"off": len(IMAGE)}), **changed)
        return [wrong, *flash.respond(request)]

    server.respond = respond
    await upload(session)
    assert flash.data == IMAGE
    assert len(server.requests) == 6


async def test_foreign_sender(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """What comes from another address is not heard."""
    with socket.socket(type=socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))

        def respond(request: Request) -> Iterable[bytes]:
            other.sendto(request.answer(off=len(IMAGE)), request.source)
            return flash.respond(request)

        server.respond = respond
        await upload(session)
    assert flash.data == IMAGE


async def test_half_done_upload_is_resumed(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """The server says where to go on."""
    flash.data, flash.size = bytearray(IMAGE[:1500]), len(IMAGE)
    flash.sha = sha256(IMAGE).digest()
    assert await upload(session) == [1500, 2012, 2524, len(IMAGE)]
    assert flash.data == IMAGE
    offsets = [request.fields["off"] for request in server.requests]
    assert offsets == [0, 1500, 2012, 2524]


async def test_power_cut_in_the_middle_starts_the_upload_over(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """With length and hash, as at first."""

    def respond(request: Request) -> Iterable[bytes]:
        if len(server.requests) == 4:
            flash.forget()
        return flash.respond(request)

    server.respond = respond
    progress = await upload(session)
    assert flash.data == IMAGE
    assert progress[:5] == [512, 1024, 1536, 0, 512]
    first, again = server.requests[0], server.requests[4]
    assert again.fields == first.fields


@pytest.mark.usefixtures("quick")
async def test_repeated_last_chunk_is_answered_0(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """A module that lost power in the last chunk answers alike: all is sent again."""
    server.respond = losing(flash.respond, 6)
    progress = await upload(session)
    assert progress[-1] == len(IMAGE)
    assert flash.complete
    assert [request.fields["off"] for request in server.of(UPLOAD)].count(0) == 2


async def test_power_cut_at_the_last_chunk(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """The server has forgotten the upload: it is sent again."""

    def respond(request: Request) -> Iterable[bytes]:
        if len(server.requests) == 6:
            flash.forget()
        return flash.respond(request)

    server.respond = respond
    await upload(session)
    assert flash.data == IMAGE
    assert [request.fields["off"] for request in server.of(UPLOAD)].count(0) == 2


async def test_jump_forward_in_the_middle_is_not_believed(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """A server that claims bytes which nobody sent is asked from the beginning."""

    def respond(request: Request) -> Iterable[bytes]:
        if len(server.requests) == 3:
            return [request.answer(off=len(IMAGE))]
        return flash.respond(request)

    server.respond = respond
    await upload(session)
    assert flash.data == IMAGE


@pytest.mark.parametrize("offset", [0, 512])
async def test_upload_that_does_not_get_on(
    session: UpdaterSession, server: ScriptedServer, offset: int
) -> None:
    """A server that always says the same is given up."""
    server.respond = lambda request: [request.answer(off=offset)]
    with pytest.raises(MeterUnexpectedAnswer, match="get on"):
        await upload(session)
    assert len(server.requests) < 100


async def test_upload_has_a_limit(
    session: UpdaterSession,
    server: ScriptedServer,
    flash: Flash,
) -> None:
    """All steps together."""
    session.timeouts = replace(session.timeouts, upload=0.1)
    server.respond = lambda request: (
        flash.respond(request) if len(server.requests) < 3 else []
    )
    with pytest.raises(MeterUnreachable, match="too long"):
        await upload(session)


# Patience


async def test_slow_first_chunk_is_not_repeated(
    session: UpdaterSession,
    server: ScriptedServer,
    flash: Flash,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The erase takes longer than any round trip; the buffers stay free."""
    for name in ("UNKNOWN", "BUSY", "SHORTEST", "LONGEST"):
        monkeypatch.setattr(RetransmissionTimer, name, 0.01)
    loop = asyncio.get_running_loop()
    late: list[asyncio.TimerHandle] = []

    def respond(request: Request) -> list[bytes]:
        (answer,) = flash.respond(request)
        if request.fields.get("off"):
            return [answer]
        late.append(loop.call_later(0.3, server.send, answer, request.source))
        return []

    server.respond = respond
    await upload(session)
    assert len(late) == 1
    await session.erase()
    assert len(late) == 2


@pytest.mark.usefixtures("quick")
async def test_lost_first_chunk_is_repeated(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """Patience has an end."""
    server.respond = losing(flash.respond, 1, 2)
    await upload(session)
    assert flash.data == IMAGE


def test_timer_takes_silence_for_work_until_datagrams_get_lost() -> None:
    """A peer with two buffers gets no third datagram while it erases a page."""
    timer = RetransmissionTimer()
    assert timer.wait(0) == timer.UNKNOWN
    for _ in range(100):
        timer.answered(False, 0.014)
    assert timer.wait(0) == timer.BUSY
    for _ in range(timer.LOSSES):
        timer.answered(True, 0.014)
    assert timer.wait(0) == timer.SHORTEST


@given(
    trips=st.lists(st.floats(0, 100), max_size=50),
    losses=st.integers(0, 10),
    repetition=st.integers(0, 100_000),
)
def test_timer_has_bounds(trips: list[float], losses: int, repetition: int) -> None:
    """Whatever was measured, each wait is longer than the one before, to a limit."""
    timer = RetransmissionTimer()
    for seconds in trips:
        timer.answered(losses > 0, seconds)
        losses -= 1
    waits = [timer.wait(repetition), timer.wait(repetition + 1)]
    assert timer.SHORTEST <= waits[0] <= waits[1] <= timer.LONGEST


def test_timer_follows_the_line() -> None:
    """A slow line gets more time than a fast one, and then less again."""
    timer = RetransmissionTimer()
    for seconds in [0.2, 0.4] * 20:
        timer.answered(True, seconds)
    assert 0.4 < timer.wait(0) < 1
    timer.answered(True, None)
    for _ in range(60):
        timer.answered(False, 0.01)
    assert timer.wait(0) == timer.SHORTEST


# Nobody there


@pytest.mark.usefixtures("quick")
async def test_nobody_listens(server: ScriptedServer) -> None:
    """The refusal of the network reaches whoever waits, soon."""
    await server.__aexit__()
    begin = asyncio.get_running_loop().time()
    async with UpdaterSession(server.host, server.port, QUICK) as session:
        with pytest.raises(MeterUnreachable, match="refused"):
            await session.slots()
        with pytest.raises(MeterUnreachable, match="refused"):
            await upload(session)
        assert not await session.reset()
    assert asyncio.get_running_loop().time() - begin < QUICK.contact


@pytest.mark.usefixtures("quick")
async def test_nobody_answers(session: UpdaterSession, server: ScriptedServer) -> None:
    """Silence has a limit for each command."""
    session.timeouts = replace(session.timeouts, contact=0.2, command=0.2, flash=0.2)
    server.respond = lambda request: []
    for action in (
        session.slots(),
        session.erase(),
        session.test(HASH),
        session.confirm(HASH),
        upload(session),
    ):
        with pytest.raises(MeterUnreachable, match="does not answer"):
            await action


@pytest.mark.usefixtures("quick")
async def test_module_that_restarts_during_the_upload(
    session: UpdaterSession, server: ScriptedServer, flash: Flash
) -> None:
    """Refusals of the network are waited for, and the upload goes on."""
    refused = asyncio.Event()
    endpoint = session._line.endpoint
    error_received = endpoint.error_received

    def notice(exc: Exception) -> None:
        refused.set()
        error_received(exc)

    endpoint.error_received = notice  # type: ignore[method-assign]
    task = asyncio.create_task(upload(session))
    await server.reached(3)
    await server.__aexit__()
    await refused.wait()
    flash.forget()
    async with server:
        await task
        assert flash.data == IMAGE


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "x..y", ""])
@pytest.mark.usefixtures("socket_enabled")
async def test_impossible_host(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that can't exist is out of reach."""
    monkeypatch.setattr(socket, "getaddrinfo", plugins._real_getaddrinfo)
    with pytest.raises(MeterUnreachable):
        async with UpdaterSession(host, 1):
            pytest.fail("There is no such host")


@pytest.mark.usefixtures("socket_enabled")
async def test_impossible_port() -> None:
    """A port that can't exist is out of reach."""
    with pytest.raises(MeterUnreachable):
        async with UpdaterSession("127.0.0.1", 70_000):
            pytest.fail("There is no such port")


async def test_slow_lookup(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that does not answer is not waited for."""
    monkeypatch.setattr(datagrams, "_LOOKUP_LIMIT", 0)
    with pytest.raises(MeterUnreachable, match="in time"):
        async with UpdaterSession("localhost", server.port):
            pytest.fail("There is no time for it")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_addresses_and_names(socket_enabled: None, host: str) -> None:
    """IPv4, IPv6, and a name, of which IPv4 is taken."""
    socket_allow_hosts(["127.0.0.1", "::1"])
    here = "::1" if host == "::1" else "127.0.0.1"
    async with (
        ScriptedServer(Flash().respond, here) as server,
        UpdaterSession(host, server.port) as session,
    ):
        assert len(await session.slots()) == 1


# Reset


async def test_reset_is_answered(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """It says so."""
    server.respond = lambda request: [request.answer(rc=0)] * 2
    assert await session.reset()
    assert len(server.requests) == 1


@pytest.mark.usefixtures("quick")
async def test_reset_is_sent_exactly_once(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """Also when no answer comes: a second one would revert the update."""
    server.respond = lambda request: []
    assert not await session.reset()
    server.respond = lambda request: [request.answer(images=[])]
    await session.slots()
    assert [request.command for request in server.requests] == [(0, 5), (1, 0)]


async def test_reset_is_refused(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """A server that is busy is not asked twice."""
    server.respond = lambda request: [request.answer(rc=10)]
    with pytest.raises(UpdaterRefused):
        await session.reset()
    assert len(server.requests) == 1


# Garbage

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
    """The right answer behind it is read."""
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


async def test_text_for_people_is_printable(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """A version brings no control characters into the house."""
    slot = SLOT_0 | {"version": "1.\x1b[2J\n0"}
    server.respond = lambda request: [request.answer(images=[slot])]
    assert (await session.slots())[0].version == "1.[2J0"


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


# The simulated module


@pytest.fixture
async def module(web: MeterServer, age: Age) -> AsyncGenerator[UpdaterServer]:
    """Return the module of a simulated meter."""
    config = UpdaterConfig(age=age, boot_seconds=0.05, old_answers=0.02)
    async with UpdaterServer(web, config) as module:
        yield module


@pytest.mark.parametrize("age", Age)
@pytest.mark.usefixtures("quick")
async def test_whole_update(module: UpdaterServer) -> None:
    """Both ages of servers take an image, run it on trial, and keep it."""
    async with UpdaterSession(module.host, module.port, QUICK) as session:
        (old,) = await session.slots()
        assert old.active
        assert old.confirmed
        await upload(session, NEW_IMAGE)
        _, new = await session.slots()
        assert (new.number, new.version, new.hash) == (1, "1.0.17", NEW_HASH)
        assert new.bootable
        assert (await session.test(NEW_HASH))[1].pending
        with pytest.raises(UpdaterRefused):
            await session.erase()
        with pytest.raises(UpdaterRefused) as raised:
            await upload(session, NEW_IMAGE)
        assert raised.value.no_room
        boots = module.boots
        assert await session.reset()
        await module.booted(boots + 1)
        running, previous = await session.slots()
        assert running.hash == NEW_HASH
        assert running.active
        assert not running.confirmed
        assert previous.hash == old.hash
        with pytest.raises(UpdaterRefused) as raised:
            await session.test(NEW_HASH)
        assert raised.value.rc == 1
        for _ in range(2):
            assert (await session.confirm(NEW_HASH))[0].confirmed
        await session.erase()
        assert [slot.number for slot in await session.slots()] == [0]
    assert {request.version for request in module.requests} == {1}
    assert max(request.size for request in module.requests) <= 588


@pytest.mark.parametrize("age", Age)
@pytest.mark.usefixtures("quick")
async def test_full_slot(module: UpdaterServer) -> None:
    """A server that wants an erase first says so; after it, it takes the image."""
    module.config = replace(module.config, full_slot_refuses=True)
    async with UpdaterSession(module.host, module.port, QUICK) as session:
        await upload(session, NEW_IMAGE)
        with pytest.raises(UpdaterRefused) as raised:
            await upload(session, NEW_IMAGE)
        assert raised.value.no_room
        await session.erase()
        await upload(session, NEW_IMAGE)
    assert module.bootloader.flash[1].startswith(NEW_IMAGE)


@pytest.mark.parametrize("age", Age)
async def test_slow_erase_fills_no_buffers(module: UpdaterServer) -> None:
    """Neither at the first chunk nor in the middle: the module would crash."""
    module.config = replace(
        module.config, buffers=1, overflow_crashes=True, chunk_seconds=0.15
    )
    image = signed_image("1.0.17", size=2048)
    async with UpdaterSession(module.host, module.port) as session:
        await session.slots()
        for _ in range(2):
            await upload(session, image)
            module.config = replace(module.config, erase_seconds=0.7)
    assert module.dropped == 0
    assert module.boots == 1


@pytest.mark.parametrize("closed", Closed)
@pytest.mark.parametrize("age", [Age.LEGACY])
@pytest.mark.usefixtures("quick")
async def test_updates_switched_off(module: UpdaterServer, closed: Closed) -> None:
    """Silence or a refusal of the network: nobody is there."""
    module.config = replace(module.config, closed=closed)
    on = module.meter.settings
    module.meter.settings = replace(on, online_update=False)
    async with UpdaterSession(
        module.host, module.port, replace(QUICK, contact=0.3)
    ) as session:
        with pytest.raises(MeterUnreachable):
            await session.slots()
        module.meter.settings = on
        assert len(await session.slots()) == 1


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    age=st.sampled_from(Age),
    chances=st.tuples(*[st.floats(0, 0.3)] * 6),
    jitter=st.floats(0, 0.03),
    cut=st.none() | st.integers(1, len(NEW_IMAGE)),
)
@pytest.mark.usefixtures("quick")
async def test_any_network(
    web: MeterServer,
    seed: int,
    age: Age,
    chances: tuple[float, ...],
    jitter: float,
    cut: int | None,
) -> None:
    """Lost, doubled, late and reordered datagrams and a power cut: all bytes arrive."""
    config = UpdaterConfig(age=age, boot_seconds=0.02, seed=seed)
    async with (
        UpdaterServer(web, config) as module,
        UpdaterSession(module.host, module.port, QUICK) as session,
    ):
        module.cut_power_at_byte = cut
        lines = (module.datagrams.requests, module.datagrams.answers)
        for line, three in zip(lines, itertools.batched(chances, 3), strict=True):
            line.loss, line.doubling, line.reordering = three
            line.jitter = jitter
        progress = await upload(session, NEW_IMAGE)
        assert progress[-1] == len(NEW_IMAGE)
        assert module.bootloader.flash[1].startswith(NEW_IMAGE)
        assert (await session.slots())[1].hash == NEW_HASH


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), chance=st.floats(0, 0.5))
@pytest.mark.usefixtures("quick")
async def test_corrupt_network(web: MeterServer, seed: int, chance: float) -> None:
    """Changed bytes lead to the image, or to an error of ours."""
    config = UpdaterConfig(boot_seconds=0.02, seed=seed)
    async with (
        UpdaterServer(web, config) as module,
        UpdaterSession(module.host, module.port, QUICK) as session,
    ):
        module.datagrams.requests.corruption = chance
        module.datagrams.answers.corruption = chance
        with suppress(MeterError):
            await upload(session, NEW_IMAGE)
        with suppress(MeterError):
            await session.slots()
        with suppress(MeterError):
            await session.test(NEW_HASH)


# Ends


async def test_cancelled_upload_leaves_nothing_behind(
    socket_enabled: None, server: ScriptedServer
) -> None:
    """The socket is closed, and no more is sent."""
    server.respond = lambda request: []
    before = asyncio.all_tasks()

    async def run() -> None:
        async with UpdaterSession(server.host, server.port) as session:
            opened.append(session._line.endpoint._transport)
            await upload(session)

    opened: list[asyncio.DatagramTransport | None] = []
    task = asyncio.create_task(run())
    await server.reached(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert opened[0]
    assert opened[0].get_extra_info("socket").fileno() == -1
    assert asyncio.all_tasks() == before


@pytest.mark.usefixtures("quick")
async def test_answer_to_a_cancelled_request_is_ignored(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """The session goes on after it."""
    server.respond = lambda request: []
    task = asyncio.create_task(session.slots())
    await server.reached(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    old = server.requests[0]
    server.respond = lambda request: [
        old.answer(images=[]),
        request.answer(images=[SLOT_0]),
    ]
    assert len(await session.slots()) == 1


async def test_progress_that_fails_ends_the_upload(
    session: UpdaterSession, server: ScriptedServer
) -> None:
    """Its error is the caller's own."""

    def progress(size: int) -> None:
        raise KeyError(size)

    with pytest.raises(KeyError):
        await session.upload(IMAGE, progress)
    assert len(server.requests) == 1


def test_errors_are_of_the_family() -> None:
    """One base, one short clause."""
    error = UpdaterRefused(1, 5, 2)
    assert isinstance(error, MeterError)
    assert error.no_room
    assert str(error) == "the updater refused command 1.5: rc 2"
