"""The one signal that a meter's communication module is being updated or restarted."""

from homeassistant.core import callback

from ..emu.updater.outcome import Step
from .observable import Observable


class Activity(Observable):
    """Work on a meter's communication module, for everybody who must wait for it.

    Polls, the back-fill and the logs pause while `is_busy`: an old module does not
    survive many requests at once, and a restarting one does not answer. The update
    entity shows `step` and `percent`. Listeners are called at each change of these, and
    at the end.
    """

    def __init__(self) -> None:
        """Initialize without any work."""
        super().__init__()
        self.is_busy = False
        """Whether the module is at work, or may be restarting."""
        self.step: Step | None = None
        self.percent: int | None = None
        """Of an upload, 0 to 100."""

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
