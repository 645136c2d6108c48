"""The runs of a study, sorted: which ran at which size, with which settings, on which seeds.

A *scale* is a model and a number of steps. A *cell* is one optimizer with one set of settings at
one scale; its runs differ in their seed only. Nothing is averaged or chosen here.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adana.report import words
from adana.report.common_scale import check_common_scale
from adana.report.records import CADENCE_SUFFIX, Record, flatten, number
from adana.runs import NOT_IDENTITY, RunError, science
from adana.units import PFH

LR = "optimizer.lr"

HORIZON = "optimizer.horizon"

OF_THE_RUN = frozenset({"version", "seed", "steps", "model", "data"}) | NOT_IDENTITY
"""Top-level parts of a configuration that are no setting of a cell."""

APART = frozenset({"optimizer.name", "optimizer.label", "eval_tokens", LR})
"""Settings that name the cell, are the same in a whole study, or are looked at by themselves."""

ENDED_BADLY = frozenset({"diverged", "failed"})


@dataclass(frozen=True)
class Scale:
    """A model and a training length: what a cell of the study is compared at.

    Numbers are None where no run of this model finished, since only `summary.json` has them.
    """

    model: str
    """The model's configuration, as canonical JSON: what tells models apart."""
    steps: int
    parameters: int | None = None
    """P, without embeddings."""
    all_parameters: int | None = None
    """N, with embeddings."""
    tokens: int | None = None
    """D."""
    compute: float | None = None
    """C = 6 P D in PFH (3.6e18 FLOP)."""
    with_head: float | None = None
    """The same with the FLOPs of the output head, 6 (P + V d) D; None where runs do not say."""
    lengths: int = 1
    """How many training lengths this model has in the study."""

    @property
    def called(self) -> str:
        """The size, and the length where the model has several: ``147k for 1,040 steps``."""
        return self.name if self.lengths == 1 else f"{self.name} for {self.steps:,} steps"

    @property
    def name(self) -> str:
        """The size in words: ``147k``, or the model's shape where P is not known."""
        if self.parameters is not None:
            return words.short_count(self.parameters)
        shape = json.loads(self.model)
        kept = [f"{key} {shape[key]}" for key in ("heads", "layers", "width") if key in shape]
        return ", ".join(kept) or "a model without a finished run"

    @property
    def heading(self) -> str:
        """Model and length: ``147k parameters, 1,040 steps``."""
        size = self.name if self.parameters is None else f"{self.name} parameters"
        return f"{size}, {self.steps:,} steps"

    @property
    def order(self) -> tuple[float, float]:
        """What scales are sorted by: compute, then steps; unknown compute last."""
        return (float("inf") if self.compute is None else self.compute, self.steps)


@dataclass(frozen=True)
class Cell:
    """The runs of one optimizer with one set of settings at one scale."""

    label: str
    scale: Scale
    lr: float
    """Peak learning rate."""
    settings: Mapping[str, Any]
    """All other settings of the training, flat: ``{"optimizer.kappa": 0.85, ...}``."""
    records: tuple[Record, ...]

    @property
    def finished(self) -> tuple[Record, ...]:
        """The runs that ended as planned."""
        return tuple(record for record in self.records if record.finished)

    @property
    def losses(self) -> dict[int, float]:
        """Final validation loss (nats a token) by seed, finished runs only."""
        return {record.seed: record.loss for record in self.finished}

    @property
    def mean(self) -> float:
        """Mean final loss over seeds; infinite if a seed diverged, NaN if none finished."""
        if self.diverged:
            return float("inf")
        losses = list(self.losses.values())
        return statistics.fmean(losses) if losses else float("nan")

    @property
    def diverged(self) -> int:
        """Seeds that diverged."""
        return sum(record.state == "diverged" for record in self.records)


def sort_cells(records: Sequence[Record]) -> list[Cell]:
    """Sort the runs into cells, by scale, label and learning rate.

    Raises:
        RunError: losses cannot be compared (other data, vocabulary or evaluation), a label stands
            for two optimizers, or one cell has a seed twice.
    """
    check_common_scale(records)
    _check_labels(records)
    scales = _scales(records)
    found: dict[str, list[Record]] = {}
    for record in records:
        key = [record.label, _model(record), record.steps, _lr(record), settings(record)]
        found.setdefault(json.dumps(key, sort_keys=True), []).append(record)
    cells = [
        Cell(
            own[0].label,
            scales[_model(own[0]), own[0].steps],
            _lr(own[0]),
            settings(own[0]),
            _by_seed(own),
        )
        for own in found.values()
    ]
    return sorted(cells, key=lambda cell: (*cell.scale.order, cell.label, cell.lr))


def settings(record: Record) -> dict[str, Any]:
    """Return the settings of a run that may differ between the cells of a study, flat."""
    own = {key: value for key, value in science(record.config).items() if key not in OF_THE_RUN}
    flat = flatten(own)
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in flat.items()
        if key not in APART
        and not key.endswith(CADENCE_SUFFIX)
        and not (key == HORIZON and value == record.steps)
    }


def _lr(record: Record) -> float:
    lr = number(record.config["optimizer"], "lr")
    if lr is None or lr <= 0:
        raise RunError(
            f"run {record.name} has no positive optimizer.lr in its config.json. Leave it out."
        )
    return lr


def _model(record: Record) -> str:
    return json.dumps(record.config.get("model"), sort_keys=True)


def _scales(records: Iterable[Record]) -> dict[tuple[str, int], Scale]:
    """Return the scale of every model and length, with the numbers that finished runs tell."""
    found: dict[tuple[str, int], Scale] = {}
    sizes: dict[str, dict[str, float]] = {}
    for record in records:
        summary = {
            key: value
            for key in ("non_embedding_parameters", "parameters", "tokens", "compute")
            if (value := number(record.summary, key)) is not None
        }
        sizes.setdefault(_model(record), {}).update(summary)
    finished = {(_model(r), r.steps): r for r in records if r.finished}
    lengths = Counter(model for model, _ in {(_model(r), r.steps) for r in records})
    for record in records:
        key = (_model(record), record.steps)
        size, done = sizes[key[0]], finished.get(key)
        found[key] = Scale(
            *key,
            parameters=_whole(size.get("non_embedding_parameters")),
            all_parameters=_whole(size.get("parameters")),
            tokens=_whole(number(done.summary, "tokens") if done else None),
            compute=number(done.summary, "compute") if done else None,
            with_head=_with_head(done) if done else None,
            lengths=lengths[key[0]],
        )
    return found


def _with_head(record: Record) -> float | None:
    flops = number(record.summary.get("flops") or {}, "6N2")
    return flops / PFH if flops else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _by_seed(records: Sequence[Record]) -> tuple[Record, ...]:
    ordered = sorted(records, key=lambda record: record.seed)
    for one, other in itertools.pairwise(ordered):
        if one.seed == other.seed:
            raise RunError(
                f"runs {one.place} and {other.place} are the same training: {one.label!r}, lr "
                f"{_lr(one):g}, seed {one.seed}, {one.steps} steps, but did not end alike. Leave "
                "one out: a seed counts once."
            )
    return tuple(ordered)


def _check_labels(records: Sequence[Record]) -> None:
    names: dict[str, Record] = {}
    for record in records:
        known = names.setdefault(record.label, record)
        one, other = (r.config["optimizer"].get("name") for r in (known, record))
        if one != other:
            raise RunError(
                f"runs {known.name} and {record.name} are both labelled {record.label!r} but were "
                f"trained by {one} and {other}. Give one another label, or leave it out."
            )
