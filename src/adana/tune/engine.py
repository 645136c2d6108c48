"""What every engine promises: run many jobs somewhere, and say what became of each.

An engine knows nothing of trainings: a job is any picklable callable that takes a payload and a
function to send signs of life with.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

Emit = Callable[[Any], None]
"""Sends a picklable sign of life from a job to the `on_event` of whoever runs it."""
Work = Callable[[Any, Emit], Any]
"""A job: a top-level function of a payload and an `Emit`; what it returns can be pickled."""
OnEvent = Callable[[str, Any], None]
"""Called with the name of a job and what it emitted."""


@dataclass(frozen=True)
class Result:
    """What became of one job: a value, or what went wrong."""

    value: Any = None
    error: str = ""
    """Empty if the job returned; else a short text that says why it did not."""
    details: str = ""
    """The traceback, where there is one."""


OnResult = Callable[[str, Result], None]
"""Called with the name of a job and its result, once a job."""


def ignore(_name: str, _what: object) -> None:
    """Take no notice of an event or a result."""


def failure(error: BaseException) -> Result:
    """Return the result of a job that raised `error`; call it where that is handled."""
    return Result(error=f"{type(error).__name__}: {error}", details=traceback.format_exc())


class Engine(Protocol):
    """Runs jobs; a context manager, because it may hold processes between one batch and the next.

    `run` calls ``work(payload, emit)`` for every payload, in their order as far as there is room,
    and returns the result of every job that came to an end, by name. A job that fails, or whose
    process or machine is lost, takes down no other. After the first Ctrl-C or SIGTERM no further
    job starts, and the running ones get SIGTERM and are waited for, so that they can save; the
    second time they are killed. No `KeyboardInterrupt` is raised: compare the names to see which
    jobs are missing, because they never started or were cut off before they could save.
    """

    def run(
        self,
        work: Work,
        payloads: Mapping[str, Any],
        on_event: OnEvent = ignore,
        on_result: OnResult = ignore,
    ) -> dict[str, Result]:
        """Run one batch of jobs; may be called again and again."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
