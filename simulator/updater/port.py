"""A UDP port that stays with the module while the module is away."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
import socket
from typing import Any

_LARGEST_DATAGRAM = 65_535

type Address = tuple[Any, ...]


class Port:
    """A UDP port of two sockets: one holds it and sends, one receives at times.

    Without the second one the kernel refuses datagrams with ICMP. Answers leave through
    the first one, because they may be under way when the module is gone.
    """

    def __init__(
        self, host: str, port: int, arrived: Callable[[bytes, Address], None]
    ) -> None:
        """Hold a port (0: any free one), and receive nothing yet."""
        self._host = host
        self._arrived = arrived
        self._holder = _held_port(host, port)
        self._receiver: socket.socket | None = None
        self.number: int = self._holder.getsockname()[1]

    def open(self) -> None:
        """Receive datagrams."""
        if self._receiver is None:
            self._receiver = _receiving(self._host, self.number)
            asyncio.get_running_loop().add_reader(self._receiver, self._readable)

    def refuse(self) -> None:
        """Receive nothing: the kernel refuses datagrams."""
        if self._receiver is not None:
            asyncio.get_running_loop().remove_reader(self._receiver)
            self._receiver.close()
            self._receiver = None

    def close(self) -> None:
        """Give the port away."""
        self.refuse()
        self._holder.close()

    def send(self, data: bytes, address: Address) -> None:
        """Send a datagram."""
        self._holder.sendto(data, address)

    def _readable(self) -> None:
        if self._receiver is None:
            return
        with suppress(BlockingIOError):
            self._arrived(*self._receiver.recvfrom(_LARGEST_DATAGRAM))


def _held_port(host: str, port: int) -> socket.socket:
    """Keep a port so that nobody else gets it, and receive nothing there."""
    held = socket.socket(_family(host), socket.SOCK_DGRAM)
    try:
        held.bind((host, port))
        # Connected to itself, it is not asked for datagrams of others: without a
        # second socket the kernel refuses them with ICMP.
        held.connect(held.getsockname())
        held.setblocking(False)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        held.close()
        raise
    return held


def _receiving(host: str, port: int) -> socket.socket:
    receiving = socket.socket(_family(host), socket.SOCK_DGRAM)
    receiving.setblocking(False)
    receiving.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    receiving.bind((host, port))
    return receiving


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
