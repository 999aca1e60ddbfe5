"""A server as a context: it serves inside."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Serving(ABC):
    """Starts at the begin of a `with` statement, and stops at its end."""

    async def __aenter__(self) -> Self:
        """Start serving."""
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop serving."""
        await self.stop()

    @abstractmethod
    async def start(self) -> None:
        """Serve from now on."""

    @abstractmethod
    async def stop(self) -> None:
        """Serve no longer."""
