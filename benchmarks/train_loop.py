"""The engine against a plain loop: tokens per second on the same model, batch and machine.

    python benchmarks/train_loop.py [--heads 4] [--batch-size 8] [--sequence-length 256]

The plain loop is what people write in an afternoon: random windows from a memory-mapped file, one
forward and backward a micro-batch, gradient clipping, the optimizer; it checks nothing, writes
nothing and reads the loss every tenth step. The engine does all that a run does at a step, with
training rows but without evaluations and checkpoints, whose time is the user's to choose. Both
train the same model class with the same optimizer on the same shards, and take turns of a few
steps, so that a busy machine slows both alike.

Prints tokens/s (median, middle half of the rounds); the ratio of speeds engine/plain within each
round (median, middle half), on the CPU also by the CPU time used, which other programs disturb
less; the engine's time by section; and its MFU: model FLOPs a second over the peak of a matrix
product measured on this machine in the same precision.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from adana.data import DataConfig, Shards, prepare
from adana.nn import EnokiConfig, build_model, measure_matmul_peak, model_flops
from adana.runs import Run
from adana.train import LayoutConfig, OptimizerConfig, TrainConfig, World, build_optimizer
from adana.train.loop import Trainer
from adana.train.optimizers import set_gamma
from adana.train.progress import ignore

Turn = Any


def plain_loop(config: TrainConfig, shards: Shards, device: torch.device) -> Turn:
    """Return a function that trains a number of steps in the plain way."""
    model = build_model(config.model, seed=0).to(device)
    if config.layout.compile:
        model = torch.compile(model)
    optimizer = build_optimizer(model, config.optimizer, config.steps)
    gamma = config.schedule.gamma(config.steps)
    length, micro = config.model.sequence_length, config.layout.micro_batch or config.batch_size
    draw = np.random.default_rng(0)
    data = shards.train
    done = 0

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        starts = draw.integers(0, len(data) - length - 1, size=micro)
        rows = np.stack([np.asarray(data[s : s + length + 1]) for s in starts]).astype(np.int64)
        tokens = torch.from_numpy(rows).to(device)
        return tokens[:, :-1], tokens[:, 1:]

    def train(steps: int) -> None:
        nonlocal done
        for _ in range(steps):
            set_gamma(optimizer, config.optimizer.lr, gamma(done + 1))
            for _ in range(config.batch_size // micro):
                inputs, targets = batch()
                with torch.autocast(
                    device.type, torch.bfloat16, enabled=config.precision == "bfloat16"
                ):
                    logits = model(inputs)
                    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
                (loss * micro / config.batch_size).backward()
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            done += 1
            if done % 10 == 0:
                loss.item()

    return train


def engine(trainer: Trainer) -> Turn:
    """Return a function that trains a number of steps as a run does."""

    def train(steps: int) -> None:
        for _ in range(steps):
            problem, _ = trainer._step()
            assert not problem, problem
            trainer._log()

    return train


def timed(turn: Turn, steps: int, device: torch.device) -> tuple[float, float]:
    """Return the seconds on the wall, and those of this process's CPUs."""
    begin, cpu = time.perf_counter(), time.process_time()
    turn(steps)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, time.process_time() - cpu


def middle(values: list[float]) -> str:
    low, centre, high = statistics.quantiles(values, n=4)
    return f"{centre:.4g} ({low:.4g} to {high:.4g})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--optimizer", default="adana")
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--steps", type=int, default=5, help="steps of one turn")
    parser.add_argument("--rounds", type=int, default=9)
    a = parser.parse_args()
    device = torch.device(a.device)
    config = TrainConfig(
        optimizer=OptimizerConfig(a.optimizer, lr=1e-4),
        steps=100_000,
        batch_size=a.batch_size,
        model=EnokiConfig(
            a.heads, head_dim=a.head_dim, vocab_size=a.vocab_size, sequence_length=a.sequence_length
        ),
        data=DataConfig(vocab_size=min(a.vocab_size, 4096)),
        precision=a.precision,
        log_every=10,
        layout=LayoutConfig(
            device=a.device, threads=a.threads, micro_batch=a.micro_batch, compile=a.compile
        ),
    )
    shards = prepare(config.data)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        run.create()
        trainer = Trainer(config.resolve(), shards, run, ignore, World(device))
        turns = {
            "plain": plain_loop(dataclasses.replace(config).resolve(), shards, device),
            "engine": engine(trainer),
        }
        for turn in turns.values():  # warm-up: compilation, allocators, optimizer states
            timed(turn, 3, device)
        trainer.clock.totals = dict.fromkeys(trainer.clock.totals, 0.0)
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
        for round_ in range(a.rounds):
            for name in list(turns)[:: 1 if round_ % 2 else -1]:
                seconds[name].append(timed(turns[name], a.steps, device))
        report(config, seconds, trainer, a.steps, device)


def report(
    config: TrainConfig,
    seconds: dict[str, list[tuple[float, float]]],
    trainer: Trainer,
    steps: int,
    device: torch.device,
) -> None:
    tokens = steps * config.tokens_per_step
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{config.model}\nbatch {config.batch_size}, {config.optimizer.name}, {config.precision}")
    for each, times in seconds.items():
        print(f"{each:7} tokens/s {middle([tokens / wall for wall, _ in times])}")
    pairs = list(zip(seconds["plain"], seconds["engine"], strict=True))
    print(f"engine / plain, by the wall clock {middle([p[0] / e[0] for p, e in pairs])}")
    if device.type == "cpu":
        print(f"engine / plain, by CPU time       {middle([p[1] / e[1] for p, e in pairs])}")
    trainer.clock.lap()
    totals = {k: v for k, v in trainer.clock.totals.items() if v}
    whole = sum(totals.values())
    print("engine's time: " + ", ".join(f"{k} {v / whole:.1%}" for k, v in totals.items()))
    dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    peak = measure_matmul_peak(device, dtype)
    rate = statistics.median(tokens / wall for wall, _ in seconds["engine"])
    used = model_flops(config.model, rate) / peak
    print(f"matmul peak {peak / 1e12:.3g} TFLOP/s, MFU {used:.1%}")
    if device.type == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB (both)")


if __name__ == "__main__":
    main()
