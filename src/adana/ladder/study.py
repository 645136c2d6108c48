"""A study: optimizers x sizes x learning rates x seeds, from a preset to its trainings.

What `adana ladder run` trains. The rules are fixed before the first run: every optimizer gets the
same number of learning rates at every size, all on one lattice and every one with all seeds; an
optimum at the end of its grid gets more rates on that side until it is bracketed. Nothing else
looks at a loss.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from adana import schedules
from adana.data import DataConfig, model_vocab_size
from adana.ladder.candidates import Candidate, candidate, labels
from adana.ladder.comparison import PlannedRun
from adana.ladder.learning_rates import (
    DEMO_MODEL,
    DEMO_RATES,
    FAMILY_TITLES,
    Rate,
    is_rung_shape,
    planned_learning_rate,
)
from adana.ladder.published_laws import NoLawError, PublishedLaw, matching_laws
from adana.ladder.rungs import TOKENS_PER_PARAM, budget_rule, steps_of_budget
from adana.ladder.searched import Carried
from adana.nn import (
    FAMILIES,
    Family,
    ModelConfig,
    count_parameters,
)
from adana.runs import folder_key
from adana.train import (
    LayoutConfig,
    ScheduleConfig,
    ScheduleName,
    TrainConfig,
    optimizer_entry,
)

LATTICE = 1e-3
"""A learning rate that every grid would contain if it reached so far: others are this times powers
of the grid's factor, so that the grids of all sizes and optimizers share their rates."""
WIDEST = 6
"""Most rates that are added to one optimizer at one size because its best was at the end."""


@dataclass(frozen=True)
class Study:
    """What is trained. The defaults are the preset `laptop`."""

    optimizers: tuple[str, ...] = ("adamw", "adana", "dana-star-mk4")
    """What is compared, by label: names, or with values of their own, "adana:kappa=0.9" (see
    `candidate`). The first one is the baseline."""
    family: Family = "enoki"
    """Of the models."""
    sizes: tuple[int, ...] = (1, 2, 3, 4)
    """Heads of the transformers, of width heads * head_dim; widths of the LSTM."""
    head_dim: int = 16
    """Channels of a head; nothing to the LSTM."""
    layers: int | None = None
    """Blocks at every size. Default: the family's rule, floor(3 heads / 4) but at least one for
    Enoki, 2 heads for Qwen3; 2 for the LSTM."""
    vocab_size: int | None = None
    """Rows of the embedding and of the head. Default: what the tokenizer needs."""
    sequence_length: int = 128
    """Context in tokens."""
    batch_size: int = 16
    """Sequences per step."""
    schedule: ScheduleName = ScheduleConfig.name
    """Learning-rate schedule."""
    precision: Literal["float32", "bfloat16"] = TrainConfig.precision
    """What matrices are multiplied in."""
    tokens_per_param: float = TOKENS_PER_PARAM
    """Training tokens for each parameter, embedding and head included."""
    rates: int = 5
    """Learning rates of every optimizer at every size, before any are added at an end."""
    factor: float = 2.0
    """Ratio of neighbouring rates."""
    widen: int = WIDEST
    """Most rates added to one optimizer at one size."""
    seeds: int = 2
    """Seeds of every learning rate."""
    first_seed: int = 0
    """What they are counted up from."""
    tuned: Mapping[str, Carried] = dataclasses.field(default_factory=dict)
    """What searches found for some of the optimizers, besides the learning rate."""
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    eval_tokens: int = 65_536
    """Validation tokens of an evaluation."""
    evaluations: int = 12
    """Evaluations of a run, the start not counted."""

    def __post_init__(self) -> None:
        for name in ("optimizers", "sizes"):
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"a study's {name} must be named once each, got {list(values)}")
        if self.family not in FAMILIES:
            raise ValueError(
                f"a study's family must be one of {', '.join(FAMILIES)}, got {self.family!r}"
            )
        object.__setattr__(self, "optimizers", labels(self.optimizers))
        for name, low in (("rates", 1), ("seeds", 1), ("evaluations", 1), ("widen", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"a study's {name} must be at least {low}: {getattr(self, name)}")
        if not 1 < self.factor < math.inf:
            raise ValueError(f"a study's factor between rates must exceed 1, got {self.factor}")

    @property
    def cells(self) -> list[Cell]:
        """Every optimizer at every size, the smallest size first."""
        return [Cell(name, size) for size in sorted(self.sizes) for name in self.optimizers]

    @property
    def unit(self) -> str:
        """What sizes are counted in: heads, or width."""
        return "width" if self.family == "lstm" else "heads"

    def words(self, size: int) -> str:
        """Name a size: "1 head", "3 heads", "width 48"."""
        if self.unit == "width":
            return f"width {size}"
        return f"{size} head{'' if size == 1 else 's'}"

    def model(self, size: int) -> ModelConfig:
        """Return the shape of a size."""
        shape: dict[str, Any] = {"heads": size, "head_dim": self.head_dim}
        if self.unit == "width":
            shape = {"width": size}
        if self.layers is not None:
            shape["layers"] = self.layers
        return FAMILIES[self.family](
            vocab_size=self._vocabulary, sequence_length=self.sequence_length, **shape
        )

    @functools.cached_property
    def _vocabulary(self) -> int:
        return self.vocab_size or model_vocab_size(self.data)

    def steps(self, size: int) -> int:
        """Return the optimizer steps T of a size."""
        return steps_of_budget(self.model(size), self.batch_size, self.tokens_per_param)

    def config(self, cell: Cell, rate: Rate, seed: int, layout: LayoutConfig) -> TrainConfig:
        """Return the configuration of one training."""
        steps = self.steps(cell.size)
        config = TrainConfig(
            optimizer=candidate(cell.optimizer).config(rate.lr),
            steps=steps,
            batch_size=self.batch_size,
            model=self.model(cell.size),
            data=self.data,
            schedule=ScheduleConfig(self.schedule),
            seed=seed,
            precision=self.precision,
            eval_tokens=self.eval_tokens,
            eval_every=max(1, steps // self.evaluations),
            layout=layout,
            provenance={
                "steps": budget_rule(self.tokens_per_param, self.batch_size, self.sequence_length),
                "lr": rate.source,
            },
        )
        tuned = self.tuned.get(cell.optimizer)
        return config if tuned is None else tuned.apply(config)

    def key(self, data_fingerprint: str) -> str:
        """Return six hex digits of what all runs of a study share.

        Studies that differ in their optimizers, sizes, rates or seeds only have the same key, and
        so the same folder: what one has trained, the other need not. What searches found makes
        another key: a report of the folder has one setting of each optimizer.
        """
        shared = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _OWN
            and (field.name not in _LATER or getattr(self, field.name) != field.default)
        }
        tuned = {name: found.identity for name, found in self.tuned.items()}
        return folder_key([shared, data_fingerprint, *([tuned] if tuned else [])])


_OWN = (
    *("optimizers", "sizes", "rates", "factor", "widen", "seeds", "first_seed"),
    *("data", "tuned"),
)
"""What studies in one folder may differ in; data and what was tuned count by their content."""
_LATER = ("family", "layers", "vocab_size", "schedule", "precision")
"""What studies did not have at first: as it was then, it changes no folder's name."""


class Cell(NamedTuple):
    """One candidate at one size."""

    optimizer: str
    """Its label."""
    size: int
    """Heads of a transformer, width of an LSTM."""


PRESETS = {
    "laptop": Study(),
    "smoke": Study(
        sequence_length=64,
        batch_size=8,
        tokens_per_param=2.0,
        rates=3,
        widen=0,
        data=DataConfig(vocab_size=512),
        eval_tokens=8192,
        evaluations=4,
    ),
}
"""Studies by name. `laptop`: about two hours on 2 cores. `smoke`: minutes, to see everything work;
a tenth of the tokens that the models need, so its losses mean little."""


def first_rates(study: Study, cell: Cell, centre: Rate | None = None) -> list[Rate]:
    """Return the learning rates that a cell begins with, ascending.

    `centre` stands in for the rule's rate: that of the law published for such a training, where
    there is one, else `centre_rate`. The grid is made of the points of the lattice around it.
    """
    centre = centre or _rule(study, cell)
    nearest = round(math.log(centre.lr / LATTICE, study.factor))
    first = nearest - (study.rates - 1) // 2
    source = f"grid of {study.rates} rates by factors of {study.factor:g} around {centre.source}"
    return [Rate(_on_lattice(first + i, study.factor), source) for i in range(study.rates)]


def training_order(planned: Mapping[Cell, Sequence[PlannedRun]]) -> list[PlannedRun]:
    """Return all trainings in the order in which a ladder that is stopped early tells most.

    Small sizes first; at each, all optimizers at the middle of their grids before any further out,
    and all seeds of a rate together.
    """
    found = []
    for place, (cell, own) in enumerate(planned.items()):
        rates = sorted({run.config.optimizer.lr for run in own})
        outwards = {lr: abs(2 * i - len(rates) + 1) for i, lr in enumerate(rates)}
        for run in own:
            lr = run.config.optimizer.lr
            found.append((cell.size, outwards[lr], place, lr, run.config.seed, run))
    return [run for *_, run in sorted(found, key=lambda row: row[:-1])]


def next_rate(study: Study, losses: Mapping[float, float]) -> Rate | None:
    """Return the rate to add to a cell, or None if its best is bracketed or enough were added.

    `losses` holds the mean final loss over seeds by learning rate, infinite where a seed diverged;
    where all are, a lower rate is added.
    """
    rates = sorted(losses)
    if not 1 < len(rates) < study.rates + study.widen:
        return None
    best = min(rates, key=lambda lr: (losses[lr], lr))
    if best not in (rates[0], rates[-1]):
        return None
    side, step = ("lower", -1) if best == rates[0] else ("higher", 1)
    why = f"the best so far, {best:.4g}, was at the {side} end of the grid"
    if math.isinf(losses[best]):
        why = "every rate of the grid diverged"
    position = round(math.log(best / LATTICE, study.factor)) + step
    return Rate(_on_lattice(position, study.factor), f"added, as {why}")


def _rule(study: Study, cell: Cell) -> Rate:
    """Return the published law's rate where it was fitted to such sizes, else `centre_rate`."""
    model, ratio = study.model(cell.size), study.tokens_per_param
    own = candidate(cell.optimizer)
    try:
        rate = planned_learning_rate(
            own.name, model, study.batch_size, kappa=_kappa(own), tokens_per_param=ratio
        )
    except NoLawError:
        return centre_rate(cell.optimizer, model)
    fitted = rate.law.fitted if rate.law else None
    small = fitted and count_parameters(model).non_embedding < fitted[0]
    if small or not (fitted or is_rung_shape(model)):
        return centre_rate(cell.optimizer, model)
    usual = ScheduleConfig.name
    other = "" if study.schedule == usual else f"; fitted with {usual}, this is {study.schedule}"
    other += _by_default(own) if set(own.values) - {"kappa"} else ""
    return dataclasses.replace(rate, source=f"{rate.source}{other}")


def centre_rate(label: str, model: ModelConfig) -> Rate:
    """Return the learning rate that a grid at this size is laid around.

    The demo's tuned rate, carried to this size by the shape of the published law,
    `law(P) / law(P of the demo)`; where only one of the two is known, that one. It need not be
    good: the grid moves on if it is not.

    Raises:
        NoLawError: neither is known for this optimizer.
    """
    own = candidate(label)
    law = _law(own, model)
    tuned = DEMO_RATES.get(own.name)
    if tuned is None and law is None:
        advice = f"Pass the middle of its grid: --lr {label}=VALUE."
        raise NoLawError(model.family, own.name, _read_kappa(own), advice=advice)
    other = "" if model.family == DEMO_MODEL.family else f"; an {FAMILY_TITLES[DEMO_MODEL.family]}"
    other += _by_default(own)
    page = f"(docs/evidence/demo.md{other})"
    if law is None:
        return Rate(float(DEMO_RATES[own.name]), f"the demo's tuned rate {page}")
    p = count_parameters(model).non_embedding
    title = FAMILY_TITLES[law.family]
    if tuned is None:
        far = "; it was fitted to other sizes, or to another kappa"
        source = f"the published {title} law {law.formula}{far}{_by_default(own)}"
        return Rate(law(p), source)
    return Rate(
        tuned * law(p) / law(count_parameters(DEMO_MODEL).non_embedding),
        f"the demo's tuned rate {tuned:g} {page}, carried to other sizes by the "
        f"shape ({law.b:g} + P)^{law.d:g} of the published {title} law",
    )


def _law(own: Candidate, model: ModelConfig) -> PublishedLaw | None:
    """Return the law of the smallest batch, if the optimizer has one in this architecture.

    One for the default kappa where there is none for its own.
    """
    kappa = _read_kappa(own)
    laws = matching_laws(model.family, own.name, kappa)
    if kappa is not None and not laws:
        laws = matching_laws(model.family, own.name, schedules.KAPPA)
    return min(laws, key=lambda law: law.batch, default=None)


def _by_default(own: Candidate) -> str:
    """Say that a rate is not of a candidate's own values."""
    return f"; of {own.name} as it is by default" if own.values else ""


def _kappa(own: Candidate) -> float:
    return float(own.values.get("kappa", schedules.KAPPA))


def _read_kappa(own: Candidate) -> float | None:
    """Return its kappa, if it reads one."""
    return _kappa(own) if "kappa" in optimizer_entry(own.name).reads else None


def _on_lattice(position: int, factor: float) -> float:
    return float(f"{LATTICE * factor**position:.4g}")  # as printed, to be typed again


def mean_losses(planned: Sequence[PlannedRun]) -> dict[float, float]:
    """Return the mean final loss over seeds by learning rate, infinite where a seed diverged.

    `planned` are the finished or diverged trainings of one cell.
    """
    losses: dict[float, list[float]] = {}
    for run in planned:
        summary = run.run.summary()
        loss = math.inf if summary is None else float(summary["val_loss"])
        losses.setdefault(run.config.optimizer.lr, []).append(loss)
    return {lr: sum(own) / len(own) for lr, own in losses.items()}
