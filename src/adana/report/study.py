"""What the runs of a whole study say: several sizes, optimizers, learning rates and seeds.

>>> study = read_study(find_runs(Path("runs/ladder")), baseline="adamw")     # doctest: +SKIP
>>> write_study(study, Path("report"))                                       # doctest: +SKIP

The losses that count are those of the chosen learning rates (`adana.report.choice.RULE`). Over
sizes they are a curve for each optimizer, from which `adana.laws` reads loss laws and compute
multipliers. This module brings the parts together; it renders nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adana.laws import mean_and_standard_error
from adana.laws.curves import Curve
from adana.report.budget import Cost, Spending, costs, spending
from adana.report.cells import Cell, Scale, sort_cells
from adana.report.choice import Choice, Sensitivity, choose, sensitivities
from adana.report.compare import Estimate
from adana.report.reading import read_runs
from adana.report.records import Record
from adana.report.study_laws import Findings, Worth, curves_of, find_laws, find_with_head, ladder
from adana.runs import Run, RunError


@dataclass(frozen=True)
class Result:
    """One optimizer at one scale, at its chosen learning rate. None means: the runs do not say."""

    choice: Choice
    loss: Estimate | None
    """Final validation loss over seeds, nats a token."""
    difference: Estimate | None
    """Loss minus the baseline's at this scale, paired by seed."""
    worth: Worth | None
    """The compute multiplier here, read off the baseline's own points."""
    worth_with_head: Worth | None
    """The same with the FLOPs of the output head counted."""
    time_worth: float | None
    """The same by the clock: over the time of this optimizer's step in the baseline's."""

    @property
    def label(self) -> str:
        """The optimizer's label."""
        return self.choice.label

    @property
    def scale(self) -> Scale:
        """The model and the training length."""
        return self.choice.scale


@dataclass(frozen=True)
class Study:
    """Everything the tables, charts and the page of a study show. The baseline comes first."""

    baseline: str
    labels: tuple[str, ...]
    scales: tuple[Scale, ...]
    """All models and lengths, by compute."""
    ladder: tuple[Scale, ...]
    """Those that the curves over compute go through."""
    cells: tuple[Cell, ...]
    results: tuple[Result, ...]
    """By scale, then label."""
    curves: Mapping[str, Curve]
    findings: Findings
    sensitivities: tuple[Sensitivity, ...]
    spending: tuple[Spending, ...]
    costs: tuple[Cost, ...]
    remarks: tuple[str, ...] = ()
    """What of the runs was left out or is doubtful (`adana.report.reading`)."""

    @property
    def records(self) -> tuple[Record, ...]:
        """All runs."""
        return tuple(record for cell in self.cells for record in cell.records)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What each optimizer is judged at, by scale."""
        return tuple(result.choice for result in self.results)

    def at(self, scale: Scale) -> tuple[Result, ...]:
        """Return the results of one scale, baseline first."""
        return tuple(result for result in self.results if result.scale == scale)


def is_study(runs: Sequence[Run]) -> bool:
    """Whether these runs are a study: several models, or several learning rates of one optimizer.

    Runs of one model at one learning rate for each optimizer are a comparison
    (`adana.report.compare`).
    """
    models: set[str] = set()
    rates: dict[Any, set[Any]] = {}
    for run in runs:
        config = run.config()
        optimizer = config.get("optimizer") or {}
        label = optimizer.get("label") or optimizer.get("name")
        models.add(repr(config.get("model")))
        rates.setdefault(label, set()).add(optimizer.get("lr"))
    return len(models) > 1 or any(len(own) > 1 for own in rates.values())


def read_study(runs: Sequence[Run], baseline: str) -> Study:
    """Read `runs` and find what they say about their optimizers against `baseline`.

    Raises:
        RunError: no run has the baseline's label, or losses cannot be compared: other data,
            vocabulary or evaluation, one label for two optimizers, or one training twice.
    """
    reading = read_runs(runs)
    cells = sort_cells(reading.records) if reading.records else []
    labels = sorted({cell.label for cell in cells})
    if baseline not in labels:
        raise RunError(
            f"no run has the baseline's label {baseline!r}; the runs have "
            f"{', '.join(map(repr, labels)) or 'no labels: there are no runs'}. "
            "Name one of them with --baseline, or train it first."
        )
    labels = [baseline, *(label for label in labels if label != baseline)]
    cells.sort(key=lambda cell: (*cell.scale.order, labels.index(cell.label), cell.lr))
    choices = sorted(choose(cells), key=lambda c: (*c.scale.order, labels.index(c.label)))
    scales = tuple(dict.fromkeys(cell.scale for cell in cells))
    rungs = ladder(scales)
    curves = curves_of(choices, rungs, labels)
    findings = find_laws(curves, baseline)
    with_head = find_with_head(choices, rungs, labels)
    cost = costs(choices)
    by_label = sorted(cells, key=lambda cell: labels.index(cell.label))
    return Study(
        baseline=baseline,
        labels=tuple(labels),
        scales=scales,
        ladder=rungs,
        cells=tuple(cells),
        results=tuple(
            _result(choice, choices, baseline, (findings, with_head), cost) for choice in choices
        ),
        curves=curves,
        findings=findings,
        sensitivities=sensitivities(by_label),
        spending=spending(by_label),
        costs=cost,
        remarks=reading.remarks,
    )


def _result(
    choice: Choice,
    choices: Sequence[Choice],
    baseline: str,
    findings: tuple[Findings, Findings],
    cost: Sequence[Cost],
) -> Result:
    losses = choice.losses
    worth = findings[0].at(choice.label, choice.scale.compute)
    here = {c.label: c for c in cost if c.scale == choice.scale}
    own, reference = here.get(choice.label), here.get(baseline)
    slower = own.time_against(reference) if own and reference else None
    value = worth.value if worth else None
    return Result(
        choice=choice,
        loss=Estimate(*mean_and_standard_error(losses), len(losses)) if losses else None,
        difference=None if choice.label == baseline else _difference(choice, choices, baseline),
        worth=worth,
        worth_with_head=findings[1].at(choice.label, choice.scale.with_head),
        time_worth=value / slower if value and slower else None,
    )


def _difference(choice: Choice, choices: Sequence[Choice], baseline: str) -> Estimate | None:
    """Return the mean loss difference over the seeds that finished with both optimizers."""
    other = [c for c in choices if c.label == baseline and c.scale == choice.scale]
    if choice.chosen is None or not other or other[0].chosen is None:
        return None
    reference = other[0].chosen.losses
    paired = [
        loss - reference[seed] for seed, loss in choice.chosen.losses.items() if seed in reference
    ]
    return Estimate(*mean_and_standard_error(paired), len(paired)) if paired else None
