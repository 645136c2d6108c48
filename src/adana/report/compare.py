"""What a set of runs says about their optimizers, as data: no rendering, no training.

Runs that share an optimizer label and a number of steps are a group: the same training with other
seeds. Optimizers are compared at the longest horizon that all of them have; the baseline's other
horizons measure how much compute a difference in loss is worth. A run that diverged, or has not
finished, stays in the comparison as that: leaving it out would flatter its optimizer.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from adana.laws import (
    Multiplier,
    Observation,
    compute_multiplier,
    mean_and_standard_error,
    steps_to_reach,
)
from adana.report.reading import read_runs
from adana.report.records import CADENCE_SUFFIX, Record, flatten, number
from adana.report.sweep import Trial
from adana.runs import NOT_IDENTITY, Run, RunError, science

OWN_KEYS = frozenset({"version", "seed", "steps", "optimizer", "schedule"}) | NOT_IDENTITY
"""Top-level parts of a configuration in which runs of one comparison may differ."""


@dataclass(frozen=True)
class Group:
    """The runs of one optimizer at one horizon; they differ in their seed only."""

    label: str
    steps: int
    records: tuple[Record, ...]
    multiplier: Multiplier | None = None

    @property
    def finished(self) -> tuple[Record, ...]:
        """The runs that ended as planned."""
        return tuple(record for record in self.records if record.finished)

    @property
    def observation(self) -> Observation | None:
        """The final losses and their compute (PFH); None if no run finished or none says it."""
        computes = _numbers(self.finished, "compute")
        if not computes:
            return None
        return Observation(computes[0], tuple(record.loss for record in self.finished))


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` seeds and its standard error, which one seed does not have."""

    mean: float
    error: float | None
    count: int


class LeftOut(NamedTuple):
    """Why something that was to be compared has no run in the comparison."""

    ended: str
    """In a few words, for a cell of a table: ``diverged at every rate``."""
    reason: str
    """In full."""


@dataclass(frozen=True)
class Row:
    """One optimizer at the main horizon. None means: not known from these runs."""

    label: str
    learning_rate: float | None
    seeds: int
    """Finished runs."""
    loss: Estimate | None
    """Final validation loss, nats a token."""
    sampling_error: float | None
    """Standard error of one run's loss because the validation set is a sample."""
    difference: Estimate | None
    """Loss minus the baseline's, paired by seed."""
    perplexity: float | None
    bits_per_byte: float | None
    tokens_to_baseline: float | None
    """Tokens after which the loss first reached the baseline's final one, mean over seeds.
    A mid-schedule diagnostic: see `adana.laws.steps_to_reach`."""
    share_to_baseline: float | None
    """The same as a fraction of the baseline's tokens."""
    reached: int
    """Seeds that reached it; tokens and share are None unless all did."""
    multiplier: Multiplier | None
    tokens_per_second: float | None
    optimizer_ms: float | None
    state_bytes: float | None
    peak_memory_bytes: float | None
    failures: tuple[Record, ...]
    ended: str = ""
    """Why there is no run of it at all, in a few words; empty if there are some."""


@dataclass(frozen=True)
class Comparison:
    """Everything the tables, charts and the report show. Labels are ordered, baseline first."""

    baseline: str
    steps: int
    rows: tuple[Row, ...]
    groups: tuple[Group, ...]
    sweep: tuple[Trial, ...] = ()
    """The trials that the learning rates were chosen from, if there was a sweep."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where each label's learning rate comes from, in words."""
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    """What was to be compared and has no run here, by name."""
    remarks: tuple[str, ...] = ()
    """What of the runs was left out or is doubtful (`adana.report.reading`)."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The optimizers' labels."""
        return tuple(row.label for row in self.rows)

    @property
    def all_rows(self) -> tuple[Row, ...]:
        """The rows, and after them one for each name that was left out."""
        lost = (_lost_row(name, why.ended) for name, why in self.left_out.items())
        return (*self.rows, *lost)

    @property
    def records(self) -> tuple[Record, ...]:
        """All runs."""
        return tuple(record for group in self.groups for record in group.records)

    @property
    def failures(self) -> tuple[Record, ...]:
        """The runs that did not finish, at any horizon."""
        return tuple(record for record in self.records if not record.finished)

    @property
    def main(self) -> tuple[Group, ...]:
        """The groups at the main horizon, in the order of the rows."""
        return tuple(group for group in self.groups if group.steps == self.steps)

    def horizons(self, label: str) -> tuple[Group, ...]:
        """Return the groups of one optimizer, shortest first."""
        return tuple(group for group in self.groups if group.label == label)


def compare(
    runs: Sequence[Run],
    baseline: str,
    sweep: Sequence[Trial] = (),
    sources: Mapping[str, str] | None = None,
    *,
    left_out: Mapping[str, LeftOut] | None = None,
) -> Comparison:
    """Read `runs` and compare their optimizers with the one labelled `baseline`.

    `sweep` holds the trials that the learning rates were chosen from; it is shown, not used.
    `sources` says in words where each label's rate comes from; by default what the first run was
    started with, which may be another reason for the same rate. `left_out` names what should have
    been compared too and has no run among `runs`, which the tables then say.

    Raises `RunError` where the runs cannot be compared: the baseline is missing, no horizon is
    shared, models or data differ, or one label stands for several settings.
    """
    reading = read_runs(runs)
    records = reading.records
    labels = list(dict.fromkeys(record.label for record in records))
    if baseline not in labels:
        raise RunError(
            f"no run has the baseline's label {baseline!r}; the runs have "
            f"{', '.join(map(repr, labels)) or 'no labels: there are no runs'}. "
            "Name one of them with --baseline, or train it first."
        )
    _check_comparable(records)
    labels = [baseline, *(label for label in labels if label != baseline)]
    groups = [group for label in labels for group in _groups(label, records)]
    steps = _main_horizon(groups, labels)
    groups = _with_multipliers(groups, baseline)
    main = [group for group in groups if group.steps == steps]
    rows = tuple(_row(group, main[0]) for group in main)
    found = {group.label: _lr_source(group.records[0].config) for group in main}
    sources = {label: text for label, text in (found | dict(sources or {})).items() if text}
    lost = dict(left_out or {})
    return Comparison(
        *(baseline, steps, rows, tuple(groups), tuple(sweep), sources, lost),
        remarks=reading.remarks,
    )


def _lr_source(config: Mapping[str, Any]) -> str:
    return str((config.get("provenance") or {}).get("lr", ""))


def _numbers(records: Iterable[Record], key: str) -> list[float]:
    found = (number(record.summary, key) for record in records)
    return [value for value in found if value is not None]


def _common(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that must agree for losses to be comparable."""
    shared = {key: value for key, value in science(config).items() if key not in OWN_KEYS}
    flat = flatten(shared)
    return {key: value for key, value in flat.items() if not key.endswith(CADENCE_SUFFIX)}


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Name the keys in which two flat configurations differ, with both values; empty if none."""
    missing = "(absent)"
    pairs = {key: (first.get(key, missing), second.get(key, missing)) for key in {*first, *second}}
    return ", ".join(
        f"{key}: {one!r} and {other!r}" for key, (one, other) in sorted(pairs.items())
        if one != other
    )  # fmt: skip


def _check_comparable(records: Sequence[Record]) -> None:
    first = records[0]
    for record in records[1:]:
        differing = _differing(_common(first.config), _common(record.config))
        if differing:
            raise RunError(
                f"runs {first.name} and {record.name} cannot be compared, they differ in "
                f"{differing}. Name only run directories that share everything but the optimizer, "
                "its schedule, the seed and the steps."
            )


def _groups(label: str, records: Iterable[Record]) -> list[Group]:
    """Return the groups of one label, shortest horizon first."""
    by_steps: dict[int, list[Record]] = {}
    for record in records:
        if record.label == label:
            by_steps.setdefault(record.steps, []).append(record)
    for group in by_steps.values():
        _check_group(group)
    return [
        Group(label, steps, tuple(sorted(by_steps[steps], key=lambda record: record.seed)))
        for steps in sorted(by_steps)
    ]


def _check_group(records: Sequence[Record]) -> None:
    """Refuse one label for several settings, and one seed counted twice."""
    seen: dict[int, Record] = {}
    first = records[0]
    for record in records:
        settings = [
            flatten({key: run.config.get(key) or {} for key in ("optimizer", "schedule")})
            for run in (first, record)
        ]
        if differing := _differing(*settings):
            if "optimizer.code" in differing:
                raise RunError(
                    f"runs {first.name} and {record.name} are of the same optimizer "
                    f"{record.label!r}, whose code changed in between. Name only the run "
                    "directories of one of the two (optimizer.code in their config.json), or give "
                    "every version --runs of its own"
                )
            raise RunError(
                f"runs {first.name} and {record.name} are both labelled {record.label!r} but "
                f"differ in {differing}. Name only the run directories that belong together: "
                "after a sweep, those at one learning rate."
            )
        if record.seed in seen:
            raise RunError(
                f"runs {seen[record.seed].place} and {record.place} are both {record.label!r} "
                f"with seed {record.seed} and {record.steps} steps, and did not end alike. Leave "
                "one out: a seed counts once."
            )
        seen[record.seed] = record


def _main_horizon(groups: Sequence[Group], labels: Sequence[str]) -> int:
    """Return the largest number of steps that every label was trained for."""
    steps = {label: {group.steps for group in groups if group.label == label} for label in labels}
    shared = set.intersection(*steps.values())
    if not shared:
        found = "; ".join(f"{label}: {sorted(steps[label])}" for label in labels)
        raise RunError(
            f"the optimizers share no number of steps ({found}). Train all of them once for the "
            "same number of steps."
        )
    return max(shared)


def _with_multipliers(groups: Sequence[Group], baseline: str) -> list[Group]:
    """Attach the compute multiplier to every candidate's group that finished."""
    known = [group.observation for group in groups if group.label == baseline]
    measured = [observation for observation in known if observation is not None]
    return [
        group
        if group.label == baseline or not measured or (seen := group.observation) is None
        else Group(group.label, group.steps, group.records, compute_multiplier(seen, measured))
        for group in groups
    ]


def _row(group: Group, baseline: Group) -> Row:
    done = group.finished
    is_baseline = group.label == baseline.label
    reached, tokens, share = _tokens_to_baseline(group, baseline)
    return Row(
        label=group.label,
        learning_rate=number(group.records[0].config["optimizer"], "lr"),
        seeds=len(done),
        loss=_estimate([record.loss for record in done]),
        sampling_error=_average(done, "val_loss_document_se", statistics.fmean),
        difference=None if is_baseline else _difference(group, baseline),
        perplexity=_average(done, "perplexity", statistics.fmean),
        bits_per_byte=_average(done, "bits_per_byte", statistics.fmean),
        tokens_to_baseline=tokens,
        share_to_baseline=1.0 if is_baseline and done else share,
        reached=reached,
        multiplier=group.multiplier,
        tokens_per_second=_average(done, "tokens_per_second", statistics.median),
        optimizer_ms=_average(done, "optimizer_ms", statistics.median),
        state_bytes=_average(done, "optimizer_state_bytes", statistics.median),
        peak_memory_bytes=_average(done, "peak_memory_bytes", statistics.median),
        failures=tuple(record for record in group.records if not record.finished),
    )


def _lost_row(name: str, ended: str) -> Row:
    """Return the row of what has no run: nothing is known but how it ended."""
    values: dict[str, Any] = {each.name: None for each in fields(Row)}
    return Row(**values | {"label": name, "seeds": 0, "reached": 0, "failures": (), "ended": ended})


def _estimate(values: Sequence[float]) -> Estimate | None:
    return Estimate(*mean_and_standard_error(values), len(values)) if values else None


def _average(
    records: Iterable[Record], key: str, average: Callable[[Sequence[float]], float]
) -> float | None:
    values = _numbers(records, key)
    return float(average(values)) if values else None


def _difference(group: Group, baseline: Group) -> Estimate | None:
    """Return the mean loss difference over the seeds that finished with both optimizers."""
    reference = {record.seed: record.loss for record in baseline.finished}
    paired = [
        record.loss - reference[record.seed]
        for record in group.finished
        if record.seed in reference
    ]
    return _estimate(paired)


def _tokens_to_baseline(group: Group, baseline: Group) -> tuple[int, float | None, float | None]:
    """Return how many seeds reached the baseline's final loss, and after which tokens and share."""
    targets = [_last_evaluation(record) for record in baseline.finished]
    budgets = [record.evaluations[-1].tokens for record in baseline.finished if record.evaluations]
    if not targets or not budgets or not group.finished:
        return 0, None, None
    target = statistics.fmean(targets)
    found = [
        steps_to_reach(
            [point.tokens for point in record.evaluations],
            [point.loss for point in record.evaluations],
            target,
        )
        for record in group.finished
    ]
    reached = [tokens for tokens in found if tokens is not None]
    if len(reached) < len(found):
        return len(reached), None, None
    tokens = statistics.fmean(reached)
    return len(reached), tokens, tokens / statistics.fmean(budgets)


def _last_evaluation(record: Record) -> float:
    """Return the final loss as the periodic evaluation saw it, the estimator of the curves."""
    last = record.evaluations[-1] if record.evaluations else None
    return last.loss if last is not None and last.step == record.steps else record.loss
