"""The configuration of one training run: nested, frozen, and resolved before the first step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from adana import schedules
from adana.checks import check_choice, check_range
from adana.data import DataConfig
from adana.nn import EnokiConfig, ModelConfig, model_config_from_dict, model_config_to_dict
from adana.optim import StateDtype
from adana.runs import CONFIG_VERSION, RunError
from adana.train.averages import parse_average
from adana.train.installed import code_of

ScheduleName = Literal["cosine", "linear", "wsd", "constant"]

EVALUATIONS = 12
"""How often a run is evaluated by default, the start not counted."""
LOG_ROWS = 250
"""About how many training rows a run writes by default."""
CHECKPOINTS = 10
"""How often a run is checkpointed by default."""
CPU_LOSS_CHUNK, GPU_LOSS_CHUNK = 512, 2048
"""Tokens whose logits are made at a time by default. On the CPU that is the fastest of 64 to all
2048 at vocabularies from 1024 to 50304, by up to 30 % (benchmarks/loss_memory.py); for a GPU, whose
products want more rows, it was not measured."""
OPTIONAL = ("beta1", "beta2", "eps", "clip_snr", "momentum_cooldown")
"""Fields of `OptimizerConfig` that are absent from ``config.json`` unless they were given: a run
that leaves them to the optimizer is the same run that it was before they existed."""


@dataclass(frozen=True)
class OptimizerConfig:
    """Which optimizer, and its hyperparameters. Those an optimizer does not have are ignored."""

    name: str
    """A name of `adana.train.optimizers.optimizer_names`."""
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
    beta1: float | None = None
    """Decay rate of the short average of AdamW and AdEMAMix. None: the optimizer's own default, as
    for all below."""
    beta2: float | None = None
    """Decay rate of their second moment."""
    eps: float | None = None
    """Added to the root of the second moment."""
    clip_snr: float | None = None
    """Where Dana-MK4 and its relatives clip the momentum."""
    momentum_cooldown: float | None = None
    """Share of the run at its end over which ADana's momentum term falls to 0."""
    state_dtype: StateDtype | None = None
    """How the family's members keep their states: see `adana.ADana`. None: in float32."""
    horizon: int | None = None
    """Steps T that decay is planned for (T/10 + t, omega/T). Default: those of the run. A branch of
    a longer run keeps the longer one's."""
    label: str = ""
    """How reports call it. Default: the name."""
    code: str | None = None
    """Fingerprint of the code of an installed package's optimizer, which is another run where it
    was changed. Default: as it is now; None for the optimizers of this package."""

    def __post_init__(self) -> None:
        check_range("lr", self.lr, low=0.0, low_open=True)
        check_range("omega", self.omega, low=0.0)
        if self.horizon is not None:
            _at_least("horizon", self.horizon, 1)
        _as_floats(self, "lr", "omega", "kappa", "delta", "momentum_scale")
        _as_floats(self, *(name for name in OPTIONAL if getattr(self, name) is not None))
        if self.state_dtype is not None:
            check_choice("state_dtype", self.state_dtype, get_args(StateDtype))
        if not self.label:
            object.__setattr__(self, "label", self.name)


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning-rate multiplier gamma(t)."""

    name: ScheduleName = "cosine"
    """cosine to `final`, a straight line to `final`, warm-up-stable-decay with a 1-sqrt cooldown
    to `final`, or constant after the warm-up."""
    warmup_steps: int | None = None
    """Default T/50."""
    final: float = schedules.FINAL
    """Multiplier at the end of training."""
    cooldown_steps: int | None = None
    """Length of wsd's cooldown. Default T/5."""

    def __post_init__(self) -> None:
        check_range("final", self.final, low=0.0, high=1.0)
        _as_floats(self, "final")
        for name in ("warmup_steps", "cooldown_steps"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 0)
        if self.cooldown_steps is not None and self.name != "wsd":
            raise ValueError(f"cooldown_steps belongs to the schedule wsd, not to {self.name}")

    def resolve(self, steps: int) -> ScheduleConfig:
        """Fill in the lengths of warm-up and cooldown for a run of `steps` steps."""
        warmup, cooldown = self.warmup_steps, self.cooldown_steps
        if warmup is None:
            warmup = schedules.default_warmup_steps(steps)
        if cooldown is None and self.name == "wsd":
            cooldown = schedules.default_cooldown_steps(steps)
        return dataclasses.replace(self, warmup_steps=warmup, cooldown_steps=cooldown)

    def text(self) -> str:
        """Say the shape in words, without the warm-up."""
        if self.name == "constant":
            return "constant"
        return f"{self.name} to {self.final:g} of the peak"

    def gamma(self, steps: int) -> Callable[[Any], Any]:
        """Return gamma as a function of the 1-based step."""
        own = self.resolve(steps)
        warmup = own.warmup_steps or 0
        if self.name == "constant":
            return lambda t: schedules.warmup_constant(t, warmup)
        if self.name == "wsd":
            cooldown = own.cooldown_steps
            return lambda t: schedules.warmup_stable_decay(
                t, steps, warmup, cooldown_steps=cooldown, final=self.final
            )
        falling = {"cosine": schedules.warmup_cosine, "linear": schedules.warmup_linear}[self.name]
        return lambda t: falling(t, steps, warmup, final=self.final)


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
    loss_chunk: int | Literal["liger"] | None = None
    """Tokens whose logits are made at a time (`adana.nn.loss`), or "liger" for Liger's kernel on a
    GPU. Default: 512 on a CPU, 2048 on a GPU."""
    trackers: tuple[str, ...] = ()
    """Mirrors of the metrics: tensorboard, wandb, trackio (`adana.trackers`)."""
    measure_peak: bool = False
    """Measure the device's matmul peak at the start, for the summary's MFU."""
    telemetry: bool = False
    """Training rows also tell what the update looks like, parameter by parameter, at their step
    (`adana.optim.telemetry`); for optimizers of this package."""
    time_limit: float | None = None
    """Seconds after which the run stops with a checkpoint, to be gone on with later."""
    checkpoint_every: int | None = None
    """Steps between checkpoints. Default: a tenth of the run. One is also written whenever the last
    is half an hour old."""
    keep: int = 2
    """How many of the newest checkpoints stay on disk."""
    keep_every: int | None = None
    """Multiples of this many steps have checkpoints that stay, for branches and later looks."""

    def __post_init__(self) -> None:
        for name in ("micro_batch", "threads", "checkpoint_every", "keep", "keep_every"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        if self.loss_chunk is not None and self.loss_chunk != "liger":
            _at_least("loss_chunk", self.loss_chunk, 1)
        object.__setattr__(self, "trackers", tuple(self.trackers))
        if self.time_limit is not None:
            check_range("time_limit", self.time_limit, low=0.0, low_open=True)

    def resolve(self, steps: int, batch_size: int) -> LayoutConfig:
        """Fill in what depends on the run."""
        every = self.checkpoint_every or max(1, steps // CHECKPOINTS)
        return dataclasses.replace(
            self, micro_batch=self.micro_batch or batch_size, checkpoint_every=every
        )

    def chunk(self, device_type: str, training: bool) -> int | Literal["liger"]:
        """Return how to make logits on a "cpu" or "cuda" device: so many at a time, or by Liger.

        Liger's kernel tells no losses of single sequences, so it is for training only.
        """
        if training and self.loss_chunk == "liger":
            return "liger"
        return self.chunk_tokens(device_type)

    def chunk_tokens(self, device_type: str) -> int:
        """Return the tokens whose logits are made at a time, on a "cpu" or "cuda" device."""
        if self.loss_chunk is None or self.loss_chunk == "liger":
            return CPU_LOSS_CHUNK if device_type == "cpu" else GPU_LOSS_CHUNK
        return self.loss_chunk


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
    averages: tuple[str, ...] = ()
    """Averages of the weights to evaluate beside them, say "ema:0.999" (`adana.train.averages`)."""
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
        object.__setattr__(self, "averages", tuple(self.averages))
        for name in self.averages:
            parse_average(name)
        micro, warmup = self.layout.micro_batch, self.schedule.warmup_steps
        if micro is not None and micro > self.batch_size:
            raise ValueError(
                f"micro_batch must be at most the batch size {self.batch_size}, got {micro}"
            )
        if warmup is not None and warmup >= self.steps:
            raise ValueError(f"warmup_steps must be below the {self.steps} steps, got {warmup}")
        cooldown = self.schedule.cooldown_steps
        if cooldown is not None and cooldown > self.steps - (warmup or 0):
            raise ValueError(
                f"cooldown_steps must be at most the {self.steps} steps less the warm-up, "
                f"got {cooldown}"
            )

    @property
    def tokens_per_step(self) -> int:
        """Training tokens of one optimizer step."""
        return self.batch_size * self.model.sequence_length

    def resolve(self) -> TrainConfig:
        """Fill in every default that depends on something else."""
        return dataclasses.replace(
            self,
            model=dataclasses.replace(self.model, layers=self.model.depth),
            optimizer=dataclasses.replace(
                self.optimizer,
                horizon=self.optimizer.horizon or self.steps,
                code=self.optimizer.code or code_of(self.optimizer.name),
            ),
            schedule=self.schedule.resolve(self.steps),
            eval_every=self.eval_every or max(1, self.steps // EVALUATIONS),
            log_every=self.log_every or max(1, self.steps // LOG_ROWS),
            layout=self.layout.resolve(self.steps, self.batch_size),
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
    content["optimizer"] = {
        name: value
        for name, value in content["optimizer"].items()
        if name not in (*OPTIONAL, "state_dtype", "code") or value is not None
    }
    content["data"]["fingerprint"] = data_fingerprint
    content["averages"] = list(config.averages)
    content["layout"]["trackers"] = list(config.layout.trackers)
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
