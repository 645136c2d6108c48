"""How long a step of a training takes here: measured, for an estimate of a whole study."""

from __future__ import annotations

import dataclasses
import statistics
import time
import warnings
from collections.abc import Callable

import torch

from adana.nn import build_model
from adana.train import OptimizerConfig, TrainConfig, build_optimizer, pick_device
from adana.train.installed import blaming, package_bringing

INSTEAD = "adamw"
"""Whose step is timed where that of another package's optimizer fails."""
STEPS = 5
"""Steps that are timed, after one that is not."""


def seconds_per_step(config: TrainConfig) -> float:
    """Return the median seconds of an optimizer step, forward and backward, on random tokens.

    With the precision and the layout's device, threads and micro-batches, not compiled. What a
    training does besides, evaluations above all, comes on top: some 10 %.

    Raises:
        RuntimeError, ValueError: the optimizer of another package fails; the message names it.
    """
    device = pick_device(config.layout.device)
    before = torch.get_num_threads()
    torch.set_num_threads(config.layout.threads or before)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on decay in short runs: the training says it
            return _measure(config, device)
    finally:
        torch.set_num_threads(before)


def likely_seconds(config: TrainConfig, say: Callable[[str], None]) -> float:
    """Return `seconds_per_step`, for which a step of `INSTEAD` does where one fails.

    Only an optimizer of another package may fail; `say` is told why. Its training will say so too,
    and an estimate should not keep the others from theirs.
    """
    name = config.optimizer.name
    try:
        return seconds_per_step(config)
    except (RuntimeError, ValueError) as error:
        if package_bringing(name) is None:
            raise
        say(f"the steps of {name} cannot be timed, {INSTEAD}'s are in their place: {error}")
    plain = OptimizerConfig(INSTEAD, lr=config.optimizer.lr)
    return seconds_per_step(dataclasses.replace(config, optimizer=plain))


def _measure(config: TrainConfig, device: torch.device) -> float:
    model = build_model(config.model).to(device)
    optimizer = build_optimizer(model, config.optimizer, config.steps)
    shape = (config.batch_size, config.model.sequence_length)
    tokens = torch.zeros(shape, dtype=torch.long, device=device)
    micro = tokens.split(config.layout.micro_batch or config.batch_size)
    chunk = config.layout.chunk_tokens(device.type)
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16")
    seconds = []
    for _ in range(1 + STEPS):
        begun = time.perf_counter()
        for part in micro:
            with mixed:
                loss = model(part, part, chunk=chunk).loss
            loss.backward()
        with blaming(config.optimizer.name):
            optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])
