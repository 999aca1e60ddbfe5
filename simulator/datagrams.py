"""Faults of a network for datagrams, per direction, repeatable by a seed."""

import asyncio
from collections.abc import Callable
import random

type Deliver = Callable[[bytes], None]


class Line:
    """One direction. Chances are from 0 to 1 and may be changed at any time."""

    def __init__(self, seed: int) -> None:
        """Begin without faults."""
        self.loss = 0.0
        """Chance of losing a datagram."""
        self.doubling = 0.0
        """Chance of a second delivery, with its own jitter."""
        self.corruption = 0.0
        """Chance of a changed byte."""
        self.reordering = 0.0
        """Chance of a delivery after the next datagram."""
        self.delay = 0.0
        """Delay of each datagram in seconds."""
        self.jitter = 0.0
        """Largest additional delay in seconds."""
        self.hold = 0.05
        """Longest wait for the next datagram, in seconds."""
        self.count = 0
        """Number of sent datagrams, including lost ones."""
        self.lost = 0
        """Number of lost datagrams."""
        self._random = random.Random(seed)
        self._numbers: set[int] = set()
        self._silent_until = 0.0
        self._under_way: set[asyncio.TimerHandle] = set()
        self._held: list[Callable[[], None]] = []

    def lose(self, *numbers: int) -> None:
        """Lose the n-th datagrams from now on: 1 is the next one."""
        self._numbers.update(self.count + number for number in numbers)

    def silent_for(self, seconds: float) -> None:
        """Lose all datagrams sent in the next seconds."""
        self._silent_until = asyncio.get_running_loop().time() + seconds

    def clear(self) -> None:
        """Remove all faults; delayed datagrams arrive."""
        self.loss = self.doubling = self.corruption = self.reordering = 0.0
        self.delay = self.jitter = 0.0
        self._numbers.clear()
        self._silent_until = 0.0

    def send(self, data: bytes, deliver: Deliver) -> None:
        """Send a datagram; `deliver` is called now, later, twice or never."""
        self.count += 1
        # All four are drawn for each datagram, so that setting one chance leaves the
        # random numbers of the others unchanged.
        loss, doubling, corruption, reordering = (
            self._random.random() for _ in range(4)
        )
        noise = self._random.randbytes(3)
        if self._is_lost() or loss < self.loss:
            self.lost += 1
            return
        if corruption < self.corruption:
            data = _corrupted(data, noise)
        held, self._held = self._held, []
        if reordering < self.reordering:
            self._hold(data, deliver)
        else:
            self._carry(data, deliver)
        if doubling < self.doubling:
            self._carry(data, deliver)
        for release in held:
            release()

    def cut(self) -> None:
        """Lose all delayed datagrams."""
        for handle in self._under_way:
            handle.cancel()
        self.lost += len(self._under_way)
        self._under_way.clear()
        self._held.clear()

    def _is_lost(self) -> bool:
        if self.count in self._numbers:
            self._numbers.remove(self.count)
            return True
        return asyncio.get_running_loop().time() < self._silent_until

    def _carry(self, data: bytes, deliver: Deliver) -> None:
        seconds = self.delay + self._random.random() * self.jitter
        if seconds > 0:
            self._later(seconds, lambda: deliver(data))
        else:
            deliver(data)

    def _hold(self, data: bytes, deliver: Deliver) -> None:
        def release() -> None:
            if handle in self._under_way:
                self._under_way.remove(handle)
                handle.cancel()
                self._carry(data, deliver)

        handle = self._later(self.hold, lambda: self._carry(data, deliver))
        self._held.append(release)

    def _later(self, seconds: float, then: Callable[[], None]) -> asyncio.TimerHandle:
        def arrive() -> None:
            self._under_way.discard(handle)
            then()

        handle = asyncio.get_running_loop().call_later(seconds, arrive)
        self._under_way.add(handle)
        return handle


def _corrupted(data: bytes, noise: bytes) -> bytes:
    changed = bytearray(data)
    changed[int.from_bytes(noise[:2]) % len(data)] ^= noise[2] or 1
    return bytes(changed)


class Datagrams:
    """The network between a client and the updater."""

    def __init__(self, seed: int = 1) -> None:
        """Begin without faults."""
        self.requests = Line(2 * seed)
        """To the meter."""
        self.answers = Line(2 * seed + 1)
        """From the meter."""

    def silent_for(self, seconds: float) -> None:
        """Lose all datagrams sent in the next seconds, in both directions."""
        self.requests.silent_for(seconds)
        self.answers.silent_for(seconds)

    def clear(self) -> None:
        """Remove all faults, in both directions."""
        self.requests.clear()
        self.answers.clear()

    def cut(self) -> None:
        """Lose all delayed datagrams, in both directions."""
        self.requests.cut()
        self.answers.cut()
