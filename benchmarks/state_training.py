"""Final losses of ADana whose states are kept in fewer bytes, against float32 states.

    python benchmarks/state_training.py [--size demo|large] [--seeds 0 1 2] [--ways fp32 log16 ...]

Trains every way to keep m and v at the same seeds, one run after another: float32, log16, bf16_sr,
and bfloat16 rounded to nearest after each step, which the library does not offer. Finished runs are
not trained again, so that the command can be stopped and repeated. Printed are final validation
losses, and paired differences to float32 states at the same seed: mean and standard error.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import statistics
from pathlib import Path
from typing import Any

import torch

from adana.cli import main as adana_main
from adana.runs import find_runs
from adana.train import OPTIMIZERS

SIZES = {
    "demo": ["--steps", "12000", "--batch-size", "2", "--lr", "4e-3"],
    "large": [
        *("--steps", "10000", "--batch-size", "1", "--sequence-length", "32", "--lr", "2e-3"),
        *("--heads", "4", "--head-dim", "64", "--layers", "2", "--vocab-size", "8192"),
        *("--eval-tokens", "16384"),
    ],
}
"""Arguments of `adana train`: the demo's model (0.23 M parameters), and one above 5 M."""
NEAREST = "bf16-nearest"
WAYS = ("fp32", "log16", "bf16_sr", NEAREST)


def round_to_nearest(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for state in optimizer.state.values():
        for name in ("m", "v"):
            state[name].copy_(state[name].bfloat16())


def with_rounding(build: Any) -> Any:
    def made(*arguments: Any) -> torch.optim.Optimizer:
        optimizer = build(*arguments)
        optimizer.register_step_post_hook(round_to_nearest)
        return optimizer

    return made


def train(way: str, seed: int, size: str, runs: Path, threads: int) -> None:
    own = ["--optimizer", f"adana-{NEAREST}"] if way == NEAREST else [
        "--optimizer", "adana", "--state-dtype", way
    ]  # fmt: skip
    rest = ["--seed", str(seed), "--threads", str(threads), "--runs", str(runs / way)]
    try:
        adana_main(["train", *SIZES[size], *own, *rest])
    except SystemExit as end:
        if end.code:
            raise


def losses(runs: Path, way: str) -> dict[int, float]:
    """Return final validation losses by seed."""
    found = {}
    for run in find_runs(runs / way):
        summary = run.summary()
        if summary is not None and run.finished:
            found[run.config()["seed"]] = summary["val_loss"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=tuple(SIZES), default="demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--runs", type=Path, default=Path("runs/states"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="write the losses here too")
    arguments = parser.parse_args()
    adana = OPTIMIZERS["adana"]
    OPTIMIZERS[f"adana-{NEAREST}"] = dataclasses.replace(adana, build=with_rounding(adana.build))
    runs = arguments.runs / arguments.size
    for seed in arguments.seeds:
        for way in arguments.ways:
            train(way, seed, arguments.size, runs, arguments.threads)

    by_way = {way: losses(runs, way) for way in arguments.ways}
    print(f"{'states':14}{'losses by seed':32}{'mean':>9}{'minus fp32':>12}{'+-':>9}")
    for way, found in by_way.items():
        values = [found[seed] for seed in sorted(found)]
        shared = sorted(set(found) & set(by_way.get("fp32", {})))
        differences = [found[seed] - by_way["fp32"][seed] for seed in shared]
        text = f"{way:14}{' '.join(f'{x:.4f}' for x in values):32}{statistics.mean(values):9.4f}"
        if len(differences) > 1 and way != "fp32":
            error = statistics.stdev(differences) / len(differences) ** 0.5
            text += f"{statistics.mean(differences):12.4f}{error:9.4f}"
        print(text)
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["states", "seed", "final_val_loss"])
            writer.writerows(
                (way, seed, f"{loss:.6f}")
                for way, found in by_way.items() for seed, loss in sorted(found.items())
            )  # fmt: skip


if __name__ == "__main__":
    main()
