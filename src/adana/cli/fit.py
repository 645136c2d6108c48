"""`adana fit`: loss laws and compute multipliers of runs that are already there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from adana.checks import check_range
from adana.cli.fit_chinchilla import report_surfaces
from adana.cli.fit_input import curves_of, read_input
from adana.cli.fit_output import (
    Pair,
    as_json,
    choices_lines,
    laws_table,
    multipliers_table,
    print_statements,
)
from adana.cli.terminal import say
from adana.laws import (
    Curve,
    LawFit,
    TooFewSizesError,
    fit_loss_laws,
    fitted_multiplier,
    piecewise_multiplier,
    seed_noise,
)
from adana.laws.curves import with_a_law
from adana.laws.law_problem import Exponents, Form, Saturation, Weights
from adana.laws.loss_law import Method
from adana.laws.multiplier import LEVEL
from adana.laws.resampling import Kind
from adana.runs import RunError, write_json


@dataclass(frozen=True)
class FitArguments:
    """Fit loss laws to finished runs, and say how much compute each optimizer saves.

    All optimizers are fitted together, L(C) = a + b C^-c with one saturation a. M is what the
    baseline needs for the same loss, over what was used: M = 1.3 means 30 % more. It is given by
    the fitted laws and, without any law, by lines between the baseline's own losses. "separable"
    says whether the interval excludes 1. docs/laws.md explains how to read it all.

    Example: adana fit runs/ --axis seconds
    """

    sources: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Run directories, folders of some, or CSV files with columns optimizer,compute,loss and, where
    there are some, seed and lr."""
    like: str | None = None
    """Of the run directories only those whose losses can be compared with those of this run (same
    data, vocabulary, evaluation and sequence length): its path, or the beginning of its name."""
    baseline: str = "adamw"
    """The optimizer the others are compared with."""
    axis: str = "compute"
    """What the losses are laid out over: compute (6PD, in PFH), tokens, seconds, or flops-NAME with
    another count of FLOPs (flops-6N1, flops-6N2, flops-M). In a CSV file: the column's name."""
    form: Literal["single", "broken", "chinchilla"] = "single"
    """single: a + b C^-c. broken: one more term e C^-f; rarely identified, read the statements.
    chinchilla: E + A N^-alpha + B D^-beta over models and tokens, from runs or a CSV file with
    columns optimizer,parameters,tokens,loss; E and the exponents are shared by all optimizers, and
    a test says whether they may be."""
    saturation: str = "shared"
    """shared by all optimizers, free for each, zero, or a number of nats."""
    exponents: Exponents = "free"
    """free for each optimizer, or shared."""
    method: Method = "robust"
    """robust: Huber's cost, least squares unless a point stands out."""
    weights: Weights = "equal"
    """compute: the largest sizes decide."""
    bootstrap: int = 1000
    """Draws behind the intervals."""
    resample: Kind = "residuals"
    """What a draw is: new noise on the law, or sizes drawn with replacement (needs many sizes)."""
    level: float = LEVEL
    """Coverage of the intervals."""
    extrapolate: bool = False
    """Let the piecewise multiplier go on beyond the baseline with its last segment's slope."""
    seed: int = 0
    """Seed of the draws."""
    output: Path | None = None
    """Also write everything to this JSON file."""


def fit_command(arguments: FitArguments) -> int:
    """Run `adana fit`; return the exit code."""
    saturation = _saturation(arguments.saturation)
    check_range("--level", arguments.level, low=0.0, high=1.0, low_open=True, high_open=True)
    check_range("--bootstrap", arguments.bootstrap, low=0)
    console = Console()
    one_curve = arguments.form != "chinchilla"
    found = read_input(
        arguments.sources, arguments.axis, console, one_curve=one_curve, like=arguments.like
    )
    if arguments.form == "chinchilla":
        return report_surfaces(
            found,
            arguments.baseline,
            level=arguments.level,
            bootstrap=arguments.bootstrap,
            seed=arguments.seed,
            output=arguments.output,
        )
    curves = curves_of(found.results, arguments.axis)
    names = [curve.name for curve in curves]
    print_statements(console, [*choices_lines(found.choices), *found.left_out])
    if arguments.baseline not in names:
        raise RunError(
            f"no run of the baseline {arguments.baseline!r}; there are {', '.join(names)}. Name "
            "one of them with --baseline"
        )
    fit = _fit(curves, arguments, arguments.form, saturation, console)
    pairs = _multipliers(curves, fit, arguments)
    if arguments.output:  # before it is printed, which may fail
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        content = as_json(fit, pairs, curves, arguments.level)
        write_json(arguments.output, content | {"left_out": list(found.left_out)})
    if fit:
        console.print(laws_table(fit, arguments.level))
        print_statements(console, fit.statements)
    if pairs:
        console.print(multipliers_table(pairs, arguments.baseline, arguments.axis))
    said = [text for pair in pairs.values() for curve in pair if curve for text in curve.statements]
    print_statements(console, list(dict.fromkeys([*_noise_words(curves, fit), *said])))
    if arguments.output:
        say(console, f"written: {arguments.output}")
    return 0


def _fit(
    curves: Sequence[Curve],
    arguments: FitArguments,
    form: Form,
    saturation: Saturation,
    console: Console,
) -> LawFit | None:
    """Fit the laws; with too few sizes for one, say so and go on without."""
    enough, said = with_a_law(curves)
    print_statements(console, said)
    try:
        return fit_loss_laws(
            enough,
            form=form,
            saturation=saturation,
            exponents=arguments.exponents,
            method=arguments.method,
            weights=arguments.weights,
            bootstrap=arguments.bootstrap,
            resample=arguments.resample,
            seed=arguments.seed,
        )
    except TooFewSizesError as error:
        print_statements(console, [f"no law: {error}"])
        return None


def _saturation(text: str) -> Saturation:
    if text in ("shared", "free", "zero"):
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        raise ValueError(
            f"--saturation is shared, free, zero or a number of nats, got {text!r}"
        ) from None


def _multipliers(
    curves: Sequence[Curve], fit: LawFit | None, arguments: FitArguments
) -> dict[str, Pair]:
    """Return both multipliers of every optimizer but the baseline, at its own sizes."""
    baseline = next(curve for curve in curves if curve.name == arguments.baseline)
    noise = None if fit is None or seed_noise(curves).freedom else fit.noise
    pairs: dict[str, Pair] = {}
    for curve in curves:
        if curve is baseline:
            continue
        fitted = None
        if fit and {baseline.name, curve.name} <= set(fit.laws):
            at = curve.computes
            fitted = fitted_multiplier(fit, baseline.name, curve.name, at, level=arguments.level)
        piecewise = piecewise_multiplier(
            baseline,
            curve,
            arguments.level,
            extrapolate=arguments.extrapolate,
            noise=noise,
            others=[own for own in curves if own not in (baseline, curve)],
            seed=arguments.seed,
        )
        pairs[curve.name] = (fitted, piecewise)
    return pairs


def _noise_words(curves: Sequence[Curve], fit: LawFit | None) -> list[str]:
    if seed_noise(curves).freedom or fit is None or not fit.noise.freedom:
        return []
    return [
        "every point has one seed: the piecewise intervals take the noise from the residuals of "
        "the fitted laws"
    ]
