"""Every quantity that depends on time, as a plain function of the step.

`t` counts optimizer steps from 1: `t = 1` at the first update. The functions take and return
Python floats, and work the same on 0-d tensors, arrays and values traced by JAX: one definition for
eager, compiled and captured code (`ema_total_weight` takes single numbers only). None keeps state.

Three groups:

* what a log-time optimizer computes from `t`: `ema_weight`, `damping`, `log_time_decay`, the
  undamped multipliers of the ablations, and AdEMAMix's warm-ups;
* learning-rate multipliers `gamma(t)` in [0, 1]: `warmup_cosine`, `warmup_linear`,
  `warmup_stable_decay`, `warmup_constant`. Before the first step, at `t = 0`, they are 0, so that a
  count from 0 that somebody forgot to raise by 1 costs a step and never goes uphill;
* conversions between the ways people state weight decay: `omega`, `weight_decay`, and timescales
  in steps and epochs.

Symbols follow the field: see the glossary in docs/glossary.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

DELTA = 8.0
"""Default EMA constant: the newest gradient weighs `delta / (delta + t)` (arXiv 2602.05298)."""
KAPPA = 0.85
"""Default damping exponent (arXiv 2602.05298; useful range 0.75 to 0.9)."""
BETAS = (0.9, 0.999)
"""Default betas of the AdamW and AdEMAMix baselines (the reference's runs)."""
EPS = 1e-8
"""Default of what is added to sqrt(v), outside the root (the reference's value everywhere)."""
OMEGA = 4.0
"""Default weight-decay strength, the value of every published run (arXiv 2602.05298)."""
DECAY_OFFSET_FRACTION = 0.1
"""Default decay offset as a fraction of training, `S = T/10` (the reference's `wd_ts`)."""
WARMUP_FRACTION = 0.02
"""Default warm-up as a fraction of training, `W = T/50` (the reference's launcher)."""
WARMUP_START = 0.01
"""Learning-rate multiplier at the first step of the warm-up (the reference's `div = 100`)."""
FINAL = 0.1
"""Learning-rate multiplier at the end of the cosine (the reference's `cos_inf`)."""

PEAK_TOLERANCE = 1e-6
"""How far above its peak, relatively, rounding may put a learning rate."""

Schedule = Callable[[Any], Any]


# --- what a log-time optimizer computes from t ------------------------------------------------


def ema_weight(t: Any, delta: float = DELTA) -> Any:
    """Weight of the newest gradient in a log-time average, `a(t) = delta / (delta + t)`.

    So `beta(t) = 1 - a(t) = t / (delta + t)`, and the mean age of the average is about
    `t / (delta + 1)` steps: a fixed fraction of training. `t >= 0`; `t = 0` gives 1.
    Source: arXiv 2602.05298; spec/optimizers.md section 0.
    """
    return delta / (delta + t)


def mean_age(t: Any, delta: float = DELTA) -> Any:
    """Mean age in steps of what a log-time average holds at step t, `t / (delta + 1)`.

    Exact where the first gradient entered with weight 1 (index 0 first); less by under half a step
    where the average began at zero with index 1, for `delta >= 1` (spec/optimizers.md section 0.1).
    """
    return t / (delta + 1)


def constant_mean_age(t: Any, beta: float) -> Any:
    """Mean age in steps of a bias-corrected average of constant beta after t steps.

    It grows like `(t - 1) / 2` at first and ends at `beta / (1 - beta)`: 999 steps for 0.999.
    """
    return beta / (1 - beta) - t * beta**t / (1 - beta**t)


def damping(t: Any, kappa: float = KAPPA) -> Any:
    """Multiplier on the momentum, `alpha(t) = (1 + t)^(1 - kappa)`.

    `kappa = 1` gives 1 (no growth), `kappa = 0` gives `1 + t` (undamped Nesterov, unstable with
    noisy gradients). Source: arXiv 2602.05298; spec/optimizers.md section 0.
    """
    return (1 + t) ** (1 - kappa)


def undamped(t: Any, delta: float = DELTA) -> Any:
    """Multiplier on the momentum without damping, `delta + t`: unstable on noisy gradients.

    The ablation Log-NAdamW (arXiv 2602.05298, figure 3; spec/optimizers.md section 8).
    """
    return delta + t


def nesterov(t: Any, delta: float = DELTA) -> Any:
    """Multiplier that makes `g + alpha m` Nesterov's momentum with a raw buffer, `1 + t/delta`.

    With `beta = t/(delta+t)` and an unnormalised buffer, `g + beta * buffer` is proportional to
    `g + (delta + t)/delta * m` (spec/optimizers.md section 8, note i).
    """
    return (delta + t) / delta


def effective_damping(q: Any, kappa: float, shift: float) -> Any:
    """Multiplier on the momentum at the effective time q of a coordinate, `(shift + q)^(1-kappa)`.

    The Star variants replace t by `q = max(tau t, 1)`, the number of steps in which the coordinate
    was active (spec/optimizers.md sections 3 to 5).
    """
    return (shift + q) ** (1 - kappa)


def momentum_cooldown(
    t: Any, total_steps: float, cooldown_steps: float, *, final: float = 0.0
) -> Any:
    """Factor on the momentum near the end of training: 1, then a line down to `final` at t = T.

    Over the last `cooldown_steps` steps; always 1 if that is 0. The idea is that of arXiv
    2609.04577 (spec/peers_harness.md section 2.4); the straight line is ours.
    """
    x = _unit((t - (total_steps - cooldown_steps)) / _larger(cooldown_steps, 1e-30))
    return _select(cooldown_steps > 0, 1 - (1 - final) * x, t * 0 + 1.0)


def default_clip_snr(kappa: float) -> float:
    """Clip of Dana-MK4's signal-to-noise ratio: 2.0 up to kappa = 0.75, 0.25 from 0.85 on.

    The two values are those of the published runs (spec/optimizers.md section 2); the geometric
    interpolation between them is ours.
    """
    x = _unit((kappa - 0.75) / 0.10)
    return 2.0 * (0.25 / 2.0) ** x


def ademamix_alpha(t: Any, final: float, warmup_steps: float) -> Any:
    """AdEMAMix's multiplier on the slow average, a line from 0 to `final` at `warmup_steps`.

    Source: arXiv 2409.03137; spec/optimizers.md section 7.
    """
    return final * _unit(t / warmup_steps)


def ademamix_beta(t: Any, start: float, final: float, warmup_steps: float) -> Any:
    """AdEMAMix's slow beta: its half-life grows on a straight line from that of `start` to `final`.

    `1/ln(beta)` is interpolated linearly, so that `1 - beta` is close to `8/(t + 80)` for
    `start = 0.9, final = 1 - 8/T`: nearly a log-time average. Source: arXiv 2409.03137 without the
    1e-8 inside its logarithms, which distorts betas close to 1 (spec/plrf.md section 11).
    """
    exponent = _half_life_exponent(t, start, _namespace(final).log(final), warmup_steps)
    return _namespace(exponent).exp(exponent)


def ademamix_weight(t: Any, start: float, final_weight: float, warmup_steps: float) -> Any:
    """Weight of the newest gradient in AdEMAMix's slow average, `1 - ademamix_beta(t)`.

    `final_weight` is `1 - final`, which is `delta / T` in the published runs. For arithmetic in
    float32, where `1 - beta` of a beta near 1 has lost most of its digits.
    """
    log_final = _namespace(final_weight).log1p(-final_weight)
    exponent = _half_life_exponent(t, start, log_final, warmup_steps)
    return -_namespace(exponent).expm1(exponent)


def constant_total_weight(t: Any, beta: float) -> Any:
    """Sum of the weights of a constant-beta average started from zero, `1 - beta^t`.

    Adam's bias correction divides by it (arXiv 1412.6980). Accurate in float32 for beta near 1.
    """
    if isinstance(beta, int | float) and beta == 0:
        return 1.0
    exponent = t * _namespace(beta).log(beta)
    return -_namespace(exponent).expm1(exponent)


def matching_step(beta: float, delta: float = DELTA) -> float:
    """Step at which a log-time average has the memory of a constant beta, `delta beta/(1-beta)`.

    There `delta / (delta + t) = 1 - beta`: 152 for 0.95 and 7992 for 0.999 at delta = 8.
    """
    return delta * beta / (1 - beta)


def log_time_decay(t: Any, omega: float, decay_offset: float) -> Any:
    """Fraction of a weight removed at step t, `lambda(t) = omega / (S + t)`, before `gamma(t)`.

    `decay_offset` is S in steps, usually `T/10`. Independent of the learning rate.
    Source: spec/optimizers.md section 0 (`omega/(S+t)` is what the published runs used).
    """
    return omega / (decay_offset + t)


def constant_decay(omega: float, total_steps: float) -> float:
    """Fraction of a weight removed each step by constant decay, `omega / T`, before `gamma(t)`.

    AdamW's `lr * weight_decay` with `weight_decay = omega / (lr * T)`.
    """
    return omega / total_steps


def default_decay_offset(omega: float, total_steps: float | None) -> float:
    """Return the decay offset S in steps when the user gives none.

    `T/10` with a horizon (the reference's `wd_ts`), else `100 * omega`, so that the first decay
    removes at most 1 %. Never less than `omega`: for `T < 10 * omega` the formula would remove
    more than the whole weight in a step.
    """
    if total_steps is None:
        return 100.0 * omega
    return _larger(total_steps * DECAY_OFFSET_FRACTION, omega)


def ema_total_weight(t: Any, delta: float = DELTA) -> float:
    """Sum of the weights of a log-time average started from zero, `c_t = 1 - prod s/(delta+s)`.

    0.8889, 0.9778, 0.9939 at t = 1, 2, 3 for delta = 8: within 0.7 % of 1 from the third step,
    and the same for both moments, which is why log-time averages need no bias correction.
    Source: spec/optimizers.md section 0.1.
    """
    log_product = math.lgamma(t + 1) + math.lgamma(delta + 1) - math.lgamma(t + delta + 1)
    return -math.expm1(log_product)


# --- learning-rate multipliers ------------------------------------------------------------------


def warmup_cosine(
    t: Any,
    total_steps: int,
    warmup_steps: int,
    *,
    final: float = FINAL,
    start: float = WARMUP_START,
) -> Any:
    """Linear warm-up from `start` to 1, then a cosine from 1 down to `final`.

    With `k = t - 1`: `k/W + (1 - k/W) * start` for `k < W`, then
    `final + (1 - final)/2 * (1 + cos(pi (k - W)/(T - W)))`, then `final` from `k = T` on.
    Source: the reference's `cos_inf` in closed form, spec/training.md section 3.
    """
    k = t - 1
    progress = _unit((k - warmup_steps) / max(total_steps - warmup_steps, 1))
    cosine = final + 0.5 * (1 - final) * (1 + _namespace(t).cos(math.pi * progress))
    return _select(k < warmup_steps, _warmup(k, warmup_steps, start), cosine)


def warmup_linear(
    t: Any,
    total_steps: int,
    warmup_steps: int,
    *,
    final: float = 0.0,
    start: float = WARMUP_START,
) -> Any:
    """Linear warm-up from `start` to 1, then a straight line from 1 down to `final` at `k = T`."""
    k = t - 1
    progress = _unit((k - warmup_steps) / max(total_steps - warmup_steps, 1))
    line = 1 - (1 - final) * progress
    return _select(k < warmup_steps, _warmup(k, warmup_steps, start), line)


def warmup_stable_decay(
    t: Any,
    total_steps: int,
    warmup_steps: int,
    *,
    cooldown_steps: int | None = None,
    final: float = 0.0,
    start: float = WARMUP_START,
) -> Any:
    """Linear warm-up, a plateau at 1, then a cooldown of shape `1 - sqrt(x)` down to `final`.

    `x` runs from 0 to 1 over the last `cooldown_steps` steps (default: a fifth of training, the
    range arXiv 2405.18392 recommends together with the shape).
    """
    if cooldown_steps is None:
        cooldown_steps = default_cooldown_steps(total_steps)
    k = t - 1
    x = _unit((k - (total_steps - cooldown_steps)) / max(cooldown_steps, 1))
    cooled = 1 - (1 - final) * x**0.5
    return _select(k < warmup_steps, _warmup(k, warmup_steps, start), cooled)


def warmup_constant(t: Any, warmup_steps: int, *, start: float = WARMUP_START) -> Any:
    """Linear warm-up from `start` to 1, then 1: for averages of weights, and for branches."""
    k = t - 1
    return _select(k < warmup_steps, _warmup(k, warmup_steps, start), 1.0 + 0.0 * k)


def default_cooldown_steps(total_steps: int) -> int:
    """Cooldown length in steps, `floor(T/5)` (arXiv 2405.18392 recommends 10 to 20 %)."""
    return total_steps // 5


def default_warmup_steps(total_steps: int) -> int:
    """Warm-up length in steps, `floor(T/50)` (spec/training.md section 2); 0 below 50 steps."""
    return int(total_steps * WARMUP_FRACTION)


# --- weight decay, stated four ways -------------------------------------------------------------


def omega_to_weight_decay(omega: float, lr: float, total_steps: float) -> float:
    """`weight_decay` of `torch.optim.AdamW` with strength omega: `omega / (lr * T)`.

    Source: the reference's AdamW baseline, spec/training.md section 3.2.
    """
    return omega / (lr * total_steps)


def weight_decay_to_omega(weight_decay: float, lr: float, total_steps: float) -> float:
    """Strength omega of `torch.optim.AdamW` with this `weight_decay`: `lr * weight_decay * T`."""
    return lr * weight_decay * total_steps


def timescale_steps(lr: float, weight_decay: float) -> float:
    """AdamW's weight-decay timescale in steps, `tau = 1 / (lr * weight_decay)`.

    The weights are an exponential average of past updates over tau steps (Wang & Aitchison,
    arXiv 2405.13698). Infinite without decay.
    """
    return math.inf if lr * weight_decay == 0 else 1 / (lr * weight_decay)


def timescale_epochs(lr: float, weight_decay: float, steps_per_epoch: float) -> float:
    """AdamW's weight-decay timescale in epochs, `1 / (lr * weight_decay * steps_per_epoch)`."""
    return timescale_steps(lr, weight_decay) / steps_per_epoch


def timescale_to_weight_decay(steps: float, lr: float) -> float:
    """`weight_decay` that gives AdamW a timescale of this many steps: `1 / (lr * steps)`."""
    return 1 / (lr * steps)


def log_time_timescale(t: Any, omega: float, decay_offset: float) -> Any:
    """Timescale of log-time decay at step t in steps, `(S + t) / omega`: it grows with t."""
    return (decay_offset + t) / omega


def total_decay(decay: Schedule, gamma: Schedule, total_steps: int) -> float:
    """Sum over training of what decay removes, `sum_{t=1..T} gamma(t) * lambda(t)`.

    At omega = 4 with the cosine to 10 %: 2.2 for constant decay, 6.8 for log-time decay with
    `S = T/10` (spec/optimizers.md section 0).
    """
    return math.fsum(gamma(t) * decay(t) for t in range(1, total_steps + 1))


# --- helpers --------------------------------------------------------------------------------------


def _warmup(k: Any, warmup_steps: int, start: float) -> Any:
    """The line from `start` at k = 0 to 1 at `warmup_steps`; 0 before the first step."""
    progress = k / max(warmup_steps, 1)
    return _select(k < 0, 0.0, progress + (1 - progress) * start)


def _half_life_exponent(t: Any, start: float, log_final: Any, warmup_steps: float) -> Any:
    """Logarithm of a beta whose half-life grows linearly from that of `start`."""
    x = _unit(t / warmup_steps)
    inverse_start = 1 / math.log(start) if start > 0 else 0.0
    return 1 / ((1 - x) * inverse_start + x / log_final)


def _namespace(x: Any) -> Any:
    """Return the module whose functions take `x`: math, torch, or the array's own namespace."""
    if isinstance(x, int | float):
        return math
    torch = sys.modules.get("torch")  # reports do without
    is_tensor = torch is not None and isinstance(x, torch.Tensor)
    return torch if is_tensor else x.__array_namespace__()


def _unit(x: Any) -> Any:
    """Clamp to [0, 1]."""
    if isinstance(x, int | float):
        return min(max(x, 0.0), 1.0)
    return x.clip(0.0, 1.0)


def _select(condition: Any, yes: Any, no: Any) -> Any:
    if isinstance(condition, bool):
        return yes if condition else no
    return _namespace(condition).where(condition, yes, no)


def _larger(x: Any, y: Any) -> Any:
    if isinstance(x, int | float) and isinstance(y, int | float):
        return max(x, y)
    return _select(x > y, x, y)
