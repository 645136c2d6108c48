"""What a search for hyperparameters found, as its `result.json` holds it.

The tuner writes that file (`adana.tune.result`); reading it back needs none of the tuner.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.runs import RunError, read_json

RESULT = "result.json"
VERSION = 2
"""The version of `result.json` that is read here."""


@dataclass(frozen=True)
class SweepRow:
    """One hyperparameter along its grid, all others held."""

    name: str
    values: tuple[Any, ...]
    losses: tuple[float, ...]
    """Infinite where the training diverged."""
    before: Any
    """The value that the search had."""
    after: Any
    """The value that it went on with."""
    gain: float
    """How much lower the lowest loss is than that of `before`."""

    @property
    def best(self) -> Any:
        """The first value with the lowest loss."""
        return self.values[self.losses.index(min(self.losses))]


@dataclass(frozen=True)
class JointTable:
    """Losses of up to 3 x 3 values of two hyperparameters around an optimum."""

    names: tuple[str, str]
    values: tuple[tuple[Any, ...], tuple[Any, ...]]
    losses: tuple[tuple[float, ...], ...]
    """A row for each value of the first."""
    centre: tuple[Any, Any]
    verdict: str


@dataclass(frozen=True)
class SearchAt:
    """What was found at one size."""

    size: str
    """Its name."""
    parameters: float
    tokens: float
    best: Mapping[str, Any]
    loss: float
    """The mean over `seeds`."""
    seeds: int
    start: Mapping[str, Any]
    near_optimal: Mapping[str, Sequence[Any]]
    edges: Mapping[str, str]
    delta1: float
    delta2: float
    noise: str
    """Where the thresholds come from."""
    sweeps: tuple[SweepRow, ...]
    """The last of each hyperparameter."""
    passes: tuple[tuple[SweepRow, ...], ...]
    joints: tuple[JointTable, ...]
    remarks: tuple[str, ...]
    trials: tuple[Mapping[str, Any], ...]
    """Every training, in the order in which it became known: `config`, `loss`, `seconds` and
    `tokens`."""

    @property
    def tuned(self) -> tuple[str, ...]:
        """The hyperparameters that were tuned."""
        return tuple(sweep.name for sweep in self.sweeps)


@dataclass(frozen=True)
class Search:
    """One search, at one size or several."""

    folder: Path
    name: str
    """The optimizer, or the folder where no optimizer is named."""
    setting: str
    """What tells it from searches with other data or another kind of training; may be empty."""
    command: str
    """Empty for a search from Python."""
    seed: int
    """What the seeds of its trials are counted up from."""
    scales: tuple[SearchAt, ...]
    commands: Mapping[str, str]
    """What trains the best of each size, if the search says so."""
    sensitivities: tuple[Mapping[str, Any], ...]


def is_search(folder: Path) -> bool:
    """Whether a folder holds the result of a search."""
    return (folder / RESULT).is_file()


def read_search(folder: Path) -> Search:
    """Read what a search left in its folder.

    Raises:
        RunError: the file is missing, broken, of another version, or no result of a search.
    """
    path = folder / RESULT
    content = read_json(path)
    version = content.get("version") if isinstance(content, dict) else None
    if version != VERSION:
        raise RunError(
            f"{path} has format version {version!r}, this adana reads version {VERSION}: run the "
            "same search again, which trains nothing that it has trained already"
        )
    try:
        scales = content.get("scales", [content])
        return Search(
            folder=folder,
            setting=content.get("setting", ""),
            name=content.get("optimizer", folder.name),
            command=content.get("command", ""),
            seed=content.get("seed", 0),
            scales=tuple(_scale(own) for own in scales),
            commands=content.get("commands", {}),
            sensitivities=tuple(content.get("sensitivities", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path} is no result of a search, or it was changed: {error!r}") from error


def _scale(own: Mapping[str, Any]) -> SearchAt:
    thresholds = own["thresholds"]
    passes = tuple(
        tuple(_sweep(move, move["before"], move["after"]) for move in moves)
        for moves in own["passes"]
    )
    best = own["best_config"]
    return SearchAt(
        size=own["scale"]["name"],
        parameters=own["scale"]["parameters"],
        tokens=own["scale"]["tokens"],
        best=best,
        loss=float(own["min_loss"]),
        seeds=own["seeds"],
        start=own["start"],
        near_optimal=own["near_optimal"],
        edges=own["edges"],
        delta1=thresholds["delta1"],
        delta2=thresholds["delta2"],
        noise=thresholds["source"],
        sweeps=tuple(_sweep(row, best[row["name"]], best[row["name"]]) for row in own["ablations"]),
        passes=passes,
        joints=tuple(_joint(check) for check in own["joint"]),
        remarks=tuple(own["remarks"]),
        trials=tuple({**t, "loss": float(t["loss"])} for t in own["trials"].values()),
    )


def _sweep(row: Mapping[str, Any], before: Any, after: Any) -> SweepRow:
    return SweepRow(
        name=row["name"],
        values=tuple(each["value"] for each in row["losses"]),
        losses=tuple(float(each["loss"]) for each in row["losses"]),
        before=before,
        after=after,
        gain=float(row["gain"]),
    )


def _joint(check: Mapping[str, Any]) -> JointTable:
    first, second = check["names"]
    return JointTable(
        names=(first, second),
        values=(tuple(check["values"][0]), tuple(check["values"][1])),
        losses=tuple(tuple(float(loss) for loss in row) for row in check["losses"]),
        centre=(check["centre"][0], check["centre"][1]),
        verdict=check["verdict"],
    )


def progress(scale: SearchAt) -> Iterator[tuple[int, float, float]]:
    """Yield (trainings, device-seconds, best loss) as a search went on.

    The best is the lowest mean over the seeds of the search of any configuration that had all of
    them by then; seeds beyond, which measured noise, count as trainings only.
    """
    seen: dict[str, list[float]] = {}
    best, seconds = float("inf"), 0.0
    for count, trial in enumerate(scale.trials, start=1):
        seconds += trial["seconds"]
        config = dict(trial["config"])
        if config.pop("seed", 0) < scale.seeds:
            losses = seen.setdefault(repr(sorted(config.items())), [])
            losses.append(trial["loss"])
            if len(losses) == scale.seeds:
                best = min(best, sum(losses) / len(losses))
        if best < float("inf"):
            yield count, seconds, best
