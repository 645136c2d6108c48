"""Preparing the tokens with a progress bar, as every verb that needs them does."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from adana.cli.progress import say
from adana.data import DataConfig, Shards, prepare


def prepare_with_bar(config: DataConfig, console: Console) -> Shards:
    """Return the tokens of `config`, telling the console how far it is."""
    if not console.is_terminal:
        said: set[str] = set()

        def tell(stage: str, fraction: float) -> None:
            if stage not in said:
                said.add(stage)
                say(console, f"data: {stage}")

        shards = prepare(config, on_progress=tell)
    else:
        columns = (
            SpinnerColumn(),
            TextColumn("data: {task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("reading the corpus", total=1.0)

            def show(stage: str, fraction: float) -> None:
                bar.update(task, description=stage, completed=fraction)
                if "damaged" in stage:  # a bar would be overwritten at once
                    say(console, f"data: {stage}")

            shards = prepare(config, on_progress=show)
    splits = shards.manifest["splits"]
    say(
        console,
        f"data: {config.corpus}, {splits['train']['tokens']:,} training and "
        f"{splits['validation']['tokens']:,} validation tokens, in {shards.folder}",
    )
    return shards
