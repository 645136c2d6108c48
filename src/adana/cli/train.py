"""`adana train`: one training run, resumable."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from adana.cli.choices import configure
from adana.cli.config_file import check_text, given_config, refuse_flags
from adana.cli.prepare import prepare_on_ranks
from adana.cli.progress import Display
from adana.cli.run_folders import check_folder
from adana.cli.settings import Settings, describe
from adana.cli.terminal import print_rows, say, unbreakable
from adana.ladder import open_rules, plan_run
from adana.report import find_run
from adana.runs import Run
from adana.signals import SCHEDULER_SIGNALS, heeded
from adana.trackers import open_trackers
from adana.train import (
    LayoutConfig,
    Outcome,
    TrainConfig,
    join_world,
    local_ranks,
    optimizer_entry,
    optimizer_names,
    refuse_other_code,
    refuse_unread,
    train,
)

EXIT_CODES = {"finished": 0, "failed": 1, "diverged": 3, "interrupted": 75}
"""Exit code by how a training ended; 75 is EX_TEMPFAIL of sysexits.h: run the same again later."""
CTRL_C = 130
"""Exit code of a training that a person stopped."""
PLACE_FLAGS = frozenset(
    {
        *("config", "run", "runs", "device", "micro_batch", "threads", "trackers", "compile"),
        *("loss_chunk", "activation_checkpointing", "parallel", "checkpoint_every", "keep"),
        *("keep_every", "mfu", "telemetry", "time_limit"),
    }
)
"""Flags that say where and how a training executes, not what is trained."""


@dataclass(frozen=True)
class TrainArguments(Settings):
    """Train one model with one optimizer.

    Stop it whenever you like (Ctrl-C, kill, a power cut): the same command goes on from the last
    checkpoint and ends with the same weights. On several devices, start the same command with
    torchrun; it goes on with any number of them:
        torchrun --nproc-per-node 8 -m adana train --heads 12 --head-dim 64 --parallel fsdp ...

    A run can be repeated from its record, here or elsewhere, on any number of ranks:
        adana train --config runs/NAME/config.json --runs again

    Exit codes: 0 finished, 1 failed, 2 wrong arguments, 3 diverged, 130 interrupted by Ctrl-C.
    Stopped by SIGTERM, SIGUSR1, SIGHUP or --time-limit it is 75: run the same command again.
    """

    optimizer: Annotated[str, tyro.conf.arg(help=f"One of {', '.join(optimizer_names())}.")] = (
        "adana"
    )
    lr: float | None = None
    """Peak learning rate. Default: a rule, printed with its source."""
    config: Path | None = None
    """In place of all flags that say what is trained: the config.json of a run directory, that
    directory, or the beginning of its name below --runs. Goes with flags of where and how: --run,
    --runs, --device, --parallel, ..."""
    # torchrun takes --run for an abbreviation of an option of its own.
    run: Annotated[Path | None, tyro.conf.arg(aliases=["--run-directory"])] = None
    """Run directory. Default: a name made of the settings, below --runs. Under torchrun write
    --run-directory."""
    eval_every: int | None = None
    """Steps between evaluations. Default: a twelfth of the run."""
    log_every: int | None = None
    """Steps that a training row of metrics.jsonl averages over. Default: about 250 rows a run."""
    parallel: Literal["ddp", "fsdp"] = LayoutConfig.parallel
    """What several ranks do with the model: ddp, each a copy; fsdp, each a part."""
    checkpoint_every: int | None = None
    """Steps between checkpoints. Default: a tenth of the run. One is also written whenever the last
    is half an hour old."""
    keep: int = LayoutConfig.keep
    """How many of the newest checkpoints stay on disk."""
    keep_every: int | None = None
    """Also keep the checkpoints of multiples of this many steps, say to branch from."""
    mfu: bool = False
    """Measure this machine's matrix product at the start, and report the share of it the run used
    (model FLOP utilization) in summary.json."""
    telemetry: bool = False
    """Write to metrics.jsonl and trackers, in every training row, each parameter's norms of
    gradient, update and average, share clipped, mean tau and signal-to-noise ratio."""
    time_limit: str | None = None
    """Stop with a checkpoint after this long: 3:50:00, 45:00 (minutes) or 90 (seconds)."""


def _config_file(given: Path, runs: Path) -> Path:
    """Return the file or run directory that --config names."""
    return given if given.exists() else find_run(runs, str(given)).path


def train_command(arguments: TrainArguments) -> int:
    """Run `adana train`; return the exit code."""
    check_folder("--runs", arguments.runs)
    if arguments.run and not Run(arguments.run).concluded:
        check_folder("--run", arguments.run)
    open_trackers(arguments.trackers)  # what is not installed is known before data are read
    fingerprint = None
    if arguments.config:
        refuse_flags(arguments, PLACE_FLAGS)
        config, fingerprint = given_config(_config_file(arguments.config, arguments.runs))
        refuse_other_code(config.optimizer)
        layout, recorded = train_layout(arguments), config.layout.threads
        if arguments.threads is None and recorded and recorded <= (layout.threads or 0):
            layout = dataclasses.replace(layout, threads=recorded)  # for the same bits
        config = dataclasses.replace(config, layout=layout)
    else:
        config = train_config(arguments)
    begun = time.monotonic()
    with stopping_early(), join_world(config.layout.device) as world:
        console = unbreakable(Console(quiet=not world.first))
        shards = prepare_on_ranks(config.data, console, world)
        if fingerprint is None:
            config = train_config(arguments, len(shards.train))
        else:
            check_text(config, fingerprint, shards)
        planned = plan_run(config, arguments.runs, shards.fingerprint)
        run = Run(arguments.run) if arguments.run else planned.run
        print_rows(console, [*describe(config, shards), ("run", str(run.path))])
        with Display(console, config.steps, jobs=1) as display:
            label = config.optimizer.label
            outcome = train(
                *(config, shards, run, lambda sign: display.update(label, sign), world),
                since=_since(begun, config.layout.time_limit),
            )
            display.finish(label, outcome_text(outcome))
        if outcome.summary is not None:
            say(console, f"{label}: {speed_text(outcome.summary)}")
    return exit_code(outcome)


@contextlib.contextmanager
def stopping_early() -> Iterator[None]:
    """Give a scheduler's signals the exit code of an interruption while nothing is trained yet."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(EXIT_CODES["interrupted"])

    previous = {number: signal.signal(number, leave) for number in heeded(SCHEDULER_SIGNALS)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _since(begun: float, limit: float | None) -> float:
    """Return when a time limit began, later where less than a second of it would be left."""
    return begun if limit is None else max(begun, time.monotonic() + 1.0 - limit)


def exit_code(outcome: Outcome) -> int:
    """Return the exit code of a training that ended so."""
    return CTRL_C if "SIGINT" in outcome.reason else EXIT_CODES[outcome.state]


def train_config(arguments: TrainArguments, train_tokens: int | None = None) -> TrainConfig:
    """Resolve the arguments; learning rate and omega by rule where none was given.

    Without `train_tokens`, the size of the data, --tau-epochs stands for the default omega.
    """
    name = arguments.optimizer
    optimizer_entry(name)
    rules = open_rules(arguments.rules)
    rules.check_used([name])
    refuse_unread(arguments.optimizer_config(name, 1.0), name)
    config = configure(arguments, name, arguments.lr, rules, train_tokens)
    return dataclasses.replace(
        config,
        eval_every=arguments.eval_every,
        log_every=arguments.log_every,
        layout=train_layout(arguments),
    )


def train_layout(arguments: TrainArguments) -> LayoutConfig:
    """Return where and how the arguments have a training execute."""
    cores = max(1, (os.cpu_count() or 1) // local_ranks())
    return dataclasses.replace(
        arguments.layout(arguments.threads or cores),
        parallel=arguments.parallel,
        checkpoint_every=arguments.checkpoint_every,
        keep=arguments.keep,
        keep_every=arguments.keep_every,
        measure_peak=arguments.mfu,
        telemetry=arguments.telemetry,
        time_limit=parse_duration(arguments.time_limit) if arguments.time_limit else None,
    )


def parse_duration(text: str) -> float:
    """Return the seconds of "H:M:S", "M:S" or "S".

    Raises:
        ValueError: the text is none of these, or not above zero.
    """
    try:
        parts = [float(part) for part in text.split(":")]
    except ValueError:
        parts = []
    seconds = sum(part * 60**i for i, part in enumerate(reversed(parts)))
    if not 1 <= len(parts) <= 3 or min(parts) < 0 or not 0 < seconds < math.inf:
        raise ValueError(f"--time-limit {text!r} is not a time such as 3:50:00, 45:00 or 90")
    return seconds


def speed_text(summary: Mapping[str, Any]) -> str:
    """Say in one line how fast a training was, and where its time went."""
    split = summary["time_split"]
    whole = sum(split.values()) or 1.0
    shares = ", ".join(f"{name} {seconds / whole:.1%}" for name, seconds in split.items())
    mfu = f", MFU {summary['mfu']:.1%}" if "mfu" in summary else ""
    return f"{summary['tokens_per_second']:,.0f} tokens/s{mfu}; time: {shares}"


def outcome_text(outcome: Outcome) -> str:
    """Say in one line how a training ended, and what to do about it."""
    if outcome.summary is not None:
        s = outcome.summary
        again = f" ({outcome.reason})" if outcome.reason else ""
        spread = s.get("val_loss_document_se")
        error = "" if spread is None else f" (± {spread:.2g} for other documents)"
        return (
            f"finished{again}: validation loss {s['val_loss']:.4f}{error}, "
            f"perplexity {float(s['perplexity']):.2f}, {s['bits_per_byte']:.4f} bits per byte"
            f"{_averages_text(s.get('averages', {}))}"
        )
    if outcome.state == "interrupted":
        return f"interrupted {outcome.reason} at step {outcome.step}; the same command goes on"
    if outcome.state == "diverged":
        return (
            f"diverged: {outcome.reason}. That is the result of these settings; others are another "
            "run: a lower --lr usually helps, or a smaller --clip. Checkpoints from before are "
            "kept: to go on from the last one all the same (after a fault of the machine, say), "
            "delete status.json in the run directory and run the same command again"
        )
    return f"{outcome.state}: {outcome.reason}"


def _averages_text(averages: Mapping[str, Mapping[str, Any]]) -> str:
    """Say the losses of averages of the weights, behind that of the weights."""
    losses = (f"{name} {float(own['val_loss']):.4f}" for name, own in averages.items())
    return f"; of averages: {', '.join(losses)}" if averages else ""
