"""The folders that a command names, and the runs below them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from adana.cli.terminal import say
from adana.report import alike, run_called
from adana.runs import Run, RunError, find_runs

RUNS = Path("runs")
"""Where run directories lie if nothing is said."""


def check_folder(flag: str, path: Path) -> None:
    """Raise `ValueError` if `path` is no folder, and none that can be made or written to."""
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not there.is_dir():
        named = f"{flag} {path}" if there == path else f"{there}, above {flag} {path},"
        raise ValueError(f"{named} is a file, expected a folder (it is made if missing)")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"{flag} {path}: nothing can be written to {there}; name another folder")


def runs_below(folders: Sequence[Path], console: Console, like: str | None = None) -> list[Run]:
    """Return every run directory below `folders`, however often it is named.

    What is no folder is the name of a run below `RUNS`, as for `adana runs show`. Runs of another
    version of adana are left out, and said to be. With `like`, the path of one of them or the
    beginning of its name, only those whose losses have a common scale with that run's.

    Raises:
        RunError: a folder is none, there is no run that can be read, or none called `like`.
    """
    found: dict[Path, Run] = {}
    for folder in folders:
        if folder.is_file():
            raise RunError(f"{folder} is a file, expected a run directory or a folder of some")
        runs = find_runs(folder) if folder.is_dir() else [_called(str(folder))]
        found |= {run.path.resolve(): run for run in runs}
    if not found:
        where = ", ".join(map(str, folders))
        raise RunError(
            f"there is no run directory (a folder with config.json) in {where}; train some, for "
            "example with `adana ladder run --preset smoke`"
        )
    readable = [run for run in found.values() if _readable(run, console)]
    if not readable:
        raise RunError("none of the run directories can be read by this adana")
    if like is None:
        return readable
    paths = {str(run.path): run for run in readable}
    kept = alike(readable, run_called(like, paths, "among these, as --like has it,"))
    say(console, f"--like {like}: {len(kept)} of {len(readable)} runs")
    return kept


def _called(name: str) -> Run:
    runs = {str(run.path.relative_to(RUNS)): run for run in find_runs(RUNS) if run.path != RUNS}
    if not runs:
        raise RunError(
            f"{name} does not exist, expected a run directory, a folder of some, or the name of a "
            f"run below {RUNS}"
        )
    return run_called(name, runs, f"below {RUNS}")


def _readable(run: Run, console: Console) -> bool:
    """Whether the run's configuration is one of this version; say so if it is not.

    Of its other files, those who read them say what is wrong (`adana.report.reading`).
    """
    try:
        config = run.config()
    except RunError as error:
        say(console, f"left out: {error}")
        return False
    if not isinstance(config.get("optimizer"), dict):
        say(console, f"left out: {run.path / 'config.json'} does not say which optimizer it is of")
        return False
    return True
