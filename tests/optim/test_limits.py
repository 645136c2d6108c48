"""Members turn into one another, and into known optimizers, where their schedules meet."""

import math

import numpy as np
import pytest
import torch

import adana
from adana.optim import AblatedADana

N, WIDTH = 60, 16


def gradients(kind="random"):
    rng = np.random.default_rng(3)
    g = rng.standard_normal((N, WIDTH)) * np.geomspace(1e-3, 1e3, WIDTH)
    if kind == "sparse":
        g *= rng.random((N, WIDTH)) < 0.3
    if kind == "signs":
        g = np.sign(g)
    return torch.tensor(g)


def weights(cls, g, lr=0.01, **arguments):
    """Return the weights after every step and the optimizer's final state."""
    p = torch.nn.Parameter(torch.linspace(-1, 1, g.shape[1], dtype=g.dtype))
    optimizer = cls([p], lr=lr, **arguments)
    seen = []
    for row in g:
        p.grad = row.clone()
        optimizer.step()
        seen.append(p.detach().clone())
    return torch.stack(seen), optimizer.state[p]


def alike(a, b, tolerance=1e-13):
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=["random", "sparse", "signs"])
def g(request):
    return gradients(request.param)


# --- kappa ----------------------------------------------------------------------------------------


def test_at_kappa_1_the_momentum_multiplier_is_constant(g):
    constant, _ = weights(AblatedADana, g, momentum="constant", momentum_scale=0.7)
    assert torch.equal(weights(adana.ADana, g, kappa=1.0, momentum_scale=0.7)[0], constant)
    clipped = {"extra_momentum": 0.0, "clip_snr": math.inf}
    assert alike(weights(adana.DanaMK4, g, kappa=1.0, momentum_scale=0.7, **clipped)[0], constant)
    assert not alike(weights(adana.ADana, g, kappa=0.99, momentum_scale=0.7)[0], constant, 1e-4)


def test_at_kappa_1_the_released_variant_is_the_paper_one_with_twice_the_momentum(g):
    twice, _ = weights(adana.ADana, g, kappa=1.0, momentum_scale=2.0, decay_order="after")
    assert alike(weights(adana.ADana, g, kappa=1.0, variant="released")[0], twice)
    twice, _ = weights(adana.DanaStar, g, kappa=1.0, momentum_scale=2.0, decay_order="after")
    assert alike(weights(adana.DanaStar, g, kappa=1.0, variant="released")[0], twice)


def test_at_kappa_1_dana_star_takes_adanas_step_scaled_by_activity(g):
    """Effective time no longer matters; what is left is the factor sqrt(r)."""
    star, state = weights(adana.DanaStar, g, kappa=1.0, omega=0.0)
    plain, _ = weights(adana.ADana, g, kappa=1.0, omega=0.0)
    x = state["tau"].clamp(max=0.5)
    r = (x / (1 - x)).clamp(min=1 / (N + 1))
    assert alike(star[-1] - star[-2], r.sqrt() * (plain[-1] - plain[-2]), 1e-12)


def test_at_kappa_0_damping_is_the_undamped_multiplier_of_delta_1(g):
    damped, _ = weights(adana.ADana, g, kappa=0.0, delta=1.0)
    for momentum in ("undamped", "nesterov"):
        assert torch.equal(weights(AblatedADana, g, momentum=momentum, delta=1.0)[0], damped)


def test_at_kappa_1_ademamix_ends_with_alpha_1(g):
    given = {"total_steps": N, "warmup_steps": 10}
    assert torch.equal(
        weights(adana.AdEMAMix, g, kappa=1.0, **given)[0],
        weights(adana.AdEMAMix, g, alpha=1.0, **given)[0],
    )


# --- delta ----------------------------------------------------------------------------------------


def test_for_large_delta_averages_are_the_newest_gradient():
    """Then ADana is sign descent with the factor `1 + alpha(t)`, and tau is 1/2."""
    g = gradients()
    seen, state = weights(adana.ADana, g, delta=1e16, omega=0.0, eps=0.0)
    assert alike(state["m"], g[-1], 1e-9)
    assert alike(state["v"], g[-1] ** 2, 1e-9)
    growth = 1 + (1 + torch.arange(2, N + 1, dtype=g.dtype)) ** 0.15
    assert alike(seen[1:] - seen[:-1], -0.01 * growth[:, None] * g[1:].sign(), 1e-9)
    _, state = weights(adana.DanaStar, g, delta=1e16, eps=0.0)
    assert alike(state["tau"], torch.full_like(g[0], 0.5), 1e-9)


def test_for_delta_1_averages_are_plain_means():
    """From index 0 of all gradients so far, from index 1 of those and a zero before them."""
    g = gradients()
    _, state = weights(adana.ADana, g, delta=1.0, first_step=0)
    assert alike(state["m"], g.mean(0))
    assert alike(state["v"], (g**2).mean(0))
    _, state = weights(adana.ADana, g, delta=1.0)
    assert alike(state["m"], g.sum(0) / (N + 1))


def test_for_small_delta_averages_stay_at_the_first_gradient_or_weigh_by_one_over_t():
    g = gradients()
    _, state = weights(adana.ADana, g, delta=1e-13, first_step=0)
    assert alike(state["m"], g[0], 1e-9)
    assert alike(state["v"], g[0] ** 2, 1e-6)
    _, state = weights(adana.ADana, g, delta=1e-13)
    harmonic = (g / torch.arange(1, N + 1)[:, None]).sum(0)
    assert alike(state["m"] / 1e-13, harmonic, 1e-9)


def test_ademamix_meets_log_ademamix_at_its_horizon():
    """The slow average's last weight is delta/T against delta/(delta + T), alpha T^(1-kappa)."""
    given = {"lr": 1.0, "kappa": 0.85, "delta": 8.0, "total_steps": 10**6}
    p = torch.nn.Parameter(torch.zeros(1))
    mix, log = adana.AdEMAMix([p], **given), adana.LogAdEMAMix([p], **given)
    a, b = (o.hyper(o.param_groups[0], 10**6) for o in (mix, log))
    assert a.ema_m == pytest.approx(b.ema_m, rel=1e-5)
    assert a.momentum == pytest.approx(b.momentum, rel=1e-6)
    early_a, early_b = (o.hyper(o.param_groups[0], 10**3) for o in (mix, log))
    assert early_a.momentum < 0.003 * early_b.momentum  # tied to the horizon, not to t


# --- clips ----------------------------------------------------------------------------------------


def test_dana_mk4_without_a_clip_is_adana_with_extra_momentum(g):
    given = {"momentum_scale": 0.6, "kappa": 0.75}
    unclipped, _ = weights(adana.DanaMK4, g, clip_snr=math.inf, **given)
    assert alike(weights(adana.ADana, g, extra_momentum=1.0, **given)[0], unclipped)
    largest = (1 + N) ** 0.25  # alpha(N), since |m| <= D
    assert alike(weights(adana.DanaMK4, g, clip_snr=largest, **given)[0], unclipped)


def test_dana_star_mk4_without_a_clip_is_the_released_dana_star(g):
    unclipped, _ = weights(adana.DanaStarMK4, g, clip_snr=math.inf, variant="released")
    assert alike(weights(adana.DanaStar, g, variant="released")[0], unclipped)


def test_a_clip_near_zero_leaves_the_undamped_momentum_alone(g):
    clipped, _ = weights(adana.DanaMK4, g, clip_snr=1e-14, omega=0.0)
    constant, _ = weights(AblatedADana, g, momentum="constant", omega=0.0)
    assert alike(clipped, constant, 1e-12)


def test_a_gradient_clip_that_never_binds_changes_nothing(g):
    """`sqrt(r) |g| / sqrt(v)` is at most `1 / sqrt(a)`, 2.9 at the last of these steps."""
    loose, _ = weights(adana.DanaStar, g, grad_clip_snr=3.0)
    assert alike(weights(adana.DanaStar, g)[0], loose)


# --- activity -------------------------------------------------------------------------------------


def test_on_signs_dana_star_is_adana_at_half_the_time():
    """For +-1 and exact averages v = 1, so tau = 1/2, r = 1 and q = t/2 at every step."""
    g = gradients("signs")
    star, state = weights(adana.DanaStar, g, first_step=0, eps=0.0, omega=0.0)
    assert alike(state["tau"], torch.full_like(g[0], 0.5))
    m = torch.zeros_like(g[0])
    before = torch.linspace(-1, 1, WIDTH, dtype=g.dtype)
    for k, row in enumerate(g):
        m += 8 / (8 + k) * (row - m)
        q = max((k + 1) / 2, 1.0)
        before = before - 0.01 * (row + (1 + q) ** 0.15 * m)
        assert alike(star[k], before)


def test_on_signs_at_kappa_1_dana_star_is_adana():
    g = gradients("signs")
    given = {"first_step": 0, "kappa": 1.0, "eps": 0.0}
    assert alike(weights(adana.DanaStar, g, **given)[0], weights(adana.ADana, g, **given)[0])


def test_with_tau_held_at_one_dana_star_is_adana(g):
    """Then r = 1 and q = t. tau is set before each step so that the step brings it to 1."""
    plain, _ = weights(adana.ADana, g)
    p = torch.nn.Parameter(torch.linspace(-1, 1, WIDTH, dtype=g.dtype))
    star = adana.DanaStar([p], lr=0.01)
    v = torch.zeros(WIDTH, dtype=g.dtype)
    for t, row in enumerate(g, start=1):
        a = 8 / (8 + t)
        v += a * (row**2 - v)
        share = row.abs() / (row.abs() + v.sqrt() + 1e-8)
        if t > 1:
            star.state[p]["tau"].copy_((1 - a * share) / (1 - a))
        p.grad = row.clone()
        star.step()
        if t == 1:  # there is no tau to hold before the first step
            p.data.copy_(plain[0])
            continue
        assert alike(star.state[p]["tau"], torch.ones_like(v))
        assert alike(p.detach(), plain[t - 1], 1e-12)
