import math

import numpy as np
import pytest
import torch

import adana
from adana.plrf import normalised
from adana.plrf.adaptive import simulate_adaptive, trajectory
from adana.plrf.momentum import (
    Momentum,
    damped_average,
    dana_constant,
    dana_decaying,
    sgd,
    sgd_momentum,
)
from adana.plrf.problem import PLRF
from adana.plrf.recursion import exact_moments
from adana.plrf.simulation import simulate
from adana.schedules import damping, ema_weight

PROBLEM = PLRF(1.0, 0.7, 12, 60, seed=1).draw()
STEP = 0.15
STEPS = np.array([0, 1, 3, 10, 30, 100])


def polyak(beta):
    """torch.optim.SGD with momentum as an instance of the general update."""
    numbers = (1.0, 0.0, STEP, 1 - beta)
    return Momentum("Polyak", *(lambda t, x=x: np.full(np.shape(t), x) for x in numbers))


def adana_flat(kappa):
    """ADana, whose steps count from 1, where eps dwarfs sqrt(v)."""
    return Momentum(
        "ADana",
        lambda t: ema_weight(t + 1, 8.0),
        lambda t: np.full(np.shape(t), STEP),
        lambda t: STEP * damping(t + 1, kappa),
        lambda t: ema_weight(t + 1, 8.0),
    )


@pytest.mark.parametrize(
    ("arguments", "method"),
    [
        ({"kappa": 0.5}, dana_decaying(STEP, 0.5)),
        ({"dimension": 12}, dana_constant(STEP, 12)),
        ({"forget": 0.1, "dimension": 4}, sgd_momentum(STEP, 0.5 * STEP / 4, 0.1)),
        (
            {"kappa": 0.5, "average": True, "momentum_scale": 0.1},
            damped_average(STEP, 0.5, gain=0.1),
        ),
    ],
    ids=["decaying", "constant", "forget", "average"],
)
def test_the_dana_people_train_with_is_the_dana_of_the_predictions(arguments, method):
    """Without noise there is one curve, so the two must agree to rounding."""
    made = {"Dana": lambda ps: adana.Dana(ps, lr=STEP, **arguments)}
    found = simulate_adaptive(PROBLEM, made, batch=math.inf, total_steps=300)
    expected = exact_moments(PROBLEM.spectrum(), method, batch=math.inf, steps=found.steps)
    np.testing.assert_allclose(found.risk[0, 0], expected.risk, rtol=1e-11)


def test_optimizers_that_are_linear_agree_with_the_exact_recursion():
    """Torch's SGD, Polyak's momentum, and ADana with a denominator that does not move."""
    flat = 1e9
    optimizers = {
        "SGD": lambda ps: torch.optim.SGD(ps, lr=STEP),
        "Polyak": lambda ps: torch.optim.SGD(ps, lr=STEP, momentum=0.5),
        "ADana": lambda ps: adana.ADana(ps, lr=STEP * flat, eps=flat, kappa=0.75, omega=0.0),
    }
    found = simulate_adaptive(
        PROBLEM, optimizers, batch=8, total_steps=100, runs=3000, steps=STEPS, seed=2
    )
    for i, method in enumerate([sgd(STEP), polyak(0.5), adana_flat(0.75)]):
        expected = exact_moments(PROBLEM.spectrum(), method, batch=8, steps=STEPS).risk
        gap = np.abs(found.mean()[i] - expected)
        assert found.names[i] == method.name
        assert gap[0] < 1e-12
        assert (gap[1:] < 4 * found.standard_error()[i, 1:]).all()
        assert (gap < 0.05 * expected).all()


@pytest.mark.parametrize(
    ("rate", "kappa", "variant"), [(1e-3, 0.75, "released"), (3e-3, 0.5, "paper")]
)
def test_adana_agrees_with_its_risk_normalised_reduction(rate, kappa, variant):
    """A mean-field reduction: the specification has 0.95 to 1.13 from step 1000 on, of 6 runs."""
    problem = PLRF(1.0, 0.3, 100, 400).draw()
    steps = np.array([1000, 1200, 1400])
    optimizers = {
        "ADana": lambda ps: adana.ADana(ps, lr=rate, kappa=kappa, variant=variant, omega=0.0)
    }
    found = simulate_adaptive(
        problem, optimizers, batch=8, total_steps=1400, runs=6, steps=steps, seed=1
    )
    method = normalised.normalised_adana(rate, kappa, plus_average=variant == "released")
    curve = normalised.integrate_normalised(problem.spectrum(), method, batch=8, total_steps=1400)
    ratio = np.array([curve.at(t) for t in steps]) / found.mean()[0]
    assert ratio == pytest.approx(1, abs=0.15)


def test_plain_sgd_takes_the_same_path_as_in_the_eigenbasis():
    """Exact gradients: the rotation to the parameters' coordinates and back changes nothing."""
    arguments = {"batch": math.inf, "total_steps": 200}
    optimizers = {"SGD": lambda ps: torch.optim.SGD(ps, lr=0.3)}
    turned = simulate_adaptive(PROBLEM, optimizers, **arguments)
    straight = simulate(PROBLEM, [sgd(0.3)], **arguments)
    assert np.allclose(turned.risk, straight.risk, rtol=1e-11, atol=0)


def test_runs_of_one_optimizer_are_independent():
    """A run gives the same risks whether or not others share its tensor."""
    optimizers = {"ADana": lambda ps: adana.ADana(ps, lr=1e-3, omega=0.0)}
    walk = trajectory(
        PROBLEM, optimizers, probabilities=np.ones(1), batch=4, total_steps=20, runs=3, seed=0,
        device="cpu",
    )  # fmt: skip
    gradients, theta = [], None
    for _, learners in walk:
        gradients.append(learners.gradient[0, 1].clone())
        theta = learners.theta[0, 1].detach().clone()
    alone = torch.nn.Parameter(torch.zeros_like(theta))
    optimizer = adana.ADana([alone], lr=1e-3, omega=0.0)
    for gradient in gradients[:-1]:
        alone.grad = gradient
        optimizer.step()
    assert torch.equal(alone.detach(), theta)


def test_a_start_is_the_problems_and_the_risk_is_the_problems():
    optimizers = {"Adam": lambda ps: torch.optim.Adam(ps, lr=1e-2)}
    walk = trajectory(
        PROBLEM, optimizers, probabilities=np.ones(1), batch=4, total_steps=9, runs=2, seed=0,
        device="cpu",
    )  # fmt: skip
    for t, learners in walk:
        theta = learners.theta.detach().numpy()
        assert np.allclose(learners.risk(), PROBLEM.risk(theta), rtol=1e-10)
        if t == 0:
            assert np.allclose(learners.risk(), PROBLEM.spectrum().start, rtol=1e-10)


def test_adam_like_steps_are_bounded_by_the_learning_rate_where_a_linear_method_explodes():
    """Divergence of one method leaves the others' risks alone, and shows as NaN or huge."""
    optimizers = {
        "SGD": lambda ps: torch.optim.SGD(ps, lr=50.0),
        "ADana": lambda ps: adana.ADana(ps, lr=1e-3, omega=0.0),
    }
    found = simulate_adaptive(PROBLEM, optimizers, batch=1, total_steps=300, runs=2, seed=3)
    assert np.isnan(found.risk[0, :, -1]).all()
    assert (found.risk[1, :, -1] < found.risk[1, :, 0]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"batch": 0}, "batch"), ({"runs": 0}, "runs"), ({"steps": np.array([99])}, "total_steps")],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"batch": 1, "total_steps": 5, **change}
    optimizers = {"SGD": lambda ps: torch.optim.SGD(ps, lr=STEP)}
    with pytest.raises(ValueError, match=message):
        simulate_adaptive(PROBLEM, optimizers, **arguments)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_runs_on_a_gpu_agree_with_the_exact_recursion():
    optimizers = {"SGD": lambda ps: torch.optim.SGD(ps, lr=STEP)}
    found = simulate_adaptive(
        PROBLEM, optimizers, batch=8, total_steps=100, runs=3000, steps=STEPS, device="cuda"
    )
    expected = exact_moments(PROBLEM.spectrum(), sgd(STEP), batch=8, steps=STEPS).risk
    assert (np.abs(found.mean()[0] - expected) < 4 * found.standard_error()[0] + 1e-10).all()
