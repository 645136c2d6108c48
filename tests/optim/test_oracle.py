"""Every member of the family follows the float64 oracle of `oracle.py` over hundreds of steps.

The oracle computes averages from closed-form weights over the whole history, so that an error that
builds up in a recurrence, a wrong index or a wrong schedule shows here.
"""

import functools
import math

import numpy as np
import pytest
import torch

from adana.optim import ABLATIONS

from . import oracle
from .members import ABLATION_STEPS, LR, ROWS, SOME_ROWS, N

COORDINATES = 24
WARMUP = 6


# --- gradients ------------------------------------------------------------------------------------


def gradients():
    """Return random, sparse and wildly scaled gradients, side by side.

    float32 holds them exactly, so that all dtypes see the same ones. The wild ones are between
    1e-12 and 1e8 in size, in any order or growing.
    """
    rng = np.random.default_rng(20260301)
    g = rng.standard_normal((N, 3 * COORDINATES))
    sparse, wild = g[:, COORDINATES : 2 * COORDINATES], g[:, 2 * COORDINATES :]
    sparse *= rng.random(sparse.shape) < np.geomspace(0.005, 0.9, COORDINATES)
    sparse[:, 0] = 0.0  # never active
    sparse[:, 1] = np.arange(N) == N // 2  # active once
    wild[:, ::2] *= 10 ** rng.uniform(-12, 8, wild[:, ::2].shape)
    wild[:, 1::2] *= np.geomspace(1e-12, 1e8, N)[:, None]
    wild[:, 1] = wild[::-1, 1]  # shrinking
    return g.astype(np.float32).astype(np.float64).clip(-1e8, 1e8)


GRADIENTS = gradients()
GAMMA = oracle.cosine(N, N, WARMUP)
START = np.random.default_rng(7).standard_normal(GRADIENTS.shape[1]).astype(np.float32)


def follow(make, dtype, **overrides):
    """Return the weights after every step and the final state."""
    p = torch.nn.Parameter(torch.tensor(START).to(dtype))
    optimizer = make([p], **overrides)
    (group,) = optimizer.param_groups
    peak, seen = group["lr"], []
    for gamma, g in zip(GAMMA, torch.tensor(GRADIENTS).to(dtype), strict=True):
        group["lr"] = peak * gamma
        p.grad = g
        optimizer.step()
        seen.append(p.detach().double().numpy().copy())
    return np.array(seen), optimizer.state[p]


@functools.cache
def expected(name):
    """Return the oracle's weights after every step, and how large each has been so far."""
    r = ROWS[name]
    start = START.astype(np.float64)
    walk = oracle.walk(start, r.step(GRADIENTS), LR * GAMMA, GAMMA * r.decay, after=r.after)
    size = np.maximum.accumulate(np.abs(np.vstack([start, walk])), axis=0)[1:]
    return walk, size


def error(name, dtype, **overrides):
    walk, size = expected(name)
    seen, _ = follow(ROWS[name].make, dtype, **overrides)
    return np.abs(seen - walk) / size


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROWS)
def test_float64_follows_the_oracle_to_twelve_digits(name):
    """Measured: 1e-14."""
    assert error(name, torch.float64, foreach=True).max() <= 1e-12


@pytest.mark.parametrize("name", SOME_ROWS)
def test_float64_with_numbers_in_tensors_follows_the_oracle_to_twelve_digits(name):
    assert error(name, torch.float64, capturable=True).max() <= 1e-12


@pytest.mark.parametrize("name", ROWS)
def test_float32_follows_the_oracle_within_its_rounding(name):
    """Each step rounds a weight up to four times by half a unit of 2^-23.

    Independent roundings add up to about `sqrt(N) * 2^-24 = 1.1e-6` of the weight's size. Four
    times that is allowed, a fourteenth of the worst case; measured: 0.4 to 1.6e-6.
    """
    assert error(name, torch.float32, foreach=False).max() <= 4 * math.sqrt(N) * 2**-24


@pytest.mark.parametrize(
    ("name", "delta", "first"),
    [("adana-released", 4.5, 1), ("adana-first-step-0", 8.0, 0), ("dana-star", 8.0, 1)],
)
def test_states_are_the_closed_form_averages(name, delta, first):
    w = oracle.log_time_weights(N, delta, first)[-1]
    tau, _, _ = oracle.activity(GRADIENTS, delta, first)
    size = {"m": w @ np.abs(GRADIENTS), "v": w @ GRADIENTS**2, "tau": tau[-1]}
    averages = {**size, "m": w @ GRADIENTS}
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 4 * math.sqrt(N) * 2**-24)):
        _, state = follow(ROWS[name].make, dtype)
        for key in set(state) - {"step"}:
            difference = np.abs(state[key].double().numpy() - averages[key])
            assert (difference <= bound * size[key]).all(), key


def test_every_ablation_has_an_oracle():
    assert set(ABLATION_STEPS) == set(ABLATIONS)


# --- the oracle itself ----------------------------------------------------------------------------


def recurrence(weight, n):
    """Return the weights in an average with these weights of the newest, computed step by step."""
    w = np.zeros((n, n))
    for t in range(n):
        w[t] = (1 - weight(t + 1)) * (w[t - 1] if t else 0)
        w[t, t] += weight(t + 1)
    return w


@pytest.mark.parametrize(
    ("closed", "weight"),
    [
        (oracle.log_time_weights(50, 3.3), lambda t: 3.3 / (3.3 + t)),
        (oracle.log_time_weights(50, 8.0, 0), lambda t: 8.0 / (7.0 + t)),
        (oracle.constant_weights(50, 0.9), lambda t: 0.1),
    ],
)
def test_closed_form_weights_solve_their_recurrence(closed, weight):
    assert np.allclose(closed, recurrence(weight, 50), rtol=1e-13, atol=0)


def test_weights_of_the_reference_are_those_of_the_specification():
    """Values of section 0.1 (total weight), section 7 ((1 - beta3) t) and its end value."""
    total = oracle.log_time_weights(5).sum(axis=1)
    assert total == pytest.approx([0.8889, 0.9778, 0.9939, 0.9980, 0.9992], abs=5e-5)
    assert oracle.log_time_weights(50, 8.0, 0).sum(axis=1) == pytest.approx(1.0, rel=1e-13)
    newest = np.diag(oracle.ademamix_weights(100, 0.9, 1 - 8 / 50_000, 50_000))
    assert newest[0] == pytest.approx(0.099, abs=5e-4)
    assert newest[9] * 10 == pytest.approx(0.889, abs=5e-4)
    assert newest[99] * 100 == pytest.approx(4.45, abs=5e-3)
