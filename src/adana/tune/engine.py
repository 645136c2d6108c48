"""What an engine is: something that runs many jobs elsewhere and brings back what became of them.

Whoever has jobs (a comparison, a ladder, the tuner) speaks to this interface only, so that the same
search runs on the cores of a laptop and on a cluster.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from adana.signals import SIGNALS, heeded

Emit = Callable[[Any], None]
"""What a job sends signs of life with: anything picklable."""
Work = Callable[[Any, Emit], Any]
"""A job: a top-level function of a picklable payload and an `Emit`; returns something picklable."""
OnEvent = Callable[[str, Any], None]
"""Called with a job's name and what it emitted."""


@dataclass(frozen=True)
class Result:
    """What became of one job: a value, or what went wrong."""

    value: Any = None
    error: str = ""
    """Empty if the job returned; else a short text that says why it did not."""
    details: str = ""
    """The traceback, where there is one."""


OnResult = Callable[[str, Result], None]
"""Called with a job's name and its result."""


class Engine(Protocol):
    """Runs batches of jobs. A context manager: what it started ends with the block."""

    stopped_by: int | None
    """Number of the first signal that stopped a batch; None if none did."""

    def run(
        self,
        work: Work,
        payloads: Mapping[str, Any],
        on_event: OnEvent = ...,
        on_result: OnResult = ...,
    ) -> dict[str, Result]:
        """Run ``work(payload, emit)`` for every payload and return the results by name.

        A job that fails, or whose process dies, has a `Result` with an `error`; the others go on.
        After Ctrl-C, SIGTERM, SIGUSR1 or SIGHUP no further job starts, the running ones get
        SIGTERM, may save, and are waited for; the second time they are killed, but not by SIGHUP,
        which a lost terminal may send twice. No `KeyboardInterrupt` is raised: jobs that never
        started, or were cut off before they could save, have no result.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def ignore(_name: str, _news: Any) -> None:
    """Show nothing: the default `on_event` and `on_result`."""


def failure(error: BaseException) -> Result:
    """Return the result of a job that raised `error`, with the traceback being handled."""
    return Result(error=f"{type(error).__name__}: {error}", details=traceback.format_exc())


@contextlib.contextmanager
def on_interrupt(handler: Callable[..., None]) -> Iterator[None]:
    """Call `handler` at `adana.signals.SIGNALS`; only the main thread can, in others it does
    nothing.
    """
    previous = {}
    if threading.current_thread() is threading.main_thread():
        for number in heeded(SIGNALS):
            previous[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)
