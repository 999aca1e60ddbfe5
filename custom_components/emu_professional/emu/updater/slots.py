"""The two slots of a communication module, and an update's state as they show it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slot:
    """A firmware slot as the manual's `image list` shows it."""

    number: int
    """0 holds the running image, 1 the other one."""
    version: str
    hash: bytes
    """The image's own, not that of its file; empty if the server names none."""
    bootable: bool
    pending: bool
    """The slots will be swapped at the next restart."""
    confirmed: bool
    active: bool
    permanent: bool


def active_slot(slots: Sequence[Slot]) -> Slot | None:
    """Return the slot of the running image."""
    return next((slot for slot in slots if slot.active), None)


def running_hash(slots: Sequence[Slot]) -> bytes | None:
    """Return the hash of the running image."""
    active = active_slot(slots)
    return active.hash if active else None


def hash_on_trial(slots: Sequence[Slot]) -> bytes | None:
    """Return the hash of the running image if it is not confirmed."""
    active = active_slot(slots)
    return active.hash if active and not active.confirmed else None


def is_confirmed(slots: Sequence[Slot]) -> bool:
    """Return whether the running image is there to stay."""
    active = active_slot(slots)
    return active is not None and active.confirmed


def is_pending(slots: Sequence[Slot], hash: bytes) -> bool:
    """Return whether an image will run on trial after the next restart."""
    return any(slot.pending and slot.hash == hash for slot in slots)
