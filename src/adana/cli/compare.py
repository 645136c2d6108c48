"""`adana compare`: several optimizers on the same data from the same weights, and a report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from adana.checks import check_range
from adana.cli.choices import configure
from adana.cli.engine_flags import EngineFlags
from adana.cli.execute import FailedRuns, Failure, train_all
from adana.cli.prepare import prepare_with_bar
from adana.cli.report import write_comparison
from adana.cli.run_folders import check_folder
from adana.cli.settings import Settings, describe
from adana.cli.terminal import print_rows, say, unbreakable
from adana.cli.tuned import check_flags, on_new_seeds, refuse_rates, tuned_config
from adana.data import Shards
from adana.ladder import (
    Candidate,
    PlannedRun,
    Rate,
    RuleBook,
    candidate,
    folder_name,
    labels,
    open_rules,
    plan_run,
    plan_seeds_and_horizons,
    read_bests,
    refuse_equal,
    sweep_rates,
    with_optimizer,
)
from adana.report import LeftOut, Trial, best_of_nothing, read_trials, sweep_edges, sweep_table
from adana.runs import folder_key
from adana.searches import Search
from adana.train import (
    HYPERPARAMETERS,
    TrainConfig,
    optimizer_entry,
    optimizer_names,
    refuse_unread,
)


@dataclass(frozen=True)
class CompareArguments(EngineFlags, Settings):
    """Train the same model with several optimizers and report the difference honestly.

    All runs see the same data in the same order from the same initial weights; each optimizer has
    its own peak learning rate. Finished runs are reused, interrupted ones go on. Writes one HTML
    report that works offline, and the same numbers as Markdown and JSON.
        adana compare adamw adana --sweep-lr 5                the best of five rates for each
        adana compare adamw adana adana:kappa=0.9,delta=4     one of them twice
        adana compare adamw adana --tuned runs/tune-*         what searches found, on other seeds
    """

    optimizers: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(
            help="The first one is the baseline. NAME:KEY=VALUE,KEY=VALUE for one with values of "
            f"its own, as adana:kappa=0.9,omega=8. Known: {', '.join(optimizer_names())}."
        ),
    ] = ("adamw", "adana")
    lr: tuple[str, ...] = ()
    """Peak learning rates as NAME=VALUE. Default: a rule, printed with its source."""
    sweep_lr: int = 0
    """Try this many learning rates per optimizer, by factors of 2 around the rule's (or --lr's),
    with the first seed, and take the best."""
    tuned: tuple[Path, ...] = ()
    """Folders of searches (`adana tune`): their optimizers get what was found, with schedule and
    clip, tuned or not. Seeds are then those above all that a search has trained, since a search
    flatters what it ends at."""
    seeds: int = 2
    """Seeds per optimizer, counted up from --seed."""
    horizons: tuple[float, ...] = (1.0,)
    """The baseline is also trained for these multiples of --steps, its warm-up stretched with them:
    the compute multiplier is read off its final losses. Say 1 1.25 1.5."""
    jobs: int | None = None
    """Trainings at a time. Default: one per --threads cores on the CPU, one on each GPU."""
    output: Path | None = None
    """Folder of the report. Default: RUNS/compare-NAMES-KEY, the key made of the runs."""


def compare_command(arguments: CompareArguments) -> int:
    """Run `adana compare`; return the exit code."""
    console = unbreakable(Console())
    check_arguments(arguments)
    arguments = dataclasses.replace(arguments, optimizers=labels(arguments.optimizers))
    rates = given_rates(arguments.lr, arguments.optimizers)
    bests = read_bests(arguments.tuned, arguments.optimizers, lambda text: say(console, text))
    refuse_rates([*rates], bests)
    rules = open_rules(arguments.rules)
    rules.check_used([candidate(label).name for label in arguments.optimizers])
    shards = prepare_with_bar(arguments.data_config(), console)
    comparison = _Comparison(arguments, rules, shards, console)
    configs = comparison.configure(rates, bests)
    if arguments.sweep_lr:
        configs = comparison.sweep(configs)
    planned = comparison.train(configs) if configs else []
    if not planned:
        console.print("Stopped. The same command goes on where it was.")
        return comparison.code
    baseline = arguments.optimizers[0]
    sources = {name: config.provenance["lr"] for name, config in configs.items()}
    write_comparison(
        [p.run for p in planned],
        baseline,
        arguments.output or default_output(arguments, planned),
        console,
        sweep=comparison.trials,
        sources=sources,
        left_out=comparison.left_out,
    )
    if comparison.failures:
        raise FailedRuns(comparison.failures)
    return 0


def default_output(arguments: CompareArguments, planned: Sequence[PlannedRun]) -> Path:
    """Return a folder of its own for every set of runs, so that no report replaces another."""
    names = sorted(p.path.name for p in planned)
    title = "-".join(folder_name(label) for label in arguments.optimizers)
    return arguments.runs / f"compare-{title}-{folder_key(names)}"


def check_arguments(arguments: CompareArguments) -> None:
    """Say what cannot be compared, or is not installed, before anything is done.

    Raises:
        RuntimeError: Ray is not installed.
        ValueError: arguments are wrong, or a tracker's package is not installed.
    """
    arguments.check(arguments.jobs)
    names = arguments.optimizers
    if not names:
        raise ValueError("name at least one optimizer, say: adana compare adamw adana")
    own = [candidate(label) for label in labels(names)]
    known = [each.name for each in own]
    refuse_unread(arguments.optimizer_config(known[0], 1.0), *known)
    _refuse_unused(arguments, own)
    if arguments.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {arguments.seeds}")
    if not all(0 < factor < math.inf for factor in arguments.horizons):
        raise ValueError(f"--horizons must be positive numbers, got {arguments.horizons}")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {arguments.jobs}")
    check_folder("--runs", arguments.runs)
    if arguments.output:
        check_folder("--output", arguments.output)
    if arguments.sweep_lr and arguments.tuned:
        raise ValueError("--sweep-lr and --tuned both choose learning rates; leave out one of them")
    if arguments.sweep_lr < 0 or arguments.sweep_lr == 1:
        raise ValueError(f"--sweep-lr takes 2 or more rates, got {arguments.sweep_lr}")
    arguments.check_installed(arguments.trackers)


def _refuse_unused(arguments: CompareArguments, own: Sequence[Candidate]) -> None:
    """Raise `ValueError` for a flag of which every candidate has a value of its own."""
    for flag in (*HYPERPARAMETERS, "omega", "tau_epochs"):
        if getattr(arguments, flag) is None:
            continue
        key = "omega" if flag == "tau_epochs" else flag
        readers = [c for c in own if key == "omega" or key in optimizer_entry(c.name).reads]
        if readers and all(key in reader.values for reader in readers):
            raise ValueError(
                f"--{flag.replace('_', '-')} holds for none of {', '.join(c.label for c in own)}: "
                "each that reads it has a value of its own; leave it out"
            )


def given_rates(items: Sequence[str], optimizers: Sequence[str]) -> dict[str, float]:
    """Parse ``--lr NAME=VALUE ...``; names are those of candidates, by label."""
    rates: dict[str, float] = {}
    for item in items:
        name, _, value = item.rpartition("=")
        if item in optimizers:
            raise ValueError(f"--lr {item} lacks the rate; write {item}=VALUE")
        if ":" in name:  # the same may be written otherwise
            own = candidate(name)
            name = next((label for label in optimizers if candidate(label) == own), own.label)
        if name not in optimizers:
            raise ValueError(
                f"--lr {item!r} names nothing that is compared ({', '.join(optimizers)}); write "
                "NAME=VALUE"
            )
        if name in rates:
            raise ValueError(f"--lr names {name} twice; use --sweep-lr to try several rates")
        try:
            rates[name] = float(value)
        except ValueError:
            raise ValueError(f"--lr {item!r} is not NAME=VALUE with a number") from None
        check_range(f"--lr {name}", rates[name], low=0.0, low_open=True)
    return rates


class _Comparison:
    """What every phase of a comparison needs."""

    def __init__(
        self, arguments: CompareArguments, rules: RuleBook, shards: Shards, console: Console
    ) -> None:
        self.arguments, self.rules, self.shards, self.console = arguments, rules, shards, console
        self.trials: list[Trial] = []
        self.left_out: dict[str, LeftOut] = {}
        """What has no run in the comparison, by label, and why."""
        self.failures: list[Failure] = []
        """The trainings that failed so far."""
        self.code = 0
        """Exit code of the last trainings: not 0 if they were stopped."""

    def configure(
        self, rates: Mapping[str, float], bests: Mapping[str, Search]
    ) -> dict[str, TrainConfig]:
        """Return the configuration of each optimizer: what its search found, else at its rate."""
        arguments, tokens = self.arguments, len(self.shards.train)
        configs = {
            name: tuned_config(arguments, bests[name], self.rules, self.shards.fingerprint, tokens)
            if name in bests
            else configure(arguments, name, rates.get(name), self.rules, tokens)
            for name in arguments.optimizers
        }
        if not bests:
            refuse_equal((label, config.optimizer) for label, config in configs.items())
            return configs
        check_flags(arguments, configs, bests, self._say)
        return on_new_seeds(configs, bests, arguments.seed, self._say)

    def _say(self, text: str) -> None:
        say(self.console, text)

    def train(self, configs: Mapping[str, TrainConfig]) -> list[PlannedRun]:
        """Train every seed and horizon; return the runs, or none if it was interrupted.

        Runs that failed are among them, unless they failed before anything of them was written.
        """
        self._introduce(configs)
        trainings = plan_seeds_and_horizons(
            configs,
            baseline=self.arguments.optimizers[0],
            seeds=self.arguments.seeds,
            horizons=self.arguments.horizons,
        )
        planned = [self._place(config) for config in trainings]
        return self._written(planned) if self._train(planned) else []

    def sweep(self, configs: Mapping[str, TrainConfig]) -> dict[str, TrainConfig]:
        """Train each optimizer at several rates with the first seed; return the best of each.

        Empty if it was interrupted. Prints and keeps every trial. An optimizer without a result at
        any rate is left out, and said to be.

        Raises:
            RuntimeError: that is the baseline.
        """
        planned = {}
        for name, config in configs.items():
            centre = Rate(config.optimizer.lr, config.provenance["lr"])
            rates = sweep_rates(centre, self.arguments.sweep_lr)
            planned[name] = [self._place(with_optimizer(config, name, rate)) for rate in rates]
        everything = [p for several in planned.values() for p in several]
        if not self._train(everything):
            return {}
        self.trials = _read_planned_trials(everything)
        self.console.print(sweep_table(self.trials))
        chosen = {name: self._choose(name, several) for name, several in planned.items()}
        return {name: config for name, config in chosen.items() if config is not None}

    def _choose(self, name: str, several: Sequence[PlannedRun]) -> TrainConfig | None:
        """Return the best rate's configuration; None if no rate has a result, which is noted."""
        trials = [trial for trial in self.trials if trial.label == name]
        best = next((trial for trial in trials if trial.best), None)
        if best is None:
            self._leave_out(name, _without_result(trials, self._reason(several)))
            return None
        config = next(p.config for p in several if p.config.optimizer.lr == best.lr)
        guess = math.log(config.model.vocab_size)
        if best.loss is not None and (said := best_of_nothing(best.loss, guess)):
            self.console.print(f"{name}: {said}", style="yellow", markup=False)
        side = sweep_edges(trials).get(name)
        if side:
            self.console.print(
                f"{name}: the best rate {config.optimizer.lr:.4g} is at the edge of the sweep; a "
                f"{side} one may be better. Run again around it: "
                f"--lr {name}={config.optimizer.lr:.4g}",
                style="yellow",
            )
        return config

    def _leave_out(self, name: str, why: LeftOut) -> None:
        """Note and say that the optimizer is not trained any further.

        Raises:
            RuntimeError: it is the baseline.
        """
        self.left_out[name] = why
        if name == self.arguments.optimizers[0]:
            raise RuntimeError(
                f"the baseline {name} {why.reason}; there is nothing to compare with. Give it "
                f"another rate, --lr {name}=RATE, mend it, or name another optimizer first"
            )
        self.console.print(f"left out: {name} {why.reason}", style="yellow", markup=False)

    def _reason(self, planned: Sequence[PlannedRun]) -> str:
        """Return why the first of these that failed did; empty if none failed."""
        paths = {p.path for p in planned}
        return next((f.reason for f in self.failures if f.path in paths), "")

    def _written(self, planned: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Return those that left a run directory to be read; the others are left out."""
        kept = [p for p in planned if _has_config(p)]
        labels = {p.config.optimizer.label for p in kept}
        for p in planned:
            if p in kept:
                continue
            label, config = p.config.optimizer.label, p.config
            one = f"{label}, seed {config.seed}, {config.steps} steps"
            name = one if label in labels else label
            if name not in self.left_out:
                self._leave_out(name, LeftOut("failed", f"failed: {self._reason([p])}"))
        return kept

    def _introduce(self, configs: Mapping[str, TrainConfig]) -> None:
        """Print every derived number with its rule: what all share first, then each one's own."""
        rows = {name: describe(config, self.shards) for name, config in configs.items()}
        shared = [row for row in next(iter(rows.values())) if all(row in r for r in rows.values())]
        print_rows(self.console, shared)
        for name, own in rows.items():
            self.console.print(f"\n{name}", style="bold")
            print_rows(self.console, [row for row in own if row not in shared])
        self.console.print()

    def _train(self, planned: Sequence[PlannedRun]) -> bool:
        """Train what is missing; whether all of it has ended, well or not."""
        try:
            self.code = train_all(
                planned, self.arguments.jobs, self.shards.folder, self.console, self.arguments
            )
        except FailedRuns as error:
            self.failures += error.failures
            self.code = 0
        return self.code == 0

    def _place(self, config: TrainConfig) -> PlannedRun:
        return plan_run(config, self.arguments.runs, self.shards.fingerprint)


def _has_config(planned: PlannedRun) -> bool:
    """Whether the training got so far that its directory says what was trained."""
    return (planned.path / "config.json").exists()


def _read_planned_trials(planned: Sequence[PlannedRun]) -> list[Trial]:
    """Read the trials of a sweep; one that failed before it began is a failed trial too."""
    trials = read_trials(p.run for p in planned if _has_config(p))
    for p in planned:
        if not _has_config(p):
            optimizer = p.config.optimizer
            trials.append(Trial(optimizer.label, optimizer.lr, None, False, "failed"))
    labels = list(dict.fromkeys(p.config.optimizer.label for p in planned))
    return sorted(trials, key=lambda trial: (labels.index(trial.label), trial.lr))


def _without_result(trials: Sequence[Trial], reason: str) -> LeftOut:
    """Say why an optimizer has a result at none of its rates; `reason` is that of a failure."""
    rates = ", ".join(f"{trial.lr:g}" for trial in trials)
    states = {trial.state for trial in trials}
    if states == {"diverged"}:
        return LeftOut("diverged at every rate", f"diverged at every rate of the sweep ({rates})")
    if states == {"failed"}:
        return LeftOut("failed", f"failed: {reason}")
    why = f"diverged or failed at every rate of the sweep ({rates}): {reason}"
    return LeftOut("diverged or failed", why)
