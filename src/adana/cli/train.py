"""`adana train`: one training run, resumable."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from adana.cli.prepare import prepare_with_bar
from adana.cli.progress import Display
from adana.cli.settings import Settings, check_folder, describe, print_rows
from adana.ladder import Rate, peak_learning_rate, plan_run, with_optimizer
from adana.runs import Run
from adana.train import OPTIMIZERS, Outcome, TrainConfig, optimizer_entry, train

EXIT_CODES = {"finished": 0, "failed": 1, "diverged": 3, "interrupted": 130}
"""Exit code by how a training ended."""


@dataclass(frozen=True)
class TrainArguments(Settings):
    """Train one model with one optimizer.

    Stop it whenever you like (Ctrl-C, kill, a power cut): the same command goes on from the last
    checkpoint and ends with the same weights. Exit codes: 0 finished, 1 failed, 2 wrong arguments,
    3 diverged, 130 interrupted.
    """

    optimizer: Annotated[str, tyro.conf.arg(help=f"One of {', '.join(OPTIMIZERS)}.")] = "adana"
    lr: float | None = None
    """Peak learning rate. Default: a rule, printed with its source."""
    run: Path | None = None
    """Run directory. Default: a name made of the settings, below --runs."""


def train_command(arguments: TrainArguments) -> int:
    """Run `adana train`; return the exit code."""
    console = Console()
    check_folder("--runs", arguments.runs)
    if arguments.run:
        check_folder("--run", arguments.run)
    config = train_config(arguments)
    shards = prepare_with_bar(config.data, console)
    planned = plan_run(config, arguments.runs, shards.fingerprint)
    run = Run(arguments.run) if arguments.run else planned.run
    print_rows(console, [*describe(config, shards), ("run", str(run.path))])
    with Display(console, config.steps, jobs=1) as display:
        label = config.optimizer.label
        outcome = train(config, shards, run, lambda sign: display.update(label, sign))
        display.finish(label, outcome_text(outcome))
    return EXIT_CODES[outcome.state]


def train_config(arguments: TrainArguments) -> TrainConfig:
    """Resolve the arguments, the learning rate by rule where none was given."""
    name = arguments.optimizer
    optimizer_entry(name)
    rate = pick_rate(arguments, name, arguments.lr)
    base = arguments.train_config(arguments.optimizer_config(name, rate.lr))
    config = with_optimizer(base, name, rate)
    if arguments.threads is None:
        layout = dataclasses.replace(config.layout, threads=os.cpu_count())
        config = dataclasses.replace(config, layout=layout)
    return config


def pick_rate(settings: Settings, name: str, given: float | None) -> Rate:
    """Return the learning rate given on the command line, else the rule's."""
    if given is not None:
        return Rate(given, "given on the command line")
    default = Settings()
    keys = ("steps", "data", "schedule", "warmup_steps", "final", "delta", "clip")
    return peak_learning_rate(
        name,
        settings.model_config(),
        settings.batch_size,
        kappa=settings.kappa,
        omega=settings.omega,
        others={key: (getattr(settings, key), getattr(default, key)) for key in keys},
    )


def outcome_text(outcome: Outcome) -> str:
    """Say in one line how a training ended, and what to do about it."""
    if outcome.summary is not None:
        s = outcome.summary
        again = f" ({outcome.reason})" if outcome.reason else ""
        error = "" if s["val_loss_se"] is None else f" ± {s['val_loss_se']:.4f}"
        return (
            f"finished{again}: validation loss {s['val_loss']:.4f}{error}, "
            f"perplexity {float(s['perplexity']):.2f}, {s['bits_per_byte']:.4f} bits per byte"
        )
    if outcome.state == "interrupted":
        return f"interrupted {outcome.reason} at step {outcome.step}; the same command goes on"
    if outcome.state == "diverged":
        return (
            f"diverged: {outcome.reason}. Checkpoints from before are kept; a lower learning rate "
            "usually helps. To try the same settings again, delete the run directory"
        )
    return f"{outcome.state}: {outcome.reason}"
