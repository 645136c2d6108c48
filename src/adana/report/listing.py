"""What run directories there are and how far each is, without reading more than it takes.

A directory that cannot be read in full, because another version wrote it or a file is broken, is
listed with what is known and what is wrong: it takes up space and wants a decision like any other.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.report.records import number
from adana.runs import CONFIG_VERSION, Run, RunError, find_runs, read_json

TAIL_BYTES = 2**18
"""How much of the end of ``metrics.jsonl`` is read for the last losses."""

STOPPED = "stopped"
"""State of a run that says it is running and that no process holds: it was killed."""
BROKEN = "broken"
"""State of a run whose status cannot be read."""

SORT_KEYS = ("name", "state", "optimizer", "steps", "loss", "tokens", "updated", "bytes")
"""What a list can be sorted by."""


@dataclass(frozen=True)
class Listing:
    """One run directory in a list. None where it is not known."""

    run: Run
    name: str
    """Path below the folder that was listed."""
    state: str
    reason: str
    optimizer: str
    label: str
    seed: int | None
    model: str
    """Family, layers x width."""
    step: int
    """Completed steps."""
    steps: int | None
    """Planned steps."""
    loss: float | None
    """Last validation loss (nats a token)."""
    tokens: int | None
    """Tokens trained on."""
    updated: float
    """When something was last written there (seconds since 1970)."""
    bytes: int
    """Size on disk; files that branches share are counted in each."""
    checkpoints: int
    problem: str
    """What is wrong with the directory; empty if nothing is."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return content | {"run": str(self.run.path)}


def list_runs(root: Path | str) -> list[Listing]:
    """Return the run directories below `root`, by name."""
    root = Path(root)
    listed = (read_listing(run, root) for run in find_runs(root) if not _is_export(run.path))
    return sorted(listed, key=lambda listing: listing.name)


def read_listing(run: Run, root: Path | str) -> Listing:
    """Look at one run directory below `root`. Never raises for what is in its files."""
    root = Path(root)
    problems: list[str] = []
    config = _read(run.path / "config.json", problems)
    status = _read(run.path / "status.json", problems, default={"state": "new"})
    if config and config.get("version") != CONFIG_VERSION:
        problems.append(
            f"config.json has format {config.get('version')!r}, this adana reads {CONFIG_VERSION}"
        )
    training, evaluation = last_rows(run, problems)
    optimizer = _mapping(config, "optimizer")
    newest = evaluation if _step(evaluation) > _step(training) else training
    return Listing(
        run=run,
        name=str(run.path.relative_to(root)) if run.path != root else run.name,
        state=_state(run, status),
        reason=str(status.get("reason") or ""),
        optimizer=str(optimizer.get("name", "?")),
        label=str(optimizer.get("label") or optimizer.get("name", "?")),
        seed=_whole(config, "seed"),
        model=describe_model(_mapping(config, "model")),
        step=max(_step(newest), _whole(status, "step") or 0),
        steps=_whole(config, "steps"),
        loss=number(evaluation, "val_loss"),
        tokens=_whole(newest, "tokens"),
        updated=max((path.stat().st_mtime for path in _own_files(run)), default=0.0),
        bytes=disk_bytes(run.path),
        checkpoints=len(list(run.checkpoints.glob("step-*"))),
        problem="; ".join(problems),
    )


def find_run(root: Path | str, name: str) -> Run:
    """Return the run that `name` means: a path, a name below `root`, or the beginning of one.

    The last part of a name (the digits of its identity) or its beginning will do too.

    Raises:
        RunError: no run is meant, or several are; the message lists what was likely meant.
    """
    root = Path(root)
    for path in (Path(name), root / name):
        if (path / "config.json").is_file():
            return Run(path)
    runs = {str(run.path.relative_to(root)): run for run in find_runs(root) if run.path != root}
    if not runs:
        raise RunError(
            f"{name!r} is no run directory, and there is none below {root}. Name the folder of "
            "the run directories with --runs, or a run directory by its path."
        )
    return run_called(name, runs, f"below {root}")


def run_called(name: str, runs: Mapping[str, Run], where: str) -> Run:
    """Return the one of `runs`, by their paths below some folder, that `name` means.

    That is a path, a name, its last part, or the beginning of one of these. `where` says in the
    message where the runs are.

    Raises:
        RunError: no run is meant, or several are; the message lists what was likely meant.
    """
    path = Path(name).resolve()
    whole = [k for k, run in runs.items() if Path(k).name == name or run.path.resolve() == path]
    begun = [key for key in runs if key.startswith(name) or Path(key).name.startswith(name)]
    found = whole or begun or [key for key in runs if key.rsplit("-", 1)[-1].startswith(name)]
    if len(found) == 1:
        return runs[found[0]]
    if found:
        is_what = "is the name" if whole else "begins the names"
        raise RunError(f"{name!r} {is_what} of {len(found)} runs:{_indented(found)}")
    near = difflib.get_close_matches(name, runs, n=3, cutoff=0.3) or list(runs)[:3]
    raise RunError(f"no run {where} is called {name!r}; there are for example{_indented(near)}")


def select(
    listings: Iterable[Listing],
    *,
    state: Sequence[str] = (),
    contains: str = "",
    sort: str = "name",
) -> list[Listing]:
    """Return the listings in one of `state`, with `contains` in name, label or model, sorted.

    Sizes and times are sorted from the largest and latest; unknown values come last.
    """
    words = contains.lower()
    kept = [
        each
        for each in listings
        if (not state or each.state in state)
        and words in f"{each.name} {each.label} {each.optimizer} {each.model}".lower()
    ]
    if sort in {"tokens", "updated", "bytes", "steps"}:
        return sorted(kept, key=lambda each: -(getattr(each, sort) or 0))
    return sorted(kept, key=lambda each: (getattr(each, sort) is None, getattr(each, sort)))


def last_rows(
    run: Run, problems: list[str] | None = None
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the last training row and the last evaluation, each empty if there is none.

    Reads `TAIL_BYTES` of the end only. A line that is not JSON is passed over, and told in
    `problems` if it is not the last, which a kill may cut short.
    """
    path = run.path / "metrics.jsonl"
    if not path.exists():
        return {}, {}
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read().splitlines()[1 if size > TAIL_BYTES else 0 :]
    training: Mapping[str, Any] = {}
    evaluation: Mapping[str, Any] = {}
    for line in lines:
        try:
            row = json.loads(line)
            training = row if "train_loss" in row else training
            evaluation = row if "val_loss" in row else evaluation
        except (ValueError, TypeError):
            if problems is not None and line is not lines[-1]:
                problems.append("metrics.jsonl has a line that is not JSON")
    return training, evaluation


def describe_model(model: Mapping[str, Any]) -> str:
    """Return a model in a word or two: family, layers x width."""
    if not model:
        return "?"
    width = model.get("width") or model.get("heads", 0) * model.get("head_dim", 0)
    shape = f"{model.get('layers') or model.get('depth') or '?'}x{width}"
    return f"{model.get('family', 'enoki')} {shape}"


def disk_bytes(path: Path, shared: bool = True) -> int:
    """Return the bytes of all files below `path`, 0 if there is nothing.

    With `shared` False only those that no other name has: what deleting them would free.
    """
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                status = os.lstat(os.path.join(folder, name))
            except OSError:
                continue  # deleted while we look
            total += status.st_size if shared or status.st_nlink == 1 else 0
    return total


def _read(path: Path, problems: list[str], default: Mapping[str, Any] | None = None) -> Any:
    """Return a JSON object, or an empty one and a problem."""
    if default is not None and not path.exists():
        return default
    try:
        content = read_json(path)
    except RunError as error:
        problems.append(str(error).replace(f"{path.parent}{os.sep}", ""))
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.name} is not a JSON object")
        return {}
    return content


def _state(run: Run, status: Mapping[str, Any]) -> str:
    state = str(status.get("state", BROKEN))
    return STOPPED if state == "running" and not run.held else state


def _mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key)
    return value if isinstance(value, Mapping) else {}


def _whole(content: Mapping[str, Any], key: str) -> int | None:
    value = number(content, key)
    return None if value is None else int(value)


def _step(row: Mapping[str, Any]) -> int:
    return _whole(row, "step") or 0


def _own_files(run: Run) -> list[Path]:
    return [path for path in run.path.glob("*.json*") if path.is_file()]


def _is_export(path: Path) -> bool:
    """Whether the folder is a Hugging Face model, whose config.json is none of ours."""
    return (path / "model.safetensors").exists() or (path / "model.safetensors.index.json").exists()


def _indented(names: Iterable[str]) -> str:
    return "".join(f"\n  {name}" for name in names)
