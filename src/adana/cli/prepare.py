"""Preparing the tokens with a progress bar, as every verb that needs them does."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from adana.data import DataConfig, Shards, prepare


def prepare_with_bar(config: DataConfig, console: Console) -> Shards:
    """Return the tokens of `config`, telling the console how far it is."""
    if not console.is_terminal:
        said: set[str] = set()

        def tell(stage: str, fraction: float) -> None:
            if stage not in said:
                said.add(stage)
                console.print(f"data: {stage}", highlight=False)

        shards = prepare(config, on_progress=tell)
    else:
        columns = (TextColumn("data: {task.description}"), BarColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("reading the corpus", total=1.0)
            shards = prepare(
                config,
                on_progress=lambda stage, fraction: bar.update(
                    task, description=stage, completed=fraction
                ),
            )
    splits = shards.manifest["splits"]
    console.print(
        f"data: {config.corpus}, {splits['train']['tokens']:,} training and "
        f"{splits['validation']['tokens']:,} validation tokens, in {shards.folder}",
        highlight=False,
        soft_wrap=True,
    )
    return shards
