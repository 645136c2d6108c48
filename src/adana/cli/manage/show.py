"""`adana runs show`: one run in full."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.text import Text

from adana.cli.manage.common import ago, print_json
from adana.cli.run_folders import RUNS
from adana.cli.terminal import print_rows
from adana.report import find_run, last_rows, read_listing, words
from adana.report.records import flatten
from adana.runs import Run, RunError, read_json


@dataclass(frozen=True)
class ShowRun:
    """Show the state, settings, results, machine and last metrics of one run."""

    name: Annotated[str, tyro.conf.Positional]
    """Beginning of its name below --runs, or of its identity; or a path."""
    runs: Path = RUNS
    """Folder of the run directories."""
    json: bool = False
    """Print JSON for programs."""


def show_command(arguments: ShowRun) -> int:
    """Run `adana runs show`; return the exit code."""
    run = find_run(arguments.runs, arguments.name)
    listing = read_listing(run, run.path.parent)
    training, evaluation = last_rows(run)
    parts = {name: _read(run, name) for name in ("config", "summary", "environment")}
    last = {"training": dict(training), "evaluation": dict(evaluation)}
    if arguments.json:
        print_json({"run": listing.as_dict(), **parts, "last": last})
        return 0
    console = Console()
    done = f"{listing.step:,} of {words.grouped(listing.steps)} steps"
    _section(
        console,
        str(run.path),
        {
            "state": f"{listing.state} {f'({listing.reason})' if listing.reason else ''}",
            "done": f"{done}; written {ago(listing.updated)} ago",
            "checkpoints": ", ".join(path.name for path in sorted(run.checkpoints.glob("step-*"))),
            "disk": words.size(listing.bytes),
            "problem": listing.problem,
        },
    )
    _section(console, "settings", parts["config"])
    _section(console, "results", parts["summary"])
    _section(console, "last training row", last["training"])
    _section(console, "last evaluation", last["evaluation"])
    _section(console, "environment", parts["environment"])
    return 0


def _read(run: Run, name: str) -> dict[str, Any]:
    """Return a file of the run whatever its version, empty if it is missing or broken."""
    try:
        content = read_json(run.path / f"{name}.json")
    except RunError:
        return {}
    return content if isinstance(content, dict) else {}


def _section(console: Console, title: str, content: Mapping[str, Any]) -> None:
    rows = [(key, _text(value)) for key, value in flatten(content).items()]
    rows = [(key, text) for key, text in rows if text]
    if rows:
        console.print(Text(title, style="bold underline"))
        print_rows(console, rows)
        console.print()


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value)
