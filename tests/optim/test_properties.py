"""What holds for every sequence of gradients: symmetries of updates and bounds of states."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import adana

from .members import ROWS

WIDTH = 4
LINEAR = [name for name in ROWS if ROWS[name].make.func is adana.Dana]
NORMALISED = [name for name in ROWS if name not in LINEAR]
"""The members that divide by sqrt(v)."""
EQUAL_WEIGHTS = [
    name
    for name in NORMALISED
    if ROWS[name].make.func not in (adana.AdEMAMix, adana.LogAdEMAMix, adana.LogAdamW)
    and "beta2" not in ROWS[name].make.keywords
]
"""The members whose m and v are averages with the same weights."""


def sizes(low=1e-30, high=1e30):
    """Return zeros and numbers of any sign between two sizes, whose squares are in range."""
    return st.one_of(
        st.just(0.0),
        st.sampled_from([1.0, -1.0]),
        st.floats(low, high),
        st.floats(-high, -low),
    )


def histories(max_steps=8, elements=sizes()):  # noqa: B008
    """Return arrays of gradients with a row for each step."""
    return st.integers(1, max_steps).flatmap(
        lambda n: arrays(np.float64, (n, WIDTH), elements=elements)
    )


def started(g):
    """Return the history with a first gradient that is nowhere zero, so that eps = 0 is defined."""
    return np.vstack([np.where(g[:1] == 0, 1.0, g[:1]), g[1:]])


def train(name, g, start=None, dtype=torch.float64, **overrides):
    """Return the weights and state after a step on each row of `g`."""
    if start is None:
        start = torch.zeros(g.shape[1:], dtype=dtype)
    p = torch.nn.Parameter(start.clone())
    optimizer = ROWS[name].make([p], **overrides)
    for row in torch.tensor(g).to(dtype):
        p.grad = row.clone()
        optimizer.step()
    return p.detach(), optimizer.state[p]


# --- symmetries -----------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(NORMALISED), g=histories(), power=st.integers(-80, 80))
def test_gradients_times_a_power_of_two_change_no_bit_of_the_weights(name, g, power):
    """At eps = 0, and exactly, because such factors round nothing."""
    once, _ = train(name, started(g), eps=0.0)
    again, _ = train(name, started(g) * 2.0**power, eps=0.0)
    assert torch.isfinite(once).all()
    assert torch.equal(once, again)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(NORMALISED), g=histories(), factor=st.floats(1e-20, 1e20))
def test_the_scale_of_the_gradients_does_not_matter(name, g, factor):
    once, _ = train(name, started(g), eps=0.0)
    again, _ = train(name, started(g) * factor, eps=0.0)
    assert torch.allclose(once, again, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NORMALISED)
def test_eps_matters_less_and_less_for_larger_gradients(name):
    """The distance from the update at eps = 0 shrinks as eps / |g| does."""
    g = np.random.default_rng(0).standard_normal((20, WIDTH))
    limit, _ = train(name, g, eps=0.0)
    distances = [
        (train(name, g * factor, eps=1e-8)[0] - limit).abs().max().item()
        for factor in (1e-2, 1.0, 1e2)
    ]
    assert distances[0] < 1e-3
    for smaller, larger in zip(distances[1:], distances, strict=False):
        assert smaller < larger / 50 + 1e-13


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(LINEAR), g=histories(), power=st.integers(-80, 80))
def test_without_a_second_moment_the_step_is_linear_in_the_gradients(name, g, power):
    once, _ = train(name, g)
    again, _ = train(name, g * 2.0**power)
    assert torch.equal(once * 2.0**power, again)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(sorted(ROWS)), g=histories(), order=st.permutations(range(WIDTH)))
def test_coordinates_can_change_places(name, g, order):
    start = torch.linspace(-1, 2, WIDTH, dtype=torch.float64)
    once, _ = train(name, g, start)
    again, _ = train(name, g[:, order], start[order])
    assert torch.allclose(once[order], again, rtol=1e-13, atol=0)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(ROWS)), g=histories())
def test_coordinates_do_not_see_each_other(name, g):
    together, _ = train(name, g)
    alone = [train(name, g[:, [i]])[0] for i in range(WIDTH)]
    assert torch.allclose(together, torch.cat(alone), rtol=1e-13, atol=0)


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(ROWS)), g=histories())
def test_opposite_gradients_take_the_opposite_way(name, g):
    start = torch.linspace(-1, 2, WIDTH, dtype=torch.float64)
    forth, _ = train(name, g, start)
    back, _ = train(name, -g, -start)
    assert torch.equal(forth, -back)


# --- bounds ---------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(EQUAL_WEIGHTS),
    g=histories(20, sizes(1e-15, 1e15)),
    delta=st.floats(1e-3, 1e3),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
@example("adana", np.ones((20, WIDTH)), 8.0, torch.float32)
@example("adana-first-step-0", np.full((20, WIDTH), 3.0), 8.0, torch.float32)
@example("adana", np.eye(20, WIDTH), 8.0, torch.float32)
@example("adana", 1e-15 * np.eye(20, WIDTH), 140.0, torch.float32)
def test_m_never_exceeds_the_root_of_v(name, g, delta, dtype):
    """Cauchy and Schwarz: `(sum w g)^2 <= sum w * sum w g^2`, and `sum w <= 1`.

    Below about 1e-18 in float32, v underflows before m does, harmlessly: eps is far above both.
    """
    _, state = train(name, g, dtype=dtype, delta=delta)
    rounding = 8 * len(g) * torch.finfo(dtype).eps
    underflow = math.sqrt(20 * torch.finfo(dtype).tiny)
    assert (state["m"].abs() <= state["v"].sqrt() * (1 + rounding) + underflow).all()
    if "tau" in state:
        assert (state["tau"] >= 0).all()
        assert (state["tau"] <= 1).all()


@settings(max_examples=100, deadline=None)
@given(g=histories(20), clip=st.floats(1e-3, 1e3), scale=st.floats(0, 10), kappa=st.floats(0, 1))
def test_a_clipped_step_is_never_larger_than_its_bound(g, clip, scale, kappa):
    """`|u| <= |g|/D + scale * min(clip, alpha(t))`, since |m| <= D."""
    p = torch.nn.Parameter(torch.zeros(WIDTH, dtype=torch.float64))
    optimizer = adana.DanaMK4(
        [p], lr=1.0, clip_snr=clip, momentum_scale=scale, kappa=kappa, extra_momentum=0.0, omega=0.0
    )
    for t, row in enumerate(torch.tensor(g), start=1):
        before, p.grad = p.detach().clone(), row
        optimizer.step()
        d = optimizer.state[p]["v"].sqrt() + 1e-8
        bound = row.abs() / d + scale * min(clip, (1 + t) ** (1 - kappa))
        assert ((before - p).abs() <= bound * (1 + 1e-12) + 1e-12).all()


@settings(max_examples=100, deadline=None)
@given(g=histories(20), delta=st.floats(0.1, 100), kappa=st.floats(0, 1))
def test_no_gradient_however_large_makes_a_step_larger_than_its_bound(g, delta, kappa):
    """`|u| <= 1/sqrt(a(t)) + alpha(t)`, since v >= a(t) g^2 and |m| <= D."""
    p = torch.nn.Parameter(torch.zeros(WIDTH, dtype=torch.float64))
    optimizer = adana.ADana([p], lr=1.0, delta=delta, kappa=kappa, omega=0.0)
    for t, row in enumerate(torch.tensor(g), start=1):
        before, p.grad = p.detach().clone(), row
        optimizer.step()
        bound = math.sqrt((delta + t) / delta) + (1 + t) ** (1 - kappa)
        assert ((before - p).abs() <= bound * (1 + 1e-12) + 1e-12).all()


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e12])
def test_a_burst_after_silence_reaches_the_bound(size):
    """There `g/D = 1/sqrt(a)` and `m/D = sqrt(a)`, whatever its size."""
    p = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
    optimizer = adana.ADana([p], lr=1.0, omega=0.0, eps=0.0)
    p.grad = torch.tensor(1e-30, dtype=torch.float64)
    for _ in range(99):
        optimizer.step()
    before, p.grad = p.item(), torch.tensor(size, dtype=torch.float64)
    optimizer.step()
    a = 8 / 108
    assert before - p.item() == pytest.approx(a**-0.5 + 101**0.15 * a**0.5, rel=1e-12)
