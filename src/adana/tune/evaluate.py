"""Turning configurations into losses: what is known is recalled, the rest is run side by side."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from adana.tune.engine import OnEvent, OnResult, Result, Work, failure, ignore
from adana.tune.trial import Config, Objective, Stopped, Trial

OnTrial = Callable[[str, Trial, bool], None]
"""Called with (name, trial, whether it was run just now rather than recalled)."""


class Runner(Protocol):
    """What the search needs of an engine (`adana.tune.engine.Engine`): to run a batch of jobs."""

    def run(
        self,
        work: Work,
        payloads: Mapping[str, Any],
        on_event: OnEvent = ...,
        on_result: OnResult = ...,
    ) -> dict[str, Result]:
        """Run every payload; return the results of those that came to an end."""


class InProcess:
    """Runs jobs in this process, one after another: for notebooks, debuggers and tests.

    Worker processes import the function they are to call, which cannot be done with one that was
    typed into a prompt.
    """

    stopped_by: int | None = None
    """None: signals are left to the caller."""

    def run(
        self,
        work: Work,
        payloads: Mapping[str, Any],
        on_event: OnEvent = ignore,
        on_result: OnResult = ignore,
    ) -> dict[str, Result]:
        """Run every payload; Ctrl-C ends it with what there is, as a `KeyboardInterrupt`."""
        results = {}
        for name, payload in payloads.items():
            try:
                result = Result(value=work(payload, functools.partial(on_event, name)))
            except Exception as error:  # the search reports it
                result = failure(error)
            results[name] = result
            on_result(name, result)
        return results


class FailedTrials(RuntimeError):
    """Some trainings crashed: there is no loss to go on with. The finished ones are kept."""

    def __init__(self, errors: Mapping[str, str], details: str = "") -> None:
        self.errors = dict(errors)
        self.details = details
        """Traceback of the first, where there is one."""
        listed = "\n".join(f"  {name}: {error}" for name, error in errors.items())
        super().__init__(
            f"{len(errors)} trainings failed, which says nothing about their settings:\n{listed}\n"
            "The finished ones are kept: run the same again to train only the rest."
            + (f"\nThe first one, in full:\n{details}" if details else "")
        )


class Evaluator:
    """Finds the losses of configurations, each once, over several seeds if so asked.

    Args:
        objective: what is tuned.
        runner: where jobs run.
        seeds: seeds of a configuration; its loss is their mean, infinite if one of them diverged.
        seeded: whether configurations have a `seed` at all. Needed for more than one seed, and to
            measure noise.
        on_event: called with (name, event) for the signs of life of a job.
        on_trial: called when a trial is known.
    """

    def __init__(
        self,
        objective: Objective,
        runner: Runner,
        *,
        seeds: int = 1,
        seeded: bool = False,
        on_event: OnEvent = ignore,
        on_trial: OnTrial = lambda _name, _trial, _fresh: None,
    ) -> None:
        self.objective, self.runner = objective, runner
        self.seeds, self.seeded = seeds, seeded or seeds > 1
        self.on_event, self.on_trial = on_event, on_trial
        self._trials_by_key: dict[str, Trial] = {}
        self._asked: dict[str, None] = {}
        self.fresh: set[str] = set()
        """Keys of those that were run by this evaluator."""

    @property
    def trials(self) -> dict[str, Trial]:
        """Every trial of this search by its key, in the order in which they were asked for.

        That order is the same however often the search was stopped.
        """
        known = self._trials_by_key
        return {key: known[key] for key in self._asked if key in known}

    def losses(self, configs: Mapping[str, Config]) -> dict[str, float]:
        """Return the loss of every configuration, by the name it has in a display.

        Raises:
            FailedTrials: a job crashed, after all others have ended.
            Stopped: the engine was interrupted.
        """
        found = self._trials(self._seeds_of(configs))
        return {
            name: _mean([found[self._label(name, seed)].loss for seed in range(self.seeds)])
            for name in configs
        }

    def unknown(self, configs: Mapping[str, Config]) -> int:
        """Return how many trials of these configurations this search does not know yet."""
        keys = {self.objective.key(config) for config in self._seeds_of(configs).values()}
        return len(keys - self._trials_by_key.keys())

    def losses_of_seeds(self, name: str, config: Config, seeds: Iterable[int]) -> list[float]:
        """Return the loss of one configuration with each of the seeds; `name` is for a display."""
        names = {f"{name} s{seed}": {**config, "seed": seed} for seed in seeds}
        found = self._trials(names)
        return [found[name].loss for name in names]

    def _seeds_of(self, configs: Mapping[str, Config]) -> dict[str, Config]:
        return {
            self._label(name, seed): {**config, "seed": seed} if self.seeded else dict(config)
            for name, config in configs.items()
            for seed in range(self.seeds)
        }

    def _label(self, name: str, seed: int) -> str:
        return f"{name} s{seed}" if self.seeds > 1 else name

    def _trials(self, configs: Mapping[str, Config]) -> dict[str, Trial]:
        keys = {name: self.objective.key(config) for name, config in configs.items()}
        self._asked |= dict.fromkeys(keys.values())
        missing: dict[str, str] = {}  # name by key: two names may have one configuration
        for name, key in keys.items():
            if key in self._trials_by_key or key in missing:
                continue
            trial = self.objective.recall(configs[name])
            if trial is None:
                missing[key] = name
            else:
                self._trials_by_key[key] = trial
                self.on_trial(name, trial, False)
        if missing:
            self._run({name: (key, configs[name]) for key, name in missing.items()})
        return {name: self._trials_by_key[key] for name, key in keys.items()}

    def _run(self, missing: Mapping[str, tuple[str, Config]]) -> None:
        """Run what is missing in one batch and keep every result as soon as it is there."""
        jobs = {name: self.objective.job(config) for name, (_, config) in missing.items()}
        errors: dict[str, str] = {}
        details: list[str] = []
        ended: set[str] = set()

        def conclude(name: str, result: Result) -> None:
            key, config = missing[name]
            trial = self.objective.record(config, result)
            if trial is None:
                return
            ended.add(name)
            if trial.error:
                errors[name] = trial.error
                details.append(result.details)
            else:
                self._trials_by_key[key] = trial
                self.fresh.add(key)
            self.on_trial(name, trial, True)

        (work,) = {work for work, _ in jobs.values()}
        payloads = {name: payload for name, (_, payload) in jobs.items()}
        self.runner.run(work, payloads, self.on_event, conclude)
        if len(ended) < len(missing):
            raise Stopped("the search was interrupted; what is finished is kept")
        if errors:
            raise FailedTrials(errors, details[0])


def _mean(losses: Sequence[float]) -> float:
    """Return the mean, which is infinite if any is."""
    return statistics.fmean(losses) if all(map(math.isfinite, losses)) else math.inf
