"""`adana schedules`: what a log-time optimizer does at every step, as a page of charts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.console import Console

from adana import schedules
from adana.checks import check_range
from adana.cli.terminal import print_rows, say
from adana.report import Course, overview, save_static, totals, write_schedules
from adana.train import ScheduleConfig, ScheduleName

NAMES: tuple[ScheduleName, ...] = get_args(ScheduleName)


@dataclass(frozen=True)
class SchedulesArguments:
    """Draw how memory, momentum, weight decay and learning rate change over a run.

    Writes one interactive page that works offline, and trains nothing: the schedules of a log-time
    optimizer beside the constants of AdamW and the warm-ups of AdEMAMix. The page has sliders for
    kappa, delta and omega; the options say where they stand at first. A number of steps that the
    charts should be right for is worth giving: --steps 20000.
    """

    steps: int = 100_000
    """Optimizer steps T of the training that is drawn, 100 to 10 million."""
    kappa: float = schedules.KAPPA
    """Damping: the momentum counts (1 + t)^(1 - kappa) times. 1: it does not grow; 0.75 to 0.9 are
    useful; 0: undamped."""
    delta: float = schedules.DELTA
    """Memory: the newest gradient weighs delta / (delta + t), the mean age is t / (delta + 1)."""
    omega: float = schedules.OMEGA
    """Strength of weight decay: gamma(t) * omega / (S + t) of each weight a step. The same number
    as AdamW's lr * weight_decay * steps."""
    decay_offset: float | None = None
    """S in steps. Default: steps / 10."""
    schedule: ScheduleName = ScheduleConfig.name
    """Learning-rate multiplier gamma(t): cosine, linear, warm-up-stable-decay, or constant."""
    warmup_steps: int | None = None
    """Warm-up length in steps. Default: steps / 50."""
    final: float = ScheduleConfig.final
    """Where gamma ends."""
    betas: tuple[float, float] = schedules.BETAS
    """Constant betas to compare with, say 0.9 0.95."""
    output: Path = Path("schedules.html")
    """The page."""
    picture: Path | None = None
    """Also draw all charts as one picture that does not move: a .svg or .png file."""


def schedules_command(arguments: SchedulesArguments) -> int:
    """Run `adana schedules`; return the exit code."""
    check_arguments(arguments)
    console = Console()
    course = course_of(arguments)
    rows = describe_course(arguments, course)
    write_schedules(course, arguments.output, rows)
    if arguments.picture:
        save_static(overview(course), arguments.picture)
    print_rows(console, rows)
    if arguments.picture:
        say(console, f"picture: {arguments.picture.resolve()}")
    say(console, f"schedules: {arguments.output.resolve()}")
    return 0


def check_arguments(arguments: SchedulesArguments) -> None:
    """Raise `ValueError` for arguments that cannot be drawn."""
    check_range("--kappa", arguments.kappa, low=0.0, high=1.0)
    check_range("--delta", arguments.delta, low=0.0, low_open=True)
    check_range("--omega", arguments.omega, low=0.0, low_open=True)
    if arguments.decay_offset is not None:
        check_range("--decay-offset", arguments.decay_offset, low=0.0)
    for beta in arguments.betas:
        check_range("--betas", beta, low=0.0, high=1.0, low_open=True, high_open=True)
    if arguments.picture and arguments.picture.suffix not in (".svg", ".png"):
        raise ValueError(f"--picture takes a .svg or .png file, got {arguments.picture}")


def course_of(arguments: SchedulesArguments) -> Course:
    """Return what is drawn; the learning-rate schedules with the chosen one first."""
    names = sorted(NAMES, key=lambda name: name != arguments.schedule)
    configs = [ScheduleConfig(name, arguments.warmup_steps, arguments.final) for name in names]
    return Course(
        steps=arguments.steps,
        gammas={config.name: config.gamma(arguments.steps) for config in configs},
        kappa=arguments.kappa,
        delta=arguments.delta,
        omega=arguments.omega,
        decay_offset=arguments.decay_offset,
        betas=arguments.betas,
    )


def describe_course(arguments: SchedulesArguments, course: Course) -> list[tuple[str, str]]:
    """Return what the charts show in words and numbers, for printing and for the page."""
    steps, kappa, delta, omega = course.steps, course.kappa, course.delta, course.omega
    warmup = arguments.warmup_steps
    if warmup is None:
        warmup = schedules.default_warmup_steps(steps)
    decay = course.log_time_decay(omega)
    log_time, constant = totals(course)
    beta2 = course.betas[1]
    return [
        ("steps T", f"{steps:,}"),
        (
            "memory",
            f"mean age t / (delta + 1), {100 / (delta + 1):.3g} % of training, delta {delta:g}: "
            f"{schedules.mean_age(steps, delta):,.0f} steps at the end, where beta {beta2:g} has "
            f"{schedules.constant_mean_age(steps, beta2):,.0f}",
        ),
        (
            "momentum",
            f"(1 + t)^(1 - kappa), from {schedules.damping(1, kappa):.3g} to "
            f"{schedules.damping(steps, kappa):.3g} times the average, kappa {kappa:g}",
        ),
        (
            "weight decay",
            f"omega / (S + t), from {decay(1):.3g} to {decay(steps):.3g} a step before gamma, "
            f"omega {omega:g}; {log_time:.3g} in all, where constant decay omega / T removes "
            f"{constant:.3g}",
        ),
        (
            "learning rate",
            f"{ScheduleConfig(arguments.schedule, final=arguments.final).text()}, "
            f"warm-up {warmup:,} steps",
        ),
    ]
