"""`adana export`: a trained model as a folder for Hugging Face transformers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from adana.cli.run_folders import RUNS
from adana.cli.terminal import say
from adana.data import run_tokenizer
from adana.report import find_run, model_card
from adana.runs import Run
from adana.train import checkpoint_step, find_checkpoint, load_trained

RESULTS = "## Results\n"
"""The heading of a model card below which losses stand."""


@dataclass(frozen=True)
class ExportArguments:
    """Write a trained model as safetensors with what transformers needs to load it.

    The folder holds weights, configuration, tokenizer and a model card with the run's numbers. To
    load it, `import adana.hf` first, which registers the model with transformers' Auto classes: no
    code comes from the folder. Needs: pip install "adana[hf]"
        adana export adana-T1200-s0 --to my_model
    """

    run: Annotated[str, tyro.conf.Positional]
    """Beginning of the run's name below --runs, or of its identity; or a path."""
    to: Path
    """Folder to write; it must not exist, or be empty."""
    step: int | None = None
    """Take the checkpoint of this step. Default: the newest."""
    average: str | None = None
    """In place of the weights, an average of them by its name in --averages, as ema:0.999."""
    runs: Path = RUNS
    """Folder of the run directories."""


def export_command(arguments: ExportArguments) -> int:
    """Run `adana export`; return the exit code."""
    run = find_run(arguments.runs, arguments.run)
    try:
        from adana.hf import export_model  # noqa: PLC0415 - transformers is optional, and slow
    except ImportError as error:
        raise RuntimeError(str(error)) from error
    step = checkpoint_step(find_checkpoint(run, arguments.step))
    average, card = arguments.average, model_card(run, step)
    model = load_trained(run, step, average=average)
    if average is not None:
        card = card.replace(RESULTS, f"{RESULTS}\n{about_average(run, step, average)}\n", 1)
    export_model(arguments.to, model, run_tokenizer(run), card)
    what = run.name if average is None else f"the average {average} of {run.name}"
    say(Console(), f"exported {what} after {step:,} steps to {arguments.to.resolve()}")
    return 0


def about_average(run: Run, step: int, average: str) -> str:
    """Say in a model card that its weights are an average, and the last loss of it up to `step`."""
    text = f"The weights are the average `{average}` of those of the run"
    rows = [row for row in run.metrics() if average in row.get("averages", {})]
    rows = [row for row in rows if row["step"] <= step]
    if rows:
        loss = float(rows[-1]["averages"][average]["val_loss"])
        text += f"; its validation loss at step {rows[-1]['step']:,} is {loss:.4f} nats a token"
    return f"{text}. The numbers that follow are those of the run's own weights.\n"
