"""How much weight decay a training has, in every way that people state it.

Weights are a moving average of past updates, and decay sets its length: a step that removes the
fraction `gamma(t) lambda(t)` makes it `1 / (gamma lambda)` steps long (Wang & Aitchison, arXiv
2405.13698). Its value at the peak learning rate is what is usually quoted; with a schedule, and
with log-time decay even without one, it grows from there on. So both ends are told, and the sum
over the run. docs/weight-decay.md explains what each is good for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adana import schedules
from adana.checks import check_range
from adana.train.config import TrainConfig
from adana.train.optimizers import optimizer_entry


@dataclass(frozen=True)
class Moment:
    """Weight decay at one step."""

    step: int
    """From 1."""
    decay: float
    """Fraction of each weight removed in the step, `gamma lambda`."""
    tau_steps: float
    """Timescale in steps, `1 / decay`; infinite without decay."""
    tau_epochs: float | None
    """The same in passes over the training tokens; None where their number is not known."""


@dataclass(frozen=True)
class DecayTimescales:
    """Weight decay over one training."""

    kind: str
    """log-time: omega / (S + t); coupled: lr * weight_decay = omega / T; constant: omega / T."""
    omega: float
    """Strength: lr * weight_decay * T of AdamW with as much decay in a step at the peak."""
    weight_decay: float | None
    """AdamW's `weight_decay`; None where decay is not coupled to the learning rate."""
    decay_offset: float | None
    """S in steps; None where decay is not log-time."""
    tau_epochs: float | None
    """epochs / omega: what --tau-epochs sets. None without decay, or if epochs are not known."""
    peak: Moment
    """Where the warm-up ends."""
    end: Moment
    """The last step."""
    lr_wd_T: float
    """Sum over the run of the decay before gamma: lr * weight_decay * T of an AdamW with constant
    learning rate that removes as much. omega for AdamW, 2.4 omega for log-time decay."""
    total: float
    """Sum over the run of what decay removes, gamma included: initial weights fade by e^-total."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON; infinite timescales are None there."""
        content = dataclasses.asdict(self)
        for moment in (content["peak"], content["end"]):
            for name in ("tau_steps", "tau_epochs"):
                if moment[name] == math.inf:
                    moment[name] = None
        return content


def decay_timescales(config: TrainConfig, train_tokens: int | None = None) -> DecayTimescales:
    """Return the weight decay of a training in numbers.

    `train_tokens` is the size of the training data, for timescales in epochs.
    """
    steps, optimizer = config.steps, config.optimizer
    omega, horizon = optimizer.omega, optimizer.horizon or config.steps
    kind = optimizer_entry(optimizer.name).decay
    offset = schedules.default_decay_offset(omega, horizon) if kind == "log-time" else None
    decay = _decay(omega, horizon, offset)
    gamma = config.schedule.gamma(steps)
    t = np.arange(1.0, steps + 1.0)
    epoch = None if train_tokens is None else train_tokens / config.tokens_per_step

    def moment(step: int) -> Moment:
        fraction = float(gamma(step) * decay(step))
        tau = math.inf if fraction == 0 else 1 / fraction
        return Moment(step, fraction, tau, None if epoch is None else tau / epoch)

    before_gamma = np.broadcast_to(decay(t), t.shape)
    warmup = config.schedule.resolve(steps).warmup_steps or 0
    coupled = kind == "coupled"
    return DecayTimescales(
        kind=kind,
        omega=omega,
        weight_decay=schedules.omega_to_weight_decay(omega, optimizer.lr, horizon)
        if coupled
        else None,
        decay_offset=offset,
        tau_epochs=None if epoch is None or omega == 0 else horizon / epoch / omega,
        peak=moment(min(warmup + 1, steps)),
        end=moment(steps),
        lr_wd_T=float(np.sum(before_gamma)),
        total=float(np.sum(gamma(t) * before_gamma)),
    )


def omega_of_tau_epochs(tau_epochs: float, config: TrainConfig, train_tokens: int) -> float:
    """Return the omega that gives a timescale in epochs: `omega = T / tau_iter = epochs / tau`.

    One formula for all optimizers. For decay of constant strength tau is the timescale at the peak
    learning rate (Wang & Aitchison's). For log-time decay it is that before gamma at step T - S,
    within a tenth of the longest one, `(S + T) / omega`: by the same omega both kinds have about
    the same decay at the end of training.

    Raises:
        ValueError: tau is not positive.
    """
    check_range("tau_epochs", tau_epochs, low=0.0, low_open=True)
    horizon = config.optimizer.horizon or config.steps
    epochs = horizon * config.tokens_per_step / train_tokens
    return epochs / tau_epochs


def _decay(omega: float, horizon: int, offset: float | None) -> Callable[[Any], Any]:
    """Return what decay removes at step t, before gamma."""
    if omega == 0 or offset is None:
        return lambda t: schedules.constant_decay(omega, horizon)
    return lambda t: schedules.log_time_decay(t, omega, offset)
