"""What a network does to datagrams, for each direction, repeatable by its seed."""

import asyncio
from collections.abc import Callable
import random

type Deliver = Callable[[bytes], None]


class Line:
    """One direction. Chances are from 0 to 1 and may be changed at any time."""

    def __init__(self, seed: int) -> None:
        """Begin without faults."""
        self.loss = 0.0
        """Chance that a datagram is lost."""
        self.doubling = 0.0
        """Chance that it arrives twice, the second time after `jitter` of its own."""
        self.corruption = 0.0
        """Chance that one byte of it is another one."""
        self.reordering = 0.0
        """Chance that it is held back until the next one has passed."""
        self.delay = 0.0
        """Seconds that every datagram takes."""
        self.jitter = 0.0
        """Most seconds that it takes in addition."""
        self.hold = 0.05
        """Most seconds that a datagram is held back."""
        self.count = 0
        """Datagrams that were sent, lost ones included."""
        self.lost = 0
        """Datagrams that never arrived."""
        self._random = random.Random(seed)
        self._numbers: set[int] = set()
        self._silent_until = 0.0
        self._under_way: set[asyncio.TimerHandle] = set()
        self._held: list[Callable[[], None]] = []

    def lose(self, *numbers: int) -> None:
        """Lose the n-th datagrams from now on: 1 is the next one."""
        self._numbers.update(self.count + number for number in numbers)

    def silent_for(self, seconds: float) -> None:
        """Lose everything that is sent in the next seconds."""
        self._silent_until = asyncio.get_running_loop().time() + seconds

    def clear(self) -> None:
        """Forget every fault; what is under way arrives."""
        self.loss = self.doubling = self.corruption = self.reordering = 0.0
        self.delay = self.jitter = 0.0
        self._numbers.clear()
        self._silent_until = 0.0

    def send(self, data: bytes, deliver: Deliver) -> None:
        """Let a datagram pass, `deliver` it now, later, twice or never."""
        self.count += 1
        # Drawn for every datagram, so that one fault does not move the others.
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
        """Lose everything that is under way."""
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
        """Lose everything that is sent in the next seconds, both ways."""
        self.requests.silent_for(seconds)
        self.answers.silent_for(seconds)

    def clear(self) -> None:
        """Forget every fault, both ways."""
        self.requests.clear()
        self.answers.clear()

    def cut(self) -> None:
        """Lose everything that is under way, both ways."""
        self.requests.cut()
        self.answers.cut()
