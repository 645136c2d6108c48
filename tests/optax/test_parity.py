"""The optax port and the torch classes walk the same path over hostile gradients.

A row of `PAIRS` is (torch factory, optax factory): the first takes the parameters and keywords, the
second the learning rate and keywords. Both get the same learning-rate schedule.
"""

import functools

import numpy as np
import pytest
import torch

import adana

from .common import ao, jnp, run, warmup_cosine, x64

STEPS, WARMUP, PEAK = 300, 6, 1e-2
SHAPES = {"matrix": (6, 5), "vector": (7,), "scalar": ()}
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}
PAIRS = {
    "adana": (adana.ADana, ao.adana, {"total_steps": STEPS}),
    "adana-released": (adana.ADana, ao.adana, {"total_steps": STEPS, "variant": "released"}),
    "adana-all-arguments": (
        adana.ADana,
        ao.adana,
        {"kappa": 0.75, "delta": 4.0, "omega": 2.0, "decay_offset": 50.0, "eps": 1e-6}
        | {"momentum_scale": 0.5, "first_step": 0},
    ),
    "log-adamw": (adana.LogAdamW, ao.log_adamw, {"total_steps": STEPS}),
    "log-adamw-all-arguments": (
        adana.LogAdamW,
        ao.log_adamw,
        {"betas": (0.8, 0.95), "omega": 2.0, "decay_offset": 50.0, "eps": 1e-6}
        | {"decay_order": "after"},
    ),
}
"""Name -> torch class, optax function, keywords of both."""


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
    ours = run(optax_function(rate, peak_lr=PEAK, **arguments), params, grads)
    for tensor in params:
        assert ours[tensor].dtype == dtype
        assert np.abs(theirs[tensor][-1] - params[tensor]).max() > 0.05, "it hardly moved"
    return max(float(jnp.abs(ours[n] - theirs[n]).max() / np.abs(theirs[n]).max()) for n in params)


@pytest.mark.parametrize("name", PAIRS)
def test_torch_and_optax_agree_in_float32(name):
    assert worst_difference(name, "float32") < TOLERANCE["float32"]


@pytest.mark.parametrize("name", PAIRS)
def test_torch_and_optax_agree_in_float64(name):
    with x64():
        assert worst_difference(name, "float64") < TOLERANCE["float64"]
