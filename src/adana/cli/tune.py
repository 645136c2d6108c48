"""`adana tune`: the best hyperparameters of an optimizer, at one size or several."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from adana.cli.execute import keep_freed_memory, share_out
from adana.cli.flags import as_flags, command_line
from adana.cli.ladder.run import own_command
from adana.cli.prepare import prepare_with_bar
from adana.cli.progress import say
from adana.cli.settings import Settings, check_folder
from adana.cli.train import CTRL_C
from adana.cli.tune_display import SearchDisplay
from adana.cli.tune_scales import TuningScale, make_scales
from adana.cli.tune_tables import print_plan, print_result
from adana.data import Shards
from adana.ladder import TrainingObjective, seconds_per_step
from adana.runs import write_json
from adana.train import OPTIMIZERS
from adana.tune import (
    MAX_PASSES,
    PRESETS,
    Problem,
    Processes,
    Rules,
    ScaleResult,
    Space,
    Stopped,
    StudyResult,
    baseline_of,
    earlier_results,
    planned_runs,
    preset_space,
    tune_scales,
)


@dataclass(frozen=True)
class TuneArguments(Settings):
    """Find an optimizer's best hyperparameters, and which of them need a rule.

    Tries one hyperparameter at a time along a grid, takes the best value where it gains more than
    the noise, and goes round until nothing moves (docs/tuning.md). An optimum at the end of its
    grid makes the grid longer; a training that diverges is a result. At several sizes it tells
    which hyperparameters are sensitive. Nothing is trained twice: stop it whenever you like, the
    same command goes on where it was.

        adana tune adana --parameters lr omega --plan        what that trains, and how long it takes

        adana tune adamw --parameters lr omega --joint lr,omega

        adana tune adana --scales 1 2 2x4 --noise-seeds 3    three sizes, one of them on 4x the data
    """

    optimizer: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(help=f"One of {', '.join(OPTIMIZERS)}."),
    ] = "adana"
    parameters: tuple[str, ...] = ()
    """Which hyperparameters, in the order in which they are tried. Default: all that the optimizer
    has. batch_size too, at a fixed number of tokens."""
    lr: float | None = None
    """Peak learning rate that the search begins with. Default: a rule, printed with its source."""
    scales: tuple[str, ...] = ()
    """Sizes to tune at, as attention heads, or HEADSxFACTOR for so many times the training tokens,
    say 2 2x4 4. Default: --heads."""
    seeds: int = 1
    """Seeds of every configuration; its loss is their mean."""
    noise_seeds: int = 0
    """Train the starting point of each size with this many seeds: their spread tells which
    differences count. Default: thresholds from the literature."""
    delta1: float | None = None
    """What a value must gain in loss to be taken. Default: by the noise, else 0.003."""
    delta2: float | None = None
    """Within what loss of the best a value is near-optimal. Default: by the noise, else 0.0064."""
    joint: tuple[str, ...] = ()
    """Pairs to check together around the optimum, as NAME,NAME: say lr,omega or lr,batch_size."""
    max_passes: int = MAX_PASSES
    """Rounds over all hyperparameters at most."""
    jobs: int | None = None
    """Trainings at a time. Default: one per --threads cores on the CPU, one on a GPU."""
    output: Path | None = None
    """The result as JSON. Default: RUNS/tune-OPTIMIZER/result-KEY.json, the key made of what is
    searched."""
    plan: bool = False
    """Print grids and budget, and stop."""


def tune_command(arguments: TuneArguments) -> int:
    """Run `adana tune`; return the exit code."""
    console = Console()
    rules = make_rules(arguments)
    names = parameter_names(arguments, rules)
    scales = make_scales(arguments, arguments.optimizer, arguments.lr, arguments.scales)
    spaces = [own.space(names) for own in scales]
    shards = prepare_with_bar(arguments.data_config(), console)
    search = _Search(arguments, rules, scales, spaces, shards)
    search.print_plan(console)
    if arguments.plan:
        return 0
    try:
        result = search.run(console)
    except Stopped:
        say(console, "Stopped. The same command goes on where it was.")
        return CTRL_C
    path = search.write(result)
    print_result(console, result, [search.best_command(own) for own in result.scales])
    say(console, f"written: {path}")
    return 0


def make_rules(arguments: TuneArguments) -> Rules:
    """Return how the search decides.

    Raises:
        ValueError: an argument is out of range or cannot be read.
    """
    check_folder("--runs", arguments.runs)
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {arguments.jobs}")
    return Rules(
        seeds=arguments.seeds,
        noise_seeds=arguments.noise_seeds,
        delta1=arguments.delta1,
        delta2=arguments.delta2,
        joint=tuple(_pair(text) for text in arguments.joint),
        max_passes=arguments.max_passes,
    )


def parameter_names(arguments: TuneArguments, rules: Rules) -> tuple[str, ...]:
    """Return what is searched: what was named, else the preset, and what a joint check needs."""
    if arguments.optimizer not in PRESETS:
        preset_space(arguments.optimizer, {})  # raises, with the known ones
    names = arguments.parameters or PRESETS[arguments.optimizer]
    return tuple(dict.fromkeys((*names, *(name for pair in rules.joint for name in pair))))


def _pair(text: str) -> tuple[str, str]:
    first, comma, second = text.partition(",")
    if not comma or not first or not second or "," in second or first == second:
        raise ValueError(f"--joint {text!r} is not a pair of two names such as lr,omega")
    return first, second


class _Search:
    """Everything about one search."""

    def __init__(
        self,
        arguments: TuneArguments,
        rules: Rules,
        scales: Sequence[TuningScale],
        spaces: Sequence[Space],
        shards: Shards,
    ) -> None:
        self.arguments, self.rules = arguments, rules
        self.folder = arguments.runs / f"tune-{arguments.optimizer}"
        runs, _ = planned_runs(spaces[0], rules)
        self.jobs, threads = share_out(runs, scales[0].base.layout, arguments.jobs)
        self.scales = {own.name: own for own in scales}
        self.objectives = {own.name: self._objective(own, threads, shards) for own in scales}
        self.problems = [
            Problem(self.objectives[own.name], space, self.objectives[own.name].scale)
            for own, space in zip(scales, spaces, strict=True)
        ]
        self.output = arguments.output or self.folder / f"result-{self._key()}.json"

    def print_plan(self, console: Console) -> None:
        """Print the grids, and what they cost on this machine."""
        seconds = {name: seconds_per_step(own.base) for name, own in self.objectives.items()}
        print_plan(
            console,
            self.problems,
            self.rules,
            {name: own.base for name, own in self.objectives.items()},
            seconds,
            jobs=self.jobs,
        )
        for own in self.scales.values():
            say(console, f"{own.name}: begins at lr {own.rate.lr:.4g}, {own.rate.source}")
        say(console, f"run directories: {self.folder}")

    def run(self, console: Console) -> StudyResult:
        """Search; `Stopped` if it was interrupted."""
        keep_freed_memory()
        with SearchDisplay(console) as display:
            return tune_scales(
                self.problems,
                self.rules,
                runner=Processes(self.jobs),
                known=earlier_results(self.folder, self._setting(), leave_out=self.output),
                on_progress=display.search,
                on_event=display.sign,
            )

    def write(self, result: StudyResult) -> Path:
        """Write the result with the commands that train its best configurations."""
        content = {
            "command": own_command(),
            "optimizer": self.arguments.optimizer,
            "setting": self._setting(),
            "train": {own.scale.name: self.best_command(own) for own in result.scales},
            **result.to_dict(),
        }
        self.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.output, content)
        return self.output

    def best_command(self, result: ScaleResult) -> str:
        """Return the command that trains the best configuration of a size."""
        objective = self.objectives[result.scale.name]
        settings = self.scales[result.scale.name].settings
        best = dict(result.best)
        if "batch_size" in best:
            best |= {"steps": objective.train_config(best).steps, "tokens_per_param": None}
        name = self.arguments.optimizer
        return command_line("adana", "train", "--optimizer", name, *as_flags(settings, best))

    def _objective(self, own: TuningScale, threads: int, shards: Shards) -> TrainingObjective:
        # Hundreds of trainings: of each, only the newest checkpoint is worth its disk.
        layout = dataclasses.replace(own.base.layout, threads=threads, keep=1)
        base = dataclasses.replace(own.base, layout=layout)
        return TrainingObjective(base, self.folder, shards.folder, shards.fingerprint, own.name)

    def _setting(self) -> str:
        """Return eight hex digits of what a search shares with those it may begin from."""
        objective = next(iter(self.objectives.values()))
        base = objective.base
        shared = (
            *(base.model.family, base.model.vocab_size, base.model.sequence_length),
            *(base.model.init, base.schedule.name, base.precision, objective.fingerprint),
        )
        return _digits(shared)

    def _key(self) -> str:
        """Return eight hex digits of what is searched, by which rules."""
        searched = [
            (own.objective.key(baseline_of(own.space)), [repr(p) for p in own.space])
            for own in self.problems
        ]
        return _digits([searched, dataclasses.asdict(self.rules)])


def _digits(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:8]
