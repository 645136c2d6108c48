"""`adana ladder plan`: what a ladder of models would cost, before anything is trained."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from adana import schedules
from adana.checks import check_range
from adana.cli.compare import given_rates
from adana.cli.ladder.tables import NARROWEST, print_plan
from adana.cli.terminal import say
from adana.ladder import (
    BATCH_SIZE,
    DEVICES,
    MFU,
    THIS,
    TOKENS_PER_PARAM,
    Hardware,
    NoLawError,
    PlannedTraining,
    find_device,
    open_rules,
    plan_rung,
    plan_to_dict,
    plan_trainings,
)
from adana.nn import EnokiConfig
from adana.train import LayoutConfig, optimizer_entry

OPTIMIZERS_OF = {"enoki": ("adamw", "adana"), "qwen3": ("adamw", "adana-released")}
"""What is planned unless said otherwise: the baseline, and the ADana that has a law there."""


@dataclass(frozen=True)
class PlanLadder:
    """Plan a ladder: sizes, budgets, learning rates, compute, memory and hours. Trains nothing.

    A ladder is one shape of model at growing sizes; a rung is its number of heads. Everything else
    follows from rules, and every number is printed with its own: the tokens from the parameters,
    the steps from the tokens, the learning rate from the law published for exactly this optimizer,
    architecture and batch. Where nobody published one, you are asked for it. Ends with the commands
    that train what was planned. Try:
        adana ladder plan enoki --heads 6 8 12
        adana ladder plan enoki --heads 40 --device-type h100 --devices 8 --parallel fsdp
        adana ladder plan qwen3 --heads 4 --tokens-per-param 20 100 1000 --json plan.json

    docs/ladder.md explains every column.
    """

    family: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(
            help="enoki (published from 2 to 48 heads) or qwen3 (4 to 16). None of the LSTM is "
            "published."
        ),
    ] = "enoki"
    heads: tuple[int, ...] = (6, 8, 12)
    """The rungs, in attention heads. Enoki: width 64 H, floor(3 H / 4) layers. Qwen3: width 128 H,
    2 H layers."""
    optimizers: tuple[str, ...] = ()
    """Default: adamw and adana; for qwen3 adamw and adana-released, whose law it is."""
    tokens_per_param: tuple[float, ...] = (TOKENS_PER_PARAM,)
    """Training tokens for each parameter, embedding and head included: 20 is what the published
    ladders have, more is overtraining. Up to a million. Several plan each rung at each of them."""
    batch_size: int = BATCH_SIZE
    """Sequences of a step. The published laws are for 32 or 512 sequences of 2048."""
    sequence_length: int = EnokiConfig.sequence_length
    """Context in tokens."""
    vocab_size: int = EnokiConfig.vocab_size
    """Rows of the embedding and of the head."""
    kappa: float = schedules.KAPPA
    """Damping exponent of ADana and its relatives; laws exist for 0.75, 0.8, 0.85 and 0.9."""
    lr: tuple[str, ...] = ()
    """Peak learning rates as NAME=VALUE, for all rungs, in place of the law's."""
    rules: tuple[Path, ...] = ()
    """Files of `adana rules fit`, to take learning rates from in place of the published laws. A
    given --lr beats them."""
    extrapolate_lr: Literal[32, 512] | None = None
    """Use the law for steps of this many sequences of 2048 tokens all the same, though the batch is
    another. Printed as such."""
    device_type: Annotated[
        str, tyro.conf.arg(help=f"One of {', '.join(DEVICES)}, or {THIS}: measure this machine.")
    ] = "h100"
    devices: int = 1
    """How many of them."""
    mfu: float = MFU
    """Share of the devices' peak that you expect to reach: hours are proportional to 1 / MFU."""
    parallel: Literal["ddp", "fsdp"] = LayoutConfig.parallel
    """ddp: every device holds everything; fsdp: each a share of weights, gradients and state."""
    micro_batch: int | None = None
    """Sequences of a forward pass on a device. Default: the most that fit, by the estimate."""
    activation_checkpointing: bool = False
    """Plan with activations recomputed in the backward pass: less memory. The work done twice is
    not counted: lower --mfu by a quarter."""
    loss_chunk: int | None = None
    """Tokens whose logits exist at a time. Default: the trainer's."""
    json: Path | None = None
    """Also write everything to this file."""


def plan_command(arguments: PlanLadder) -> int:
    """Run `adana ladder plan`; return the exit code."""
    trainings, hardware = make_plan(arguments)
    commands = [training_command(t, arguments) for t in trainings]
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, NARROWEST)
    if arguments.json:  # before it is printed, which may fail
        write_json(arguments.json, trainings, hardware, commands)
    print_plan(console, trainings, hardware, commands, ladder_commands(trainings, arguments))
    if arguments.json:
        say(console, f"json: {arguments.json.resolve()}")
    return 0


def make_plan(arguments: PlanLadder) -> tuple[list[PlannedTraining], Hardware]:
    """Return the trainings that the arguments ask for, and what they run on."""
    optimizers = arguments.optimizers or OPTIMIZERS_OF.get(arguments.family, ())
    lists = {
        "--heads": arguments.heads,
        "--optimizers": optimizers,
        "--tokens-per-param": arguments.tokens_per_param,
    }
    for kind, named in lists.items():
        if len(set(named)) != len(named):
            raise ValueError(f"{kind} names one twice in {' '.join(map(str, named))}")
    for name in optimizers:
        optimizer_entry(name)
    check_range("--kappa", arguments.kappa, low=0.0, high=1.0)
    if not arguments.heads:
        raise ValueError("--heads names no rung; say --heads 6 8 12")
    if not arguments.tokens_per_param:
        raise ValueError("--tokens-per-param names no budget; say --tokens-per-param 20 100")
    rungs = [
        plan_rung(
            arguments.family,
            heads,
            tokens_per_param=ratio,
            batch_size=arguments.batch_size,
            sequence_length=arguments.sequence_length,
            vocab_size=arguments.vocab_size,
        )
        for heads in sorted(arguments.heads)
        for ratio in sorted(arguments.tokens_per_param)
    ]
    layout = LayoutConfig(
        micro_batch=arguments.micro_batch,
        parallel=arguments.parallel,
        activation_checkpointing=arguments.activation_checkpointing,
        loss_chunk=arguments.loss_chunk,
    )
    rules = open_rules(arguments.rules)
    rules.check_used(optimizers)
    hardware = Hardware(find_device(arguments.device_type), arguments.devices, arguments.mfu)
    try:
        trainings = plan_trainings(
            rungs,
            optimizers,
            hardware,
            layout=layout,
            kappa=arguments.kappa,
            given=given_rates(arguments.lr, optimizers),
            law_batch=arguments.extrapolate_lr,
            rules=rules,
        )
    except NoLawError as error:
        advice = "Pass one (--lr NAME=VALUE)"
        if error.batches:
            flags = " or ".join(f"--extrapolate-lr {batch}" for batch in error.batches)
            advice += f", or take the law of another batch all the same ({flags})"
        raise error.advise(f"{advice}.") from None
    return trainings, hardware


def ladder_commands(trainings: Sequence[PlannedTraining], arguments: PlanLadder) -> list[str]:
    """Return the command lines of `adana ladder run` for all of it, one for each budget.

    None for what it cannot do: a training on several devices, another kappa, less memory, rates by
    a rule file or by the law of another batch.
    """
    beyond = (
        arguments.devices > 1,
        arguments.kappa != schedules.KAPPA,
        arguments.activation_checkpointing,
        arguments.loss_chunk,
        arguments.rules,
        arguments.extrapolate_lr,
        not all(t.estimate.fits for t in trainings),
    )
    if any(beyond):
        return []
    commands = []
    for ratio in sorted(arguments.tokens_per_param):
        own = [t for t in trainings if t.rung.tokens_per_param == ratio]
        flags = {
            "--optimizers": list(dict.fromkeys(t.optimizer for t in own)),
            "--heads": sorted({t.rung.heads for t in own}),
            **_shared_flags(own[0]),
            "--micro-batch": min(t.estimate.micro_batch for t in own),
            "--lr": list(arguments.lr) or None,
        }
        commands.append(_command(["adana", "ladder", "run"], flags))
    return commands


def training_command(training: PlannedTraining, arguments: PlanLadder) -> str:
    """Return the command line that trains what was planned, but for the data."""
    rung, devices = training.rung, arguments.devices
    flags = {
        "--optimizer": training.optimizer,
        "--kappa": None if training.kappa is None else f"{training.kappa:g}",
        "--lr": f"{training.rate.lr:.4g}",
        "--heads": rung.heads,
        "--layers": rung.model.depth,
        **_shared_flags(training),
        "--micro-batch": training.estimate.micro_batch,
        "--loss-chunk": arguments.loss_chunk,
        "--parallel": arguments.parallel if devices > 1 else None,
        "--activation-checkpointing": [] if arguments.activation_checkpointing else None,
    }
    start = f"torchrun --nproc-per-node {devices} -m adana" if devices > 1 else "adana"
    return _command([*start.split(), "train"], flags)


def _shared_flags(training: PlannedTraining) -> dict[str, Any]:
    """What all trainings of one budget have in common."""
    rung, model = training.rung, training.rung.model
    return {
        "--model": model.family,
        "--head-dim": model.width // rung.heads,
        "--sequence-length": model.sequence_length,
        "--tokenizer": "gpt2" if model.vocab_size == EnokiConfig.vocab_size else None,
        "--vocab-size": model.vocab_size,
        "--batch-size": rung.batch_size,
        "--tokens-per-param": f"{rung.tokens_per_param:g}",
        "--precision": "bfloat16" if training.estimate.bf16 else "float32",
    }


def _command(words: Sequence[str], flags: Mapping[str, Any]) -> str:
    """Return a command line; a flag of None is left out, one of a list has several values."""
    line = list(words)
    for flag, value in flags.items():
        if value is not None:
            line += [flag, *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(line)


def write_json(
    path: Path, trainings: list[PlannedTraining], hardware: Hardware, commands: list[str]
) -> None:
    """Write everything about a plan, the commands included."""
    content = plan_to_dict(trainings, hardware)
    for row, command in zip(content["trainings"], commands, strict=True):
        row["command"] = command
    try:
        path.write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise ValueError(
            f"cannot write {path}: {error.strerror or error}. Give --json a file in a folder that "
            "exists"
        ) from error
