"""A trained model from a run directory, for whoever wants to use it: on the CPU, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adana.nn import Decoder, ModelConfig, build_model
from adana.runs import Run, RunError
from adana.train.checkpoint import (
    checkpoint_step,
    list_checkpoints,
    read_tensors,
    verify_checkpoint,
)
from adana.train.config import config_from_dict
from adana.train.state import WEIGHTS


def load_trained(run: str | Path | Run, step: int | None = None) -> Decoder[Any]:
    """Return the model of a run directory with the weights after `step` steps, in eval mode.

    `step` must have a checkpoint; by default the newest is taken. Every file of it is checked.

    Raises:
        RunError: there is no such checkpoint, it is damaged, or another version wrote the run.
    """
    run = run if isinstance(run, Run) else Run(Path(run))
    path = find_checkpoint(run, step)
    verify_checkpoint(path)
    return load_weights(path, config_from_dict(run.config()).model).eval()


def find_checkpoint(run: Run, step: int | None = None) -> Path:
    """Return the checkpoint of `run` after `step` steps, by default the newest.

    Raises:
        RunError: there is none; the message says which there are.
    """
    there = {checkpoint_step(path): path for path in list_checkpoints(run.checkpoints)}
    if not there:
        raise RunError(
            f"{run.path} has no checkpoint: none was written yet, or they were pruned. Train it "
            "again, or take another run (adana runs lists them)."
        )
    if step is None:
        return there[max(there)]
    if step not in there:
        raise RunError(
            f"{run.path} has no checkpoint of step {step}, only of {', '.join(map(str, there))}"
        )
    return there[step]


def load_weights(checkpoint: Path, config: ModelConfig) -> Decoder[Any]:
    """Return the model of `config` with the weights of a verified checkpoint."""
    model = build_model(config)
    # state_dict shares its tensors with the model, which are thus filled in place.
    read_tensors(checkpoint, {WEIGHTS + name: t for name, t in model.state_dict().items()})
    return model
