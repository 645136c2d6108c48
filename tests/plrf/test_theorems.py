import numpy as np
import pytest
import torch

from adana.plrf.theorems import (
    ADAM_BETAS,
    CONTENDERS,
    LOG_ADAMW,
    LR,
    absolute_value,
    absolute_value_exponent,
    adam_excursion_bound,
    rare_coordinates,
    single_gradient_excursion,
    sparse_gradients,
)


def some(*names):
    return {name: CONTENDERS[name] for name in names}


def test_log_adamw_of_a_short_memory_diverges_on_the_absolute_value():
    """One convex Lipschitz function, no noise: swings grow below delta = 1/2 and shrink above."""
    found = absolute_value([0.1, 1.0], total_steps=2000)
    grows, shrinks, _ = found.exponents(start=30)
    assert grows == pytest.approx(absolute_value_exponent(0.1), abs=0.1)
    assert shrinks == pytest.approx(absolute_value_exponent(1.0), abs=0.1)
    far, near, adam = found.furthest[:, -1]
    assert far > 2.5
    assert near < 0.3
    assert adam < LR


@pytest.mark.slow
def test_log_adamw_diverges_on_ever_rarer_coordinates_and_adam_does_not():
    names = ("Adam", "Log-AdamW", "Log-AdamW x sqrt(p)", "Dana-Star")
    found = rare_coordinates(some(*names), total_steps=1000, coordinates=2000)
    adam, log_adamw, scaled, star = found.exponents(start=100)
    assert log_adamw == pytest.approx(0.5, abs=0.15)
    last = dict(zip(names, found.furthest[:, -1], strict=True))
    assert last["Log-AdamW"] > 1.5
    assert last["Adam"] < adam_excursion_bound(LR) < 2.5
    for rate, name in ((scaled, "Log-AdamW x sqrt(p)"), (star, "Dana-Star")):
        assert rate < log_adamw - 0.15
        assert last[name] < last["Log-AdamW"] / 4
    assert adam < log_adamw


def test_weights_stray_as_one_over_the_root_of_p_unless_steps_are_scaled_by_it():
    names = ("Log-AdamW", "Log-AdamW x sqrt(p)", "Dana-Star")
    found = sparse_gradients([1 / 8, 1 / 32, 1 / 128], some(*names), events=12, runs=32, seed=1)
    plain, scaled, star = found.exponents()
    assert plain == pytest.approx(-0.5, abs=0.15)
    assert abs(scaled) < 0.15
    assert abs(star) < 0.2
    assert (found.largest[1:] <= 1.0).all()  # never further off than at the start
    assert (found.late[1:] < 0.6).all()


def test_adam_never_strays_further_than_its_bound():
    """Close to it, though: the bound is not an idle one."""
    bound = adam_excursion_bound(LR)
    found = sparse_gradients([1 / 10, 1 / 100], some("Adam"), events=12, runs=64)
    assert (found.largest <= bound).all()
    assert found.largest.max() > bound / 4


def test_no_sequence_of_gradients_takes_a_larger_step_than_the_bound_says():
    """Gradients that grow by b1/b2 a step attain what Cauchy and Schwarz allow."""
    beta1, beta2 = ADAM_BETAS
    allowed = adam_excursion_bound(1.0) * (1 - beta1 / np.sqrt(beta2))
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([p], lr=1.0, betas=ADAM_BETAS)
    for t in range(1000):
        before = p.item()
        p.grad = torch.full((1,), (beta2 / beta1) ** (t - 1000), dtype=torch.float64)
        optimizer.step()
        assert abs(p.item() - before) <= allowed * (1 + 1e-9)
    before = p.item()
    rng = np.random.default_rng(0)
    for _ in range(1000):
        p.grad = torch.from_numpy(rng.standard_cauchy(1))
        optimizer.step()
        assert abs(p.item() - before) <= allowed * (1 + 1e-9)
        before = p.item()


def test_one_gradient_carries_log_adamw_further_the_later_it_comes():
    for t in (60, 240):
        p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = LOG_ADAMW([p], lr=LR)
        for s in range(1, 8 * t):
            p.grad = torch.full((1,), -1.0 if s == t else 0.0, dtype=torch.float64)
            optimizer.step()
        assert p.item() == pytest.approx(single_gradient_excursion(t, LR), rel=0.1)


@pytest.mark.parametrize("betas", [(0.99, 0.9), (0.9, 0.95)])
def test_the_bound_is_refused_where_it_does_not_hold(betas):
    with pytest.raises(ValueError, match="beta1"):
        adam_excursion_bound(LR, betas)


def test_probabilities_are_checked():
    with pytest.raises(ValueError, match="each probability"):
        sparse_gradients([0.5, 0.0])


def test_runs_and_deltas_are_checked():
    with pytest.raises(ValueError, match="runs must be an integer of at least 1"):
        sparse_gradients([0.5], runs=0)
    with pytest.raises(ValueError, match=r"deltas must be different numbers, got 0\.5, 0\.5"):
        absolute_value([0.5, 0.5], total_steps=2)
