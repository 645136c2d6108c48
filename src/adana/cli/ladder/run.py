"""`adana ladder run`: a ladder small enough to train here, from the plan to the report."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from adana.cli.compare import given_rates
from adana.cli.data_flags import DataFlags
from adana.cli.engine_flags import EngineFlags
from adana.cli.execute import FailedRuns, Failure, share_out, step_flops, train_all
from adana.cli.ladder.study_tables import print_study
from adana.cli.prepare import prepare_with_bar
from adana.cli.report import write_whole_study
from adana.cli.run_folders import RUNS, check_folder
from adana.cli.settings import Settings
from adana.cli.terminal import say, unbreakable
from adana.data import DataConfig, Shards
from adana.ladder import (
    PRESETS,
    Cell,
    PlannedRun,
    Rate,
    Study,
    carried,
    first_rates,
    likely_seconds,
    mean_losses,
    next_rate,
    plan_run,
    read_bests,
    training_order,
    unseen_seed,
)
from adana.nn import Family, ModelConfig
from adana.runs import RunError, write_json
from adana.searches import Search
from adana.train import LayoutConfig, ScheduleName, TrainConfig, optimizer_names


@dataclass(frozen=True)
class RunLadder(EngineFlags, DataFlags):
    """Train a small ladder, several optimizers at several sizes, and report what they save.

    Every optimizer is trained at every size with the same number of learning rates, each with every
    seed; where the best is at the end of its grid, rates are added until it is not. The report
    compares them at their best: losses, laws, and how much compute the baseline needs for the same
    loss, with intervals. Stop it whenever you like: the same command goes on where it was.
        adana ladder run --preset smoke      minutes on 2 cores: does everything work?
        adana ladder run                     about two hours on 2 cores
        adana ladder run --plan              what that would train, and how long it takes here
        adana ladder run --data my_texts/ --optimizers adamw adana --seeds 3
        adana ladder run --optimizers adamw adana adana:kappa=0.75       one of them twice
        adana ladder run --model lstm --width 32 64 128                  another family
        adana ladder run --optimizers adamw adana --tuned runs/tune-*    with what searches found
    """

    preset: Literal["laptop", "smoke"] = "laptop"
    """Where settings come from that are not given here. laptop: 3 optimizers, 4 sizes up to 0.28 M
    parameters, 20 tokens for each, 5 rates, 2 seeds. smoke: the same shape with tiny models."""
    optimizers: Annotated[
        tuple[str, ...],
        tyro.conf.arg(
            help="The first one is the baseline. NAME:KEY=VALUE,KEY=VALUE for one with values of "
            "its own, as adana:kappa=0.9,omega=8. Default: those of the preset. Known: "
            f"{', '.join(optimizer_names())}."
        ),
    ] = ()
    model: Family = Study.family
    """Family of the models (docs/models.md)."""
    heads: tuple[int, ...] = ()
    """Sizes of the transformers, in attention heads. Default: 1 2 3 4."""
    head_dim: int | None = None
    """Channels of a head, so width = heads x head_dim: 24 makes a night of laptop. Default: 16."""
    width: tuple[int, ...] = ()
    """Sizes of the LSTM. Default: 16 32 48 64."""
    layers: int | None = None
    """Blocks, at every size. Default: floor(3 * heads / 4), at least 1, for Enoki; 2 * heads for
    Qwen3; 2 for the LSTM."""
    sequence_length: int | None = None
    """Context in tokens. Default: the preset's, 128 for laptop."""
    batch_size: int | None = None
    """Sequences per optimizer step. Default: the preset's, 16 for laptop."""
    schedule: ScheduleName = Study.schedule
    """Learning-rate schedule, as for `adana train`."""
    rates: int | None = None
    """Learning rates of every optimizer at every size. Default: as many as the preset has."""
    seeds: int | None = None
    """Seeds of every learning rate. Default: as many as the preset has."""
    tokens_per_param: float | None = None
    """Training tokens for each parameter, embedding and head included. Default: as the preset."""
    lr: tuple[str, ...] = ()
    """Middle of the grid of learning rates as NAME=VALUE, at all sizes: the nearest of 0.001 times
    powers of 2. Default: a rule, printed with its source."""
    tuned: tuple[Path, ...] = ()
    """Folders of searches (`adana tune`), one for an optimizer: all but the learning rate that they
    found at their largest size holds at every size of the ladder, warm-up as a share of the steps.
    Seeds are then those above all that a search has trained."""
    vocab_size: int | None = None
    """Tokens of the byte-level BPE trained on the corpus, at least 257; default the preset's. With
    another tokenizer, the model's vocabulary; default its tokens rounded up to a multiple of 64."""
    precision: Literal["float32", "bfloat16"] = Study.precision
    """What matrices are multiplied in; weights, gradients and optimizer states stay float32."""
    compile: bool = False
    """Compile the model's blocks with torch.compile: a minute at the start of each training, faster
    steps after."""
    micro_batch: int | None = None
    """Sequences that a device puts through the model at a time; does not change the result."""
    device: str = Settings.device
    """cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""
    jobs: int | None = None
    """Trainings at a time. Default: one per core on the CPU, one on each GPU; small models leave
    room for many on one."""
    threads: int | None = None
    """CPU threads of each training. Default: the cores, shared out."""
    runs: Path = RUNS
    """Folder below which the run directories lie, in one of the ladder's own."""
    output: Path | None = None
    """Folder of the report. Default: `report` beside the run directories."""
    plan: bool = False
    """Print what would be trained and how long it takes on this machine, and stop."""


def run_command(arguments: RunLadder) -> int:
    """Run `adana ladder run`; return the exit code."""
    console = unbreakable(Console())
    study = make_study(arguments)
    centres = {
        name: Rate(lr, f"the given {lr:g}")
        for name, lr in given_rates(arguments.lr, study.optimizers).items()
    }
    grid = {cell: first_rates(study, cell, centres.get(cell.optimizer)) for cell in study.cells}
    bests = read_bests(arguments.tuned, study.optimizers, lambda text: say(console, text))
    shards = prepare_with_bar(study.data, console)
    study = tuned_study(study, bests, grid, shards.fingerprint)
    ladder = _Ladder(arguments, study, shards, console)
    ladder.introduce(grid)
    if arguments.plan:
        return 0
    planned = ladder.train(grid)
    if not planned:
        say(console, "Stopped. The same command goes on where it was.")
        say(console, f"A report of what is there: adana report {shlex.quote(str(ladder.folder))}")
        return ladder.code
    everything = [p for own in planned.values() for p in own]
    ladder.record(everything)
    try:
        write_whole_study(
            *([p.run for p in everything], study.optimizers[0]),
            *(arguments.output or ladder.folder / "report", console),
            command=own_command(),
        )
    except RunError as error:
        if not ladder.failures:
            raise
        say(console, f"no report: {error}")
    if ladder.failures:
        raise FailedRuns(ladder.failures)
    return 0


def make_study(arguments: RunLadder) -> Study:
    """Return the preset with what was given in its place.

    Raises:
        ValueError: a number is out of range, or an optimizer is unknown.
    """
    arguments.check(arguments.jobs)
    check_folder("--runs", arguments.runs)
    if arguments.output:
        check_folder("--output", arguments.output)
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f"--jobs must be at least 1, got {arguments.jobs}")
    if not arguments.plan:
        arguments.check_installed()
    study = PRESETS[arguments.preset]
    names = (
        *("optimizers", "head_dim", "layers", "sequence_length", "batch_size", "schedule"),
        *("rates", "seeds", "tokens_per_param", "precision"),
    )
    given: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    given["family"], given["sizes"] = arguments.model, _sizes(arguments, study)
    data = arguments.data_config()
    if arguments.tokenizer != DataConfig.tokenizer:
        given["vocab_size"] = arguments.vocab_size
    elif arguments.vocab_size is None:
        data = dataclasses.replace(data, vocab_size=study.data.vocab_size)
    given["data"] = data
    return dataclasses.replace(study, **{k: v for k, v in given.items() if v not in (None, ())})


def _sizes(arguments: RunLadder, study: Study) -> tuple[int, ...]:
    """Return the sizes in what the family counts them in."""
    lstm = arguments.model == "lstm"
    for flag in ("heads", "head_dim") if lstm else ("width",):
        if getattr(arguments, flag) not in ((), None):
            own = "--width" if lstm else "--heads and --head-dim"
            raise ValueError(
                f"--{flag.replace('_', '-')} does not go with --model {arguments.model}: its sizes "
                f"are {own}"
            )
    if lstm:
        return arguments.width or tuple(heads * study.head_dim for heads in study.sizes)
    return arguments.heads or study.sizes


def tuned_study(
    study: Study,
    bests: Mapping[str, Search],
    grid: Mapping[Cell, Sequence[Rate]],
    fingerprint: str,
) -> Study:
    """Return the study with what searches found, and with seeds that none of them has trained.

    Raises:
        ValueError: a search was on other data or of another kind of training.
    """
    if not bests:
        return study
    found = {}
    for cell, rates in grid.items():
        if cell.optimizer in bests and cell.optimizer not in found:
            config = study.config(cell, rates[0], 0, LayoutConfig())
            found[cell.optimizer] = carried(config, bests[cell.optimizer], fingerprint)
    return dataclasses.replace(study, tuned=found, first_seed=unseen_seed(bests.values()))


def own_command() -> str:
    """Return the command line as it was typed."""
    return shlex.join(["adana", *sys.argv[1:]])


class _Ladder:
    """What every phase needs."""

    def __init__(
        self, arguments: RunLadder, study: Study, shards: Shards, console: Console
    ) -> None:
        self.arguments, self.study, self.shards, self.console = arguments, study, shards, console
        name = f"ladder-{arguments.preset}-{study.key(shards.fingerprint)}"
        self.folder = arguments.runs / name
        layout = LayoutConfig(
            device=arguments.device,
            threads=arguments.threads,
            compile=arguments.compile,
            micro_batch=arguments.micro_batch,
        )
        count = len(study.cells) * study.rates * study.seeds
        self.jobs, threads = share_out(count, layout, arguments.jobs, arguments)
        self.layout = dataclasses.replace(layout, threads=threads)
        self.code = 0
        """Exit code of the last trainings: not 0 if they were stopped."""
        self.failures: list[Failure] = []
        """The trainings that failed so far; they are not tried again."""
        self._seconds: dict[tuple[str, ModelConfig], float] = {}
        self._said: set[str] = set()

    def introduce(self, grid: Mapping[Cell, Sequence[Rate]]) -> None:
        """Print what will be trained with the rule of every number, and how long it takes."""
        missing = [
            [p.config for rate in rates for p in self._place(cell, rate) if not p.run.concluded]
            for cell, rates in grid.items()
        ]
        hours = None
        if self.arguments.engine == "local":
            took = [len(own) * own[0].steps * self._step_cost(own[0]) for own in missing if own]
            hours = sum(took) / self.jobs / 3600
        print_study(
            *(self.console, self.study, grid),
            left=sum(map(len, missing)),
            hours=hours,
            jobs=self.jobs,
            corpus_tokens=len(self.shards.train),
        )
        say(self.console, f"run directories: {self.folder}")

    def train(self, grid: Mapping[Cell, Sequence[Rate]]) -> dict[Cell, list[PlannedRun]]:
        """Train all of the grid, and what has to be added to it; empty if it was interrupted.

        Runs that failed are among them. Where one did, no rates are added.
        """
        planned = {
            cell: [p for rate in rates for p in self._place(cell, rate)]
            for cell, rates in grid.items()
        }
        while True:
            if not self._train(training_order(planned)):
                return {}
            added = self._widen(planned)
            if not added:
                return planned
            for cell, more in added.items():
                planned[cell] += more

    def record(self, planned: Sequence[PlannedRun]) -> None:
        """Write beside the run directories which of them the study is made of."""
        content = {
            "command": own_command(),
            "preset": self.arguments.preset,
            "study": dataclasses.asdict(self.study),
            "runs": [p.path.name for p in planned],
        }
        write_json(self.folder / "study.json", content)

    def _widen(self, planned: Mapping[Cell, Sequence[PlannedRun]]) -> dict[Cell, list[PlannedRun]]:
        """Return the trainings to add, and say why."""
        added = {}
        failed = {failure.path for failure in self.failures}
        for cell, own in planned.items():
            if any(p.path in failed for p in own):
                continue
            rate = next_rate(self.study, mean_losses(own))
            if rate is not None:
                added[cell] = self._place(cell, rate)
                where = f"{cell.optimizer}, {self.study.words(cell.size)}"
                say(self.console, f"{where}: lr {rate.lr:.4g} {rate.source}")
        return added

    def _train(self, planned: Sequence[PlannedRun]) -> bool:
        """Train what is missing; whether all of it has ended, well or not."""
        failed = {failure.path for failure in self.failures}
        left = [p for p in planned if p.path not in failed]
        if not left:
            return True
        try:
            self.code = train_all(
                *(left, self.arguments.jobs, self.shards.folder, self.console, self.arguments),
                step_cost=self._step_cost,
            )
        except FailedRuns as error:
            self.failures += error.failures
            self.code = 0
        return self.code == 0

    def _step_cost(self, config: TrainConfig) -> float:
        """Return the seconds of a step, measured once for each cell; on a cluster its FLOPs.

        FLOPs would not do here: a step of the smallest models is all overhead.
        """
        if self.arguments.engine != "local":
            return step_flops(config)
        key = (config.optimizer.name, config.model)
        if key not in self._seconds:
            self._seconds[key] = likely_seconds(config, self._say_once)
        return self._seconds[key]

    def _say_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            say(self.console, text)

    def _place(self, cell: Cell, rate: Rate) -> list[PlannedRun]:
        """Return the trainings of one rate, one for each seed."""
        configs = [
            self.study.config(cell, rate, self.study.first_seed + n, self.layout)
            for n in range(self.study.seeds)
        ]
        return [plan_run(config, self.folder, self.shards.fingerprint) for config in configs]
