"""The faults of one server: the fault of each request by its path."""

from dataclasses import dataclass

from .connections import SecondConnectionRefused
from .fault import Fault


@dataclass(slots=True)
class _Rule:
    fault: Fault
    path: str | None
    times: int | None

    def applies(self, path: str) -> bool:
        return self.path in (None, path) and self.times != 0

    def take(self) -> Fault:
        if self.times is not None:
            self.times -= 1
        return self.fault


class Faults:
    """The faults of one server. The one set last goes first."""

    def __init__(self) -> None:
        """Begin without faults."""
        self._rules: list[_Rule] = []

    def set(
        self, fault: Fault, *, path: str | None = None, times: int | None = None
    ) -> None:
        """Disturb the next `times` requests (None: until cleared) of a path (None: of all).

        `path` is compared without its query.
        """
        self._rules.append(_Rule(fault, path, times))

    def clear(self, path: str | None = None) -> None:
        """Forget the faults of a path (None: all faults)."""
        keep = [rule for rule in self._rules if rule.path != path]
        self._rules = [] if path is None else keep

    def take(self, path: str) -> Fault | None:
        """Return the fault of a request and count it."""
        for rule in reversed(self._rules):
            of_requests = not isinstance(rule.fault, SecondConnectionRefused)
            if of_requests and rule.applies(path):
                return rule.take()
        return None

    def refuses_second_connection(self) -> bool:
        """Return whether a second connection is refused, and count it."""
        for rule in reversed(self._rules):
            if isinstance(rule.fault, SecondConnectionRefused) and rule.times != 0:
                rule.take()
                return True
        return False
