"""What a rung needs of a device: memory and hours, estimated, each term with its formula.

Estimates, not promises: allocators leave gaps, compilers keep less than is counted here, and the
speed is a fraction of the peak that the user states (MFU). They answer "does it fit, and is it an
hour or a week", before anything is rented.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import torch
from torch.utils._pytree import tree_leaves

from adana.checks import check_integer, check_range
from adana.ladder.devices import Device
from adana.ladder.rungs import Rung
from adana.nn import Enoki, EnokiConfig, Qwen3Config
from adana.train import LayoutConfig, OptimizerConfig, TrainConfig, build_optimizer, pick_device
from adana.train.installed import blaming, package_bringing

MFU = 0.4
"""Default share of the peak that a training reaches (model FLOPs utilisation): what well-made loops
reach at hundreds of millions of parameters on one node; small models reach less."""

BLOCK_BYTES = {
    ("enoki", True): 51,
    ("enoki", False): 77,
    ("qwen3", True): 75,
    ("qwen3", False): 117,
}
"""Bytes that one block keeps for the backward pass, per token and channel of the width, by family
and whether under bf16 autocast. Counted on our models without a compiler, which would keep less;
under autocast the residual stream and the inputs of norms stay float32."""
LOGIT_BYTES = 12
"""Bytes that a logit takes at the worst moment, counted likewise: three numbers in float32."""
FLOAT32 = 4
PROCESS_BYTES = 0.7e9
"""Resident memory of a worker with next to no model: torch, the corpus as far as it was read, and
what the allocator keeps. Measured: 0.66 GB."""
HEADROOM = 0.9
"""Share of a device's memory that an estimate may fill and still be said to fit."""


@dataclass(frozen=True)
class Hardware:
    """What is trained on."""

    device: Device
    devices: int = 1
    mfu: float = MFU
    """Share of the devices' peak that the training is expected to reach."""

    def __post_init__(self) -> None:
        check_integer("devices", self.devices, low=1)
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
    bf16: bool
    """Whether the training is expected to run under bf16 autocast; else in float32."""
    hours: float
    devices: int
    memory: float = field(init=False)
    """Bytes of all terms."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "memory", sum(term.bytes for term in self.terms))

    @property
    def fits(self) -> bool:
        """Whether this is at most `HEADROOM` of the device's memory."""
        return self.memory <= HEADROOM * self.available

    @property
    def device_hours(self) -> float:
        """Hours times devices."""
        return self.hours * self.devices


def estimate(
    rung: Rung, optimizer: str, hardware: Hardware, layout: LayoutConfig | None = None
) -> Estimate:
    """Estimate memory and hours of a rung's training with an optimizer.

    Of `layout` it takes `parallel`, `activation_checkpointing`, `loss_chunk` and `micro_batch`; the
    default of the last is the largest that fits by this estimate, or 1.

    Raises:
        ValueError: the batch cannot be shared out evenly among devices and micro-batches.
    """
    layout = layout or LayoutConfig()
    own = _sequences_of_a_device(rung.batch_size, hardware.devices, layout.micro_batch)
    sizes = [layout.micro_batch] if layout.micro_batch else divisors(own)
    for micro in sizes:
        terms = tuple(memory_terms(rung, optimizer, hardware, layout, micro))
        made = Estimate(
            micro_batch=micro,
            accumulation=own // micro,
            terms=terms,
            available=hardware.device.memory,
            bf16=hardware.device.bf16,
            hours=rung.model_flops / _flops_an_hour(hardware),
            devices=hardware.devices,
        )
        if made.fits:
            break
    return made


def _flops_an_hour(hardware: Hardware) -> float:
    return hardware.device.peak * hardware.mfu * hardware.devices * 3600


def divisors(n: int) -> list[int]:
    """Return the divisors of n, the largest first."""
    return [d for d in range(n, 0, -1) if n % d == 0]


def _sequences_of_a_device(batch_size: int, devices: int, micro_batch: int | None) -> int:
    own, rest = divmod(batch_size, devices)
    if rest:
        raise ValueError(
            f"a batch of {batch_size} sequences cannot be shared out evenly among {devices} "
            "devices; take a number of devices that divides it"
        )
    if micro_batch and own % micro_batch:
        raise ValueError(
            f"a device's {own} sequences a step cannot be cut into micro-batches of "
            f"{micro_batch}; take a divisor of {own}"
        )
    return own


def job_memory(config: TrainConfig) -> int | None:
    """Estimate the bytes that a worker takes that trains `config` on one device.

    None where nothing is known: on a GPU, whose memory is not the workers', of an LSTM, whose
    activations were not counted, and of another package's optimizer that fails, which its training
    will say.
    """
    model, layout = config.model, config.layout
    if not isinstance(model, EnokiConfig | Qwen3Config) or pick_device(layout.device).type != "cpu":
        return None
    rung = Rung(model, model.heads, config.batch_size, tokens_per_param=0.0, steps=config.steps)
    try:
        weights = _weight_terms(rung, config.optimizer.name, 1)
    except (RuntimeError, ValueError):
        if package_bringing(config.optimizer.name) is None:
            raise
        return None
    micro = layout.micro_batch or config.batch_size
    compute = _compute_terms(rung, config.precision == "bfloat16", layout, micro)
    averages = FLOAT32 * rung.counts.exact * len(config.averages)
    return int(PROCESS_BYTES + averages + sum(term.bytes for term in weights + compute))


def memory_terms(
    rung: Rung, optimizer: str, hardware: Hardware, layout: LayoutConfig, micro_batch: int
) -> list[Term]:
    """Return what fills a device's memory, term by term, for micro-batches of this size.

    In the formulas n is every parameter, P those of the blocks, V the vocabulary, d the width, L
    the blocks; tokens are those of a micro-batch.
    """
    sharded = layout.parallel == "fsdp" and hardware.devices > 1
    weights = _weight_terms(rung, optimizer, hardware.devices if sharded else 1)
    return weights + _compute_terms(rung, hardware.device.bf16, layout, micro_batch)


def _weight_terms(rung: Rung, optimizer: str, shares: int) -> list[Term]:
    """What is kept from step to step, and what shards are gathered into."""
    counts = rung.counts
    hidden, other = state_bytes_per_parameter(optimizer)
    state = hidden * counts.non_embedding + other * (counts.exact - counts.non_embedding)
    rule = f"{hidden:g} n" if hidden == other else f"({hidden:g} P + {other:g} (n - P))"
    share = f" / {shares}" if shares > 1 else ""
    terms = [
        Term("weights", FLOAT32 * counts.exact / shares, f"{FLOAT32} n{share}"),
        Term("gradients", FLOAT32 * counts.exact / shares, f"{FLOAT32} n{share}"),
        Term("optimizer state", state / shares, f"{rule}{share}"),
    ]
    if shares > 1:
        root = 2 * rung.model.vocab_size * rung.model.width
        blocks = 2 * counts.non_embedding / rung.model.depth
        terms.append(Term("gathered", FLOAT32 * (root + blocks), f"{FLOAT32} (2 V d + 2 P / L)"))
    return terms


def _compute_terms(rung: Rung, bf16: bool, layout: LayoutConfig, micro_batch: int) -> list[Term]:
    """What one forward and backward pass keeps."""
    model = rung.model
    tokens = micro_batch * model.sequence_length
    block = BLOCK_BYTES[model.family, bf16]
    if layout.activation_checkpointing:
        kept, rule = FLOAT32 * model.depth + block, f"({FLOAT32} L + {block}) d tokens"
    else:
        kept, rule = block * model.depth, f"{block} L d tokens"
    terms = [
        Term("activations", float(kept * model.width * tokens), rule),
        _logits_term(rung, layout.chunk_tokens("cuda" if bf16 else "cpu"), tokens),
    ]
    if bf16:
        copies = 2.0 * (rung.counts.non_embedding + model.vocab_size * model.width)
        terms.insert(0, Term("bf16 copies", copies, "2 (P + V d)"))
    return terms


def _logits_term(rung: Rung, chunk: int, tokens: int) -> Term:
    """Logits in pieces, with the gradient of the head that then waits for the backward pass."""
    vocab_size, width = rung.model.vocab_size, rung.model.width
    needs = LOGIT_BYTES * min(chunk, tokens) + FLOAT32 * width
    rule = f"V ({LOGIT_BYTES} x {chunk} + {FLOAT32} d)"
    return Term("logits", float(vocab_size * needs), rule)


@functools.cache
def state_bytes_per_parameter(optimizer: str) -> tuple[float, float]:
    """Return the bytes of optimizer state of a hidden matrix's weight, and of any other weight.

    Measured: one step of the optimizer on a tiny model. 8 for two float32 moments.

    Raises:
        RuntimeError, ValueError: the optimizer of another package fails; the message names it.
    """
    config = EnokiConfig(heads=1, head_dim=8, layers=1, vocab_size=16, sequence_length=4)
    model = Enoki(config)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    made = build_optimizer(model, OptimizerConfig(optimizer, lr=1e-3), steps=1000)
    with blaming(optimizer):
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
        for value in tree_leaves(optimizer.state[p])
        if isinstance(value, torch.Tensor) and value.shape == p.shape
    )
