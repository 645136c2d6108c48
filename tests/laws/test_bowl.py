"""Bowls: known parabolas come back, and what the grid cannot tell is said, not extrapolated."""

import math

import numpy as np
import pytest

from adana.laws.bowl import Bowl, fit_bowl, fit_bowl_by_seed

ZETA, BEST, LOWEST = 0.0193, 1.7e-3, 3.47
"""AdamW's curvature and the optimum of H = 10 (spec/scaling_laws.md sections 5 and 7)."""


def parabola(lr: float) -> float:
    return LOWEST + ZETA * math.log(lr / BEST) ** 2


def grid(points: int, factor: float, start: float) -> list[float]:
    return [start * factor**i for i in range(points)]


@pytest.mark.parametrize(
    ("points", "factor", "start"), [(3, 2, 8e-4), (5, 2, 4e-4), (9, 1.4, 5e-4)]
)
def test_an_exact_parabola_comes_back_from_any_grid_in_any_order(points, factor, start):
    rates = grid(points, factor, start)
    np.random.default_rng(0).shuffle(rates)
    bowl = fit_bowl(rates, [parabola(lr) for lr in rates])
    assert (bowl.convex, bowl.edge, bowl.note) == (True, "", "")
    assert bowl.lr == pytest.approx(BEST, rel=1e-6)
    assert bowl.loss == pytest.approx(LOWEST, rel=1e-9)
    assert bowl.curvature == pytest.approx(ZETA, rel=1e-6)


def test_the_bowl_tells_losses_and_the_cost_of_a_wrong_rate():
    bowl = fit_bowl(grid(5, 2, 4e-4), [parabola(lr) for lr in grid(5, 2, 4e-4)])
    assert bowl(3e-3) == pytest.approx(parabola(3e-3))
    assert bowl.cost_of(1.5) == pytest.approx(0.0032, abs=1e-4)  # as the spec has it for AdamW
    assert bowl.cost_of(1 / 1.5) == pytest.approx(bowl.cost_of(1.5))


def test_far_points_with_another_curvature_do_not_move_the_optimum():
    rates = grid(7, 2, 2e-4)
    losses = [parabola(lr) + (0.5 if lr > 5e-3 else 0.0) for lr in rates]
    bowl = fit_bowl(rates, losses)
    assert bowl.lr == pytest.approx(BEST, rel=1e-6)
    assert max(bowl.fitted) < 5e-3


def test_neighbours_are_those_in_the_rate_not_in_the_loss():
    # The third-lowest loss lies far away, beyond a bump: the reference would fit through it.
    rates = [1e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3]
    losses = [parabola(1.6e-3) + 1e-4, 3.6, parabola(8e-4), parabola(1.6e-3), parabola(3.2e-3)]
    bowl = fit_bowl(rates, losses)
    assert bowl.fitted == (8e-4, 1.6e-3, 3.2e-3)
    assert bowl.lr == pytest.approx(BEST, rel=1e-6)


@pytest.mark.parametrize(("edge", "start"), [("lower", 2e-3), ("higher", 1e-4)])
def test_a_minimum_at_the_grids_end_is_named_and_not_extrapolated(edge, start):
    rates = grid(4, 1.5, start)
    losses = [parabola(lr) for lr in rates]
    bowl = fit_bowl(rates, losses)
    assert (bowl.edge, bowl.convex) == (edge, False)
    assert bowl.loss == min(losses)
    assert bowl.lr == rates[losses.index(min(losses))]
    assert math.isnan(bowl.curvature)
    assert edge in bowl.note


def test_a_diverged_rate_is_left_out_and_named():
    rates = grid(5, 2, 4e-4)
    losses = [parabola(lr) for lr in rates[:4]] + [math.nan]
    bowl = fit_bowl(rates, losses)
    assert bowl.diverged == (rates[4],)
    assert bowl.lr == pytest.approx(BEST, rel=1e-6)


def test_a_rate_that_diverged_with_one_seed_is_no_optimum():
    bowl = fit_bowl([1e-3, 2e-3, 4e-3], [[3.0, 3.1], [2.9, math.inf], [3.3, 3.3]])
    assert bowl.diverged == (2e-3,)
    assert bowl.lr == 1e-3


def test_a_lowest_point_next_to_divergence_is_no_edge_but_no_bowl_either():
    bowl = fit_bowl([1e-3, 2e-3, 4e-3, 8e-3], [3.3, 3.1, 3.0, math.inf])
    assert (bowl.edge, bowl.convex, bowl.lr) == ("", False, 4e-3)
    assert "in between" in bowl.note


def test_a_flat_grid_gives_its_lowest_point():
    flat = fit_bowl([1e-3, 2e-3, 4e-3], [3.0 + 1e-13, 3.0, 3.0 + 1e-13])
    assert (flat.convex, flat.edge, flat.lr) == (False, "", 2e-3)
    assert "flat" in flat.note


def test_one_and_two_points_are_no_bowl():
    assert fit_bowl([1e-3], [3.0]).edge == ""
    assert "three" in fit_bowl([1e-3], [3.0]).note
    assert fit_bowl([1e-3, 2e-3], [3.0, 3.1]).edge == "lower"


def test_the_same_rate_twice_is_another_seed():
    twice = fit_bowl([1e-3, 2e-3, 2e-3 * (1 + 1e-9), 4e-3], [3.1, 3.0, 3.04, 3.2])
    seeds = fit_bowl([1e-3, 2e-3, 4e-3], [3.1, [3.0, 3.04], 3.2])
    assert (twice.lr, twice.loss) == pytest.approx((seeds.lr, seeds.loss))
    assert twice.freedom == seeds.freedom == 1


def test_losses_by_seed_are_compared_over_the_seeds_that_all_rates_have():
    rates = [1e-3, 2e-3, 4e-3, 8e-3]
    # Seed 1 is lucky and ran at two rates only; 8e-3 diverged and has no say.
    losses = [{0: 3.1, 1: 2.1}, {0: 3.0}, {0: 3.2, 1: 2.2}, {1: math.inf}]
    assert fit_bowl_by_seed(rates, losses) == fit_bowl(rates, [3.1, 3.0, 3.2, math.inf])
    # The order of the seeds is no matter, and without a shared one all count.
    swapped = [{1: 2.0, 0: 3.1}, {0: 3.0, 1: 1.9}, {0: 3.2, 1: 2.1}]
    in_order = fit_bowl(rates[:3], [[3.1, 2.0], [3.0, 1.9], [3.2, 2.1]])
    assert fit_bowl_by_seed(rates[:3], swapped) == in_order
    apart = fit_bowl_by_seed(rates[:3], [{0: 3.1}, {1: 3.0}, {0: 3.2, 2: 3.3}])
    assert apart == fit_bowl(rates[:3], [[3.1], [3.0], [3.2, 3.3]])


def test_a_window_that_is_not_convex_falls_back_to_the_neighbours():
    bowl = fit_bowl([1.0, 1.1, 1.3, 1.6, 2.1], [2.99, 2.98, 3.05, 3.06, 3.0])
    assert bowl.fitted == (1.0, 1.1, 1.3)
    assert 1.0 < bowl.lr < 1.3


@pytest.mark.parametrize("common", [0.0, 0.004])
def test_standard_errors_match_the_scatter_over_repeated_experiments(common):
    rng = np.random.default_rng(1)
    rates = grid(5, 2, 4e-4)
    true = np.array([parabola(lr) for lr in rates])
    fits = [
        fit_bowl(
            rates,
            (
                true[:, None]
                + 0.002 * rng.standard_normal((5, 3))
                + common * rng.standard_normal((1, 3))
            ).tolist(),
        )
        for _ in range(400)
    ]
    scatter = np.std([math.log(fit.lr) for fit in fits]), np.std([fit.loss for fit in fits])
    told = (
        math.sqrt(np.mean([fit.log_lr_se**2 for fit in fits])),
        math.sqrt(np.mean([fit.loss_se**2 for fit in fits])),
    )
    assert told[0] == pytest.approx(scatter[0], rel=0.15)
    assert told[1] == pytest.approx(scatter[1], rel=0.15)


def test_seeds_of_unequal_number_give_standard_errors_too():
    bowl = fit_bowl([1e-3, 2e-3, 4e-3], [[3.1], [3.0, 3.004], [3.2, 3.199]])
    assert bowl.freedom == 2
    assert bowl.log_lr_se > 0
    assert bowl.loss_se > 0


@pytest.mark.parametrize(
    ("lrs", "losses", "words"),
    [
        ([1e-3], [], "one loss"),
        ([0.0], [3.0], "positive"),
        ([math.nan], [3.0], "positive"),
        ([1e-3, 2e-3], [math.nan, math.inf], "lower values"),
        ([], [], "no learning rate"),
        ([1e-3], [[]], "no loss is given"),
    ],
)
def test_what_cannot_be_fitted_is_an_error_that_says_why(lrs, losses, words):
    with pytest.raises(ValueError, match=words):
        fit_bowl(lrs, losses)


def test_a_bowl_needs_no_seeds_to_be_made_by_hand():
    assert Bowl(1e-3, 3.0, 0.02, True, "")(2e-3) == pytest.approx(3.0 + 0.02 * math.log(2) ** 2)
