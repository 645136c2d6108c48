"""trackio: a local dashboard, `trackio show --project adana`, or a Hugging Face space."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from adana.runs import identity
from adana.trackers.names import flatten_row

PROJECT = "adana"
"""The project; the environment variable TRACKIO_PROJECT overrides it."""


class Trackio:
    """One trackio run for one adana run: it goes on under a name made of directory and identity."""

    name: ClassVar[str] = "trackio"
    forgets: ClassVar[bool] = False
    queues: ClassVar[bool] = True

    def start(self, run_path: Path, config: Mapping[str, Any], resume_step: int) -> None:
        """Begin, or go on with, the run; trackio keeps it where TRACKIO_DIR says."""
        import trackio  # noqa: PLC0415 - optional

        key = identity(config)
        name = run_path.name if run_path.name.endswith(key) else f"{run_path.name}-{key}"
        with contextlib.redirect_stdout(io.StringIO()):  # it would write over progress bars
            self._run = trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", PROJECT),
                name=name,
                config=dict(config),
                resume="allow",
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )

    def log(self, row: Mapping[str, Any]) -> None:
        """Queue one row; a thread of trackio writes it."""
        self._run.log(flatten_row(row), step=int(row["step"]))

    def finish(self, state: str, summary: Mapping[str, Any] | None) -> None:
        """Wait until the queue is written. trackio has no place for a summary."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._run.finish()
