"""From one number, the heads, to everything that a rung of a ladder fixes.

A ladder is a family of models of one shape at growing sizes, each trained on a fixed number of
tokens per parameter (spec/training.md section 2). Everything else follows, by the rules here and in
`adana.schedules`: the same ones that a training uses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from adana import schedules
from adana.checks import check_integer, check_range
from adana.nn import (
    PFH,
    Counts,
    EnokiConfig,
    ModelConfig,
    Qwen3Config,
    count_parameters,
    model_flops,
    training_flops,
)

PUBLISHED_HEADS = {
    "enoki": (*range(2, 7), *range(8, 41, 2), 41, 44, 48),
    "qwen3": (*range(4, 17, 2),),
}
"""The published rungs by family, in heads H (spec/training.md section 2)."""
TOKENS_PER_PARAM = 20.0
"""Training tokens per parameter N of the published ladders ("Chinchilla")."""
MOST_TOKENS_PER_PARAM = 1e6
"""More than this is taken for a slip."""
BATCH_SIZE = 32
"""Sequences a step of the published ladders."""

_SHAPES: dict[str, Callable[..., ModelConfig]] = {"enoki": EnokiConfig, "qwen3": Qwen3Config}


@dataclass(frozen=True)
class Rung:
    """One model of a ladder and the training that belongs to it."""

    model: ModelConfig
    heads: int
    batch_size: int
    """Sequences of the model's length in a step."""
    tokens_per_param: float
    steps: int
    """T = floor(tokens / tokens in a step)."""
    counts: Counts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", count_parameters(self.model))

    @property
    def published(self) -> bool:
        """Whether this size stands in the published ladder."""
        return self.heads in PUBLISHED_HEADS[self.model.family]

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step."""
        return self.batch_size * self.model.sequence_length

    @property
    def budget(self) -> float:
        """Tokens asked for: `tokens_per_param` times N."""
        return self.tokens_per_param * self.counts.total

    @property
    def tokens(self) -> int:
        """Tokens that are trained on: whole steps, so up to one step less than the budget."""
        return self.steps * self.tokens_per_step

    @property
    def warmup_steps(self) -> int:
        """W, floor(T/50)."""
        return schedules.default_warmup_steps(self.steps)

    @property
    def decay_offset(self) -> float:
        """S in steps, T/10: what a training uses at omega = 4.

        The published runs took floor(T/10), less than one step less.
        """
        return schedules.default_decay_offset(schedules.OMEGA, self.steps)

    @property
    def parameters(self) -> dict[str, int]:
        """Parameter counts by the name of their convention."""
        return {
            "P": self.counts.non_embedding,
            "P + head": self.counts.non_embedding + self.model.vocab_size * self.model.width,
            "N": self.counts.total,
            "exact": self.counts.exact,
            "12 d^2 L": 12 * self.model.width**2 * self.model.depth,
        }

    @property
    def flops(self) -> dict[str, float]:
        """FLOPs of the training, on the tokens really trained on, by the four formulas."""
        return training_flops(self.model, self.tokens)

    @property
    def model_flops(self) -> float:
        """FLOPs that a device does, on the tokens really trained on (`adana.nn.model_flops`)."""
        return model_flops(self.model, self.tokens)

    @property
    def compute(self) -> float:
        """C in PFH by the published convention, 6 P D."""
        return self.flops["6PD"] / PFH


def plan_rung(
    family: str,
    heads: int,
    *,
    tokens_per_param: float = TOKENS_PER_PARAM,
    batch_size: int = BATCH_SIZE,
    sequence_length: int = EnokiConfig.sequence_length,
    vocab_size: int = EnokiConfig.vocab_size,
) -> Rung:
    """Return the rung with `heads` heads of the ladder `family`: enoki or qwen3.

    Heads between and beyond the published ones follow the same rule of shape.

    Raises:
        ValueError: the family has no published ladder, or a number is out of range.
    """
    if family not in _SHAPES:
        known = "; ".join(f"{name}: H = {_listed(name)}" for name in PUBLISHED_HEADS)
        raise ValueError(
            f"no ladder of {family!r} is published: neither sizes nor learning-rate laws. "
            f"Published: {known}."
        )
    check_integer("heads", heads, low=1)
    check_integer("batch_size", batch_size, low=1)
    model = _SHAPES[family](heads=heads, sequence_length=sequence_length, vocab_size=vocab_size)
    steps = steps_of_budget(model, batch_size, tokens_per_param)
    return Rung(model, heads, batch_size, float(tokens_per_param), steps)


def steps_of_budget(model: ModelConfig, batch_size: int, tokens_per_param: float) -> int:
    """Return T = floor(tokens_per_param * N / (batch_size * sequence_length)).

    N counts the embedding and the head (`Counts.total`). 20 is the published ladders' ratio; more
    is overtraining, less is a model larger than its data deserves.

    Raises:
        ValueError: `tokens_per_param` is not in (0, 1e6], or is too little for one step.
    """
    check_range(
        "tokens per parameter",
        tokens_per_param,
        low=0.0,
        high=MOST_TOKENS_PER_PARAM,
        low_open=True,
    )
    budget = tokens_per_param * count_parameters(model).total
    in_a_step = batch_size * model.sequence_length
    steps = int(budget // in_a_step)
    if steps < 1:
        raise ValueError(
            f"{tokens_per_param:g} tokens per parameter are {budget:,.0f} tokens, less than one "
            f"step of {batch_size} x {model.sequence_length} = {in_a_step:,}; "
            "take more tokens or a smaller batch"
        )
    return steps


def budget_rule(tokens_per_param: float, batch_size: int, sequence_length: int) -> str:
    """Say how `steps_of_budget` came by its steps."""
    return f"floor({tokens_per_param:g} N / ({batch_size} x {sequence_length}))"


def _listed(family: str) -> str:
    return ", ".join(str(heads) for heads in PUBLISHED_HEADS[family])
