"""Ctrl-C, a scheduler's signals and a time limit end a run at the next step, with a checkpoint."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

SCHEDULER_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What schedulers send before they kill, and what SLURM's --signal=USR1@120 sends."""
SIGNALS = (signal.SIGINT, *SCHEDULER_SIGNALS)
"""Those, and Ctrl-C."""


class InterruptFlag:
    """While active, turns the first of `SIGNALS`, or the time limit, into a flag.

    A second Ctrl-C acts as usual. Further signals of a scheduler change nothing: SLURM and torchrun
    send several. The limit is in seconds from the construction.
    """

    def __init__(self, time_limit: float | None = None) -> None:
        self.time_limit = time_limit
        self.signal: signal.Signals | None = None
        self._began = time.monotonic()
        self._previous: dict[int, signal._HANDLER] = {}

    def __bool__(self) -> bool:
        return bool(self.reason)

    @property
    def reason(self) -> str:
        """What asks the run to stop, or an empty string."""
        if self.signal is not None:
            return f"by {self.signal.name}"
        if self.time_limit is not None and time.monotonic() - self._began > self.time_limit:
            return f"by the time limit of {self.time_limit:g} seconds"
        return ""

    def __enter__(self) -> InterruptFlag:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, self._previous.pop(number))
