"""The behaviour of a module during updates, faults included."""

from dataclasses import dataclass
from enum import Enum

from .smp import DATAGRAM, Age


class Closed(Enum):
    """The fate of datagrams while nobody serves."""

    SILENT = "silent"
    REFUSED = "refused"
    """ICMP says that the port is unreachable."""


class Moment(Enum):
    """Moments of a request for a power cut."""

    ARRIVED = "arrived"
    """Nothing is done yet."""
    DONE = "done"
    """Everything is done, and nothing answered yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdaterConfig:
    """How a module updates; times are seconds of the event loop."""

    age: Age = Age.LEGACY
    image: bytes | None = None
    """The first image to run; None: a signed one of the settings' version."""
    closed: Closed = Closed.SILENT
    """The fate of datagrams while updates are off or the module restarts."""
    shows_parameters: bool | None = None
    """Whether it answers "MCUmgr parameters"; None: modern ones do."""
    datagram_size: int = DATAGRAM
    """Bytes of a buffer. Modern servers drop longer datagrams, legacy ones write
    garbage to the flash."""
    buffers: int = 2
    """Requests under way at most; further ones are dropped."""
    overflow_crashes: bool = False
    """Whether the module restarts when a request finds no buffer."""
    full_slot_refuses: bool = False
    """The manual's rule: no upload while there is an image in slot 1."""
    no_slot_rc: int | None = None
    """Error of an upload without a free slot in version 1: 2, 5 or 6. None: 5 of
    legacy servers, 6 of modern ones."""
    erases_pending: bool = False
    """Whether an image that waits for the restart may be erased."""
    erase_seconds: float = 0.0
    """For the erase of a slot that is not blank."""
    chunk_seconds: float = 0.0
    """For writing a chunk."""
    old_answers: float = 0.25
    """From the answer to a reset until the old image stops."""
    boot_seconds: float = 3.0
    """From the reset until the updater answers; a swap takes half of it."""
    web_seconds: float = 0.0
    """From then on until the web server answers."""
    watchdog_seconds: float | None = None
    """Until an image that never boots is reset; None: it never is."""
    seed: int = 1
    """Of the network's faults."""
