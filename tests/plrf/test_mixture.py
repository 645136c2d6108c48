import numpy as np
import pytest
import torch

import adana
from adana.plrf.adaptive import simulate_adaptive
from adana.plrf.mixture import activity, expert_probabilities, simulate_mixture
from adana.plrf.problem import PLRF, DrawnProblem

PROBLEM = PLRF(1.0, 0.5, 6, 20, seed=2).draw()
LR = 0.3
SGD = {"SGD": lambda ps: torch.optim.SGD(ps, lr=LR)}


def by_hand(problem: DrawnProblem, probabilities, batch, steps, runs, seed):
    """SGD on batches of hidden inputs, each sample routed to an expert; risks (runs, experts)."""
    rng = np.random.default_rng(seed)
    experts, (hidden, dimension) = len(probabilities), problem.features.shape
    theta = np.zeros((runs, experts, dimension))
    for _ in range(steps):
        z = rng.standard_normal((runs, batch, hidden))
        route = rng.choice(experts, size=(runs, batch), p=probabilities)
        features, targets = z @ problem.features, z @ problem.targets
        chosen = np.take_along_axis(theta, route[..., None], axis=1)
        residual = (features * chosen).sum(-1) - targets
        routed = np.eye(experts)[route] * residual[..., None]
        theta -= LR * np.einsum("rbe,rbd->red", routed, features) / batch
    return problem.risk(theta)


def test_a_mixture_has_the_risks_of_samples_routed_one_by_one():
    probabilities = expert_probabilities(3, 1.0)
    runs, steps = 4000, np.array([1, 4, 8])
    found = simulate_mixture(
        PROBLEM, SGD, probabilities, batch=4, total_steps=8, runs=runs, steps=steps, seed=1
    )
    for i, step in enumerate(steps):
        direct = by_hand(PROBLEM, probabilities, 4, step, runs, seed=int(step))
        ours = found.risk[0, :, :, i]
        gap = np.abs(ours.mean(0) - direct.mean(0))
        error = np.hypot(ours.std(0), direct.std(0)) / np.sqrt(runs)
        assert (gap < 4 * error).all()
        assert (error < 0.05 * direct.mean(0)).all()


def test_one_expert_is_the_plain_model():
    arguments = {"batch": 3, "total_steps": 30, "runs": 2, "seed": 4}
    mixture = simulate_mixture(PROBLEM, SGD, np.ones(1), **arguments)
    plain = simulate_adaptive(PROBLEM, SGD, **arguments)
    assert np.array_equal(mixture.risk[:, :, 0], plain.risk)
    assert np.array_equal(mixture.total().risk, plain.risk)


def test_an_expert_without_samples_does_not_move_and_the_total_weighs_experts():
    probabilities = np.array([1 - 1e-9, 1e-9])
    found = simulate_mixture(PROBLEM, SGD, probabilities, batch=2, total_steps=20, seed=0)
    start = PROBLEM.spectrum().start
    assert np.allclose(found.risk[0, 0, 1], start)
    assert found.risk[0, 0, 0, -1] < start / 2
    equal = simulate_mixture(PROBLEM, SGD, np.array([0.25, 0.75]), batch=2, total_steps=20)
    total = 0.25 * equal.risk[:, :, 0] + 0.75 * equal.risk[:, :, 1]
    assert np.allclose(equal.total().risk, total, rtol=1e-14)


def test_an_optimizer_sees_zero_gradients_of_inactive_experts():
    """Adam keeps moving an expert on its memory, so zeros must reach it: not a missing gradient."""
    adam = {"ADana": lambda ps: adana.ADana(ps, lr=1e-2, omega=0.0)}
    probabilities = np.array([0.9, 0.1])
    found = simulate_mixture(
        PROBLEM, adam, probabilities, batch=1, total_steps=40, steps=np.arange(41), seed=3
    )
    changes = np.diff(found.risk[0, 0, 1])
    first = int(np.argmax(changes != 0))
    assert 0 < first < 39
    assert (changes[first:] != 0).all()


def test_how_often_experts_are_active():
    probabilities = expert_probabilities(64, 1.0)
    assert probabilities.sum() == pytest.approx(1)
    assert probabilities[0] / probabilities[3] == pytest.approx(4)
    active = activity(probabilities, 32)[[0, 3, 15, 63]]
    assert active == pytest.approx([0.9995, 0.823, 0.346, 0.100], abs=6e-4)
    assert activity(np.ones(1), 5) == pytest.approx(1)


@pytest.mark.parametrize("wrong", [[0.5, 0.6], [1.5, -0.5], [[1.0]], []])
def test_probabilities_are_checked(wrong):
    with pytest.raises(ValueError, match="probabilities must be"):
        simulate_mixture(PROBLEM, SGD, np.array(wrong), batch=1, total_steps=2)
