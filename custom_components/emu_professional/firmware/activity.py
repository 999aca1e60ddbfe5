"""The one signal that a meter's communication module is being updated or restarted."""

from homeassistant.core import CALLBACK_TYPE, callback

from ..emu.updater.outcome import Step


class Activity:
    """Work on a meter's communication module, for everybody who must wait for it.

    Polls, the back-fill and the logs pause while `is_busy`: an old module does not
    survive many requests at once, and a restarting one does not answer. The update
    entity shows `step` and `percent`.
    """

    def __init__(self) -> None:
        """Initialize without any work."""
        self.is_busy = False
        """Whether the module is at work, or may be restarting."""
        self.step: Step | None = None
        self.percent: int | None = None
        """Of an upload, 0 to 100."""
        self._listeners: set[CALLBACK_TYPE] = set()

    @callback
    def async_add_listener(self, listener: CALLBACK_TYPE) -> CALLBACK_TYPE:
        """Call a listener at each change of `step` and `percent`, and at the end.

        Return a function that removes it.
        """
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    @callback
    def begin(self) -> None:
        """Note that the module is busy from now on."""
        # Without a notice: there is nothing to show before the first step.
        self.is_busy = True

    @callback
    def show(self, step: Step, percent: int | None) -> None:
        """Show the step of an update, and the percentage of an upload."""
        if (step, percent) != (self.step, self.percent):
            self.step, self.percent = step, percent
            self._notify()

    @callback
    def end(self) -> None:
        """Note that the module is free again."""
        self.is_busy = False
        self.step = self.percent = None
        self._notify()

    def _notify(self) -> None:
        # A copy: a listener may remove itself or others.
        for listener in [*self._listeners]:
            listener()
