import numpy as np
import pytest

import adana
from adana.plrf.hummingbird import OPTIMIZERS, hummingbird
from adana.plrf.mixture import expert_probabilities, simulate_mixture
from adana.plrf.problem import PLRF

PROBLEM = PLRF(1.0, 0.0, 10, seed=0).draw()
EXPERTS = expert_probabilities(8)


def test_every_optimizer_and_kappa_is_kept_at_its_best_rate():
    rates = (1e-4, 1e-2)
    found = hummingbird(
        PROBLEM, EXPERTS, kappas=(0.0, 0.75), rates=rates, batch=8, total_steps=60, seed=1
    )
    assert found.optimizers == tuple(OPTIMIZERS)
    assert found.risk.shape == (5, 2, len(found.steps))
    assert np.isin(found.rates, rates).all()
    assert found.baseline_rate == 1e-2  # 60 steps of 1e-4 go nowhere
    for lr in rates:
        one = {"x": lambda ps, lr=lr: adana.DanaStarMK4(ps, lr=lr, kappa=0.75, omega=0.0)}
        risk = simulate_mixture(PROBLEM, one, EXPERTS, batch=8, total_steps=60, seed=1)
        final = risk.total().mean()[0]
        if found.rates[3, 1] == lr:
            assert np.allclose(found.risk[3, 1], final, rtol=1e-10)
        else:
            assert final[-1] > found.risk[3, 1, -1]


def test_rare_experts_make_undamped_momentum_blow_up_and_tau_prevents_it():
    """The order of the curves, far apart: not which method is better."""
    found = hummingbird(
        PROBLEM, EXPERTS, optimizers=("ADana", "Dana-Star-MK4"), kappas=(0.0,), rates=(1e-2,),
        batch=2, total_steps=300, runs=2,
    )  # fmt: skip
    plain, star = found.risk[:, 0, -1]
    assert plain > 10 * found.risk[0, 0, 0]
    assert star < found.risk[1, 0, 0]


def test_a_wrong_name_is_answered_with_the_choice():
    with pytest.raises(ValueError, match=r"'Adagrad'.*ADana, Dana-MK4"):
        hummingbird(PROBLEM, EXPERTS, optimizers=("Adagrad",))
