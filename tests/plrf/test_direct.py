from dataclasses import replace

import numpy as np
import pytest

from adana.plrf.direct import simulate_direct
from adana.plrf.momentum import dana_decaying, default_step, schedule_free, sgd
from adana.plrf.problem import PLRF
from adana.plrf.recursion import exact_moments

PROBLEM = PLRF(1.0, 0.7, 8, 24, seed=0).draw()
STEPS = np.array([0, 1, 2, 5, 10, 60])


def methods(batch):
    step = 0.6 * default_step(PROBLEM.spectrum().trace, batch)
    return [sgd(step), dana_decaying(step, 0.5), schedule_free(step)]


def agree(found, spectrum, batch, shift=0.0, tolerance=0.05):
    """Check means against the recursion: within 4 standard errors and a relative tolerance."""
    for i, method in enumerate(methods(batch)):
        expected = exact_moments(spectrum, method, batch=batch, steps=STEPS).risk - shift
        gap = np.abs(found.mean()[i] - expected)
        assert gap[0] < 1e-10
        assert (gap[1:] < 4 * found.standard_error()[i, 1:]).all()
        assert (gap < tolerance * expected).all()


@pytest.mark.parametrize("batch", [1, 4])
def test_batches_of_hidden_inputs_give_the_risk_of_the_exact_recursion(batch):
    found = simulate_direct(
        PROBLEM, methods(batch), batch=batch, total_steps=60, runs=3000, steps=STEPS, seed=4
    )
    agree(found, PROBLEM.spectrum(), batch)


@pytest.mark.parametrize(("noise_dof", "variance"), [(np.inf, 1.0), (3.0, 3.0)])
def test_noise_of_labels_acts_as_a_higher_floor(noise_dof, variance):
    """In expectation the recursion needs no more of the noise than its variance.

    A Student-t of 3 degrees has no fourth moment, so its mean converges slowly.
    """
    noise = 0.3
    found = simulate_direct(
        PROBLEM,
        methods(4),
        batch=4,
        total_steps=60,
        runs=3000,
        noise=noise,
        noise_dof=noise_dof,
        steps=STEPS,
        seed=5,
    )
    added = noise**2 * variance
    spectrum = PROBLEM.spectrum()
    noisy = replace(spectrum, twice_floor=spectrum.twice_floor + added)
    agree(found, noisy, 4, shift=added / 2, tolerance=0.1 if noise_dof == 3 else 0.05)


def test_methods_see_the_same_batches_and_a_seed_fixes_them():
    pair = [sgd(0.1), sgd(0.1)]
    arguments = {"batch": 2, "total_steps": 20, "runs": 2}
    found = simulate_direct(PROBLEM, pair, seed=1, **arguments)
    assert np.array_equal(found.risk[0], found.risk[1])
    assert np.array_equal(found.risk, simulate_direct(PROBLEM, pair, seed=1, **arguments).risk)
    other = simulate_direct(PROBLEM, pair, seed=2, **arguments)
    assert not np.array_equal(found.risk, other.risk)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": np.inf}, "batch"),
        ({"noise": -1.0}, "noise must be"),
        ({"noise_dof": 0.0}, "noise_dof must be"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"batch": 1, "total_steps": 5, **change}
    with pytest.raises(ValueError, match=message):
        simulate_direct(PROBLEM, [sgd(0.1)], **arguments)
