"""Some damaged bytes for everything that reads bytes; scripts/fuzz has all of them."""

from dataclasses import replace
from typing import Final

import pytest

from .fuzz.__main__ import TARGETS
from .fuzz.target import run

_CASES: Final = {"pages": 12, "http": 40, "session": 5, "firmware": 40}
_OTHERS: Final = 60


@pytest.mark.parametrize("name", TARGETS)
async def test_damaged_bytes(name: str, socket_enabled: None) -> None:
    """Only documented errors leave a reader, and memory is bounded."""
    async with TARGETS[name]() as target:
        # A loaded machine needs its time.
        bounds = replace(target.bounds, seconds=60)
        count = _CASES.get(name, _OTHERS)
        result = await run(
            replace(target, bounds=bounds), name, "1", 0, lambda done: done == count
        )
    assert result.cases == count
    assert not result.finds


async def test_a_fault_is_found(
    monkeypatch: pytest.MonkeyPatch, socket_enabled: None
) -> None:
    """A reader that lets a raw error, or very much memory, through is a find."""
    async with TARGETS["hosts"]() as target:

        async def read(given: bytes) -> int:
            if len(given) % 2:
                raise KeyError(given)
            bytearray(10_000_000 + len(given))
            return len(given)

        faulty = replace(target, read=read)
        result = await run(faulty, "hosts", "1", 0, lambda done: done == 32)
    assert any("KeyError" in find for find in result.finds)
    assert any("MB for" in find for find in result.finds)
