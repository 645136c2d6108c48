"""What a rung needs of a device: memory and hours, estimated, each term with its formula.

Estimates, not promises: allocators leave gaps, compilers keep less than is counted here, and the
speed is a fraction of the peak that the user states (MFU). They answer "does it fit, and is it an hour
or a week", before anything is rented.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Literal

import torch

from adana.checks import check_choice, check_integer, check_range
from adana.ladder.devices import Device
from adana.ladder.rungs import Rung
from adana.nn import Enoki, EnokiConfig
from adana.train import OptimizerConfig, build_optimizer

Parallel = Literal["ddp", "fsdp"]
MFU = 0.4
"""Default share of the peak that a training reaches (model FLOPs utilisation): what well-made loops
reach at hundreds of millions of parameters on one node; small models reach less."""

BLOCK_BYTES = {
    ("enoki", True): 51,
    ("enoki", False): 76,
    ("qwen3", True): 70,
    ("qwen3", False): 100,
}
"""Bytes that one block keeps for the backward pass, per token and channel of the width, by (family,
under bf16 autocast). Counted on our models as torch runs them without a compiler; under autocast the
residual stream and the norms' inputs stay float32."""
LOGIT_BYTES = {True: 10, False: 8}
"""Bytes a logit takes at the worst moment: itself in bf16 and in float32 and its log-softmax under
autocast, else two float32."""
FLOAT32 = 4


@dataclass(frozen=True)
class Layout:
    """What is trained on, and how the work is shared out."""

    device: Device
    devices: int = 1
    parallel: Parallel = "ddp"
    """ddp: everything on every device; fsdp: weights, gradients and optimizer state in shares."""
    micro_batch: int | None = None
    """Sequences of a device's forward pass. Default: the most that fit, by this estimate."""
    activation_checkpointing: bool = False
    """Keep the input of every block only and compute the rest again."""
    loss_chunk: int | None = None
    """Tokens whose logits exist at a time. Default: those of the whole micro-batch."""
    mfu: float = MFU

    def __post_init__(self) -> None:
        check_integer("devices", self.devices, low=1)
        check_choice("parallel", self.parallel, ("ddp", "fsdp"))
        for name in ("micro_batch", "loss_chunk"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), low=1)
        check_range("mfu", self.mfu, low=0.0, high=1.0, low_open=True)


@dataclass(frozen=True)
class Term:
    """One part of the memory of a device."""

    name: str
    bytes: float
    formula: str


@dataclass(frozen=True)
class Estimate:
    """Memory of one device and hours of all of them, for one rung with one optimizer."""

    micro_batch: int
    """Sequences of a device's forward pass."""
    accumulation: int
    """Forward passes of a device in a step."""
    terms: tuple[Term, ...]
    available: float
    """Bytes the device has."""
    hours: float
    devices: int
    memory: float = field(init=False)
    """Bytes of all terms."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", sum(term.bytes for term in self.terms))

    @property
    def fits(self) -> bool:
        """Whether the device has as much, with nothing to spare."""
        return self.memory <= self.available

    @property
    def device_hours(self) -> float:
        """Hours times devices."""
        return self.hours * self.devices


def estimate(rung: Rung, optimizer: str, layout: Layout) -> Estimate:
    """Estimate memory and hours of a rung's training with an optimizer.

    Raises:
        ValueError: the batch cannot be shared out evenly.
    """
    own, rest = divmod(rung.batch_size, layout.devices)
    if rest or own < 1:
        raise ValueError(
            f"a batch of {rung.batch_size} sequences cannot be shared out among {layout.devices} "
            "devices; choose a number of devices that divides it"
        )
    if layout.micro_batch is not None:
        if own % layout.micro_batch:
            raise ValueError(
                f"a device's {own} sequences a step cannot be cut into micro-batches of "
                f"{layout.micro_batch}; choose a divisor of {own}"
            )
        micro = layout.micro_batch
    else:
        sizes = [n for n in range(own, 0, -1) if own % n == 0]
        fitting = (n for n in sizes if _memory(rung, optimizer, layout, n) <= layout.device.memory)
        micro = next(fitting, 1)
    speed = layout.device.peak * layout.mfu * layout.devices
    return Estimate(
        micro_batch=micro,
        accumulation=own // micro,
        terms=tuple(memory_terms(rung, optimizer, layout, micro)),
        available=layout.device.memory,
        hours=rung.model_flops / speed / 3600,
        devices=layout.devices,
    )


def _memory(rung: Rung, optimizer: str, layout: Layout, micro_batch: int) -> float:
    return sum(term.bytes for term in memory_terms(rung, optimizer, layout, micro_batch))


def memory_terms(rung: Rung, optimizer: str, layout: Layout, micro_batch: int) -> list[Term]:
    """Return what fills a device's memory, term by term, for micro-batches of this size."""
    weights = _weight_terms(rung, optimizer, layout)
    return weights + _activation_terms(rung, layout, micro_batch)


def _weight_terms(rung: Rung, optimizer: str, layout: Layout) -> list[Term]:
    model, counts = rung.model, rung.counts
    shares = layout.devices if layout.parallel == "fsdp" else 1
    shared = "" if shares == 1 else f" / {shares} devices"
    hidden, other = state_bytes_per_parameter(optimizer)
    rest = counts.exact - counts.non_embedding
    state = hidden * counts.non_embedding + other * rest
    rule = f"{hidden:g} n" if hidden == other else f"{hidden:g} P + {other:g} (n - P)"
    terms = [
        Term("weights", FLOAT32 * counts.exact / shares, f"4 n{shared}"),
        Term("gradients", FLOAT32 * counts.exact / shares, f"4 n{shared}"),
        Term("optimizer", state / shares, f"({rule}){shared}" if shared else rule),
    ]
    head = model.vocab_size * model.width
    if layout.device.bf16:
        terms.append(Term("bf16 copies", 2 * (counts.non_embedding + head), "2 (P + V d)"))
    if shares > 1:
        block = counts.non_embedding / model.depth
        gathered = FLOAT32 * (2 * head + 2 * block)
        terms.append(Term("gathered", gathered, "4 (2 V d + 2 P/L)"))
    return terms


def _activation_terms(rung: Rung, layout: Layout, micro_batch: int) -> list[Term]:
    model, bf16 = rung.model, layout.device.bf16
    tokens = micro_batch * model.sequence_length
    per_block = BLOCK_BYTES[model.family, bf16]
    one = tokens * model.width
    if layout.activation_checkpointing:
        kept = one * (FLOAT32 * model.depth + per_block)
        rule = f"(4 L + {per_block}) d tokens"
    else:
        kept = one * per_block * model.depth
        rule = f"{per_block} L d tokens"
    at_once = tokens if layout.loss_chunk is None else min(layout.loss_chunk, tokens)
    logits = float(LOGIT_BYTES[bf16] * model.vocab_size * at_once)
    chunk = "tokens" if at_once == tokens else f"{at_once} tokens"
    return [
        Term("activations", float(kept), rule),
        Term("logits", logits, f"{LOGIT_BYTES[bf16]} V {chunk}"),
    ]


@functools.cache
def state_bytes_per_parameter(optimizer: str) -> tuple[float, float]:
    """Return the bytes of optimizer state of a hidden matrix's weight, and of any other weight.

    Measured: one step of the optimizer on a tiny model. 8 for two float32 moments.
    """
    config = EnokiConfig(heads=1, head_dim=8, layers=1, vocab_size=16, sequence_length=4)
    model = Enoki(config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made = build_optimizer(model, OptimizerConfig(optimizer, lr=1e-3), steps=1000)
    made.step()
    hidden = {p for p in model.blocks.parameters() if p.ndim == 2}
    inside = _state_bytes(made, hidden), sum(p.numel() for p in hidden)
    other = set(model.parameters()) - hidden
    outside = _state_bytes(made, other), sum(p.numel() for p in other)
    return inside[0] / inside[1], outside[0] / outside[1]


def _state_bytes(optimizer: torch.optim.Optimizer, parameters: set[torch.nn.Parameter]) -> int:
    return sum(
        value.numel() * value.element_size()
        for p in parameters
        for value in optimizer.state[p].values()
        if isinstance(value, torch.Tensor) and value.shape == p.shape
    )
