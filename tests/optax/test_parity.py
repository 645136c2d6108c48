"""The optax port and the torch classes walk the same path over hostile gradients.

A row of `PAIRS` is a torch class, an optax function and the keywords of both. They get the same
learning-rate schedule.
"""

import functools

import numpy as np
import pytest
import torch

import adana
from adana.optim.ablations import ABLATIONS, AblatedADana

from .common import ao, jnp, run, warmup_cosine, x64

STEPS, WARMUP, PEAK = 300, 6, 1e-2
SHAPES = {"matrix": (6, 5), "vector": (7,), "scalar": ()}
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
T = {"total_steps": STEPS}
RELEASED = {"variant": "released"}
CUSTOM = {"kappa": 0.75, "delta": 4.0, "omega": 2.0, "decay_offset": 50.0, "eps": 1e-6}
MORE = {**CUSTOM, "momentum_scale": 0.5, "extra_momentum": 0.3, "first_step": 0}
COOLDOWN = {**T, "momentum_cooldown": 0.2}
BETAS = {"betas": (0.8, 0.95), "omega": 2.0, "eps": 1e-6, "decay_order": "after"}
LOG_MUON = functools.partial(adana.LogMuon, muon=True)  # of matrices; the rest is ADana
ABLATED = AblatedADana, ao.adana
PAIRS = {
    "adana": (adana.ADana, ao.adana, T),
    "adana-released": (adana.ADana, ao.adana, {**T, **RELEASED}),
    "adana-more": (adana.ADana, ao.adana, MORE),
    "adana-cooldown": (adana.ADana, ao.adana, COOLDOWN),
    "adana-constant-decay": (adana.ADana, ao.adana, {**T, "decay": "constant"}),
    "dana-mk4": (adana.DanaMK4, ao.dana_mk4, T),
    "dana-mk4-more": (adana.DanaMK4, ao.dana_mk4, {**MORE, "clip_snr": 0.4}),
    "dana-mk4-cooldown": (adana.DanaMK4, ao.dana_mk4, {**COOLDOWN, **RELEASED}),
    "dana-star": (adana.DanaStar, ao.dana_star, T),
    "dana-star-released": (adana.DanaStar, ao.dana_star, {**T, **RELEASED}),
    "dana-star-more": (adana.DanaStar, ao.dana_star, {**MORE, "grad_clip_snr": 2.0}),
    "dana-star-mk4": (adana.DanaStarMK4, ao.dana_star_mk4, T),
    "dana-star-mk4-more": (adana.DanaStarMK4, ao.dana_star_mk4, {**MORE, **RELEASED}),
    "log-adamw": (adana.LogAdamW, ao.log_adamw, T),
    "log-adamw-more": (adana.LogAdamW, ao.log_adamw, {**BETAS, "decay_offset": 50.0}),
    "ademamix": (adana.AdEMAMix, ao.ademamix, T),
    "ademamix-more": (
        adana.AdEMAMix,
        ao.ademamix,
        {**T, **BETAS, "beta3": 0.99, "alpha": 3.0, "warmup_steps": 100, "decay": "log-time"},
    ),
    "log-ademamix": (adana.LogAdEMAMix, ao.log_ademamix, T),
    "log-ademamix-more": (adana.LogAdEMAMix, ao.log_ademamix, {**BETAS, "momentum_scale": 0.5}),
    "dana": (adana.Dana, ao.dana, {"delta": 4.0}),
    "dana-constant": (adana.Dana, ao.dana, {"dimension": 10}),
    "sgd-m": (adana.Dana, ao.dana, {"forget": 0.1, "momentum_scale": 0.1}),
    "dana-average": (adana.Dana, ao.dana, {"average": True, "momentum_scale": 0.1}),
    "log-muon": (LOG_MUON, ao.log_muon, T),
    "log-muon-more": (LOG_MUON, ao.log_muon, {**MORE, "ns_steps": 3, "rms_scale": 0.3}),
    "log-muon-cooldown": (LOG_MUON, ao.log_muon, {**COOLDOWN, "decay": "constant"}),
    **{f"ablation-{name}": (*ABLATED, {**T, **arguments}) for name, arguments in ABLATIONS.items()},
}
"""Name -> torch class, optax function, keywords of both."""
LINEAR = {"dana", "dana-constant", "sgd-m", "dana-average"}
"""Optimizers without weight decay, which need no peak."""


@functools.cache
def inputs(dtype, seed=1):
    """Parameters and gradients in which most entries are 0 and the rest span 12 decades."""
    random = np.random.default_rng(seed)
    params = {name: random.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
    grads = {}
    for name, shape in SHAPES.items():
        coordinates = 10.0 ** random.uniform(-4, 4, size=shape)
        steps = 10.0 ** random.uniform(-2, 2, size=(STEPS, *(1 for _ in shape)))
        active = random.random((STEPS, *shape)) < random.choice([0.05, 0.3, 1.0], size=shape)
        normal = random.standard_t(df=2, size=(STEPS, *shape))
        grads[name] = (coordinates * steps * normal * active).astype(dtype)
    return params, grads


def torch_trajectory(make, params, grads):
    names = list(params)
    parameters = [torch.nn.Parameter(torch.from_numpy(np.array(params[n]))) for n in names]
    optimizer = make(parameters, lr=PEAK, peak_lr=PEAK)
    seen = {name: [] for name in names}
    for k in range(STEPS):
        gamma = adana.schedules.warmup_cosine(k + 1, STEPS, WARMUP)
        optimizer.param_groups[0]["lr"] = PEAK * gamma
        for name, p in zip(names, parameters, strict=True):
            p.grad = torch.from_numpy(np.array(grads[name][k]))
        optimizer.step()
        for name, p in zip(names, parameters, strict=True):
            seen[name].append(p.detach().numpy().copy())
    return {name: np.stack(values) for name, values in seen.items()}


def worst_difference(name, dtype):
    torch_class, optax_function, arguments = PAIRS[name]
    params, grads = inputs(dtype)
    theirs = torch_trajectory(functools.partial(torch_class, **arguments), params, grads)
    rate = warmup_cosine(PEAK, STEPS, WARMUP)
    peak = {} if name in LINEAR else {"peak_lr": PEAK}
    ours = run(optax_function(rate, **peak, **arguments), params, grads)
    for tensor in params:
        assert ours[tensor].dtype == dtype
        assert np.abs(theirs[tensor][-1] - params[tensor]).max() > 0.05, "it hardly moved"
    return max(float(jnp.abs(ours[n] - theirs[n]).max() / np.abs(theirs[n]).max()) for n in params)


@pytest.mark.parametrize("name", PAIRS)
def test_torch_and_optax_agree_in_float32(name):
    """The largest are 3.2e-7 and 2.8e-7, of DANA and SGD-M, whose steps no normalisation bounds.

    Each is about as far from float64 (4.7e-7 and 5.9e-7 in torch): it is float32's own rounding.
    LogMuon is within 1.1e-7, although the products of its iteration are summed in another order.
    """
    assert worst_difference(name, "float32") < TOLERANCE["float32"]


@pytest.mark.parametrize("name", PAIRS)
def test_torch_and_optax_agree_in_float64(name):
    with x64():
        assert worst_difference(name, "float64") < TOLERANCE["float64"]
