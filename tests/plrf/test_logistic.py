import numpy as np
import pytest
import torch

import adana
from adana.plrf.logistic import evaluation_risk, logistic_problem, simulate_logistic

PROBLEM = logistic_problem(1.0, 0.7, 8, 6, signal=2.0, seed=1)
SGD = {"SGD": lambda ps: torch.optim.SGD(ps, lr=0.5)}


def with_biases_only():
    weights = np.zeros((9, 6))
    weights[-1] = np.log(PROBLEM.frequencies)
    return weights


def test_features_have_the_moments_of_the_definition():
    """Within a class: mean the projected mean of the class, covariance that of the regression."""
    from_definition = logistic_problem(1.0, 0.7, 3, 2, hidden=5, signal=4.0, seed=3)
    rng = np.random.default_rng(3)
    projection = rng.standard_normal((5, 3)) / np.sqrt(3)
    j = np.arange(1, 6.0)
    covariance = projection.T @ np.diag(j**-2.0) @ projection
    assert np.allclose(from_definition.noise.T @ from_definition.noise, covariance)
    many = logistic_problem(1.0, 0.7, 3, 20_000, hidden=5, signal=4.0, seed=3)
    spread = projection.T @ np.diag(4.0 * j**-1.4) @ projection
    assert np.allclose(np.cov(many.means.T), spread, rtol=0.05, atol=0.05)


def test_nothing_beats_the_best_weights():
    best = evaluation_risk(PROBLEM, PROBLEM.best, evaluation=50_000)
    assert best < evaluation_risk(PROBLEM, with_biases_only(), evaluation=50_000) - 0.3
    rng = np.random.default_rng(0)
    for _ in range(10):
        near = PROBLEM.best + 0.3 * rng.standard_normal(PROBLEM.best.shape)
        assert evaluation_risk(PROBLEM, near, evaluation=50_000) > best


def test_training_starts_from_the_frequencies_and_comes_close_to_the_best():
    optimizers = {**SGD, "ADana": lambda ps: adana.ADana(ps, lr=0.01, kappa=0.85, omega=0.0)}
    found = simulate_logistic(PROBLEM, optimizers, batch=64, total_steps=400, runs=2, seed=5)
    start = evaluation_risk(PROBLEM, with_biases_only(), seed=5)
    best = evaluation_risk(PROBLEM, PROBLEM.best, seed=5)
    assert np.allclose(found.risk[..., 0], start, rtol=1e-12)
    assert (found.mean()[:, -1] < best + 0.2 * (start - best)).all()
    assert (found.mean()[:, -1] > best - 0.02).all()


def test_a_step_is_a_step_down_the_gradient_of_the_cross_entropy():
    """Against automatic differentiation: a huge batch has the gradient of the expected loss."""
    found = simulate_logistic(
        PROBLEM, SGD, batch=200_000, total_steps=1, evaluation=200_000, seed=2
    )
    weights = torch.from_numpy(with_biases_only()).requires_grad_()
    rng = np.random.default_rng(9)
    labels = rng.choice(6, size=200_000, p=PROBLEM.frequencies)
    inputs = PROBLEM.means[labels] + rng.standard_normal((200_000, 8)) @ PROBLEM.noise
    features = torch.from_numpy(np.column_stack([inputs, np.ones(200_000)]))
    torch.nn.functional.cross_entropy(features @ weights, torch.from_numpy(labels)).backward()
    stepped = (weights - 0.5 * weights.grad).detach().numpy()
    expected = evaluation_risk(PROBLEM, stepped, evaluation=200_000, seed=2)
    assert found.risk[0, 0, 1] == pytest.approx(expected, rel=2e-3)
    assert found.risk[0, 0, 1] < found.risk[0, 0, 0] - 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [({"classes": 1}, "classes"), ({"signal": -1.0}, "signal"), ({"alpha": 0.0}, "alpha")],
)
def test_wrong_problems_are_named(change, message):
    arguments = {"alpha": 1.0, "beta": 0.7, "dimension": 4, "classes": 3, **change}
    with pytest.raises(ValueError, match=message):
        logistic_problem(**arguments)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="batch"):
        simulate_logistic(PROBLEM, SGD, batch=np.inf, total_steps=2)
    with pytest.raises(ValueError, match="evaluation"):
        simulate_logistic(PROBLEM, SGD, batch=1, total_steps=2, evaluation=0)
