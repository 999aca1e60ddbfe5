"""Uploads into slot 1, chunk by chunk."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
import struct
from typing import Any, NoReturn

from ..bootloader import HEADER_SIZE, MAGIC, Image, Swap, Version
from .module import Module
from .smp import CHUNK, Age, ImageRc, Json, Rc, RefusedError, UpdateRequest

_WRITE_ALIGNMENT = 8
_SHA_SIZE = 32


@dataclass(slots=True)
class _State:
    """An upload in the server's memory."""

    active: bool = False
    offset: int = 0
    size: int = 0
    sha: bytes = b""


class Uploads:
    """Takes the chunks of one upload after another.

    `cut_before` returns the byte of a power cut before the end of a write, None
    without one; `lose_power` cuts the power.
    """

    def __init__(
        self,
        module: Module,
        cut_before: Callable[[int], int | None],
        lose_power: Callable[[], Coroutine[Any, Any, NoReturn]],
    ) -> None:
        """Have no upload."""
        self._module = module
        self._cut_before = cut_before
        self._lose_power = lose_power
        self._state = _State()

    def forget(self) -> None:
        """Forget the upload, as at a loss of power."""
        self._state = _State()

    async def take_chunk(self, request: UpdateRequest) -> Json:
        """Write a chunk, and return the offset of the next one."""
        body, config = request.body, self._module.config
        offset, data = body.get("off"), body.get("data", b"")
        if not _is_count(offset):
            raise RefusedError(ImageRc.INVALID_OFFSET)
        if not isinstance(data, bytes):
            raise RefusedError(Rc.INVALID)
        if len(data) > CHUNK and config.age is Age.MODERN:
            raise RefusedError(Rc.INVALID)
        if offset == 0:
            if self._resumes(body, data):
                return {"off": self._state.offset}
            await self._begin(body, data)
        elif offset != self._state.offset:
            return {"off": self._state.offset}
        if config.chunk_seconds:
            await asyncio.sleep(config.chunk_seconds)
        if len(data) > CHUNK or request.size > self._module.config.datagram_size:
            data = bytes(len(data))
        await self._write(data)
        return {"off": self._end_of_chunk()}

    def _resumes(self, body: Json, data: bytes) -> bool:
        size, sha = body.get("len"), body.get("sha", b"")
        if len(data) < HEADER_SIZE:
            raise RefusedError(ImageRc.INVALID_HEADER)
        if not _is_count(size):
            raise RefusedError(ImageRc.INVALID_LENGTH)
        if int.from_bytes(data[:4], "little") != MAGIC:
            raise RefusedError(ImageRc.INVALID_MAGIC)
        if not isinstance(sha, bytes) or len(sha) > _SHA_SIZE:
            raise RefusedError(ImageRc.INVALID_HASH)
        return bool(sha) and sha == self._state.sha

    async def _begin(self, body: Json, data: bytes) -> None:
        loader = self._module.bootloader
        full_slot_refuses = self._module.config.full_slot_refuses
        full = full_slot_refuses and loader.image(1) is not None
        if full or loader.swap is not Swap.NONE:
            raise RefusedError(ImageRc.NO_FREE_SLOT, self._no_slot_rc())
        if body.get("upgrade") is True:
            self._refuse_downgrade(data)
        if body["len"] > loader.capacity:
            raise RefusedError(ImageRc.TOO_LARGE)
        sha = body.get("sha", b"")
        self._state = _State(active=True, size=body["len"], sha=sha)
        if not loader.is_blank(1):
            await self._module.erase_slowly()

    def _no_slot_rc(self) -> int:
        config = self._module.config
        if config.no_slot_rc is not None:
            return config.no_slot_rc
        return Rc.NO_ENTRY if config.age is Age.LEGACY else Rc.BAD_STATE

    def _refuse_downgrade(self, data: bytes) -> None:
        running = self._module.bootloader.image(0)
        new = Version(*struct.unpack_from("<BBHI", data, 20))
        if isinstance(running, Image) and new[:3] <= running.version[:3]:
            raise RefusedError(ImageRc.RUNNING_IS_NEWER)

    async def _write(self, data: bytes) -> None:
        state, loader = self._state, self._module.bootloader
        if not state.active:
            raise RefusedError(ImageRc.FLASH_WRITE_FAILED)
        end = state.offset + len(data)
        if end > state.size:
            raise RefusedError(ImageRc.DATA_OVERRUN)
        if end < state.size:
            data = data[: len(data) - len(data) % _WRITE_ALIGNMENT]
        cut = self._cut_before(state.offset + len(data))
        if cut is not None:
            loader.write(state.offset, data[: cut - state.offset])
            await self._lose_power()
        loader.write(state.offset, data)
        state.offset += len(data)

    def _end_of_chunk(self) -> int:
        state = self._state
        if state.offset == state.size:
            # A repeated last chunk is answered with the size by legacy servers, with
            # 0 by modern ones, because they have forgotten the upload.
            legacy = self._module.config.age is Age.LEGACY
            self._state = _State(offset=state.size) if legacy else _State()
        return state.offset


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
