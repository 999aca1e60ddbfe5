"""One request to the updater, repeated until it is answered.

    request ──► datagram 17 ──► lost
            ──► datagram 18 ──► answer 18 lost
            ──► datagram 19 ──► answer 19 ──► read

Each repetition has a sequence number of its own, as with the manual's tool. An answer
to any of them counts: the module does the same for all.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
import itertools
from typing import Final

from ..errors import MeterUnexpectedAnswer, MeterUnreachable, UpdaterRefused
from . import messages
from .datagrams import Endpoint, RetransmissionTimer, reason
from .messages import BrokenAnswer, Command, Fields

# The error numbers for "no buffer" and "busy": another try may succeed.
_PASSING: Final = frozenset({2, 10})
_MOST_PASSING: Final = 3


@dataclass(frozen=True, slots=True)
class SessionTimeouts:
    """How long a session waits, in seconds."""

    contact: float = 15.0
    """For the first answer of a session."""
    refused: float = 5.0
    """The same if the network reports that nobody is there."""
    command: float = 30.0
    """For the answer to one command, repetitions included."""
    flash: float = 120.0
    """The same for a chunk or an erase: the module may restart meanwhile."""
    upload: float = 1800.0
    """For a whole upload."""
    reset: float = 5.0
    """For the answer to a reset."""
    erase: float = 5.0
    """Before a command is repeated during an erase of flash memory.

    The server is busy with it for seconds; repetitions would fill its two buffers, and
    servers before mid-2021 crash then.
    """
    pause: float = 0.5
    """Before the next try with a busy server, or if nobody is there."""


@dataclass(frozen=True, slots=True)
class Request[T]:
    """A command with its fields, and the way to send it and to read its answer."""

    command: Command
    fields: Fields
    read: Callable[[Fields], T]
    """Returns the content of an answer. Raises BrokenAnswer."""
    limit: float | None = None
    """Seconds, repetitions included; None: those of a quick command."""
    repeat_after: float | None = None
    """Seconds before each repetition; None: by the round trips of the line."""
    is_sent_once: bool = False
    """For a request that does harm if it arrives twice."""


@dataclass(slots=True)
class Line:
    """The things shared by all requests of a session."""

    endpoint: Endpoint = field(default_factory=Endpoint)
    timer: RetransmissionTimer = field(default_factory=RetransmissionTimer)
    sequence_numbers: Iterator[int] = field(
        default_factory=lambda: itertools.cycle(range(256))
    )
    has_answered: bool = False
    """Whether the server has ever answered in this session."""


class Exchange[T]:
    """One request, its repetitions and its answer."""

    def __init__(
        self, line: Line, request: Request[T], timeouts: SessionTimeouts
    ) -> None:
        """Prepare to send; earlier answers are dropped."""
        self._line = line
        self._request = request
        self._timeouts = timeouts
        self._payload = messages.encode(request.fields)
        self._now = asyncio.get_running_loop().time
        self._sent: dict[int, float] = {}
        """When each datagram was sent, by its sequence number."""
        self._passed = 0
        self._failure: MeterUnreachable | MeterUnexpectedAnswer = MeterUnreachable(
            "the updater does not answer"
        )
        line.endpoint.forget()

    async def complete(self) -> T:
        """Send the request until it is answered, and return the content of the answer.

        Raises MeterUnreachable, MeterUnexpectedAnswer, UpdaterRefused.
        """
        begin, limit = self._now(), self._limit()
        while (left := begin + limit - self._now()) > 0:
            self._send()
            pause = self._timeouts.pause
            try:
                return await self._answer_in_time(left)
            except TimeoutError:
                # A repetition has waited long enough already.
                pause = 0
            except UpdaterRefused as err:
                if not self._may_pass(err.rc):
                    raise
            except OSError:
                # Nobody listens: online update is off, or the module restarts. Before
                # the first answer the former is likelier, so the owner waits less.
                if not self._line.has_answered:
                    limit = min(limit, self._timeouts.refused)
            if self._request.is_sent_once:
                break
            await asyncio.sleep(pause)
        raise self._failure

    async def send_once(self, seconds: float) -> T:
        """Send the request, and return the content of the answer.

        Raises UpdaterRefused; TimeoutError if no answer comes in time, another OSError
        as soon as the network reports that nobody is there.
        """
        self._send()
        return (await self._answer(seconds))[1]

    def _limit(self) -> float:
        if self._request.limit is not None:
            return self._request.limit
        return (
            self._timeouts.command
            if self._line.has_answered
            else self._timeouts.contact
        )

    def _send(self) -> None:
        sequence = next(self._line.sequence_numbers)
        self._sent[sequence] = self._now()
        datagram = messages.frame(self._request.command, sequence, self._payload)
        self._line.endpoint.send(datagram)

    async def _answer_in_time(self, left: float) -> T:
        """Return the content of an answer before the next repetition is due.

        Note its round trip, and whether an earlier datagram was lost.
        """
        line, repeat_after = self._line, self._request.repeat_after
        seconds = repeat_after or line.timer.wait(len(self._sent) - 1)
        try:
            sequence, answer = await self._answer(min(left, seconds))
        except UpdaterRefused:
            # A refusal shows as well that the server is there.
            line.has_answered = True
            raise
        line.has_answered = True
        # An answer to a later datagram means that an earlier one was lost.
        is_lossy = sequence != next(iter(self._sent))
        round_trip = self._now() - self._sent[sequence]
        # An erase takes far longer than the way there and back.
        line.timer.answered(is_lossy, None if repeat_after else round_trip)
        return answer

    async def _answer(self, seconds: float) -> tuple[int, T]:
        """Return the sequence number and the content of the first answer to read."""
        end = self._now() + seconds
        while True:
            sequence, datagram = await self._receive(end)
            try:
                return sequence, self._request.read(self._success(datagram))
            except BrokenAnswer:
                # Perhaps damaged on the line, so it counts as lost.
                self._failure = MeterUnexpectedAnswer(
                    "the updater's answers are broken"
                )

    async def _receive(self, end: float) -> tuple[int, bytes]:
        while True:
            try:
                datagram = await self._line.endpoint.receive(end - self._now())
            except TimeoutError:
                # No news: an earlier reason, such as broken answers, says more.
                raise
            except OSError as err:
                self._failure = MeterUnreachable(reason(err))
                raise
            # All else is late or no answer at all, and is dropped.
            sequence = messages.sequence_of_answer(self._request.command, datagram)
            if sequence in self._sent:
                return sequence, datagram

    def _success(self, datagram: bytes) -> Fields:
        fields = messages.decode(datagram)
        if rc := messages.error_number(fields):
            command = self._request.command
            raise UpdaterRefused(command.group, command.number, rc)
        return fields

    def _may_pass(self, rc: int) -> bool:
        """Return whether to try again in spite of an error, and count it."""
        self._passed += 1
        return rc in _PASSING and self._passed <= _MOST_PASSING
