"""The configuration of one training run: nested, frozen, and resolved before the first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from adana import schedules
from adana.checks import check_range
from adana.data import DataConfig
from adana.nn import EnokiConfig, ModelConfig, model_config_from_dict, model_config_to_dict
from adana.runs import CONFIG_VERSION, RunError

EVALUATIONS = 12
"""How often a run is evaluated by default, the start not counted."""
LOG_ROWS = 250
"""About how many training rows a run writes by default."""
CHECKPOINTS = 10
"""How often a run is checkpointed by default."""
WHOLE_LOGITS_BYTES = 1 << 28
"""Logits up to this size are held whole."""
CHUNK_LOGITS_BYTES = 1 << 26
"""Size of the pieces of larger ones."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer, and its hyperparameters. Those an optimizer does not have are ignored."""

    name: str
    """A name of `adana.train.optimizers.OPTIMIZERS`."""
    lr: float
    """Peak learning rate eta."""
    omega: float = schedules.OMEGA
    """Weight-decay strength; AdamW gets weight_decay = omega / (lr * T)."""
    kappa: float = schedules.KAPPA
    """Damping exponent of ADana and its relatives."""
    delta: float = schedules.DELTA
    """EMA constant of ADana and its relatives."""
    momentum_scale: float = 1.0
    """Factor on the momentum term of ADana (the reference's gamma_3)."""
    label: str = ""
    """How reports call it. Default: the name."""

    def __post_init__(self) -> None:
        check_range("lr", self.lr, low=0.0, low_open=True)
        check_range("omega", self.omega, low=0.0)
        _as_floats(self, "lr", "omega", "kappa", "delta", "momentum_scale")
        if not self.label:
            object.__setattr__(self, "label", self.name)


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning-rate multiplier gamma(t)."""

    name: Literal["cosine", "linear", "wsd"] = "cosine"
    """cosine to `final`, a straight line to `final`, or warm-up-stable-decay with a
    1-sqrt cooldown."""
    warmup_steps: int | None = None
    """Default T/50."""
    final: float = schedules.FINAL
    """Multiplier at the end of training."""

    def __post_init__(self) -> None:
        check_range("final", self.final, low=0.0, high=1.0)
        _as_floats(self, "final")
        if self.warmup_steps is not None:
            _at_least("warmup_steps", self.warmup_steps, 0)

    def resolve(self, steps: int) -> ScheduleConfig:
        """Fill in the warm-up length for a run of `steps` steps."""
        if self.warmup_steps is not None:
            return self
        return dataclasses.replace(self, warmup_steps=schedules.default_warmup_steps(steps))

    def gamma(self, steps: int) -> Callable[[Any], Any]:
        """Return gamma as a function of the 1-based step."""
        shape = {
            "cosine": schedules.warmup_cosine,
            "linear": schedules.warmup_linear,
            "wsd": schedules.warmup_stable_decay,
        }[self.name]
        warmup = self.resolve(steps).warmup_steps or 0
        return lambda t: shape(t, steps, warmup, final=self.final)


@dataclass(frozen=True)
class LayoutConfig:
    """Where and how a run executes. Nothing here changes what is computed, beyond rounding."""

    device: str = "auto"
    """A torch device, or auto: the first GPU if there is one, else the CPU."""
    micro_batch: int | None = None
    """Sequences per forward pass; gradients are accumulated up to the batch. Default: all."""
    threads: int | None = None
    """CPU threads of torch. Bit-identical resuming needs the same number. Default: torch's."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What several ranks (torchrun) do with the model: each a copy, or each a part (FSDP2)."""
    compile: bool = False
    """Compile every block with torch.compile."""
    activation_checkpointing: bool = False
    """Recompute the blocks' activations in the backward pass instead of keeping them."""
    loss_chunk: int | None = None
    """Tokens whose logits are held at a time. Default: all up to 256 MB of logits, else 64 MB."""
    time_limit: float | None = None
    """Seconds after which the run stops with a checkpoint, to be gone on with later."""
    checkpoint_every: int | None = None
    """Steps between checkpoints. Default: a tenth of the run."""
    keep: int = 2
    """How many checkpoints stay on disk."""

    def __post_init__(self) -> None:
        for name in ("micro_batch", "threads", "checkpoint_every", "keep", "loss_chunk"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        if self.time_limit is not None:
            check_range("time_limit", self.time_limit, low=0.0, low_open=True)

    def logits_chunk(self, tokens: int, vocab_size: int) -> int | None:
        """Return how many tokens' float32 logits to hold at a time; None: those of all `tokens`."""
        if self.loss_chunk is not None or tokens * vocab_size * 4 <= WHOLE_LOGITS_BYTES:
            return self.loss_chunk
        return max(1, CHUNK_LOGITS_BYTES // (vocab_size * 4))


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run."""

    optimizer: OptimizerConfig
    steps: int
    """Optimizer steps T."""
    batch_size: int = 16
    """Sequences per optimizer step, over all micro-batches."""
    model: ModelConfig = field(default_factory=EnokiConfig)
    data: DataConfig = field(default_factory=DataConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    seed: int = 0
    """Decides the initial weights and the order of the data."""
    clip: float = 0.5
    """Largest global L2 norm of the gradient (spec/training.md section 3)."""
    z_coeff: float = 0.0
    """Weight of mean(logsumexp(logits)^2) in the training loss; never part of reported losses."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What matrices are multiplied in (bfloat16: autocast). Weights, gradients, their reduction
    and optimizer states are float32 either way."""
    eval_tokens: int = 65_536
    """Validation tokens of an evaluation: the same ones, in the same order, every time."""
    eval_every: int | None = None
    """Steps between evaluations. Default: a twelfth of the run."""
    log_every: int | None = None
    """Steps that a training row of metrics.jsonl averages over. Default: about 250 rows a run."""
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    provenance: Mapping[str, str] = field(default_factory=dict)
    """Where derived numbers come from, in words; `provenance["lr"]` for the learning rate."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "eval_tokens", "eval_every", "log_every"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        check_range("clip", self.clip, low=0.0, low_open=True)
        check_range("z_coeff", self.z_coeff, low=0.0)
        _as_floats(self, "clip", "z_coeff")
        micro, warmup = self.layout.micro_batch, self.schedule.warmup_steps
        if micro is not None and micro > self.batch_size:
            raise ValueError(
                f"micro_batch must be at most the batch size {self.batch_size}, got {micro}"
            )
        if warmup is not None and warmup >= self.steps:
            raise ValueError(f"warmup_steps must be below the {self.steps} steps, got {warmup}")

    @property
    def tokens_per_step(self) -> int:
        """Training tokens of one optimizer step."""
        return self.batch_size * self.model.sequence_length

    def resolve(self) -> TrainConfig:
        """Fill in every default that depends on something else."""
        return dataclasses.replace(
            self,
            model=dataclasses.replace(self.model, layers=self.model.depth),
            schedule=self.schedule.resolve(self.steps),
            eval_every=self.eval_every or max(1, self.steps // EVALUATIONS),
            log_every=self.log_every or max(1, self.steps // LOG_ROWS),
            layout=dataclasses.replace(
                self.layout,
                micro_batch=self.layout.micro_batch or self.batch_size,
                checkpoint_every=self.layout.checkpoint_every or max(1, self.steps // CHECKPOINTS),
            ),
        )


def _at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")


def _as_floats(config: Any, *names: str) -> None:
    """Turn integers into floats, so that 4 and 4.0 are the same configuration."""
    for name in names:
        object.__setattr__(config, name, float(getattr(config, name)))


def config_to_dict(config: TrainConfig, data_fingerprint: str) -> dict[str, Any]:
    """Return the resolved configuration as written to ``config.json``.

    The data's fingerprint goes in, so that the same settings on other text are another run.
    """
    config = config.resolve()
    content = dataclasses.asdict(config) | {"model": model_config_to_dict(config.model)}
    content["data"]["fingerprint"] = data_fingerprint
    return {"version": CONFIG_VERSION, **content}


def config_from_dict(content: Mapping[str, Any]) -> TrainConfig:
    """Rebuild a `TrainConfig` from what `config_to_dict` returned.

    Raises:
        RunError: a key is missing or unknown, so another version wrote it.
        ValueError: a value is out of its range.
    """
    parts = {
        "optimizer": OptimizerConfig,
        "data": DataConfig,
        "schedule": ScheduleConfig,
        "layout": LayoutConfig,
    }
    fields = {key: value for key, value in content.items() if key != "version"}
    try:
        for key, kind in parts.items():
            own = {k: v for k, v in fields[key].items() if k != "fingerprint"}
            fields[key] = kind(**own)
        fields["model"] = model_config_from_dict(fields["model"])
        return TrainConfig(**fields)
    except (KeyError, TypeError) as error:
        raise RunError(
            f"the configuration does not fit this version of adana ({error}). "
            "Use the version named in the run's environment.json, or train into a new directory."
        ) from error
