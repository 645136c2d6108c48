"""What a tracker is to a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol


class Tracker(Protocol):
    """Somewhere to look at a run's metrics. Any method may raise: `Mirror` sees to it."""

    name: ClassVar[str]
    """What it is called on the command line."""
    forgets: ClassVar[bool]
    """Whether `start` drops what was logged past the step that a run goes on from."""
    queues: ClassVar[bool]
    """Whether a kill can lose rows that `log` took: they are certain when `finish` has returned."""

    def start(self, run_path: Path, config: Mapping[str, Any], resume_step: int) -> None:
        """Begin, or go on with, the run in the directory `run_path`.

        `config` is the resolved configuration; `resume_step` the last step whose rows count, -1
        where the run starts from the beginning.
        """

    def log(self, row: Mapping[str, Any]) -> None:
        """Take one row of ``metrics.jsonl``."""

    def finish(self, state: str, summary: Mapping[str, Any] | None) -> None:
        """End this session: the state of ``status.json`` and, of a finished run, its summary."""
