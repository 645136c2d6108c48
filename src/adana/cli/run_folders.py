"""The runs below the folders that a command names: each once, and only those that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from adana.cli.progress import say
from adana.runs import Run, RunError, find_runs


def runs_below(folders: Sequence[Path], console: Console) -> list[Run]:
    """Return every run directory below `folders`, however often it is named.

    Those of another version of adana are left out, and said to be.

    Raises:
        RunError: a folder is none, or there is no run that can be read.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise RunError(f"{folder} {what}, expected a run directory or a folder of some")
        found |= {run.path.resolve(): run for run in find_runs(folder)}
    if not found:
        where = ", ".join(map(str, folders))
        raise RunError(
            f"there is no run directory (a folder with config.json) in {where}; train some, for "
            "example with `adana ladder run --preset smoke`"
        )
    readable = [run for run in found.values() if _readable(run, console)]
    if not readable:
        raise RunError("none of the run directories can be read by this adana")
    return readable


def _readable(run: Run, console: Console) -> bool:
    """Whether the run's configuration is of this version; say so if it is not."""
    try:
        run.config()
    except RunError as error:
        say(console, f"left out: {error}")
        return False
    return True
