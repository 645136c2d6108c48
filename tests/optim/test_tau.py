"""The activity estimate of the Star variants converges to what theory says, and is used as said.

Theory: spec/optimizers.md section 3 and spec/plrf.md section 10. A coordinate that is active with
probability p has v -> p E g^2, so that tau -> p E[|g| / (|g| + sqrt(v))].
"""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

import adana

from .threads import one_thread

ROWS = [
    ("signs", 1.0), ("signs", 0.5), ("signs", 0.1), ("signs", 0.01),
    ("normal", 1.0), ("normal", 0.1), ("normal", 0.01),
]  # fmt: skip
"""Distribution of a coordinate's gradient when it is active, and how often it is."""


def limit(kind, p):
    """Return what tau converges to."""
    if kind == "signs":
        return p / (1 + math.sqrt(p))

    def integrand(x):
        return math.sqrt(2 / math.pi) * math.exp(-x * x / 2) * x / (x + math.sqrt(p))

    return p * quad(integrand, 0, 40, points=[math.sqrt(p), 1.0], limit=200)[0]


@one_thread()
def simulated(rows, steps, width, delta=8.0, seed=0):
    """Return tau of a DanaStar run on independent coordinates, a row for each of `rows`."""
    generator = torch.Generator().manual_seed(seed)
    active = torch.tensor([p for _, p in rows])[:, None]
    signs = torch.tensor([kind == "signs" for kind, _ in rows])[:, None]
    p = torch.nn.Parameter(torch.zeros(len(rows), width))
    optimizer = adana.DanaStar([p], lr=1e-3, delta=delta)
    for _ in range(steps):
        g = torch.randn(p.shape, generator=generator)
        g = torch.where(signs, g.sign(), g)
        p.grad = g * (torch.rand(p.shape, generator=generator) < active)
        optimizer.step()
    return optimizer.state[p]["tau"].double()


@pytest.fixture(scope="module")
def dense_and_sparse():
    tau = simulated(ROWS, steps=3000, width=1000)
    return dict(zip(ROWS, tau, strict=True))


@pytest.mark.parametrize(("kind", "p"), ROWS)
def test_tau_converges_to_the_activity_that_theory_gives(dense_and_sparse, kind, p):
    """p/(1 + sqrt(p)) for signs, and not p/(1 + p), which is 9 to 19 % away from it.

    Tolerance: four standard errors of the mean over 1000 coordinates, and 1 % because v still
    fluctuates after 3000 steps.
    """
    tau = dense_and_sparse[kind, p]
    error = tau.std().item() / math.sqrt(len(tau)) / limit(kind, p)
    tolerance = 0.01 + 4 * error
    assert tau.mean().item() == pytest.approx(limit(kind, p), rel=tolerance)
    assert tolerance < 0.06
    if kind == "signs" and p < 1:
        assert tau.mean().item() != pytest.approx(p / (1 + p), rel=tolerance)


def test_dense_gaussian_gradients_give_tau_0_385_and_a_step_of_0_79(dense_and_sparse):
    tau = dense_and_sparse["normal", 1.0].mean().item()
    assert tau == pytest.approx(0.385, abs=1e-3)
    assert tau / (1 - tau) == pytest.approx(0.626, abs=3e-3)
    assert math.sqrt(tau / (1 - tau)) == pytest.approx(0.791, abs=2e-3)


@pytest.mark.parametrize(("p", "r"), [(0.1, 0.066), (0.01, 0.0081)])
def test_sparse_gaussian_gradients_give_the_r_of_the_specification(dense_and_sparse, p, r):
    tau = dense_and_sparse["normal", p].mean().item()
    assert tau / (1 - tau) == pytest.approx(r, rel=0.05)
    assert limit("normal", p) / (1 - limit("normal", p)) == pytest.approx(r, rel=0.01)


@pytest.mark.slow
def test_tau_converges_for_coordinates_active_once_in_a_thousand_steps():
    """20 000 steps, about 20 activities a coordinate, 4000 coordinates.

    For normal gradients the limit is 0.00091, and so is r. (The specification's 0.00089 is 2 % off
    its own formula.)
    """
    rows = [("signs", 1e-3), ("normal", 1e-3)]
    tau = simulated(rows, steps=20_000, width=4000)
    for mean, row in zip(tau.mean(1).tolist(), rows, strict=True):
        assert mean == pytest.approx(limit(*row), rel=0.05)


# --- what is made of tau --------------------------------------------------------------------------

T = 1000
TAU = torch.tensor(
    [0.0, 1e-6, 5e-4, 2e-3, 0.066, 0.3, 0.385, 0.499, 0.501, 0.9], dtype=torch.float64
)


def step_from(tau, g, m=0.0, t=T, cls=adana.DanaStar, **arguments):
    """Take step t with v = 1 and this tau (both moving on by the step). Return its u and tau."""
    p = torch.nn.Parameter(torch.zeros_like(tau))
    optimizer = cls([p], lr=1.0, omega=0.0, eps=0.0, delta=1e-9, **arguments)
    p.grad = torch.ones_like(tau)
    optimizer.step()
    p.data.zero_()
    state = optimizer.state[p]
    state["step"].fill_(t - 1)
    state["tau"].copy_(tau)
    state["v"].fill_(1.0)
    state["m"].fill_(m)
    p.grad = torch.full_like(tau, g)
    optimizer.step()
    return -p.detach(), state["tau"]


def expected_r(tau, t=T):
    x = np.minimum(tau.numpy(), 0.5)
    return torch.tensor(np.maximum(x / (1 - x), 1 / (1 + t)))


def test_the_step_is_scaled_by_the_root_of_r():
    """r is x/(1 - x) of tau cut off at 1/2, and not below 1/(1 + t)."""
    u, tau = step_from(TAU, g=1.0, momentum_scale=0.0)
    assert torch.allclose(u**2, expected_r(tau), rtol=1e-6)
    assert torch.allclose(tau, TAU, atol=1e-11)
    assert (u[:3] ** 2).tolist() == pytest.approx([1 / 1001] * 3, rel=1e-6)
    assert (u[-2:] ** 2).tolist() == pytest.approx([1.0, 1.0], rel=1e-6)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 0.85])
def test_effective_time_is_raw_tau_times_t_and_at_least_one(kappa):
    """q uses tau itself, neither r nor the capped one; the variants differ in where 1 is added."""
    q = (TAU * T).clamp(min=1.0)
    root = expected_r(TAU).sqrt()
    growth = {
        "paper": (1 + q) ** (1 - kappa),
        "released": 1 + q ** (1 - kappa),
    }
    for variant, factor in growth.items():
        u, _ = step_from(TAU, g=0.0, m=0.5, kappa=kappa, variant=variant)
        assert torch.allclose(u, root * factor * 0.5, rtol=1e-6)
    u, _ = step_from(TAU, g=0.0, m=0.5, kappa=kappa, cls=adana.DanaStarMK4, clip_snr=math.inf)
    assert torch.allclose(u, root * growth["released"] * 0.5, rtol=1e-6)


def test_dana_star_mk4_clips_in_units_of_r():
    """The clipped part is `min(q^(1-kappa) |m| n, clip r)`, the other one is not clipped."""
    r = expected_r(TAU)
    q = (TAU * T).clamp(min=1.0)
    for m in (0.5, -0.02):
        u, _ = step_from(TAU, g=0.0, m=m, kappa=0.75, cls=adana.DanaStarMK4, clip_snr=0.4)
        grown = torch.minimum(q**0.25 * abs(m) * r.sqrt(), 0.4 * r)
        assert torch.allclose(u, math.copysign(1, m) * (grown + abs(m) * r.sqrt()), rtol=1e-6)


def test_the_gradient_clip_bounds_the_snr_of_the_gradient_alone():
    """`sqrt(r) |g| / sqrt(v)` is cut off at the clip; here v = 1 and m = 0."""
    for g in (0.5, 3.0, -40.0):
        u, _ = step_from(TAU, g=g, grad_clip_snr=2.0, momentum_scale=0.0)
        snr = expected_r(TAU).sqrt() * abs(g)
        assert torch.allclose(u.abs(), snr.clamp(max=2.0), rtol=1e-6)


def test_a_coordinate_that_was_never_active_keeps_the_smallest_r_and_time():
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = adana.DanaStar([p], lr=1.0, omega=0.0)
    for _ in range(50):
        p.grad = torch.zeros_like(p)
        optimizer.step()
    assert p.item() == 0.0
    assert optimizer.state[p]["tau"].item() == 0.0
    p.grad = torch.ones_like(p)
    optimizer.step()  # t = 51; share of the newest a = 8/59, v = a, tau = a/(1 + sqrt(a))
    a = 8 / 59
    x = a / (1 + math.sqrt(a))
    r, q = x / (1 - x), x * 51
    u = math.sqrt(r / a) * (1 + (1 + q) ** 0.15 * a)
    assert -p.item() == pytest.approx(u, rel=1e-6)
