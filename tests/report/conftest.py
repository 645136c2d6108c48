"""Run directories as the trainer writes them, with losses made by a formula."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adana.report import Comparison, Study, compare, read_study
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


def weight_decay(steps: int) -> dict[str, Any]:
    peak = {"step": steps // 50, "decay": 4 / steps, "tau_steps": steps / 4, "tau_epochs": 0.5}
    return {"kind": "coupled", "omega": 4.0, "lr_wd_T": 4.0, "total": 2.2, "peak": peak,
            "end": peak | {"tau_steps": None}}  # fmt: skip


def write_run(
    root: Path,
    label: str,
    seed: int,
    *,
    steps: int = 2000,
    gain: float = 0.0,
    state: str = "finished",
    stop: int | None = None,
    lr: float | None = None,
    width: int = 64,
    final: float | None = None,
    kappa: float = 0.85,
    **changes: Any,
) -> Run:
    """Write one run that ends `gain` below the baseline, or stops at step `stop` in `state`.

    A run of a study says its `lr`, the `width` of its model and the loss `final` it ends at.
    """
    name = f"{label.replace('/', '_')[:20]}-{steps}-s{seed}"
    run = Run(root / (name if final is None else f"{name}-w{width}-{lr:.3g}-k{kappa}"))
    run.path.mkdir(parents=True)
    parameters = PARAMETERS * (width // 64) ** 2
    lr = LR.get(label, 0.004) if lr is None else lr
    config = {
        "version": CONFIG_VERSION,
        "seed": seed,
        "steps": steps,
        "batch_size": 16,
        "optimizer": {
            "name": "adana",
            "label": label,
            "lr": lr,
            "omega": 4.0,
            "delta": 8.0,
            "kappa": kappa,
        },
        "model": {"width": width, "depth": 4, "sequence_length": 128},
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
    if final is None:
        final = base_loss(steps) - gain + 0.004 * noise.standard_normal()
    last = stop or steps
    rows: list[dict[str, Any]] = []
    for step in range(10, last + 1, 10 if name == run.name else steps // 25):
        loss = final + 4 * (step**-0.3 - steps**-0.3)
        row = {"step": step, "tokens": step * TOKENS_PER_STEP}
        training = {"train_loss": loss + 0.03 * noise.standard_normal(), "grad_norm": 0.4}
        schedule = {"schedule": schedule_row(label, step, steps, lr)}
        rows.append(row | training | schedule)
        if step % 100 == 0 or name != run.name:
            rows.append(row | {"val_loss": loss, "val_loss_document_se": 0.01})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (run.path / "metrics.jsonl").write_text(lines)
    if state == "diverged":
        run.append_metrics({"step": last, "tokens": last * TOKENS_PER_STEP, "val_loss": math.nan})
    reason = "the loss is not finite" if state == "diverged" else ""
    run.set_status(state, step=last, reason=reason)  # type: ignore[arg-type]
    if state == "finished":
        tokens = steps * TOKENS_PER_STEP
        summary = {
            "val_loss": final,
            "val_loss_document_se": 0.011,
            "perplexity": math.exp(final),
            "bits_per_byte": final * 0.53,
            "train_loss": final,
            "tokens": tokens,
            "compute": 6 * parameters * tokens / 3.6e18,
            "flops": {"6N2": 6.0 * (parameters + 1024 * width) * tokens},
            "non_embedding_parameters": parameters,
            "parameters": parameters + 1024 * width,
            "seconds": 61.0,
            "tokens_per_second": 66_000.0 + seed,
            "data_ms": 0.2,
            "model_ms": 8.0 * (width // 64),
            "optimizer_ms": 1.1,
            "optimizer_state_bytes": 1_840_000,
            "peak_memory_bytes": 500_000_000,
            "weight_decay": weight_decay(steps),
        }
        write_json(run.path / "summary.json", summary)
    return run


def study_loss(label: str, width: int, steps: int, lr: float, kappa: float = 0.85) -> float:
    """The final loss without noise: a power law of compute, a bowl in the learning rate.

    The baseline needs 1.4 times the compute of ``adana``, at every size.
    """
    compute = (width // 64) ** 2 * steps / 1000 * (1.4 if label == "adana" else 1.0)
    best = BEST[label] / (width // 64)
    bowl = 0.05 * math.log(lr / best) ** 2
    return 2.0 + 1.6 * compute**-0.12 + bowl + 0.4 * (kappa - 0.85) ** 2


BEST = {"adamw": 0.004, "adana": 0.016}
"""Learning rate with the lowest loss at the smallest size, by label."""

SIZES = {64: 500, 128: 1000, 256: 2000, 512: 4000}
"""Steps by the width of the model: the sizes of the study."""


def write_cell(root: Path, label: str, width: int, steps: int, lr: float, **changes: Any) -> None:
    """Write two seeds of one cell of a study; the second is a little worse everywhere."""
    for seed in (0, 1):
        noise = 0.002 * np.random.default_rng([seed, width, *label.encode()]).standard_normal()
        final = study_loss(label, width, steps, lr, changes.get("kappa", 0.85)) + noise
        write_run(root, label, seed, steps=steps, width=width, lr=lr, final=final, **changes)


@pytest.fixture(scope="session")
def study_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two optimizers at four sizes with three rates each, one of which diverges; kappa varied."""
    root = tmp_path_factory.mktemp("study")
    for width, steps in SIZES.items():
        for label, best in BEST.items():
            for factor in (0.5, 1.0, 2.0):
                write_cell(root, label, width, steps, factor * best / (width // 64))
    for kappa in (0.75, 0.95):
        write_cell(root, "adana", 64, 500, 0.016, kappa=kappa)
    hot = {"final": 9.0, "state": "diverged", "stop": 100}
    write_run(root, "adana", 0, steps=500, width=64, lr=0.064, **hot)
    write_run(root, "adamw", 0, steps=500, width=64, lr=0.016, **hot)
    return find_runs(root)


@pytest.fixture(scope="session")
def study(study_runs: list[Run]) -> Study:
    return read_study(study_runs, baseline="adamw")


@pytest.fixture(name="write_cell")
def _write_cell() -> Callable[..., None]:
    return write_cell


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
