"""The flags that `train` and `compare` share: what people change often. The rest is Python."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from adana.cli.data_flags import DataFlags
from adana.cli.decay_words import describe_decay
from adana.cli.run_folders import RUNS
from adana.data import Shards
from adana.ladder import (
    DEMO_BATCH,
    DEMO_MODEL,
    DEMO_STEPS,
    TUNABLE,
    budget_rule,
    steps_of_budget,
)
from adana.nn import (
    FAMILIES,
    EnokiConfig,
    Family,
    InitScheme,
    LSTMConfig,
    ModelConfig,
    count_parameters,
)
from adana.optim import StateDtype
from adana.train import (
    LayoutConfig,
    OptimizerConfig,
    ScheduleConfig,
    ScheduleName,
    TrainConfig,
)

RULED = tuple(name for name in TUNABLE if name not in ("lr", "omega"))
"""Hyperparameters of some optimizers that a rule file may give where no flag does."""

_BUDGET = tyro.conf.create_mutex_group(required=False)
_DECAY = tyro.conf.create_mutex_group(required=False)


@dataclass(frozen=True)
class Settings(DataFlags):
    """Model, data and training. The defaults are the demo's: a minute a run on two CPU cores."""

    model: Family = "enoki"
    """Family of the model (docs/models.md)."""
    init: InitScheme = EnokiConfig.init
    """Initial weights (docs/models.md)."""
    heads: int | None = None
    """Attention heads of the transformers; the width is heads * head-dim. Published rungs: Enoki 6
    to 40 with --head-dim 64, Qwen3 4 to 16 with 128. Default: 2."""
    head_dim: int | None = None
    """Channels of a head. Default: 32."""
    width: int | None = None
    """Width of the LSTM. Default: 64."""
    layers: int | None = None
    """Blocks. Default: floor(3 * heads / 4) for Enoki, 2 * heads for Qwen3, as in the published
    rungs, but 2 for an Enoki of 2 heads; 2 for the LSTM."""
    sequence_length: int = DEMO_MODEL.sequence_length
    """Context in tokens."""
    batch_size: int = DEMO_BATCH
    """Sequences per optimizer step."""
    steps: Annotated[int, _BUDGET] = DEMO_STEPS
    """Optimizer steps T."""
    tokens_per_param: Annotated[float | None, _BUDGET] = None
    """In place of --steps: train on this many tokens for each parameter, embedding and head
    included. 20 is what the published ladders have."""
    schedule: ScheduleName = ScheduleConfig.name
    """Learning-rate schedule: cosine, linear, warm-up-stable-decay with a 1-sqrt cooldown, or
    constant (for averages, and as a trunk of `adana branch`)."""
    warmup_steps: int | None = None
    """Warm-up length in steps. Default: steps / 50."""
    cooldown_steps: int | None = None
    """Cooldown length of wsd in steps. Default: steps / 5."""
    final: float = ScheduleConfig.final
    """Where the schedule ends, as a fraction of the peak learning rate; for constant, where the
    branches of this trunk end."""
    omega: Annotated[float | None, _DECAY] = None
    """Weight-decay strength. AdamW gets weight_decay = omega / (lr * steps); ADana omega /
    (steps/10 + t). Default: 4, or what --rules say."""
    tau_epochs: Annotated[float | None, _DECAY] = None
    """In place of --omega: the timescale of weight decay in epochs, omega = epochs / tau
    (docs/weight-decay.md)."""
    kappa: float | None = None
    """Damping exponent of ADana and its relatives; useful from 0.75 to 0.9. Default: 0.85, or what
    --rules say."""
    delta: float | None = None
    """EMA constant of ADana and its relatives: the newest gradient weighs delta / (delta + t).
    Default: 8, or what --rules say."""
    momentum_scale: float | None = None
    """Factor on ADana's momentum term. Default: 1, or what --rules say."""
    momentum_cooldown: float | None = None
    """Share of the run at its end over which ADana's momentum term falls to 0. Default: never."""
    beta1: float | None = None
    """Decay rate of the short average of AdamW and AdEMAMix. Default 0.9."""
    beta2: float | None = None
    """Decay rate of their second moment. Default 0.999."""
    eps: float | None = None
    """Added to the root of the second moment. Default 1e-8."""
    clip_snr: float | None = None
    """Where Dana-MK4 and Dana-Star-MK4 clip the momentum. Default by kappa (docs/optimizers)."""
    state_dtype: StateDtype | None = None
    """How ADana and its relatives keep their averages: fp32, fp24, log16 or bf16_sr, in 4, 3, 2 and
    2 bytes (docs/low-precision.md). Default: fp32."""
    rules: tuple[Path, ...] = ()
    """Files of `adana rules fit`: learning rate, omega, kappa, delta and momentum scale in place of
    published laws and defaults (docs/rules.md). A given value beats them."""
    clip: float = TrainConfig.clip
    """Largest global norm of the gradient."""
    z_coeff: float = TrainConfig.z_coeff
    """Weight of the z-loss in training; reported apart, never part of the losses."""
    seed: int = TrainConfig.seed
    """Decides initial weights and data order; `compare` counts up from it."""
    eval_tokens: int = TrainConfig.eval_tokens
    """Validation tokens of every evaluation: the same ones each time."""
    averages: tuple[str, ...] = ()
    """Averages of the weights to evaluate beside them: ema:0.999, log-time:8 (memory grows with
    training), tail:0.2 (mean over the last fifth). Each costs the memory of the weights."""
    runs: Path = RUNS
    """Folder of the run directories. A finished run found there is not trained again."""
    device: str = "auto"
    """cpu, cuda, cuda:1, ...; auto takes a GPU if there is one."""
    micro_batch: int | None = None
    """Sequences that a device puts through the model at a time, where its share of the batch is too
    large; does not change the result."""
    threads: int | None = None
    """CPU threads of each training. Default: all cores, divided by the trainings at a time."""
    trackers: tuple[str, ...] = ()
    """Where to mirror the metrics: tensorboard, wandb, trackio (docs/runs.md)."""
    precision: Literal["float32", "bfloat16"] = TrainConfig.precision
    """What matrices are multiplied in; weights, gradients and optimizer states stay float32."""
    compile: bool = False
    """Compile the model's blocks with torch.compile: a minute at the start, faster steps after."""
    loss_chunk: int | Literal["liger"] | None = None
    """Tokens whose logits are made at a time, or liger: the kernel of liger-kernel, on a GPU.
    Default: 512 on a CPU, 2048 on a GPU."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    def layout(self, threads: int | None) -> LayoutConfig:
        """Return where and how a training executes."""
        return LayoutConfig(
            device=self.device,
            micro_batch=self.micro_batch,
            threads=threads,
            compile=self.compile,
            activation_checkpointing=self.activation_checkpointing,
            loss_chunk=self.loss_chunk,
            trackers=self.trackers,
        )

    @property
    def total_steps(self) -> int:
        """T, by --steps or from --tokens-per-param."""
        if self.tokens_per_param is None:
            return self.steps
        return steps_of_budget(self.model_config(), self.batch_size, self.tokens_per_param)

    def model_config(self) -> ModelConfig:
        """Return the model's shape.

        Raises:
            ValueError: a flag was given that the family does not have, or a value out of range.
        """
        foreign = ("heads", "head_dim") if self.model == "lstm" else ("width",)
        for name in foreign:
            if getattr(self, name) is not None:
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} does not go with --model {self.model}: it has none")
        own = ("width",) if self.model == "lstm" else ("heads", "head_dim")
        given: dict[str, Any] = {name: getattr(self, name) for name in (*own, "layers")}
        shape = {name: getattr(DEMO_MODEL, name) for name in own}
        shape |= {name: value for name, value in given.items() if value is not None}
        if self.model == "enoki" and shape["heads"] == DEMO_MODEL.heads:
            shape.setdefault("layers", DEMO_MODEL.layers)
        return FAMILIES[self.model](
            vocab_size=self.model_vocab_size(),
            sequence_length=self.sequence_length,
            init=self.init,
            **shape,
        )

    def train_config(self, optimizer: OptimizerConfig) -> TrainConfig:
        """Return the full configuration of a training with `optimizer`."""
        provenance = {}
        if self.tokens_per_param is not None:
            provenance["steps"] = budget_rule(
                self.tokens_per_param, self.batch_size, self.sequence_length
            )
        return TrainConfig(
            optimizer=optimizer,
            steps=self.total_steps,
            provenance=provenance,
            batch_size=self.batch_size,
            model=self.model_config(),
            data=self.data_config(),
            schedule=ScheduleConfig(
                self.schedule, self.warmup_steps, self.final, self.cooldown_steps
            ),
            seed=self.seed,
            clip=self.clip,
            z_coeff=self.z_coeff,
            precision=self.precision,
            eval_tokens=self.eval_tokens,
            averages=self.averages,
            layout=self.layout(self.threads),
        )

    def optimizer_config(self, name: str, lr: float) -> OptimizerConfig:
        """Return the configuration of the optimizer `name` at a peak learning rate."""
        given = {key: getattr(self, key) for key in (*RULED, "omega")}
        return OptimizerConfig(
            name=name,
            lr=lr,
            momentum_cooldown=self.momentum_cooldown,
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            clip_snr=self.clip_snr,
            state_dtype=self.state_dtype,
            **{key: value for key, value in given.items() if value is not None},
        )


def describe(config: TrainConfig, shards: Shards) -> list[tuple[str, str]]:
    """Return every derived number of a training with the rule that gave it, for printing."""
    config = config.resolve()
    model, steps, opt = config.model, config.steps, config.optimizer
    counts = count_parameters(model)
    tokens = steps * config.tokens_per_step
    epochs = tokens / len(shards.train)
    bpt = shards.bytes_per_token("train")
    rule = config.schedule
    budget = config.provenance.get("steps")
    return [
        ("model", _describe_shape(model)),
        (
            "parameters",
            f"{counts.non_embedding:,} without embeddings (P), {counts.total:,} with both (N)",
        ),
        (
            "tokens",
            f"{tokens:,} = {steps} steps x {config.batch_size} x {model.sequence_length}; "
            f"{epochs:.2f} epochs of {len(shards.train):,} ({bpt:.2f} bytes each)",
        ),
        *([("steps", f"{steps:,} = {budget}")] if budget else []),
        (
            "schedule",
            f"{rule.text()}, warm-up {rule.warmup_steps} steps (T/50 unless given)",
        ),
        ("learning rate", f"{opt.lr:.4g}: {config.provenance.get('lr', 'given')}"),
        *(
            (name.replace("_", " "), f"{getattr(opt, name):.4g}: {config.provenance[name]}")
            for name in RULED
            if name in config.provenance
        ),
        *describe_decay(config, len(shards.train)),
    ]


def _describe_shape(model: ModelConfig) -> str:
    """Say what the width is made of."""
    heads = "" if isinstance(model, LSTMConfig) else f" = {model.heads} heads x {model.head_dim}"
    return f"{model.family}, width {model.width}{heads}; {model.depth} layers; init {model.init}"
