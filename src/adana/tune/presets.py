"""Search spaces of the optimizers that `adana train` knows, one for each.

AdamW's is the grid of marin issue 725, the sweep that this project grew out of (spec/peers_harness
section 2.1), in our words: weight decay is `omega = lr * weight_decay * T`, the min-lr ratio is
`final`. The log-time optimizers have the published ranges of their own hyperparameters beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from adana import schedules
from adana.checks import check_range
from adana.tune.space import Beta, Float, Integer, Log, Space, aligned_grid

LR_LIMITS = (1e-7, 10.0)
"""Learning rates that a search tries."""

Maker = Callable[[float], Log | Float | Beta | Integer]


def _lr(value: float) -> Log:
    low, high = LR_LIMITS
    check_range("lr", value, low=low, high=high)  # what was given, not the grid made of it
    grid = tuple(lr for lr in aligned_grid(value, 2, 1e-3, 1, 2) if low <= lr <= high)
    return Log("lr", grid, value, low=low, high=high)


def _warmup(value: float) -> Integer:
    own = int(value)
    powers = [int(steps) for steps in aligned_grid(max(own, 2), 2, 1, 1, 2)]
    grid = tuple(steps for steps in powers if steps >= 1)
    return Integer("warmup_steps", grid, own, low=0, ratio=2)


MAKERS: dict[str, Maker] = {
    "lr": _lr,
    "omega": lambda value: Log("omega", (0.0, 2.0, 4.0, 8.0), value, high=256.0),
    "final": lambda value: Float("final", (0.0, 0.05, 0.1), value, low=0.0, high=1.0, step=0.1),
    "warmup_steps": _warmup,
    "beta1": lambda value: Beta("beta1", (0.9, 0.95, 0.98, 0.99), value),
    "beta2": lambda value: Beta("beta2", (0.9, 0.95, 0.98, 0.99), value),
    "eps": lambda value: Log(
        "eps", (1e-30, 1e-20, 1e-10), value, low=1e-38, high=1e-2, ratio=100.0
    ),
    "clip": lambda value: Log("clip", (0.5, 1.0, 2.0), value, low=0.05, high=32.0),
    "kappa": lambda value: Float(
        "kappa", (0.75, 0.8, 0.85, 0.9), value, low=0.0, high=1.0, step=0.05
    ),
    "delta": lambda value: Log("delta", (4.0, 8.0, 16.0), value, low=0.5, high=128.0),
    "momentum_scale": lambda value: Log(
        "momentum_scale", (0.5, 1.0, 2.0), value, low=0.03125, high=32.0
    ),
    "momentum_cooldown": lambda value: Float(
        "momentum_cooldown", (0.0, 0.1, 0.2), value, low=0.0, high=1.0, step=0.1
    ),
    "clip_snr": lambda value: Log(
        "clip_snr", (0.125, 0.25, 0.5, 1.0, 2.0), value, low=1e-3, high=64.0
    ),
    "batch_size": lambda value: Integer(
        "batch_size", (max(1, int(value) // 2), int(value), 2 * int(value)), value, low=1, ratio=2
    ),
}
"""How the space of a hyperparameter is made around its baseline value.

lr: half to four times the power of 2 (times 1e-3) nearest to the baseline, as {1, 2, 4, 8}e-3 lies
around marin's. omega: {0, .5, 1, 2} times the default, as {0, .05, .1, .2} around its decay of 0.1.
warmup_steps: likewise around the baseline, in powers of 2. clip: marin's 0 means no clipping, for
which there is no word here: the grid goes up to 2 and its edge is extended to 32. kappa: the
useful range of the paper. clip_snr: from the published 0.25 to 2. batch_size: at a fixed number of
tokens; not in a preset, because it changes what a step costs.
"""

SHARED = ("lr", "omega", "warmup_steps", "final", "clip", "eps")
"""What every optimizer is tuned in."""
_MEMBER = ("kappa", "delta", "momentum_scale")
_DAMPED = (*_MEMBER, "momentum_cooldown")
_BETAS = ("beta1", "beta2")

PRESETS: dict[str, tuple[str, ...]] = {
    "adamw": ("lr", "final", "warmup_steps", "beta1", "omega", "beta2", "eps", "clip"),
    "muon": (*SHARED, *_BETAS),
    "adamw-log-decay": (*SHARED, *_BETAS),
    "adana": (*SHARED, *_DAMPED),
    "adana-released": (*SHARED, *_DAMPED),
    "dana-mk4": (*SHARED, *_DAMPED, "clip_snr"),
    "dana-star": (*SHARED, *_DAMPED),
    "dana-star-released": (*SHARED, *_DAMPED),
    "dana-star-mk4": (*SHARED, *_DAMPED, "clip_snr"),
    "ademamix": (*SHARED, *_MEMBER, *_BETAS),
    "ademamix-log-decay": (*SHARED, *_MEMBER, *_BETAS),
    "log-ademamix": (*SHARED, *_MEMBER, *_BETAS),
    "log-muon": (*SHARED, *_DAMPED),
    "log-adamw": (*SHARED, "delta", "momentum_scale", "momentum_cooldown"),
    "log-nadamw": (*SHARED, "delta", "momentum_scale", "momentum_cooldown"),
    "log-nadamw-nesterov": (*SHARED, "delta", "momentum_scale", "momentum_cooldown"),
    "adana-no-gradient": (*SHARED, *_DAMPED),
    "adana-short-average": (*SHARED, *_DAMPED),
    "adana-constant-beta2": (*SHARED, *_DAMPED),
    "adana-constant-alpha": (*SHARED, "delta", "momentum_scale", "momentum_cooldown"),
    "dana-figure-5": (*SHARED, "delta", "momentum_scale", "momentum_cooldown"),
}
"""What each optimizer is tuned in, in this order."""


def own_default(name: str, kappa: float = schedules.KAPPA) -> float | None:
    """Return the optimizer's own default of a hyperparameter that a configuration may leave out."""
    defaults = {
        "beta1": schedules.BETAS[0],
        "beta2": schedules.BETAS[1],
        "eps": schedules.EPS,
        "clip_snr": schedules.default_clip_snr(kappa),
        "momentum_cooldown": 0.0,
    }
    return defaults.get(name)


def preset_of(optimizer: str, reads: Sequence[str] = ()) -> tuple[str, ...]:
    """Return what an optimizer is tuned in: its preset, or what all are and what it `reads`.

    >>> preset_of("lion", reads=["beta1", "beta2"])
    ('lr', 'omega', 'warmup_steps', 'final', 'clip', 'beta1', 'beta2')
    """
    shared = tuple(name for name in SHARED if name != "eps")
    return PRESETS.get(optimizer) or (*shared, *reads)


def preset_space(
    optimizer: str,
    baseline: Mapping[str, Any],
    parameters: Sequence[str] | None = None,
    *,
    preset: Sequence[str] | None = None,
) -> Space:
    """Return the search space of an optimizer around a baseline.

    Args:
        optimizer: a name of `PRESETS`, or any with a `preset`.
        baseline: the value of each hyperparameter that the search begins with; None, or nothing,
            stands for the optimizer's own default where there is one.
        parameters: which hyperparameters, in which order; default the optimizer's preset.
        preset: all that it is tuned in. Default: `PRESETS`.

    Raises:
        ValueError: the optimizer or a hyperparameter is unknown, this optimizer does not have the
            hyperparameter, or its baseline value is missing.
    """
    preset = preset or PRESETS.get(optimizer)
    if preset is None:
        raise ValueError(
            f"there is no search space for {optimizer!r}, expected one of {', '.join(PRESETS)}; "
            "in Python any list of adana.tune.Log, Float, Beta, Integer and Choice will do"
        )
    own = (*preset, "batch_size")
    names = preset if parameters is None else parameters
    foreign = [name for name in names if name not in own]
    if foreign:
        raise ValueError(
            f"{optimizer} is not tuned in {', '.join(foreign)}; choose from {', '.join(own)}"
        )
    return tuple(_make(name, baseline) for name in names)


def _make(name: str, baseline: Mapping[str, Any]) -> Log | Float | Beta | Integer:
    value = baseline.get(name)
    if value is None:
        value = own_default(name, baseline.get("kappa") or schedules.KAPPA)
    if value is None:
        raise ValueError(f"the baseline has no value of {name}, from which the search could begin")
    return MAKERS[name](value)


def aligned(name: str, value: float) -> float:
    """Return the value on the grid that all scales share, for those hyperparameters that have one.

    A rule's learning rate (0.0037) becomes the nearest power of 2 times 1e-3 (0.004), T/50 steps of
    warm-up the nearest power of 2: what is tuned anyway need not begin at a value of its own, and
    scales can be compared.
    """
    if name == "lr":
        return aligned_grid(value, 2, 1e-3, 0, 0)[0]
    if name == "warmup_steps":
        return int(aligned_grid(max(value, 1), 2, 1, 0, 0)[0])
    return value
