"""The tables of a study: what the page shows, the terminal prints and `export` writes to files.

A table's columns say how a row reads as text; `data` gives the same row as numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adana.report import words
from adana.report.budget import Cost, Spending
from adana.report.cells import Cell
from adana.report.choice import Choice
from adana.report.compare import Estimate
from adana.report.decay_table import DECAY, decay_data, with_decay
from adana.report.study import Result, Study
from adana.report.study_laws import Worth
from adana.report.study_words import separable, worth
from adana.report.tables import Column


@dataclass(frozen=True)
class Sheet:
    """A table: its name in files, its title, its columns, and a row for each thing it lists."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Any, ...]
    data: Callable[[Any], dict[str, Any]]
    """Returns a row as numbers and plain text, the same keys for every row."""

    @property
    def cells(self) -> list[list[str]]:
        """The rows as text."""
        return [[column.cell(row) for column in self.columns] for row in self.rows]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows as numbers."""
        return [self.data(row) for row in self.rows]


def _lr(result: Result) -> str:
    chosen = result.choice.chosen
    if chosen is None:
        return words.NONE
    return words.short(chosen.lr) + (" (edge)" if result.choice.edge else "")


def _optimum(choice: Choice) -> str:
    """The fitted optimum with its standard error in percent; nothing where there is no parabola."""
    bowl = choice.bowl
    if bowl is None or not bowl.convex:
        return words.NONE
    text = f"{bowl.lr:.3g}"
    return text if bowl.log_lr_se is None else f"{text} ± {100 * bowl.log_lr_se:.0f} %"


def _doubled(choice: Choice) -> str:
    """What a learning rate twice the best costs, by the parabola."""
    bowl = choice.bowl
    return words.NONE if bowl is None or not bowl.convex else f"{bowl.cost_of(2.0):.4f}"


def _loss(result: Result) -> str:
    if result.loss is not None:
        return words.estimate(result.loss)
    states = [record.state for cell in result.choice.grid for record in cell.records]
    return ", ".join(dict.fromkeys(states)) or words.NONE


RESULTS = (
    Column("optimizer", "label in the configuration", lambda r: r.label, number=False),
    Column("lr", "the learning rate chosen; edge: it is the lowest or highest one tried", _lr),
    Column("seeds", "finished runs at the chosen rate", lambda r: str(len(r.choice.losses))),
    Column(
        "val loss",
        "final validation loss, nats a token; ± is the standard error over seeds",
        _loss,
    ),
    Column(
        "vs baseline",
        "loss minus the baseline's at the same size, paired by seed; negative is better",
        lambda r: words.estimate(r.difference, sign=True),
    ),
    Column(
        "compute M",
        "compute the baseline needs for the same loss, divided by the compute used, read off the "
        "baseline's points; in brackets the 90 % interval",
        lambda r: worth(r.worth),
    ),
    Column("told apart", "whether the interval of M excludes 1", separable),
    Column(
        "with head",
        "M with the FLOPs of the output head counted, 6 (P + V d) D: in small models the head is "
        "most of what is computed, and 6 P D stretches M",
        lambda r: worth(r.worth_with_head),
    ),
    Column(
        "by time",
        "M over the time of a step in the baseline's, from the optimizers' shares of their steps: "
        "what is left of M when the clock is paid",
        lambda r: words.decimal(r.time_worth, 2),
    ),
)

NOT_IN_A_TERMINAL = ("seeds", "vs baseline", "with head", "by time")
TERMINAL = tuple(c for c in RESULTS if c.title not in NOT_IN_A_TERMINAL)
"""The columns that fit a terminal of 80 characters, one table a size."""

OF_SCALE = (
    Column("size", "parameters without embeddings", lambda r: r.scale.name),
    Column("steps", "optimizer steps T", lambda r: words.grouped(r.scale.steps)),
)

OPTIMA = (
    Column("optimizer", "label in the configuration", lambda c: c.label, number=False),
    *OF_SCALE,
    Column("tried", "learning rates tried", lambda c: str(len(c.grid))),
    Column("chosen", "the one judged at", lambda c: words.short(c.chosen.lr if c.chosen else None)),
    Column(
        "fitted",
        "lowest point of the parabola through the losses near the best rate, ± its standard error "
        "for seed noise, with the rates that it goes through taken for given: up to a third too "
        "small; for information, nothing was trained at it",
        _optimum,
    ),
    Column("twice costs", "nats lost at twice the fitted rate, by the parabola", _doubled),
    Column(
        "edge", "at which end of the rates tried the chosen one is", lambda c: c.edge or words.NONE
    ),
)

RATES = (
    Column("optimizer", "label in the configuration", lambda c: c.label, number=False),
    Column("size", "parameters without embeddings", lambda c: c.scale.name),
    Column("lr", "peak learning rate", lambda c: words.short(c.lr)),
    Column("seeds", "finished runs", lambda c: f"{len(c.finished)} of {len(c.records)}"),
    Column(
        "val loss",
        "mean final validation loss, nats a token",
        lambda c: "diverged" if c.diverged else words.decimal(_finite(c.mean), 4),
    ),
)

BUDGET = (
    Column("optimizer", "label in the configuration", lambda s: s.label, number=False),
    Column("trials", "different trainings, seeds not counted", lambda s: str(s.trials)),
    Column("runs", "all runs, also those that were lost", lambda s: str(s.runs)),
    Column("finished", "runs that ended as planned", lambda s: str(s.finished)),
    Column("diverged", "runs whose loss was no longer finite", lambda s: str(s.diverged)),
    Column(
        "other",
        "runs that failed for another reason or have not finished",
        lambda s: str(s.failed + s.unfinished),
    ),
    Column("tokens", "training tokens of all runs", lambda s: words.short_count(s.tokens)),
    Column("PFH", "6 P D in PFH (3.6e18 FLOP)", lambda s: words.short(s.compute)),
    Column(
        "device-hours",
        "hours of training times devices",
        lambda s: words.NONE if s.device_hours is None else f"{s.device_hours:.3g}",
    ),
)

TERMINAL_BUDGET = tuple(column for column in BUDGET if column.title not in ("finished", "other"))

COSTS = (
    Column("optimizer", "label in the configuration", lambda c: c.label, number=False),
    Column("size", "parameters without embeddings", lambda c: c.scale.name),
    Column(
        "ms/step",
        "the optimizer's step, median over a run, then over seeds",
        lambda c: words.decimal(c.optimizer_ms, 2),
    ),
    Column("share", "its share of the whole step", lambda c: words.percent(c.share)),
    Column("tok/s", "tokens a second", lambda c: words.grouped(c.tokens_per_second)),
    Column("state", "memory of the optimizer's state", lambda c: words.size(c.state_bytes)),
    Column(
        "peak",
        "peak memory: of the device on a GPU; on the CPU of the whole process, where one that "
        "trained several runs shows the largest so far",
        lambda c: words.size(c.peak_memory_bytes),
    ),
)


def _finite(value: float) -> float | None:
    return value if value - value == 0 else None


def sheets(study: Study) -> tuple[Sheet, ...]:
    """Return all tables of a study."""
    grid = tuple(cell for choice in study.choices for cell in choice.grid)
    return (
        Sheet(
            "results",
            "Results",
            (RESULTS[0], *OF_SCALE, *RESULTS[1:]),
            study.results,
            _result_data,
        ),
        Sheet("optima", "Best learning rates", OPTIMA, study.choices, _optimum_data),
        Sheet("rates", "Learning rates", RATES, grid, _rate_data),
        Sheet("budget", "Budget", BUDGET, study.spending, _budget_data),
        Sheet("cost", "Cost of the optimizers", COSTS, study.costs, _cost_data),
        Sheet("decay", "Weight decay", DECAY, with_decay(study.choices), decay_data),
    )


def _scale_data(row: Result | Choice | Cell | Cost) -> dict[str, Any]:
    scale = row.scale
    return {
        "optimizer": row.label,
        "parameters": scale.parameters,
        "all_parameters": scale.all_parameters,
        "steps": scale.steps,
        "tokens": scale.tokens,
        "compute_pfh": scale.compute,
    }


def _estimate_data(name: str, value: Estimate | None) -> dict[str, Any]:
    found = (None, None) if value is None else (value.mean, value.error)
    return {name: found[0], f"{name}_se": found[1]}


def _with_head_data(found: Worth | None) -> dict[str, Any]:
    return {
        "multiplier_with_head": found.value if found else None,
        "multiplier_with_head_low": found.low if found else None,
        "multiplier_with_head_high": found.high if found else None,
    }


def _result_data(result: Result) -> dict[str, Any]:
    choice, found = result.choice, result.worth
    return {
        **_scale_data(result),
        "lr": choice.chosen.lr if choice.chosen else None,
        "edge": choice.edge,
        "seeds": len(choice.losses),
        **_estimate_data("loss", result.loss),
        **_estimate_data("difference", result.difference),
        "multiplier": found.value if found else None,
        "multiplier_low": found.low if found else None,
        "multiplier_high": found.high if found else None,
        **_with_head_data(result.worth_with_head),
        "multiplier_by_time": result.time_worth,
        "separable": separable(result) if found else None,
        "run_identities": " ".join(
            record.identity for record in (choice.chosen.finished if choice.chosen else ())
        ),
    }


def _optimum_data(choice: Choice) -> dict[str, Any]:
    bowl = choice.bowl if choice.bowl is not None and choice.bowl.convex else None
    return {
        **_scale_data(choice),
        "rates_tried": len(choice.grid),
        "lr": choice.chosen.lr if choice.chosen else None,
        "edge": choice.edge,
        "fitted_lr": bowl.lr if bowl else None,
        "fitted_lr_log_se": bowl.log_lr_se if bowl else None,
        "fitted_loss": bowl.loss if bowl else None,
        "curvature": bowl.curvature if bowl else None,
        "note": choice.bowl.note if choice.bowl else "no rate has a finite loss",
    }


def _rate_data(cell: Cell) -> dict[str, Any]:
    return {
        **_scale_data(cell),
        "lr": cell.lr,
        "runs": len(cell.records),
        "finished": len(cell.finished),
        "diverged": cell.diverged,
        "mean_loss": _finite(cell.mean),
    }


def _budget_data(spent: Spending) -> dict[str, Any]:
    keys = ("trials", "runs", "finished", "diverged", "failed", "unfinished", "tokens")
    return {
        "optimizer": spent.label,
        **{key: getattr(spent, key) for key in keys},
        "compute_pfh": spent.compute,
        "device_hours": spent.device_hours,
    }


def _cost_data(cost: Cost) -> dict[str, Any]:
    keys = ("optimizer_ms", "step_ms", "tokens_per_second", "state_bytes", "peak_memory_bytes")
    return {
        **_scale_data(cost),
        **{key: getattr(cost, key) for key in keys},
        "devices": "; ".join(cost.devices),
    }


def of_scales(study: Study) -> Sequence[tuple[str, tuple[Result, ...]]]:
    """Return a heading and the results of each scale."""
    return [
        (
            scale.heading + ("" if scale.compute is None else f", {scale.compute:.3g} PFH"),
            study.at(scale),
        )
        for scale in study.scales
    ]
