"""The final numbers of a run, from its metrics, which cover all sessions."""

from __future__ import annotations

import statistics
from typing import Any

from adana.nn import PFH, count_parameters, training_flops
from adana.runs import Run, RunError
from adana.train.clock import TRAINING
from adana.train.config import TrainConfig
from adana.train.evaluate import EVALUATION_COLUMNS


def summarise(run: Run, config: TrainConfig, seconds: float) -> dict[str, Any]:
    """Return what `summary.json` says of losses, sizes, compute and speed.

    Raises:
        RunError: the last rows are not among the metrics.
    """
    rows = list(run.metrics())
    last = [row for row in rows if row["step"] == config.steps]
    for column, what in (("val_loss", "evaluation"), ("train_loss", "training row")):
        if not any(column in row for row in last):
            raise RunError(
                f"{run.path / 'metrics.jsonl'} lacks the last {what}, though the weights are "
                "there: rows were lost. Restore the file from a backup, or delete the run "
                "directory and train again."
            )
    training = [row for row in rows if "train_loss" in row]
    evaluation = [row for row in rows if "val_loss" in row][-1]
    timing = [row["timing"] for row in training]
    counts = count_parameters(config.model)
    tokens = config.steps * config.tokens_per_step
    flops = training_flops(config.model, tokens)
    speed = ("tokens_per_second", *(f"{name}_ms" for name in TRAINING))
    return {
        **{key: evaluation[key] for key in EVALUATION_COLUMNS},
        **({"averages": evaluation["averages"]} if "averages" in evaluation else {}),
        "train_loss": training[-1]["train_loss"],
        "steps": config.steps,
        "tokens": tokens,
        "compute": flops["6PD"] / PFH,
        "flops": flops,
        "non_embedding_parameters": counts.non_embedding,
        "parameters": counts.total,
        "exact_parameters": counts.exact,
        "seconds": round(seconds, 3),
        **{key: statistics.median(row[key] for row in timing) for key in speed},
    }
