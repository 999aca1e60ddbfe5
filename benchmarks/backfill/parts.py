"""The CPU of the parts of our own work, each measured by itself.

The functions are named by reference, not by text: if one is renamed or moved, mypy
finds its place here. They run in threads beside Home Assistant's own work, so that
nothing outside of them can measure their CPU alone.
"""

from collections import Counter
from collections.abc import Callable, Iterator
import functools
import threading
from typing import Any, Final, NamedTuple

from custom_components.emu_professional.backfill import (
    follow_part,
    report,
    run as run_module,
)
from custom_components.emu_professional.backfill.hours import Folding
from custom_components.emu_professional.backfill.means import plan_means
from custom_components.emu_professional.backfill.parts import cut_part
from custom_components.emu_professional.backfill.recorder import read
from custom_components.emu_professional.backfill.rows import changed
from custom_components.emu_professional.backfill.series import plan_register
from custom_components.emu_professional.emu.table_reader import TableReader

from .gauges import GARBAGE


class Place(NamedTuple):
    """A function, and the module or class that calls it by its name."""

    owner: Any
    function: Callable[..., Any]

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.function.__name__


PARTS: Final = {
    "parsing": (
        Place(TableReader, TableReader.feed),
        Place(TableReader, TableReader.close),
    ),
    "folding": (
        Place(Folding, Folding.feed),
        Place(Folding, Folding.close),
        Place(run_module, cut_part),
    ),
    "reading rows": (
        Place(read, read.read_sums),
        Place(read, read.read_means),
        Place(read, read.is_written),
    ),
    "joining": (
        Place(follow_part, plan_register),
        Place(report, changed),
        Place(follow_part, plan_means),
    ),
}
"""The functions of each part, in the modules that call them."""


class Parts:
    """The CPU of functions, each without the others that it calls."""

    def __init__(self) -> None:
        """Have measured nothing."""
        self.seconds: Counter[str] = Counter()
        self._inner = threading.local()

    def install(self) -> None:
        """Wrap all functions of `PARTS`."""
        for part, places in PARTS.items():
            for place in places:
                assert getattr(place.owner, place.name) is place.function
                timed = self._timed(part, place.function)
                setattr(place.owner, place.name, timed)

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        inner = self._inner

        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            outside, inner.seconds = getattr(inner, "seconds", 0.0), 0.0
            begin = GARBAGE.cpu()
            result = function(*arguments, **named)
            if isinstance(result, Iterator):
                result = iter(list(result))
            passed = GARBAGE.cpu() - begin
            self.seconds[part] += passed - inner.seconds
            inner.seconds = outside + passed
            return result

        return timed
