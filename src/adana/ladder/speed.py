"""How long a step of a training takes here: measured, for an estimate of a whole study."""

from __future__ import annotations

import statistics
import time
import warnings

import torch

from adana.nn import build_model
from adana.train import TrainConfig, build_optimizer, pick_device

STEPS = 5
"""Steps that are timed, after one that is not."""


def seconds_per_step(config: TrainConfig) -> float:
    """Return the median seconds of an optimizer step, forward and backward, on random tokens.

    With the precision and the layout's device, threads and micro-batches, not compiled. What a
    training does besides, evaluations above all, comes on top: some 10 %.
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
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds[1:])
