"""Dana's special cases (spec/plrf.md section 2.2) are the optimizers they are named after."""

import pytest
import torch

import adana

N, WIDTH = 80, 12


def gradients():
    return torch.randn(N, WIDTH, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def weights(make, g):
    """Return the weights after every step, from zero."""
    p = torch.nn.Parameter(torch.zeros(WIDTH, dtype=g.dtype))
    optimizer, seen = make([p]), []
    for row in g:
        p.grad = row.clone()
        optimizer.step()
        seen.append(p.detach().clone())
    return torch.stack(seen)


def dana(g, lr=0.1, **arguments):
    return weights(lambda ps: adana.Dana(ps, lr=lr, **arguments), g)


def sgd(g, lr=0.1, **arguments):
    return weights(lambda ps: torch.optim.SGD(ps, lr=lr, **arguments), g)


def alike(a, b, tolerance=1e-13):
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance)


def test_without_momentum_it_is_sgd():
    assert alike(dana(gradients(), momentum_scale=0.0), sgd(gradients()))


@pytest.mark.parametrize("forget", [0.1, 0.5, 1.0])
def test_with_constant_memory_it_is_sgd_and_sgd_with_momentum_side_by_side(forget):
    """`p <- p - lr g - lr c y`: both parts are linear in the gradients, so displacements add."""
    g = gradients()
    expected = sgd(g) + sgd(g, lr=0.1 * 0.7, momentum=1 - forget)
    assert alike(dana(g, forget=forget, momentum_scale=0.7), expected)


def test_with_constant_memory_and_c_equal_to_it_it_is_torchs_nesterov_sgd():
    g = gradients()
    expected = sgd(g, momentum=0.9, nesterov=True)
    assert alike(dana(g, forget=0.1, momentum_scale=0.9), expected)


def test_on_a_constant_gradient_sgd_m_ends_with_the_step_of_a_longer_sgd():
    """The step is `gamma2 + gamma1 gamma3 / Delta` once the buffer has filled."""
    g = torch.ones(600, WIDTH, dtype=torch.float64)
    seen = dana(g, lr=0.1, forget=0.05, momentum_scale=0.3)
    assert alike(seen[-2] - seen[-1], 0.1 * (1 + 0.3 / 0.05) * g[-1], 1e-9)


def by_hand(g, forget, momentum, weight=lambda k: 1.0, lr=0.1):
    """`y <- (1 - Delta(k)) y + gamma1(k) g; p <- p - lr (g + momentum(k) y)` with k from 0."""
    p, y, seen = torch.zeros(WIDTH).double(), torch.zeros(WIDTH).double(), []
    for k, row in enumerate(g):
        y = (1 - forget(k)) * y + weight(k) * row
        p = p - lr * (row + momentum(k) * y)
        seen.append(p)
    return torch.stack(seen)


def log_time(k):
    return 8 / (8 + k)


def test_rows_of_the_table_of_special_cases():
    g = gradients()
    constant = by_hand(g, log_time, lambda k: 0.5 / 40)
    assert alike(dana(g, dimension=40), constant)
    decaying = by_hand(g, log_time, lambda k: 0.5 * (1 + k) ** -0.6)
    assert alike(dana(g, kappa=0.6), decaying)
    averaged = by_hand(g, log_time, lambda k: 0.5 * (1 + k) ** 0.4, weight=log_time)
    assert alike(dana(g, kappa=0.6, average=True), averaged)


@pytest.mark.parametrize("forget", [0.05, 0.3])
def test_with_constant_memory_an_average_is_a_sum_with_a_scaled_factor(forget):
    g = gradients()
    averaged = dana(g, forget=forget, average=True, momentum_scale=0.7)
    assert alike(averaged, dana(g, forget=forget, momentum_scale=0.7 * forget))


def test_an_average_is_delta_times_stronger_than_a_sum_at_equal_scale():
    """On a constant gradient up to the factor (1 + delta)/delta: 9 at delta = 8 (plrf.md 2.1)."""
    g = torch.ones(1000, WIDTH, dtype=torch.float64)
    late = []
    for average in (True, False):
        seen = dana(g, average=average, momentum_scale=1.0, kappa=0.5)
        late.append((seen[-2] - seen[-1]).mean().item() / 0.1 - 1)
    assert late[0] / late[1] == pytest.approx(9, rel=1e-2)


def test_averaging_it_is_adana_without_a_second_moment():
    """On signs, with exact averages and eps = 0, v is 1: the two take the same steps."""
    g = gradients().sign()
    given = {"lr": 0.1, "kappa": 0.75, "momentum_scale": 0.6, "omega": 2.0, "total_steps": 100}
    expected = weights(lambda ps: adana.ADana(ps, first_step=0, eps=0.0, **given), g)
    assert alike(weights(lambda ps: adana.Dana(ps, average=True, **given), g), expected)


def test_undamped_it_is_log_time_nesterov_up_to_delta():
    """Table 2.2 has the factor delta + t; kappa = 0 gives 1 + t, the same at delta = 1."""
    g = gradients()
    nesterov = by_hand(g, lambda k: 1 / (1 + k), lambda k: 1.0 + k, weight=lambda k: 1 / (1 + k))
    assert alike(dana(g, kappa=0.0, delta=1.0, average=True, momentum_scale=1.0), nesterov)
