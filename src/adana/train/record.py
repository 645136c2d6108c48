"""What `metrics.jsonl` must hold of the steps that a checkpoint has behind it."""

from __future__ import annotations

from adana.runs import Run
from adana.train.config import TrainConfig


def lost_rows(run: Run, config: TrainConfig, step: int) -> str:
    """Say which rows are missing of those that the steps up to `step` have written; "" if none.

    An evaluation of the last of them may still be to be made.
    """
    config = config.resolve()
    rows = list(run.metrics())
    there = {
        column: {row["step"] for row in rows if column in row}
        for column in ("train_loss", "val_loss")
    }
    training = _due(config.log_every, step) - {0} - there["train_loss"]
    evaluations = _due(config.eval_every, step - 1) - there["val_loss"]
    missing = {"training row": training, "evaluation": evaluations}
    counts = [
        f"{len(steps)} {what}{'s' if len(steps) > 1 else ''}"
        for what, steps in missing.items()
        if steps
    ]
    if not counts:
        return ""
    first = min(training | evaluations)
    return f"{' and '.join(counts)} up to step {step}, the first of step {first}"


def _due(every: int | None, last: int) -> set[int]:
    """Return the multiples of `every` from 0 to `last`."""
    return set(range(0, last + 1, every or 1))
