"""An object with listeners."""

from homeassistant.core import CALLBACK_TYPE, callback


class Observable:
    """Calls its listeners at each change."""

    def __init__(self) -> None:
        """Initialize without a listener."""
        # In the order in which they were added
        self._listeners: dict[CALLBACK_TYPE, None] = {}

    @callback
    def async_add_listener(self, listener: CALLBACK_TYPE) -> CALLBACK_TYPE:
        """Call a listener at each change; return a function that removes it."""
        self._listeners[listener] = None

        @callback
        def remove() -> None:
            self._listeners.pop(listener, None)

        return remove

    @callback
    def _notify(self) -> None:
        # A copy: a listener may remove itself or others.
        for listener in [*self._listeners]:
            listener()
