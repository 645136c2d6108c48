"""Running the trainings of a plan side by side, with progress."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from adana.cli.engine_flags import EngineFlags
from adana.cli.progress import Display
from adana.cli.terminal import say
from adana.cli.train import CTRL_C, EXIT_CODES, outcome_text
from adana.ladder import PlannedRun, job_payload, run_job
from adana.nn import model_flops
from adana.signals import SCHEDULER_SIGNALS
from adana.train import LayoutConfig, TrainConfig, gpus_to_share, pick_device
from adana.tune import Engine, Result


def step_flops(config: TrainConfig) -> float:
    """Return the model FLOPs of a step: what it is worth where its seconds are not known."""
    return model_flops(config.model, config.tokens_per_step)


class Failure(NamedTuple):
    """A training that failed, unlike one that diverged."""

    name: str
    """What it is called for people."""
    path: Path
    """Its run directory, which may be without anything in it."""
    reason: str


class FailedRuns(RuntimeError):
    """Some trainings failed; all others came to their end."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        self.failures = tuple(failures)
        runs = "run" if len(self.failures) == 1 else "runs"
        super().__init__(
            f"{len(self.failures)} {runs} failed ({'; '.join(f.name for f in self.failures)}), for "
            "the reasons above. The finished ones are kept: the same command trains only the rest."
        )


def train_all(
    planned: Sequence[PlannedRun],
    jobs: int | None,
    shards_folder: Path,
    console: Console,
    where: EngineFlags = EngineFlags(),  # noqa: B008 (frozen)
    *,
    step_cost: Callable[[TrainConfig], float] = step_flops,
) -> int:
    """Train what is not finished yet, `jobs` at a time, and show how far everything is.

    All have the same device and threads in their layout; threads of None are shared out. The time
    left is estimated by `step_cost`, what a step of a run costs in any unit. Returns the exit code:
    0, or that of the signal which stopped it (`stop_code`). Raises `FailedRuns` when all have ended
    if a run failed; a diverged one has not failed, it is a result.
    """
    layout = planned[0].config.layout
    workers, threads = share_out(len(planned), layout, jobs, where)
    missing = {name: p for name, p in _named(planned).items() if not p.run.concluded}
    if len(missing) < len(planned):
        say(console, f"reusing {len(planned) - len(missing)} finished runs")
    if not missing:
        return 0
    payloads, configs = {}, []
    for name, p in missing.items():
        own = dataclasses.replace(p.config.layout, threads=threads)
        config = dataclasses.replace(p.config, layout=own)
        configs.append(config)
        payloads[name] = job_payload(dataclasses.replace(p, config=config), shards_folder)
    keep_freed_memory()
    costs = {name: step_cost(p.config) for name, p in missing.items()}
    total = sum(p.config.steps * costs[name] for name, p in missing.items())
    with (
        where.build(workers, configs, lambda text: say(console, text)) as engine,
        Display(console, total, len(missing), costs) as display,
    ):
        results = engine.run(
            run_job,
            payloads,
            on_event=display.update,
            on_result=lambda name, result: display.finish(name, _result_text(result)),
        )
    if set(results) != set(missing):
        return stop_code(engine)
    if any(r.value is not None and r.value.state == "interrupted" for r in results.values()):
        return stop_code(engine)
    broken = [
        Failure(name, p.path, results[name].error)
        for name, p in missing.items()
        if results[name].error
    ]
    if broken:
        raise FailedRuns(broken)
    return 0


def stop_code(engine: Engine) -> int:
    """Return the exit code of a command whose trainings were stopped, as `adana train` has it."""
    return EXIT_CODES["interrupted"] if engine.stopped_by in SCHEDULER_SIGNALS else CTRL_C


def keep_freed_memory() -> None:
    """Have glibc's allocator in the workers keep what a step freed for the next one.

    Returned to the system, the buffers of the logits are faulted in again every step: 7 % of a step
    at the demo's size. Read when a process starts, so only workers are concerned; a value that is
    already set stays.
    """
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 * 2**20))
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**33))


def share_out(
    planned: int,
    layout: LayoutConfig,
    jobs: int | None,
    where: EngineFlags = EngineFlags(),  # noqa: B008 (frozen)
) -> tuple[int, int]:
    """Return how many trainings run at a time at most, and the CPU threads of each.

    Both depend on the whole plan, not on what is left of it: a run that goes on must do so
    with the threads it began with to end with the same bits.
    """
    if where.engine != "local":  # the cores are other machines'
        where.check(jobs)
        return planned, layout.threads or 1
    cores = os.cpu_count() or 1
    if jobs is None:
        if pick_device(layout.device).type == "cpu":
            room = cores // (layout.threads or 1)
        else:
            room = len(gpus_to_share(layout.device))
        jobs = min(max(1, room), planned)
    return jobs, layout.threads or max(1, cores // jobs)


def _named(planned: Sequence[PlannedRun]) -> dict[str, PlannedRun]:
    """Name the runs for people, briefly: label, size, peak learning rate, steps, seed."""
    several = len({p.config.model.width for p in planned}) > 1
    names = {}
    for p in planned:
        optimizer = p.config.optimizer
        size = f" d{p.config.model.width}" if several else ""
        name = f"{optimizer.label}{size} {optimizer.lr:.3g} T{p.config.steps} s{p.config.seed}"
        names[name if name not in names else p.path.name] = p
    return names


def _result_text(result: Result) -> str:
    return f"failed: {result.error}" if result.error else outcome_text(result.value)
