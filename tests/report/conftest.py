"""Run directories as the trainer writes them, with losses made by a formula."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adana.report import Comparison, compare
from adana.runs import CONFIG_VERSION, Run, find_runs, write_json

TOKENS_PER_STEP = 2048
PARAMETERS = 250_000
LR = {"adamw": 0.002, "adana": 0.008}


def base_loss(steps: int) -> float:
    """The baseline's final loss at a horizon."""
    return 2.0 + 20.0 * steps**-0.35


def schedule_row(label: str, step: int, steps: int, lr: float) -> dict[str, float]:
    warm = min(1.0, step / (0.02 * steps))
    gamma = warm * (0.1 + 0.45 * (1 + math.cos(math.pi * step / steps)))
    log_time = not label.startswith("adamw")
    return {
        "gamma": gamma,
        "lr": lr * gamma,
        "ema_m": 8 / (8 + step) if log_time else 0.1,
        "ema_v": 8 / (8 + step) if log_time else 0.01,
        "momentum": (1 + step) ** 0.15 if log_time else 1.0,
        "decay": 4 * gamma / (steps / 10 + step) if log_time else 4 * gamma / steps,
    }


def write_run(
    root: Path,
    label: str,
    seed: int,
    *,
    steps: int = 2000,
    gain: float = 0.0,
    state: str = "finished",
    stop: int | None = None,
    **changes: Any,
) -> Run:
    """Write one run that ends `gain` below the baseline, or stops at step `stop` in `state`."""
    run = Run(root / f"{label.replace('/', '_')[:20]}-{steps}-s{seed}")
    run.path.mkdir(parents=True)
    lr = LR.get(label, 0.004)
    config = {
        "version": CONFIG_VERSION,
        "seed": seed,
        "steps": steps,
        "batch_size": 16,
        "optimizer": {"name": "adana", "label": label, "lr": lr, "omega": 4.0, "delta": 8.0},
        "model": {"width": 64, "depth": 4},
        "data": {"corpus": "python", "vocab_size": 1024, "fingerprint": "abc"},
        "schedule": {"name": "cosine", "warmup_steps": steps // 50, "final": 0.1},
        "eval_every": steps // 12,
        "clip": 0.5,
        "layout": {"device": "cpu", "threads": seed},
        "provenance": {"lr": f"swept on seed {seed}, 5 values"},
    }
    write_json(run.path / "config.json", config | changes)
    write_json(run.path / "environment.json", {"adana": "0.1.0", "machine": {"cpu": "test"}})
    noise = np.random.default_rng([seed, steps, *label.encode()])
    final = base_loss(steps) - gain + 0.004 * noise.standard_normal()
    last = stop or steps
    for step in range(10, last + 1, 10):
        loss = final + 4 * (step**-0.3 - steps**-0.3)
        row = {"step": step, "tokens": step * TOKENS_PER_STEP}
        training = {"train_loss": loss + 0.03 * noise.standard_normal(), "grad_norm": 0.4}
        schedule = {"schedule": schedule_row(label, step, steps, lr)}
        run.append_metrics(row | training | schedule)
        if step % 100 == 0:
            run.append_metrics(row | {"val_loss": loss, "val_loss_se": 0.01})
    if state == "diverged":
        run.append_metrics({"step": last, "tokens": last * TOKENS_PER_STEP, "val_loss": math.nan})
    reason = "the loss is not finite" if state == "diverged" else ""
    run.set_status(state, step=last, reason=reason)  # type: ignore[arg-type]
    if state == "finished":
        tokens = steps * TOKENS_PER_STEP
        summary = {
            "val_loss": final,
            "val_loss_se": 0.011,
            "perplexity": math.exp(final),
            "bits_per_byte": final * 0.53,
            "train_loss": final,
            "tokens": tokens,
            "compute": 6 * PARAMETERS * tokens / 3.6e18,
            "seconds": 61.0,
            "tokens_per_second": 66_000.0 + seed,
            "optimizer_ms": 1.1,
            "optimizer_state_bytes": 1_840_000,
            "peak_memory_bytes": 500_000_000,
        }
        write_json(run.path / "summary.json", summary)
    return run


@pytest.fixture(name="write_run")
def _write_run() -> Callable[..., Run]:
    return write_run


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """A baseline at three horizons, a candidate, one with a single seed, one that diverged."""
    root = tmp_path_factory.mktemp("runs")
    for seed in (0, 1, 2):
        for steps in (1000, 2000, 4000):
            write_run(root, "adamw", seed, steps=steps)
        write_run(root, "adana", seed, gain=0.12)
    write_run(root, "muon", 0, gain=0.05)
    write_run(root, "adana-hot", 0, gain=0.1)
    write_run(root, "adana-hot", 1, state="diverged", stop=400)
    return find_runs(root)


@pytest.fixture(scope="session")
def comparison(runs: list[Run]) -> Comparison:
    return compare(runs, baseline="adamw")
