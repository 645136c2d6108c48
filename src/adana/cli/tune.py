"""`adana tune`: the best hyperparameters of an optimizer, at one size or several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from adana.cli.commands import train_words
from adana.cli.engine_flags import EngineFlags
from adana.cli.execute import keep_freed_memory, share_out, stop_code
from adana.cli.ladder.run import own_command
from adana.cli.prepare import prepare_with_bar
from adana.cli.run_folders import check_folder
from adana.cli.settings import Settings
from adana.cli.terminal import say, unbreakable
from adana.cli.tune_display import SearchDisplay
from adana.cli.tune_sizes import Size, make_sizes
from adana.cli.tune_tables import print_plan, print_result
from adana.data import Shards
from adana.ladder import (
    TrainingObjective,
    likely_seconds,
    open_rules,
    search_setting,
    tuned_in,
    with_hyperparameters,
)
from adana.report import write_search
from adana.runs import folder_key, read_json, write_json
from adana.searches import BEGUN, FOLDER, RESULT, read_search, results_below
from adana.train import config_to_dict, optimizer_names
from adana.tune import (
    Problem,
    Rules,
    Scale,
    Stopped,
    StudyResult,
    earlier_bests,
    tune_scales,
    widest_batch,
)


@dataclass(frozen=True)
class TuneArguments(EngineFlags, Settings):
    """Find an optimizer's best hyperparameters, and which of them need a rule.

    Tries one hyperparameter at a time along a grid, takes the best value where it gains more than
    the noise, and goes round until nothing moves (docs/tuning.md). An optimum at the end of its
    grid makes the grid longer; a training that diverges is a result. At several sizes it tells
    which hyperparameters are sensitive. Nothing is trained twice: stop it whenever you like, the
    same command goes on where it was.
        adana tune adana --parameters lr omega --plan        what that trains, and how long it takes
        adana tune adamw --parameters lr omega --joint lr,omega
        adana tune adana --parameters lr omega --scales 1 2 2x4    three sizes, one on 4x the tokens
    """

    optimizer: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(help=f"One of {', '.join(optimizer_names())}.")
    ] = "adana"
    parameters: tuple[str, ...] = ()
    """Which hyperparameters, in the order in which they are tried. Default: all that the optimizer
    has. batch_size too, at a fixed number of tokens."""
    lr: float | None = None
    """Peak learning rate to begin with. Default: the rule's, put on the grid of all sizes."""
    scales: tuple[str, ...] = ()
    """Sizes to tune at, the cheapest first: attention heads (3), HEADSxFACTOR for so many times the
    tokens (3x4), or settings of size and budget (heads=3,steps=300). Default: what the other
    options say."""
    seeds: int = Rules.seeds
    """Seeds of every configuration; its loss is their mean."""
    noise_seeds: int = 3
    """Seeds of the first configuration of every size, and of its best: their spread tells which
    differences count. With twice --seeds or more, small gains are judged together on seeds that did
    not choose them. 0 or 1: not measured; the thresholds are those of the literature, 0.003 and
    0.0064."""
    delta1: float | None = None
    """What a value must gain to be taken. Default: what noise alone exceeds in one of 20 cases."""
    delta2: float | None = None
    """Within what of the best a value is near-optimal. Default: delta1 * 6.4 / 3."""
    joint: tuple[str, ...] = ()
    """Pairs to check together around the optimum, as NAME,NAME: say lr,omega or lr,batch_size."""
    max_passes: int = Rules.max_passes
    """Rounds over all hyperparameters at most."""
    jobs: int | None = None
    """Trainings at a time. Default: one per --threads cores on the CPU, one on each GPU."""
    output: Path | None = None
    """Folder of result.json. Default: RUNS/tune-OPTIMIZER-KEY, the key made of what is tuned."""
    plan: bool = False
    """Print grids and budget, and train nothing."""

    @property
    def method(self) -> Rules:
        """How the search decides."""
        return Rules(
            seeds=self.seeds,
            noise_seeds=self.noise_seeds,
            delta1=self.delta1,
            delta2=self.delta2,
            joint=tuple(_pair(text) for text in self.joint),
            max_passes=self.max_passes,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What is searched: what was named, else the preset, and what a joint check needs."""
        preset = tuned_in(self.optimizer)  # also where it is not needed: who misspells hears of it
        pairs = (name for pair in self.method.joint for name in pair)
        return tuple(dict.fromkeys((*(self.parameters or preset), *pairs)))


def tune_command(arguments: TuneArguments) -> int:
    """Run `adana tune`; return the exit code."""
    console = unbreakable(Console())
    arguments.check(arguments.jobs)
    check_folder("--runs", arguments.runs)
    if arguments.output:
        check_folder("--output", arguments.output)
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {arguments.jobs}")
    if not arguments.plan:
        arguments.check_installed(arguments.trackers)
    name, names = arguments.optimizer, arguments.names
    open_rules(arguments.rules).check_used([name])
    shards = tokens = None
    if arguments.tau_epochs is not None:  # epochs of what? so the data come first
        shards = prepare_with_bar(arguments.data_config(), console)
        tokens = len(shards.train)
    sizes = make_sizes(arguments, name, arguments.lr, names, arguments.scales, train_tokens=tokens)
    most = widest_batch(sizes[0].space, arguments.method)
    jobs, threads = share_out(most, sizes[0].start.layout, arguments.jobs, arguments)
    sizes = [_with_threads(size, threads) for size in sizes]
    here = arguments.engine == "local"
    seconds = (
        [likely_seconds(s.start, lambda text: say(console, text)) for s in sizes] if here else None
    )
    print_plan(console, sizes, arguments.method, seconds, jobs=jobs)
    if arguments.plan:
        return 0
    shards = shards or prepare_with_bar(arguments.data_config(), console)
    search = _Search(arguments, sizes, shards)
    try:
        study = search.run(console, jobs)
    except Stopped:
        say(console, "Stopped. The same command goes on where it was.")
        return search.code
    commands = search.write(study)
    print_result(console, study, arguments.runs, sizes[0].start.model.vocab_size)
    for size, command in commands.items():
        say(console, f"\nbest of {size}:\n  {command}")
    say(console, f"\nresult: {search.output}")
    page = search.output.with_name("search.html")
    write_search([read_search(search.output.parent)], page)
    say(console, f"in pictures: {page.resolve()}")
    return 0


def _pair(text: str) -> tuple[str, str]:
    names = text.split(",")
    if len(names) != 2 or not all(names) or names[0] == names[1]:
        raise ValueError(f"--joint {text!r} is not a pair of two names such as lr,omega")
    return names[0], names[1]


def _with_threads(size: Size, threads: int) -> Size:
    # Of hundreds of trainings, only the newest checkpoint of each is worth its disk.
    layout = dataclasses.replace(size.start.layout, threads=threads, keep=1)
    return dataclasses.replace(size, start=dataclasses.replace(size.start, layout=layout))


class _Search:
    """One search, from its trainings to its result on disk."""

    def __init__(self, arguments: TuneArguments, sizes: Sequence[Size], shards: Shards) -> None:
        self.arguments = arguments
        self.sizes = {size.scale.name: size for size in sizes}
        place = arguments.runs, shards.folder, shards.fingerprint
        self.problems = [
            Problem(TrainingObjective(size.start, *place), size.space, size.scale) for size in sizes
        ]
        self.fingerprint = shards.fingerprint
        folder = arguments.output or arguments.runs / f"{FOLDER}{arguments.optimizer}-{self._key()}"
        self.output = folder / RESULT
        self.code = 0
        """Exit code of a search that was stopped."""

    def run(self, console: Console, jobs: int) -> StudyResult:
        """Search; `Stopped` if it was interrupted."""
        keep_freed_memory()
        configs = [size.start for size in self.sizes.values()]
        with (
            self.arguments.build(jobs, configs, lambda text: say(console, text)) as engine,
            SearchDisplay(console) as display,
        ):
            try:
                return tune_scales(
                    self.problems,
                    self.arguments.method,
                    runner=engine,
                    known=self._known(),
                    on_progress=display.search,
                    on_event=display.sign,
                )
            except Stopped:
                self.code = stop_code(engine)
                raise

    def _known(self) -> dict[Scale, dict[str, Any]]:
        """Return the best values that earlier searches found, as they were when this one began.

        Kept in a file: the same command must begin in the same place when it goes on.
        """
        kept = self.output.with_name(BEGUN)
        if not kept.exists():
            found = results_below(self.arguments.runs)
            others = (path for path in found if path != self.output)
            known = earlier_bests(others, self.arguments.optimizer, self._setting())
            rows = [{"scale": dataclasses.asdict(s), "best": best} for s, best in known.items()]
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, rows)
        return {Scale(**row["scale"]): dict(row["best"]) for row in read_json(kept)}

    def write(self, study: StudyResult) -> dict[str, str]:
        """Write `result.json`; return the command that trains the best of every size, by name."""
        commands, configs = {}, {}
        for result in study.scales:
            size, name = self.sizes[result.scale.name], result.scale.name
            best = with_hyperparameters(size.start, result.best)
            commands[name] = train_words(size.settings, best)
            configs[name] = config_to_dict(best, self.fingerprint)
        content = {
            "command": own_command(),
            "optimizer": self.arguments.optimizer,
            "setting": self._setting(),
            "seed": self.arguments.seed,
            "commands": commands,
            "configs": configs,
            **study.to_dict(),
        }
        self.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.output, content)
        return commands

    def _setting(self) -> str:
        """Return what a search must share with those whose best values it begins from."""
        start = next(iter(self.sizes.values())).start
        return search_setting(start, self.fingerprint)

    def _key(self) -> str:
        """Return what tells one question from another: sizes, grids and rules."""
        starts = [problem.objective.key({}) for problem in self.problems]
        grids = [[repr(own) for own in problem.space] for problem in self.problems]
        rules = dataclasses.asdict(self.arguments.method)
        del rules["max_passes"]  # with more of them the same search goes on
        return folder_key([starts, grids, rules])
