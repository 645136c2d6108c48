"""Weights & Biases, online or offline (`WANDB_MODE=offline`, then `wandb sync`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from adana.runs import identity
from adana.trackers.names import flatten_row

PROJECT = "adana"
"""The project; the environment variable WANDB_PROJECT overrides it."""


class WandB:
    """One W&B run for one adana run, however many sessions it takes.

    The run's id is made of the identity of the configuration, so a resumed run goes on in the same
    one. Rows carry their step as a number of their own: W&B's internal counter would refuse rows
    that come late.
    """

    name: ClassVar[str] = "wandb"
    forgets: ClassVar[bool] = False
    queues: ClassVar[bool] = True

    def start(self, run_path: Path, config: Mapping[str, Any], resume_step: int) -> None:
        """Begin, or go on with, the W&B run; its files are kept in the run directory."""
        import wandb  # noqa: PLC0415 - optional

        offline = wandb.setup().settings.mode in {"offline", "disabled"}
        self._run = wandb.init(
            project=wandb.setup().settings.project or PROJECT,
            id=f"{PROJECT}-{identity(config)}",
            name=run_path.name,
            dir=str(run_path),
            config=dict(config),
            resume=None if offline else "allow",
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, row: Mapping[str, Any]) -> None:
        """Send one row; W&B queues it and returns."""
        self._run.log({"step": int(row["step"]), **flatten_row(row)})

    def finish(self, state: str, summary: Mapping[str, Any] | None) -> None:
        """Send the final numbers and the rest of the queue.

        A session that another goes on from is shown as preempted, not as finished.
        """
        self._run.summary["state"] = state
        for name, value in flatten_row(dict(summary or {})).items():
            self._run.summary[f"final/{name}"] = value
        if state not in {"finished", "failed", "diverged"}:
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if state == "finished" else 1)
