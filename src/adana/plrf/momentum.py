"""Stochastic momentum methods as instances of one update with four schedules.

    y_t         = (1 - forget(t)) y_{t-1} + gamma1(t) g_t            y_{-1} = 0
    theta_{t+1} = theta_t - gamma2(t) g_t - gamma3(t) y_t            t = 0, 1, 2, ...

Steps count from 0 here, as in the papers on this model (arXiv 2505.16098), where the optimizers of
`adana.optim` count from 1; so `forget(0) = 1` for a log-time memory. Schedules are functions of an
array of steps, which need not be whole: predictions evaluate them in the middle of a block.
The methods and their constants: spec/plrf.md section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from adana.checks import check_range
from adana.schedules import DELTA, ademamix_alpha, ademamix_weight, damping, ema_weight, undamped

Schedule = Callable[[np.ndarray], Any]

GAIN = 0.5
"""Default constant c of the momentum's step (the research code's; spec/plrf.md section 2.2)."""


@dataclass(frozen=True)
class Coefficients:
    """The four coefficients of the update at the steps asked for: float64 arrays of their shape."""

    gamma1: np.ndarray
    gamma2: np.ndarray
    gamma3: np.ndarray
    forget: np.ndarray

    def columns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return them in the order of the update: gamma1, gamma2, gamma3, forget."""
        return self.gamma1, self.gamma2, self.gamma3, self.forget


@dataclass(frozen=True)
class Momentum:
    """A method: its name for tables and charts, and its four schedules of the 0-based step."""

    name: str
    gamma1: Schedule
    gamma2: Schedule
    gamma3: Schedule
    forget: Schedule

    def at(self, steps: Any) -> Coefficients:
        """Evaluate the schedules at steps `t >= 0`, a number or an array of any shape."""
        t = np.asarray(steps, dtype=np.float64)
        values = (self.gamma1, self.gamma2, self.gamma3, self.forget)
        return Coefficients(*(np.broadcast_to(np.float64(f(t)), t.shape) for f in values))


def default_step(trace: float, batch: float = 1) -> float:
    """Return the step `gamma2 = 0.5 min(1, B / tr)` (research code; spec/plrf.md section 2.2)."""
    check_range("trace", trace, low=0.0, low_open=True)
    check_range("batch", batch, low=0.0, low_open=True, finite=False)
    return 0.5 * min(1.0, batch / trace)


def spectral_kappa(alpha: float) -> float:
    """Return the damping exponent `min(1, 1/(2 alpha))`, the spectral dimension of the features.

    The growth exponent of the number of directions learned by time t: the slowest decay of the
    momentum's step that is stable (arXiv 2602.05298; spec/plrf.md sections 2.2 and 8.1).
    """
    check_range("alpha", alpha, low=0.0, low_open=True)
    return min(1.0, 1 / (2 * alpha))


def sgd(step: float) -> Momentum:
    """Plain SGD with a constant step."""
    return Momentum("SGD", _constant(0), _constant(step), _constant(0), _constant(1))


def sgd_momentum(step: float, momentum_step: float, forget: float = 0.1) -> Momentum:
    """SGD with Polyak's momentum: `forget = 1 - beta`; acts like SGD of a larger step."""
    check_range("forget", forget, low=0.0, high=1.0, low_open=True)
    return Momentum(
        "SGD-M", _constant(1), _constant(step), _constant(momentum_step), _constant(forget)
    )


def dana_constant(
    step: float, dimension: float, *, gain: float = GAIN, delta: float = DELTA
) -> Momentum:
    """DANA with a constant momentum step `c gamma2 / d` (arXiv 2505.16098)."""
    check_range("dimension", dimension, low=0.0, low_open=True)
    check_range("gain", gain, low=0.0)
    return Momentum(
        "DANA-constant",
        _constant(1),
        _constant(step),
        _constant(gain * step / dimension),
        _memory(delta),
    )


def dana_decaying(
    step: float, kappa: float, *, gain: float = GAIN, delta: float = DELTA
) -> Momentum:
    """DANA with the momentum step `c gamma2 (1+t)^-kappa` (arXiv 2505.16098)."""
    _check_damping(kappa, gain)
    return Momentum(
        "DANA-decaying",
        _constant(1),
        _constant(step),
        lambda t: gain * step * (1 + t) ** -kappa,
        _memory(delta),
    )


def damped_average(
    step: float, kappa: float, *, gain: float = 1.0, delta: float = DELTA
) -> Momentum:
    """ADana without its second moment: `gamma1 = forget`, `gamma3 = gain gamma2 (1+t)^(1-kappa)`.

    `gain = c/delta` makes it about as strong as `dana_decaying` with c (spec/plrf.md section 2.1);
    with `gain = 1` it is unstable on most problems.
    """
    _check_damping(kappa, gain)
    memory = _memory(delta)
    return Momentum(
        "damped average",
        memory,
        _constant(step),
        lambda t: gain * step * damping(t, kappa),
        memory,
    )


def linear_average(step: float, slope: float, *, delta: float = DELTA) -> Momentum:
    """`gamma1 = forget`, `gamma3 = gamma2 slope (1+t)`: the constant-alpha sweep of the paper."""
    check_range("slope", slope, low=0.0)
    memory = _memory(delta)
    return Momentum(
        f"slope {slope:.3g}", memory, _constant(step), lambda t: slope * step * (1 + t), memory
    )


def log_nesterov(step: float, *, delta: float = DELTA) -> Momentum:
    """Undamped log-time Nesterov, `gamma3 = gamma2 (delta + t)`.

    Unstable at every batch size below about `delta d / 2` (docs/plrf/instability.md).
    """
    memory = _memory(delta)
    return Momentum(
        "undamped Nesterov",
        memory,
        _constant(step),
        lambda t: step * undamped(t, delta),
        memory,
    )


def log_average(step: float, *, delta: float = DELTA) -> Momentum:
    """Steps along the log-time average alone, without the fresh gradient (`gamma2 = 0`)."""
    memory = _memory(delta)
    return Momentum("log-time average only", memory, _constant(0), _constant(step), memory)


def schedule_free(step: float, interpolation: float = 0.9) -> Momentum:
    """Schedule-Free SGD at the point where it takes gradients (arXiv 2405.15682).

    An instance of the update from t = 1 on; at t = 0 it steps by the whole `step` and its buffer
    stays empty (spec/plrf.md section 2.2). Its averaged iterate is
    `theta_t + (1 - interpolation) step y_{t-1}`.
    """
    check_range("step", step, low=0.0)
    check_range("interpolation", interpolation, low=0.0, high=1.0)
    b = interpolation
    return Momentum(
        "Schedule-Free SGD",
        lambda t: t / (t + 1),
        lambda t: np.where(t == 0, step, (1 - b) * step),
        lambda t: np.where(t == 0, 0.0, b * step / np.maximum(t, 1e-300)),
        lambda t: 1 / (t + 1),
    )


def ademamix(
    step: float,
    horizon: float,
    final_gain: float,
    *,
    start_beta: float = 0.9,
    delta: float = DELTA,
    gamma1: Schedule | None = None,
) -> Momentum:
    """AdEMAMix without its fast average: `gamma3 = gamma2 final_gain t/T`, memory `delta/T` at T.

    Both warm up over `horizon` steps T and stay (arXiv 2409.03137; spec/plrf.md section 11).
    `gamma1` defaults to the memory's weight; the research script used `1/(1+t)` for one figure.
    """
    check_range("horizon", horizon, low=delta, low_open=True)
    check_range("final_gain", final_gain, low=0.0)
    check_range("start_beta", start_beta, low=0.0, high=1.0, low_open=True, high_open=True)

    def forget(t: np.ndarray) -> np.ndarray:
        return ademamix_weight(np.minimum(t, horizon), start_beta, delta / horizon, horizon)

    return Momentum(
        "AdEMAMix",
        forget if gamma1 is None else gamma1,
        _constant(step),
        lambda t: step * ademamix_alpha(t, final_gain, horizon),
        forget,
    )


def _constant(value: float) -> Schedule:
    check_range("a step", value, low=0.0)
    return lambda t: np.full(np.shape(t), float(value))


def _check_damping(kappa: float, gain: float) -> None:
    check_range("kappa", kappa)
    check_range("gain", gain, low=0.0)


def _memory(delta: float) -> Schedule:
    check_range("delta", delta, low=0.0, low_open=True)
    return lambda t: ema_weight(t, delta)
