"""What decay takes from a weight over a whole run, for the optimizers themselves.

A weight without gradient is multiplied by `1 - gamma(t) lambda(t)` at each step, so that the
product over the run shows everything: schedule, offset, index, independence of the learning rate.
"""

import functools
import math

import pytest
import torch
from scipy.integrate import quad

import adana

from . import oracle

T, OMEGA = 2500, 4.0
WARMUP = T // 50

OPTIMIZERS = {
    "adana": functools.partial(adana.ADana, omega=OMEGA, total_steps=T),
    "adana-released": functools.partial(
        adana.ADana, omega=OMEGA, total_steps=T, variant="released"
    ),
    "dana-star-mk4": functools.partial(adana.DanaStarMK4, omega=OMEGA, total_steps=T),
    "log-adamw": functools.partial(adana.LogAdamW, omega=OMEGA, total_steps=T),
    "log-muon": functools.partial(adana.LogMuon, omega=OMEGA, total_steps=T, muon=True),
    "sgd with log-time decay": lambda ps, lr: adana.with_log_time_decay(
        torch.optim.SGD(ps, lr=lr), omega=OMEGA, total_steps=T
    ),
}
CONSTANT = {
    "ademamix": functools.partial(adana.AdEMAMix, omega=OMEGA, total_steps=T),
    "adana": functools.partial(adana.ADana, omega=OMEGA, total_steps=T, decay="constant"),
    "torch.optim.AdamW": lambda ps, lr: torch.optim.AdamW(
        ps, lr=lr, weight_decay=adana.schedules.omega_to_weight_decay(OMEGA, lr, T)
    ),
}


def removed(make, total, lr=3e-3):
    """Return the fraction of a weight that each of `total` steps without gradient removes."""
    p = torch.nn.Parameter(torch.ones(1, 1, dtype=torch.float64))
    optimizer = make([p], lr=lr)
    p.grad = torch.zeros_like(p)
    fractions = []
    for gamma in oracle.cosine(total, total, total // 50):
        optimizer.param_groups[0]["lr"] = lr * gamma
        before = p.item()
        optimizer.step()
        fractions.append(1 - p.item() / before)
    return fractions, -math.log(p.item())


def gamma_at(x):
    """Return the cosine schedule at the fraction x of a long run."""
    if x < 0.02:
        return 0.01 + 0.99 * x / 0.02
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (x - 0.02) / 0.98))


def integral(decay, low=0.0):
    return quad(lambda x: gamma_at(x) * decay(x), low, 1, points=[0.02], limit=200)[0]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_log_time_decay_removes_what_the_closed_form_says(name):
    """6.84 in all at omega = 4 and S = T/10, of which 0.71 in the second half."""
    fractions, shrunk = removed(OPTIMIZERS[name], T)
    expected = oracle.cosine(T, T, WARMUP) * oracle.log_time_decay(T, OMEGA, T / 10)
    assert fractions == pytest.approx(expected, rel=1e-9, abs=1e-14)
    assert shrunk == pytest.approx(-math.fsum(math.log1p(-x) for x in expected), rel=1e-12)
    assert math.fsum(fractions) == pytest.approx(6.84, abs=0.02)
    assert math.fsum(fractions) == pytest.approx(integral(lambda x: 4 / (0.1 + x)), rel=3e-3)
    assert math.fsum(fractions[T // 2 :]) == pytest.approx(0.71, abs=0.005)


@pytest.mark.parametrize("name", CONSTANT)
def test_constant_decay_removes_what_the_closed_form_says(name):
    """2.20 in all at omega = 4, of which 0.54 in the second half."""
    fractions, shrunk = removed(CONSTANT[name], T)
    expected = oracle.cosine(T, T, WARMUP) * OMEGA / T
    assert fractions == pytest.approx(expected, rel=1e-9, abs=1e-14)
    assert shrunk == pytest.approx(-math.fsum(math.log1p(-x) for x in expected), rel=1e-12)
    assert math.fsum(fractions) == pytest.approx(2.20, abs=0.005)
    assert math.fsum(fractions) == pytest.approx(integral(lambda x: 4), rel=2e-3)
    assert math.fsum(fractions[T // 2 :]) == pytest.approx(0.54, abs=0.005)


@pytest.mark.slow
def test_decay_from_the_first_step_on_removes_seventeen_over_a_long_run():
    """17.0 for omega = 4, S = 1 and T = 1e5, that is 4.26 omega.

    Run with omega = 1: `4/(1 + t)` would remove twice the weight at t = 1, and is refused.
    """
    fractions, _ = removed(functools.partial(adana.ADana, omega=1.0, decay_offset=1.0), 10**5)
    assert math.fsum(fractions) == pytest.approx(4.26, abs=0.01)
    assert 4 * math.fsum(fractions) == pytest.approx(17.0, abs=0.05)


def test_decay_with_an_offset_of_a_tenth_of_training_takes_the_same_at_any_horizon():
    """1.709 omega, but for the coarser sum of short runs."""
    totals = []
    for total in (500, 2000):
        make = functools.partial(adana.ADana, omega=1.0, total_steps=total)
        totals.append(math.fsum(removed(make, total)[0]))
    assert totals == pytest.approx([1.709, 1.709], rel=0.01)
