"""`adana rules show`: what a rule file says, and what it gives for a ladder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adana.cli.terminal import print_rows
from adana.ladder import BATCH_SIZE, TOKENS_PER_PARAM, Rule, read_rules, steps_of_budget
from adana.laws.rule_forms import FORMS
from adana.nn import EnokiConfig, ModelConfig, Qwen3Config, count_parameters
from adana.report import words
from adana.train import OptimizerConfig, ScheduleConfig, TrainConfig

SHAPES: dict[str, type[EnokiConfig | Qwen3Config]] = {"enoki": EnokiConfig, "qwen3": Qwen3Config}
"""Families with a ladder in heads."""


@dataclass(frozen=True)
class ShowRules:
    """Show the rules of a file with their provenance, and what they give for rungs of a ladder."""

    file: Annotated[Path, tyro.conf.Positional]
    """A file of `adana rules fit`."""
    heads: tuple[int, ...] = ()
    """Rungs of the rule's family to evaluate it at, in attention heads."""
    head_dim: int | None = None
    """Channels of a head of these rungs. Default: the family's."""
    tokens_per_param: float = TOKENS_PER_PARAM
    """Training tokens for each parameter of these rungs."""
    batch_size: int = BATCH_SIZE
    """Sequences of a step of these rungs."""
    sequence_length: int = EnokiConfig.sequence_length
    """Context of these rungs in tokens."""
    vocab_size: int = EnokiConfig.vocab_size
    """Rows of the embedding of these rungs."""


def show_rules_command(arguments: ShowRules) -> int:
    """Run `adana rules show`; return the exit code."""
    rules = read_rules(arguments.file)
    console = Console()
    for rule in rules:
        title = f"{rule.hyperparameter} of {rule.optimizer} ({rule.family})"
        console.print(Text(title, style="bold underline"))
        print_rows(console, _rows(rule))
        console.print()
        if arguments.heads:
            _print_rungs(rule, arguments, console)
    return 0


def _rows(rule: Rule) -> Iterator[tuple[str, str]]:
    yield "rule", f"{rule.hyperparameter} = {rule.formula}"
    yield "form", FORMS[rule.form].source
    for name, (low, high) in rule.intervals.items():
        yield name, f"{rule.values[name]:.4g} ({100 * rule.level:g} %: {low:.3g} to {high:.3g})"
    for name, why in rule.not_identified.items():
        yield name, f"not identified: {why}"
    for name, (low, high) in rule.fitted.items():
        yield name, f"fitted from {words.short(low)} to {words.short(high)}"
    yield "tokens per step", " or ".join(map(str, rule.tokens_per_step))
    known = (f"{name} {value}" for name, value in rule.settings.items() if value is not None)
    yield "settings", ", ".join(known)
    yield "residual", f"{math.expm1(rule.rms):.1%} at {rule.sizes} sizes"
    tried = (
        f"{FORMS[form].formula}: {'-' if error is None else f'{math.expm1(error):+.0%}'}"
        for form, error in rule.compared.items()
        if form in FORMS
    )
    yield "held out", f"error at the largest size, fitted without it: {', '.join(tried)}"
    yield "runs", f"{len(rule.runs)}: {', '.join(rule.runs)}"


def _print_rungs(rule: Rule, arguments: ShowRules, console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("H", "P", "steps", rule.hyperparameter, "reservations"):
        table.add_column(column, justify="left" if column == "reservations" else "right")
    for heads in sorted(arguments.heads):
        config = _training(rule, heads, arguments)
        ruled = rule.give(config, str(arguments.file))
        cells = (
            str(heads),
            words.short(count_parameters(config.model).non_embedding),
            f"{config.steps:,}",
            f"{ruled.value:.4g}",
            "; ".join(ruled.reservations),
        )
        table.add_row(*map(Text, cells))
    console.print(table)


def _training(rule: Rule, heads: int, arguments: ShowRules) -> TrainConfig:
    """Return a training of a rung with the settings that the rule was fitted at."""
    model = _model(rule, heads, arguments)
    own = {field.name for field in dataclasses.fields(OptimizerConfig)}
    optimizer = {name: value for name, value in rule.settings.items() if name in own}
    schedule = ScheduleConfig(
        rule.settings.get("schedule", ScheduleConfig.name),
        final=rule.settings.get("final", ScheduleConfig.final),
    )
    return TrainConfig(
        OptimizerConfig(rule.optimizer, lr=1.0, **optimizer),
        steps=steps_of_budget(model, arguments.batch_size, arguments.tokens_per_param),
        batch_size=arguments.batch_size,
        model=model,
        schedule=schedule,
        clip=rule.settings.get("clip", TrainConfig.clip),
    )


def _model(rule: Rule, heads: int, arguments: ShowRules) -> ModelConfig:
    shape = SHAPES.get(rule.family)
    if shape is None:
        raise ValueError(
            f"the rule is for {rule.family}, which has no ladder in heads; leave --heads out, and "
            "read the value off `adana train --rules`"
        )
    return shape(
        heads=heads,
        head_dim=shape.head_dim if arguments.head_dim is None else arguments.head_dim,
        vocab_size=arguments.vocab_size,
        sequence_length=arguments.sequence_length,
        init=rule.settings.get("init", shape.init),
    )
