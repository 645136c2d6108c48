"""`adana tune`: the best hyperparameters of an optimizer, at one size or several."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from adana.cli.commands import train_words
from adana.cli.execute import keep_freed_memory, workers_and_threads
from adana.cli.grid import Grid
from adana.cli.prepare import prepare_with_bar
from adana.cli.progress import say
from adana.cli.settings import Settings, check_folder
from adana.cli.train import pick_rate
from adana.cli.tune_display import SearchDisplay, budget_grid, show_result
from adana.ladder import (
    MFU,
    THIS,
    TrainingObjective,
    find_device,
    training_scale,
    training_space,
    with_hyperparameters,
    with_optimizer,
)
from adana.nn import model_flops
from adana.runs import read_json, write_json
from adana.train import OPTIMIZERS, TrainConfig, optimizer_entry, refuse_unread
from adana.tune import (
    PRESETS,
    Budget,
    Problem,
    Processes,
    Rules,
    Runner,
    Scale,
    Space,
    StudyResult,
    planned_runs,
    tune_scales,
)

SCALED = (
    *("heads", "head_dim", "layers", "width", "sequence_length"),
    *("batch_size", "steps", "tokens_per_param"),
)
"""Settings that `--scales` may change."""


@dataclass(frozen=True)
class TuneArguments(Settings):
    """Tune an optimizer by coordinate descent over grids, one hyperparameter at a time.

    Begins at the rules' values, takes over what is better by more than the measured noise, and goes
    round until nothing moves. With several --scales it also says which hyperparameters need a rule.
    Stop it whenever you like: the same command goes on. Look at the cost first with --plan.

        adana tune adana --parameters lr omega --scales heads=2,steps=300 heads=3,steps=300
    """

    optimizer: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(help=f"One of {', '.join(OPTIMIZERS)}.")
    ] = "adana"
    lr: float | None = None
    """Peak learning rate to begin with. Default: the rule's, rounded to the grid of all scales."""
    parameters: tuple[str, ...] = ()
    """Hyperparameters to tune, in this order, say: lr omega warmup_steps. Default: all that the
    optimizer has."""
    scales: tuple[str, ...] = ()
    """Sizes to tune at, say heads=2,steps=300 heads=4,tokens-per-param=20; what is not named stays
    as the other options have it. The cheapest is tuned first, the next begins with its best."""
    seeds: int = 1
    """Seeds of every configuration; their mean counts."""
    noise_seeds: int = 3
    """Seeds that measure the noise, of the first configuration of every scale and of its best; 0:
    not measured."""
    delta1: float | None = None
    """What a value must gain to be taken. Default: what noise alone exceeds in one of 20 cases."""
    delta2: float | None = None
    """Within what values are near-optimal. Default: delta1 * 6.4 / 3."""
    joint: tuple[str, ...] = ()
    """Pairs to check together around the optimum, say lr,omega: four more trainings each."""
    max_passes: int = Rules.max_passes
    """Rounds over all hyperparameters at most."""
    engine: Literal["local"] = "local"
    """Where trainings run: in processes of this machine."""
    jobs: int | None = None
    """Trainings at a time. Default: one per --threads cores on the CPU, one on a GPU."""
    plan: bool = False
    """Print grids and cost, and train nothing."""
    output: Path | None = None
    """Folder of the result. Default: RUNS/tune-OPTIMIZER-KEY, the key made of what is tuned."""

    @property
    def rules(self) -> Rules:
        """How the search decides."""
        return Rules(
            seeds=self.seeds,
            noise_seeds=self.noise_seeds,
            delta1=self.delta1,
            delta2=self.delta2,
            joint=tuple(_pair(text) for text in self.joint),
            max_passes=self.max_passes,
        )


def tune_command(arguments: TuneArguments) -> int:
    """Run `adana tune`; return the exit code."""
    console = Console()
    optimizer_entry(arguments.optimizer)
    check_folder("--runs", arguments.runs)
    if arguments.output:
        check_folder("--output", arguments.output)
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {arguments.jobs}")
    rules = arguments.rules
    sizes = [size_of(scaled(arguments, text), text) for text in arguments.scales or ("",)]
    show_plan(console, arguments, sizes)
    if arguments.plan:
        return 0
    shards = prepare_with_bar(arguments.data_config(), console)
    widest = max(len(own.values(own.baseline)) for size in sizes for own in size.space)
    workers, threads = workers_and_threads(widest * rules.seeds, arguments, arguments.jobs)
    layout = arguments.layout(threads)
    place = arguments.runs, shards.folder, shards.fingerprint
    problems = [
        Problem(TrainingObjective(size.start, *place, layout), size.space, size.scale)
        for size in sizes
    ]
    keep_freed_memory()
    with SearchDisplay(console) as display:
        study = tune_scales(
            problems,
            rules,
            runner=_runner(workers),
            on_progress=display.on_progress,
            on_event=display.on_event,
        )
    conclude(console, arguments, sizes, study, shards.fingerprint)
    return 0


def _runner(workers: int) -> Runner:
    """Return where trainings run."""
    return Processes(workers)


def _pair(text: str) -> tuple[str, str]:
    names = text.split(",")
    if len(names) != 2:
        raise ValueError(f"--joint {text!r} is not a pair such as lr,omega")
    return names[0], names[1]


def scaled(arguments: TuneArguments, text: str) -> TuneArguments:
    """Return the arguments with the changes of one of `--scales`, say "heads=2,steps=300".

    Raises:
        ValueError: the text is not NAME=VALUE,..., or names what is no size.
    """
    changes: dict[str, Any] = {}
    for item in filter(None, text.split(",")):
        name, _, value = item.partition("=")
        field = name.strip().replace("-", "_")
        kind = float if field == "tokens_per_param" else int
        if field not in SCALED:
            raise ValueError(f"--scales {text!r}: expected NAME=VALUE of {', '.join(SCALED)}")
        try:
            changes[field] = kind(value)
        except ValueError:
            raise ValueError(f"--scales {text!r}: {value!r} is no {kind.__name__}") from None
    if "steps" in changes and "tokens_per_param" not in changes:
        changes["tokens_per_param"] = None
    return dataclasses.replace(arguments, **changes)


@dataclass(frozen=True)
class Size:
    """One of the sizes that are tuned at."""

    settings: TuneArguments
    start: TrainConfig
    """What the search begins with, before its hyperparameters are rounded to the grid."""
    space: Space
    scale: Scale


def size_of(settings: TuneArguments, name: str = "") -> Size:
    """Return what is tuned at a size; its name is made of N and D unless one is given.

    What begins by a rule, not by a person's word, begins on the grid that all sizes share.
    """
    optimizer = settings.optimizer
    rate = pick_rate(settings, optimizer, settings.lr)
    own = settings.optimizer_config(optimizer, rate.lr)
    refuse_unread(own, optimizer)
    start = with_optimizer(settings.train_config(own), optimizer, rate)
    parameters = settings.parameters or PRESETS[optimizer]
    by_rule = [name for name in ("lr", "warmup_steps") if getattr(settings, name) is None]
    space = training_space(start, parameters, [name for name in by_rule if name in parameters])
    return Size(settings, start, space, training_scale(start, name))


def show_plan(console: Console, arguments: TuneArguments, sizes: Sequence[Size]) -> None:
    """Print every grid, and what a first pass costs."""
    device = find_device(THIS) if arguments.plan else None
    for size in sizes:
        grid = Grid(
            f"{arguments.optimizer}, {size.scale.name}", "hyperparameter", "begins at", "grid"
        )
        for own in size.space:
            grid.add(own.name, str(own.baseline), ", ".join(map(str, own.grid)))
        console.print(grid.fitting(console))
        first, further = planned_runs(size.space, arguments.rules)
        tokens = size.start.steps * size.start.tokens_per_step
        line = (
            f"{first} runs, then up to {further} for every further pass; "
            f"{tokens:,} tokens each, {first * tokens:,} in the first pass"
        )
        if device is not None:
            flops = first * model_flops(size.start.model, tokens)
            hours = flops / (device.peak * MFU) / 3600
            line += f"; {hours:.2g} hours of {device.name} at {MFU:.0%} of its matrix product"
        say(console, line)


def conclude(
    console: Console,
    arguments: TuneArguments,
    sizes: Sequence[Size],
    study: StudyResult,
    fingerprint: str,
) -> None:
    """Print and write what was found."""
    show_result(console, study)
    by_name = {size.scale.name: size for size in sizes}
    commands = {}
    for result in study.scales:
        size = by_name[result.scale.name]
        best = with_hyperparameters(size.start, result.best)
        commands[result.scale.name] = train_words(size.settings, best)
    folder = arguments.output or arguments.runs / _folder_name(arguments, study, fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "optimizer": arguments.optimizer,
        "data_fingerprint": fingerprint,
        "commands": commands,
        **study.to_dict(),
    }
    write_json(folder / "result.json", content)
    console.print(budget_grid(_budgets(arguments, study)).fitting(console))
    say(console, f"this search: {study.budget.text()}")
    for name, command in commands.items():
        say(console, f"\nbest of {name}:\n  {command}")
    say(console, f"\nresult: {folder / 'result.json'}")


def _folder_name(arguments: TuneArguments, study: StudyResult, fingerprint: str) -> str:
    """Return a folder of its own for every question."""
    question = [
        fingerprint,
        [dataclasses.asdict(result.scale) for result in study.scales],
        [sorted(result.sweeps) for result in study.scales],
        dataclasses.asdict(arguments.rules),
    ]
    key = hashlib.sha256(json.dumps(question).encode()).hexdigest()[:6]
    return f"tune-{arguments.optimizer}-{key}"


def _budgets(arguments: TuneArguments, study: StudyResult) -> dict[str, Budget]:
    """Return what was spent on each optimizer tuned below --runs; of this one, this search."""
    found: dict[str, Budget] = {arguments.optimizer: study.budget}
    for path in sorted(arguments.runs.glob("tune-*/result.json")):
        content = read_json(path)
        if content["optimizer"] != arguments.optimizer:
            own = Budget(**content["budget"])
            found[content["optimizer"]] = found.get(content["optimizer"], Budget()) + own
    return found
