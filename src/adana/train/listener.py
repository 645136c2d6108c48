"""Telling whoever started a run how far it is, without losing a step to what they raise."""

from __future__ import annotations

from adana.runs import RunError
from adana.train.interrupt import InterruptFlag
from adana.train.progress import OnProgress, Progress
from adana.train.world import World


class Listener:
    """Passes signs of life of the first rank to `on_progress`, until that raises something.

    It is raised where it happened on a single rank, and by `check` on several, which must end
    together.
    """

    def __init__(self, on_progress: OnProgress, world: World, interrupted: InterruptFlag) -> None:
        self.on_progress, self.world, self.interrupted = on_progress, world, interrupted
        self.error: Exception | SystemExit | None = None
        """What `on_progress` raised."""

    def tell(self, progress: Progress) -> None:
        """Pass on one sign of life."""
        if not self.world.first or self.error is not None:
            return
        try:
            self.on_progress(progress)
        except (Exception, SystemExit) as error:  # whatever it is, no step is lost to it
            if isinstance(error, SystemExit) and not self.interrupted.active:
                raise  # a signal before the first step
            self.error = error
            if self.world.size == 1:
                raise

    def check(self) -> None:
        """Raise on all ranks what `on_progress` raised on the first of several."""
        self.world.decide(self._raise)

    def _raise(self) -> None:
        if self.error is not None:  # one kind, which every rank knows and takes for what it is
            raise RunError(self.reason()) from self.error

    def reason(self) -> str:
        """Say of the error that it is that of whoever listens."""
        return f"on_progress raised {type(self.error).__name__}: {self.error}"
