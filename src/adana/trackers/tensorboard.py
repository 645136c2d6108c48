"""TensorBoard: event files in the run directory, for `tensorboard --logdir runs`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from adana.trackers.names import flatten_row

FOLDER = "tensorboard"
"""Folder of the event files in the run directory."""


class TensorBoard:
    """Writes event files, and drops the rows that a resumed run trains again."""

    name: ClassVar[str] = "tensorboard"
    forgets: ClassVar[bool] = True
    queues: ClassVar[bool] = False

    def start(self, run_path: Path, config: Mapping[str, Any], resume_step: int) -> None:
        """Open the event files; of a run from the beginning, old ones are removed."""
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional

        folder = run_path / FOLDER
        began = resume_step < 0
        if began:
            for old in folder.glob("events.out.tfevents.*"):
                old.unlink()
        self._writer = SummaryWriter(str(folder), purge_step=None if began else resume_step + 1)
        self._origin = _written(run_path / "config.json")
        if began:
            text = json.dumps(config, indent=2)
            self._writer.add_text("config", f"```json\n{text}\n```", 0, walltime=self._origin)

    def log(self, row: Mapping[str, Any]) -> None:
        """Write one row and see it into the file.

        Its time is that of the training, counted from when the run was set up: a replayed run
        shows the same time axis, and a pause between sessions none.
        """
        when = self._origin + float((row.get("timing") or {}).get("seconds", 0.0))
        for name, value in flatten_row(row).items():
            self._writer.add_scalar(name, value, int(row["step"]), walltime=when)
        self._writer.flush()

    def finish(self, state: str, summary: Mapping[str, Any] | None) -> None:
        """Close the files."""
        self._writer.close()


def _written(path: Path) -> float:
    """Return when a file was written (seconds since 1970), now if it is not there."""
    return path.stat().st_mtime if path.exists() else time.time()
