"""Tuning at one scale or several: each from the best of the one before, and one result.

What happens at one scale: `scale_search.py`. Here is what joins them: where each begins, the values
of one tried at the others, and the verdicts.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from adana.runs import write_json
from adana.searches import RESULT
from adana.tune.budget import Budget, budget_of
from adana.tune.engine import OnEvent, ignore
from adana.tune.evaluate import Evaluator, InProcess, Runner
from adana.tune.local import LocalEngine
from adana.tune.meter import Meter, OnProgress
from adana.tune.noise import noise_floor
from adana.tune.problem import Problem, Rules
from adana.tune.result import ScaleResult, StudyResult
from adana.tune.scale import Scale, nearest
from adana.tune.scale_search import ScaleSearch
from adana.tune.sensitivity import common_values, sensitivities
from adana.tune.space import Parameter, Space, baseline_of, starting_at
from adana.tune.sweep import Sweep, label
from adana.tune.trial import Config, FunctionObjective, Objective, check_importable


def tune(
    objective: Callable[[dict[str, Any]], float] | Objective,
    space: Space,
    *,
    fixed: Config | None = None,
    folder: Path | str | None = None,
    rules: Rules | None = None,
    runner: Runner | None = None,
    workers: int = 1,
    on_progress: OnProgress = lambda _progress: None,
) -> ScaleResult:
    """Tune any training by coordinate descent over grids.

    Args:
        objective: a top-level function `config -> loss` (it runs in other processes; NaN or an
            infinity says that it diverged, an exception that it crashed), or an `Objective`.
        space: the hyperparameters, in the order in which they are tried.
        fixed: what else the configurations hold.
        folder: where results are kept: `trials.jsonl`, from which the same call goes on wherever it
            was killed, and at the end `result.json`. Default: nowhere.
        rules: seeds, thresholds, joint checks.
        runner: where trainings run; default `workers` processes on this machine.
        workers: trainings at a time; 0 runs them in this process, one after another, which is what
            a function typed into a notebook needs.
        on_progress: called with how far the search is.

    Raises:
        ValueError: the space or the rules are not valid, or worker processes cannot import the
            function.
        RuntimeError: every value of a hyperparameter diverged.
        FailedTrials: a training crashed; the others are kept.
        Stopped: interrupted (Ctrl-C); what is finished is kept.
    """
    folder = None if folder is None else Path(folder)
    if callable(objective):
        objective = FunctionObjective(objective, folder / "trials.jsonl" if folder else None)
    if isinstance(objective, FunctionObjective) and runner is None and workers:
        check_importable(objective.function)
    problem = Problem(objective, space, fixed=fixed or {})
    study = tune_scales([problem], rules, runner=runner, workers=workers, on_progress=on_progress)
    result = study.scales[0]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RESULT, result.to_dict())
    return result


def tune_scales(
    problems: Sequence[Problem],
    rules: Rules | None = None,
    *,
    runner: Runner | None = None,
    workers: int = 1,
    known: Mapping[Scale, Config] | None = None,
    on_progress: OnProgress = lambda _progress: None,
    on_event: OnEvent = ignore,
) -> StudyResult:
    """Tune at several scales, the cheapest first, each from the best values of the nearest before.

    At the end every value that is near-optimal at one scale is tried at the others, so that the
    verdicts on sensitivity rest on trainings. `known` are the best configurations of scales tuned
    earlier, which the first of this search may begin from.

    Raises:
        ValueError: no problem was given, or two scales have one name; else as `tune`.
    """
    rules = rules or Rules()
    names = [problem.scale.name for problem in problems]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected scales with different names, got {names}")
    for problem in problems:
        _check_pairs(rules, problem.space)
    order = sorted(problems, key=lambda problem: problem.scale.work)
    meter = Meter(order, rules, on_progress)
    with _runner(runner, workers) as own:
        search = _Search(rules, own, meter, on_event)
        search.known |= known or {}
        for problem in order:
            search.tune_one(problem)
        return search.conclude()


@contextlib.contextmanager
def _runner(given: Runner | None, workers: int) -> Iterator[Runner]:
    """Give what was given, or worker processes for the time of the search."""
    if given is not None or not workers:
        yield given or InProcess()
        return
    with LocalEngine(workers) as engine:
        yield engine


def _check_pairs(rules: Rules, space: Space) -> None:
    names = list(baseline_of(space))
    for pair in rules.joint:
        if not set(pair) <= set(names):
            raise ValueError(
                f"the joint check of {' and '.join(pair)} needs both in the search space, "
                f"which has {', '.join(names)}"
            )
        without = [p.name for p in space if p.name in pair and not p.ordered]
        if without:
            raise ValueError(
                f"the joint check of {' and '.join(pair)} looks at neighbouring values, which "
                f"{without[0]}, a choice, does not have; name two numbers"
            )


class _Search:
    """What all scales of a search share."""

    def __init__(self, rules: Rules, runner: Runner, meter: Meter, on_event: OnEvent) -> None:
        self.rules, self.runner, self.meter, self.on_event = rules, runner, meter, on_event
        self.bests: dict[Scale, Config] = {}
        self.results: dict[Scale, ScaleResult] = {}
        self.evaluators: dict[Scale, Evaluator] = {}
        self.noise: dict[Scale, list[float]] = {}
        self.problems: dict[Scale, Problem] = {}
        self.known: dict[Scale, Config] = {}

    def tune_one(self, problem: Problem) -> None:
        """Tune at one scale, from the best values of the nearest one that is known."""
        scale = problem.scale
        evaluator = Evaluator(
            problem.objective,
            self.runner,
            seeds=self.rules.seeds,
            seeded=self.rules.noise_seeds > 1,
            on_event=self.on_event,
            on_trial=self.meter.on_trial,
        )
        self.evaluators[scale], self.problems[scale] = evaluator, problem
        self.meter.begin_scale(scale)
        # What this search found comes first: it is the same whatever was searched before.
        bests = self.bests or self.known
        source = nearest(scale, (other for other in bests if scale.distance(other) > 0))
        values = bests[source] if source else {}
        space: Sequence[Parameter] = starting_at(problem.space, values)
        start = {**problem.fixed, **{own.name: own.baseline for own in space}}
        elsewhere = [*self.noise.values()]
        search = ScaleSearch(evaluator, self.rules, self.meter, elsewhere)
        found = search.run(space, start)
        self.noise[scale] = search.noise
        self.results[scale] = ScaleResult(
            scale=scale,
            start=start,
            warm_start=source.name if source else "",
            best=found.descent.best,
            loss=found.descent.loss,
            seeds=self.rules.seeds,
            descent=found.descent,
            joints=found.joints,
            combinations=found.combinations,
            floor=found.floor,
            budget=Budget(),
        )
        self.bests[scale] = found.descent.best

    def conclude(self) -> StudyResult:
        """Fill in what the verdicts need, and put everything together."""
        rules = self.rules
        floor = noise_floor([*self.noise.values()], rules.seeds, rules.delta1, rules.delta2)
        sweeps = {scale: dict(result.descent.sweeps) for scale, result in self.results.items()}
        if len(sweeps) > 1:
            self._fill(sweeps, floor.delta2)
        results = []
        for scale, result in self.results.items():
            evaluator = self.evaluators[scale]
            budget = budget_of(evaluator.trials.values(), len(evaluator.fresh))
            results.append(
                dataclasses.replace(
                    result, sweeps=sweeps[scale], budget=budget, trials=dict(evaluator.trials)
                )
            )
        self.meter.end()
        return StudyResult(tuple(results), sensitivities(sweeps, floor.delta2), floor)

    def _fill(self, sweeps: dict[Scale, dict[str, Sweep]], delta2: float) -> None:
        """Try at every scale the values that are near-optimal at another and were not tried."""
        missing = {scale: self._missing(scale, sweeps, delta2) for scale in sweeps}
        counts = {
            scale: sum(self.evaluators[scale].unknown(configs) for configs in own.values())
            for scale, own in missing.items()
        }
        self.meter.begin_filling(counts)
        for scale, own in missing.items():
            self.meter.fill_scale(scale)
            for name, configs in own.items():
                sweeps[scale][name] = self._longer(scale, sweeps[scale][name], configs)

    def _missing(
        self, scale: Scale, sweeps: Mapping[Scale, Mapping[str, Sweep]], delta2: float
    ) -> dict[str, dict[str, Config]]:
        """Return the configurations to try at a scale, by hyperparameter and by label.

        None beyond its limits, such as a warm-up longer than its training, and none of what has one
        value that is near-optimal everywhere already.
        """
        missing: dict[str, dict[str, Config]] = {}
        for parameter in self.problems[scale].space:
            several = {s: own[parameter.name] for s, own in sweeps.items() if parameter.name in own}
            if len(several) < len(sweeps) or common_values(several, delta2):
                continue
            wanted = {v: None for own in several.values() for v in own.near_optimal(delta2)}
            tried, base = several[scale].values, self.results[scale].best
            missing[parameter.name] = {
                label(parameter.name, v): {**base, parameter.name: v}
                for v in wanted
                if v not in tried and parameter.allows(v)
            }
        return {name: configs for name, configs in missing.items() if configs}

    def _longer(self, scale: Scale, own: Sweep, configs: Mapping[str, Config]) -> Sweep:
        found = self.evaluators[scale].losses(configs)
        losses = dict(zip(own.values, own.losses, strict=True))
        losses |= {config[own.name]: found[name] for name, config in configs.items()}
        numbers = all(isinstance(value, int | float) for value in losses)
        values = tuple(sorted(losses)) if numbers else tuple(losses)
        return dataclasses.replace(
            own, values=values, losses=tuple(losses[value] for value in values)
        )
