"""What a search for hyperparameters found, as its `result.json` holds it.

The tuner writes that file (`adana.tune.result`); reading it back needs none of the tuner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adana.runs import RunError, read_json

RESULT = "result.json"
FOLDER = "tune-"
"""What the names of the folders of `adana tune` begin with."""
BEGUN = "began_with.json"
"""What `adana tune` writes first."""
VERSION = 3
"""Version of the format of `result.json`."""


@dataclass(frozen=True)
class SweepRow:
    """One hyperparameter along its grid, all others held."""

    name: str
    values: tuple[Any, ...]
    losses: tuple[float, ...]
    """Infinite where the training diverged."""


@dataclass(frozen=True)
class Decision(SweepRow):
    """A sweep of a pass, and what the search made of it."""

    before: Any
    """The value that the search had."""
    after: Any
    """The value that it went on with."""
    gain: float
    """How much lower the lowest loss is than that of `before`."""


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
    config: Mapping[str, Any] | None
    """The whole configuration of the best training (`adana.train.config_to_dict`), seed 0; None for
    a search from Python."""
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
    passes: tuple[tuple[Decision, ...], ...]
    joints: tuple[JointTable, ...]
    remarks: tuple[str, ...]
    trials: tuple[Mapping[str, Any], ...]
    """Every training, in the order in which the search asked for them: `config`, `loss`, `seconds`
    and `tokens`."""

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


def results_below(root: Path | str) -> list[Path]:
    """Return the results of all searches whose folders lie in `root`, sorted."""
    return sorted(Path(root).glob(f"{FOLDER}*/{RESULT}"))


def is_search(folder: Path | str) -> bool:
    """Whether a folder is that of a search, at its end or not."""
    return any((Path(folder) / name).is_file() for name in (RESULT, BEGUN))


def read_search(folder: Path | str) -> Search:
    """Read what a search left in its folder.

    Raises:
        RunError: the search has not ended, or its file is missing, broken, of another version, or
            no result of a search.
    """
    folder = Path(folder)
    if (folder / BEGUN).is_file() and not (folder / RESULT).exists():
        raise RunError(
            f"the search in {folder} has not ended; the same `adana tune` command goes on with it"
        )
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
            name=content.get("optimizer", folder.resolve().name),
            command=content.get("command", ""),
            seed=content.get("seed", 0),
            scales=tuple(_scale(own, content.get("configs", {})) for own in scales),
            commands=content.get("commands", {}),
            sensitivities=tuple(content.get("sensitivities", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"{path} is no result of a search, or it was changed: {error!r}") from error


def _scale(own: Mapping[str, Any], configs: Mapping[str, Any]) -> SearchAt:
    thresholds = own["thresholds"]
    return SearchAt(
        size=own["scale"]["name"],
        parameters=own["scale"]["parameters"],
        tokens=own["scale"]["tokens"],
        config=configs.get(own["scale"]["name"]),
        best=own["best_config"],
        loss=float(own["min_loss"]),
        seeds=own["seeds"],
        start=own["start"],
        near_optimal=own["near_optimal"],
        edges=own["edges"],
        delta1=thresholds["delta1"],
        delta2=thresholds["delta2"],
        noise=thresholds["source"],
        sweeps=tuple(SweepRow(*_grid(row)) for row in own["ablations"]),
        passes=tuple(tuple(_decision(move) for move in moves) for moves in own["passes"]),
        joints=tuple(_joint(check) for check in own["joint"]),
        remarks=tuple(own["remarks"]),
        trials=tuple({**t, "loss": float(t["loss"])} for t in own["trials"].values()),
    )


def _grid(row: Mapping[str, Any]) -> tuple[str, tuple[Any, ...], tuple[float, ...]]:
    values = tuple(each["value"] for each in row["losses"])
    return row["name"], values, tuple(float(each["loss"]) for each in row["losses"])


def _decision(move: Mapping[str, Any]) -> Decision:
    return Decision(*_grid(move), move["before"], move["after"], float(move["gain"]))


def _joint(check: Mapping[str, Any]) -> JointTable:
    first, second = check["names"]
    return JointTable(
        names=(first, second),
        values=(tuple(check["values"][0]), tuple(check["values"][1])),
        losses=tuple(tuple(float(loss) for loss in row) for row in check["losses"]),
        centre=(check["centre"][0], check["centre"][1]),
        verdict=check["verdict"],
    )
