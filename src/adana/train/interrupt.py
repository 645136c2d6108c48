"""Ctrl-C, a scheduler's signals, a lost terminal and a time limit end a run with a checkpoint."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

from adana.signals import SIGNALS, heeded


class InterruptFlag:
    """While active, turns the first of `SIGNALS`, or the time limit, into a flag.

    A second Ctrl-C acts as usual. Further signals of a scheduler change nothing: SLURM and torchrun
    send several. The limit is in seconds from `since`, a time of `time.monotonic`, by default that
    of the construction.
    """

    def __init__(self, time_limit: float | None = None, since: float | None = None) -> None:
        self.time_limit = time_limit
        self.signal: signal.Signals | None = None
        self.active = False
        self._began = time.monotonic() if since is None else since
        self._previous: dict[int, signal._HANDLER] = {}

    def __bool__(self) -> bool:
        return bool(self.reason)

    @property
    def reason(self) -> str:
        """What asks the run to stop, or an empty string."""
        if self.signal is not None:
            return f"by {self.signal.name}"
        if self.time_limit is not None and time.monotonic() - self._began > self.time_limit:
            return f"by the time limit of {self.time_limit:.10g} seconds"
        return ""

    def __enter__(self) -> InterruptFlag:
        self.active = True
        if threading.current_thread() is threading.main_thread():
            for number in heeded(SIGNALS):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.active = False
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(number, self._previous.pop(number))
