import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats

from adana.plrf.adaptive import simulate_adaptive
from adana.plrf.curve import SimulatedRisk, log_steps
from adana.plrf.direct import simulate_direct
from adana.plrf.momentum import (
    ademamix,
    dana_constant,
    dana_decaying,
    default_step,
    log_nesterov,
    schedule_free,
    sgd,
    sgd_momentum,
    spectral_kappa,
)
from adana.plrf.problem import PLRF
from adana.plrf.recursion import exact_moments
from adana.plrf.sampler import Draws, gradient_weights, whitened_gradient
from adana.plrf.simulation import simulate
from adana.plrf.spectrum import Spectrum
from adana.plrf.threads import threads_for

DIMENSION = 20


def spectrum(twice_floor=1e-2):
    k = np.arange(1, DIMENSION + 1.0)
    return Spectrum(k**-2, k**-1.4, np.ones(DIMENSION), twice_floor)


def methods(batch):
    step = 0.3 * min(1.0, batch / spectrum().trace)
    return [
        sgd(step),
        sgd_momentum(step / 2, 0.05 * step),
        dana_decaying(step, 0.5),
        schedule_free(step),
    ]


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_mean_risk_of_runs_agrees_with_the_exact_recursion(batch):
    steps = np.array([0, 1, 2, 3, 5, 10, 30, 100])
    found = simulate(
        spectrum(), methods(batch), batch=batch, total_steps=100, runs=4000, steps=steps, seed=7
    )
    for i, method in enumerate(methods(batch)):
        expected = exact_moments(spectrum(), method, batch=batch, steps=steps).risk
        gap = np.abs(found.mean()[i] - expected)
        assert gap[0] < 1e-12
        assert (gap[1:] < 4 * found.standard_error()[i, 1:]).all()
        assert (gap < 0.05 * expected).all()


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.3), (0.4, 0.8)])
def test_late_risks_and_slopes_of_a_drawn_problem_are_those_of_the_recursion(alpha, beta):
    """64 runs of batches of one: late risks within 4 % on average, slopes within 0.04."""
    problem = PLRF(alpha, beta, 100).draw()
    step = default_step(problem.spectrum().trace)
    few = [
        sgd(step),
        dana_constant(step, 100),
        dana_decaying(step, spectral_kappa(alpha)),
        ademamix(step, 2000, 0.5 / 8 * 2000 ** (1 - spectral_kappa(alpha))),
    ]
    steps = log_steps(2000, per_decade=8)
    found = simulate(problem, few, batch=1, total_steps=2000, runs=64, steps=steps, seed=3)
    slope_of = partial(np.polyfit, np.log(steps[steps >= 30]), deg=1)
    for i, method in enumerate(few):
        expected = exact_moments(problem.spectrum(), method, batch=1, steps=steps).risk
        ratio = (found.mean()[i] / expected)[steps >= 100]
        assert ratio.mean() == pytest.approx(1, abs=0.04)
        assert ratio == pytest.approx(1, abs=0.25)
        slopes = [slope_of(np.log(y[steps >= 30]))[0] for y in (found.mean()[i], expected)]
        assert slopes[0] == pytest.approx(slopes[1], abs=0.04)


def test_exact_gradients_follow_the_recursion_without_noise():
    steps = np.array([1, 10, 300])
    found = simulate(
        spectrum(), methods(math.inf), batch=math.inf, total_steps=300, runs=2, steps=steps
    )
    for i, method in enumerate(methods(math.inf)):
        expected = exact_moments(spectrum(), method, batch=math.inf, steps=steps).risk
        assert np.allclose(found.risk[i], expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("batch", [1, 3])
def test_sampled_gradients_have_the_law_of_mini_batches(batch):
    """Two projections and the length, of 20 000 gradients each way, by Kolmogorov and Smirnov."""
    many, floor_root = 20_000, 0.7
    scaled = torch.tensor([0.8, -0.5, 0.3], dtype=torch.float64)
    draws = Draws(3, "cpu")
    normal = draws.normal_(torch.empty(many, 3, dtype=torch.float64))
    weights = gradient_weights(draws.chi_square(batch, (many,)), batch)
    sampled, excess = whitened_gradient(scaled.expand(many, 3), normal, weights, floor_root)
    assert torch.allclose(excess, scaled @ scaled)
    rng = np.random.default_rng(4)
    features = rng.standard_normal((many, batch, 3))
    residual = features @ scaled.numpy() + floor_root * rng.standard_normal((many, batch))
    direct = (features * residual[..., None]).mean(axis=1)
    across = np.array([0.5, 0.8, 0.0])
    for measure in (lambda g: g @ scaled.numpy(), lambda g: g @ across, lambda g: (g**2).sum(1)):
        assert stats.ks_2samp(measure(sampled.numpy()), measure(direct)).pvalue > 1e-3


def test_all_methods_of_a_run_see_the_same_random_numbers():
    few = methods(2)
    together = simulate(spectrum(), [*few, few[0]], batch=2, total_steps=50, runs=3, seed=5)
    alone = simulate(spectrum(), [few[2]], batch=2, total_steps=50, runs=3, seed=5)
    assert np.array_equal(together.risk[0], together.risk[-1])
    assert np.allclose(together.risk[2], alone.risk[0], rtol=1e-12)
    assert len(np.unique(together.risk[0, :, -1])) == 3


def test_a_seed_fixes_the_runs_and_chunks_of_steps_do_not_matter(monkeypatch):
    def run(seed):
        return simulate(spectrum(), methods(2), batch=2, total_steps=60, runs=2, seed=seed).risk

    first = run(1)
    assert np.array_equal(first, run(1))
    assert not np.array_equal(first, run(2))
    monkeypatch.setattr("adana.plrf.simulation.CHUNK", 7)
    assert np.array_equal(first, run(1))


def test_repeated_directions_are_run_one_by_one():
    twice = Spectrum(np.array([1.0, 0.2]), np.array([0.5, 2.0]), np.array([1.0, 2.0]), 0.1)
    apart = Spectrum(np.array([1.0, 0.2, 0.2]), np.array([0.5, 2.0, 2.0]), np.ones(3), 0.1)
    found = [
        simulate(s, [sgd(0.1)], batch=1, total_steps=9, runs=2, seed=0) for s in (twice, apart)
    ]
    assert np.array_equal(found[0].risk, found[1].risk)
    assert np.allclose(found[0].risk[..., 0], twice.start, rtol=1e-14)


def test_risk_is_nan_once_a_run_is_not_finite():
    wild = simulate(spectrum(), [log_nesterov(1.9), sgd(0.1)], batch=1, total_steps=400, seed=2)
    assert np.isfinite(wild.risk[1]).all()
    lost = np.isnan(wild.risk[0, 0])
    assert lost[-1]
    assert not lost[0]
    assert (np.diff(lost.astype(int)) >= 0).all()


def test_progress_ends_at_the_last_step():
    seen = []
    simulate(spectrum(), [sgd(0.1)], batch=1, total_steps=3000, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 3000
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch .* must be"),
        ({"runs": 0}, "runs must be"),
        ({"runs": 1.5}, "runs must be an? .*integer"),
        ({"total_steps": 0}, "total_steps must be"),
        ({"steps": np.array([3, 2])}, "steps must be increasing"),
        ({"steps": np.array([0, 11])}, "steps go up to 11, but total_steps is 10"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"batch": 1, "total_steps": 10, **change}
    with pytest.raises(ValueError, match=message):
        simulate(spectrum(), [sgd(0.1)], **arguments)


def test_fractional_directions_are_refused_with_the_way_out():
    nodes = Spectrum(np.array([1.0, 0.2]), np.ones(2), np.array([1.0, 2.5]), 0.1)
    with pytest.raises(ValueError, match=r"fractional counts.*draw a problem"):
        simulate(nodes, [sgd(0.1)], batch=1, total_steps=3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_runs_on_a_gpu_agree_with_the_exact_recursion():
    steps = np.array([0, 3, 30, 100])
    found = simulate(
        spectrum(), methods(4), batch=4, total_steps=100, runs=4000, steps=steps, device="cuda"
    )
    for i, method in enumerate(methods(4)):
        expected = exact_moments(spectrum(), method, batch=4, steps=steps).risk
        gap = np.abs(found.mean()[i] - expected)
        assert (gap <= 4 * found.standard_error()[i] + 1e-12).all()


def test_small_simulations_take_one_thread_and_leave_the_setting_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    seen = []
    try:
        simulate(
            spectrum(), [sgd(0.1)], batch=1, total_steps=10,
            progress=lambda _: seen.append(torch.get_num_threads()),
        )  # fmt: skip
        assert seen == [1]
        assert torch.get_num_threads() == 3
        with threads_for(10**9):
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_methods_are_a_list():
    for wrong in (sgd(0.1), []):
        with pytest.raises(ValueError, match="several methods or optimizers, at least one"):
            simulate(PLRF(1.0, 0.3, 4).draw(), wrong, batch=1, total_steps=2)


@pytest.mark.parametrize("run", [simulate_direct, simulate_adaptive])
def test_nothing_to_simulate_is_refused_elsewhere_too(run):
    with pytest.raises(ValueError, match="at least one"):
        run(PLRF(1.0, 0.3, 4).draw(), {}, batch=1, total_steps=2)


def test_steps_that_are_spaced_by_nothing_are_refused():
    with pytest.raises(ValueError, match="per_decade must be an integer of at least 1"):
        log_steps(100, per_decade=0)


def test_the_standard_error_is_that_of_a_mean():
    found = SimulatedRisk(("a",), np.array([0]), np.array([[[1.0], [2.0], [4.0], [5.0]]]))
    assert found.mean()[0, 0] == 3.0
    assert found.standard_error()[0, 0] == pytest.approx(math.sqrt(10 / 3) / 2)
    alone = SimulatedRisk(("a",), np.array([0]), np.array([[[1.0]]]))
    assert np.isnan(alone.standard_error()).all()
