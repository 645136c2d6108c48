"""What the verbs of `adana runs` share."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from adana.runs import RunError

PIPE_WIDTH = 200
"""Columns of a table that goes to a file or a program: nothing is cut there."""

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def table_console() -> Console:
    """Return a console for tables: as wide as the terminal, and wide where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, PIPE_WIDTH))


def print_json(value: Any) -> None:
    """Print JSON for programs, NaN and infinity as words."""
    print(json.dumps(value, indent=2, default=str, allow_nan=False))


def check_runs_folder(root: Path) -> None:
    """Raise `RunError` if the folder of the run directories is not there."""
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise RunError(
            f"--runs {root} {what}, expected the folder that holds the run directories. "
            "Go to where you trained, or name the folder with --runs."
        )


def ago(moment: float) -> str:
    """Return how long ago a moment (seconds since 1970) was: `3 d`, `20 min`."""
    return duration(time.time() - moment)


def duration(seconds: float) -> str:
    """Return a time in its largest whole unit: `3 d`, `20 min`, `5 s`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return "now"
