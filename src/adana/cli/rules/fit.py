"""`adana rules fit`: from finished runs to a rule file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from adana.cli.grid import Grid
from adana.cli.run_folders import RUNS
from adana.cli.terminal import say, unbreakable
from adana.ladder import Rule, TunedSize, read_tuned, rule_of, write_rules
from adana.laws.bowl import Bowl
from adana.laws.rule_forms import FORMS, find_form
from adana.laws.rules import BOOTSTRAP, LEVEL, Optimum, RuleFit, compare_rules
from adana.report import words
from adana.runs import Run, RunError, find_runs


@dataclass(frozen=True)
class FitRules:
    """Fit rules to the best values of finished runs, learning rates by default, as a file.

    At every size the loss is fitted as a parabola in the logarithm of the learning rate. A size
    whose best rate is at the end of its grid is left out: its optimum is not known. Then several
    forms of rule are fitted to the optima. Written is a power law, `a P^d`, unless another form is
    clearly better, as docs/rules.md says, or --form names one.
    """

    output: Path
    """The rule file, JSON."""
    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = (RUNS,)
    """Run directories, or folders that contain some."""
    hyperparameter: Literal["lr", "omega", "kappa", "delta", "momentum_scale"] = "lr"
    """What the rules are for. All but lr: from runs with several values of it at every size."""
    form: Annotated[
        str | None,
        tyro.conf.arg(
            help=f"The rule to write: {', '.join(FORMS)}. Default: as docs/rules.md says."
        ),
    ] = None
    level: float = LEVEL
    """Coverage of the intervals."""
    bootstrap: int = BOOTSTRAP
    """Draws over sizes behind the intervals."""
    best_settings: bool = False
    """Runs of a size differ in other settings too, as after a search (schedule, clip, batch, betas,
    ...): take those that share the settings of the lowest bowl."""
    use_edges: bool = False
    """Use the lowest point of a grid that does not bracket its optimum, as if it were one."""


def fit_rules_command(arguments: FitRules) -> int:
    """Run `adana rules fit`; return the exit code."""
    _check(arguments)
    console = unbreakable(Console())
    runs = {run.path.resolve(): run for folder in arguments.folders for run in _runs(folder)}
    tuned, notes = read_tuned(
        runs.values(),
        hyperparameter=arguments.hyperparameter,
        best_settings=arguments.best_settings,
    )
    for note in notes:
        say(console, note)
    if not tuned:
        raise RunError("none of the runs is finished, so there is nothing to fit")
    rules = []
    for _, group in itertools.groupby(tuned, key=lambda size: (size.optimizer, size.family)):
        rule = _fit(list(group), arguments, console)
        rules += [] if rule is None else [rule]
    if not rules:
        raise ValueError(
            f"no size has a bracketed {arguments.hyperparameter}; train at more values "
            "on the sides named above"
        )
    write_rules(arguments.output, rules)
    say(console, f"rules: {arguments.output.resolve()}")
    return 0


def _check(arguments: FitRules) -> None:
    if arguments.form is not None:
        find_form(arguments.form)
    if not 0 < arguments.level < 1:
        raise ValueError(f"--level is a coverage between 0 and 1, got {arguments.level}")
    if arguments.bootstrap < 0:
        raise ValueError(f"--bootstrap must be 0 or more, got {arguments.bootstrap}")
    if arguments.output.is_dir():
        raise ValueError(f"--output {arguments.output} is a folder, expected a file")
    if not arguments.output.absolute().parent.is_dir():
        raise ValueError(f"--output {arguments.output} is in a folder that does not exist")


def _runs(folder: Path) -> list[Run]:
    found = find_runs(folder)
    if not found:
        raise RunError(f"there is no run directory (a folder with config.json) in {folder}")
    return found


def _fit(sizes: Sequence[TunedSize], arguments: FitRules, console: Console) -> Rule | None:
    """Print what was tuned and fitted of one optimizer; return its rule, None without optima."""
    name = arguments.hyperparameter
    bowls = [size.optimum(name) for size in sizes]
    console.print(_bowl_table(sizes, bowls, name).fitting(console))
    for size, bowl in zip(sizes, bowls, strict=True):
        if bowl.note:
            say(console, f"P = {words.short(size.scale.non_embedding)}: {bowl.note}")
    kept = [
        (size, bowl)
        for size, bowl in zip(sizes, bowls, strict=True)
        if arguments.use_edges or bowl.convex
    ]
    if not kept:
        return None
    optima = [Optimum(size.scale, bowl.lr) for size, bowl in kept]
    fits = compare_rules(optima, level=arguments.level, bootstrap=arguments.bootstrap)
    console.print(_fit_table(fits, sizes[0].optimizer).fitting(console))
    chosen = fits[0]
    if arguments.form is not None:
        named = [fit for fit in fits if fit.form.name == arguments.form]
        if not named:
            raise ValueError(
                f"{len(optima)} sizes are too few for --form {arguments.form} "
                f"({FORMS[arguments.form].formula}); possible: "
                f"{', '.join(fit.form.name for fit in fits)}"
            )
        chosen = named[0]
    rule = rule_of([size for size, _ in kept], name, chosen, fits)
    say(console, f"{rule.optimizer}: {name} = {rule.formula}")
    for statement in chosen.statements:
        say(console, f"  {statement}")
    return rule


def _bowl_table(sizes: Sequence[TunedSize], bowls: Sequence[Bowl], name: str) -> Grid:
    columns = ("P", "D", "D/N", "runs", f"best {name}", "±", "loss", "curvature", "grid")
    title = f"{sizes[0].optimizer} ({sizes[0].family}): best {name} at each size"
    table = Grid(title, *columns)
    for size, bowl in zip(sizes, bowls, strict=True):
        noise = "" if bowl.log_lr_se is None else f"{math.expm1(bowl.log_lr_se):.0%}"
        grid = "" if bowl.convex else f"{bowl.edge} end" if bowl.edge else "no parabola"
        table.add(
            words.short(size.scale.non_embedding),
            words.short(size.scale.tokens),
            f"{size.scale.tokens_per_param:.3g}",
            str(len(size.runs)),
            f"{bowl.lr:.4g}",
            noise,
            f"{bowl.loss:.4f}",
            f"{bowl.curvature:.4f}" if bowl.convex else "",
            grid,
        )
    return table


def _fit_table(fits: Sequence[RuleFit], optimizer: str) -> Grid:
    columns = ("form", "values", "residual", "held out", "not identified")
    table = Grid(f"{optimizer}: rules, the best first", *columns)
    for fit in fits:
        values = ", ".join(_value(fit, name) for name in fit.form.parameters)
        held_out = "" if fit.holdout is None else f"{math.expm1(fit.holdout):+.0%}"
        unknown = ", ".join(fit.not_identified)
        table.add(fit.form.formula, values, f"{math.expm1(fit.rms):.1%}", held_out, unknown)
    return table


def _value(fit: RuleFit, name: str) -> str:
    text = f"{name} {fit.values[name]:.4g}"
    if name not in fit.intervals:
        return text
    low, high = fit.intervals[name]
    return f"{text} [{low:.3g}, {high:.3g}]"
