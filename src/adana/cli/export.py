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
from adana.train import checkpoint_step, find_checkpoint, load_trained


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
    export_model(arguments.to, load_trained(run, step), run_tokenizer(run), model_card(run, step))
    say(Console(), f"exported {run.name} after {step:,} steps to {arguments.to.resolve()}")
    return 0
