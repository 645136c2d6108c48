"""The members of the family and their variants, each with what the oracle says its steps are."""

import functools
from typing import Any, NamedTuple

import numpy as np
import pytest

import adana
from adana.optim import ABLATIONS, AblatedADana

from . import oracle

N = 320
"""Steps taken; also the horizon T, except where a row says otherwise."""
LR, OMEGA = 0.02, 4.0


class Row(NamedTuple):
    """An optimizer and what the oracle says its steps are."""

    make: Any
    step: Any
    decay: Any = oracle.log_time_decay(N, OMEGA, N / 10)
    after: bool = False


def row(cls, arguments, step, **rest):
    given = {"lr": LR, "omega": OMEGA, "total_steps": N, **arguments}
    return Row(functools.partial(cls, **given), step, **rest)


CONSTANT = {"decay": oracle.constant_decay(N, OMEGA, N)}
NONE = {"decay": np.zeros(N)}
STAR = {"momentum_scale": 0.7, "kappa": 0.75}

ROWS = {
    "adana": row(adana.ADana, {}, oracle.adana),
    "adana-released": row(
        adana.ADana,
        {"variant": "released", "momentum_scale": 0.5, "kappa": 0.75, "delta": 4.5},
        lambda g: oracle.adana(g, scale=0.5, kappa=0.75, delta=4.5, extra=1.0),
        after=True,
    ),
    "adana-first-step-0": row(adana.ADana, {"first_step": 0}, lambda g: oracle.adana(g, first=0)),
    "adana-released-first-step-0": row(
        adana.ADana,
        {"variant": "released", "first_step": 0},
        lambda g: oracle.adana(g, extra=1.0, first=0),
        after=True,
    ),
    "adana-constant-decay": row(adana.ADana, {"decay": "constant"}, oracle.adana, **CONSTANT),
    "adana-decay-offset": row(
        adana.ADana, {"decay_offset": 5.0}, oracle.adana, decay=oracle.log_time_decay(N, OMEGA, 5)
    ),
    "adana-no-decay": row(adana.ADana, {"omega": 0.0}, oracle.adana, **NONE),
    "adana-large-eps": row(adana.ADana, {"eps": 0.1}, lambda g: oracle.adana(g, eps=0.1)),
    "adana-momentum-cooldown": row(
        adana.ADana,
        {"momentum_cooldown": 0.25, "extra_momentum": 0.5},
        lambda g: oracle.adana(g, extra=0.5, scale=oracle.cooldown(N, N, 0.25)),
    ),
    "dana-mk4": row(adana.DanaMK4, {}, lambda g: oracle.dana_mk4(g, clip=0.25)),
    "dana-mk4-released": row(
        adana.DanaMK4,
        {"variant": "released", "kappa": 0.75, "momentum_scale": 0.3},
        lambda g: oracle.dana_mk4(g, clip=2.0, kappa=0.75, scale=0.3),
        after=True,
    ),
    "dana-mk4-no-extra": row(
        adana.DanaMK4,
        {"extra_momentum": 0.0, "clip_snr": 0.4},
        lambda g: oracle.dana_mk4(g, clip=0.4, extra=0.0),
    ),
    "dana-star": row(adana.DanaStar, STAR, lambda g: oracle.dana_star(g, scale=0.7, kappa=0.75)),
    "dana-star-released": row(
        adana.DanaStar,
        {"variant": "released"},
        lambda g: oracle.dana_star(g, released=True),
        after=True,
    ),
    "dana-star-grad-clip": row(
        adana.DanaStar, {"grad_clip_snr": 2.0}, lambda g: oracle.dana_star(g, grad_clip=2.0)
    ),
    "dana-star-first-step-0": row(
        adana.DanaStar, {"first_step": 0}, lambda g: oracle.dana_star(g, first=0)
    ),
    "dana-star-mk4": row(
        adana.DanaStarMK4,
        {**STAR, "clip_snr": 0.5},
        lambda g: oracle.dana_star_mk4(g, clip=0.5, scale=0.7, kappa=0.75),
    ),
    "dana-star-mk4-released": row(
        adana.DanaStarMK4,
        {"variant": "released"},
        lambda g: oracle.dana_star_mk4(g, clip=0.25),
        after=True,
    ),
    "log-adamw": row(adana.LogAdamW, {}, oracle.adamw),
    "log-adamw-after": row(
        adana.LogAdamW,
        {"decay_order": "after", "betas": (0.8, 0.95)},
        lambda g: oracle.adamw(g, betas=(0.8, 0.95)),
        after=True,
    ),
    "ademamix": row(
        adana.AdEMAMix, {"total_steps": N}, lambda g: oracle.ademamix(g, total=N), **CONSTANT
    ),
    "ademamix-past-its-horizon": row(
        adana.AdEMAMix,
        {"total_steps": N // 2, "momentum_scale": 0.4},
        lambda g: oracle.ademamix(g, total=N // 2, scale=0.4),
        decay=oracle.constant_decay(N, OMEGA, N // 2),
    ),
    "ademamix-log-time-decay": row(
        adana.AdEMAMix,
        {"decay": "log-time", "beta3": 0.98, "alpha": 3.0, "warmup_steps": 100},
        lambda g: oracle.ademamix(g, total=N, final_beta=0.98, final_alpha=3.0, warmup=100),
    ),
    "ademamix-without-fast-average": row(
        adana.AdEMAMix,
        {"betas": (0.0, 0.99)},
        lambda g: oracle.ademamix(g, total=N, betas=(0.0, 0.99)),
        **CONSTANT,
    ),
    "log-ademamix": row(adana.LogAdEMAMix, {}, oracle.log_ademamix),
    "log-ademamix-without-fast-average": row(
        adana.LogAdEMAMix,
        {"betas": (0.0, 0.999), "kappa": 0.75, "momentum_scale": 0.5},
        lambda g: oracle.log_ademamix(g, betas=(0.0, 0.999), kappa=0.75, scale=0.5),
    ),
    "dana-decaying": row(adana.Dana, {"omega": 0.0}, lambda g: oracle.dana(g, scale=0.5), **NONE),
    "dana-constant": row(
        adana.Dana,
        {"omega": 0.0, "dimension": 40},
        lambda g: oracle.dana(g, scale=0.5, dimension=40),
        **NONE,
    ),
    "dana-average": row(
        adana.Dana, {"average": True}, lambda g: oracle.dana(g, scale=0.5, average=True)
    ),
    "dana-sgd-m": row(
        adana.Dana,
        {"forget": 0.1, "decay_order": "after"},
        lambda g: oracle.dana(g, scale=0.5, forget=0.1),
        after=True,
    ),
    "dana-sgd-m-average": row(
        adana.Dana,
        {"forget": 0.1, "average": True},
        lambda g: oracle.dana(g, scale=0.5, forget=0.1, average=True),
    ),
}

ABLATION_STEPS = {
    "log-adamw": oracle.log_adamw_ablation,
    "log-nadamw": oracle.log_nadamw,
    "log-nadamw-nesterov": oracle.log_nadamw_nesterov,
    "adana-no-gradient": lambda g: oracle.adana_no_gradient(g, kappa=0.75),
    "adana-short-average": oracle.adana_short_average,
    "adana-constant-beta2": oracle.adana_constant_beta2,
    "adana-constant-alpha": lambda g: oracle.adana_constant_alpha(g, scale=2.5),
    "dana-figure-5": lambda g: oracle.dana_figure_5(g, scale=0.01),
}
ABLATION_ARGUMENTS = {
    "adana-no-gradient": {"kappa": 0.75},
    "adana-constant-alpha": {"momentum_scale": 2.5},
    "dana-figure-5": {"momentum_scale": 0.01},
}
for _name, _step in ABLATION_STEPS.items():
    _given = {**ABLATIONS[_name], **ABLATION_ARGUMENTS.get(_name, {})}
    _decay = CONSTANT if _given.get("decay") == "constant" else {}
    ROWS[f"ablation {_name}"] = row(AblatedADana, _given, _step, **_decay)

QUICK = (
    "adana", "adana-released", "dana-mk4", "dana-star", "dana-star-mk4", "ademamix",
    "log-ademamix", "log-adamw-after", "dana-average", "ablation log-nadamw",
)  # fmt: skip
SOME_ROWS = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.exhaustive) for name in ROWS
]
"""Names of all rows; all but one of each optimizer and for each kind of update are exhaustive."""
