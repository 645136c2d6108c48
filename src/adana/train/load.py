"""A trained model from a run directory, for whoever wants to use it: on the CPU, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from adana.nn import Decoder, ModelConfig, build_model
from adana.runs import Run, RunError
from adana.train.averages import tensor_name
from adana.train.checkpoint import (
    CheckpointVersionError,
    checkpoint_step,
    list_checkpoints,
    looks_whole,
    read_tensors,
    verify_checkpoint,
)
from adana.train.config import config_from_dict
from adana.train.state import WEIGHTS


def load_trained(
    run: str | Path | Run, step: int | None = None, *, average: str | None = None
) -> Decoder[Any]:
    """Return the model of a run directory with the weights after `step` steps, in eval mode.

    `step` must have a checkpoint; by default the newest is taken. Every file of it is checked. With
    `average`, a name of the run's `averages` such as "ema:0.999", the weights are that average.

    Raises:
        RunError: there is no such checkpoint or average, it is damaged, or another version wrote
            the run.
    """
    run = run if isinstance(run, Run) else Run(Path(run))
    path = find_checkpoint(run, step)
    try:
        plain = verify_checkpoint(path)
    except CheckpointVersionError:
        raise
    except RunError as error:
        raise RunError(f"{error}{_older(run, path)}") from error
    if average is not None:
        _check_average(path, plain.get("weight_averages", {}), average)
    return load_weights(path, config_from_dict(run.config()).model, average=average).eval()


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


def _older(run: Run, damaged: Path) -> str:
    """Name the newest other checkpoint that looks whole, to be taken in place of a damaged one."""
    others = [
        checkpoint_step(path)
        for path in list_checkpoints(run.checkpoints)
        if path != damaged and looks_whole(path)
    ]
    if not others:
        return ". There is no other one: restore it from a backup, or train the run again"
    return f". Take another one: --step {others[-1]} (in Python step={others[-1]})"


def _check_average(checkpoint: Path, counts: Mapping[str, int], name: str) -> None:
    """Raise `RunError` if a checkpoint, with so many steps in each average, does not have it."""
    begun = [known for known, count in counts.items() if count]
    if name in begun:
        return
    if name in counts:
        raise RunError(
            f"the average {name} had not begun at {checkpoint}: it is formed over the end of the "
            "run. Take a later checkpoint"
        )
    there = f"it has {', '.join(counts)}" if counts else "it has none (adana train --averages)"
    raise RunError(f"{checkpoint} has no average {name!r} of the weights: {there}")


def load_weights(
    checkpoint: Path, config: ModelConfig, *, average: str | None = None
) -> Decoder[Any]:
    """Return the model of `config` with the weights of a verified checkpoint, or an average."""
    model = build_model(config)
    # state_dict shares its tensors with the model, which are thus filled in place.
    tensors: dict[str, Tensor] = {WEIGHTS + name: t for name, t in model.state_dict().items()}
    if average is not None:
        for name, parameter in model.named_parameters():
            del tensors[WEIGHTS + name]
            tensors[tensor_name(average, name)] = parameter.detach()
    read_tensors(checkpoint, tensors)
    return model
