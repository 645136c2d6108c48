"""What `metrics.jsonl` must hold of the steps that a checkpoint has behind it."""

from __future__ import annotations

from collections.abc import Callable

from adana.runs import Run
from adana.train.config import TrainConfig
from adana.train.progress import WARNING

Say = Callable[[str], None]


def go_back(run: Run, config: TrainConfig, last: int, say: Say) -> None:
    """Drop the rows past the step `last`, -1 for all; `say` if some are not as they should be."""
    if last >= 0:
        lost = lost_rows(run, config, last)
        if lost:
            say(
                f"{WARNING}{run.path / 'metrics.jsonl'} lacks {lost}: the record of them is lost. "
                "The weights are not, so the run goes on. To have the rows, stop it, restore the "
                "file from a backup and run the same command again"
            )
    elif any(run.metrics()):
        _start_over(run, say)
    run.truncate_metrics(last)


def _start_over(run: Run, say: Say) -> None:
    """Say that there is no checkpoint; keep the rows where there must have been one."""
    status = run.status()
    if status["state"] != "new" and not status["step"]:
        say(f"{run.path} has no checkpoint yet: starting from the beginning")
        return
    reached = max([status["step"], *(row["step"] for row in run.metrics())])
    aside = run.set_metrics_aside()
    say(
        f"{WARNING}there is no checkpoint in {run.checkpoints}, though the run had come to step "
        f"{reached}: starting from the beginning. What it recorded is kept in {aside}. If the "
        f"checkpoints are elsewhere, stop this run, put them back, and rename {aside} to "
        "metrics.jsonl"
    )


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
